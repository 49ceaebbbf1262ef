"""The base of emitted JAX models: parameters, inputs, encoding, weights in and out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

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
from .precision import device_of, dtype_of, of_dtype


class Outputs(eqx.Module):
    """What a step gives.

    Attributes:
        losses: each loss, unweighted, a scalar.
        total: their weighted sum; its gradient follows exactly the declared routes.
        latents: the latents that the losses needed, (batch, time, *event).
        state: the states after the step.
    """

    losses: dict[str, Array]
    total: Array
    latents: dict[str, Array]
    state: dict[str, Array]


class Compiled:
    """What a model was compiled from, and to. Static, and compared by identity.

    `device` is None where the user chose none: arrays are then left uncommitted, as JAX makes them.
    """

    def __init__(self, plan: Plan, source: str, seed: int, dtype: Any, device: Any):
        self.plan, self.source, self.seed = plan, source, seed
        self.dtype, self.device = dtype, device


class Model(eqx.Module):
    """What every emitted JAX model is; the emitted class adds `__call__`, `encode_NAME`, and where
    the spec declares some `_measures` and `_pictures`.

    A float64 model is called under `latentroles_jax.precision.x64()`, where float64 exists; its
    methods and its trainer see to that by themselves.

    Attributes:
        spec, plan, source: what it was compiled from, and to.
    """

    compiled: Compiled = eqx.field(static=True)

    @property
    def backend(self) -> str:
        return "jax"

    @property
    def spec(self) -> Spec:
        return self.compiled.plan.spec

    @property
    def plan(self) -> Plan:
        return self.compiled.plan

    @property
    def source(self) -> str:
        return self.compiled.source

    @property
    def seed(self) -> int:
        return self.compiled.seed

    @property
    def dtype(self) -> Any:
        return self.compiled.dtype

    def __call__(self, batch: Any, noise: Any = None, state: Any = None, step: Any = 0) -> Outputs:
        """One step's losses; the emitted class says how."""
        raise TypeError("this is the base of emitted models: lr.compile makes one")

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        """An array filled with one number."""
        return jnp.full(shape, value, self.dtype)

    @property
    def device(self) -> Any:
        """Where the parameters are; None for JAX's default."""
        return self.compiled.device

    def read(self, batch: Any, *names: str, frames: int | None = None) -> Any:
        """The named columns of a batch, checked, as arrays; `frames` as for `require_frames`."""
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
        return schedule_value(self.spec.losses[loss].weight, step, xp=jnp)

    def inputs(self, batch: Mapping[str, Any]) -> dict[str, Array]:
        """A batch of numpy arrays on the model's device, in its dtype; uint8 becomes [0, 1]."""
        with of_dtype(self.dtype)():
            return {n: self._input(n, batch[n]) for n in batch if n in self.spec.inputs}

    def place(self, batch: Mapping[str, Any]) -> dict[str, Array]:
        """A batch on the model's device with pixels as bytes: the step scales them itself."""
        return {
            n: jax.device_put(a, self.device) if _are_pixels(self.spec, n, a) else self._input(n, a)
            for n, a in batch.items()
            if n in self.spec.inputs
        }

    def _input(self, name: str, array: Any) -> Array:
        ready = isinstance(array, jax.Array)
        if _are_pixels(self.spec, name, array):
            # Moved as bytes, scaled where the model is.
            moved = array if ready else jax.device_put(array, self.device)
            return moved.astype(self.dtype) / 255
        if ready:
            return array
        whole = self.spec.inputs[name].type.dtype == "int"
        array = as_numpy(self.spec, name, array)
        return jax.device_put(
            array.astype(np.int32) if whole else array.astype(self.dtype), self.device
        )

    def noise(self, step: int, like: Any = None, *, seed: int | None = None) -> dict[str, Array]:
        """The random inputs of a step, a function of (seed, step); by default the model's seed.

        `like` is a batch, which gives the sizes; it is needed where a noise has a batch axis.
        """
        return arrays(self, draw_noise(self.spec, self.seed if seed is None else seed, step, like))

    def initial_state(self) -> dict[str, Array]:
        """The states before the first step."""
        return {s.name: self.full(s.shape, s.init) for s in self.spec.states.values()}

    def encode(self, inputs: Any, name: str, noise: Any = None, state: Any = None) -> Array:
        """One latent, without the losses.

        Args:
            inputs: a batch, or the frames (batch, time, *frame) where the latent reads only them.
            name: of the latent.
        """
        columns = encoded_columns(self, name)
        batch = inputs if isinstance(inputs, Mapping) else dict.fromkeys(columns[:1], inputs)
        with of_dtype(self.dtype)():
            read = read_columns(self.spec, self.inputs(batch), columns)
            return _encode(self, name, read, noise, state)

    def measure(
        self, batch: Any, noise: Any = None, state: Any = None, step: Any = 0
    ) -> dict[str, Array]:
        """The declared measures, scalars by name, without the losses; called as the step is."""
        return self._shown("measures", batch, noise, state) if self.spec.measures else {}

    def pictures(
        self, batch: Any, noise: Any = None, state: Any = None, step: Any = 0
    ) -> dict[str, Array]:
        """The declared pictures by name, (batch, time, C, H, W); called as the step is."""
        return self._shown("pictures", batch, noise, state) if self.spec.pictures else {}

    def _shown(self, what: str, batch: Any, noise: Any, state: Any) -> dict[str, Array]:
        with of_dtype(self.dtype)():
            found = _values(self, what, self.place(batch), noise, state)
        # In order of declaration: JAX sorts the keys of a transformed dict.
        return {name: found[name] for name in getattr(self.spec, what)}

    def __deepcopy__(self, memo: Any) -> Model:
        return load_weights(self, weights(self))

    def __reduce__(self) -> Any:
        dtype = jnp.dtype(self.dtype).name
        arguments = (self.spec.to_json(), self.plan.phase.name, self.seed, dtype)
        return rebuild, (*arguments, weights(self))


