"""What moved in a few steps of somebody's training, beside the routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..routes.table import RouteTable
from ..rules.finding import Finding, Report, find
from .observed import Observed
from .ownership import quoted
from .wiring import route


@dataclass(frozen=True)
class StepRecord:
    """One step as it was watched.

    Args:
        moved: {module: what of it changed, of "parameters" and "buffers"}; those that did not
            change are left out.
        routes: {loss: the modules that it reaches}, for the losses whose routes could be read.
        complete: whether the routes of every loss of the step are known. Without them nothing is
            said of modules that move although no loss reaches them.
        unread: the losses of which only the value is known.
        values: {loss: its value}, as far as known.
        without_gradient: the losses with routes whose gradient was exactly 0 in all they reach.
        applied: (loss, optimiser, module): whose gradient the steps of optimisers applied to what.
    """

    moved: Mapping[str, Sequence[str]]
    routes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    complete: bool = False
    unread: Sequence[str] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    without_gradient: frozenset[str] = frozenset()
    applied: frozenset[tuple[str, str, str]] = frozenset()


class WatchReport(Report):
    """What was found by watching steps.

    Attributes:
        moved: {module: the number of steps in which anything of it changed}, every module.
        steps: how many steps were run.
    """

    def __init__(
        self, name: str, findings: Sequence[Finding], routes: RouteTable, movements: Movements
    ):
        super().__init__(name, findings, routes)
        self._movements = movements
        self.moved, self.steps = dict(movements.any), movements.steps

    def __str__(self) -> str:
        """One line per module, and then the findings."""
        width = max(len(module) for module in self.moved)
        lines = []
        for module, count in self.moved.items():
            alone = " (its buffers alone)" if count and not self._movements.own[module] else ""
            said = f"moved in {count} of {self.steps} steps{alone}"
            lines.append(f"{module.ljust(width)}  {said}")
        return "\n".join(lines) + "\n\n" + super().__str__()


class Movements:
    """How often each module moved.

    Attributes:
        any: {module: the number of steps in which anything of it changed}.
        own: the same, where buffers count in modules without parameters alone: running
            statistics follow whatever passes, and hide that nobody moves the weights.
        steps: how many steps were watched.
    """

    def __init__(self, seen: Observed, steps: Sequence[StepRecord]):
        self.steps = len(steps)
        self.any = {m: sum(m in step.moved for step in steps) for m in seen.parameters}
        self.own = {
            m: sum("parameters" in step.moved.get(m, ()) for step in steps) if own else self.any[m]
            for m, own in seen.parameters.items()
        }


def movement(
    seen: Observed, steps: Sequence[StepRecord], movements: Movements
) -> Iterator[Finding]:
    """The findings of watched steps."""
    yield from _unknown(steps)
    yield from _never_moved(seen, steps, movements)
    yield from _without_route(seen, steps, movements)
    yield from _stale(seen, movements)
    yield from _unstable(steps)
    yield from _flat(steps)
    yield from _stray(seen, steps)


def _unknown(steps: Sequence[StepRecord]) -> Iterator[Finding]:
    unknown = [step for step in steps if not step.complete]
    numbers = list(dict.fromkeys(loss for step in unknown for loss in step.unread))
    if numbers:
        were = "were numbers" if len(numbers) > 1 else "was a number"
        yield find("routes-unknown", detail=f"{quoted(numbers)} {were}")
    elif unknown:
        where = f" in {len(unknown)} of {len(steps)} steps" if len(unknown) < len(steps) else ""
        yield find("routes-unknown", detail=f"the step returned no loss{where}")


def _reaching(steps: Sequence[StepRecord], module: str) -> list[str]:
    reaching = [loss for s in steps for loss, there in s.routes.items() if module in there]
    return list(dict.fromkeys(reaching))


def _never_moved(
    seen: Observed, steps: Sequence[StepRecord], movements: Movements
) -> Iterator[Finding]:
    for module, count in movements.own.items():
        losses = _reaching(steps, module)
        if losses and not count and module not in seen.targets:
            yield find("never-moved", subject=module, steps=str(len(steps)), losses=quoted(losses))


def _without_route(
    seen: Observed, steps: Sequence[StepRecord], movements: Movements
) -> Iterator[Finding]:
    if not all(step.complete for step in steps):
        return
    for module, count in movements.any.items():
        if count and module not in seen.targets and not _reaching(steps, module):
            kinds = {kind for step in steps for kind in step.moved.get(module, ())}
            yield find(
                "moved-without-route",
                subject=module,
                moved=str(count),
                steps=str(len(steps)),
                detail=f"its {' and '.join(sorted(kinds, reverse=True))}",
            )


def _stale(seen: Observed, movements: Movements) -> Iterator[Finding]:
    for module, source in seen.targets.items():
        moved = movements.own[source]
        if moved and not movements.own[module]:
            detail = f"it did not move in {movements.steps} steps, and `{source}` moved in {moved}"
            yield find("stale-target", code=True, subject=module, readers="the step", detail=detail)


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


def _stray(seen: Observed, steps: Sequence[StepRecord]) -> Iterator[Finding]:
    every = [applied for step in steps for applied in sorted(step.applied)]
    for loss, optimiser, module in dict.fromkeys(every):
        if loss not in seen.optimisers[optimiser].losses:
            count = sum((loss, optimiser, module) in step.applied for step in steps)
            yield find(
                "stray-gradient",
                severity="warning",
                loss=loss,
                subject=module,
                path=route(seen, loss, module),
                optimiser=optimiser,
                parameters="parameters",
                detail=f", and its step applied that gradient in {count} of {len(steps)} steps",
            )
