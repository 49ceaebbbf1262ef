"""One step on torch, each loss differentiated by itself: compiled, and as the masked reference."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from latentroles.spec.expr import Expr
from latentroles.testing.reference import Results, evaluate

from . import ops
from .emit import dims_of
from .model import Model, gradients_of
from .precision import to_numpy


class Primitives:
    """The interpreter's operations on torch tensors."""

    def __init__(self, model: Model):
        self.model = model

    def stop(self, x: Tensor) -> Tensor:
        return x.detach()

    def scale(self, x: Tensor, factor: float) -> Tensor:
        return ops.scale_gradient(x, factor)

    def constant(self, value: float, sizes: tuple[int, ...]) -> Tensor:
        return self.model.full(sizes, value)

    def apply(
        self, name: str, part: str | None, frozen: bool, xs: list[Tensor], axes: int
    ) -> Tensor:
        module = getattr(self.model, name)
        module = ops.frozen(module) if frozen else module
        return ops.each(getattr(module, part) if part else module, *xs, axes=axes)

    def op(self, e: Expr, xs: list[Tensor]) -> Tensor:
        name, *arguments = e.attrs
        if len(xs) == 2 and name != "concat":
            xs = [
                x[(..., *(None,) * len(e.shape))] if i.axes and not i.shape else x
                for x, i in zip(xs, e.inputs, strict=True)
            ]
        if name in ("mean", "sum"):
            return getattr(torch, name)(xs[0], dim=dims_of(e.attrs[1], e.inputs[0].type))
        if name == "one_hot":
            return ops.one_hot(xs[0], arguments[0], self.model.dtype)
        if name == "concat":
            return torch.cat(xs, dim=-1)
        if name == "slice":
            return xs[0][..., arguments[0] : arguments[1]]
        if name == "reshape":
            return xs[0].reshape(*xs[0].shape[: len(e.axes)], *arguments[0])
        function = getattr(ops, name, None) or getattr(torch, name)
        return function(*xs, *arguments)

    def stack(self, xs: list[Tensor], axis: int) -> Tensor:
        return torch.stack(xs, dim=axis)

    def join(self, first: Tensor, rest: Tensor, axis: int) -> Tensor:
        return torch.cat([first.unsqueeze(axis), rest], dim=axis)

    def broadcast(self, x: Tensor, new: list[int], sizes: tuple[int, ...]) -> Tensor:
        return ops.expand(x, new, sizes)


def loss_gradients(
    model: Model, batch: Any, noise: Any = None, state: Any = None, step: int = 0
) -> Results:
    """One compiled step, with the gradient of each loss by itself."""
    out = model(model.inputs(batch), noise, state, step)
    return Results(
        {n: to_numpy(v) for n, v in out.losses.items()},
        to_numpy(out.total),
        {n: to_numpy(v) for n, v in out.latents.items()},
        {n: to_numpy(v) for n, v in out.state.items()},
        {n: gradients_of(model, v, keep=True) for n, v in out.losses.items()},
    )


def reference(
    model: Model,
    batch: Any,
    noise: Any = None,
    state: Any = None,
    step: int = 0,
    evaluate: Callable[..., Any] = evaluate,
) -> tuple[dict[str, float], dict[str, dict[str, dict[str, Any]]]]:
    """The value and the gradient of each loss of the model's phase, unweighted, each on its own.

    Args:
        evaluate: what interprets an expression, as `testing.reference.evaluate` does.

    Returns:
        ({loss: value}, {loss: {module: {path: array}}}).
    """
    leaves = {
        **model.inputs(batch),
        **(noise or {}),
        **(model.initial_state() if state is None else state),
    }
    values, grads = {}, {}
    for name in model.plan.losses:
        loss = model.spec.losses[name]
        value = evaluate(model.spec, loss.expr, leaves, Primitives(model), loss.updates)
        values[name] = float(value.detach())
        grads[name] = gradients_of(model, value)
    return values, grads
