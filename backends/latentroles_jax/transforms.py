"""A step passed through what JAX can do to a function: compiled, rematerialised, vmapped."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .model import Model, gradients_by_path
from .precision import of_dtype, to_numpy

Run = Callable[..., Any]

TRANSFORMS: dict[str, Callable[[Run], Run]] = {
    "eager": lambda run: run,
    "compile": jax.jit,
    "remat": lambda run: jax.jit(jax.checkpoint(run)),
    "vmap": lambda run: jax.jit(jax.vmap(run, in_axes=(None, 0))),
}


def transformed(
    model: Model, how: str, batch: Any, noise: Any = None, state: Any = None, step: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """The losses and the gradient of the total of a transformed step.

    Args:
        how: one of `TRANSFORMS`. For "vmap" every array has one more axis in front, and so have
            the losses; the gradient is that of the sum of the totals.
    """
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)

    def run(arrays: Any, given: Any) -> Any:
        out = eqx.combine(arrays, rest)(*given, step)
        return out.losses, out.total

    def total(arrays: Any, given: Any) -> Any:
        losses, total = TRANSFORMS[how](run)(arrays, given)
        return total.sum(), losses

    with of_dtype(model.dtype)():
        given = (model.inputs(batch), noise, state)
        grads, losses = jax.grad(total, has_aux=True)(arrays, given)
        found = {n: to_numpy(losses[n]) for n in model.plan.losses}
        return found, gradients_by_path(model, grads)
