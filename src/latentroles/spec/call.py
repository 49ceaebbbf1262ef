"""Array functions applied in a declaration, which is the last step of losses and measures."""

import inspect
from collections.abc import Sequence
from typing import Any

from ..errors import ShapeError, SpecError, user_line
from .array_functions import array_function
from .expr import Expr, align, as_expr, spec_of
from .types import Type


def call(function: str, *operands: Any, **arguments: Any) -> Expr:
    """Applies a registered array function to operands with equal leading axes.

    Args:
        function: the name of an array function; see `array_functions`.
        arguments: its static keyword arguments: numbers or strings.
    """
    spec = spec_of(function, operands)
    exprs = align(function, [as_expr(spec, o, function) for o in operands])
    return call_unaligned(function, exprs, arguments)


def call_unaligned(function: str, exprs: Sequence[Expr], arguments: dict[str, Any]) -> Expr:
    """Applies a registered array function to operands as they are."""
    registered, spec = array_function(function), exprs[0].spec
    try:
        inspect.signature(registered.function).bind(*exprs, **arguments)
    except TypeError as error:
        raise SpecError(
            f"{user_line()}the array function {function!r} takes "
            f"{inspect.signature(registered.function)}: {error}."
        ) from None
    result = spec._node("call", tuple(exprs), (function, tuple(sorted(arguments.items()))))
    # The sorter lifts work out of a loop: what takes means would then take them over time as well.
    reduced = result.type == Type() or any(set(e.axes) - set(result.axes) for e in exprs)
    if spec._tracing and reduced:
        raise SpecError(
            f"{user_line()}the loss {function!r} inside the step of a loop would be taken once per "
            "step: return its operands as outputs of the step, and take the loss outside."
        )
    return result


def require_logits(what: str, logits: Expr, classes: Expr) -> None:
    """Refuses classes that no logit stands for: their one-hot codes would be zero, and the loss."""
    n = classes.spec._classes(classes) if isinstance(classes, Expr) else None
    held = logits.shape[-1] if n and isinstance(logits, Expr) and logits.shape else None
    if n is not None and held is not None and held < n:
        raise ShapeError(
            f"{user_line()}{what} needs a logit for each class; got {held} logits for the {n} "
            f"classes of {classes!r}. Fix: let the head return {n} numbers."
        )
