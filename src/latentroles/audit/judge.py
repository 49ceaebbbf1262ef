"""The judgement of an audit: a Report from what was observed."""

from collections.abc import Sequence

from ..rules.finding import Report
from .expected import Expected, against
from .movement import Movements, StepRecord, WatchReport, movement
from .observed import Observed
from .ownership import ownership, unnamed
from .wiring import aliased, live_targets, starved, wiring


def judge(seen: Observed, expected: Expected | None = None) -> Report:
    """Every finding on the structure of a training step.

    Args:
        expected: what each loss should update, {loss: modules}, a RouteTable or the path of one;
            None compares nothing.

    Raises:
        AuditError: `expected` names losses or modules that there are not.
        SpecError: there is no table at its path.
    """
    findings = [*wiring(seen), *ownership(seen)]
    if expected is not None:
        findings += against(seen, expected)
    return Report(seen.table.name, findings, seen.table)


def judge_steps(seen: Observed, steps: Sequence[StepRecord]) -> WatchReport:
    """Every finding on steps that were watched.

    Args:
        seen: the modules, and a table of the routes that any of the steps had.
    """
    movements = Movements(seen, steps)
    findings = [*aliased(seen), *live_targets(seen), *unnamed(seen)]
    findings += movement(seen, steps, movements)
    if all(step.complete for step in steps):
        # One that moves all the same is found as such.
        findings += [f for f in starved(seen) if not movements.any[f.subject or ""]]
    return WatchReport(seen.table.name, findings, seen.table, movements)
