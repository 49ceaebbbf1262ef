"""Intervals and tests over seeds: M9, and what few seeds cannot say."""

from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentroles.errors import SpecError
from latentroles.evaluate import statistics
from latentroles.evaluate.statistics import (
    coverage,
    equivalence,
    hierarchical_bootstrap,
    interval,
    sign_flip,
    t_interval,
)

NUMBERS = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=8)
few = partial(hierarchical_bootstrap, resamples=300)


# M9: 600 simulations have a standard error of .009 at .95 -----------------------------------------


@pytest.mark.parametrize("seeds", [3, 6, 20])
def test_m9_a_t_interval_over_seeds_holds_what_it_says(seeds):
    assert coverage(t_interval, seeds, simulations=600) == pytest.approx(0.95, abs=0.035)


@pytest.mark.parametrize(("seeds", "low", "high"), [(3, 0.72, 0.86), (6, 0.82, 0.93)])
def test_m9_the_bootstrap_is_too_narrow_at_few_seeds(seeds, low, high):
    assert low < coverage(few, seeds, simulations=600) < high


def test_m9_the_bootstrap_holds_nearly_what_it_says_at_twenty():
    assert coverage(few, 20, simulations=300) == pytest.approx(0.94, abs=0.045)


def test_episodes_are_not_seeds():
    """The mistake that it is about: every episode counted as a seed of its own."""
    pooled = coverage(lambda seeds: t_interval(np.concatenate(seeds)), 3, simulations=300)
    assert pooled < 0.7


def test_an_interval_without_its_degree_of_freedom_would_be_found():
    narrow = lambda seeds: shrunk(t_interval(seeds), np.sqrt(2 / 3))  # noqa: E731  ddof=0
    assert coverage(narrow, 3, simulations=600) < 0.93


def shrunk(found, factor):
    half = factor * (found.high - found.mean)
    return statistics.Interval(
        found.mean, found.mean - half, found.mean + half, found.seeds, "", found.level
    )


# Intervals ----------------------------------------------------------------------------------------


def test_the_method_follows_the_number_of_seeds():
    rng = np.random.default_rng(0)
    seeds = list(rng.standard_normal((20, 5)))
    assert interval(seeds[:19]).method == "t over seeds"
    assert interval(seeds).method == "hierarchical bootstrap"
    alone = interval(seeds[:1])
    assert (alone.low, alone.high, alone.method) == (None, None, "one seed")


@given(NUMBERS)
def test_an_interval_moves_and_grows_with_its_numbers(values):
    plain = t_interval(values)
    moved = t_interval([3 * v + 7 for v in values])
    assert plain.low <= plain.mean <= plain.high
    assert moved.mean == pytest.approx(3 * plain.mean + 7)
    assert moved.high - moved.low == pytest.approx(3 * (plain.high - plain.low))
    assert t_interval(values, level=0.99).low <= plain.low


def test_a_known_interval():
    found = t_interval([1.0, 2.0, 3.0])
    assert (found.mean, found.high) == (2.0, pytest.approx(2 + 4.302653 / np.sqrt(3)))


def test_uneven_episodes_weigh_seeds_alike():
    seeds = [np.zeros(100), np.ones(2)]
    assert interval(seeds).mean == 0.5
    assert hierarchical_bootstrap(seeds).mean == 0.5


@given(st.integers(0, 1000))
def test_an_interval_of_uneven_episodes_holds_its_own_mean(seed):
    """Where long episodes differ from short ones: unweighed it would be of another mean."""
    rng = np.random.default_rng(seed)
    queries = [rng.permutation([1] * 20 + [30] * 10) for _ in range(20)]
    seeds = [np.where(own > 1, 0.9, 0.1) + 0.01 * rng.standard_normal(30) for own in queries]
    for found in (interval(seeds, queries), t_interval(seeds, queries)):
        assert found.mean == pytest.approx(0.85, abs=0.01)
        assert found.low <= found.mean <= found.high
    assert interval(seeds).high < 0.5
    alike, plain = interval(seeds, [np.full(30, 3.0)] * 20), interval(seeds)
    assert (alike.low, alike.high) == pytest.approx((plain.low, plain.high))


