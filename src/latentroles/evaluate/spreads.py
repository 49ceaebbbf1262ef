"""How an embedding spreads: within places against between them, along loops, over its dimensions.

- **LCR** = sqrt(E |z_i - z_j|^2 over revisits / E |z_i - z_j|^2 over visits that are apart): 0 is
  perfect, about 1 is chance.
- **W** = tr E Cov(z | place) / tr Cov(z), with the degrees of freedom of an analysis of variance,
  so that it is 1 where z knows nothing of place; raw, and in coordinates in which Cov(z) = 1.
- **Drift**: the slope of log LCR against the log of a loop's length: 0 invariant, 1/2 diffusive,
  1 ballistic. Theil-Sen (Sen, 1968), by scipy.
- **Collapse**: RankMe (Garrido et al., 2023; of the centred samples: a constant would have rank 1
  there), standard deviation, mean cosine, spectrum, and what a linear probe reads of the place.

LCR and W are sums over groups, not over pairs: time and memory grow as N D; whitening, with the
covariance, as N D^2 + D^3.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .libraries import LinearProbe, scipy_stats
from .visits import Visits, deviations

_DRIFT_PAIRS = 400_000
_PROBE_VISITS = 3000
_PROBE_STRENGTH = 100.0  # of it: clouds of 6 to 100 places are read alike from 10 to 10,000
_KNOWN = 0.5  # of the visits that a probe is judged on
_COLLAPSED = 1e-6  # relative: the round-off of float32


@dataclass(frozen=True)
class Squares:
    """The mean squared distance of some pairs, and how many they are."""

    mean: float
    count: int

    def without(self, part: Squares) -> Squares:
        """Of those pairs that are not in `part`; NaN where none is left."""
        count = self.count - part.count
        left = self.mean * self.count - (part.mean * part.count if part.count else 0.0)
        return Squares(max(left, 0.0) / count if count else float("nan"), count)


@dataclass(frozen=True)
class Spread:
    """Within places against between them.

    Attributes:
        revisits, apart: mean squared distances.
        lcr: see the module.
        degenerate: whether places are not told apart at all: z is a constant up to round-off.
    """

    revisits: Squares
    apart: Squares
    lcr: float
    degenerate: bool


@dataclass(frozen=True)
class Drift:
    """LCR against the length of loops within an episode.

    Attributes:
        slope: see the module; NaN where fewer than three lengths have loops, or none drifts.
        lengths, lcr: steps, and the LCR of loops of about that length.
    """

    slope: float
    lengths: tuple[float, ...]
    lcr: tuple[float, ...]


@dataclass(frozen=True)
class Collapse:
    """How much of its space an embedding fills.

    Attributes:
        rank: exp of the entropy of the singular values, 1 to D; 0 for a constant.
        std: the mean over dimensions of the standard deviation.
        least_std: the least of them.
        cosine: the mean cosine between two visits.
        spectrum: the eigenvalues of the covariance, greatest first, over their sum.
        probe: the accuracy of a linear probe of the place, on episodes that it was not trained on.
        majority: the accuracy of always saying the most frequent place.
        known: the share of visits in those episodes to places of the episodes it was trained on:
            the most that a probe can reach. Below 1/2 `probe` and `majority` are NaN.
    """

    rank: float
    std: float
    least_std: float
    cosine: float
    spectrum: tuple[float, ...]
    probe: float
    majority: float
    known: float


def spread(visits: Visits, z: np.ndarray) -> Spread:
    """LCR of an embedding (N, D)."""
    revisits, apart = revisit_squares(visits, z), apart_squares(visits, z)
    degenerate = apart.mean <= _COLLAPSED**2 * max(float(np.mean(np.sum(z**2, axis=1))), 1e-300)
    lcr = np.sqrt(revisits.mean / apart.mean) if apart.mean > 0 else float("nan")
    return Spread(revisits, apart, float("nan") if degenerate else float(lcr), degenerate)


def revisit_squares(visits: Visits, z: np.ndarray, alike: np.ndarray | None = None) -> Squares:
    """Of pairs of visits to one place, but for those of one episode within tau steps.

    Args:
        alike: (N,) integers; only pairs that agree in them.
    """
    key = visits.label if alike is None else _joint(visits.label, alike)
    total, pairs = _within(z, key)
    soon = np.lexsort((visits.time, visits.episode))
    episode, time, key, z = visits.episode[soon], visits.time[soon], key[soon], z[soon]
    for shift in range(1, len(z)):
        near = episode[shift:] == episode[:-shift]
        near &= time[shift:] - time[:-shift] <= visits.tau
        if not near.any():
            break
        near &= key[shift:] == key[:-shift]
        rows = np.flatnonzero(near)
        total -= float(np.sum((z[rows + shift] - z[rows]) ** 2))
        pairs -= len(rows)
    # What is left by subtraction may be round-off.
    floor = 1e-12 * float(np.sum((z - z.mean(axis=0)) ** 2))
    mean = max(total, 0.0) / pairs if pairs else float("nan")
    return Squares(0.0 if total <= floor and pairs else mean, pairs)


def unlike_share(visits: Visits) -> float | None:
    """The share of revisits whose frames differ; None where frames are not known."""
    if visits.view is None:
        return None
    nowhere = np.zeros((len(visits), 1))
    alike = revisit_squares(visits, nowhere, visits.view).count
    return 1 - alike / revisit_squares(visits, nowhere).count


def apart_squares(visits: Visits, z: np.ndarray) -> Squares:
    """Of pairs of visits that are apart (see `visits`)."""
    z = z - z.mean(axis=0)
    label = visits.label
    everywhere, pairs = _within(z, np.zeros(len(z), int))
    here, pairs_here = _within(z, label)
    total, count = everywhere - here, pairs - pairs_here
    near = np.eye(visits.count, dtype=bool)
    if visits.distance is not None:
        near |= visits.distance <= visits.tolerance
        sums, numbers = _between(z, label, visits.count)
        close = np.triu(near, 1)
        total, count = total - float(sums[close].sum()), count - int(numbers[close].sum())
    for view in np.unique(visits.alias[visits.alias >= 0]):
        members = np.flatnonzero(visits.alias == view)
        places, own = np.unique(label[members], return_inverse=True)
        sums, numbers = _between(z[members], own.reshape(-1), len(places))
        alike = np.triu(~near[np.ix_(places, places)], 1)
        total, count = total - float(sums[alike].sum()), count - int(numbers[alike].sum())
    return Squares(max(total, 0.0) / count if count else float("nan"), count)


def within_share(label: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    """W, raw and whitened, of an embedding (N, D) whose covariance is not zero.

    Whitened, N vectors that span N - 1 dimensions are all equally far from each other, whatever
    they were: W is NaN there.
    """
    count, places = len(z), int(label.max()) + 1
    if count <= places:
        return float("nan"), float("nan")
    centred = z - z.mean(axis=0)
    inside = z - group_means(z, label)[label]
    total = centred.T @ centred / (count - 1)
    within = inside.T @ inside / (count - places)
    values, vectors = np.linalg.eigh(total)
    kept = values > 1e-10 * values[-1]
    if kept.sum() == count - 1:
        return float(np.trace(within) / np.trace(total)), float("nan")
    axes = vectors[:, kept] / np.sqrt(values[kept])
    whitened = float(np.trace(axes.T @ within @ axes)) / int(kept.sum())
    return float(np.trace(within) / np.trace(total)), whitened


def drift(visits: Visits, z: np.ndarray, apart: float, seed: int = 0) -> Drift:
    """How LCR grows with the length of a loop: returns to a place within an episode, by steps.

    Args:
        apart: the mean squared distance of visits that are apart.
        seed: of the sample, where there are more than 400,000 such returns.
    """
    order = np.lexsort((visits.time, visits.label, visits.episode))
    group = _joint(visits.episode, visits.label)[order]
    rng = np.random.default_rng(seed)
    left, right = _returns(group, rng)
    length = (visits.time[order[right]] - visits.time[order[left]]).astype(float)
    squares = np.sum((z[order[right]] - z[order[left]]) ** 2, axis=1)
    lengths, values = [], []
    positive = length > 0
    length, squares = length[positive], squares[positive]
    if len(length):
        edges = np.unique(np.round(np.geomspace(1, length.max() + 1, 13)))
        for low, high in pairwise(edges):
            inside = (length >= low) & (length < high)
            if inside.sum() >= 20:
                lengths.append(float(np.exp(np.log(length[inside]).mean())))
                values.append(float(np.sqrt(squares[inside].mean() / apart)))
    moved = np.array(values) > _COLLAPSED
    slope = float("nan")
    if not moved.any() and len(values) >= 3 and np.isfinite(apart):
        slope = 0.0
    elif moved.sum() >= 3:
        x, y = np.log(lengths)[moved], np.log(np.array(values)[moved])
        slope = float(scipy_stats().theilslopes(y, x).slope)
    return Drift(slope, tuple(lengths), tuple(values))


def collapse(
    visits: Visits, z: np.ndarray, seed: int = 0, *, turned: np.ndarray | None = None
) -> Collapse:
    """How much of its space an embedding (N, D) fills, and whether it tells the place.

    Args:
        turned: (N, d): the same in other coordinates, in which all is measured but `std`,
            `least_std` and `cosine`; by default z itself.
    """
    turned = z if turned is None else turned
    centred = turned - turned.mean(axis=0)
    values = np.clip(np.linalg.eigvalsh(centred.T @ centred / len(z))[::-1], 0.0, None)
    size = float(np.mean(np.sum(turned**2, axis=1)))
    varies = values.sum() > _COLLAPSED**2 * size
    std = deviations(z)
    probe, majority, known = place_probe(visits, turned, seed)
    return Collapse(
        rank=_effective_rank(values) if varies else 0.0,
        std=float(std.mean()),
        least_std=float(std.min()),
        cosine=_mean_cosine(z),
        spectrum=tuple((values / values.sum()).tolist()) if varies else (0.0,) * len(values),
        probe=probe,
        majority=majority,
        known=known,
    )


def place_probe(visits: Visits, z: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """`probe`, `majority` and `known` of `Collapse`. Of more than 3000 visits, 3000 are drawn."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(z))[:_PROBE_VISITS]
    label, episode = visits.label[rows], visits.episode[rows]
    episodes = np.unique(episode)
    held = np.isin(episode, episodes[::2]) if len(episodes) > 1 else np.arange(len(rows)) % 2 == 0
    known = float(np.isin(label[held], label[~held]).mean())
    if known < _KNOWN or len(np.unique(label[~held])) < 2:
        return float("nan"), float("nan"), known
    probe = LinearProbe(_PROBE_STRENGTH)
    probe.fit(z[rows][~held], label[~held])
    common = np.bincount(label[~held]).argmax()
    right = probe.predict(z[rows][held]) == label[held]
    return float(right.mean()), float((label[held] == common).mean()), known


