"""S1, S2, B3, B4 through the audits: the routes of a spec are the routes that an audit of foreign
code finds in the compiled torch model and in the compiled JAX model.
"""

import random

import equinox as eqx
import jax.numpy as jnp
import pytest
from hypothesis import assume, given, settings

import latentroles as lr
from latentroles.plan.build import Plan
from latentroles.routes import graph
from latentroles.rules.facts import Table
from latentroles.rules.unrolled import Unrolled
from latentroles.testing.laws import Case, compiled, inputs
from latentroles.testing.strategies import programs, write
from latentroles_jax import audit as jax_audit
from latentroles_jax.precision import x64
from latentroles_specs.hzp import hzp
from latentroles_torch import audit as torch_audit
from mutated import registered
from test_mutants import frozen_parameters_for_live_ones, refs

many = settings(max_examples=4 * settings.default.max_examples)


def parts(spec: lr.Spec) -> list[str]:
    return [name for name, module in spec.modules.items() if module.layer.parameters()]


def torch_routes(model, case: Case) -> dict[str, frozenset[str]]:
    out = model(*inputs(model, case), case.step)
    losses = {name: value for name, value in out.losses.items() if value.requires_grad}
    found = {name: frozenset() for name in out.losses}
    if losses:
        modules = {name: getattr(model, name) for name in parts(case.spec)}
        found |= torch_audit.routes(losses, modules).live
    return found


def jax_routes(model, case: Case) -> dict[str, frozenset[str]]:
    names = parts(case.spec)

    def losses(modules, given):
        whole = eqx.tree_at(
            lambda m: [getattr(m, n) for n in names], model, [modules[n] for n in names]
        )
        return {name: jnp.asarray(value) for name, value in whole(*given, case.step).losses.items()}

    with x64():
        given = inputs(model, case)
        modules = {name: getattr(model, name) for name in names}
        return dict(jax_audit.routes(losses, modules, given).live)


def agrees(found: dict[str, frozenset[str]], case: Case) -> None:
    """What an audit finds lies between the declared routes and those that take arrays whole.

    To a program an array is one thing: it reaches all of a sequence that it cuts. A spec looks
    closer, at a frame that was put in front and left out again, and at the first frame of a loop.
    """
    spec = case.spec
    unrolled = Unrolled(spec)
    table = Table(unrolled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "behind_first", lambda cut: False)
        coarse = lr.routes(spec)
    for loss in spec.phase_of(case.phase).losses:
        updates = spec.losses[loss].updates
        reached = set(table.modules(table[unrolled.at(spec.losses[loss].expr, None)].live))
        if updates is not None:
            reached &= set(updates)
        assert reached <= found[loss] <= coarse[loss].modules


@many
@given(programs())
def test_the_audit_of_the_compiled_torch_model_finds_the_declared_routes(program):
    assume(parts(program.spec))
    for case in Case.all_of(program.spec):
        agrees(torch_routes(compiled(case, "torch"), case), case)


@given(programs())
def test_the_audit_of_the_compiled_jax_model_finds_the_declared_routes(program):
    assume(parts(program.spec))
    for case in Case.all_of(program.spec):
        agrees(jax_routes(compiled(case, "jax"), case), case)


GATES = ["z_to_hp", "z_to_decoder", "h_to_p"]


@pytest.mark.parametrize("opened", [[], *([gate] for gate in GATES), GATES])
def test_hzp_has_one_table_in_three_readings(opened):
    spec = hzp(frame=(3, 8, 8), dim=6, horizon=3)
    spec = spec.with_gates(**{gate: gate in opened for gate in GATES})
    case, declared = Case.of(spec), lr.routes(spec).live
    assert torch_routes(compiled(case, "torch"), case) == declared
    assert jax_routes(compiled(case, "jax"), case) == declared


def no_stop_at_all(plan: Plan) -> None:
    for ref in refs(plan):
        ref.stop = False


@pytest.mark.parametrize("mutant", [no_stop_at_all, frozen_parameters_for_live_ones])
@pytest.mark.parametrize(("backend", "audit"), [("torch", torch_routes), ("jax", jax_routes)])
def test_a_compiled_model_with_another_route_is_found(mutant, backend, audit):
    case = Case.of(hzp(frame=(3, 8, 8), dim=6, horizon=3))
    model = compiled(case, registered(backend, plan=mutant))
    assert audit(model, case) != lr.routes(case.spec).live


def test_the_two_bounds_nearly_always_meet():
    """Where they meet, the audits find exactly the declared routes."""
    specs = [write(random.Random(seed).randrange).spec for seed in range(100)]
    met = 0
    for spec in specs:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graph, "behind_first", lambda cut: False)
            coarse = lr.routes(spec).live
        table = Table(Unrolled(spec))
        exact = {
            name: frozenset(table.modules(table[table.unrolled.at(loss.expr, None)].live))
            for name, loss in spec.losses.items()
        }
        met += all(
            coarse[n] == (exact[n] & set(spec.losses[n].updates or spec.modules)) for n in exact
        )
    assert met >= 95
