"""Contamination: what z tells beside the place. Past actions, and each nuisance.

At each place a linear probe of its own is trained on some episodes to say a_{t-k} (or a nuisance)
from z, and judged on the others. What it saves of the cross-entropy of the place's own frequencies
is a lower bound of the conditional information I(a_{t-k}; z | place), in bits. It is 0 where probes
save nothing.

- The **permuted** control shuffles the labels among the visits to a place: what is read then is
  what the probes invent.
- A leak is to be read however faint it is beside what else varies at a place. So z is read twice:
  as it is, and scaled to covariance 1 within places. What reads more counts. Among many directions
  and few visits less is read than there is.
- The **noise-limited** form adds noise to z before anything is trained: Gaussian, in every
  direction with a standard deviation of a quarter of the (root mean square) distance between the
  means of two places, so that two places of that distance are still told apart in 98 % of visits.
  Without it a faint leak counts like a strong one, and an untrained encoder saturates.

Neither depends on the coordinates that z is given in: turned, scaled, shifted, or padded with zeros
it leaks the same.

Source: conditional probing (Hewitt et al., 2021), with place as the baseline; usable information
(Xu et al., 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .libraries import LinearProbe
from .spreads import group_means, revisit_squares
from .visits import Visits

LAGS = (1, 2)
NOISE = 0.25  # of the distance between places
_PLACES, _VISITS = 16, 300  # the most that are probed, and visits of each
LEAST_VISITS = 12  # to a place, in at least two episodes
_CLASSES = 16  # a nuisance of more values is cut into 8 at its quantiles, if it is a number
_BINS = 8
_STRENGTHS, _SCALED_STRENGTHS = (0.1, 10.0), (1.0, 100.0)  # of a probe's penalty
_ROUNDED = 1e-12  # of the variance: what float32 rounds


@dataclass(frozen=True)
class Leak:
    """What is read of one label, given place. In bits, averaged over visits.

    Attributes:
        bits: from z, with the noise-limited form in `noisy`.
        permuted, noisy_permuted: the same with labels permuted within places.
        entropy: how much there is to read.
        places, visits: how many were probed.
    """

    bits: float
    permuted: float
    noisy: float
    noisy_permuted: float
    entropy: float
    places: int
    visits: int


@dataclass(frozen=True)
class Nuisance:
    """One nuisance: how much of it z tells, and how far it moves z.

    Attributes:
        leak: what z tells of it, given place; None where it has too many values to probe.
        differ, agree: LCR over revisits in which it differs, and in which it is the same.
        magnitudes, lcr: LCR over revisits by how far it changes; empty where it is no number.
    """

    leak: Leak | None
    differ: float
    agree: float
    magnitudes: tuple[float, ...]
    lcr: tuple[float, ...]


def actions_leaked(
    visits: Visits, z: np.ndarray, lags: Sequence[int] = LAGS, seed: int = 0
) -> dict[int, Leak | None]:
    """What z, (N, D), tells of the action k steps before, given place, for each k of `lags`.

    None where no place has visits enough, of at least two actions and two episodes.
    """
    return {k: leaked(visits, z, visits.history(k), seed) for k in lags}


def nuisances_leaked(
    visits: Visits,
    z: np.ndarray,
    apart: float,
    periods: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, Nuisance]:
    """The breakdown by nuisance, for each that varies.

    Args:
        apart: the mean squared distance of visits that are apart.
        periods: name -> after how much a nuisance is the same again, such as 4 for a heading in
            quarter turns: magnitudes are then measured the shorter way round.
    """
    found = {}
    everything = revisit_squares(visits, z)
    for name, code in visits.codes.items():
        alike = revisit_squares(visits, z, code)
        label = _few(visits.nuisance[name], code)
        magnitudes, lcr = _by_magnitude(
            visits, z, visits.nuisance[name], (periods or {}).get(name), apart
        )
        found[name] = Nuisance(
            leak=None if label is None else leaked(visits, z, label, seed),
            differ=float(np.sqrt(everything.without(alike).mean / apart)),
            agree=float(np.sqrt(alike.mean / apart)),
            magnitudes=magnitudes,
            lcr=lcr,
        )
    return found


def leaked(visits: Visits, z: np.ndarray, label: np.ndarray, seed: int = 0) -> Leak | None:
    """What z, (N, D), tells of a label, (N,) integers, given place; visits of label -1 left out."""
    rng = np.random.default_rng(seed)
    rows = _probed(visits, label, rng)
    if not rows:
        return None
    z = _filled(z)
    noisy = z + NOISE * _between_places(visits, z) * rng.standard_normal(z.shape)
    read = {
        "z": ((z, _STRENGTHS), (_scaled_within(visits, z), _SCALED_STRENGTHS)),
        "noisy": ((noisy, _STRENGTHS),),
    }
    rounded = _ROUNDED * float(z.var(axis=0).sum())
    entropies, weights = [], []
    forms: dict[str, list[list[float]]] = {n: [] for n in ("z", "z*", "noisy", "noisy*")}
    for at in rows:
        y = np.unique(label[at], return_inverse=True)[1].reshape(-1)
        shuffled = rng.permutation(y)
        held = _held_out(visits.episode[at])
        still = float(z[at].var(axis=0).sum()) <= rounded
        for name, sides in read.items():
            for form, labels in ((name, y), (f"{name}*", shuffled)):
                forms[form].append(
                    [
                        0.0 if still else _saved(x[at], labels, held, strength)
                        for x, strengths in sides
                        for strength in strengths
                    ]
                )
        p = np.bincount(y) / len(y)
        entropies.append(float(-(p * np.log2(p)).sum()))
        weights.append(len(y))
    entropy = float(np.average(entropies, weights=weights))
    # One probe for all places, or none where the frequencies alone say more: choosing among five
    # adds next to nothing to what is read. What is above the entropy is the difference between two
    # halves of the visits.
    best = {
        name: float(np.clip(np.average(saved, axis=0, weights=weights).max(), 0.0, entropy))
        for name, saved in forms.items()
    }
    return Leak(
        bits=best["z"],
        permuted=best["z*"],
        noisy=best["noisy"],
        noisy_permuted=best["noisy*"],
        entropy=entropy,
        places=len(rows),
        visits=int(sum(weights)),
    )


def _probed(visits: Visits, label: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The visits to each place that can be probed, the most visited places first."""
    known = np.flatnonzero(label >= 0)
    order = known[np.argsort(visits.label[known], kind="stable")]
    places, starts = np.unique(visits.label[order], return_index=True)
    groups = np.split(order, starts[1:]) if len(places) else []
    found = []
    for group in sorted(groups, key=len, reverse=True):
        if len(group) < LEAST_VISITS or len(found) == _PLACES:
            break
        if len(np.unique(visits.episode[group])) > 1 and len(np.unique(label[group])) > 1:
            found.append(np.sort(rng.permutation(group)[:_VISITS]))
    return [g for g in found if len(np.unique(visits.episode[g])) > 1]


