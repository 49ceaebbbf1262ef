"""Samples of distributions, whose randomness is Noise: an input of the step."""

from ..errors import ShapeError, user_line
from .call import call
from .expr import Expr
from .ops import draw, exp


def gaussian_sample(mean: Expr, log_std: Expr, *, label: str) -> Expr:
    """mean + e^log_std * noise, so that gradient reaches both (Kingma and Welling, 2014).

    Args:
        mean, log_std: (..., n), alike.
        label: names the noise: equal labels share a draw.

    Raises:
        ShapeError: they are not alike, or no Exprs.
    """
    exprs = isinstance(mean, Expr) and isinstance(log_std, Expr)
    if not exprs or mean.type != log_std.type:
        types = [e.type if isinstance(e, Expr) else e for e in (mean, log_std)]
        raise ShapeError(
            f"{user_line()}gaussian_sample takes Exprs alike, a mean and a log std; received "
            f"{types[0]} and {types[1]}. Fix: take both from one module by `lr.split`."
        )
    noise = draw("gaussian_sample", mean, label, mean.shape, "normal")
    return mean + exp(log_std) * noise


def softmax(logits: Expr) -> Expr:
    """exp(logits) / sum exp(logits) over the last event axis: (..., n) -> same."""
    return call("softmax", logits)


def categorical_sample(logits: Expr, *, label: str) -> Expr:
    """A one-hot draw from softmax(logits), (..., n) -> same, with the gradient of softmax(logits).

    The straight-through estimator (Bengio et al., 2013) as in DreamerV2 (Hafner et al., 2021): the
    sample passes on a gradient as if it had been its own mean.

    Args:
        logits: (..., n); further event axes in front of n are so many variables.
        label: names the noise: equal labels share a draw.
    """
    mean = softmax(logits)
    noise = draw("categorical_sample", logits, label, logits.shape[:-1], "uniform")
    drawn = call("categorical_draw", logits.stop(), noise)
    return (mean - mean.stop()) + drawn  # in this order it is one-hot to the last bit
