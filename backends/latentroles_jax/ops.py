"""The array operations of the language on JAX: what emitted source and the reference call."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentroles.spec.array_losses import unit


def each(function: Callable[..., Array], *operands: Array, axes: int) -> Array:
    """Applies a module to every event behind the leading axes, which are folded into one."""
    lead = operands[0].shape[:axes]
    if not axes:
        return function(*operands)
    result = jax.vmap(function)(*(x.reshape(-1, *x.shape[axes:]) for x in operands))
    return result.reshape(*lead, *result.shape[1:])


def frozen(module: Any) -> Any:
    """The module with its parameters stopped: gradient passes it and moves nothing in it."""
    arrays, rest = eqx.partition(module, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), rest)


def stop(x: Array) -> Array:
    """Identity in value, zero in derivative."""
    return jax.lax.stop_gradient(x)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def scale_gradient(x: Array, factor: float) -> Array:
    """Identity in value, derivative times `factor`."""
    return x


def _forward(x: Array, factor: float) -> tuple[Array, None]:
    return x, None


def _backward(factor: float, _: None, grad: Array) -> tuple[Array]:
    return (grad * factor,)


scale_gradient.defvjp(_forward, _backward)


def windows(x: Array, size: int) -> Array:
    """Every window of `size` successive frames: (batch, time, ...) -> (batch, time', size, ...)."""
    n = x.shape[1] - size + 1
    return jnp.stack([x[:, j : j + n] for j in range(size)], axis=2)


def prepend(first: Array, sequence: Array, axis: int) -> Array:
    """One entry in front of a sequence."""
    return jnp.concatenate([jnp.expand_dims(first, axis), sequence], axis=axis)


def expand(x: Array, new: Sequence[int], sizes: Sequence[int]) -> Array:
    """Repeats along new leading axes at the positions `new`, up to the full `sizes`."""
    for position in new:
        x = jnp.expand_dims(x, position)
    return jnp.broadcast_to(x, tuple(sizes))


def one_hot(x: Array, n: int, dtype: Any) -> Array:
    """One-hot codes, zeros for a class outside 0..n-1: (...) -> (..., n)."""
    return (x[..., None] == jnp.arange(n, dtype=x.dtype)).astype(dtype)


def avg_pool2d(x: Array, size: int) -> Array:
    """Means over size x size blocks of the last two axes."""
    box = (*(1,) * (x.ndim - 2), size, size)
    # The zero is no array, so that JAX sees a sum, which it knows to differentiate.
    return jax.lax.reduce_window(x, x.dtype.type(0), jax.lax.add, box, box, "VALID") / size**2


def random_crop(x: Array, draw: Array, reach: int) -> Array:
    """The images moved by up to `reach` pixels each way, their border repeated.

    Shapes: x (*lead, ..., H, W), draw (*lead, 2) in [0, 1), rows first.
    """
    # A draw just below 1 may be 1 in a shorter float.
    moves = jnp.minimum((draw * (2 * reach + 1)).astype(int), 2 * reach) - reach
    for axis in (-2, -1):
        size = x.shape[axis]
        event = [1] * (x.ndim - draw.ndim + 1)
        move = moves[..., axis].reshape(*draw.shape[:-1], *event)
        event[axis] = size
        pixels = jnp.arange(size).reshape((1,) * (draw.ndim - 1) + tuple(event))
        x = jnp.take_along_axis(x, jnp.clip(pixels + move, 0, size - 1), axis)
    return x


def abs(x: Array) -> Array:
    """|x|, with derivative 0 at 0 as in torch; jnp.abs has derivative 1 there."""
    return x * jnp.sign(x)


def relu(x: Array) -> Array:
    """max(x, 0), with derivative 0 at 0 as in torch."""
    return jax.nn.relu(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e ** -x)."""
    return jax.nn.sigmoid(x)


def normalise(x: Array) -> Array:
    """x / ||x|| along the last axis, zero vectors kept."""
    return unit(x)
