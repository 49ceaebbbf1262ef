"""The array functions of the shipped measures, written once against the array API standard.

A measure is a number to look at: none of them carries gradient.
"""

from collections.abc import Sequence
from typing import Any

from array_api_compat import array_namespace

from ..errors import ShapeError, user_line
from .array_functions import array_function_of, class_indices, equal_shapes
from .array_pieces import one_hot
from .types import Type


@array_function_of("array", differentiable=False, infer=class_indices)
def accuracy(logits: Any, classes: Any) -> Any:
    """The share of entries whose class has the greatest logit; logits (..., n), classes (...).

    Among k equal greatest logits each counts 1 / k, as if one of them were drawn.
    """
    xp = array_namespace(logits)
    greatest = xp.astype(logits == xp.max(logits, axis=-1, keepdims=True), logits.dtype)
    hits = xp.sum(greatest * one_hot(classes, logits.shape[-1], logits.dtype), axis=-1)
    return xp.mean(hits / xp.sum(greatest, axis=-1))


def _over_entries(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of two float arrays of one shape, with entries along leading axes."""
    result = equal_shapes(types, arguments)
    if not types[0].axes:
        raise ShapeError(
            f"{user_line()}r2 compares predictions over a batch, got {types[0]} without leading "
            "axes. Fix: read it before its mean is taken."
        )
    return result


@array_function_of("array", couples=True, differentiable=False, infer=_over_entries)
def r2(prediction: Any, target: Any, *, event: int) -> Any:
    """mean_i (1 - sum (t_i - p_i)^2 / sum (t_i - mean t_i)^2), i over the last `event` axes.

    The sums run over all other axes. A dimension whose target is constant counts 0, whatever the
    prediction is.
    """
    xp = array_namespace(target)
    over = tuple(range(target.ndim - event))
    low = xp.min(target, axis=over, keepdims=True)
    # Constant exactly where it does not rise above its minimum: a mean would be off by round-off.
    risen = target - low
    total = xp.sum((risen - xp.mean(risen, axis=over, keepdims=True)) ** 2, axis=over)
    varies = (xp.max(risen, axis=over) > 0) & (total > 0)
    residual = xp.sum((target - prediction) ** 2, axis=over)
    share = residual / xp.where(varies, total, xp.ones_like(total))
    return xp.mean(xp.where(varies, 1 - share, xp.zeros_like(total)))
