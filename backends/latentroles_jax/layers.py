"""Neutral layers as equinox modules.

Attributes are named as the neutral parameters are. Modules take one event, without leading axes:
the caller maps them by `jax.vmap`.
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


class PatchConv2d(eqx.Module):
    """Conv2d whose kernel is its stride, without padding: a rearrangement and a matrix product.

    XLA's own convolution takes up to 2 times as long on a CPU, forward and backward. The weight
    has the neutral layout, (outputs, inputs, kernel height, kernel width).
    """

    weight: Array
    bias: Array | None

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        outputs, channels, p, q = self.weight.shape
        rows, columns = x.shape[1] // p, x.shape[2] // q
        patches = einops.rearrange(
            x[:, : rows * p, : columns * q], "c (i p) (j q) -> (i j) (c p q)", p=p, q=q
        )
        y = patches @ self.weight.reshape(outputs, channels * p * q).T
        y = y if self.bias is None else y + jnp.broadcast_to(self.bias, y.shape)
        return einops.rearrange(y, "(i j) o -> o i j", i=rows, j=columns)


class PatchConvTranspose2d(eqx.Module):
    """ConvTranspose2d whose kernel is its stride, without padding: its patches do not overlap.

    XLA's own convolution takes 2 to 5 times as long on a CPU, forward and backward. The weight
    has the neutral layout, (inputs, outputs, kernel height, kernel width).
    """

    weight: Array
    bias: Array | None

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        patches = jnp.einsum("copq,cij->oipjq", self.weight, x)
        y = einops.rearrange(patches, "o i p j q -> o (i p) (j q)")
        return y if self.bias is None else y + jnp.broadcast_to(self.bias[:, None, None], y.shape)


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
    if layer.patchwise:
        return PatchConv2d(**_empty(layer))
    return eqx.nn.Conv2d(
        layer.inputs,
        layer.outputs,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        use_bias=layer.bias,
        key=_key(),
    )


def _conv_transpose2d(layer: nn.ConvTranspose2d) -> eqx.Module:
    if layer.patchwise:
        return PatchConvTranspose2d(**_empty(layer))
    return eqx.nn.ConvTranspose2d(
        layer.inputs,
        layer.outputs,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        use_bias=layer.bias,
        key=_key(),
    )


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
    return _put(skeleton, {p: (array, dtype_of(dtype), device) for p, array in weights.items()})


def weights_of(layer: nn.Layer, module: eqx.Module) -> dict[str, np.ndarray]:
    """Returns {path: array}, in the neutral layout and in the module's own dtype.

    numpy has no bfloat16: such weights come as float32, which holds them exactly.
    """
    weights = {}
    for path in layer.parameters():
        owner, name = _find(module, path)
        value = np.asarray(getattr(owner, name))
        value = value.astype(np.float32) if value.dtype == jnp.bfloat16 else value
        weights[path] = np.array(_to_neutral(owner, name, value), order="C")
    return weights


def with_weights(
    layer: nn.Layer, module: eqx.Module, weights: Mapping[str, np.ndarray]
) -> eqx.Module:
    """Returns a copy of `module` with these weights, in its own dtype and on its own device."""
    nn.check_weights(layer, weights)
    placed = {}
    for path, array in weights.items():
        owner, name = _find(module, path)
        leaf = getattr(owner, name)
        placed[path] = (array, dtype_of(str(leaf.dtype)), leaf.sharding)
    return _put(module, placed)


def _find(module: Any, path: str) -> tuple[Any, str]:
    """Returns the module that owns the parameter at `path`, and the parameter's name."""
    *children, name = path.split(".")
    for child in children:
        module = module[int(child)] if child.isdigit() else getattr(module, child)
    return module, name


def _put(module: Any, weights: Mapping[str, tuple[np.ndarray, Any, Any]]) -> Any:
    """Returns `module` with the leaf at each path replaced by (array, dtype, device)."""
    if not weights:
        return module
    values = []
    for path, (array, dtype, device) in weights.items():
        owner, name = _find(module, path)
        # By way of float32 on both backends: a float64 rounds to the same bfloat16.
        array = np.asarray(array, dtype=np.float64 if dtype == jnp.float64 else np.float32)
        array = np.array(_to_native(owner, name, array), dtype=dtype, order="C")
        values.append(jax.device_put(array, device))
    return eqx.tree_at(lambda m: [getattr(*_find(m, path)) for path in weights], module, values)


def _to_native(owner: Any, name: str, array: np.ndarray) -> np.ndarray:
    """Returns an array of the neutral layout in equinox's."""
    if isinstance(owner, (eqx.nn.Conv2d, eqx.nn.ConvTranspose2d)) and name == "bias":
        return array[:, None, None]
    if isinstance(owner, eqx.nn.ConvTranspose2d):
        return array.swapaxes(0, 1)[:, :, ::-1, ::-1]
    return array


def _to_neutral(owner: Any, name: str, array: np.ndarray) -> np.ndarray:
    """Returns an array of equinox's layout in the neutral one."""
    if isinstance(owner, (eqx.nn.Conv2d, eqx.nn.ConvTranspose2d)) and name == "bias":
        return array[:, 0, 0]
    if isinstance(owner, eqx.nn.ConvTranspose2d):
        return array.swapaxes(0, 1)[:, :, ::-1, ::-1]
    return array
