"""What moved in a few steps of somebody's training, beside the routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..routes.table import RouteTable
from ..rules.finding import Finding, Report, find
from .ownership import quoted


@dataclass(frozen=True)
class StepRecord:
    """One step as it was watched.

    Args:
        moved: {module: what of it changed, of "parameters" and "buffers"}; those that did not
            change are left out.
        routes: {loss: the modules that it reaches}, for the losses whose routes could be read.
        complete: whether the routes of every loss of the step are known. Without them nothing is
            said of modules that move although no loss reaches them.
        values: {loss: its value}, as far as known.
        without_gradient: the losses with routes whose gradient was exactly 0 in all they reach.
    """

    moved: Mapping[str, Sequence[str]]
    routes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    complete: bool = False
    values: Mapping[str, float] = field(default_factory=dict)
    without_gradient: frozenset[str] = frozenset()


class WatchReport(Report):
    """What was found by watching steps.

    Attributes:
        moved: {module: the number of steps in which it moved}, every module.
        steps: how many steps were run.
    """

    def __init__(
        self,
        name: str,
        findings: Sequence[Finding],
        routes: RouteTable,
        moved: Mapping[str, int],
        steps: int,
    ):
        super().__init__(name, findings, routes)
        self.moved, self.steps = dict(moved), steps

    def __str__(self) -> str:
        """One line per module, and then the findings."""
        width = max(len(module) for module in self.moved)
        lines = [
            f"{module.ljust(width)}  moved in {count} of {self.steps} steps"
            for module, count in self.moved.items()
        ]
        return "\n".join(lines) + "\n\n" + super().__str__()


def times_moved(steps: Sequence[StepRecord], modules: Sequence[str]) -> dict[str, int]:
    """{module: the number of steps in which it moved}."""
    return {module: sum(module in step.moved for step in steps) for module in modules}


def movement(
    steps: Sequence[StepRecord], moved: Mapping[str, int], targets: Mapping[str, str]
) -> Iterator[Finding]:
    """The findings of watched steps.

    Args:
        moved: {module: the number of steps in which it moved}, every module.
        targets: {module that moves by a copy of another: the module that it is a copy of}.
    """
    yield from _never_moved(steps, moved, targets)
    yield from _without_route(steps, moved, targets)
    yield from _stale(moved, targets, len(steps))
    yield from _unstable(steps)
    yield from _flat(steps)


def _reaching(steps: Sequence[StepRecord], module: str) -> list[str]:
    reaching = [loss for s in steps for loss, there in s.routes.items() if module in there]
    return list(dict.fromkeys(reaching))


def _never_moved(
    steps: Sequence[StepRecord], moved: Mapping[str, int], targets: Mapping[str, str]
) -> Iterator[Finding]:
    for module, count in moved.items():
        losses = _reaching(steps, module)
        if losses and not count and module not in targets:
            yield find("never-moved", subject=module, steps=str(len(steps)), losses=quoted(losses))


def _without_route(
    steps: Sequence[StepRecord], moved: Mapping[str, int], targets: Mapping[str, str]
) -> Iterator[Finding]:
    if not all(step.complete for step in steps):
        return
    for module, count in moved.items():
        if count and module not in targets and not _reaching(steps, module):
            kinds = {kind for step in steps for kind in step.moved.get(module, ())}
            yield find(
                "moved-without-route",
                subject=module,
                moved=str(count),
                steps=str(len(steps)),
                detail=f"its {' and '.join(sorted(kinds, reverse=True))}",
            )


def _stale(moved: Mapping[str, int], targets: Mapping[str, str], steps: int) -> Iterator[Finding]:
    for module, source in targets.items():
        if not moved[module] and moved[source]:
            detail = f"it did not move in {steps} steps, and `{source}` moved in {moved[source]}"
            yield find("stale-target", subject=module, readers="the step", detail=detail)


def _unstable(steps: Sequence[StepRecord]) -> Iterator[Finding]:
    """A loss that some steps do not have is no instability: a policy updated every other step."""
    seen: dict[str, dict[frozenset[str], int]] = {}
    for i, step in enumerate(steps):
        for loss, modules in step.routes.items():
            seen.setdefault(loss, {}).setdefault(modules, i)
    for loss, ways in seen.items():
        if len(ways) > 1:
            said = [
                f"step {i} updates {quoted(sorted(modules)) or 'nothing'}"
                for modules, i in ways.items()
            ]
            yield find("unstable-routes", loss=loss, detail=", ".join(said))


def _flat(steps: Sequence[StepRecord]) -> Iterator[Finding]:
    for loss in dict.fromkeys(loss for step in steps for loss in (*step.values, *step.routes)):
        values = [step.values[loss] for step in steps if loss in step.values]
        routed = [step for step in steps if loss in step.routes]
        if values and not any(values):
            detail, draws = "was exactly 0", len(values)
        elif routed and all(loss in step.without_gradient for step in routed):
            detail, draws = "had a gradient of exactly 0", len(routed)
        else:
            continue
        yield find("flat-loss", loss=loss, detail=detail, steps=str(draws))
