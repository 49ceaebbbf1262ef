"""Findings on who reaches whom: aliases, dead losses, starved modules, live targets."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from ..rules.finding import Finding, find
from .observed import Observed


def wiring(seen: Observed) -> Iterator[Finding]:
    """What is wrong with the routes themselves."""
    yield from aliased(seen)
    yield from dead(seen)
    yield from starved(seen)
    yield from live_targets(seen)


def route(seen: Observed, loss: str, module: str) -> str:
    """The route from a loss into a module as one line, or "" where it is not known."""
    return " <- ".join(seen.table[loss].path(module))


def aliased(seen: Observed) -> Iterator[Finding]:
    """Modules that share parameters."""
    places = {
        module: {seen.memory.get(identity, identity) for identity in own.values()}
        for module, own in seen.parameters.items()
    }
    for module, other in combinations(places, 2):
        shared = places[module] & places[other]
        if not shared:
            continue
        copy = seen.targets.get(module) == other or seen.targets.get(other) == module
        whole = places[module] == places[other]
        detail = "" if whole else f" in part: they share {len(shared)} of {len(places[module])}"
        # Tied weights share a part on purpose. A copy shares nothing.
        severity = None if whole or copy else "note"
        yield find(
            "aliased-module",
            severity=severity,
            code=True,
            subject=module,
            other=other,
            detail=detail,
        )


def dead(seen: Observed) -> Iterator[Finding]:
    """Losses that update nothing."""
    for loss in seen.table:
        if not seen.table[loss].modules:
            yield find("dead-route", code=True, loss=loss, detail="reaches none of the modules")


def starved(seen: Observed) -> Iterator[Finding]:
    """Modules that no loss updates, but for frozen ones and declared targets."""
    count = len(seen.table)
    losses = "the only loss reaches none" if count == 1 else f"none of {count} losses reaches one"
    for module in seen.parameters:
        own = seen.trainable(module)
        if own and module not in seen.targets and module not in seen.table.reached:
            yield find(
                "starved-module",
                code=True,
                subject=module,
                detail=f"{losses} of its {len(own)} parameters",
            )


def live_targets(seen: Observed) -> Iterator[Finding]:
    """Declared targets that a loss reaches; who moves them decides how bad that is."""
    for module, source in seen.targets.items():
        for loss in seen.table:
            if module in seen.table[loss].modules:
                yield _live_target(seen, loss, module, source)


def _live_target(seen: Observed, loss: str, module: str, source: str) -> Finding:
    holders = seen.holders(module)
    moves = f"optimiser `{holders[0]}` holds it" if holders else ""
    said = find(
        "target-live",
        severity="error",
        code=True,
        loss=loss,
        subject=module,
        path=route(seen, loss, module),
        detail=f"its gradient flows into `{module}`, a copy of `{source}`, and {moves}",
    )
    if holders:
        return said
    reaches = f"loss `{loss}` reaches the target `{module}`, a copy of `{source}`, and"
    if not seen.optimisers:
        message = f"{reaches} no optimizers= say whether anything moves it"
        fix = f"{said.fix}; where gradient passes it on purpose, optimizers= show that nothing does"
        return replace(said, severity="warning", message=message, fix=fix)
    fix = f"`{module}.requires_grad_(False)` in torch, `stop_gradient` in JAX, saves its gradient"
    message = f"{reaches} no optimiser holds it: no gradient moves it; {fix}"
    return replace(said, severity="note", message=message, fix=fix)
