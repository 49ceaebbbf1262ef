"""Neutral layers as equinox modules.

The path of a parameter through the attributes is its neutral path, and its layout the neutral
one. Modules take one event, without leading axes: the caller maps them by `jax.vmap`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentroles.errors import SpecError, nearest
from latentroles.spec import nn

from . import modules
from .precision import dtype_of


# Skeletons: `build` traces these abstractly, so that they draw no random numbers.
def _linear(layer: nn.Linear) -> eqx.Module:
    return eqx.nn.Linear(layer.inputs, layer.outputs, use_bias=layer.bias, key=_key())


def _conv2d(layer: nn.Conv2d) -> eqx.Module:
    return modules.Conv2d(stride=layer.stride, padding=layer.padding, **_empty(layer))  # type: ignore


def _conv_transpose2d(layer: nn.ConvTranspose2d) -> eqx.Module:
    return modules.ConvTranspose2d(stride=layer.stride, padding=layer.padding, **_empty(layer))  # type: ignore


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
    return modules.GRU(**_empty(layer))


def _relu(layer: nn.Relu) -> eqx.Module:
    return modules.Pointwise(jax.nn.relu)


def _gelu(layer: nn.Gelu) -> eqx.Module:
    return modules.Pointwise(_gelu_exact if layer.form == "exact" else _gelu_tanh)


def _gelu_exact(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _gelu_tanh(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=True)


def _silu(layer: nn.Silu) -> eqx.Module:
    return modules.Pointwise(jax.nn.silu)


def _tanh(layer: nn.Tanh) -> eqx.Module:
    return modules.Pointwise(jnp.tanh)


def _sigmoid(layer: nn.Sigmoid) -> eqx.Module:
    return modules.Pointwise(jax.nn.sigmoid)


def _flatten(layer: nn.Flatten) -> eqx.Module:
    return modules.Pointwise(jnp.ravel)


def _rearrange(layer: nn.Rearrange) -> eqx.Module:
    return modules.Rearrange(layer.pattern, tuple(layer.lengths.items()))


def _reduce(layer: nn.Reduce) -> eqx.Module:
    return modules.Reduce(layer.pattern, layer.operation, tuple(layer.lengths.items()))


def _sequential(layer: nn.Sequential) -> eqx.Module:
    return eqx.nn.Sequential([_skeleton(child) for child in layer.layers])


def _residual(layer: nn.Residual) -> eqx.Module:
    shortcut = None if layer.shortcut is None else _skeleton(layer.shortcut)
    return modules.Residual(_skeleton(layer.body), shortcut)


def _for_each(layer: nn.ForEach) -> eqx.Module:
    return modules.ForEach(_skeleton(layer.body))


def _max_pool2d(layer: nn.MaxPool2d) -> eqx.Module:
    return modules.MaxPool2d(layer.kernel, layer.stride, layer.padding)  # type: ignore


def _avg_pool2d(layer: nn.AvgPool2d) -> eqx.Module:
    return modules.AvgPool2d(layer.kernel, layer.stride, layer.padding)  # type: ignore


def _attention(layer: nn.Attention) -> eqx.Module:
    children = {name: _skeleton(child) for name, child in layer.children().items()}
    return modules.Attention(heads=layer.heads, causal=layer.causal, mask=layer.mask, **children)


def _prepend_token(layer: nn.PrependToken) -> eqx.Module:
    return modules.PrependToken(jnp.zeros(layer.dim))


def _positions(layer: nn.Positions) -> eqx.Module:
    return modules.Positions(jnp.zeros((layer.count, layer.dim)))


def _take(layer: nn.Take) -> eqx.Module:
    return modules.Take(layer.index)


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
    nn.ForEach: _for_each,
    nn.MaxPool2d: _max_pool2d,
    nn.AvgPool2d: _avg_pool2d,
    nn.Attention: _attention,
    nn.PrependToken: _prepend_token,
    nn.Positions: _positions,
    nn.Take: _take,
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
