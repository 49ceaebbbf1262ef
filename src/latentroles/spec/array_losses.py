"""The array functions of the shipped losses, written once against the array API standard.

Means are taken over everything that is left. Each function is safe at its kinks: equal operands,
zero vectors, constant batches and ties give finite values and the same derivative on every backend.
Errors between frames, divergences, statistics of a batch and samples have files of their own, which
importing this one registers.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from ..errors import ShapeError, user_line
from . import array_divergences as array_divergences
from . import array_pixels as array_pixels
from . import array_samples as array_samples
from . import array_statistics as array_statistics
from .array_functions import along_event, array_function_of, class_indices, equal_vectors
from .array_pieces import hinge, length, log_softmax, one_hot, unit
from .types import Type


def _positions(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of positions (batch, time, n)."""
    if types[0].axes != ("batch", "time"):
        raise ShapeError(
            f"{user_line()}an order in time is one of positions (batch, time, n), got {types[0]}. "
            "Fix: apply it before a mean over batch or time, or to one step of a rollout, `.k[0]`."
        )
    return equal_vectors(types, arguments)


@array_function_of("distance")
def mse(prediction: Any, target: Any) -> Any:
    """mean((prediction - target)^2)."""
    xp = array_namespace(prediction)
    return xp.mean((prediction - target) ** 2)


@array_function_of("distance", infer=along_event)
def cosine(prediction: Any, target: Any) -> Any:
    """mean(1 - cos(prediction, target)) over the last axis; a zero vector has cosine 0."""
    xp = array_namespace(prediction)
    return xp.mean(1 - xp.sum(unit(prediction) * unit(target), axis=-1))


@array_function_of("classification", infer=class_indices)
def cross_entropy(logits: Any, classes: Any) -> Any:
    """mean(logsumexp(logits) - logits[class]); logits (..., n), classes (...) in 0..n-1."""
    xp = array_namespace(logits)
    chosen = one_hot(classes, logits.shape[-1], logits.dtype)
    return -xp.mean(xp.sum(log_softmax(logits) * chosen, axis=-1))


@array_function_of("classification")
def binary_cross_entropy(logits: Any, buttons: Any) -> Any:
    """mean(log(1 + e^logit) - button * logit); logits and buttons (..., n), buttons in [0, 1]."""
    xp = array_namespace(logits)
    return xp.mean(xp.logaddexp(logits, xp.zeros_like(logits)) - buttons * logits)


@array_function_of("ranking", infer=_positions)
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


@lru_cache(maxsize=64)
def _pairs(frames: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Index pairs i < j below `frames`, at most `most` of them, evenly spread."""
    first, second = np.triu_indices(frames, k=1)
    if len(first) > most:
        keep = np.linspace(0, len(first) - 1, most).round().astype(int)
        first, second = first[keep], second[keep]
    # JAX keeps an array that it has seen in 64 bits so, and is given this one again in 32.
    return first.astype(np.int32), second.astype(np.int32)
