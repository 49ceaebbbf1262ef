"""Intervals and tests over seeds: seeds are what a claim is about, episodes lie within them.

Below 20 seeds, and of what is known of whole seeds alone, an interval is Student's, over the means
of seeds. From 20 on a hierarchical bootstrap draws seeds, and within each its episodes. Below 20
its percentiles are too narrow: `coverage` simulates how often an interval holds the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SpecError, user_line
from .libraries import scipy_stats

ENOUGH = 20  # seeds, from which the bootstrap's percentiles hold what they say
_MOST_EXACT = 20  # pairs whose 2^n signs are all tried


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, and the interval of `level` around it.

    Attributes:
        low, high: None with fewer than two seeds: one run says nothing about another.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    method: str
    level: float = 0.95


@dataclass(frozen=True)
class Equivalence:
    """Whether a quantity is within a margin of zero.

    Attributes:
        p: of the hypothesis that it is outside; None with fewer than two seeds.
        verdict: "equivalent", "not equivalent" or "not enough seeds to say".
    """

    p: float | None
    verdict: str


def interval(
    seeds: Sequence[Any],
    weights: Sequence[Any] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean over seeds and its interval, by the method that holds for as many seeds.

    Args:
        seeds: for each seed one number, or the numbers of its episodes.
        weights: for each seed, what each of its episodes weighs in its mean, such as how many
            queries it has; alike by default. Seeds weigh alike.
    """
    per_seed = _per_seed(seeds)
    if len(per_seed) >= ENOUGH and min(len(values) for values in per_seed) > 1:
        options = {"level": level, "resamples": resamples, "seed": seed}
        return hierarchical_bootstrap(per_seed, weights, **options)
    return t_interval(per_seed, weights, level=level)


def t_interval(
    seeds: Sequence[Any], weights: Sequence[Any] | None = None, *, level: float = 0.95
) -> Interval:
    """Student's interval over the means of seeds."""
    per_seed = _per_seed(seeds)
    weighed = zip(per_seed, _weights(weights, per_seed), strict=True)
    values = np.array([np.average(episodes, weights=own) for episodes, own in weighed])
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, None, None, len(values), "one seed", level)
    half = float(values.std(ddof=1)) / np.sqrt(len(values))
    half = float(half * scipy_stats().t.ppf((1 + level) / 2, len(values) - 1))
    return Interval(mean, mean - half, mean + half, len(values), "t over seeds", level)


def hierarchical_bootstrap(
    seeds: Sequence[Any],
    weights: Sequence[Any] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The percentile interval of the mean of seeds' means: seeds drawn, then episodes in each.

    The mean of the drawn episodes is weighed as that of all is: a ratio of two sums, both drawn.
    """
    per_seed = _per_seed(seeds)
    known = _weights(weights, per_seed)
    rng = np.random.default_rng(seed)
    count = len(per_seed)
    chosen = rng.integers(count, size=(resamples, count))
    drawn = np.empty((resamples, count))
    for index, (values, weight) in enumerate(zip(per_seed, known, strict=True)):
        rows, columns = np.nonzero(chosen == index)
        episodes = rng.integers(len(values), size=(len(rows), len(values)))
        drawn[rows, columns] = np.average(values[episodes], axis=1, weights=weight[episodes])
    low, high = np.quantile(drawn.mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    means = [np.average(v, weights=w) for v, w in zip(per_seed, known, strict=True)]
    mean = float(np.mean(means))
    return Interval(mean, float(low), float(high), count, "hierarchical bootstrap", level)


def sign_flip(differences: Sequence[float]) -> float:
    """The two-sided p of paired differences over seeds, by flipping their signs.

    Every one of the 2^n signs is tried up to n = 20; beyond, 100,000 of them. With n pairs no p is
    below 2 / 2^n: .25 with 3 seeds, .031 with 6.
    """
    values = np.array([seed.mean() for seed in _per_seed(differences)])  # episodes are no seeds
    if len(values) < 2:
        raise SpecError(
            f"{user_line()}sign_flip compares pairs of at least two seeds; got {len(values)}. "
            "Fix: train both with more seeds, the same ones."
        )
    exact = len(values) <= _MOST_EXACT
    result = scipy_stats().permutation_test(
        (values, np.zeros_like(values)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf if exact else 100_000,
        batch=4096,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def equivalence(values: Sequence[float], margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Whether the mean over seeds is within `margin` of zero: two one-sided t-tests (TOST).

    Args:
        values: one number for each seed.
        margin: declared before: what still counts as nothing.

    The verdict is "equivalent" where both tests reject at `alpha`; "not equivalent" where the mean
    is outside at `alpha`; else "not enough seeds to say". Source: Schuirmann (1987).
    """
    if not margin > 0:
        raise SpecError(
            f"{user_line()}margin= is what still counts as nothing, more than 0; got {margin!r}."
        )
    x = np.array([seed.mean() for seed in _per_seed(values)])
    if len(x) < 2:
        return Equivalence(None, "not enough seeds to say")
    p = max(_one_sided(x, margin, "less"), _one_sided(x, -margin, "greater"))
    if p <= alpha:
        return Equivalence(p, "equivalent")
    outside = min(_one_sided(x, margin, "greater"), _one_sided(x, -margin, "less"))
    return Equivalence(p, "not equivalent" if outside <= alpha else "not enough seeds to say")


def coverage(
    method: Callable[..., Interval],
    seeds: int,
    *,
    episodes: int = 20,
    between: float = 1.0,
    within: float = 1.0,
    simulations: int = 1000,
    seed: int = 0,
) -> float:
    """How often an interval holds the truth: normal seeds of standard deviation `between`, and
    normal episodes of standard deviation `within` around them.

    Args:
        method: such as `interval`, `t_interval` of means, or `hierarchical_bootstrap`.
    """
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(simulations):
        means = between * rng.standard_normal((seeds, 1))
        values = means + within * rng.standard_normal((seeds, episodes))
        found = method(list(values))
        if found.low is not None and found.high is not None:
            hits += found.low <= 0 <= found.high
    return hits / simulations


def _one_sided(x: np.ndarray, bound: float, alternative: str) -> float:
    """The p of a one-sided t-test; exact where all values are equal and no t is defined."""
    if np.ptp(x) <= 1e-12 * max(1.0, float(np.abs(x).max())):
        beyond = x.mean() < bound if alternative == "less" else x.mean() > bound
        return 0.0 if beyond else 1.0
    return float(scipy_stats().ttest_1samp(x, bound, alternative=alternative).pvalue)


def _per_seed(seeds: Sequence[Any]) -> list[np.ndarray]:
    """The values of each seed, (episodes,), finite; or SpecError."""
    found = [np.atleast_1d(np.asarray(values, float)) for values in seeds]
    if not found or any(v.ndim != 1 or not v.size or not np.isfinite(v).all() for v in found):
        raise SpecError(
            f"{user_line()}statistics take one finite number, or the finite numbers of its "
            f"episodes, for each of at least one seed; got {seeds!r}."
        )
    return found


def _weights(weights: Sequence[Any] | None, per_seed: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What each episode of each seed weighs, more than 0; or SpecError."""
    if weights is None:
        return [np.ones(len(values)) for values in per_seed]
    found = [np.atleast_1d(np.asarray(own, float)) for own in weights]
    shapes = [values.shape for values in per_seed]
    if [own.shape for own in found] != shapes or any((~(own > 0)).any() for own in found):
        raise SpecError(
            f"{user_line()}weights= has a number above 0 for each episode of each seed, of shapes "
            f"{shapes}; got {weights!r}."
        )
    return found