def rebuild(spec: dict[str, Any], phase: str, seed: int, dtype: str, held: Any = None) -> Model:
    """A model from what a pickle holds: the declaration and the weights, never code."""
    from latentroles.compile import compile

    model = compile(Spec.from_json(spec), backend="jax", phase=phase, seed=seed, dtype=dtype)
    return model if held is None else load_weights(model, held)


def build(
    cls: type[Model], plan: Plan, source: str, drawn: Any, seed: int, dtype: str, device: Any
) -> Model:
    """Makes the emitted class a model with the drawn weights; targets start as exact copies."""
    spec, device = plan.spec, device_of(device)
    with of_dtype(dtype)():
        modules = {
            name: layers.build(module.layer, drawn[name], dtype, device)
            for name, module in spec.modules.items()
        }
        modules |= {name: modules[target.of] for name, target in spec.targets.items()}
        return cls(compiled=Compiled(plan, source, seed, dtype_of(dtype), device), **modules)


def _are_pixels(spec: Spec, name: str, array: Any) -> bool:
    return getattr(array, "dtype", None) == np.uint8 and spec.inputs[name].type.dtype == "float"


def reserved_names() -> frozenset[str]:
    """What a module of a spec may not be called: the attributes of every JAX model."""
    return frozenset({*dir(Model), "compiled"})


def trainable(model: Model, reached: Collection[str]) -> Model:
    """A filter of the model's form: True at the parameters of the reached modules."""
    nothing = jax.tree.map(lambda _: False, model)
    names = [name for name in model.spec.modules if name in reached]
    return eqx.tree_at(
        lambda m: [getattr(m, name) for name in names],
        nothing,
        [jax.tree.map(eqx.is_inexact_array, getattr(model, name)) for name in names],
    )


def update_targets(model: Model, step: Any) -> Model:
    """The model with its targets moved towards their modules."""
    for target in model.plan.followers:
        decay = schedule_value(target.decay, step, xp=jnp)
        online, copied = getattr(model, target.of), getattr(model, target.name)
        arrays, rest = eqx.partition(copied, eqx.is_inexact_array)
        moved = jax.tree.map(
            partial(_average, decay), arrays, eqx.filter(online, eqx.is_inexact_array)
        )
        copied = eqx.combine(moved, rest)
        model = eqx.tree_at(lambda m, n=target.name: getattr(m, n), model, copied)
    return model


def _average(decay: Any, q: Array, p: Array) -> Array:
    return (decay * q + (1.0 - decay) * p).astype(q.dtype)


def weights(model: Model) -> dict[str, dict[str, np.ndarray]]:
    """{module or target: {path: array}}."""
    return {
        name: layers.weights_of(model.spec._layer(name), getattr(model, name))
        for name in [*model.spec.modules, *model.spec.targets]
    }


def load_weights(model: Model, held: Mapping[str, Mapping[str, np.ndarray]]) -> Model:
    """A new model with these weights.

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
        with of_dtype(model.dtype)():
            module = layers.with_weights(model.spec._layer(name), getattr(model, name), arrays)
        model = eqx.tree_at(lambda m, name=name: getattr(m, name), model, module)
    return model


def arrays(model: Model, named: Mapping[str, Any]) -> dict[str, Array]:
    """Arrays of numpy, such as states and noise, as the model takes them."""
    with of_dtype(model.dtype)():
        return {
            n: jax.device_put(np.asarray(a).astype(model.dtype), model.device)
            for n, a in named.items()
        }


def gradients(
    model: Model, batch: Any, noise: Any = None, state: Any = None, step: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """The gradient of the total, {module: {path: array}}; zero where no route leads."""
    with of_dtype(model.dtype)():
        _, grads = _total_gradient(model, model.inputs(batch), noise, state, jnp.asarray(step))
        return gradients_by_path(model, grads)


@eqx.filter_jit
@eqx.filter_value_and_grad
def _total_gradient(model: Model, batch: Any, noise: Any, state: Any, step: Array) -> Array:
    return model(batch, noise, state, step).total


def gradients_by_path(model: Model, grads: Any) -> dict[str, dict[str, np.ndarray]]:
    """A gradient in the form of the model as {module: {path: array}}."""
    return {
        name: layers.weights_of(m.layer, getattr(grads, name))
        for name, m in model.spec.modules.items()
    }


@eqx.filter_jit
def _encode(model: Model, name: str, columns: Any, noise: Any, state: Any) -> Array:
    return getattr(model, f"encode_{name}")(*columns, noise=noise, state=state)


@eqx.filter_jit
def _values(model: Model, what: str, batch: Any, noise: Any, state: Any) -> dict[str, Array]:
    return getattr(model, f"_{what}")(batch, noise, state)
