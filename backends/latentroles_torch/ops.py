"""The array operations of the language on torch: what emitted source and the reference call."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from latentroles.spec.array_losses import unit


def each(function: Callable[..., Tensor], *operands: Tensor, axes: int) -> Tensor:
    """Applies a module to every event behind the leading axes, which are folded into one."""
    lead = operands[0].shape[:axes]
    result = function(*(x.reshape(-1, *x.shape[axes:]) for x in operands))
    return result.reshape(*lead, *result.shape[1:])


def frozen(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its parameters stopped: gradient passes it and moves nothing in it."""
    twin = copy.copy(module)
    twin.__dict__["_parameters"] = {
        name: None if p is None else p.detach() for name, p in module._parameters.items()
    }
    twin.__dict__["_modules"] = {
        name: None if m is None else frozen(m) for name, m in module._modules.items()
    }
    return twin


def stop(x: Tensor) -> Tensor:
    """Identity in value, zero in derivative."""
    return x.detach()


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Identity in value, derivative times `factor`."""
    return _ScaleGradient.apply(x, factor)  # type: ignore[no-any-return]


class _ScaleGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad * ctx.factor, None


def windows(x: Tensor, size: int) -> Tensor:
    """Every window of `size` successive frames: (batch, time, ...) -> (batch, time', size, ...)."""
    return x.unfold(1, size, 1).movedim(-1, 2)


def prepend(first: Tensor, sequence: Tensor, axis: int) -> Tensor:
    """One entry in front of a sequence."""
    return torch.cat([first.unsqueeze(axis), sequence], dim=axis)


def expand(x: Tensor, new: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Repeats along new leading axes at the positions `new`, up to the full `sizes`."""
    for position in new:
        x = x.unsqueeze(position)
    return x.expand(*sizes)


def one_hot(x: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """One-hot codes, zeros for a class outside 0..n-1: (...) -> (..., n)."""
    return (x[..., None] == torch.arange(n, device=x.device)).to(dtype)


def avg_pool2d(x: Tensor, size: int) -> Tensor:
    """Means over size x size blocks of the last two axes."""
    pooled = torch.nn.functional.avg_pool2d(x.reshape(-1, *x.shape[-3:]), size)
    return pooled.reshape(*x.shape[:-2], *pooled.shape[-2:])


def random_crop(x: Tensor, draw: Tensor, reach: int) -> Tensor:
    """The images moved by up to `reach` pixels each way, their border repeated.

    Shapes: x (*lead, ..., H, W), draw (*lead, 2) in [0, 1), rows first.
    """
    # A draw just below 1 may be 1 in a shorter float.
    moves = (draw * (2 * reach + 1)).long().clamp(max=2 * reach) - reach
    for axis in (-2, -1):
        size = x.shape[axis]
        event = [1] * (x.ndim - draw.ndim + 1)
        move = moves[..., axis].reshape(*draw.shape[:-1], *event)
        event[axis] = size
        pixels = torch.arange(size, device=x.device).reshape(event)
        x = x.gather(axis, (pixels + move).clamp(0, size - 1).expand(x.shape))
    return x


def normalise(x: Tensor) -> Tensor:
    """x / ||x|| along the last axis, zero vectors kept."""
    return unit(x)  # type: ignore[no-any-return]
