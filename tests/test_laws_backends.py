"""B1-B25 of the laws over random Specs on both backends, and the shipped system under them.

Those of training have a file of their own. JAX takes a second to compile a small Spec and torch
some milliseconds, so that JAX sees fewer (`BACKEND.pace`).
"""

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latentroles as lr
from latentroles.compile import draw_weights
from latentroles.testing.laws import LAWS, Case, compiled, inputs, results, step_of
from latentroles.testing.laws.checks import (
    moved,
    only_declared_routes,
    same_gradients,
    same_results,
    same_values,
)
from latentroles.testing.laws.table import compared_by
from latentroles.testing.laws.values import follows_reference
from latentroles.testing.reference import evaluate
from latentroles.testing.strategies import programs
from latentroles_specs.hzp import hzp
from latentroles_torch.reference import Primitives

BACKENDS = ["torch", "jax"]
seeds = st.integers(0, 3)
many = settings(max_examples=4 * settings.default.max_examples)


def small_hzp(**arguments: object) -> lr.Spec:
    return hzp(frame=(3, 8, 8), dim=6, horizon=3, **arguments)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "law",
    [n for n, law in LAWS.items() if n.startswith("B") and "training" not in law.needs],
)
def test_random_specs_on_a_backend_keep(law, backend):
    if partner := compared_by(LAWS[law], backend):
        pytest.skip(f"{partner}'s turn compares them")
    LAWS[law].run(backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b4_b5_hzp_follows_the_masked_reference(backend):
    case = Case.of(small_hzp())
    got = follows_reference(compiled(case, backend), case)
    only_declared_routes(got.gradients, case.spec)
    for loss, reached in lr.routes(case.spec).live.items():
        assert moved(got.gradients[loss]) == reached


def test_b1_b2_hzp_is_the_same_on_both_backends_with_every_gate_open():
    gates = {"z_to_hp": True, "z_to_decoder": False, "h_to_p": True}
    case = Case.of(small_hzp(use_z2h_init=True).with_gates(**gates), seed=1)
    same_results(step_of(case, "jax"), step_of(case, "torch"))


@many
@given(programs(), seeds)
def test_the_public_gradients_are_the_weighted_sum_of_the_losses_gradients(program, seed):
    case = Case.one_of(program, seed)
    model = compiled(case, "torch")
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
    case = Case.one_of(program, seed)
    model = compiled(case, "torch")
    given_ = inputs(model, case)
    got = results(model, case)
    leaves = {n: a for arrays in given_ for n, a in arrays.items()}
    primitives = Primitives(model)
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


@given(programs(), seeds)
def test_a_model_can_be_copied_and_pickled(program, seed):
    case = Case.one_of(program, seed)
    model = compiled(case, "torch")
    want = results(model, case)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        same_results(results(again, case), want)
