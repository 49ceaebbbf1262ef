"""The laws that do not apply, listed at the end of a run."""

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    here = "latentroles/testing/conformance"
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if here in report.nodeid.replace("\\", "/") or here in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.section("laws that do not apply")
        for report in skipped:
            reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
            terminalreporter.line(str(reason).removeprefix("Skipped: "))
