"""A user's loss function as a program: traced once, its inputs named after the user's modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from latentroles.audit.names import named, received, require_call
from latentroles.errors import AuditError, user_line

from .graph import is_library

LossFunction = Callable[..., Mapping[str, Any] | tuple[Any, Mapping[str, Any]]]

_EXAMPLE = '{"encoder": encoder, "decoder": decoder}'


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array of JAX; what is not is part of the program and stays as it is."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        return leaf.dtype.kind not in "OSUMm"
    return isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct))


def is_parameter(leaf: Any) -> bool:
    """Whether a leaf can be trained: floating point and complex arrays can."""
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)


@dataclass(frozen=True)
class Parameter:
    """One trainable array of a module.

    Args:
        module: the name of the module. path: where it stands there, such as ".layers[0].weight".
    """

    module: str
    path: str


def trainable(module: Any) -> dict[str, Any]:
    """{path: array} of the trainable arrays in a pytree."""
    leaves = jax.tree_util.tree_leaves_with_path(module)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if is_parameter(leaf)}


def identities_of(
    parameters: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Parameter]]:
    """{module: {path: the Parameter}} for what `parameters_of` gave."""
    return {
        module: {path: Parameter(module, path) for path in own}
        for module, own in parameters.items()
    }


def key_name(key: Any) -> str | None:
    """What a key of a path calls its child: the key of a dict, or the name of a field."""
    name = getattr(key, "key", getattr(key, "name", None))
    return name if isinstance(name, str) else None


def parts_of(modules: Any) -> dict[str, Any]:
    """{name: pytree}: a dict as it is, and of any other pytree its fields that hold arrays.

    Raises:
        AuditError: it is neither a dict of names nor a pytree with fields, such as an
            `eqx.Module`, a dataclass that JAX knows, or a named tuple.
    """
    if isinstance(modules, Mapping):
        return named("modules", modules, _EXAMPLE)
    parts, _ = jax.tree_util.tree_flatten_with_path(modules, is_leaf=lambda x: x is not modules)
    if not all(path and key_name(path[0]) for path, _ in parts) or not trainable(modules):
        return named("modules", modules, _EXAMPLE)  # which refuses it
    return {str(key_name(path[0])): part for path, part in parts if trainable(part)}


def parameters_of(modules: Any) -> dict[str, dict[str, Any]]:
    """{module: {path: array}} of every trainable array.

    Raises:
        AuditError: modules is no dict of names, or one of them has nothing to train.
    """
    found = {}
    for name, module in parts_of(modules).items():
        own = trainable(module)
        if not own:
            kinds = dict.fromkeys(type(leaf).__name__ for leaf in jax.tree.leaves(module))
            got = ", ".join(kinds) or "no leaves"
            raise AuditError(
                f"{user_line()}a module is a pytree with floating point arrays, and {name!r} has "
                f"none: received {got}. Fix: pass its parameters, and what has none in *args."
            )
        found[name] = own
    return found


class Program:
    """A loss function with its modules and arguments, as a function of arrays alone.

    Attributes:
        modules: {name: pytree}, whatever they were given as.
        losses: the names of its losses, known once it was called.
    """

    def __init__(self, loss_fn: LossFunction, modules: Any, args: Sequence[Any]):
        if not callable(loss_fn):
            raise AuditError(
                f"{user_line()}the audit takes the loss function first, received "
                f"{type(loss_fn).__name__}. Fix: audit.routes(loss_fn, modules, *args)."
            )
        self.modules = parts_of(modules)
        self.parameters = parameters_of(self.modules)
        require_call(loss_fn, modules, *args, call="loss_fn(modules, *args)")
        self.loss_fn = loss_fn
        self.losses: tuple[str, ...] = ()
        given = dict(modules) if isinstance(modules, Mapping) else modules
        dynamic, self._static = eqx.partition((given, tuple(args)), is_array)
        self.leaves, self._tree = jax.tree.flatten(dynamic)

    def inputs(self) -> Iterator[Parameter | None]:
        """What each array of `leaves` is: a parameter of a module, or anything else (None)."""
        dynamic = jax.tree.unflatten(self._tree, self.leaves)
        for path, leaf in jax.tree_util.tree_leaves_with_path(dynamic):
            if path[0].idx == 0 and is_parameter(leaf):
                yield Parameter(str(key_name(path[1])), jax.tree_util.keystr(path[2:]))
            else:
                yield None

    def __call__(self, *leaves: Any) -> list[Any]:
        """The losses, in the order of `losses`."""
        modules, args = eqx.combine(jax.tree.unflatten(self._tree, leaves), self._static)
        result = _losses(self.loss_fn(modules, *args), _defined_at(self.loss_fn))
        self.losses = tuple(result)
        return list(result.values())

    def traced(self) -> Any:
        """The program as a closed jaxpr.

        Raises:
            AuditError: the loss function gives no dict of scalars, or needs the value of an array.
        """
        try:
            return jax.make_jaxpr(self)(*self.leaves)
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
            said = str(error).strip().splitlines()[0]
            raise AuditError(
                f"{_users_line(error.__traceback__)}the audit traces the loss function as jax.jit "
                f"does, and it needs the value of an array ({type(error).__name__}: {said}). Fix: "
                "jnp.where or jax.lax.cond for a branch on arrays; a choice that Python makes "
                "belongs in a Python number or a closure, which the audit leaves as they are."
            ) from error


def _losses(result: Any, line: str) -> dict[str, Any]:
    """What the loss function at `line` returned, if it is a dict of floating point scalars.

    Beside another result, as of a function for `jax.value_and_grad(..., has_aux=True)`, the dict is
    what counts.
    """
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        result = result[1]
    fix = 'Fix: return {"loss": loss}, one entry for each loss.'
    if not isinstance(result, Mapping) or not result:
        got = "an empty dict" if isinstance(result, Mapping) else type(result).__name__
        raise AuditError(
            f"{line}the loss function returns a dict of scalars, received {got}. {fix}"
        )
    for name, value in result.items():
        if not isinstance(name, str):
            raise AuditError(f"{line}a loss is named by a text, received {received(name)}. {fix}")
        if not isinstance(value, (jax.Array, np.ndarray, np.generic)):
            raise AuditError(
                f"{line}loss {name!r} is a constant of Python ({type(value).__name__}): it "
                "depends on no parameter. Fix: leave it out, or compute it from the modules."
            )
        if value.shape != ():
            raise AuditError(
                f"{line}a loss is a scalar, and {name!r} has the shape {value.shape}. Fix: "
                "jnp.mean or jnp.sum of it."
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise AuditError(
                f"{line}a loss is a floating point number, and {name!r} is "
                f"{value.dtype.name}: it has no gradient. Fix: leave it out, it is a measure."
            )
    return dict(result)


def _defined_at(function: Any) -> str:
    """Returns "file.py:12: " for a function of the user, or ""."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}: " if code else ""


def _users_line(traceback: TracebackType | None) -> str:
    """Returns "file.py:12: " for the innermost line of the user in a traceback, or ""."""
    line = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not is_library(file):
            line = f"{Path(file).name}:{traceback.tb_lineno}: "
        traceback = traceback.tb_next
    return line
