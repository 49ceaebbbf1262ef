"""Neutral layers as equinox modules.

The path of a parameter through the attributes is its neutral path, and its layout the neutral
one. Modules take one event, without leading axes: the caller maps them by `jax.vmap`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import einops
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentroles.errors import SpecError, nearest
from latentroles.spec import nn

from .precision import dtype_of


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
    """x + body(x)."""

    body: Callable[[Array], Array]

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        return x + self.body(x)


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


# Skeletons: `build` traces these abstractly, so that they draw no random numbers.
def _linear(layer: nn.Linear) -> eqx.Module:
    return eqx.nn.Linear(layer.inputs, layer.outputs, use_bias=layer.bias, key=_key())


def _conv2d(layer: nn.Conv2d) -> eqx.Module:
    return Conv2d(stride=layer.stride, padding=layer.padding, **_empty(layer))  # type: ignore


def _conv_transpose2d(layer: nn.ConvTranspose2d) -> eqx.Module:
    return ConvTranspose2d(stride=layer.stride, padding=layer.padding, **_empty(layer))  # type: ignore


def _layer_norm(layer: nn.LayerNorm) -> eqx.Module:
    return eqx.nn.LayerNorm(
        layer.shape, eps=layer.eps, use_weight=layer.affine, use_bias=layer.affine
    )


def _group_norm(layer: nn.GroupNorm) -> eqx.Module:
    return eqx.nn.GroupNorm(
        layer.groups, layer.channels, eps=layer.eps, channelwise_affine=layer.affine
    )


def _embedding(layer: nn.Embedding) -> eqx.Module:
    return eqx.nn.Embedding(layer.count, layer.dim, key=_key())


def _gru(layer: nn.GRU) -> eqx.Module:
    return GRU(**_empty(layer))


def _relu(layer: nn.Relu) -> eqx.Module:
    return Pointwise(jax.nn.relu)


def _gelu(layer: nn.Gelu) -> eqx.Module:
    return Pointwise(_gelu_exact if layer.form == "exact" else _gelu_tanh)


def _gelu_exact(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _gelu_tanh(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=True)


def _silu(layer: nn.Silu) -> eqx.Module:
    return Pointwise(jax.nn.silu)


def _tanh(layer: nn.Tanh) -> eqx.Module:
    return Pointwise(jnp.tanh)


def _sigmoid(layer: nn.Sigmoid) -> eqx.Module:
    return Pointwise(jax.nn.sigmoid)


def _flatten(layer: nn.Flatten) -> eqx.Module:
    return Pointwise(jnp.ravel)


def _rearrange(layer: nn.Rearrange) -> eqx.Module:
    return Rearrange(layer.pattern, tuple(layer.lengths.items()))


def _reduce(layer: nn.Reduce) -> eqx.Module:
    return Reduce(layer.pattern, layer.operation, tuple(layer.lengths.items()))


def _sequential(layer: nn.Sequential) -> eqx.Module:
    return eqx.nn.Sequential([_skeleton(child) for child in layer.layers])


def _residual(layer: nn.Residual) -> eqx.Module:
    return Residual(_skeleton(layer.body))


BUILDERS: dict[type[nn.Layer], Callable[[Any], eqx.Module]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.ConvTranspose2d: _conv_transpose2d,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Embedding: _embedding,
    nn.GRU: _gru,
    nn.Relu: _relu,
    nn.Gelu: _gelu,
    nn.Silu: _silu,
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
    nn.Flatten: _flatten,
    nn.Rearrange: _rearrange,
    nn.Reduce: _reduce,
    nn.Sequential: _sequential,
    nn.Residual: _residual,
}


def _skeleton(layer: nn.Layer) -> Any:
    if type(layer) not in BUILDERS:
        name = type(layer).__name__
        raise SpecError(
            f"A layer needs a builder in each backend; latentroles_jax has none for {name}."
            f"{nearest(name, (known.__name__ for known in BUILDERS))} Fix: add one to "
            "latentroles_jax.layers.BUILDERS."
        )
    return BUILDERS[type(layer)](layer)


def _key() -> Array:
    return jax.random.key(0)


def _empty(layer: nn.Layer) -> dict[str, Any]:
    return {"bias": None} | {path: jnp.zeros(p.shape) for path, p in layer.parameters().items()}


def build(
    layer: nn.Layer,
    weights: Mapping[str, np.ndarray],
    dtype: str = "float32",
    device: Any = None,
) -> eqx.Module:
    """Returns the equinox module of `layer` with these weights.

    **Arguments:** `weights` is {path: array} in the neutral layout, as `nn.initial_weights` gives;
    `dtype` is "float32", "float64" or "bfloat16"; `device` is a jax device, the default when None.

    Raises CheckpointError when the weights are another layer's, SpecError for float64 without x64.
    """
    nn.check_weights(layer, weights)
    skeleton = eqx.filter_eval_shape(lambda: _skeleton(layer))
    return _put(skeleton, {p: _array(w, dtype_of(dtype), device) for p, w in weights.items()})


def weights_of(layer: nn.Layer, module: eqx.Module) -> dict[str, np.ndarray]:
    """Returns {path: array}, in the neutral layout and in the module's own dtype.

    numpy has no bfloat16: such weights come as float32, which holds them exactly.
    """
    weights = {}
    for path in layer.parameters():
        value = np.asarray(leaf(module, path))
        value = value.astype(np.float32) if value.dtype == jnp.bfloat16 else value
        weights[path] = value.copy()
    return weights


def with_weights(
    layer: nn.Layer, module: eqx.Module, weights: Mapping[str, np.ndarray]
) -> eqx.Module:
    """Returns a copy of `module` with these weights, in its own dtype and on its own device."""
    nn.check_weights(layer, weights)
    arrays = {}
    for path, array in weights.items():
        held = leaf(module, path)
        arrays[path] = _array(array, dtype_of(str(held.dtype)), held.sharding)
    return _put(module, arrays)


def leaf(module: Any, path: str) -> Any:
    """Returns the parameter at `path`."""
    for name in path.split("."):
        module = module[int(name)] if name.isdigit() else getattr(module, name)
    return module


def _put(module: Any, arrays: Mapping[str, Array]) -> Any:
    """Returns a copy of `module` with these parameters."""
    if not arrays:
        return module
    return eqx.tree_at(lambda m: [leaf(m, path) for path in arrays], module, list(arrays.values()))


def _array(array: np.ndarray, dtype: Any, device: Any) -> Array:
    # By way of float32 on both backends: a float64 rounds to the same bfloat16.
    array = np.asarray(array, dtype=np.float64 if dtype == jnp.float64 else np.float32)
    return jax.device_put(array.astype(dtype), device)
