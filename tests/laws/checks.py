"""The laws themselves, as functions that the property tests and the mutant tests both call.

Gradients are compared relative to their largest entry in a module.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

import latentroles as lr
from latentroles.plan.build import Plan, least_applications
from latentroles.spec.schedules import value as schedule_value
from laws.case import Case, Gradients, Results, reference, results

VALUE, GRADIENT = 1e-10, 1e-8


def follows_reference(model: Any, case: Case) -> Results:
    """B5: each loss has the value and the gradient of the masked per-loss reference."""
    got = results(model, case)
    values, gradients = reference(model, case)
    same_values(got.losses, values)
    for loss in values:
        same_gradients(got.gradients[loss], gradients[loss], f"of {loss}")
    weights = {n: schedule_value(case.spec.losses[n].weight, case.step) for n in values}
    same_values({"total": got.total}, {"total": sum(weights[n] * values[n] for n in values)})
    return got


def only_declared_routes(got: Results, spec: lr.Spec) -> None:
    """S1, B3: where the table shows no route the gradient is exactly zero."""
    table = lr.routes(spec)
    for loss, gradients in got.gradients.items():
        for name, arrays in gradients.items():
            if name not in table[loss].modules:
                assert not any(a.any() for a in arrays.values()), (
                    f"the table shows no route from {loss} to {name}, but the gradient is {arrays}"
                )


def shares_what_it_computes(plan: Plan) -> None:
    """S14: a value is computed once, but for the twins that different gradients force."""
    least = least_applications(plan.spec, plan.phase)
    # Ranges of one sequence share an application, unless the gradient of one of them is scaled.
    scaled = [n for n in plan.nodes() if n.kind == "apply" and n.inputs[0].node.kind == "scale"]
    for name, count in plan.applications().items():
        apart = sum(node.attrs[0] == name for node in scaled)
        most = least[name] + plan.twins.get(name, 0) + apart
        assert count <= most, f"{name} is applied too often"
    # What nobody differentiates is computed by what somebody does, or else once.
    loops = [node.term for node in plan.nodes() if node.kind == "loop" and node.term is not None]
    for primal in {loop.primal for loop in loops}:
        versions = [loop for loop in loops if loop.primal is primal]
        assert len(set(versions)) == len(versions)
        assert len(versions) == 1 or primal not in versions


def same_values(got: Mapping[str, Any], want: Mapping[str, Any], tolerance: float = VALUE) -> None:
    """B1: equal names, equal numbers."""
    assert set(got) == set(want)
    for name in want:
        np.testing.assert_allclose(
            got[name], want[name], rtol=tolerance, atol=tolerance, err_msg=f"the value of {name}"
        )


def same_gradients(
    got: Gradients, want: Gradients, what: str = "", tolerance: float = GRADIENT
) -> None:
    """B2: equal gradients in the modules of `want`."""
    for name, arrays in want.items():
        largest = max((np.abs(a).max() for a in arrays.values()), default=0.0)
        for path, array in arrays.items():
            np.testing.assert_allclose(
                got[name][path],
                array,
                rtol=0,
                atol=tolerance * max(largest, 1e-6),
                err_msg=f"the gradient {what} in {name}/{path}",
            )


def same_results(got: Results, want: Results) -> None:
    """B1, B2: two steps are the same; latents are compared where both give them."""
    same_values(got.losses, want.losses)
    same_values({"total": got.total}, {"total": want.total})
    same_values(got.state, want.state)
    both = set(got.latents) & set(want.latents)
    same_values({n: got.latents[n] for n in both}, {n: want.latents[n] for n in both})
    for loss, gradients in want.gradients.items():
        same_gradients(got.gradients[loss], gradients, f"of {loss}")
