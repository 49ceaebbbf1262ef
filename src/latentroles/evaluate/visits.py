"""Visits: where and when each row of an embedding was taken, and which pairs of rows are compared.

Two visits are

- a *revisit* (positive): the same place, in different episodes, or more than `tau` steps apart;
- *apart* (negative): different places, farther than `tolerance` where a distance is given, and
  with frames that are not identical: no encoder of single frames can tell those apart (`view`);
- ignored: everything in between.

The *hard* form of a comparison keeps only visits of other episodes in which every nuisance has
another value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from ..arguments import NON_NEGATIVE, real
from ..errors import DataError, EncoderError, user_line
from . import asked
from .arrays import as_numpy

TAU = 8  # steps
_LARGEST = 1e100


@dataclass(frozen=True, eq=False)
class Visits:
    """N visits. Raises DataError where the columns do not fit, or nothing can be compared;
    SpecError where `tau` or `tolerance` mean nothing.

    Args:
        place: (N,) or (N, k) integers; equal rows are one place.
        episode: (N,) integers; equal numbers are one episode.
        time: (N,) the step of its episode.
        nuisance: name -> (N,): what differs between visits to one place. Numbers, or anything that
            compares equal; NaN is not a value.
        actions: (N, K) integers: column k - 1 holds the action that was taken k steps before the
            visit; -1 where the episode had not begun. None where unknown.
        view: (N,) integers: visits with identical frames share a number. None where unknown, or
            where the encoder sees more than a frame.
        pose: (N, 3) x, y in cells and heading in radians; None where unknown.
        distance: (P, P) between places in the order of `places`, as far one way as the other;
            None: all differ alike.
        tolerance: different places at most this far from each other are not compared; of a
            `distance`.
        tau: steps; within an episode, visits no farther apart in time are not compared.
    """

    place: np.ndarray
    episode: np.ndarray
    time: np.ndarray
    nuisance: Mapping[str, np.ndarray] = field(default_factory=dict)
    actions: np.ndarray | None = None
    view: np.ndarray | None = None
    pose: np.ndarray | None = None
    distance: np.ndarray | None = None
    tolerance: float = 0.0
    tau: int = TAU

    def __post_init__(self) -> None:
        real("Visits", "tau", self.tau, NON_NEGATIVE)
        tolerance = asked.tolerance("Visits", self.tolerance, self.distance)
        place = _array("place", self.place)
        if place.ndim not in (1, 2) or place.dtype.kind not in "iu" or not len(place):
            raise DataError(
                f"{user_line()}place is (N,) or (N, k) integers, N at least 1; got {place.dtype} "
                f"{place.shape}. Number the places, for example with np.unique(..., "
                "return_inverse=True)."
            )
        place = place.reshape(len(place), -1)
        columns = {"place": place}
        for name, wanted in {"episode": "iu", "time": "iuf", "view": "iu"}.items():
            columns[name] = _column(name, getattr(self, name), len(place), wanted)
        if not isinstance(self.nuisance, Mapping):
            raise DataError(
                f"{user_line()}nuisance maps names to columns; got {type(self.nuisance).__name__}. "
                "Fix: nuisance={'light': column}."
            )
        nuisance = {
            str(n): _column(f"nuisance {n!r}", values, len(place), "iufbUSO")
            for n, values in self.nuisance.items()
        }
        for name, width in {"actions": None, "pose": 3}.items():
            value = getattr(self, name)
            if value is not None:
                columns[name] = _rows(name, _array(name, value), len(place), width)
        for name, value in {**columns, "nuisance": nuisance, "tolerance": tolerance}.items():
            object.__setattr__(self, name, value)
        if self.count < 2:
            raise DataError(
                f"{user_line()}the {len(place)} visits are all to one place, "
                f"{tuple(place[0].tolist())}: nothing is apart, so that no distance means "
                "anything. Fix: longer walks, or a finer place."
            )
        if self.distance is not None:
            distance = _distance(self.distance, self.count)
            object.__setattr__(self, "distance", distance)
            far = (distance > self.tolerance) & ~np.eye(self.count, dtype=bool)
            if not far.any():
                raise DataError(
                    f"{user_line()}no two places are farther apart than tolerance="
                    f"{self.tolerance}: nothing is compared. Fix: a smaller tolerance."
                )
        if not self.revisited.any():
            raise DataError(
                f"{user_line()}no place is visited again: {len(place)} visits to {self.count} "
                f"places, none of them twice in different episodes or more than tau={self.tau} "
                "steps apart. Fix: more or longer walks, a coarser place, or a smaller tau."
            )

    def __len__(self) -> int:
        """The number of visits, N."""
        return len(self.place)

    @cached_property
    def _numbered(self) -> tuple[np.ndarray, np.ndarray]:
        places, label = np.unique(self.place, axis=0, return_inverse=True)
        return places, label.reshape(-1)

    @property
    def places(self) -> np.ndarray:
        """(P, k): each place once, sorted."""
        return self._numbered[0]

    @property
    def label(self) -> np.ndarray:
        """(N,): the row of each visit's place in `places`."""
        return self._numbered[1]

    @property
    def count(self) -> int:
        """The number of places, P."""
        return len(self.places)

    @cached_property
    def codes(self) -> dict[str, np.ndarray]:
        """The nuisances that vary, as (N,) integers."""
        found = {name: coded(values) for name, values in self.nuisance.items()}
        return {name: code for name, code in found.items() if code.max() > 0}

    @cached_property
    def alias(self) -> np.ndarray:
        """(N,): the number of the frame where visits to several places share it, else -1."""
        if self.view is None:
            return np.full(len(self), -1)
        pairs = np.unique(np.stack([self.view, self.label]), axis=1)
        views, places = np.unique(pairs[0], return_counts=True)
        shared = views[places > 1]
        return np.where(np.isin(self.view, shared), self.view, -1)

    @cached_property
    def revisited(self) -> np.ndarray:
        """(N,) bool: the visits that have a revisit."""
        last = np.lexsort((self.time, self.episode, self.label))
        label, episode, time = self.label[last], self.episode[last], self.time[last]
        # Of a visit's place: another episode, or the first or the last visit of its own.
        group = np.r_[True, (np.diff(label) != 0) | (np.diff(episode) != 0)]
        number = np.cumsum(group) - 1
        ends = np.r_[np.flatnonzero(group), len(label)]
        early, late = time[ends[:-1]][number], time[ends[1:] - 1][number]
        alone = np.bincount(label[ends[:-1]], minlength=self.count)[label] == 1
        found = np.empty(len(self), bool)
        found[last] = ~alone | (late - time > self.tau) | (time - early > self.tau)
        return found

    def history(self, k: int) -> np.ndarray:
        """(N,): the action k steps before each visit, -1 before the start."""
        if self.actions is None or not 1 <= k <= self.actions.shape[1]:
            have = 0 if self.actions is None else self.actions.shape[1]
            raise DataError(
                f"{user_line()}leakage of the action {k} steps back needs `actions` with {k} "
                f"columns; there are {have}."
            )
        return self.actions[:, k - 1]


