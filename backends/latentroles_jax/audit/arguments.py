"""What a user says of the optimisers, checked and read as parameters."""

from __future__ import annotations

from collections.abc import Collection, Hashable, KeysView, Mapping
from typing import Any, TypeAlias

import jax

from latentroles.audit import Optimiser, own_losses
from latentroles.audit.names import named, received
from latentroles.errors import AuditError, nearest, user_line

from .program import Parameter, is_parameter, key_name, trainable

# Names of modules, {module: mask}, or any pytree of the modules' own arrays.
Held: TypeAlias = Any
Optimizers: TypeAlias = Mapping[str, Held | tuple[Held, Collection[str]]]

_EXAMPLE = '{"adam": ["encoder", "decoder"]}'
_LISTS = (list, tuple, set, frozenset, KeysView)


def optimisers_of(
    optimizers: object, modules: Mapping[str, Any], losses: Collection[str]
) -> dict[str, Optimiser]:
    """Returns the optimisers of `check`'s argument; {} for None and for {}.

    Args:
        modules: {name: pytree}.

    Raises:
        AuditError: it is no dict as `check` describes it, or it names what there is not.
    """
    if optimizers is None or (isinstance(optimizers, Mapping) and not optimizers):
        return {}
    holds, listed = {}, {}
    for name, given in named("optimizers", optimizers, _EXAMPLE).items():
        own = None
        if _is_pair(given):
            given, own = given
            if not _are_names(own):
                raise AuditError(
                    f"{user_line()}optimizers[{name!r}] lists its losses as {received(own)}. Fix: "
                    f'optimizers={{{name!r}: (["encoder"], ["loss"])}}.'
                )
        holds[name], listed[name] = _held(name, given, modules), own
    owned = own_losses(listed, losses)
    return {name: Optimiser(owned[name], held) for name, held in holds.items()}


def _are_names(given: object) -> bool:
    return isinstance(given, _LISTS) and all(isinstance(name, str) for name in given)


def _is_pair(given: Any) -> bool:
    """Whether losses are listed: a plain pair, and neither two names nor two pytrees of arrays."""
    if not isinstance(given, tuple) or len(given) != 2 or isinstance(given[0], str):
        return False
    return isinstance(given[1], str) or (_are_names(given[1]) and not hasattr(given[1], "_fields"))


def _held(name: str, given: Any, modules: Mapping[str, Any]) -> frozenset[Hashable]:
    if _are_names(given):
        return _of_masks(name, dict.fromkeys(given, True), modules)
    if trainable(given):
        return _of_arrays(name, given, modules)
    if isinstance(given, Mapping):
        return _of_masks(name, given, modules)
    raise AuditError(
        f"{user_line()}optimizers[{name!r}] is a list of modules, or what the optimiser was "
        f"initialised with, or a pair of one and its losses, received {received(given)}. Fix: "
        f"optimizers={_EXAMPLE}."
    )


def _of_masks(
    name: str, masks: Mapping[str, Any], modules: Mapping[str, Any]
) -> frozenset[Parameter]:
    held = set()
    for module, mask in masks.items():
        if module not in modules:
            raise AuditError(
                f"{user_line()}optimizers[{name!r}] holds {received(module)}, which is none of "
                f"modules=.{nearest(str(module), modules)}"
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


def _of_arrays(name: str, given: Any, modules: Mapping[str, Any]) -> frozenset[Hashable]:
    """The modules' arrays among those given, and the `id`s of the others.

    One array may be in two modules, as a teacher that starts as its student: then the module
    decides that the array stands under here as well.
    """
    places: dict[int, list[Parameter]] = {}
    for module, part in modules.items():
        for path, leaf in trainable(part).items():
            places.setdefault(id(leaf), []).append(Parameter(module, path))
    held: set[Hashable] = set()
    unknown: set[int] = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(given):
        found = places.get(id(leaf), [])
        under = key_name(path[0]) if path else None
        held.update([p for p in found if p.module == under] or found)
        if not found and is_parameter(leaf):
            unknown.add(id(leaf))
    if not held:
        raise AuditError(
            f"{user_line()}optimizers[{name!r}] has {len(unknown)} arrays, and none of them is one "
            "of modules=: arrays are known by identity. Fix: pass what `tx.init(...)` was given, "
            f"taken from the modules of this call, and not its state; or names: {_EXAMPLE}."
        )
    return frozenset(held | unknown)
