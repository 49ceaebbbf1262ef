"""The equinox modules of neutral layers that equinox has no equal of, or a slower one.

Each takes one event, without leading axes; its parameters have the neutral names and layout.
"""

import math
from collections.abc import Callable
from typing import Any

import einops
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class GRU(eqx.Module):
    """The one-bias cell of `latentroles.spec.nn.GRU`, in its two parts."""

    weight_input: Array
    weight_hidden: Array
    bias: Array

    def project(self, x: Array) -> Array:
        return self.weight_input @ x + self.bias

    def step(self, h: Array, projected: Array) -> Array:
        p_reset, p_update, p_new = jnp.split(projected, 3)
        q_reset, q_update, q_new = jnp.split(self.weight_hidden @ h, 3)
        reset = jax.nn.sigmoid(p_reset + q_reset)
        update = jax.nn.sigmoid(p_update + q_update)
        new = jnp.tanh(p_new + reset * q_new)
        return new + update * (h - new)

    def __call__(self, h: Array, x: Array) -> Array:
        return self.step(h, self.project(x))


class Residual(eqx.Module):
    """shortcut(x) + body(x), or x + body(x)."""

    body: Callable[[Array], Array]
    shortcut: Callable[[Array], Array] | None

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        return (x if self.shortcut is None else self.shortcut(x)) + self.body(x)


class ForEach(eqx.Module):
    """The body on each entry of the event's first axis."""

    body: Callable[[Array], Array]

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        return jax.vmap(self.body)(x)


class Attention(eqx.Module):
    """`latentroles.spec.nn.Attention`; `mask` is its table, or None."""

    qkv: Callable[[Array], Array]
    output: Callable[[Array], Array]
    heads: int = eqx.field(static=True)
    causal: bool = eqx.field(static=True)
    mask: tuple[tuple[bool, ...], ...] | None = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        projected = jax.vmap(self.qkv)(x)
        q, k, v = einops.rearrange(projected, "t (k h d) -> k h t d", k=3, h=self.heads)
        scores = jnp.einsum("hid,hjd->hij", q, k) / math.sqrt(q.shape[-1])
        if self.mask is None and not self.causal:
            y = jnp.einsum("hij,hjd->hid", jax.nn.softmax(scores), v)
        else:
            mask = np.tri(len(x), dtype=bool) if self.mask is None else np.array(self.mask)
            blind = ~mask.any(1, keepdims=True)
            # A softmax over nothing is no number: tokens that read none read all, then forget it.
            readable = jnp.broadcast_to(mask | blind, scores.shape)
            scores = jnp.where(readable, scores, -jnp.inf)
            y = jnp.einsum("hij,hjd->hid", jax.nn.softmax(scores), v)
            y = jnp.where(jnp.broadcast_to(blind, y.shape), 0.0, y)
        return jax.vmap(self.output)(einops.rearrange(y, "h t d -> t (h d)"))


class PrependToken(eqx.Module):
    """A learned token in front of the others."""

    token: Array

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        return jnp.concatenate([self.token[None], x])


class Positions(eqx.Module):
    """x + weight."""

    weight: Array

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        return x + self.weight


class Take(eqx.Module):
    """One entry of the event's first axis."""

    index: int = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        return x[self.index]


class MaxPool2d(eqx.Module):
    """The largest entry of each window; among equal ones the gradient goes to the first."""

    kernel: tuple[int, int] = eqx.field(static=True)
    stride: tuple[int, int] = eqx.field(static=True)
    padding: tuple[int, int] = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        lowest = -jnp.inf
        return _pool(x, lowest, jax.lax.max, self.kernel, self.stride, self.padding)


class AvgPool2d(eqx.Module):
    """The mean of each window over the pixels inside the image."""

    kernel: tuple[int, int] = eqx.field(static=True)
    stride: tuple[int, int] = eqx.field(static=True)
    padding: tuple[int, int] = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        form = (self.kernel, self.stride, self.padding)
        return _pool(x, 0.0, jax.lax.add, *form) / _pool(jnp.ones_like(x), 0.0, jax.lax.add, *form)


