"""What an audit saw of a training program, in terms that no framework owns."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field

from ..errors import AuditError, nearest, user_line
from ..routes.table import RouteTable


@dataclass(frozen=True)
class Optimiser:
    """What one optimiser holds, and the losses whose gradient its step applies.

    Args:
        losses: the losses of its own.
        holds: the identities of the parameters that it moves.
    """

    losses: frozenset[str]
    holds: frozenset[Hashable]


@dataclass(frozen=True)
class Observed:
    """What a backend's audit saw.

    A parameter is known by an identity: anything hashable that is equal for the same parameter
    under two names, such as the `id` of a tensor or of an array.

    Args:
        table: which loss updates which module.
        parameters: {module: {path of the parameter in the module: identity}}.
        reached: {loss: the identities that its gradient flows into}.
        frozen: the identities that take no gradient at all, in modules or in optimisers.
        optimisers: {name: Optimiser}; empty where the audit was not told of any.
        targets: {module that moves by a copy of another: the module that it is a copy of}.
        memory: {identity: where its numbers lie}, for parameters whose identities differ and whose
            numbers may still be the same ones; an identity that is left out stands for itself.
    """

    table: RouteTable
    parameters: Mapping[str, Mapping[str, Hashable]]
    reached: Mapping[str, frozenset[Hashable]]
    frozen: frozenset[Hashable] = frozenset()
    optimisers: Mapping[str, Optimiser] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[Hashable, Hashable] = field(default_factory=dict)

    def holders(self, module: str) -> list[str]:
        """The optimisers that hold any of a module."""
        own = frozenset(self.parameters[module].values())
        return [name for name, optimiser in self.optimisers.items() if own & optimiser.holds]

    def trainable(self, module: str) -> dict[str, Hashable]:
        """The parameters of a module that take gradient."""
        return {p: i for p, i in self.parameters[module].items() if i not in self.frozen}

    def spoken(self, module: str, identities: Collection[Hashable]) -> str:
        """Those parameters of a module, as a message names them."""
        own = self.parameters[module]
        paths = [path for path, identity in own.items() if identity in identities]
        if len(paths) == len(own):
            return "the one parameter" if len(own) == 1 else f"all {len(own)} parameters"
        shown = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
        return f"{len(paths)} of {len(own)} parameters ({shown})"


def own_losses(
    listed: Mapping[str, Collection[str] | None], losses: Collection[str]
) -> dict[str, frozenset[str]]:
    """Which losses each optimiser steps.

    Args:
        listed: {name of an optimiser: the losses that the user listed for it, or None}.
        losses: the names of all losses.

    Returns:
        What is listed; else, for an optimiser that is named like a loss, that loss; else, for the
        only optimiser, every loss.

    Raises:
        AuditError: an optimiser that belongs to no loss, or a loss that belongs to no optimiser.
    """
    owned: dict[str, frozenset[str]] = {}
    for name, own in listed.items():
        if own is not None:
            for loss in own:
                if loss not in losses:
                    raise AuditError(
                        f"{user_line()}optimizers[{name!r}] lists a loss {loss!r} that is not in "
                        f"losses.{nearest(loss, losses)}"
                    )
            owned[name] = frozenset(own)
        elif name in losses:
            owned[name] = frozenset({name})
        elif len(listed) == 1:
            owned[name] = frozenset(losses)
        else:
            taken = {*listed, *(loss for own in listed.values() for loss in own or ())}
            free = [loss for loss in losses if loss not in taken]
            raise AuditError(
                f"{user_line()}optimizers[{name!r}] is named like no loss, and there are "
                f"{len(listed)} optimisers. Fix: say whose gradient it applies: "
                f"{{{name!r}: (optimizer, [{', '.join(map(repr, free)) or '...'}])}}."
            )
    orphans = [loss for loss in losses if not any(loss in own for own in owned.values())]
    if listed and orphans:
        raise AuditError(
            f"{user_line()}no optimiser applies the gradient of loss {orphans[0]!r}: each "
            "optimiser owns the loss that it is named like, or those listed with it. Fix: "
            f"optimizers={{'name': (optimizer, [{orphans[0]!r}, ...])}}."
        )
    return owned
