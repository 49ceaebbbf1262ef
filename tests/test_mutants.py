"""Every law can fail: planted mistakes, each killed by a named law on a few fixed programs.

A mutant changes a Plan, the emitted source, the normal forms or the trainer, in this process only.
Those that no law can find, because the model is the same, are in `EQUIVALENT`, with the reason.
There is no place for two known mistakes: no layer has running statistics, no step an all-reduce.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import pytest

import latentroles as lr
import mutated
from latentroles.plan import build, terms
from latentroles.plan.build import Node, Plan
from latentroles.routes import graph, reach
from latentroles.testing.laws import LAWS
from latentroles.testing.strategies import Program, write
from mutated import (
    PLAN_MUTANTS,
    Inapplicable,
    a_cut_off_by_one,
    a_live_target,
    a_missing_stop,
    a_stop_on_the_output_for_frozen_parameters,
    a_sum_for_a_mean,
    a_swapped_prediction_and_target,
    an_extra_stop,
    an_unscaled_gradient,
    frozen_parameters_for_a_stopped_output,
    frozen_parameters_for_live_ones,
    live_parameters_for_frozen_ones,
    merged_twins,
    middle,
    nodes,
    refs,
    registered,
    swapped_carries,
)

PROGRAMS = 80


@lru_cache(maxsize=PROGRAMS)
def program(seed: int) -> Program:
    return write(random.Random(seed).randrange)


def killed(law: str, **mutant: Callable[[Any], Any]) -> bool:
    """Whether a law fails on one of the programs, on torch with a mistake planted."""
    backend = registered("torch", **mutant) if mutant else "torch"
    return mutated.killed(law, backend, map(program, range(PROGRAMS)))


# Plan -> Plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", PLAN_MUTANTS, ids=lambda mutant: mutant.__name__)
def test_b5_kills_a_plan_with(mutant: Callable[[Plan], None]) -> None:
    assert killed("B5", plan=mutant)


@pytest.mark.parametrize(
    ("law", "mutant"),
    [
        ("B3", a_missing_stop),
        ("B3", live_parameters_for_frozen_ones),
        ("B4", an_extra_stop),
        ("B6", a_missing_stop),
        ("B13", a_sum_for_a_mean),
        ("S7", a_missing_stop),
        ("S15", frozen_parameters_for_live_ones),
    ],
)
def test_other_laws_kill_a_plan_with(law: str, mutant: Callable[[Plan], None]) -> None:
    assert killed(law, plan=mutant)


def test_b18_kills_a_plan_with_swapped_carries() -> None:
    def where_there_is_a_loop(plan: Plan) -> None:
        with suppress(Inapplicable):  # what is written out has none
            swapped_carries(plan)

    assert killed("B18", plan=where_there_is_a_loop)


@pytest.mark.parametrize("law", ["B3", "B5"])
def test_no_law_fails_without_a_mutant(law: str) -> None:
    assert not killed(law, plan=lambda plan: plan)


# Equivalent mutants ------------------------------------------------------------------------------


def swapped_sides_that_are_both_live(plan: Plan) -> None:
    distances = [n for n in nodes(plan) if n.kind == "call" and n.attrs[0] in ("mse", "cosine")]
    middle([n for n in distances if not any(r.stop for r in n.inputs)]).inputs.reverse()


def a_stop_on_what_carries_no_gradient(plan: Plan) -> None:
    middle([r for r in refs(plan) if not r.stop and r.node.kind == "leaf"]).stop = True


def a_second_stop(source: str) -> str:
    if ".detach()" not in source:
        raise Inapplicable
    return source.replace(".detach()", ".detach().detach()")


def losses_added_in_another_order(source: str) -> str:
    before, total, after = source.partition("total = ")
    line, end, rest = after.partition("\n")
    if " + " not in line:
        raise Inapplicable
    return before + total + " + ".join(reversed(line.split(" + "))) + end + rest


EQUIVALENT = [
    ("the distance is symmetric", {"plan": swapped_sides_that_are_both_live}),
    ("nothing is stopped", {"plan": a_stop_on_what_carries_no_gradient}),
    ("a stop is idempotent: S6", {"source": a_second_stop}),
    ("sums differ by rounding alone", {"source": losses_added_in_another_order}),
]


@pytest.mark.parametrize(("reason", "changes"), EQUIVALENT)
def test_an_equivalent_mutant_survives(reason: str, changes: dict[str, Any]) -> None:
    backend, applied = registered(**changes), 0
    for seed in range(PROGRAMS // 4):
        with suppress(Inapplicable):
            LAWS["B5"].check(program(seed), backend, seed)
            applied += 1
    assert applied, f"no program has a place for it ({reason})"


# Source -> source --------------------------------------------------------------------------------


def rewritten(old: str, new: str) -> Callable[[str], str]:
    def planted(source: str) -> str:
        if old not in source:
            raise Inapplicable
        return source.replace(old, new, 1)

    return planted


SOURCE_MUTANTS = {
    "a weight left out": rewritten("0.5 * l", "l"),
    "a schedule left out": rewritten('self.weight("l1", step) * ', ""),
    "the student as its own teacher": rewritten("_target(", "("),
    "a sum for a mean": rewritten("torch.mean(", "torch.sum("),
    "the state of the next step": rewritten('state["', '1.0 + state["'),
    "a weight of 0 times what is no number": rewritten("total = ", "total = 0.0 * float('inf') + "),
}


@pytest.mark.parametrize("name", SOURCE_MUTANTS)
def test_b5_kills_source_with(name: str) -> None:
    assert killed("B5", source=SOURCE_MUTANTS[name])


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_b5_kills_source_that_draws_noise_once_for_two(backend: str) -> None:
    s = lr.Spec("noisy")
    x = s.observation("x", (2,))
    f = s.module("f", lr.nn.linear(2, 2))
    first, second = (s.noise(n, (2,), axes=("batch", "time")) for n in ("first", "second"))
    s.loss("l", lr.losses.mse(f(x + first), x + second))
    LAWS["B5"].check(s, backend)
    reused = registered(backend, source=rewritten('noise["second"]', 'noise["first"]'))
    assert mutated.killed("B5", reused, [s])


# On JAX: a spec by hand, since random ones take seconds each to compile --------------------------


def routed() -> lr.Spec:
    """Values stopped, frozen, scaled and read twice, and a target below which gradient would go."""
    s = lr.Spec("routed")
    x = s.observation("x", (2,))
    f, g, head = (s.module(name, lr.nn.linear(2, 2)) for name in ("f", "g", "head"))
    z = f(x)
    s.loss("stopped", lr.losses.mse(head(z.t[1:]), g(z).t[:-1].stop()))
    s.loss("frozen", lr.losses.mse(g.frozen(z), x))
    s.loss("scaled", lr.losses.mse(head(z.scale_gradient(-0.5)), x))
    s.loss("twin", lr.losses.mse(head(z.stop()), z.stop()))
    s.loss("target", lr.losses.mse(head(x), s.target(g, decay=0.9)(z)))
    return s


ON_JAX = [
    ("B3", a_live_target),
    ("B3", a_missing_stop),
    ("B5", an_extra_stop),
    ("B5", live_parameters_for_frozen_ones),
    ("B5", frozen_parameters_for_live_ones),
    ("B5", a_stop_on_the_output_for_frozen_parameters),
    ("B5", frozen_parameters_for_a_stopped_output),
    ("B5", a_swapped_prediction_and_target),
    ("B5", merged_twins),
    ("B5", a_cut_off_by_one),
    ("B5", an_unscaled_gradient),
]


@pytest.mark.parametrize(("law", "mutant"), ON_JAX)
def test_a_plan_on_jax_is_found_by(law: str, mutant: Callable[[Any], None]) -> None:
    assert mutated.killed(law, registered("jax", plan=mutant), [routed()])


def test_b5_kills_no_number_times_0_on_jax() -> None:
    source = SOURCE_MUTANTS["a weight of 0 times what is no number"]
    assert mutated.killed("B5", registered("jax", source=source), [routed()])


@pytest.mark.parametrize("law", ["B3", "B5"])
def test_no_law_fails_without_a_mutant_on_jax(law: str) -> None:
    assert not mutated.killed(law, registered("jax"), [routed()])


# Normal forms and loops ---------------------------------------------------------------------------


def test_b5_kills_liveness_of_a_loop_without_its_fixpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(self: Any, scan: Any, mask: Any, graph: Any, wanted: Any) -> Any:
        carries = scan.attrs[3]
        live = tuple(self._memo[i, mask].live for i in scan.inputs[:carries])
        self._live_carries[scan, mask] = live
        return self._body(scan, mask, graph, live, (*scan.inputs[-carries:], *wanted))

    monkeypatch.setattr(terms.Terms, "_bodies", once)
    assert killed("B5")


def test_b18_kills_a_loop_that_starts_a_step_late(monkeypatch: pytest.MonkeyPatch) -> None:
    from latentroles.spec import scan, sorter

    def late(spec: Any, first: lr.Expr, sequence: lr.Expr, axis: str) -> lr.Expr:
        first = sequence.t[0] if axis == "time" else sequence.k[0]
        return spec._node("prepend", (first, sequence), (axis,))

    for module in (scan, sorter):
        monkeypatch.setattr(module, "_prepend", late)
    program.cache_clear()

    try:
        assert killed("B18")
    finally:
        program.cache_clear()


def test_s14_kills_a_stopped_value_computed_beside_its_live_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def alone(self: Any, term: Any) -> Node:
        if self.outer is not None and not term.loops:
            return self.outer._serve(term)
        return self._node(term)

    monkeypatch.setattr(build._Resolver, "_serve", alone)
    assert killed("S14")


def test_s4_kills_routes_through_closed_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = graph.Graph.cut
    monkeypatch.setattr(
        graph.Graph, "cut", lambda self, e: None if e.kind == "gate" else cut(self, e)
    )
    assert killed("S4")


def test_s4_kills_routes_around_a_loop_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = reach.Reach._sweep
    monkeypatch.setattr(reach.Reach, "_sweep", lambda self: sweep(self) and False)
    assert killed("S4")


def test_b3_kills_a_target_that_jax_differentiates() -> None:
    s = lr.Spec("ema")
    x = s.observation("x", (2,))
    f, head = s.module("f", lr.nn.linear(2, 2)), s.module("head", lr.nn.linear(2, 2))
    s.loss("l", lr.losses.mse(head(f(x)), s.target(f, decay=0.9)(x)))
    LAWS["B3"].check(s, "jax")

    def unstopped(plan: Plan) -> Plan:
        return build.plan_phase(plan.spec, plan.phase, targets_flow=False)

    assert mutated.killed("B3", registered("jax", plan=unstopped), [s])