def _filled(z: np.ndarray) -> np.ndarray:
    """z in coordinates of its own, without the directions in which it does not vary.

    Noise is added in what is left: there would be more of it in more dimensions.
    """
    centred = z - z.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    kept = values > _ROUNDED * values[-1]
    kept[-1] = True
    return centred @ axes[:, kept]


def _scaled_within(visits: Visits, z: np.ndarray) -> np.ndarray:
    """z (N, D) as (N, d) of covariance 1 within places, without what does not vary there."""
    inside = z - group_means(z, visits.label)[visits.label]
    values, axes = np.linalg.eigh(inside.T @ inside / len(z))
    kept = values > _ROUNDED * float(z.var(axis=0).sum())
    return z @ (axes[:, kept] / np.sqrt(values[kept]))


def _between_places(visits: Visits, z: np.ndarray) -> float:
    """The root mean square distance between the means of two places."""
    return float(np.sqrt(2 * np.sum(group_means(z, visits.label).var(axis=0, ddof=1))))


def _held_out(episode: np.ndarray) -> np.ndarray:
    """(n,): which of two folds each visit is in, by whole episodes of about as many visits."""
    episodes, number, counts = np.unique(episode, return_inverse=True, return_counts=True)
    fold, sizes = np.zeros(len(episodes), int), [0, 0]
    for e in np.argsort(-counts, kind="stable"):
        fold[e] = int(sizes[1] < sizes[0])
        sizes[fold[e]] += int(counts[e])
    return fold[number.reshape(-1)]


def _saved(x: np.ndarray, y: np.ndarray, fold: np.ndarray, strength: float) -> float:
    """The bits per visit that a probe saves on the fold that it was not trained on."""
    saved, kinds = 0.0, int(y.max()) + 1
    for held in (0, 1):
        train, test = fold != held, fold == held
        counts = np.bincount(y[train], minlength=kinds)
        prior = (counts + 1) / (counts.sum() + kinds)
        if (counts > 0).sum() < 2 or not x.shape[1]:
            continue  # nothing to fit: nothing saved
        probe = LinearProbe(strength)
        probe.fit(x[train], y[train])
        classes, told = probe.probabilities(x[test])
        p = np.zeros((len(told), kinds))
        p[:, classes] = told
        # A little of the frequencies: no answer of a probe costs without bound.
        n = counts.sum()
        p = (n * p + prior) / (n + 1)
        saved += float(np.log2(p[np.arange(len(p)), y[test]] / prior[y[test]]).sum())
    return saved / len(y)


def _few(values: np.ndarray, code: np.ndarray) -> np.ndarray | None:
    """A nuisance as a label of few values; None where that means nothing."""
    if code.max() < _CLASSES:
        return code
    if values.dtype.kind not in "iuf":
        return None
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _by_magnitude(
    visits: Visits, z: np.ndarray, values: np.ndarray, period: float | None, apart: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """LCR over pairs at one place, by how far a nuisance is changed between them."""
    if values.dtype.kind not in "iuf":
        return (), ()
    level = _few(values, np.unique(values, return_inverse=True)[1].reshape(-1))
    assert level is not None
    _, level = np.unique(level, return_inverse=True)
    level = level.reshape(-1)
    count = int(level.max()) + 1
    mean = np.bincount(level, values) / np.bincount(level)
    change = np.abs(mean[:, None] - mean[None, :])
    if period is not None:
        change = np.minimum(change % period, -change % period)
    # Per place and level: how many, their sum, and the sum of their squares.
    cell = visits.label * count + level
    cells = visits.count * count
    z = z - z.mean(axis=0)
    numbers = np.bincount(cell, minlength=cells).reshape(visits.count, count).astype(float)
    squares = np.bincount(cell, np.sum(z**2, axis=1), cells).reshape(visits.count, count)
    total = np.einsum("pu,pv->uv", numbers, squares)
    total = total + total.T
    for column in z.T:
        sums = np.bincount(cell, column, cells).reshape(visits.count, count)
        total -= 2 * sums.T @ sums
    pairs = numbers.T @ numbers
    other = ~np.eye(count, dtype=bool) & (pairs > 0)
    found = {}
    for size in np.unique(np.round(change[other], 9)):
        those = other & (np.round(change, 9) == size)
        found[float(size)] = float(
            np.sqrt(max(total[those].sum(), 0.0) / pairs[those].sum() / apart)
        )
    return tuple(found), tuple(found.values())
