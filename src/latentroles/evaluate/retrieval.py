"""Is the nearest visit one to the same place? Recall, AUC, average precision, all pairs of visits.

Distances are computed in blocks of rows: memory grows as N, time as N^2 D. Visits stand sorted by
place in them, so that the revisits of a row are a range of columns.

Ties are broken in expectation. Distances within a tolerance of each other are ties: the round-off
of the arithmetic (float64 up to 4096 visits or with outliers, float32 above), and of an encoder in
float32. So an encoder that has collapsed scores what chance scores, never what the order of its
rows or its last bits give it. The unit is the variance of the nine tenths that lie nearest the
mean: a few outliers do not make ties of all others.

Sources: recall at k as in visual place recognition (Arandjelovic et al., NetVLAD, 2016): the share
of queries with a right one among the k nearest. Average precision as scikit-learn has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import DataError, user_line
from .visits import Visits

KS = (1, 5, 10, 20)
_EXACT = 4096  # visits, up to which float64 costs little
_TIE = {np.dtype(np.float32): 4e-6, np.dtype(np.float64): 1e-11}  # of squared distances, mean 2
_ROWS, _COLUMNS = 256, 8192

_NEAR = 0.9  # of the vectors, whose variance is the unit
_ROUNDED = 1e-6  # of the size of a vector: what an encoder in float32 leaves of a constant
_LONGEST = 64.0  # squared length, up to which float32 does


class _Bins:
    """Counts squared distances by the leading bits of their float32: 2^13 steps an octave.

    Args:
        low: what is less is round-off, and counts as this.
        high: what is more counts as this; twice it stands for what is not compared.
    """

    _SHIFT = 10

    def __init__(self, low: float, high: float):
        self.low, self.high, self.away = np.float32(low), np.float32(high), np.float32(2 * high)
        self._first = self._of(self.low)
        self._count = self._of(self.high) - self._first + 1

    def clipped(self, squares: np.ndarray) -> np.ndarray:
        """In place."""
        return np.clip(squares, self.low, self.high, out=squares)

    def counted(self, squares: np.ndarray) -> np.ndarray:
        """(bins,): how many lie in each; the first holds what counts as zero."""
        if not squares.size:
            return np.zeros(self._count, np.int64)
        bits = np.ascontiguousarray(squares, np.float32).view(np.int32).reshape(-1) >> self._SHIFT
        return np.bincount(bits - self._first, minlength=self._count)[: self._count]

    def _of(self, square: np.float32) -> int:
        return int(square.view(np.int32)) >> self._SHIFT


@dataclass(frozen=True)
class Recall:
    """Recall of one form, easy or hard.

    Attributes:
        at: k -> the share of queries with a revisit among the k nearest.
        beats: the share of revisits nearer than every wrong place, averaged over queries. Its
            wrong places are all of them, in the hard form too.
        first: (N,) R@1 of each visit as a query, NaN where it has no revisit.
        queries: how many have one.
        chance: R@1 if the order were random.
    """

    at: dict[int, float]
    beats: float
    first: np.ndarray
    queries: int
    chance: float


@dataclass(frozen=True)
class Retrieval:
    """What all pairs of visits say.

    Attributes:
        easy: the database is every other visit that is compared.
        hard: the database holds other episodes, and other values of every nuisance, alone.
        auc: the probability that a revisit is nearer than a visit that is apart.
        auc_error: `auc` is within this of the value without bins.
        ap: average precision, whose chance level is `prevalence`.
        prevalence: the share of revisits among the pairs that are compared.
        r100p: the share of revisits nearer than every visit that is apart, wherever it is.
        pairs: how many unordered pairs are revisits, and how many are apart.
    """

    easy: Recall
    hard: Recall
    auc: float
    auc_error: float
    ap: float
    prevalence: float
    r100p: float
    pairs: tuple[int, int]


def retrieve(visits: Visits, z: np.ndarray, ks: tuple[int, ...] = KS) -> Retrieval:
    """Measures an embedding z, (N, D), against all pairs of its visits.

    Raises:
        DataError: no two visits are apart, because all places show the same frame.
    """
    pairs = _Pairs(visits, z)
    count = len(visits)
    tallies = {form: _Tally(count) for form in ("easy", "hard")}
    bins = pairs.bins
    same = apart = bins.counted(np.empty(0))
    for start in range(0, count, _ROWS):
        stop = min(start + _ROWS, count)
        block = pairs.squares(start, stop)
        own = [segment.taken(block, start) for segment in pairs.segments(start, stop)]
        pairs.leave_out(block, start, stop)
        nearest_wrong = block.min(axis=1)
        same = same + bins.counted(np.concatenate([found.squares[found.valid] for found in own]))
        for segment in own:
            rows = slice(segment.start - start, segment.stop - start)
            for form, valid in (("easy", segment.valid), ("hard", segment.hard)):
                tie = pairs.tie[segment.start : segment.stop]
                tallies[form].note(segment, valid, nearest_wrong[rows], tie)
        for column in range(0, count, _COLUMNS):
            tile = slice(column, min(column + _COLUMNS, count))
            squares, tie = block[:, tile], pairs.tie[start:stop]
            for form, mask in (("easy", None), ("hard", pairs.differing(start, stop, tile))):
                tallies[form].compare(slice(start, stop), squares, mask, tie, bins.high)
            # Each pair once from above the diagonal, twice from the block on it: all are ordered.
            above = squares[:, max(stop - column, 0) :]
            within = squares[:, max(start - column, 0) : max(stop - column, 0)]
            apart = apart + 2 * bins.counted(above) + bins.counted(within)
    positives, negatives = int(same.sum()), int(apart.sum())
    if not negatives:
        raise DataError(
            f"{user_line()}every two visits to different places show identical frames, or lie "
            "within the tolerance: nothing is apart, and no encoder of single frames could tell."
        )
    auc, error = _auc(same, apart)
    return Retrieval(
        easy=tallies["easy"].result(pairs.order, ks),
        hard=tallies["hard"].result(pairs.order, ks),
        auc=auc,
        auc_error=error,
        ap=_average_precision(same, apart),
        prevalence=positives / (positives + negatives),
        r100p=float(same[: np.flatnonzero(apart)[0]].sum() / positives),
        pairs=(positives // 2, negatives // 2),
    )


@dataclass
class _Segment:
    """Rows `start` to `stop` of one place, and their squared distances to all visits there."""

    start: int
    stop: int
    columns: slice
    valid: np.ndarray  # (rows, visits of the place) bool: the revisits
    hard: np.ndarray  # those of other episodes and other nuisances
    squares: np.ndarray

    def taken(self, block: np.ndarray, first: int) -> _Segment:
        """Keeps the squares of the place from a block that starts at row `first`."""
        self.squares = block[self.start - first : self.stop - first, self.columns].copy()
        return self


class _Pairs:
    """The pairs of visits in the order of their places, and their squared distances."""

    def __init__(self, visits: Visits, z: np.ndarray):
        label, alias = visits.label, visits.alias
        self.order = np.lexsort((alias, label))
        self.label, self.alias = label[self.order], alias[self.order]
        self.episode, self.time = visits.episode[self.order], visits.time[self.order]
        self.codes = [code[self.order] for code in visits.codes.values()]
        self.bounds = np.searchsorted(self.label, np.arange(visits.count + 1))
        self.tau = visits.tau
        centred, floor = _scaled(z[self.order])
        lengths = np.sum(centred**2, axis=1)[:, None]
        exact = len(z) <= _EXACT or float(lengths.max()) > _LONGEST
        dtype = np.dtype(np.float64 if exact else np.float32)
        # Of two vectors of float32 none is farther apart than 4 _LONGEST.
        self.bins = (
            _Bins(max(floor, 2.0**-36), 2.0**40)
            if exact
            else _Bins(max(floor, 2.0**-24), 4 * _LONGEST)
        )
        tie = np.maximum(_TIE[dtype] * np.maximum(lengths, 1.0), floor)
        self.tie = tie.astype(dtype)  # (N, 1): by the row
        ones = np.ones_like(lengths)
        # One product gives |a|^2 + |b|^2 - 2 ab.
        self.left = np.concatenate([-2 * centred, lengths, ones], axis=1).astype(dtype)
        right = np.concatenate([centred, ones, lengths], axis=1).astype(dtype)
        self.right = np.ascontiguousarray(right.T)
        self.block = np.empty((min(_ROWS, len(z)), len(z)), dtype)
        self.near = None
        if visits.distance is not None:
            self.near = visits.distance <= visits.tolerance
        self.aliases = {
            int(view): np.flatnonzero(self.alias == view)
            for view in np.unique(self.alias)
            if view >= 0
        }

    def squares(self, start: int, stop: int) -> np.ndarray:
        """(rows, N): squared distances in units of the variance, clipped to what is told apart."""
        block = self.block[: stop - start]
        np.matmul(self.left[start:stop], self.right, out=block)
        return self.bins.clipped(block)

    def segments(self, start: int, stop: int) -> list[_Segment]:
        """The rows of a block, place by place."""
        found = []
        for place in range(self.label[start], self.label[stop - 1] + 1):
            a, b = self.bounds[place], self.bounds[place + 1]
            first, last = max(a, start), min(b, stop)
            rows, columns = slice(first, last), slice(a, b)
            other = self.episode[rows, None] != self.episode[None, columns]
            late = np.abs(self.time[rows, None] - self.time[None, columns]) > self.tau
            hard = self.differing(first, last, columns)
            found.append(_Segment(first, last, columns, other | late, hard, np.empty(0)))
        return found

    def differing(self, start: int, stop: int, columns: slice) -> np.ndarray:
        """(rows, columns) bool: other episodes, and other values of every nuisance."""
        found = self.episode[start:stop, None] != self.episode[None, columns]
        for code in self.codes:
            found &= code[start:stop, None] != code[None, columns]
        return found

    def leave_out(self, block: np.ndarray, start: int, stop: int) -> None:
        """Puts away what is not apart: the own place, near places, frames that are identical."""
        row = start
        while row < stop:
            place, view = self.label[row], int(self.alias[row])
            last = row
            while last < stop and self.label[last] == place and self.alias[last] == view:
                last += 1
            rows = slice(row - start, last - start)
            block[rows, self.bounds[place] : self.bounds[place + 1]] = self.bins.away
            if self.near is not None:
                for other in np.flatnonzero(self.near[place]):
                    block[rows, self.bounds[other] : self.bounds[other + 1]] = self.bins.away
            if view >= 0:
                block[rows, self.aliases[view]] = self.bins.away
            row = last


def _scaled(z: np.ndarray) -> tuple[np.ndarray, float]:
    """z less the mean and over the deviation of the vectors that lie nearest the mean.

    And the squared distance, in the new unit, up to which two vectors differ by round-off.
    """
    rounded = _ROUNDED**2 * float(np.median(np.sum(z**2, axis=1)))
    centred = z - z.mean(axis=0)
    lengths = np.sum(centred**2, axis=1)
    near = lengths <= np.quantile(lengths, _NEAR)
    centred -= centred[near].mean(axis=0)
    lengths = np.sum(centred**2, axis=1)
    variance = float(lengths[near].mean())
    if variance <= rounded:  # nine tenths are one vector
        variance = float(lengths.mean())
    variance = variance if variance > 0 else 1.0
    return centred / np.sqrt(variance), rounded / variance


class _Tally:
    """The counts of one form, for each row."""

    def __init__(self, count: int):
        self.right = np.full(count, np.inf)  # squared distance of the nearest revisit
        self.positives = np.zeros(count, np.int64)
        self.tied = np.zeros(count, np.int64)  # revisits as near as the nearest
        self.nearer = np.zeros(count, np.int64)  # wrong places before it
        self.level = np.zeros(count, np.int64)  # wrong places level with it
        self.negatives = np.zeros(count, np.int64)
        self.beats = np.zeros(count)

    def note(
        self, segment: _Segment, valid: np.ndarray, wrong: np.ndarray, tie: np.ndarray
    ) -> None:
        """Takes the revisits of a segment's rows; `wrong` is as near as a wrong one gets."""
        rows = slice(segment.start, segment.stop)
        squares = np.where(valid, segment.squares, np.inf)
        self.right[rows] = squares.min(axis=1)
        self.positives[rows] = valid.sum(axis=1)
        self.tied[rows] = (squares <= self.right[rows, None] + tie).sum(axis=1)
        self.tied[rows] *= self.positives[rows] > 0
        self.beats[rows] = (squares < wrong[:, None] - tie).sum(axis=1)

    def compare(
        self,
        rows: slice,
        squares: np.ndarray,
        mask: np.ndarray | None,
        tie: np.ndarray,
        high: np.float32,
    ) -> None:
        """Counts the wrong places of a tile before and level with the nearest revisit."""
        right = self.right[rows, None].astype(squares.dtype)
        before, upto = squares < right - tie, squares <= np.minimum(right + tie, high)
        there = squares <= high
        if mask is not None:
            before, upto, there = before & mask, upto & mask, there & mask
        nearer = _count(before)
        self.nearer[rows] += nearer
        self.level[rows] += _count(upto) - nearer
        self.negatives[rows] += _count(there)

    def result(self, order: np.ndarray, ks: tuple[int, ...]) -> Recall:
        asked = (self.positives > 0) & (self.negatives > 0)
        first = np.full(len(order), np.nan)
        first[order[asked]] = self._found(1)[asked]
        if not asked.any():
            nothing = float("nan")
            return Recall(dict.fromkeys(ks, nothing), nothing, first, 0, nothing)
        chance = self.positives[asked] / (self.positives + self.negatives)[asked]
        return Recall(
            at={k: float(self._found(k)[asked].mean()) for k in ks},
            beats=float((self.beats[asked] / self.positives[asked]).mean()),
            first=first,
            queries=int(asked.sum()),
            chance=float(chance.mean()),
        )

    def _found(self, k: int) -> np.ndarray:
        """(N,): the probability that a revisit is among the k nearest, ties in any order."""
        # Of the places left among the k, each goes to a wrong one with what chance is left.
        left = np.clip(k - self.nearer, 0, None)
        missed = np.ones(len(left))
        for drawn in range(k):
            wrong = np.clip(self.level - drawn, 0, None)
            among = np.maximum(self.level + self.tied - drawn, 1)
            missed = np.where(drawn < left, missed * wrong / among, missed)
        return 1 - missed


def _count(flags: np.ndarray) -> np.ndarray:
    """How many of each row are true. `sum` of bytes is what numpy does fastest."""
    return flags.view(np.uint8).sum(axis=1, dtype=np.uint32).astype(np.int64)


def _auc(same: np.ndarray, apart: np.ndarray) -> tuple[float, float]:
    """The area under the ROC curve, and by how much bins can have moved it.

    Pairs in one bin count as ties. They are within 1.2e-4 of each other in squared distance.
    """
    total = float(same.sum()) * float(apart.sum())
    farther = apart.sum() - np.cumsum(apart)
    level = float(same @ apart.astype(float))
    # What counts as zero is level indeed.
    return (
        float((same @ farther.astype(float) + level / 2) / total),
        float((level - float(same[0]) * float(apart[0])) / 2 / total),
    )


def _average_precision(same: np.ndarray, apart: np.ndarray) -> float:
    """The sum of precision times the gain in recall over all thresholds; ties are one threshold."""
    found = np.cumsum(same)
    precision = found / np.maximum(found + np.cumsum(apart), 1)
    return float((same * precision).sum() / found[-1])
