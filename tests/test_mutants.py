"""Every law can fail: planted mistakes, each killed by a named law on a few fixed programs.

A mutant changes a Plan, the emitted source, the normal forms or the trainer, in this process only.
Not listed because they are equivalent: a stop on what carries no gradient; swapped sides of a
symmetric distance; another order of sums.
"""

import random
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import pytest

import latentroles as lr
from latentroles.plan import build, terms
from latentroles.plan.build import Node, Plan, Ref
from latentroles.routes import graph, reach
from latentroles.testing.strategies import Program, batch_for, write
from latentroles_torch import model as torch_model
from latentroles_torch.trainer import Trainer
from laws.case import Case, compiled, results
from laws.checks import (
    follows_reference,
    only_declared_routes,
    same_results,
    shares_what_it_computes,
)
from laws.rewrites import routes_by_hand
from laws.unrolled import unrolled
from test_laws_training import moves_just_what_it_may, reached, trainer_of

PROGRAMS = 80


class Inapplicable(Exception):
    """The program has no place for the mutant."""


@lru_cache(maxsize=PROGRAMS)
def program(seed: int) -> Program:
    return write(random.Random(seed).randrange)


# Plan -> Plan ------------------------------------------------------------------------------------


def nodes(plan: Plan) -> Iterator[Node]:
    """Every node of a plan, those in the bodies of loops among them."""
    for node in plan.nodes():
        yield node
        if node.loop is not None:
            inner = build.order([*node.loop.taps, *(r for _, r in node.loop.carries)])
            yield from (n for n in inner if n.inside and n.kind != "var")


def refs(plan: Plan) -> list[Ref]:
    """Every use of a node."""
    found = [*plan.losses.values()]
    for node in nodes(plan):
        found += node.inputs
        if node.loop is not None:
            found += [r for _, r in node.loop.carries]
    return found