def _mean_cosine(z: np.ndarray) -> float:
    """Over pairs of vectors that are not 0; NaN without any."""
    total, count = np.zeros(z.shape[1]), 0
    for start in range(0, len(z), 1024):  # of many bytes, a few are floats at a time
        block = z[start : start + 1024].astype(np.float64)
        lengths = np.linalg.norm(block, axis=1)
        total += (block[lengths > 0] / lengths[lengths > 0, None]).sum(axis=0)
        count += int((lengths > 0).sum())
    pairs = count * (count - 1)
    return (float(total @ total) - count) / pairs if pairs else float("nan")


def _within(z: np.ndarray, key: np.ndarray) -> tuple[float, int]:
    """The sum of squared distances over unordered pairs with equal keys, and their number."""
    _, key = np.unique(key, return_inverse=True)
    key = key.reshape(-1)
    counts = np.bincount(key)
    inside = np.sum((z - group_means(z, key)[key]) ** 2, axis=1)
    return float(counts[key] @ inside), int((counts * (counts - 1)).sum() // 2)


def _between(z: np.ndarray, key: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, count): the sum of squared distances between groups, and the number of pairs."""
    numbers = np.bincount(key, minlength=count)
    sums = group_means(z, key, count) * numbers[:, None]
    squares = np.bincount(key, np.sum(z**2, axis=1), count)
    cross = numbers[:, None] * squares[None, :]
    return cross + cross.T - 2 * sums @ sums.T, numbers[:, None] * numbers[None, :]


def group_means(z: np.ndarray, key: np.ndarray, count: int | None = None) -> np.ndarray:
    """(count, D): the mean of each group; 0 where it is empty."""
    count = int(key.max()) + 1 if count is None else count
    order = np.argsort(key, kind="stable")
    numbers = np.bincount(key, minlength=count)
    sums = np.zeros((count, z.shape[1]))
    there = numbers > 0
    starts = (np.cumsum(numbers) - numbers)[there]
    sums[there] = np.add.reduceat(z[order], starts, axis=0)
    return sums / np.maximum(numbers, 1)[:, None]


def _joint(*keys: np.ndarray) -> np.ndarray:
    """(N,): one number for each combination of keys."""
    return np.unique(np.stack(keys), axis=1, return_inverse=True)[1].reshape(-1)


def _returns(group: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows of one group, (left, right) with left < right; groups stand together."""
    ends = np.searchsorted(group, group, side="right")
    later = ends - np.arange(len(group)) - 1
    if later.sum() <= _DRIFT_PAIRS:
        left = np.repeat(np.arange(len(group)), later)
        step = np.arange(len(left)) - np.repeat(np.cumsum(later) - later, later) + 1
        return left, left + step
    drawn = np.sort(rng.integers(later.sum(), size=_DRIFT_PAIRS))
    left = np.searchsorted(np.cumsum(later), drawn, side="right")
    return left, left + 1 + drawn - (np.cumsum(later) - later)[left]


def _effective_rank(values: np.ndarray) -> float:
    roots = np.sqrt(values[values > 0])
    p = roots / roots.sum()
    return float(np.exp(-(p * np.log(p)).sum()))
