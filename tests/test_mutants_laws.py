"""Laws that a wrong plan does not show can fail too: mistakes of backends, trainers and specs.

Random specs are for torch. JAX takes seconds to compile one, so that mistakes of both backends are
looked for in small specs, written by hand.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

import latentroles as lr
import latentroles_jax.layers
import latentroles_jax.modules
import latentroles_torch.layers
import latentroles_torch.modules
import mutated
from latentroles import plugins
from latentroles.plan import terms
from latentroles.routes import graph, reach
from latentroles.rules import pressures
from latentroles.rules.affine import Affine
from latentroles.spec import array_statistics, nn
from latentroles.spec import json as spec_json
from latentroles.spec.nn import initial
from latentroles.testing.laws import LAWS
from latentroles.testing.strategies import write
from latentroles_torch import model as torch_model
from latentroles_torch import optim, precision, transforms
from mutated import (
    Around,
    ClipBeforeTheMask,
    Inapplicable,
    Mutated,
    Parts,
    Replaced,
    StepBetweenTwoLosses,
    TargetsThatFollowTooEarly,
    TargetsThatNeverFollow,
    around,
    holding,
)

mending = import_module("latentroles.rules.enforce")  # `rules.enforce` is the function
PROGRAMS = [write(random.Random(seed).randrange) for seed in range(40)]
TORCH = plugins.backend("torch")
Patch = pytest.MonkeyPatch


def killed(
    law: str, backend: Any = TORCH, programs: Iterable[Any] = PROGRAMS, first: int = 0
) -> bool:
    """Whether a law fails on one of the programs, the seed of the first being `first`."""
    plugins.register_backend("mutated", backend)
    return mutated.killed(law, "mutated", programs, first)


# Backends ----------------------------------------------------------------------------------------


def other_source_than_it_runs(*arguments: Any) -> Any:
    model = TORCH.build(*arguments)
    model.source = model.source.replace(".detach()", "")
    return model


def cumulative_latents(source: str) -> str:
    if "def encode_law_shifted" not in source:
        raise Inapplicable
    start, _, end = source.rpartition("return ")
    return f"{start}return torch.cumsum({end.strip()}, 1)\n"


def off_by_one(source: str) -> str:
    return source.replace("1:", "2:").replace(":-1", ":-2")


def first_of_the_batch(plan: Any) -> None:
    means = [n for n in plan.nodes() if n.kind == "op" and n.attrs == ("mean", "batch")]
    if not means:
        raise Inapplicable
    means[-1].kind, means[-1].attrs = "pick", ("batch", 0)


def no_stop(plan: Any) -> None:
    for node in plan.nodes():
        node.attrs = (*node.attrs[:2], False) if node.kind == "apply" else node.attrs
        for ref in node.inputs:
            ref.stop = False


BACKENDS = {
    "B1": Mutated(source=lambda text: text.replace("torch.tanh", "torch.sin")),
    "B2": Mutated(plan=no_stop),
    "B9": Mutated(source=lambda text: text.replace("total = ", "total = 0.5 * ")),
    "B12": Mutated(plan=first_of_the_batch),
    "B14": Mutated(source=cumulative_latents),
    "B19": Mutated(plan=no_stop),
    "B22": Replaced(build=other_source_than_it_runs),
}


@pytest.mark.parametrize("law", BACKENDS)
def test_a_wrong_backend_is_found_by(law: str) -> None:
    assert killed(law, BACKENDS[law])


# What a backend does beneath its surface ---------------------------------------------------------


def a_restore_that_forgets(patch: Patch) -> None:
    patch.setattr(optim.Group, "restore", lambda self, arrays: None)


def a_transform_that_doubles(how: str) -> Callable[[Patch], None]:
    def doubled(run: Any) -> Any:
        def twice(given: Any) -> Any:
            losses, total = torch_of[how](run)(given)
            return losses, 2.0 * total

        return twice

    torch_of = {**transforms.TRANSFORMS, "compile": lambda run: run, "remat": lambda run: run}

    def planted(patch: Patch) -> None:
        patch.setitem(transforms.TRANSFORMS, how, doubled)

    planted.__name__ = f"a_transform_that_doubles_{how}"
    return planted


def weights_that_are_rounded(patch: Patch) -> None:
    load = TORCH.load_weights

    def rounded(model: Any, held: Any) -> Any:
        short = {n: {p: np.float32(a) for p, a in arrays.items()} for n, arrays in held.items()}
        return load(model, short)

    patch.setattr(type(TORCH), "load_weights", staticmethod(rounded))


def gradients_that_are_lost(patch: Patch) -> None:
    found = TORCH.reference

    def lost(*arguments: Any) -> Any:
        values, gradients = found(*arguments)
        return values, {loss: {} for loss in gradients}

    patch.setattr(type(TORCH), "reference", staticmethod(lost))


def cuts_at_random(patch: Patch) -> None:
    cut, chance = graph.Graph.cut, random.Random(0)
    patch.setattr(
        graph.Graph, "cut", lambda self, e: "stop" if chance.random() < 0.1 else cut(self, e)
    )


def float32_that_is_half(patch: Patch) -> None:
    patch.setitem(precision.DTYPES, "float32", precision.DTYPES["bfloat16"])


def noise_without_a_seed(patch: Patch) -> None:
    draw = torch_model.draw_noise
    patch.setattr(
        torch_model,
        "draw_noise",
        lambda spec, seed, *rest: draw(spec, random.randrange(10**9), *rest),
    )


def routes_of_one_round(patch: Patch) -> None:
    sweep = reach.Reach._sweep
    patch.setattr(reach.Reach, "_sweep", lambda self: sweep(self) and False)


def stops_that_do_not_cut(patch: Patch) -> None:
    patch.setattr(graph.Graph, "cut", lambda self, e: None)


def weights_by_order(patch: Patch) -> None:
    drawn = iter(range(10**6))
    draw = initial.Uniform.draw
    patch.setattr(
        initial.Uniform, "draw", lambda self, g, shape: draw(self, g, shape) + next(drawn)
    )


def a_name_that_json_changes(patch: Patch) -> None:
    write_out = spec_json.to_json

    def renamed(spec: Any) -> Any:
        data = write_out(spec)
        return {**data, "name": f"{data['name']}_"}

    patch.setattr(spec_json, "to_json", renamed)


def a_loss_of_weight_0_that_is_kept(patch: Patch) -> None:
    declare = lr.Spec.loss

    def kept(self: lr.Spec, name: str, expr: Any, *, weight: Any = 1.0, **rest: Any) -> None:
        declare(self, name, expr, weight=weight or 1.0, **rest)
        self.losses[name] = replace(self.losses[name], weight=weight)

    patch.setattr(lr.Spec, "loss", kept)


def two_stops_that_cancel(patch: Patch) -> None:
    term = terms.Terms._term

    def cancelled(self: Any, e: Any, mask: Any, *rest: Any) -> Any:
        if e.kind == "stop" and e.inputs[0].kind == "stop" and not e.loops():
            return self._memo[e.inputs[0].inputs[0], mask]
        return term(self, e, mask, *rest)

    patch.setattr(terms.Terms, "_term", cancelled)


def sums_that_forget_a_term(patch: Patch) -> None:
    edges = graph.Graph.edges
    patch.setattr(
        graph.Graph,
        "edges",
        lambda self, e: list(edges(self, e))[: 1 if e.attrs == ("add",) else None],
    )


def targets_that_the_table_forgets(patch: Patch) -> None:
    patch.setattr(reach.Reach, "targets", lambda self, bits: frozenset())


def leaks_taken_for_identities(patch: Patch) -> None:
    asked = pressures.Pressures._actions
    patch.setattr(
        pressures.Pressures,
        "_actions",
        lambda *arguments: [slug.replace("leak", "identity") for slug in asked(*arguments)],
    )


def differences_that_do_not_cancel(patch: Patch) -> None:
    patch.setattr(
        Affine,
        "difference",
        lambda self, left, right: {**self.of(left), **(self.of(right) if right else {})},
    )


def a_stop_in_every_place(patch: Patch) -> None:
    """`enforce` takes every count for a worse one, and spares no stop."""
    worse = count()
    patch.setattr(mending, "count_broken", lambda *arguments: next(worse))


def no_stop_at_all(patch: Patch) -> None:
    patch.setattr(mending, "_places", lambda judged, finding: iter(()))


BENEATH = [
    ("B10", a_restore_that_forgets),
    ("B11", a_transform_that_doubles("compile")),
    ("B16", float32_that_is_half),
    ("B17", a_transform_that_doubles("vmap")),
    ("B20", a_transform_that_doubles("remat")),
    ("B21", noise_without_a_seed),
    ("B25", weights_that_are_rounded),
    ("S1", routes_of_one_round),
    ("S2", gradients_that_are_lost),
    ("S3", cuts_at_random),
    ("S4", stops_that_do_not_cut),
    ("S5", cuts_at_random),
    ("S6", two_stops_that_cancel),
    ("S8", sums_that_forget_a_term),
    ("S9", cuts_at_random),
    ("S10", cuts_at_random),
    ("S10", a_loss_of_weight_0_that_is_kept),
    ("S11", weights_by_order),
    ("S12", a_name_that_json_changes),
    ("S13", cuts_at_random),
    ("S16", routes_of_one_round),
    ("S17", targets_that_the_table_forgets),
    ("S18", leaks_taken_for_identities),
    ("S19", differences_that_do_not_cancel),
    ("S20", a_stop_in_every_place),
    ("S20", no_stop_at_all),
]


@pytest.mark.parametrize(("law", "mutant"), BENEATH)
def test_a_mistake_is_found_by(
    law: str, mutant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    mutant(monkeypatch)
    assert killed(law)


# Layers and statistics, on both backends ---------------------------------------------------------

HOMES = {"torch": latentroles_torch, "jax": latentroles_jax}
ARRAYS = {"torch": torch.Tensor, "jax": jax.Array}


def statistic() -> lr.Spec:
    s = lr.Spec("statistic")
    z = s.module("f", lr.nn.linear(2, 2))(s.observation("x", (2,)))
    s.loss("l", lr.losses.vicreg_covariance(z))
    return s


def curved() -> lr.Spec:
    s = lr.Spec("curved")
    x = s.observation("x", (2,))
    f = s.module("f", lr.nn.mlp(2, 2, hidden=2, activation=lr.nn.Gelu("exact")))
    s.loss("l", lr.losses.mse(f(x), x))
    return s


def recurrent() -> lr.Spec:
    s = lr.Spec("recurrent")
    x = s.observation("x", (2,))
    cell = s.module("cell", lr.nn.gru(2, 2))
    s.loss("l", lr.losses.mse(cell(x, x), x))
    return s


def a_variance_over_n(patch: Patch, backend: str) -> None:
    freedom, ours = array_statistics._freedom, ARRAYS[backend]

    def over_n(entries: Any) -> int:
        return entries.shape[0] if isinstance(entries, ours) else freedom(entries)

    patch.setattr(array_statistics, "_freedom", over_n)


def another_form_of_gelu(patch: Patch, backend: str) -> None:
    builders = HOMES[backend].layers.BUILDERS
    build = builders[nn.Gelu]
    patch.setitem(builders, nn.Gelu, lambda layer: build(replace(layer, form="tanh")))


def one_more_bias(patch: Patch, backend: str) -> None:
    cell = HOMES[backend].modules.GRU
    step = cell.step
    patch.setattr(cell, "step", lambda self, h, u: step(self, h, u + self.bias))


@pytest.mark.parametrize("spec", [statistic, curved, recurrent])
def test_b1_spares(spec: Any) -> None:
    assert not killed("B1", plugins.backend("jax"), [spec()])


@pytest.mark.parametrize("backend", HOMES)
@pytest.mark.parametrize(
    ("mutant", "spec"),
    [(a_variance_over_n, statistic), (another_form_of_gelu, curved), (one_more_bias, recurrent)],
)
def test_b1_kills_on_one_backend(mutant: Any, spec: Any, backend: str, monkeypatch: Patch) -> None:
    mutant(monkeypatch, backend)
    # JAX is compared with torch: the mistake is in either.
    assert killed("B1", plugins.backend("jax"), [spec()])


# Trainers, on both backends ----------------------------------------------------------------------


def trained() -> lr.Spec:
    """Three modules that two losses move, one that none does, and a target."""
    s = lr.Spec("trained")
    x = s.observation("x", (2,))
    f, g, head, unused = (
        s.module(name, lr.nn.linear(2, 2)) for name in ("f", "g", "head", "unused")
    )
    h = head(g(f(x)))
    s.loss("l", lr.losses.mse(h.t[:-1], s.target(f, decay=0.9)(x).t[1:]))
    s.loss("m", lr.losses.mse(unused.frozen(h), x))
    return s


def masked() -> lr.Spec:
    """A loss with a gradient longer than B9's bound, part of it in a module that it masks."""
    s = lr.Spec("masked")
    x = s.observation("x", (2,))
    f, head = (s.module(name, lr.nn.linear(2, 2)) for name in ("f", "head"))
    s.loss("l", lr.losses.mse(head(f(x)), x), weight=50.0, updates=[f])
    return s


