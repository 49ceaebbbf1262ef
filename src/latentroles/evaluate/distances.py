"""How far apart places are: by coordinates, by the walks between them, or as the user says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DataError, user_line
from .arrays import as_numpy
from .libraries import scipy_graphs

NAMED = ("grid", "steps")


def refuse_other(distance: Any) -> None:
    """Raises DataError where it is nothing that gives distances."""
    named = isinstance(distance, str) and distance in NAMED
    if not (distance is None or callable(distance) or named):
        raise DataError(
            f"{user_line()}distance= is None, 'grid', 'steps', or a function of places (P, k) to "
            f"(P, P); got {distance!r}."
        )


def between(
    place: np.ndarray, episode: np.ndarray, distance: str | Callable[[np.ndarray], Any] | None
) -> np.ndarray | None:
    """The distances between the places of visits, (P, P), in the order of their rows.

    Args:
        place: (N,) or (N, k) integers, the visits of an episode one after the other.
        episode: (N,) integers.
        distance: as for `sources.read`.
    """
    if distance is None:
        return None
    places, label = np.unique(place.reshape(len(place), -1), axis=0, return_inverse=True)
    if distance == "grid":
        return np.abs(places[:, None] - places[None]).sum(axis=-1).astype(float)
    if distance == "steps":
        return _steps(label.reshape(-1), episode, len(places))
    assert callable(distance)
    return _declared(places, distance)


def _steps(label: np.ndarray, episode: np.ndarray, count: int) -> np.ndarray:
    """Either way, whichever was walked; places that no walk joins are farther than all others."""
    went = episode[1:] == episode[:-1]
    walked = np.zeros((count, count))
    walked[label[:-1][went], label[1:][went]] = 1
    found = scipy_graphs().shortest_path(walked, directed=False, unweighted=True)
    return np.where(np.isfinite(found), found, count)


def _declared(places: np.ndarray, distance: Callable[[np.ndarray], Any]) -> np.ndarray:
    wanted = f"distance= gives for places {places.shape} their distances, {(len(places),) * 2}"
    try:
        found = as_numpy(distance(places))
    except Exception as error:
        raise DataError(
            f"{user_line()}{wanted}; it raises {type(error).__name__}: {error}. Fix: a function of "
            "one array, such as `lambda p: abs(p[:, None] - p[None]).sum(-1)`."
        ) from error
    if found.shape != (len(places),) * 2:
        raise DataError(
            f"{user_line()}{wanted}; got {found.shape}. Fix: compare every place with every other, "
            "such as `lambda p: abs(p[:, None] - p[None]).sum(-1)`."
        )
    return found
