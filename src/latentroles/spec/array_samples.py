"""Array functions: what a sample of a categorical distribution is made of.

No losses: the rules read through them to their operands.
"""

from collections.abc import Sequence
from typing import Any

from array_api_compat import array_namespace

from ..errors import ShapeError, user_line
from .array_functions import array_function_of
from .array_pieces import log_softmax, one_hot
from .types import Type


def _logits(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """(..., n) floats -> the same."""
    logits = types[0]
    if logits.dtype != "float" or not logits.shape:
        raise ShapeError(
            f"{user_line()}logits are floats (..., n), got {logits}. Fix: give each variable an "
            "event axis of its classes, for example by a module."
        )
    return logits


def _drawn(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """(..., n) and (...) -> (..., n)."""
    logits, uniform = _logits(types, arguments), types[1]
    if uniform.lead() != logits.lead() or uniform.shape != logits.shape[:-1]:
        raise ShapeError(
            f"{user_line()}a draw needs logits (..., n) and one uniform number (...) for each n of "
            f"them, got {logits} and {uniform}. Fix: declare the noise with the shape and axes of "
            "the logits without n, or call `lr.categorical_sample`, which does."
        )
    return logits


@array_function_of("array", infer=_logits)
def softmax(logits: Any) -> Any:
    """exp(logits) / sum exp(logits) over the last axis."""
    xp = array_namespace(logits)
    return xp.exp(log_softmax(logits))


@array_function_of("array", infer=_drawn, differentiable=False)
def categorical_draw(logits: Any, uniform: Any) -> Any:
    """One-hot (..., n): class i where c_(i-1) <= u < c_i, c the running sum of softmax(logits).

    uniform (...) lies in [0, 1]; rounding never leaves an entry without a class.
    """
    xp = array_namespace(logits)
    reached = xp.cumulative_sum(softmax(logits), axis=-1)[..., :-1]
    drawn = xp.sum(xp.astype(uniform[..., None] >= reached, xp.int32), axis=-1)
    return one_hot(drawn, logits.shape[-1], logits.dtype)