def coded(values: np.ndarray) -> np.ndarray:
    """(N,) of anything -> (N,) integers from 0, equal where the values are; sorted if they sort."""
    values = np.asarray(values)
    if values.dtype.kind != "O":
        return np.unique(values, return_inverse=True)[1].reshape(-1)
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values])


def past_actions(actions: np.ndarray, offsets: np.ndarray, count: int) -> np.ndarray:
    """(N, count): the actions before each frame, the latest first; -1 before an episode's start.

    Args:
        actions: (N - E,): of E episodes one after the other, one fewer than an episode's frames.
        offsets: (E + 1,): episode e is frames offsets[e] .. offsets[e + 1] - 1.
    """
    found = np.full((offsets[-1], count), -1, np.int64)
    for episode, (start, stop) in enumerate(pairwise(offsets)):
        own = actions[start - episode : stop - episode - 1]
        for k in range(1, min(count, stop - start - 1) + 1):
            found[start + k : stop, k - 1] = own[: stop - start - k]
    return found


def checked(z: Any, count: int, what: str = "the encoder") -> np.ndarray:
    """An embedding as (N, D) float64; integers, such as the bytes of many frames, as they are.

    Args:
        z: an array of any library, or lists of numbers.

    Raises:
        EncoderError: it is not `count` finite vectors.
    """
    refuse_masked(z, what)
    try:
        array = np.asarray(z) if _plain(z) else as_numpy(z)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EncoderError(
            f"{user_line()}{what} gives one vector of real numbers for each of {count} visits, "
            f"({count}, D); got a {type(z).__name__} that is no such array ({error}). Fix: give "
            "one array, of numpy, PyTorch or JAX."
        ) from error
    if array.ndim != 2 or len(array) != count or not array.size:
        raise EncoderError(
            f"{user_line()}{what} gives one vector for each of {count} visits, ({count}, D); got "
            f"{array.dtype} {array.shape}. Fix: flatten each event, keep the order of the visits."
        )
    if array.dtype.kind != "f":
        return array
    array = array.astype(np.float64, copy=False)
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise EncoderError(
            f"{user_line()}{what} gives vectors that are not finite at {int(bad.sum())} of {count} "
            f"visits, the first at visit {int(bad.argmax())}: no distance can be measured. Fix: "
            "look for a division by zero, or for training that diverged."
        )
    largest = float(np.abs(array).max())
    if largest and not 1 / _LARGEST <= largest <= _LARGEST:
        raise EncoderError(
            f"{user_line()}{what} gives numbers up to {largest:.3g}, whose squares no float holds: "
            f"up to {1 / _LARGEST:g} to {_LARGEST:g} can be measured. Fix: divide z by its "
            "standard deviation, or look for training that diverged."
        )
    return array


