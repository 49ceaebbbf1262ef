"""The registry of array functions: opaque functions of arrays, written once for every backend.

An array function takes arrays of any library that follows the Python array API standard and
declares its algebra, never its pressure: the rules derive that from the structure around it. Its
kind says what the operands are to each other:

- distance: prediction and target, in either order; or one residual, whose distance from zero it is
- classification: logits, and the classes that they should give
- divergence: the parameters of a distribution p, then those of q
- contrastive: queries and keys, or two views; entry i of one belongs to entry i of the other
- ranking: one latent, whose entries are put in an order
- statistic: one latent, judged by how its entries are spread; the rest is noise
- array: a helper and no loss by itself; the rules read through it to its operands
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ..errors import ShapeError, SpecError, nearest, user_line
from .types import Type

KINDS = ("distance", "classification", "divergence", "contrastive", "ranking", "statistic", "array")


@dataclass(frozen=True)
class ArrayFunction:
    """An array function with its declared algebra.

    Args:
        name: the name it has in specs, JSON and emitted source.
        function: arrays and keyword arguments -> array.
        kind: one of `KINDS`.
        couples: True when entries of the batch meet in it other than in the final mean.
        prevents_collapse: True when a constant latent scores badly.
        differentiable: False when its result carries no gradient.
        infer: (operand types, keyword arguments) -> type of the result.
    """

    name: str
    function: Callable[..., Any]
    kind: str
    couples: bool
    prevents_collapse: bool
    differentiable: bool
    infer: Callable[[Sequence[Type], dict[str, Any]], Type]


_FUNCTIONS: dict[str, ArrayFunction] = {}


def equal_shapes(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of float operands with equal event shapes and leading axes."""
    first = types[0]
    for t in types:
        if t.dtype != "float" or t.shape != first.shape or t.lead() != first.lead():
            raise ShapeError(
                f"{user_line()}a loss compares arrays of one shape, got "
                f"{' and '.join(str(u) for u in types)}. Fix: bring them to one shape, for example "
                "by a module, `lr.reshape` or `lr.split`; integers go in as `a.one_hot()`."
            )
    return Type()


def along_event(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of equal float arrays (..., n), whose last axis is one of the event."""
    result = equal_shapes(types, arguments)
    if not types[0].shape:
        raise ShapeError(
            f"{user_line()}this loss reads vectors (..., n), got {types[0]}, one number for each "
            "entry. Fix: make vectors of such numbers with `lr.reshape(e, 1)` and join them with "
            "`lr.concat`, or compare the numbers with `lr.losses.mse`."
        )
    return result


def equal_vectors(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of float vectors (..., n) with equal leading axes."""
    result = equal_shapes(types, arguments)
    if len(types[0].shape) != 1:
        raise ShapeError(
            f"{user_line()}this loss reads vectors (..., n), got {types[0]}. Fix: "
            f"`lr.reshape(e, {prod(types[0].shape)})` makes a vector of each entry."
        )
    return result


def batch_of_vectors(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of float vectors with a batch axis: (batch, n), (batch, time, n)."""
    result = equal_vectors(types, arguments)
    if "batch" not in types[0].axes:
        raise ShapeError(
            f"{user_line()}a statistic of a batch reads (batch, time, n) or (batch, n), got "
            f"{types[0]}. Fix: apply it before the mean over the batch."
        )
    return result


def class_indices(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of logits (..., n) and integer classes (...)."""
    logits, classes = types
    fits = logits.dtype == "float" and classes.dtype == "int" and logits.shape[:-1] == classes.shape
    if not (fits and logits.shape):
        raise ShapeError(
            f"{user_line()}logits (..., n) are judged by integer classes (...), got {logits} and "
            f"{classes}. Fix: pass n logits, one for each class, and as classes an action "
            "or an `s.label(name, classes=n)`."
        )
    return Type()


def array_function_of(
    kind: str,
    *,
    couples: bool = False,
    prevents_collapse: bool = False,
    differentiable: bool = True,
    infer: Callable[[Sequence[Type], dict[str, Any]], Type] = equal_shapes,
    name: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers an array function under its own name, or under `name`.

    Raises:
        SpecError: the kind is unknown, or the name is taken by another function.
    """
    if kind not in KINDS:
        raise SpecError(f"an array function's kind is one of {', '.join(KINDS)}, got {kind!r}.")

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        key = name or function.__name__
        known = _FUNCTIONS.get(key)
        if known is not None and known.function.__module__ != function.__module__:
            raise SpecError(
                f"the array function {key!r} is registered by {known.function.__module__} already; "
                f"{function.__module__} must choose another name."
            )
        _FUNCTIONS[key] = ArrayFunction(
            key, function, kind, couples, prevents_collapse, differentiable, infer
        )
        return function

    return register


def array_function(name: str) -> ArrayFunction:
    """Looks an array function up, in this process or among the installed plugins."""
    if name not in _FUNCTIONS:
        from ..plugins import load_losses

        load_losses()
    if name not in _FUNCTIONS:
        raise SpecError(
            f"{user_line()}no array function {name!r} is registered.{nearest(name, _FUNCTIONS)}"
        )
    return _FUNCTIONS[name]


def all_array_functions() -> dict[str, ArrayFunction]:
    """Every registered array function by name."""
    from ..plugins import load_losses

    load_losses()
    return dict(sorted(_FUNCTIONS.items()))


class _Functions:
    """The registered functions as attributes, which is how emitted source calls them."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return array_function(name).function


functions = _Functions()
