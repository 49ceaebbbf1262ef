"""The shipped losses of frames against frames, as Exprs; `latentroles.spec.losses` has them too.

Each takes frames (..., C, H, W), both of one shape.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any

from ..arguments import POSITIVE, integer, real
from ..errors import ShapeError, SpecError, user_line
from .call import call
from .expr import Expr, elementwise
from .ops import avg_pool2d


def patch_mse(prediction: Expr, target: Expr, *, size: int = 32) -> Expr:
    """Mean over patches of each one's mse; patches of size x size pixels overlap by half.

    The last patch of a row or column stands at the border. A patch that would not fit is cut to the
    frame.

    Args:
        prediction, target: (..., C, H, W).

    Source: `recon_patch` of the hzp note.
    """
    size = integer("patch_mse", "size", size, "pixels of a patch's side")
    frames = [e.shape[-2:] for e in (prediction, target) if isinstance(e, Expr)]
    return call("patch_mse", prediction, target, size=min([size, *sum(frames, ())]))


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

    Per level: e = mean_c |p - t|, local = box mean of stop(e), resized to the level's size, w =
    min(((stop(e) + 1e-6) / (local + 1e-6))^beta, limit); the loss is the mean over levels of
    mean(w e). Each level halves height and width. Boxes overlap where their step is shorter than
    they are; the last one of a row or column stands at the border. A box that would not fit a level
    is cut to its size, and its step with it.

    Args:
        prediction, target: (..., C, H, W).
        kernels, strides: the box size and step of each level, in that level's pixels. No step is
            longer than its box: what lies between two boxes would have no surroundings.

    Source: `recon_multi_box` and `pixel_delta_multi_box` of the hzp note. The note divides
    sum(w e) by the sum of the resized coverage. Here a box mean of ones is one, and stays one when
    resized, so that the coverage sums to the number of pixels: that is the mean.
    """
    sizes, steps = (
        [integer("multi_box", name, size, "pixels") for size in _levels("multi_box", name, given)]
        for name, given in (("kernels", kernels), ("strides", strides))
    )
    if len(sizes) != len(steps):
        raise SpecError(
            f"{user_line()}multi_box needs one kernel and one stride per level, got {kernels} and "
            f"{strides}. Fix: pass as many strides as kernels."
        )
    if any(step > size for size, step in zip(sizes, steps, strict=True)):
        raise SpecError(
            f"{user_line()}multi_box: boxes leave no pixel out, so that a stride is at most its "
            f"kernel; received kernels {kernels} and strides {strides}. Fix: pass strides="
            f"{tuple(map(min, sizes, steps))}."
        )
    beta = real("multi_box", "beta", beta, POSITIVE)
    limit = real("multi_box", "limit", limit, POSITIVE)
    levels = []
    residuals = _pyramid("multi_box", prediction, target, len(sizes))
    for residual, kernel, stride in zip(residuals, sizes, steps, strict=True):
        error = call("pixel_error", residual)
        box = min(kernel, *error.shape)
        weight = call(
            "box_weight", error.stop(), kernel=box, stride=min(stride, box), beta=beta, limit=limit
        )
        levels.append(call("weighted_mean", error, weight.stop()))
    return reduce(add, levels) * (1.0 / len(levels))


def multi_gauss(
    prediction: Expr,
    target: Expr,
    *,
    sigmas: tuple[float, ...] = (4.0, 4.0, 3.0),
    beta: float = 2.0,
    limit: float = 100.0,
) -> Expr:
    """Reconstruction over a pyramid, weighted towards regions of large error.

    Per level s: e = mean_c (p - t)^2, w = clip((blur(stop(e)) + 1e-6)^beta, limit), loss = mean
    over levels of mean(w e). Each level halves height and width. The weights are not normalised:
    of a frame that is nearly right every pixel counts for little.

    Args:
        prediction, target: (..., C, H, W).
        sigmas: the deviation of each level's Gaussian blur, in that level's pixels.

    Source: `recon_multi_gauss` of the hzp note. Here the blur is a mean at the border as well.
    """
    levels = _levels("multi_gauss", "sigmas", sigmas)
    sigmas = tuple(real("multi_gauss", "sigmas", sigma, POSITIVE) for sigma in levels)
    beta = real("multi_gauss", "beta", beta, POSITIVE)
    limit = real("multi_gauss", "limit", limit, POSITIVE)
    losses = []
    residuals = _pyramid("multi_gauss", prediction, target, len(sigmas))
    for residual, sigma in zip(residuals, sigmas, strict=True):
        error = call("pixel_square", residual)
        weight = call("gauss_weight", error.stop(), sigma=sigma, beta=beta, limit=limit)
        losses.append(call("weighted_mean", error, weight.stop()))
    return reduce(add, losses) * (1.0 / len(losses))


def _levels(what: str, name: str, values: Any) -> Sequence[Any]:
    """Raises where there is not one number for each level of a pyramid."""
    if not isinstance(values, tuple | list) or not values:
        raise SpecError(
            f"{user_line()}{what}: {name} has one number per level of the pyramid; received "
            f"{values!r}. Fix: pass a tuple such as {name}=(4, 4)."
        )
    return values


def _pyramid(what: str, prediction: Expr, target: Expr, levels: int) -> Iterator[Expr]:
    """The residual at each level; pooling is linear, so it is that of the two pyramids."""
    residual = elementwise("sub", prediction, target)
    sides, step = residual.shape[-2:], 2 ** (levels - 1)
    if len(residual.shape) == 3 and any(side % step for side in sides):
        fitting = " x ".join(_multiples_near(side, step) for side in sides)
        fewer = next(n for n in range(levels, 0, -1) if not any(s % 2 ** (n - 1) for s in sides))
        raise ShapeError(
            f"{user_line()}{what} halves its frames {levels - 1} times, so that height and width "
            f"are multiples of {step}; received "
            f"{residual.type}. Fix: take frames of {fitting}, or at most {fewer} "
            f"level{'s' if fewer > 1 else ''}."
        )
    return _halved(residual, levels)


def _halved(frames: Expr, levels: int) -> Iterator[Expr]:
    for level in range(levels):
        if level:
            frames = avg_pool2d(frames, 2)
        yield frames


def _multiples_near(side: int, step: int) -> str:
    """The multiples of `step` next to `side`, which may be one, in words."""
    below, above = side // step * step, -(-side // step) * step
    return f"{below}" if below == above else f"({below} or {above})" if below else f"{above}"
