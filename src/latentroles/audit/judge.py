"""The judgement of an audit: a Report from what was observed."""

from ..rules.finding import Report
from .expected import Expected, against
from .observed import Observed
from .ownership import ownership
from .wiring import wiring


def judge(seen: Observed, expected: Expected | None = None) -> Report:
    """Every finding on the structure of a training step.

    Args:
        expected: what each loss should update, {loss: modules} or a RouteTable; None compares
            nothing.

    Raises:
        AuditError: `expected` names losses or modules that there are not.
    """
    findings = [*wiring(seen), *ownership(seen)]
    if expected is not None:
        findings += against(seen.table, expected)
    return Report(seen.table.name, findings, seen.table)
