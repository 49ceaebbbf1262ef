"""The array functions of the shipped losses, written once against the array API standard.

Means are taken over everything that is left. Each function is safe at its kinks: equal operands,
zero vectors, constant batches and ties give finite values and the same derivative on every backend.
Divergences and statistics of a batch have files of their own, which importing this one registers.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from ..errors import ShapeError, user_line
from . import array_divergences as array_divergences
from . import array_samples as array_samples
from . import array_statistics as array_statistics
from .array_functions import array_function_of, class_indices
from .array_pieces import hinge, length, log_softmax, magnitude, unit
from .types import Type


def _per_pixel(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """(..., C, H, W) -> (..., H, W)."""
    (residual,) = types
    if residual.dtype != "float" or len(residual.shape) != 3:
        raise ShapeError(f"{user_line()}pixel_error needs frames (..., C, H, W), got {residual}.")
    return residual.with_shape(residual.shape[1:])


def _like_first(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    return types[0]


@array_function_of("distance")
def mse(prediction: Any, target: Any) -> Any:
    """mean((prediction - target)^2)."""
    xp = array_namespace(prediction)
    return xp.mean((prediction - target) ** 2)


@array_function_of("distance")
def cosine(prediction: Any, target: Any) -> Any:
    """mean(1 - cos(prediction, target)) over the last axis; a zero vector has cosine 0."""
    xp = array_namespace(prediction)
    return xp.mean(1 - xp.sum(unit(prediction) * unit(target), axis=-1))


@array_function_of("classification", infer=class_indices)
def cross_entropy(logits: Any, classes: Any) -> Any:
    """mean(logsumexp(logits) - logits[class]); logits (..., n), classes (...) in 0..n-1."""
    xp = array_namespace(logits)
    n = logits.shape[-1]
    every = xp.arange(n, dtype=classes.dtype, device=device(logits))
    chosen = classes[..., None] == xp.reshape(every, (1,) * classes.ndim + (n,))
    return -xp.mean(xp.sum(log_softmax(logits) * xp.astype(chosen, logits.dtype), axis=-1))


@array_function_of("distance", infer=_per_pixel)
def pixel_error(residual: Any) -> Any:
    """mean_c |residual|: (..., C, H, W) -> (..., H, W)."""
    xp = array_namespace(residual)
    return xp.mean(magnitude(residual), axis=-3)


@array_function_of("array", infer=_like_first, differentiable=False)
def box_weight(error: Any, *, kernel: int, stride: int, beta: float, limit: float) -> Any:
    """clip((error / local)^beta, limit), where local is the error's mean over boxes.

    The boxes have size `kernel` and step `stride`; their means are resized bilinearly to the
    size of the error, (..., H, W). Where an error and its surroundings are zero the weight is 1.
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


@array_function_of("array")
def weighted_mean(values: Any, weights: Any) -> Any:
    """mean(weights * values); the weights are a stopped Expr."""
    xp = array_namespace(values)
    return xp.mean(weights * values)


@array_function_of("statistic", couples=True)
def median_scale(delta: Any, *, target: float) -> Any:
    """(median ||delta|| - target)^2 over all leading axes; delta (..., n).

    The median of an even number of lengths is the mean of the middle two.
    """
    xp = array_namespace(delta)
    lengths = xp.sort(xp.reshape(length(delta), (-1,)))
    n = lengths.shape[0]
    return ((lengths[(n - 1) // 2] + lengths[n // 2]) / 2 - target) ** 2


@array_function_of("ranking")
def goal_ranking(position: Any, *, margin: float, pairs: int) -> Any:
    """mean relu(margin - (d_i - d_j)) over i < j, where d_i = ||p_i - p_(T-1)||.

    position is (batch, time, n). A later frame must be nearer to the last one. At most `pairs`
    pairs are used, spread evenly over all of them; one frame has none, and scores 0.
    """
    xp = array_namespace(position)
    distance = length(position - position[:, -1:])
    first, second = _pairs(position.shape[1], pairs)
    later, sooner = (
        xp.take(distance, xp.asarray(i, device=device(position)), axis=1) for i in (second, first)
    )
    return xp.sum(hinge(margin - (sooner - later))) / max(len(first) * position.shape[0], 1)


def _as(like: Any, matrix: np.ndarray) -> Any:
    xp = array_namespace(like)
    return xp.asarray(matrix, dtype=like.dtype, device=device(like))


@lru_cache(maxsize=64)
def _local_mean(size: int, kernel: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrices (boxes, size) of a line's box means, (size, boxes) that resizes to its length.

    Box means: no padding. Resizing: bilinear with half-pixel centres, edges repeated.
    """
    boxes = (size - kernel) // stride + 1
    pool = np.zeros((boxes, size))
    for i in range(boxes):
        pool[i, i * stride : i * stride + kernel] = 1.0 / kernel
    centre = np.clip((np.arange(size) + 0.5) * boxes / size - 0.5, 0.0, boxes - 1.0)
    low = np.floor(centre).astype(int)
    high = np.minimum(low + 1, boxes - 1)
    resize = np.zeros((size, boxes))
    resize[np.arange(size), low] += 1.0 - (centre - low)
    resize[np.arange(size), high] += centre - low
    return pool, resize


@lru_cache(maxsize=64)
def _pairs(frames: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Index pairs i < j below `frames`, at most `most` of them, evenly spread."""
    first, second = np.triu_indices(frames, k=1)
    if len(first) > most:
        keep = np.linspace(0, len(first) - 1, most).round().astype(int)
        first, second = first[keep], second[keep]
    return first, second
