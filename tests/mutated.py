"""Planted mistakes: plans that are wrong, backends that are, and whether a law finds them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

import latentroles as lr
from latentroles import plugins
from latentroles.compile import emit, load_class
from latentroles.plan import build
from latentroles.plan.build import Node, Plan, Ref
from latentroles.testing.laws import LAWS
from latentroles.train.groups import assign

# (law, examples): which law has just killed a planted mistake, and how many examples it took.
# `conftest.py` hands them to the report of the test, and `nox -s mutants` prints them.
KILLS: list[tuple[str, int]] = []


class Inapplicable(Exception):
    """The spec has no place for the mistake."""


class Mutated:
    """A backend that builds another model than was planned.

    Args:
        plan: changes a plan in place, or gives another. source: gives another source.
    """

    def __init__(
        self,
        original: str = "torch",
        plan: Callable[[Plan], Plan | None] = lambda plan: plan,
        source: Callable[[str], str] = lambda source: source,
    ):
        self._original = plugins.backend(original)
        self._plan, self._source = plan, source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def build(self, cls: type, plan: Plan, source: str, *rest: Any) -> Any:
        changed = self._plan(plan) or plan
        text = self._source(emit(changed.spec, self._original, changed))
        cls = load_class(text, changed.spec, self._original.name, changed.phase.name)
        return self._original.build(cls, changed, text, *rest)


def registered(original: str = "torch", **changes: Any) -> str:
    """The name under which a mutated backend is registered, until the next one is."""
    plugins.register_backend("mutated", Mutated(original, **changes))
    return "mutated"


class Replaced:
    """A backend of which some attributes are others.

    Args:
        changes: the attributes by name.
    """

    def __init__(self, original: str = "torch", **changes: Any):
        self._original = plugins.backend(original)
        vars(self).update(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


# Trainers ----------------------------------------------------------------------------------------


def holding(backend: str, change: Callable[[dict[str, list[str]]], Any], **more: Any) -> Replaced:
    """The backend with optimisers that hold other modules than they should.

    Args:
        change: changes in place which modules the optimisers, by name, hold. more: optimisers.
    """
    original = plugins.backend(backend)

    def trainer(model: Any, optimisers: Any, groups: Any = None, seed: int = 0) -> Any:
        def assigned(modules: Any, reached: Any, *_: Any) -> Any:
            held = assign(modules, reached, optimisers, groups)
            change(held)
            return held

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"latentroles_{backend}.trainer.assign", assigned)
            return original.trainer(model, {**optimisers, **more}, groups, seed)

    return Replaced(backend, trainer=trainer)


class Around:
    """A trainer made of others, which have the same modules."""

    def __init__(self, *trainers: Any):
        self._trainers = trainers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainers[-1], name)

    def _step_without(self, modules: Iterable[str], batch: Any, step: int) -> dict[str, float]:
        """A step after which these modules and targets are as before."""
        (trainer,) = self._trainers
        held = lr.weights(trainer.model)
        values = trainer.step(batch, step)
        trainer.model = lr.load_weights(trainer.model, {name: held[name] for name in modules})
        return values


class TargetsThatNeverFollow(Around):
    def step(self, batch: Any, step: int) -> dict[str, float]:
        return self._step_without(self.model.spec.targets, batch, step)


class TargetsThatFollowTooEarly(Around):
    def step(self, batch: Any, step: int) -> dict[str, float]:
        (trainer,) = self._trainers
        with plugins.backend(trainer.model.backend).x64():
            trainer.model = lr.update_targets(trainer.model, step)
        return self._step_without(self.model.spec.targets, batch, step)


class StepBetweenTwoLosses(Around):
    """Each of the trainers takes a step from where the one before has left the weights."""

    def step(self, batch: Any, step: int) -> dict[str, float]:
        values: dict[str, float] = {}
        last = self._trainers[-1]
        for now in self._trainers:
            now.model = lr.load_weights(now.model, lr.weights(last.model))
            found = now.step(batch, step)
            values |= {name: value for name, value in found.items() if name != "total"}
            last = now
        return {**values, "total": sum(values.values())}


class ClipBeforeTheMask(Around):
    """The gradient in `head` counts for the clip, and then moves nothing."""

    def step(self, batch: Any, step: int) -> dict[str, float]:
        return self._step_without(["head"], batch, step)

    def snapshot(self) -> dict[str, Any]:
        saved = self._trainers[0].snapshot()
        return {k: a for k, a in saved.items() if k.startswith("weights") or "/head/" not in k}


# The JSON of a spec -> that of each spec which is trained in its place.
Parts = Callable[[dict], list[dict]]


def around(backend: str, kind: type[Around], parts: Parts) -> Replaced:
    """The backend with a trainer made of those of other specs."""
    original = plugins.backend(backend)

    def trainer(model: Any, *rest: Any, seed: int = 0) -> Any:
        specs = [lr.Spec.from_json(part) for part in parts(model.spec.to_json())]
        models = [lr.compile(s, backend=backend, seed=model.seed, dtype="float64") for s in specs]
        return kind(*(original.trainer(m, *rest, seed=seed) for m in models))

    return Replaced(backend, trainer=trainer)


# Whether a law finds it --------------------------------------------------------------------------


def killed(law: str, backend: str, programs: Iterable[Any], first: int = 0) -> bool:
    """Whether a law fails on one of the programs, with seeds from `first` on; it is noted."""
    tried = 0
    for seed, program in enumerate(programs, first):
        try:
            LAWS[law].check(program, backend, seed)
        except Inapplicable:
            continue
        except AssertionError:
            KILLS.append((law, tried + 1))
            return True
        tried += 1
    return False


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


def frozen_parameters_for_a_stopped_output(plan: Plan) -> None:
    ref = middle([r for r in refs(plan) if r.stop and r.node.kind == "apply"])
    ref.stop, ref.node.attrs = False, (*ref.node.attrs[:2], True)


def a_live_target(plan: Plan) -> None:
    node = middle([n for n in nodes(plan) if n.kind == "apply" and n.attrs[0] in plan.spec.targets])
    for ref in [*node.inputs, *(r for r in refs(plan) if r.node is node)]:
        ref.stop = False


def a_swapped_prediction_and_target(plan: Plan) -> None:
    pairs = [n.inputs for n in nodes(plan) if n.kind == "call" and len(n.inputs) == 2]
    prediction, target = middle([p for p in pairs if p[0].stop != p[1].stop])
    prediction.stop, target.stop = target.stop, prediction.stop


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
    frozen_parameters_for_a_stopped_output,
    a_live_target,
    a_swapped_prediction_and_target,
    merged_twins,
    a_cut_off_by_one,
    another_entry_picked,
    a_tap_of_another_value,
    swapped_carries,
    an_unscaled_gradient,
    a_first_entry_of_zeros,
]
