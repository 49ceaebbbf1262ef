"""Pieces of array functions, safe where the plain formula is not: at kinks, for large numbers."""

from typing import Any

from array_api_compat import array_namespace, device, is_jax_array


def magnitude(x: Any) -> Any:
    """|x|, with derivative 0 at 0."""
    xp = array_namespace(x)
    # JAX's abs has derivative 1 at 0; its sign is constant, so that the product is |x| there too.
    return x * xp.sign(x) if is_jax_array(x) else xp.abs(x)


def length(x: Any) -> Any:
    """||x|| over the last axis, with derivative 0 at 0."""
    xp = array_namespace(x)
    squared = xp.sum(x * x, axis=-1)
    positive = squared > 0
    safe = xp.where(positive, squared, xp.ones_like(squared))
    return xp.where(positive, xp.sqrt(safe), xp.zeros_like(squared))


def unit(x: Any) -> Any:
    """x / ||x|| over the last axis; a zero vector stays zero, with derivative 0."""
    xp = array_namespace(x)
    squared = xp.sum(x * x, axis=-1, keepdims=True)
    positive = squared > 0
    safe = xp.where(positive, squared, xp.ones_like(squared))
    return xp.where(positive, x / xp.sqrt(safe), xp.zeros_like(x))


def hinge(x: Any) -> Any:
    """max(x, 0), with derivative 0 at 0."""
    xp = array_namespace(x)
    return xp.where(x > 0, x, xp.zeros_like(x))


def log_softmax(logits: Any) -> Any:
    """logits - log sum exp(logits) over the last axis."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def one_hot(classes: Any, n: int, dtype: Any) -> Any:
    """(...) integers 0..n-1 -> (..., n), 1 at the class and 0 elsewhere."""
    xp = array_namespace(classes)
    every = xp.arange(n, dtype=classes.dtype, device=device(classes))
    return xp.astype(classes[..., None] == xp.reshape(every, (1,) * classes.ndim + (n,)), dtype)
