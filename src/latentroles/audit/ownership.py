"""Findings on what optimisers hold beside what losses reach."""

from collections.abc import Collection, Hashable, Iterator

from ..rules.finding import Finding, find
from .observed import Observed
from .wiring import route


def ownership(seen: Observed) -> Iterator[Finding]:
    """What is wrong between losses and optimisers; nothing where no optimiser is known."""
    if seen.optimisers:
        yield from unnamed(seen)
        for module, own in seen.parameters.items():
            identities = frozenset(own.values())
            yield from _unowned(seen, module, identities)
            yield from _twice(seen, module, identities)
            yield from _idle(seen, module, identities)
            yield from _stray(seen, module, identities)


def unnamed(seen: Observed) -> Iterator[Finding]:
    """Optimisers that hold what belongs to no module; frozen parameters are no matter."""
    named = frozenset().union(*(own.values() for own in seen.parameters.values()))
    for name, optimiser in seen.optimisers.items():
        count = len(optimiser.holds - named - seen.frozen)
        if count:
            said = f"{count} parameter{'s that are' if count > 1 else ' that is'}"
            yield find("unnamed-parameters", optimiser=name, parameters=said)


def quoted(names: Collection[str]) -> str:
    """Names as a message lists them."""
    return ", ".join(f"`{name}`" for name in names)


def _unowned(seen: Observed, module: str, own: frozenset[Hashable]) -> Iterator[Finding]:
    held = frozenset().union(*(o.holds for o in seen.optimisers.values()))
    by = {loss: (reached & own) - held for loss, reached in seen.reached.items()}
    losses = [loss for loss, missed in by.items() if missed]
    if losses and module not in seen.targets:  # of these `live_targets` speaks
        yield find(
            "unowned-parameters",
            subject=module,
            path=route(seen, losses[0], module),
            losses=quoted(losses),
            parameters=seen.spoken(module, frozenset().union(*by.values())),
        )


def _twice(seen: Observed, module: str, own: frozenset[Hashable]) -> Iterator[Finding]:
    holders: dict[Hashable, list[str]] = {identity: [] for identity in own}
    for name, optimiser in seen.optimisers.items():
        for identity in optimiser.holds & own:
            holders[identity].append(name)
    twice = {identity: names for identity, names in holders.items() if len(names) > 1}
    if twice:
        names = {name for names in twice.values() for name in names}
        yield find(
            "two-optimisers",
            subject=module,
            parameters=seen.spoken(module, twice),
            optimisers=quoted([name for name in seen.optimisers if name in names]),
        )


def _idle(seen: Observed, module: str, own: frozenset[Hashable]) -> Iterator[Finding]:
    """Frozen parameters among others are no finding: many programs hand over all they have."""
    trainable = frozenset(seen.trainable(module).values())
    starved = module not in seen.table.reached and module not in seen.targets
    for name, optimiser in seen.optimisers.items():
        held = optimiser.holds & own
        if held and not trainable:
            idle, detail = held, "takes no gradient: all of it is frozen"
        elif starved:
            continue  # said already, of the whole module
        else:
            reached = frozenset().union(*(seen.reached[loss] for loss in optimiser.losses))
            idle = (held & trainable) - reached
            others = [loss for loss, there in seen.reached.items() if there & idle]
            detail = "no loss of its own reaches" + (f"; {quoted(others)} does" if others else "")
        if idle:
            yield find(
                "idle-parameters",
                subject=module,
                optimiser=name,
                parameters=seen.spoken(module, idle),
                detail=detail,
            )


def _stray(seen: Observed, module: str, own: frozenset[Hashable]) -> Iterator[Finding]:
    """A note: who clears gradients before each backward pass is right, and `movement` sees it."""
    for loss, reached in seen.reached.items():
        for name, optimiser in seen.optimisers.items():
            stray = reached & own & optimiser.holds
            if stray and loss not in optimiser.losses:
                yield find(
                    "stray-gradient",
                    loss=loss,
                    subject=module,
                    path=route(seen, loss, module),
                    optimiser=name,
                    parameters=seen.spoken(module, stray),
                    detail="",
                )