def each_loss(spec: dict) -> list[dict]:
    return [{**spec, "losses": [loss]} for loss in spec["losses"]]


def without_masks(spec: dict) -> list[dict]:
    return [{**spec, "losses": [{**loss, "updates": None} for loss in spec["losses"]]}]


def renamed(old: str, new: str) -> Callable[[str], Mutated]:
    return lambda backend: Mutated(backend, source=lambda text: text.replace(old, new))


def the_same(spec: dict) -> list[dict]:
    return [spec]


def hold(change: Callable[[dict[str, list[str]]], Any], **more: Any) -> Callable[[str], Any]:
    return lambda backend: holding(backend, change, **more)


def step(kind: type[Around], parts: Parts = the_same) -> Callable[[str], Any]:
    return lambda backend: around(backend, kind, parts)


# The law, the mutant of a backend, the spec and the seed: B9 clips at 2, and takes SGD at 0.
TRAINERS = {
    "a module in no optimiser": ("B7", hold(lambda held: held["default"].pop()), trained, 0),
    "a module in two optimisers": (
        "B9",
        hold(lambda held: held.update(again=held["default"][:1]), again=lr.sgd(0.1)),
        trained,
        0,
    ),
    "decay of an unreached module": (
        "B7",
        hold(lambda held: held["default"].append("unused")),
        trained,
        0,
    ),
    "a student as its own teacher": ("B9", renamed("self.f_target", "self.f"), trained, 0),
    "a target that never follows": ("B8", step(TargetsThatNeverFollow), trained, 0),
    "a target that follows too early": ("B8", step(TargetsThatFollowTooEarly), trained, 0),
    "a step between two losses": ("B9", step(StepBetweenTwoLosses, each_loss), trained, 0),
    "a clip before the mask": ("B9", step(ClipBeforeTheMask, without_masks), masked, 2),
}
# The same machinery with no mistake in it.
HONEST = [
    ("B7", hold(lambda held: None), trained, 0),
    ("B8", step(Around), trained, 0),
    ("B9", step(StepBetweenTwoLosses), trained, 0),
    ("B9", step(ClipBeforeTheMask), masked, 2),
]


@pytest.mark.parametrize("backend", HOMES)
@pytest.mark.parametrize("name", TRAINERS)
def test_a_law_kills(name: str, backend: str) -> None:
    law, mutant, spec, seed = TRAINERS[name]
    assert killed(law, mutant(backend), [spec()], seed)


@pytest.mark.parametrize("backend", HOMES)
@pytest.mark.parametrize(("law", "honest", "spec", "seed"), HONEST)
def test_a_law_spares(law: str, honest: Any, spec: Any, seed: int, backend: str) -> None:
    assert not killed(law, honest(backend), [spec()], seed)


def test_every_law_is_seen_to_fail() -> None:
    here = Path(__file__)
    text = here.read_text() + here.with_name("test_mutants.py").read_text()
    assert [name for name in LAWS if f'"{name}"' not in text] == []
