"""The base of emitted torch models: parameters, inputs, encoding, weights in and out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentroles.errors import CheckpointError, SpecError, nearest
from latentroles.plan.build import Plan
from latentroles.plan.inputs import (
    as_numpy,
    draw_noise,
    encoded_columns,
    read_columns,
    require_frames,
)
from latentroles.spec.schedules import value as schedule_value
from latentroles.spec.spec import Spec

from . import layers
from .precision import device_of, dtype_of, to_numpy


@dataclass
class Outputs:
    """What a step gives.

    Attributes:
        losses: each loss, unweighted, a scalar.
        total: their weighted sum; `total.backward()` follows exactly the declared routes.
        latents: the latents that the losses needed, (batch, time, *event).
        state: the states after the step.
    """

    losses: dict[str, Tensor]
    total: Tensor
    latents: dict[str, Tensor]
    state: dict[str, Tensor]


class Model(torch.nn.Module):
    """What every emitted torch model is; the emitted class adds `forward`, `encode_NAME`, and
    where the spec declares some `_measures` and `_pictures`.

    Attributes:
        spec, plan, source: what it was compiled from, and to.
    """

    backend = "torch"
    spec: Spec
    plan: Plan
    source: str
    seed: int
    compiled_dtype: torch.dtype
    _measures: Callable[..., dict[str, Tensor]]
    _pictures: Callable[..., dict[str, Tensor]]

    @property
    def dtype(self) -> torch.dtype:
        """That of the parameters, which `model.double()` changes."""
        return next((p.dtype for p in self.parameters()), self.compiled_dtype)

    def full(self, shape: tuple[int, ...], value: float) -> Tensor:
        """An array filled with one number."""
        return torch.full(shape, value, dtype=self.dtype, device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def read(self, batch: Any, *names: str, frames: int | None = None) -> Any:
        """The named columns of a batch, checked, as tensors; `frames` as for `require_frames`."""
        columns = [
            self._input(name, column)
            for name, column in zip(names, read_columns(self.spec, batch, names), strict=True)
        ]
        require_frames(self.plan, names, columns, frames)
        return columns if len(columns) > 1 else columns[0]

    def given(self, inputs: Any, what: str) -> Any:
        """The noise or the states of a step; without states, those of the start."""
        if what == "state":
            return self.initial_state() if inputs is None else inputs
        if inputs is None:
            raise SpecError(
                f"{self.spec.name!r} reads noise, which is an input of the step: pass "
                "model.noise(step, like=batch)."
            )
        return inputs

    def weight(self, loss: str, step: Any) -> Any:
        """The scheduled weight of a loss."""
        return schedule_value(self.spec.losses[loss].weight, step)

    def inputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """A batch of numpy arrays on the model's device, in its dtype; uint8 becomes [0, 1]."""
        return {n: self._input(n, batch[n]) for n in batch if n in self.spec.inputs}

    def _input(self, name: str, array: Any) -> Tensor:
        if isinstance(array, Tensor):
            return array
        whole = self.spec.inputs[name].type.dtype == "int"
        if not whole and getattr(array, "dtype", None) == np.uint8:
            # Moved as bytes, scaled where the model is.
            return torch.from_numpy(np.asarray(array)).to(self.device).to(self.dtype) / 255
        tensor = torch.from_numpy(np.ascontiguousarray(as_numpy(self.spec, name, array)))
        return tensor.to(device=self.device, dtype=torch.int64 if whole else self.dtype)

    def noise(self, step: int, like: Any = None, *, seed: int | None = None) -> dict[str, Tensor]:
        """The random inputs of a step, a function of (seed, step); by default the model's seed.

        `like` is a batch, which gives the sizes; it is needed where a noise has a batch axis.
        """
        return arrays(self, draw_noise(self.spec, self.seed if seed is None else seed, step, like))

    def initial_state(self) -> dict[str, Tensor]:
        """The states before the first step."""
        return {s.name: self.full(s.shape, s.init) for s in self.spec.states.values()}

    @torch.no_grad()
    def encode(self, inputs: Any, name: str, noise: Any = None, state: Any = None) -> Tensor:
        """One latent, without the losses.

        Args:
            inputs: a batch, or the frames (batch, time, *frame) where the latent reads only them.
            name: of the latent.
        """
        columns = encoded_columns(self, name)
        batch = inputs if isinstance(inputs, Mapping) else dict.fromkeys(columns[:1], inputs)
        batch = self.inputs(batch)
        read = read_columns(self.spec, batch, columns)
        return getattr(self, f"encode_{name}")(*read, noise=noise, state=state)

    @torch.no_grad()
    def measure(
        self, batch: Any, noise: Any = None, state: Any = None, step: int = 0
    ) -> dict[str, Tensor]:
        """The declared measures, scalars by name, without the losses; called as the step is."""
        return self._measures(batch, noise, state) if self.spec.measures else {}

    @torch.no_grad()
    def pictures(
        self, batch: Any, noise: Any = None, state: Any = None, step: int = 0
    ) -> dict[str, Tensor]:
        """The declared pictures by name, (batch, time, C, H, W); called as the step is."""
        return self._pictures(batch, noise, state) if self.spec.pictures else {}

    def __deepcopy__(self, memo: Any) -> Model:
        return load_weights(rebuild(*self.__reduce__()[1]), weights(self))

    def __reduce__(self) -> Any:
        dtype = str(self.dtype).removeprefix("torch.")
        arguments = (self.spec.to_json(), self.plan.phase.name, self.seed, dtype, str(self.device))
        return rebuild, (*arguments, weights(self))


