"""The masked per-loss reference on JAX: one backward pass per loss."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentroles.spec.expr import Expr
from latentroles.testing.reference import evaluate

from . import ops
from .emit import dims_of
from .model import Model, gradients_by_path
from .precision import of_dtype


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


def reference(
    model: Model, batch: Any, noise: Any = None, state: Any = None, step: int = 0
) -> tuple[dict[str, float], dict[str, dict[str, dict[str, Any]]]]:
    """The value and the gradient of each loss of the model's phase, unweighted, each on its own.

    Returns:
        ({loss: value}, {loss: {module: {path: array}}}).
    """
    leaves = {
        **model.inputs(batch),
        **(noise or {}),
        **(model.initial_state() if state is None else state),
    }
    with of_dtype(model.dtype)():
        found = {name: _gradient(model, name, leaves) for name in model.plan.losses}
        return (
            {name: float(value) for name, (value, _) in found.items()},
            {name: gradients_by_path(model, grads) for name, (_, grads) in found.items()},
        )


# Compiled, one loss at a time: op by op, JAX compiles every operation on its own.
@eqx.filter_jit
def _gradient(model: Model, name: str, leaves: dict[str, Array]) -> tuple[Array, Any]:
    loss = model.spec.losses[name]

    def value(model: Model) -> Array:
        return evaluate(model.spec, loss.expr, leaves, Primitives(model), loss.updates)

    return eqx.filter_value_and_grad(value)(model)
