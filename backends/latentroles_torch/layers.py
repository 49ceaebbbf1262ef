"""Neutral layers as torch modules.

The path of a parameter in `named_parameters()` is its neutral path, and its layout the neutral
one. Modules take (N, *event); those that read an event of shape (n,) or () take any leading axes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from einops.layers.torch import Rearrange, Reduce
from torch import Tensor

from latentroles.errors import SpecError, nearest
from latentroles.spec import nn

from . import modules
from .precision import dtype_of


# Skeletons: modules on the meta device, which draw no random numbers and hold no memory.
def _linear(layer: nn.Linear) -> torch.nn.Module:
    return torch.nn.Linear(layer.inputs, layer.outputs, bias=layer.bias, device="meta")


def _conv2d(layer: nn.Conv2d) -> torch.nn.Module:
    return torch.nn.Conv2d(
        layer.inputs,
        layer.outputs,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        bias=layer.bias,
        device="meta",
    )


def _conv_transpose2d(layer: nn.ConvTranspose2d) -> torch.nn.Module:
    return torch.nn.ConvTranspose2d(
        layer.inputs,
        layer.outputs,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        bias=layer.bias,
        device="meta",
    )


def _layer_norm(layer: nn.LayerNorm) -> torch.nn.Module:
    return torch.nn.LayerNorm(
        layer.shape,  # type: ignore[arg-type]
        eps=layer.eps,
        elementwise_affine=layer.affine,
        device="meta",
    )


def _group_norm(layer: nn.GroupNorm) -> torch.nn.Module:
    return torch.nn.GroupNorm(
        layer.groups, layer.channels, eps=layer.eps, affine=layer.affine, device="meta"
    )


def _embedding(layer: nn.Embedding) -> torch.nn.Module:
    return torch.nn.Embedding(layer.count, layer.dim, device="meta")


def _gru(layer: nn.GRU) -> torch.nn.Module:
    return modules.GRU(layer.inputs, layer.hidden, device="meta")


def _relu(layer: nn.Relu) -> torch.nn.Module:
    return torch.nn.ReLU()


def _gelu(layer: nn.Gelu) -> torch.nn.Module:
    return torch.nn.GELU(approximate="none" if layer.form == "exact" else "tanh")


def _silu(layer: nn.Silu) -> torch.nn.Module:
    return torch.nn.SiLU()


def _tanh(layer: nn.Tanh) -> torch.nn.Module:
    return torch.nn.Tanh()


def _sigmoid(layer: nn.Sigmoid) -> torch.nn.Module:
    return torch.nn.Sigmoid()


def _flatten(layer: nn.Flatten) -> torch.nn.Module:
    return torch.nn.Flatten(-layer.rank, -1)


def _leading(pattern: str) -> str:
    read, returned = pattern.split(" -> ")
    return f"... {read} -> ... {returned}"


def _rearrange(layer: nn.Rearrange) -> torch.nn.Module:
    return Rearrange(_leading(layer.pattern), **layer.lengths)


def _reduce(layer: nn.Reduce) -> torch.nn.Module:
    return Reduce(_leading(layer.pattern), layer.operation, **layer.lengths)


def _sequential(layer: nn.Sequential) -> torch.nn.Module:
    return torch.nn.Sequential(*(_skeleton(child) for child in layer.layers))


def _residual(layer: nn.Residual) -> torch.nn.Module:
    shortcut = None if layer.shortcut is None else _skeleton(layer.shortcut)
    return modules.Residual(_skeleton(layer.body), shortcut)


def _for_each(layer: nn.ForEach) -> torch.nn.Module:
    return modules.ForEach(_skeleton(layer.body))


def _max_pool2d(layer: nn.MaxPool2d) -> torch.nn.Module:
    return torch.nn.MaxPool2d(layer.kernel, layer.stride, layer.padding)


def _avg_pool2d(layer: nn.AvgPool2d) -> torch.nn.Module:
    return torch.nn.AvgPool2d(layer.kernel, layer.stride, layer.padding, count_include_pad=False)


def _attention(layer: nn.Attention) -> torch.nn.Module:
    children = {name: _skeleton(child) for name, child in layer.children().items()}
    return modules.Attention(heads=layer.heads, causal=layer.causal, mask=layer.mask, **children)


def _prepend_token(layer: nn.PrependToken) -> torch.nn.Module:
    return modules.PrependToken(layer.dim, device="meta")


def _positions(layer: nn.Positions) -> torch.nn.Module:
    return modules.Positions(layer.count, layer.dim, device="meta")


def _take(layer: nn.Take) -> torch.nn.Module:
    return modules.Take(layer.index)


BUILDERS: dict[type[nn.Layer], Callable[[Any], torch.nn.Module]] = {
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


def _skeleton(layer: nn.Layer) -> torch.nn.Module:
    if type(layer) not in BUILDERS:
        name = type(layer).__name__
        raise SpecError(
            f"A layer needs a builder in each backend; latentroles_torch has none for {name}."
            f"{nearest(name, (known.__name__ for known in BUILDERS))} Fix: add one to "
            "latentroles_torch.layers.BUILDERS."
        )
    return BUILDERS[type(layer)](layer)


def build(
    layer: nn.Layer,
    weights: Mapping[str, np.ndarray],
    dtype: str = "float32",
    device: Any = None,
) -> torch.nn.Module:
    """Returns the torch module of `layer` with these weights.

    **Arguments:** `weights` is {path: array} in the neutral layout, as `nn.initial_weights` gives;
    `dtype` is "float32", "float64" or "bfloat16"; `device` is a torch device, the CPU when None.

    Raises CheckpointError when the weights are another layer's.
    """
    nn.check_weights(layer, weights)
    module = _skeleton(layer)
    for path, array in weights.items():
        owner, _, name = path.rpartition(".")
        value = _tensor(array, dtype_of(dtype), device)
        setattr(module.get_submodule(owner), name, torch.nn.Parameter(value))
    return module


def weights_of(layer: nn.Layer, module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Returns {path: array}, in the neutral layout and in the module's own dtype.

    numpy has no bfloat16: such weights come as float32, which holds them exactly.
    """
    weights = {}
    for path in layer.parameters():
        value = module.get_parameter(path).detach().cpu()
        value = value.float() if value.dtype == torch.bfloat16 else value
        weights[path] = value.numpy().copy()
    return weights


def with_weights(
    layer: nn.Layer, module: torch.nn.Module, weights: Mapping[str, np.ndarray]
) -> torch.nn.Module:
    """Returns `module` with these weights, in its own dtype and on its own device.

    It is the same module, changed in place: optimisers hold its parameters by identity.
    """
    nn.check_weights(layer, weights)
    with torch.no_grad():
        for path, array in weights.items():
            parameter = module.get_parameter(path)
            parameter.copy_(_tensor(array, parameter.dtype, parameter.device))
    return module


def _tensor(array: np.ndarray, dtype: torch.dtype, device: Any) -> Tensor:
    # By way of float32 on both backends: a float64 rounds to the same bfloat16.
    array = np.asarray(array, dtype=np.float64 if dtype == torch.float64 else np.float32)
    return torch.from_numpy(array.copy()).to(dtype=dtype, device=device)