def _pool(
    x: Array,
    empty: float,
    combine: Callable[[Array, Array], Array],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Array:
    """Returns what `combine` makes of each window; pixels beyond the border are `empty`."""
    p, q = padding
    x = jnp.pad(x, ((0, 0), (p, p), (q, q)), constant_values=empty)
    # The start is no array, so that JAX sees a maximum or a sum, which it can differentiate.
    start = x.dtype.type(empty)
    return jax.lax.reduce_window(x, start, combine, (1, *kernel), (1, *stride), "VALID")


class Conv2d(eqx.Module):
    """`latentroles.spec.nn.Conv2d`; the weight is (outputs, inputs, kernel height, kernel width).

    Where the kernel is the stride, the patches are rearranged and multiplied: XLA's convolution
    takes up to twice as long on a CPU, forward and backward. Elsewhere the padding is explicit:
    for some kernels, the gradient of XLA's own padding ends the process (2 x 3, stride 2,
    padding 1, on 4 x 4 pixels, in XLA as of jaxlib 0.10.2 to 0.12.0).
    """

    weight: Array
    bias: Array | None
    stride: tuple[int, int] = eqx.field(static=True)
    padding: tuple[int, int] = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        p, q = self.padding
        x = jnp.pad(x, ((0, 0), (p, p), (q, q)))
        if self.weight.shape[2:] == self.stride:
            y = _patch_product(self.weight, x)
        else:
            y = jax.lax.conv_general_dilated(x[None], self.weight, self.stride, "VALID")[0]
        return _add_channels(y, self.bias)


class ConvTranspose2d(eqx.Module):
    """`latentroles.spec.nn.ConvTranspose2d`; the weight is (inputs, outputs, kernel height, width).

    With stride 1 it is a convolution by the flipped kernel. Else the kernel is cut into tiles of
    the size of the stride, each of which maps a pixel to one block of the output: XLA's dilated
    convolution takes 1.5 to 7 times as long on a CPU, forward and backward.
    """

    weight: Array
    bias: Array | None
    stride: tuple[int, int] = eqx.field(static=True)
    padding: tuple[int, int] = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        (h, w), (s, t), (p, q) = self.weight.shape[2:], self.stride, self.padding
        rows, columns = (x.shape[1] - 1) * s + h, (x.shape[2] - 1) * t + w
        if self.stride == (1, 1):
            kernel = jnp.flip(self.weight, (2, 3)).swapaxes(0, 1)
            x = jnp.pad(x, ((0, 0), (h - 1, h - 1), (w - 1, w - 1)))
            y = jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "VALID")[0]
        else:
            y = _tile_product(self.weight, x, self.stride)
        return _add_channels(y[:, p : rows - p, q : columns - q], self.bias)


def _patch_product(weight: Array, x: Array) -> Array:
    """Returns the convolution whose stride is its kernel; pixels left over are not read."""
    outputs, channels, p, q = weight.shape
    rows, columns = x.shape[1] // p, x.shape[2] // q
    x = x[:, : rows * p, : columns * q]
    patches = einops.rearrange(x, "c (i p) (j q) -> (i j) (c p q)", p=p, q=q)
    y = patches @ weight.reshape(outputs, channels * p * q).T
    return einops.rearrange(y, "(i j) o -> o i j", i=rows)


def _tile_product(weight: Array, x: Array, stride: tuple[int, int]) -> Array:
    """Returns the transposed convolution, with zeros after its end up to a multiple of `stride`."""
    (h, w), (s, t) = weight.shape[2:], stride
    down, across = -(-h // s), -(-w // t)
    weight = jnp.pad(weight, ((0, 0), (0, 0), (0, down * s - h), (0, across * t - w)))
    tiles = einops.rearrange(weight, "c o (m s) (n t) -> m n (o s t) c", s=s, t=t)
    blocks = [
        jnp.pad(
            jnp.einsum("oc,cij->oij", tiles[m, n], x),
            ((0, 0), (m, down - 1 - m), (n, across - 1 - n)),
        )
        for m in range(down)
        for n in range(across)
    ]
    return einops.rearrange(sum(blocks[1:], blocks[0]), "(o s t) i j -> o (i s) (j t)", s=s, t=t)


def _add_channels(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + jnp.broadcast_to(bias[:, None, None], y.shape)


class Pointwise(eqx.Module):
    """A function without parameters."""

    function: Callable[[Array], Array] = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        return self.function(x)


class Rearrange(eqx.Module):
    """einops.rearrange of one event."""

    pattern: str = eqx.field(static=True)
    lengths: tuple[tuple[str, int], ...] = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        return einops.rearrange(x, self.pattern, **dict(self.lengths))


class Reduce(eqx.Module):
    """einops.reduce of one event."""

    pattern: str = eqx.field(static=True)
    operation: str = eqx.field(static=True)
    lengths: tuple[tuple[str, int], ...] = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        return einops.reduce(x, self.pattern, self.operation, **dict(self.lengths))