def middle(places: list[Any]) -> Any:
    if not places:
        raise Inapplicable
    return places[len(places) // 2]


def a_missing_stop(plan: Plan) -> None:
    middle([r for r in refs(plan) if r.stop]).stop = False


def an_extra_stop(plan: Plan) -> None:
    live = [r for r in refs(plan) if not r.stop and r.node.term and r.node.term.live]
    middle(live).stop = True


def a_stopped_carry_that_loses_its_stop_in_a_live_loop(plan: Plan) -> None:
    loops = [n.loop for n in plan.nodes() if n.loop is not None]
    middle([r for loop in loops for _, r in loop.carries if r.stop]).stop = False


def live_parameters_for_frozen_ones(plan: Plan) -> None:
    node = middle([n for n in nodes(plan) if n.kind == "apply" and n.attrs[2]])
    node.attrs = (*node.attrs[:2], False)


def frozen_parameters_for_live_ones(plan: Plan) -> None:
    applied = [n for n in nodes(plan) if n.kind == "apply" and n.term and n.term.live]
    node = middle([n for n in applied if not n.attrs[2]])
    node.attrs = (*node.attrs[:2], True)


def a_stop_on_the_output_for_frozen_parameters(plan: Plan) -> None:
    node = middle([n for n in nodes(plan) if n.kind == "apply" and n.attrs[2]])
    node.attrs = (*node.attrs[:2], False)
    for ref in refs(plan):
        ref.stop = ref.stop or ref.node is node


def merged_twins(plan: Plan) -> None:
    versions: dict[Any, list[Node]] = {}
    for node in plan.nodes():
        if node.term is not None and node.term.live:
            versions.setdefault(node.term.primal, []).append(node)
    kept, dropped, *_ = middle([twins for twins in versions.values() if len(twins) > 1])
    for ref in refs(plan):
        if ref.node is dropped:
            ref.node = kept


def a_cut_off_by_one(plan: Plan) -> None:
    cuts = [n for n in nodes(plan) if n.kind == "cut" and n.attrs[1] + n.attrs[2] > 0]
    node = middle(cuts)
    axis, lo, hi = node.attrs
    node.attrs = (axis, lo - 1, hi + 1) if lo else (axis, lo + 1, hi - 1)


def another_entry_picked(plan: Plan) -> None:
    node = middle([n for n in nodes(plan) if n.kind == "pick"])
    axis, index = node.attrs
    node.attrs = (axis, 0 if index else -1)


def a_tap_of_another_value(plan: Plan) -> None:
    loops = [n.loop for n in plan.nodes() if n.loop is not None and n.loop.taps]
    loop = middle([loop for loop in loops if loop.taps[0].node.inputs])
    loop.taps[0] = Ref(loop.carries[0][0])


def swapped_carries(plan: Plan) -> None:
    loops = [n.loop for n in plan.nodes() if n.loop is not None and len(n.loop.carries) > 1]
    carries = middle(loops).carries
    (first, a), (second, b) = carries[:2]
    carries[:2] = [(first, b), (second, a)]


def an_unscaled_gradient(plan: Plan) -> None:
    node = middle([n for n in nodes(plan) if n.kind == "scale"])
    node.attrs = (1.0,)


def a_first_entry_of_zeros(plan: Plan) -> None:
    node = middle([n for n in nodes(plan) if n.kind == "prepend"])
    entry = node.inputs[0].node.type
    node.inputs[0] = Ref(Node("constant", [], (0.0, entry), entry, False))


PLAN_MUTANTS = [
    a_missing_stop,
    an_extra_stop,
    a_stopped_carry_that_loses_its_stop_in_a_live_loop,
    live_parameters_for_frozen_ones,
    frozen_parameters_for_live_ones,
    a_stop_on_the_output_for_frozen_parameters,
    merged_twins,
    a_cut_off_by_one,
    another_entry_picked,
    a_tap_of_another_value,
    swapped_carries,
    an_unscaled_gradient,
    a_first_entry_of_zeros,
]


Law = Callable[[Any, Case], object]


def killed(law: Law, **mutant: Callable[[Any], Any]) -> bool:
    """Whether a law fails on the mutated model of one of the programs."""
    for seed in range(PROGRAMS):
        for case in Case.all_of(program(seed).spec, seed):
            try:
                model = compiled(case, **mutant)
            except Inapplicable:
                continue
            try:
                law(model, case)
            except AssertionError:
                return True
    return False


def has_only_declared_routes(model: Any, case: Case) -> None:
    only_declared_routes(results(model, case), case.spec)


def planted(mutant: Callable[[Plan], None]) -> Callable[[Plan], Plan]:
    def plant(plan: Plan) -> Plan:
        mutant(plan)
        return plan

    return plant


@pytest.mark.parametrize("mutant", PLAN_MUTANTS, ids=lambda mutant: mutant.__name__)
def test_b5_kills_a_plan_with(mutant: Callable[[Plan], None]) -> None:
    assert killed(follows_reference, plan=planted(mutant))


@pytest.mark.parametrize("mutant", [a_missing_stop, live_parameters_for_frozen_ones])
def test_b3_kills_a_plan_with(mutant: Callable[[Plan], None]) -> None:
    assert killed(has_only_declared_routes, plan=planted(mutant))


def test_no_law_fails_without_a_mutant() -> None:
    assert not killed(follows_reference)
    assert not killed(has_only_declared_routes)
    assert not killed(trains_as_declared)
    assert not killed(has_the_routes_by_hand)
    assert not killed(lambda model, case: shares_what_it_computes(model.plan))


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
}


@pytest.mark.parametrize("name", SOURCE_MUTANTS)
def test_b5_kills_source_with(name: str) -> None:
    assert killed(follows_reference, source=SOURCE_MUTANTS[name])


def test_b5_kills_source_that_draws_noise_once_for_two() -> None:
    s = lr.Spec("noisy")
    x = s.observation("x", (2,))
    f = s.module("f", lr.nn.linear(2, 2))
    first, second = (s.noise(n, (2,), axes=("batch", "time")) for n in ("first", "second"))
    s.loss("l", lr.losses.mse(f(x + first), x + second))
    case = Case.of(s)
    follows_reference(compiled(case), case)
    reused = compiled(case, source=rewritten('noise["second"]', 'noise["first"]'))
    with pytest.raises(AssertionError, match="the value of l"):
        follows_reference(reused, case)


# Normal forms, loops, trainers -------------------------------------------------------------------


def test_b5_kills_liveness_of_a_loop_without_its_fixpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(self: Any, scan: Any, mask: Any, graph: Any, wanted: Any) -> Any:
        carries = scan.attrs[3]
        live = tuple(self._memo[i, mask].live for i in scan.inputs[:carries])
        self._live_carries[scan, mask] = live
        return self._body(scan, mask, graph, live, (*scan.inputs[-carries:], *wanted))

    monkeypatch.setattr(terms.Terms, "_bodies", once)
    assert killed(follows_reference)


