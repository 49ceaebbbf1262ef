"""One step on JAX, for the laws: values, and the gradient of every loss by itself.

Everything is one jitted function: compiling it is nearly all of the cost.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from latentroles_jax import layers
from latentroles_jax.model import Model
from latentroles_jax.precision import x64
from latentroles_jax.reference import Primitives as Primitives
from laws.case import Case, Gradients, Results


def inputs(model: Model, case: Case) -> tuple[Any, Any, Any]:
    """The batch, the noise and the state of a case as arrays."""
    with x64():
        state = {n: jnp.asarray(a) for n, a in case.state().items()}
        return model.inputs(case.batch), model.noise(case.step, like=case.batch), state


def step(model: Model, case: Case) -> Results:
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)

    @jax.jit
    def run(arrays: Any, given: Any) -> Any:
        def losses(arrays: Any) -> Any:
            out = eqx.combine(arrays, rest)(*given, case.step)
            return jnp.stack([out.losses[n] for n in model.plan.losses]), out

        values, pull, out = jax.vjp(losses, arrays, has_aux=True)
        return jax.vmap(pull)(jnp.eye(len(values)))[0], out

    with x64():
        grads, out = run(arrays, inputs(model, case))
    return Results(
        {n: float(out.losses[n]) for n in model.plan.losses},
        float(out.total),
        {n: np.asarray(v) for n, v in out.latents.items()},
        {n: np.asarray(v) for n, v in out.state.items()},
        {n: gradients(model, grads, i) for i, n in enumerate(model.plan.losses)},
    )


def gradients(model: Model, grads: Any, i: int) -> Gradients:
    """The gradient of loss i in every module and, which must be zero, in every target."""
    with x64():
        chosen = jax.tree.map(lambda g: g[i], grads)
    return {
        name: layers.weights_of(model.spec._layer(name), getattr(chosen, name))
        for name in [*model.spec.modules, *model.spec.targets]
    }
