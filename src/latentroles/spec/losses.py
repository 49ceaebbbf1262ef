"""The shipped losses, as Exprs: `lr.losses.mse(prediction, target.stop())`.

A loss is a scalar Expr. What it compares is built from Exprs, so that routes and rules see its
structure; only the last step is an array function. Stops are the caller's: none is hidden here.
"""

from functools import reduce
from operator import add
from typing import Any

from ..errors import ShapeError, SpecError, user_line
from .array_functions import array_function
from .expr import Expr, align, as_expr, elementwise, spec_of
from .ops import avg_pool2d


def call(function: str, *operands: Any, **arguments: Any) -> Expr:
    """Applies a registered array function to operands with equal leading axes.

    Args:
        function: the name of an array function; see `array_functions`.
        arguments: its static keyword arguments: numbers or strings.
    """
    spec = spec_of(function, operands)
    registered = array_function(function)
    exprs = align(function, [as_expr(spec, o, function) for o in operands])
    result = spec._node("call", exprs, (function, tuple(sorted(arguments.items()))))
    if spec._tracing and not result.axes and registered.kind != "array":
        raise SpecError(
            f"{user_line()}the loss {function!r} inside the step of a loop would be taken once per "
            "step: return its operands as outputs of the step, and take the loss outside."
        )
    return result


def mse(prediction: Any, target: Any) -> Expr:
    """mean((prediction - target)^2) over batch, time, step and event."""
    return call("mse", prediction, target)


def cosine(prediction: Any, target: Any) -> Expr:
    """mean(1 - cos(prediction, target)), the cosine over the last event axis."""
    return call("cosine", prediction, target)


def cross_entropy(logits: Expr, classes: Expr) -> Expr:
    """Mean cross-entropy in nats; logits (..., n), classes (...) int, such as an action."""
    return call("cross_entropy", logits, classes)


def multi_box(
    prediction: Expr,
    target: Expr,
    *,
    kernels: tuple[int, ...] = (8, 8, 6),
    strides: tuple[int, ...] = (4, 4, 4),
    beta: float = 2.0,
    limit: float = 100.0,
) -> Expr:
    """Reconstruction over a pyramid, weighted towards errors above their surroundings.

    Per level s: e = mean_c |p - t|, local = box mean of stop(e), w = clip((stop(e) / local)^beta,
    limit), loss = mean over levels of mean(w e). Each level halves height and width. A box that
    would not fit a level is cut to its size.

    Args:
        prediction, target: (..., C, H, W).
        kernels, strides: the box size and step of each level, in that level's pixels.

    Source: `recon_multi_box` and `pixel_delta_multi_box` of the hzp note. The note divides
    sum(w e) by the sum of the resized coverage; boxes without padding cover every pixel once,
    so that is the mean.
    """
    if len(kernels) != len(strides) or not kernels:
        raise SpecError(
            f"{user_line()}multi_box needs one kernel and one stride per level, got {kernels} and "
            f"{strides}."
        )
    levels = []
    # Pooling is linear: the pyramid of the residual is the residual of the pyramids.
    residual = elementwise("sub", prediction, target)
    for level, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
        if level:
            residual = avg_pool2d(residual, 2)
        error = call("pixel_error", residual)
        box = min(kernel, *error.shape)
        weight = call(
            "box_weight", error.stop(), kernel=box, stride=min(stride, box), beta=beta, limit=limit
        )
        levels.append(call("weighted_mean", error, weight.stop()))
    return reduce(add, levels) * (1.0 / len(levels))


def kstep(position: Expr, measured: Expr, horizon: int) -> Expr:
    """mean over k = 2..horizon of mse(p_{t+k}, stop m_{t+k}).

    p_{t+k} is p_t plus the sum of its k moves, by the definition of p, and is read there. m must
    be measured independently of p: a label, or a head with a loss of its own.

    Args:
        position, measured: (batch, time, n).
    """
    if horizon < 2:
        raise SpecError(f"{user_line()}kstep needs a horizon of at least 2, got {horizon}.")
    terms = [mse(position.t[k:], measured.t[k:].stop()) for k in range(2, horizon + 1)]
    return reduce(add, terms) * (1.0 / len(terms))


def scale(delta: Expr, *, target: float = 1.0) -> Expr:
    """(median ||delta|| - target)^2, the median over batch and time; delta (batch, time, n)."""
    return call("median_scale", delta, target=target)


def geometry_rank(position: Expr, *, margin: float = 0.1, pairs: int = 1024) -> Expr:
    """mean relu(margin - (d_i - d_j)) for i < j, with d_i the distance to the last position.

    Args:
        position: (batch, time, n).
        pairs: at most so many pairs of frames are used.
    """
    if position.axes != ("batch", "time"):
        raise ShapeError(
            f"{user_line()}geometry_rank needs positions (batch, time, n), got {position.type}."
        )
    return call("goal_ranking", position, margin=margin, pairs=pairs)