def refuse_masked(z: Any, what: str = "the encoder") -> None:
    """Raises EncoderError where numbers of an array are masked: there is nothing to compare."""
    if isinstance(z, np.ma.MaskedArray) and np.ma.is_masked(z):
        raise EncoderError(
            f"{user_line()}{what} gives an array with {np.ma.count_masked(z)} of {z.size} numbers "
            "masked: no distance can be measured. Fix: leave those visits out, or, where what is "
            "under the mask is meant, pass np.ma.getdata(z)."
        )


def _plain(z: Any) -> bool:
    """Whether it is an array of numbers already, whose type is kept."""
    masked = isinstance(z, np.ma.MaskedArray)
    return isinstance(z, np.ndarray) and not masked and z.dtype.kind in "fiub"


def dead(z: np.ndarray) -> list[int]:
    """The dimensions that never change while others do: they say nothing, and are noted."""
    spread = deviations(z)
    return np.flatnonzero(spread <= 1e-9 * max(spread.max(), 1e-300)).tolist()


def deviations(z: np.ndarray) -> np.ndarray:
    """(D,): the standard deviation of each dimension of (N, D) numbers."""
    columns = range(0, z.shape[1], 256)  # of many bytes, a few are floats at a time
    return np.concatenate([z[:, i : i + 256].std(axis=0, dtype=np.float64) for i in columns])


def _distance(value: Any, count: int) -> np.ndarray:
    """(P, P) numbers of at least 0, as far one way as the other."""
    array = _array("distance", value)
    if array.shape != (count, count) or array.dtype.kind not in "iufb":
        raise DataError(
            f"{user_line()}distance is between the {count} places, numbers ({count}, {count}); got "
            f"{array.dtype} {array.shape}. Its rows stand in the order of `Visits.places`."
        )
    array = array.astype(float)
    if np.isnan(array).any():
        one, other = np.argwhere(np.isnan(array))[0].tolist()
        raise DataError(
            f"{user_line()}distance is a number between every two places; from place {one} to "
            f"{other} it is NaN. Fix: np.inf where no way leads from one to the other."
        )
    if not (array >= 0).all():
        raise DataError(
            f"{user_line()}distance is at least 0; got {float(array.min())}. Fix: the way between "
            "places, not its direction, nor how alike they are."
        )
    uneven = ~np.isclose(array, array.T)
    if uneven.any():
        one, other = np.argwhere(uneven)[0].tolist()
        raise DataError(
            f"{user_line()}distance is as far one way as the other; from place {one} to {other} it "
            f"is {array[one, other]:g}, and back {array[other, one]:g}. Fix: take the shorter of "
            "both, np.minimum(distance, distance.T)."
        )
    return array


def _array(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{user_line()}{name} is one array; got a {type(value).__name__} that is none "
            f"({error}). Fix: give rows of one length."
        ) from error


def _column(name: str, value: Any, count: int, kinds: str) -> Any:
    if value is None and name == "view":
        return None
    array = _array(name, value)
    if array.shape != (count,) or array.dtype.kind not in kinds:
        raise DataError(
            f"{user_line()}{name} has one value for each of the {count} visits, ({count},); got "
            f"{array.dtype} {array.shape}. Fix: give the labels of the same visits, in their order."
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise DataError(f"{user_line()}{name} holds NaN, which equals nothing. Leave those out.")
    if array.dtype.kind == "O":
        _refuse_unequal(name, array)
    return array


def _refuse_unequal(name: str, array: np.ndarray) -> None:
    """Raises DataError where values are not told apart by whether they are equal."""
    for value in array:
        try:
            hash(value)
            fits = bool(value == value)
        except Exception:
            fits = False
        if not fits:
            raise DataError(
                f"{user_line()}{name} holds {value!r} ({type(value).__name__}), and its values are "
                "told apart by whether they are equal. Fix: numbers, text or tuples of them."
            )


def _rows(name: str, array: np.ndarray, count: int, width: int | None) -> np.ndarray:
    wide = array.ndim == 2 and (width is None or array.shape[1] == width)
    if not wide or len(array) != count or array.dtype.kind not in "iuf":
        shape = f"({count}, {'K' if width is None else width})"
        raise DataError(
            f"{user_line()}{name} has one row for each of the {count} visits, {shape}; got "
            f"{array.dtype} {array.shape}."
        )
    return array
