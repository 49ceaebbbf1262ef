"""Array functions: errors between frames, and weights for them.

Frames are (..., C, H, W), maps of errors (..., H, W). What pools or blurs works on rows and columns
apart, so that each is two small matrices.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from ..errors import ShapeError, user_line
from .array_functions import array_function_of, equal_shapes
from .array_pieces import magnitude
from .types import Type


def _per_pixel(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """(..., C, H, W) -> (..., H, W)."""
    (residual,) = types
    if residual.dtype != "float" or len(residual.shape) != 3:
        raise ShapeError(
            f"{user_line()}an error per pixel needs frames (..., C, H, W), got {residual}. Fix: "
            "decode to frames, or `lr.reshape(e, C, H, W)`."
        )
    return residual.with_shape(residual.shape[1:])


def _frames(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of equal frames."""
    result = equal_shapes(types, arguments)
    if len(types[0].shape) != 3:
        raise ShapeError(
            f"{user_line()}this loss reads frames (..., C, H, W), got {types[0]}. Fix: decode to "
            "frames, or `lr.reshape(e, C, H, W)`."
        )
    return result


def _map(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """(..., H, W) -> the same."""
    (error,) = types
    if error.dtype != "float" or len(error.shape) != 2:
        raise ShapeError(
            f"{user_line()}a weight of errors reads a map of them (..., H, W), got {error}. Fix: "
            "take the errors of frames by pixel_error or pixel_square."
        )
    return error


@array_function_of("distance", infer=_per_pixel)
def pixel_error(residual: Any) -> Any:
    """mean_c |residual|: (..., C, H, W) -> (..., H, W)."""
    xp = array_namespace(residual)
    return xp.mean(magnitude(residual), axis=-3)


@array_function_of("distance", infer=_per_pixel)
def pixel_square(residual: Any) -> Any:
    """mean_c residual^2: (..., C, H, W) -> (..., H, W)."""
    xp = array_namespace(residual)
    return xp.mean(residual**2, axis=-3)


@array_function_of("distance", infer=_frames)
def patch_mse(prediction: Any, target: Any, *, size: int) -> Any:
    """Mean of the patches' mse: size x size pixels each, half a size apart, the last at the border.

    Patches have equal weights, so that a pixel counts once for each patch that it lies in.
    """
    xp = array_namespace(prediction)
    squares = xp.mean((prediction - target) ** 2, axis=-3)
    rows, columns = (_as(squares, _patches(n, size)) for n in squares.shape[-2:])
    return xp.mean(xp.matmul(xp.matmul(squares, columns), rows))


@array_function_of("array", infer=_map, differentiable=False)
def box_weight(error: Any, *, kernel: int, stride: int, beta: float, limit: float) -> Any:
    """min((error / local)^beta, limit), where local is the error's mean over boxes.

    The boxes have size `kernel` and step `stride`, the last at the border; their means are resized
    bilinearly to the size of the error, (..., H, W). 1e-6 is added to both, so that the weight is 1
    where an error and its surroundings are zero.
    """
    xp = array_namespace(error)
    (pool_rows, resize_rows), (pool_columns, resize_columns) = (
        [_as(error, matrix) for matrix in _local_mean(size, kernel, stride)]
        for size in error.shape[-2:]
    )
    means = xp.matmul(pool_rows, xp.matmul(error, pool_columns.T))
    local = xp.matmul(xp.matmul(resize_rows, means), resize_columns.T)
    tiny = 1e-6
    ratio = (error + tiny) / (local + tiny)
    return xp.clip(ratio**beta, 0.0, limit)


@array_function_of("array", infer=_map, differentiable=False)
def gauss_weight(error: Any, *, sigma: float, beta: float, limit: float) -> Any:
    """min((blur(error) + 1e-6)^beta, limit), blur the mean under a Gaussian window.

    The window has deviation `sigma` in pixels, and its weights add up to 1 at the border as well.
    """
    xp = array_namespace(error)
    rows, columns = (_as(error, _gaussian_mean(size, sigma)) for size in error.shape[-2:])
    blurred = xp.matmul(rows, xp.matmul(error, columns.T))
    return xp.clip((blurred + 1e-6) ** beta, 0.0, limit)


@array_function_of("array")
def weighted_mean(values: Any, weights: Any) -> Any:
    """mean(weights * values); the weights are a stopped Expr."""
    xp = array_namespace(values)
    return xp.mean(weights * values)


def _as(like: Any, matrix: np.ndarray) -> Any:
    xp = array_namespace(like)
    return xp.asarray(matrix, dtype=like.dtype, device=device(like))


def _starts(length: int, size: int, step: int) -> list[int]:
    """Where windows of a line begin: `step` apart, and one that ends where the line does."""
    last = length - size
    return sorted({*range(0, last, step), last})


@lru_cache(maxsize=64)
def _patches(length: int, size: int) -> np.ndarray:
    """How much each pixel of a line counts in the mean of the patches' means; adds up to 1."""
    starts = _starts(length, size, max(size // 2, 1))
    counts = np.zeros(length)
    for start in starts:
        counts[start : start + size] += 1.0
    return counts / (size * len(starts))


@lru_cache(maxsize=64)
def _local_mean(size: int, kernel: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrices (boxes, size) of a line's box means, (size, boxes) that resizes to its length.

    Box means: no padding, the last box at the border. Resizing: bilinear with half-pixel centres,
    edges repeated.
    """
    starts = _starts(size, kernel, stride)
    boxes = len(starts)
    pool = np.zeros((boxes, size))
    for i, start in enumerate(starts):
        pool[i, start : start + kernel] = 1.0 / kernel
    centre = np.clip((np.arange(size) + 0.5) * boxes / size - 0.5, 0.0, boxes - 1.0)
    low = np.floor(centre).astype(int)
    high = np.minimum(low + 1, boxes - 1)
    resize = np.zeros((size, boxes))
    resize[np.arange(size), low] += 1.0 - (centre - low)
    resize[np.arange(size), high] += centre - low
    return pool, resize


@lru_cache(maxsize=64)
def _gaussian_mean(size: int, sigma: float) -> np.ndarray:
    """The matrix (size, size) of means under a Gaussian window around each pixel of a line."""
    pixels = np.arange(size)
    window = np.exp(-(((pixels[:, None] - pixels) / sigma) ** 2) / 2)
    return window / window.sum(axis=1, keepdims=True)
