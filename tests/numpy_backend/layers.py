"""Neutral layers on Duals: (layer, parameters by path, inputs (N, *event)) -> (N, *event)."""

from collections.abc import Mapping
from typing import Any

import einops
import numpy as np

from latentroles.spec import nn

from .duals import Dual, dual, linear, matmul, product, relu, sigmoid, tanh

Parameters = Mapping[str, Dual]


def run(layer: nn.Layer, parameters: Parameters, *xs: Any, part: str | None = None) -> Dual:
    """Applies a layer, or one of the two parts of a recurrent one."""
    if isinstance(layer, nn.GRU):
        return _GRU_PARTS[part or "call"](parameters, *xs)
    if isinstance(layer, nn.Sequential):
        (x,) = xs
        for name, child in layer.children().items():
            x = run(child, _below(parameters, name), x)
        return x
    if isinstance(layer, nn.Residual):
        return dual(xs[0]) + run(layer.body, _below(parameters, "body"), *xs)
    return _LEAVES[type(layer)](layer, parameters, *xs)


def _below(parameters: Parameters, name: str) -> Parameters:
    start = f"{name}."
    return {p.removeprefix(start): a for p, a in parameters.items() if p.startswith(start)}


def _linear(layer: nn.Linear, p: Parameters, x: Dual) -> Dual:
    y = matmul(x, p["weight"].T)
    return y + p["bias"] if layer.bias else y


def _conv2d(layer: nn.Conv2d, p: Parameters, x: Dual) -> Dual:
    (h, s, a), (w, t, b) = layer.axes

    def correlate(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
        image = np.pad(image, ((0, 0), (0, 0), (a, a), (b, b)))
        patches = np.lib.stride_tricks.sliding_window_view(image, (h, w), axis=(2, 3))
        return np.einsum("ncijhw,ochw->noij", patches[:, :, ::s, ::t], weight)

    y = product(correlate)(x, p["weight"])
    return y + _channels(p["bias"]) if layer.bias else y


def _conv_transpose2d(layer: nn.ConvTranspose2d, p: Parameters, x: Dual) -> Dual:
    (h, s, a), (w, t, b) = layer.axes

    def spread(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
        n, _, rows, columns = image.shape
        tall, wide = (rows - 1) * s + h, (columns - 1) * t + w
        y = np.zeros((n, weight.shape[1], tall, wide))
        for i in range(h):
            for j in range(w):
                part = np.einsum("ncij,co->noij", image, weight[:, :, i, j])
                y[:, :, i : i + (rows - 1) * s + 1 : s, j : j + (columns - 1) * t + 1 : t] += part
        return y[:, :, a : tall - a, b : wide - b]

    y = product(spread)(x, p["weight"])
    return y + _channels(p["bias"]) if layer.bias else y


def _channels(bias: Dual) -> Dual:
    return linear(np.reshape)(bias, (-1, 1, 1))


def _flatten(layer: nn.Flatten, p: Parameters, x: Dual) -> Dual:
    return linear(np.reshape)(x, (len(x.value), -1))


def _rearrange(layer: nn.Rearrange, p: Parameters, x: Dual) -> Dual:
    read, returned = layer.pattern.split(" -> ")
    return linear(einops.rearrange)(x, f"... {read} -> ... {returned}", **layer.lengths)


_LEAVES: dict[type, Any] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.ConvTranspose2d: _conv_transpose2d,
    nn.Flatten: _flatten,
    nn.Rearrange: _rearrange,
    nn.Relu: lambda layer, p, x: relu(x),
    nn.Silu: lambda layer, p, x: dual(x) * sigmoid(x),
    nn.Tanh: lambda layer, p, x: tanh(x),
    nn.Sigmoid: lambda layer, p, x: sigmoid(x),
}


def _project(p: Parameters, x: Dual) -> Dual:
    return matmul(x, p["weight_input"].T) + p["bias"]


def _step(p: Parameters, h: Dual, projected: Dual) -> Dual:
    recurrent = matmul(h, p["weight_hidden"].T)
    size = h.shape[-1]
    gates = [slice(i * size, (i + 1) * size) for i in range(3)]
    (p_r, p_u, p_n), (q_r, q_u, q_n) = (
        [dual(x)[..., gate] for gate in gates] for x in (projected, recurrent)
    )
    update, new = sigmoid(p_u + q_u), tanh(p_n + sigmoid(p_r + q_r) * q_n)
    return new + update * (h - new)


_GRU_PARTS: dict[str, Any] = {
    "project": _project,
    "step": _step,
    "call": lambda p, h, x: _step(p, h, _project(p, x)),
}
