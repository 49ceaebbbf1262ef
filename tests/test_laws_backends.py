"""B1-B5, B19, B22, B25 of the laws: what is compiled is what is declared, alike on both backends.

JAX takes a second to compile a small Spec and torch some milliseconds, so that JAX sees fewer.
"""

import copy
import importlib.util
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latentroles as lr
from latentroles import plugins
from latentroles.compile import draw_weights
from latentroles.plan.source import class_name
from latentroles.testing.reference import evaluate
from latentroles.testing.strategies import Program, programs, write
from latentroles_jax.precision import x64
from latentroles_specs.hzp import hzp
from laws.case import Case, compiled, results, steps
from laws.checks import (
    follows_reference,
    only_declared_routes,
    same_gradients,
    same_results,
    same_values,
)
from laws.torch_steps import inputs

BACKENDS = ["torch", "jax"]
seeds = st.integers(0, 3)
many = settings(max_examples=8 * settings.default.max_examples)
few = settings(max_examples=settings.default.max_examples // 2)
fewest = settings(max_examples=settings.default.max_examples // 6)


def small_hzp(**arguments: object) -> lr.Spec:
    return hzp(frame=(3, 8, 8), dim=6, horizon=3, **arguments)


def case_of(program: Program, seed: int) -> Case:
    """One of the phases of a program."""
    return Case.all_of(program.spec, seed)[seed % len(program.spec.all_phases())]


@many
@given(programs(), seeds)
def test_b3_b5_a_step_on_torch_follows_the_masked_reference(program, seed):
    for case in Case.all_of(program.spec, seed):
        got = follows_reference(compiled(case), case)
        only_declared_routes(got, program.spec)


@few
@given(programs(), seeds)
def test_b1_b2_b3_a_step_is_the_same_on_jax_and_on_torch(program, seed):
    case = case_of(program, seed)
    torch, jax = (results(compiled(case, backend), case) for backend in BACKENDS)
    same_results(jax, torch)
    only_declared_routes(jax, program.spec)


@fewest
@given(programs(calls=4, losses=2), seeds)
def test_b3_b5_a_step_on_jax_follows_the_masked_reference(program, seed):
    case = case_of(program, seed)
    model = compiled(case, "jax")
    only_declared_routes(follows_reference(model, case), program.spec)
    torch = compiled(case)
    for name in program.spec.latents:
        jax_z, torch_z = (
            m.encode(case.batch, name, *steps(m).inputs(m, case)[1:]) for m in (model, torch)
        )
        same_values({name: np.asarray(jax_z)}, {name: torch_z})


@pytest.mark.parametrize("backend", BACKENDS)
def test_b5_hzp_follows_the_masked_reference(backend):
    case = Case.of(small_hzp())
    got = follows_reference(compiled(case, backend), case)
    only_declared_routes(got, case.spec)
    for loss, reached in lr.routes(case.spec).live.items():  # B4
        for name in reached:
            assert any(a.any() for a in got.gradients[loss][name].values())


def test_b1_b2_hzp_is_the_same_on_both_backends_with_every_gate_open():
    gates = {"z_to_hp": True, "z_to_decoder": False, "h_to_p": True}
    case = Case.of(small_hzp(use_z2h_init=True).with_gates(**gates), seed=1)
    torch, jax = (results(compiled(case, backend), case) for backend in BACKENDS)
    same_results(jax, torch)


@many
@given(programs(), seeds)
def test_the_public_gradients_are_the_weighted_sum_of_the_losses_gradients(program, seed):
    case = case_of(program, seed)
    model = compiled(case)
    got = results(model, case)
    weights = {
        n: float(model.weight(n, case.step)) if not isinstance(w, float) else w
        for n in got.losses
        for w in [case.spec.losses[n].weight]
    }
    summed = {
        m: {
            path: sum(weights[n] * got.gradients[n][m][path] for n in got.losses)
            for path in draw_weights(case.spec, 0)[m]
        }
        for m in case.spec.modules
    }
    _, noise, state = inputs(model, case)
    same_gradients(lr.gradients(model, case.batch, noise, state, case.step), summed)


@many
@given(programs(), seeds)
def test_latents_and_states_have_the_declared_values(program, seed):
    case = case_of(program, seed)
    model = compiled(case)
    given_ = inputs(model, case)
    got = results(model, case)
    leaves = {n: a for arrays in given_ for n, a in arrays.items()}
    primitives = steps(model).Primitives(model)
    for name in program.spec.latents:
        want = evaluate(model.spec, model.spec.latents[name].expr, leaves, primitives).detach()
        encoded = model.encode(case.batch, name, given_[1], given_[2])
        same_values({name: encoded}, {name: want})
        if name in got.latents:
            same_values({name: got.latents[name]}, {name: want})
    assert set(got.state) == set(program.spec.updates)
    for name, expr in model.spec.updates.items():
        want = evaluate(model.spec, expr, leaves, primitives).detach()
        same_values({name: got.state[name]}, {name: want})


@pytest.mark.parametrize("backend", BACKENDS)
def test_b19_a_frozen_module_passes_the_gradient_of_its_input(backend):
    s = lr.Spec("heads")
    x = s.observation("x", (2,))
    below, head = s.module("below", lr.nn.linear(2, 2)), s.module("head", lr.nn.mlp(2, 2))
    s.loss("live", lr.losses.mse(head(below(x)), x))
    s.loss("frozen", lr.losses.mse(head.frozen(below(x)), x))
    case = Case.of(s)
    got = results(compiled(case, backend), case).gradients
    assert all(not a.any() for a in got["frozen"]["head"].values())
    same_gradients({"below": got["frozen"]["below"]}, {"below": got["live"]["below"]})
    assert got["live"]["head"]["0.weight"].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_b22_emitted_source_runs_from_a_file(backend, tmp_path: Path):
    case = Case.of(write(random.Random(5).randrange).spec)
    model = compiled(case, backend)
    path = tmp_path / "emitted.py"
    path.write_text(model.source)
    found = importlib.util.spec_from_file_location("emitted", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    cls = getattr(module, class_name(model.spec.name))
    chosen = plugins.backend(backend)
    weights = draw_weights(model.spec, case.seed)
    again = chosen.build(cls, model.plan, model.source, weights, case.seed, "float64", None)
    got, want = lr.gradients(again, case.batch), lr.gradients(model, case.batch)
    for name, arrays in want.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(got[name][key], array)


@given(programs(), seeds)
def test_b25_weights_go_from_torch_to_jax_and_back_bitwise(program, seed):
    case = case_of(program, seed)
    torch = compiled(case)
    held = lr.weights(torch)
    with x64():
        model = compiled(case, "jax")
        there = lr.weights(lr.load_weights(model, held))
    back = lr.weights(lr.load_weights(compiled(case), there))
    for name, arrays in held.items():
        for path, array in arrays.items():
            np.testing.assert_array_equal(there[name][path], array)
            np.testing.assert_array_equal(back[name][path], array)


@given(programs(), seeds)
def test_a_model_can_be_copied_and_pickled(program, seed):
    case = case_of(program, seed)
    model = compiled(case)
    want = results(model, case)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        same_results(results(again, case), want)
