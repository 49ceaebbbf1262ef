"""One step on JAX, each loss differentiated by itself: compiled, and as the masked reference."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentroles.spec.expr import Expr
from latentroles.testing.reference import Results, evaluate

from . import layers, ops
from .emit import dims_of
from .model import Model, gradients_by_path
from .precision import of_dtype, to_numpy


class Primitives:
    """The interpreter's operations on JAX arrays."""

    def __init__(self, model: Model):
        self.model = model

    def stop(self, x: Array) -> Array:
        return jax.lax.stop_gradient(x)

    def scale(self, x: Array, factor: float) -> Array:
        return ops.scale_gradient(x, factor)

    def constant(self, value: float, sizes: tuple[int, ...]) -> Array:
        return self.model.full(sizes, value)

    def apply(self, name: str, part: str | None, frozen: bool, xs: list[Array], axes: int) -> Array:
        module = getattr(self.model, name)
        module = ops.frozen(module) if frozen else module
        return ops.each(getattr(module, part) if part else module, *xs, axes=axes)

    def op(self, e: Expr, xs: list[Array]) -> Array:
        name, *arguments = e.attrs
        if len(xs) == 2 and name != "concat":
            xs = [
                x[(..., *(None,) * len(e.shape))] if i.axes and not i.shape else x
                for x, i in zip(xs, e.inputs, strict=True)
            ]
        if name in ("mean", "sum"):
            return getattr(jnp, name)(xs[0], axis=dims_of(e.attrs[1], e.inputs[0].type))
        if name == "one_hot":
            return ops.one_hot(xs[0], arguments[0], self.model.dtype)
        if name == "concat":
            return jnp.concatenate(xs, axis=-1)
        if name == "slice":
            return xs[0][..., arguments[0] : arguments[1]]
        if name == "reshape":
            return xs[0].reshape(*xs[0].shape[: len(e.axes)], *arguments[0])
        name = str(_NUMPY_NAMES.get(name, name))
        function = getattr(ops, name, None) or getattr(jnp, name)
        return function(*xs, *arguments)

    def stack(self, xs: list[Array], axis: int) -> Array:
        return jnp.stack(xs, axis=axis)

    def join(self, first: Array, rest: Array, axis: int) -> Array:
        return jnp.concatenate([jnp.expand_dims(first, axis), rest], axis=axis)

    def broadcast(self, x: Array, new: list[int], sizes: tuple[int, ...]) -> Array:
        return ops.expand(x, new, sizes)


_NUMPY_NAMES = {"sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative"}


def loss_gradients(
    model: Model, batch: Any, noise: Any = None, state: Any = None, step: int = 0
) -> Results:
    """One compiled step, with the gradient of each loss by itself.

    Everything is one jitted function: compiling it is nearly all of the cost.
    """
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    names = list(model.plan.losses)

    @jax.jit
    def run(arrays: Any, given: Any) -> Any:
        def losses(arrays: Any) -> Any:
            out = eqx.combine(arrays, rest)(*given, step)
            return jnp.stack([out.losses[n] for n in names]), out

        values, pull, out = jax.vjp(losses, arrays, has_aux=True)
        return jax.vmap(pull)(jnp.eye(len(names), dtype=values.dtype))[0], out

    with of_dtype(model.dtype)():
        grads, out = run(arrays, (model.inputs(batch), noise, state))
        return Results(
            {n: to_numpy(out.losses[n]) for n in names},
            to_numpy(out.total),
            {n: to_numpy(v) for n, v in out.latents.items()},
            {n: to_numpy(v) for n, v in out.state.items()},
            {n: _everywhere(model, grads, i) for i, n in enumerate(names)},
        )


def _everywhere(model: Model, grads: Any, i: int) -> dict[str, dict[str, np.ndarray]]:
    """The gradient of loss i in every module and, which must be zero, in every target."""
    chosen = jax.tree.map(lambda g: g[i], grads)
    return {
        name: layers.weights_of(model.spec._layer(name), getattr(chosen, name))
        for name in [*model.spec.modules, *model.spec.targets]
    }


def reference(
    model: Model,
    batch: Any,
    noise: Any = None,
    state: Any = None,
    step: int = 0,
    evaluate: Callable[..., Any] = evaluate,
) -> tuple[dict[str, float], dict[str, dict[str, dict[str, Any]]]]:
    """The value and the gradient of each loss of the model's phase, unweighted, each on its own.

    Args:
        evaluate: what interprets an expression, as `testing.reference.evaluate` does.

    Returns:
        ({loss: value}, {loss: {module: {path: array}}}).
    """
    leaves = {
        **model.inputs(batch),
        **(noise or {}),
        **(model.initial_state() if state is None else state),
    }
    with of_dtype(model.dtype)():
        found = {name: _gradient(model, name, leaves, evaluate) for name in model.plan.losses}
        return (
            {name: float(value) for name, (value, _) in found.items()},
            {name: gradients_by_path(model, grads) for name, (_, grads) in found.items()},
        )


# Compiled, one loss at a time: op by op, JAX compiles every operation on its own.
@eqx.filter_jit
def _gradient(
    model: Model, name: str, leaves: dict[str, Array], evaluate: Callable[..., Any]
) -> tuple[Array, Any]:
    loss = model.spec.losses[name]

    def value(model: Model) -> Array:
        return evaluate(model.spec, loss.expr, leaves, Primitives(model), loss.updates)

    return eqx.filter_value_and_grad(value)(model)
