"""What a user says of the optimisers, checked and read as parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import jax

from latentroles.audit import Optimiser, own_losses
from latentroles.audit.names import named
from latentroles.errors import AuditError, nearest, user_line

from .program import Parameter, trainable

Held: TypeAlias = Collection[str] | Mapping[str, Any]
Optimizers: TypeAlias = Mapping[str, Held | tuple[Held, Collection[str]]]

_EXAMPLE = '{"adam": ["encoder", "decoder"]}'


def optimisers_of(
    optimizers: object, modules: Mapping[str, Any], losses: Collection[str]
) -> dict[str, Optimiser]:
    """Returns the optimisers of `check`'s argument; {} for None.

    Raises:
        AuditError: it is no dict as `check` describes it, or it names what there is not.
    """
    if optimizers is None:
        return {}
    holds, listed = {}, {}
    for name, given in named("optimizers", optimizers, _EXAMPLE).items():
        own = None
        if isinstance(given, tuple) and len(given) == 2 and not isinstance(given[0], str):
            given, own = given
            _require_names(name, own)
        holds[name], listed[name] = _held(name, given, modules), own
    owned = own_losses(listed, losses)
    return {name: Optimiser(owned[name], held) for name, held in holds.items()}


def _held(name: str, given: Any, modules: Mapping[str, Any]) -> frozenset[Parameter]:
    _require_names(name, given)
    masks = given if isinstance(given, Mapping) else dict.fromkeys(given, True)
    held = set()
    for module, mask in masks.items():
        if module not in modules:
            raise AuditError(
                f"{user_line()}optimizers[{name!r}] holds {module!r}, which is none of modules=."
                f"{nearest(str(module), modules)}"
            )
        try:
            chosen = jax.tree.map(lambda on, part: part if on else None, mask, modules[module])
        except (TypeError, ValueError) as error:
            raise AuditError(
                f"{user_line()}optimizers[{name!r}] has a mask for {module!r} that does not fit: a "
                "mask is True, False, or a pytree of them with the structure of the module."
            ) from error
        held |= {Parameter(module, path) for path in trainable(chosen)}
    return frozenset(held)


def _require_names(name: str, given: object) -> None:
    if isinstance(given, str) or not isinstance(given, Collection):
        raise AuditError(
            f"{user_line()}optimizers[{name!r}] is a list of modules, or (modules, losses), "
            f"received {given!r}. Fix: optimizers={_EXAMPLE}."
        )
