"""One optimiser step on torch: losses, gradients, optimisers, then targets and states."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from latentroles.train.groups import assign
from latentroles.train.snapshots import nested

from . import model as models
from .model import Model
from .optim import Group
from .precision import to_numpy


class Trainer:
    """Trains a model in place; see `latentroles.train.loop.Trainer`.

    Args:
        optimisers: by name. groups: module -> optimiser, "default" for what is not named.
    """

    def __init__(
        self,
        model: Model,
        optimisers: Mapping[str, Any],
        groups: Mapping[str, str] | None = None,
        seed: int = 0,
    ):
        self.model, self.seed = model, seed
        assigned = assign(model.spec.modules, model.plan.reached, optimisers, groups)
        self._groups = {
            name: Group(
                optimisers[name],
                {
                    f"{m}/{path}": p
                    for m in modules
                    for path, p in getattr(model, m).named_parameters()
                },
            )
            for name, modules in assigned.items()
        }
        self.state = model.initial_state()
        self._seen: Any = ({}, None, None)

    def step(self, batch: Mapping[str, np.ndarray], step: int) -> dict[str, float]:
        """Takes one optimiser step; returns the losses by name and their weighted "total"."""
        out = self._forward(batch, step, noise=step, seed=self.seed)
        self._move(out.total, step)
        models.update_targets(self.model, step)
        self.state = {**self.state, **{n: v.detach() for n, v in out.state.items()}}
        return _values(out)

    @torch.no_grad()
    def evaluate(self, batch: Mapping[str, np.ndarray], step: int, draw: int) -> dict[str, float]:
        """Returns the losses of a batch, and moves nothing."""
        return _values(self._forward(batch, step, noise=-1 - draw, seed=0))

    def latents(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns latents of the last step or evaluation; what it did not need is computed now."""
        found, batch, noise = self._seen
        return {
            name: to_numpy(
                found[name] if name in found else self.model.encode(batch, name, noise, self.state)
            )
            for name in names
        }

    def measure(self, batch: Mapping[str, np.ndarray], draw: int) -> dict[str, float]:
        """Returns the declared measures of a batch, and moves nothing."""
        return {name: float(v) for name, v in self._shown(self.model.measure, batch, draw).items()}

    def pictures(self, batch: Mapping[str, np.ndarray], draw: int) -> dict[str, np.ndarray]:
        """Returns the declared pictures of a batch, (batch, time, C, H, W)."""
        found = self._shown(self.model.pictures, batch, draw)
        return {name: to_numpy(v) for name, v in found.items()}

    def _shown(self, give: Any, batch: Mapping[str, np.ndarray], draw: int) -> Any:
        return give(batch, self.model.noise(-1 - draw, batch, seed=0), self.state)

    def _forward(self, batch: Mapping[str, np.ndarray], step: int, *, noise: int, seed: int) -> Any:
        drawn = self.model.noise(noise, batch, seed=seed)
        out = self.model(self.model.inputs(batch), drawn, self.state, step)
        self._seen = ({name: v.detach() for name, v in out.latents.items()}, batch, drawn)
        return out

    def _move(self, total: torch.Tensor, step: int) -> None:
        params = {key: p for g in self._groups.values() for key, p in g.params.items()}
        if not params:
            return
        found = torch.autograd.grad(total, list(params.values()), allow_unused=True)
        grads = dict(zip(params, found, strict=True))
        for group in self._groups.values():
            group.update({key: grads[key] for key in group.params}, step)

    def snapshot(self) -> dict[str, np.ndarray]:
        """Returns everything that `restore` needs."""
        arrays = {
            f"weights/{name}/{path}": array
            for name, held in models.weights(self.model).items()
            for path, array in held.items()
        }
        for name, group in self._groups.items():
            arrays |= {f"optimiser/{name}/{key}": a for key, a in group.state().items()}
        return arrays | {f"state/{n}": to_numpy(v) for n, v in self.state.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from a snapshot; raises CheckpointError if names or shapes differ."""
        held = nested(self.snapshot(), arrays)
        models.load_weights(self.model, held["weights"])
        for name, group in self._groups.items():
            group.restore(held["optimiser"][name])
        self.state = models.arrays(self.model, held["state"])


def _values(out: models.Outputs) -> dict[str, float]:
    """The losses and their "total" as floats, brought from the device at once."""
    values = torch.stack([*(v.detach() for v in out.losses.values()), out.total.detach()])
    return dict(zip([*out.losses, "total"], values.double().tolist(), strict=True))