def test_what_is_known_of_whole_seeds_alone_has_an_interval_of_seeds():
    assert interval(np.arange(25.0)).method == "t over seeds"


@pytest.mark.parametrize("weights", [[[1.0, 0.0]], [[1.0]], [[1.0, np.nan]], [[1, 2], [3, 4]]])
def test_weights_that_fit_no_episodes_are_refused(weights):
    with pytest.raises(SpecError, match="weights= has a number above 0 for each episode"):
        interval([[0.5, 0.7]], weights)


def test_the_bootstrap_draws_episodes_too():
    found = hierarchical_bootstrap([[-1.0, 1.0]] * 20)
    assert found.mean == 0
    assert 0.2 < found.high - found.low < 1.0


def test_a_bootstrap_within_seeds_alone_would_be_too_narrow():
    rng = np.random.default_rng(0)
    seeds = list(rng.standard_normal((20, 1)) * np.ones((20, 30)))
    found = hierarchical_bootstrap(seeds)
    assert found.high - found.low > 0.5


# The sign-flip test -------------------------------------------------------------------------------


@given(NUMBERS)
def test_sign_flips_are_all_tried(differences):
    values = np.array(differences)
    flips = np.array([np.mean(values * signs) for signs in product([1, -1], repeat=len(values))])
    above = np.mean(flips >= values.mean() - 1e-12)
    below = np.mean(flips <= values.mean() + 1e-12)
    assert sign_flip(differences) == pytest.approx(min(1.0, 2 * min(above, below)))


def test_few_seeds_cannot_give_a_small_p():
    assert sign_flip([5.0, 6.0, 7.0]) == pytest.approx(0.25)
    assert sign_flip(np.arange(1.0, 7.0)) == pytest.approx(2 / 2**6)
    assert sign_flip([0.0, 0.0, 0.0]) == 1.0


# Equivalence --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.01, 0.02, 0.0, 0.01], "equivalent"),
        ([0.5, 0.6, 0.55, 0.52], "not equivalent"),
        ([-0.5, -0.6, -0.55, -0.52], "not equivalent"),
        ([0.0, 0.2, -0.1, 0.15], "not enough seeds to say"),
        ([0.01], "not enough seeds to say"),
        ([0.0, 0.0, 0.0], "equivalent"),
        ([1.0, 1.0], "not equivalent"),
    ],
)
def test_equivalence_needs_more_than_no_difference(values, verdict):
    assert equivalence(values, 0.1).verdict == verdict


def test_an_absent_difference_that_is_not_measured_well_is_not_equivalence():
    rng = np.random.default_rng(0)
    wrong = sum(
        equivalence(0.1 + 0.2 * rng.standard_normal(5), 0.1).verdict == "equivalent"
        for _ in range(400)
    )
    assert wrong / 400 <= 0.07  # the truth lies on the margin: at most alpha


@pytest.mark.parametrize("call", [interval, t_interval, sign_flip])
@pytest.mark.parametrize("seeds", [[], [np.nan, 1.0], [[]], [[[1.0]], [[2.0]]]])
def test_what_are_no_numbers_are_refused(call, seeds):
    with pytest.raises(SpecError, match="statistics take one finite number"):
        call(seeds)


def test_arguments_that_mean_nothing_are_refused():
    with pytest.raises(SpecError, match="at least two seeds; got 1"):
        sign_flip([1.0])
    with pytest.raises(SpecError, match="margin= is what still counts as nothing"):
        equivalence([1.0, 2.0], 0.0)


def test_episodes_are_no_seeds():
    rng = np.random.default_rng(0)
    seeds = [rng.normal(0.5, 0.1, 20) for _ in range(3)]
    means = [float(seed.mean()) for seed in seeds]
    assert sign_flip(seeds) == sign_flip(means) == 0.25
    assert equivalence(seeds, 1.0) == equivalence(means, 1.0)
