"""Beside the laws of the checker: properties of `check`, `enforce` and the graph over time."""

import random

import pytest
from hypothesis import given

import latentroles as lr
from latentroles.rules.facts import Table
from latentroles.rules.unrolled import Unrolled
from latentroles.testing.laws.checker import strict
from latentroles.testing.strategies import programs, write


@given(programs())
def test_the_graph_over_time_has_the_routes_of_the_graph_with_loops(program):
    """Never more; the same where no loop's first frame, which a loss may leave out, is at issue."""
    spec = program.spec
    routes, unrolled = lr.routes(spec), Unrolled(spec)
    table = Table(unrolled)
    for name, loss in spec.losses.items():
        reached = set(table.modules(table[unrolled.at(loss.expr, None)].live))
        if loss.updates is not None:
            reached &= set(loss.updates)
        assert reached <= routes[name].modules
        if not unrolled.graph.loops:
            assert reached == routes[name].modules


@given(programs())
def test_a_report_is_the_same_for_a_spec_read_from_its_json(program):
    read = lr.Spec.from_json(program.spec.to_json())
    first, second = ([f.message for f in lr.check(s)] for s in (program.spec, read))
    assert first == second


def test_s20_is_not_idle():
    """Among the first random specs, many need stops, some of them several."""
    counts = [len(lr.enforce(strict(drawn(seed))).stops) for seed in range(150)]
    assert sum(n > 0 for n in counts) >= 15
    assert max(counts) >= 2


def drawn(seed: int) -> lr.Spec:
    rng = random.Random(seed)
    return write(rng.randrange).spec


@pytest.mark.parametrize("seed", range(12))
def test_enforce_keeps_what_other_losses_do(seed):
    """A stop stands in one loss; the rows of losses without one stay as they were."""
    spec = strict(drawn(seed))
    done = lr.enforce(spec)
    touched = {place.loss for place in done.places}
    before, after = lr.routes(spec), lr.routes(done.spec)
    assert all(
        before[name].modules == after[name].modules for name in before if name not in touched
    )