def rebuild(
    spec: dict[str, Any], phase: str, seed: int, dtype: str, device: str, held: Any = None
) -> Model:
    """A model from what a pickle holds: the declaration and the weights, never code."""
    from latentroles.compile import compile

    model = compile(
        Spec.from_json(spec), backend="torch", phase=phase, seed=seed, dtype=dtype, device=device
    )
    return model if held is None else load_weights(model, held)


def build(
    cls: type[Model], plan: Plan, source: str, drawn: Any, seed: int, dtype: str, device: Any
) -> Model:
    """Makes the emitted class a model with the drawn weights; targets start as exact copies."""
    spec, device = plan.spec, device_of(device)
    model = cls()
    model.spec, model.plan, model.source, model.seed = spec, plan, source, seed
    model.compiled_dtype = dtype_of(dtype)
    for name, module in spec.modules.items():
        setattr(model, name, layers.build(module.layer, drawn[name], dtype, device))
    for name, target in spec.targets.items():
        copied = copy.deepcopy(getattr(model, target.of))
        setattr(model, name, copied.requires_grad_(False))
    return model


def reserved_names() -> frozenset[str]:
    """What a module of a spec may not be called: the attributes of every torch model."""
    return frozenset({*dir(Model()), *Model.__annotations__})


def trainable(model: Model, reached: Collection[str]) -> list[torch.nn.Parameter]:
    """The parameters of the reached modules."""
    names = [name for name in model.spec.modules if name in reached]
    return [p for name in names for p in getattr(model, name).parameters()]


@torch.no_grad()
def update_targets(model: Model, step: int) -> Model:
    """Moves the targets towards their modules, in place."""
    for target in model.plan.followers:
        decay = schedule_value(target.decay, step)
        online, copied = getattr(model, target.of), getattr(model, target.name)
        for p, q in zip(online.parameters(), copied.parameters(), strict=True):
            q.copy_(decay * q + (1.0 - decay) * p)
    return model


def weights(model: Model) -> dict[str, dict[str, np.ndarray]]:
    """{module or target: {path: array}}."""
    return {
        name: layers.weights_of(model.spec._layer(name), getattr(model, name))
        for name in [*model.spec.modules, *model.spec.targets]
    }


def load_weights(model: Model, held: Mapping[str, Mapping[str, np.ndarray]]) -> Model:
    """Copies weights into the model, in place, and returns it.

    Raises:
        CheckpointError: a name or a shape is not the model's.
    """
    known = [*model.spec.modules, *model.spec.targets]
    for name, arrays in held.items():
        if name not in known:
            raise CheckpointError(
                f"the weights name {name!r}, which {model.spec.name!r} does not declare."
                f"{nearest(name, known)}"
            )
        layers.with_weights(model.spec._layer(name), getattr(model, name), arrays)
    return model


def arrays(model: Model, named: Mapping[str, Any]) -> dict[str, Tensor]:
    """Arrays of numpy, such as states and noise, as the model takes them."""
    return {
        n: torch.from_numpy(np.array(a)).to(model.device, model.dtype) for n, a in named.items()
    }


def gradients(
    model: Model, batch: Any, noise: Any = None, state: Any = None, step: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """The gradient of the total, {module: {path: array}}; zero where no route leads."""
    out = model(model.inputs(batch), noise, state, step)
    return gradients_of(model, out.total)


def gradients_of(
    model: Model, value: Tensor, *, keep: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """The gradient of a scalar in every module's parameters.

    Args:
        keep: whether another scalar of the same graph is still to be differentiated.
    """
    params = {
        (name, path): p
        for name in model.spec.modules
        for path, p in getattr(model, name).named_parameters()
    }
    if value.requires_grad:
        found = torch.autograd.grad(
            value, list(params.values()), allow_unused=True, retain_graph=keep
        )
    else:
        found = (None,) * len(params)
    result: dict[str, dict[str, np.ndarray]] = {name: {} for name in model.spec.modules}
    for ((name, path), p), g in zip(params.items(), found, strict=True):
        g = torch.zeros_like(p) if g is None else g
        result[name][path] = to_numpy(g)
    return result