def test_s16_kills_a_loop_that_starts_a_step_late(monkeypatch: pytest.MonkeyPatch) -> None:
    from latentroles.spec import scan, sorter

    def late(spec: Any, first: lr.Expr, sequence: lr.Expr, axis: str) -> lr.Expr:
        first = sequence.t[0] if axis == "time" else sequence.k[0]
        return spec._node("prepend", (first, sequence), (axis,))

    for module in (scan, sorter):
        monkeypatch.setattr(module, "_prepend", late)
    program.cache_clear()

    def is_its_unrolling(model: Any, case: Case) -> None:
        plain = Case(unrolled(program(case.seed)), case.batch, case.phase, case.seed)
        same_results(results(model, case), results(compiled(plain), plain))

    try:
        assert killed(is_its_unrolling)
    finally:
        program.cache_clear()


def test_s14_kills_a_stopped_value_computed_beside_its_live_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def alone(self: Any, term: Any) -> Node:
        outside = self.outer is not None and not term.loops
        return self.outer._serve(term) if outside else self._node(term)

    monkeypatch.setattr(build._Resolver, "_serve", alone)
    assert killed(lambda model, case: shares_what_it_computes(model.plan))


def has_the_routes_by_hand(model: Any, case: Case) -> None:
    assert lr.routes(case.spec).live == routes_by_hand(case.spec.to_json())


def test_s4_kills_routes_through_closed_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = graph.Graph.cut
    monkeypatch.setattr(
        graph.Graph, "cut", lambda self, e: None if e.kind == "gate" else cut(self, e)
    )
    assert killed(has_the_routes_by_hand)


def test_s4_kills_routes_around_a_loop_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = reach.Reach._sweep
    monkeypatch.setattr(reach.Reach, "_sweep", lambda self: sweep(self) and False)
    assert killed(has_the_routes_by_hand)


def trains_as_declared(model: Any, case: Case) -> None:
    if not reached(case):
        return
    trainer = trainer_of(case, "torch")
    before = trainer.snapshot()
    trainer.step(batch_for(case.spec, 100), 0)
    moves_just_what_it_may(case, [before, trainer.snapshot()])


def targets_that_never_follow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch_model, "update_targets", lambda model, step: None)


def targets_that_follow_before_the_step(patch: pytest.MonkeyPatch) -> None:
    follow, move = torch_model.update_targets, Trainer._move

    def first(self: Trainer, total: Any, step: int) -> None:
        follow(self.model, step)
        move(self, total, step)

    patch.setattr(Trainer, "_move", first)
    patch.setattr(torch_model, "update_targets", lambda model, step: None)


def decay_of_what_no_loss_reaches(patch: pytest.MonkeyPatch) -> None:
    move = Trainer._move

    def all_of_them(self: Trainer, total: Any, step: int) -> None:
        move(self, total, step)
        held = {p for group in self._groups.values() for p in group.params.values()}
        for name in self.model.spec.modules:
            for p in getattr(self.model, name).parameters():
                if p not in held:
                    p.data.mul_(0.999)

    patch.setattr(Trainer, "_move", all_of_them)


@pytest.mark.parametrize(
    "mutant",
    [
        targets_that_never_follow,
        targets_that_follow_before_the_step,
        decay_of_what_no_loss_reaches,
    ],
)
def test_b7_b8_kill(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert killed(trains_as_declared)


def test_b3_kills_a_target_that_jax_differentiates() -> None:
    s = lr.Spec("ema")
    x = s.observation("x", (2,))
    f, head = s.module("f", lr.nn.linear(2, 2)), s.module("head", lr.nn.linear(2, 2))
    s.loss("l", lr.losses.mse(head(f(x)), s.target(f, decay=0.9)(x)))
    case = Case.of(s)
    only_declared_routes(results(compiled(case, "jax"), case), s)

    def unstopped(plan: Plan) -> Plan:
        return build.plan_phase(plan.spec, plan.phase, targets_flow=False)

    with pytest.raises(AssertionError, match="no route from l to f_target"):
        only_declared_routes(results(compiled(case, "jax", plan=unstopped), case), s)
