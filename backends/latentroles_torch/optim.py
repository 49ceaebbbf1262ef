"""Optimisers on torch: `torch.optim` with every argument explicit.

A group's parameters are the reached ones, by "module/path". Its saved arrays have the names that
`latentroles.train.optimisers.state_shapes` gives.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from latentroles.train.optimisers import SGD, Adam, AdamW, Optimiser, check_state, learning_rate


def _sgd(optimiser: SGD, params: list[dict]) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        params,
        lr=learning_rate(optimiser, 0),
        momentum=optimiser.momentum,
        dampening=0.0,
        weight_decay=0.0,
        nesterov=False,
        maximize=False,
    )


def _adam(optimiser: Adam, params: list[dict]) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        params,
        lr=learning_rate(optimiser, 0),
        betas=(optimiser.b1, optimiser.b2),
        eps=optimiser.eps,
        weight_decay=0.0,
        amsgrad=False,
        maximize=False,
        fused=True,
    )


def _adamw(optimiser: AdamW, params: list[dict]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        params,
        lr=learning_rate(optimiser, 0),
        betas=(optimiser.b1, optimiser.b2),
        eps=optimiser.eps,
        weight_decay=optimiser.weight_decay,
        amsgrad=False,
        maximize=False,
        fused=True,
    )


BUILDERS: dict[type, Callable[[Any, list[dict]], torch.optim.Optimizer]] = {
    SGD: _sgd,
    Adam: _adam,
    AdamW: _adamw,
}

# What torch calls our slots in `Optimizer.state[parameter]`.
SLOTS = {"momentum": "momentum_buffer", "mu": "exp_avg", "nu": "exp_avg_sq"}


class Group:
    """One optimiser and the parameters that it moves.

    **Arguments:** `params` is {"module/path": parameter}, the reached parameters only.
    """

    def __init__(self, optimiser: Optimiser, params: Mapping[str, Parameter]):
        self.optimiser = optimiser
        self.params = dict(params)
        self.count = 0
        # As a list of one group: torch takes an empty group, but not an empty list.
        native_group = {"params": list(self.params.values())}
        self._native = BUILDERS[type(optimiser)](optimiser, [native_group])
        for p in self.params.values():
            # Not lazily at the first step, so that a state has the same arrays at every time.
            slots = {SLOTS[slot]: torch.zeros_like(p.detach()) for slot in optimiser.slots}
            self._native.state[p].update(slots)
        self._count_natively()

    def update(self, grads: Mapping[str, Tensor | None], step: int) -> None:
        """Moves the parameters in place by one step, with the learning rate of `step`.

        `grads` has a gradient for every parameter; None counts as zero.
        """
        dense: dict[str, Tensor] = {}
        for path, p in self.params.items():
            grad = grads[path]
            dense[path] = torch.zeros_like(p) if grad is None else grad
        if self.optimiser.clip_norm is not None:
            dense = clip(dense, self.optimiser.clip_norm)
        for path, p in self.params.items():
            p.grad = dense[path]
        for group in self._native.param_groups:
            group["lr"] = learning_rate(self.optimiser, step)
        self._native.step()
        self.count += 1
        for p in self.params.values():
            p.grad = None

    def state(self) -> dict[str, np.ndarray]:
        """Returns a copy of the state: "slot/module/path" and "count"; bfloat16 as float32."""
        arrays: dict[str, np.ndarray] = {"count": np.asarray(self.count, dtype=np.int64)}
        for slot in self.optimiser.slots:
            for path, p in self.params.items():
                value = self._native.state[p][SLOTS[slot]].cpu()
                value = value.float() if value.dtype == torch.bfloat16 else value
                arrays[f"{slot}/{path}"] = value.numpy().copy()
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Puts back what `state` gave: training goes on bitwise as if it had never stopped.

        Raises CheckpointError when names or shapes differ, before anything is changed.
        """
        check_state(self.optimiser, {k: tuple(p.shape) for k, p in self.params.items()}, arrays)
        self.count = int(arrays["count"])
        for slot in self.optimiser.slots:
            for path, p in self.params.items():
                value = torch.from_numpy(np.array(arrays[f"{slot}/{path}"]))
                self._native.state[p][SLOTS[slot]].copy_(value)
        self._count_natively()

    def _count_natively(self) -> None:
        if isinstance(self.optimiser, (Adam, AdamW)):
            for p in self.params.values():
                count = torch.tensor(float(self.count), dtype=torch.float32, device=p.device)
                self._native.state[p]["step"] = count


def clip(grads: Mapping[str, Tensor], clip_norm: float) -> dict[str, Tensor]:
    """Returns the gradients times min(1, clip_norm / norm), norm being that of all of them.

    Written as clip_norm / max(norm, clip_norm), which is 1 exactly below the bound, and safe at 0.
    """
    if not grads:
        return {}
    squares = [torch.sum(torch.square(_wide(grads[path]))) for path in sorted(grads)]
    norm = torch.sqrt(sum(squares[1:], squares[0]))
    scale = clip_norm / torch.clamp(norm, min=clip_norm)
    return {path: g * scale.to(g.dtype) for path, g in grads.items()}


def _wide(g: Tensor) -> Tensor:
    return g.float() if g.dtype == torch.bfloat16 else g
