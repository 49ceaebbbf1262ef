"""The suite's own settings: hypothesis profiles, one thread, marks.

A property sets no `max_examples` of its own, so that the profile decides:
`LATENTROLES_HYPOTHESIS_PROFILE=deep` (`nox -s tests-deep`) runs ten times the everyday number.
"""

import os
import sys
from pathlib import Path

# Before a framework is imported: it reads these once. Small models are slower on many threads,
# and much slower where the tests' processes compete for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compiling is nearly all that JAX does here: a third of it is optimising. Not where speed counts.
if not any("bench" in argument for argument in sys.argv):
    quickly = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    os.environ.setdefault("XLA_FLAGS", quickly)

import pytest
from hypothesis import HealthCheck, settings

BENCH = Path(__file__).parent / "bench"

# No deadline, and slow generation is no failure: an example may build and compile a whole model.
everyday = settings(
    max_examples=25,
    deadline=None,
    print_blob=True,
    # CI judges a change by the same examples every time; new ones are found by everybody else's
    # runs and by `nox -s tests-deep`.
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("everyday", everyday)
settings.register_profile(
    "deep", everyday, max_examples=10 * everyday.max_examples, derandomize=False
)
settings.load_profile(os.environ.get("LATENTROLES_HYPOTHESIS_PROFILE", "everyday"))


@pytest.hookimpl(tryfirst=True)  # before `-m` is applied
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(BENCH):
            item.add_marker(pytest.mark.bench)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None:
        torch = pytest.importorskip("torch", reason="a gpu test asks torch for the device")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and there is none")


# What killed the planted mistakes -----------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """A report carries what its test noted in `mutated.KILLS`, from a process of xdist too."""
    report = yield
    mutated = sys.modules.get("mutated")
    if call.when == "call" and mutated is not None and mutated.KILLS:
        name = item.name.removeprefix("test_")
        report.user_properties += [("kill", (name, *kill)) for kill in mutated.KILLS]
        mutated.KILLS.clear()
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("LATENTROLES_MUTANTS") != "show":
        return
    passed = terminalreporter.stats.get("passed", [])
    kills = [tuple(v) for r in passed for kind, v in r.user_properties if kind == "kill"]
    survivors = terminalreporter.stats.get("failed", [])
    terminalreporter.section("planted mistakes")
    width = max((len(name) for name, _, _ in kills), default=0)
    for name, law, examples in sorted(kills):
        count = f"{examples} example{'' if examples == 1 else 's'}"
        terminalreporter.write_line(f"{name:<{width}}  {law:<12}  {count}")
    terminalreporter.write_line(f"{len(kills)} killed, {len(survivors)} tests failed")
