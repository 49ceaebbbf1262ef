"""Every law can fail: planted mistakes, each killed by a named law on a few fixed programs.

A mutant changes a Plan, the emitted source, the normal forms or the trainer, in this process only.
Not listed because they are equivalent: a stop on what carries no gradient; swapped sides of a
symmetric distance; another order of sums.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import pytest

import latentroles as lr
from latentroles.plan import build, terms
from latentroles.plan.build import Node, Plan, Ref
from latentroles.routes import graph, reach
from latentroles.testing.laws import LAWS
from latentroles.testing.strategies import Program, write
from latentroles_torch import model as torch_model
from latentroles_torch.trainer import Trainer
from mutated import KILLS, Inapplicable, registered

PROGRAMS = 80


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


def a_sum_for_a_mean(plan: Plan) -> None:
    means = [n for n in nodes(plan) if n.kind == "op" and n.attrs == ("mean", "batch")]
    node = middle(means)
    node.attrs = ("sum", "batch")


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


def killed(law: str, backend: str = "torch", **mutant: Callable[[Any], Any]) -> bool:
    """Whether a law fails on one of the programs, on a backend with a mistake planted."""
    if mutant:
        backend = registered(backend, **mutant)
    tried = 0
    for seed in range(PROGRAMS):
        try:
            LAWS[law].check(program(seed), backend, seed)
        except Inapplicable:
            continue
        except AssertionError:
            KILLS.append((law, tried + 1))
            return True
        tried += 1
    return False


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
    assert killed("B5", source=SOURCE_MUTANTS[name])


def test_b5_kills_source_that_draws_noise_once_for_two() -> None:
    s = lr.Spec("noisy")
    x = s.observation("x", (2,))
    f = s.module("f", lr.nn.linear(2, 2))
    first, second = (s.noise(n, (2,), axes=("batch", "time")) for n in ("first", "second"))
    s.loss("l", lr.losses.mse(f(x + first), x + second))
    LAWS["B5"].check(s, "torch")
    reused = registered(source=rewritten('noise["second"]', 'noise["first"]'))
    with pytest.raises(AssertionError, match="the value of l"):
        LAWS["B5"].check(s, reused)


# Normal forms, loops, trainers -------------------------------------------------------------------


def test_b5_kills_liveness_of_a_loop_without_its_fixpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(self: Any, scan: Any, mask: Any, graph: Any, wanted: Any) -> Any:
        carries = scan.attrs[3]
        live = tuple(self._memo[i, mask].live for i in scan.inputs[:carries])
        self._live_carries[scan, mask] = live
        return self._body(scan, mask, graph, live, (*scan.inputs[-carries:], *wanted))

    monkeypatch.setattr(terms.Terms, "_bodies", once)
    assert killed("B5")


def test_s16_kills_a_loop_that_starts_a_step_late(monkeypatch: pytest.MonkeyPatch) -> None:
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
        outside = self.outer is not None and not term.loops
        return self.outer._serve(term) if outside else self._node(term)

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
    ("law", "mutant"),
    [
        ("B8", targets_that_never_follow),
        ("B8", targets_that_follow_before_the_step),
        ("B7", decay_of_what_no_loss_reaches),
    ],
)
def test_b7_b8_kill(
    law: str, mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert killed(law)


def test_b3_kills_a_target_that_jax_differentiates() -> None:
    s = lr.Spec("ema")
    x = s.observation("x", (2,))
    f, head = s.module("f", lr.nn.linear(2, 2)), s.module("head", lr.nn.linear(2, 2))
    s.loss("l", lr.losses.mse(head(f(x)), s.target(f, decay=0.9)(x)))
    LAWS["B3"].check(s, "jax")

    def unstopped(plan: Plan) -> Plan:
        return build.plan_phase(plan.spec, plan.phase, targets_flow=False)

    with pytest.raises(AssertionError, match="no route from l to f_target"):
        LAWS["B3"].check(s, registered("jax", plan=unstopped))
