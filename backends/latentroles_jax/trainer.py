"""One optimiser step on JAX: losses, gradients, optimisers, then targets and states."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentroles.train.groups import assign
from latentroles.train.optimisers import learning_rate
from latentroles.train.snapshots import nested

from . import model as models
from . import optim
from .layers import leaf
from .model import Model
from .precision import of_dtype, to_numpy

Params = dict[str, Array]


class Trainer:
    """Trains a model; `model` is the current one. See `latentroles.train.loop.Trainer`.

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
        assigned = assign(model.spec.modules, model.plan.reached, optimisers, groups)
        self._optimisers = {name: optimisers[name] for name in assigned}
        self._paths = {
            name: [f"{m}/{path}" for m in modules for path in model.spec._layer(m).parameters()]
            for name, modules in assigned.items()
        }
        self._context = of_dtype(model.dtype)
        with self._context():
            # A copy: the step gives its arrays' memory away, and the caller's model must live on.
            self.model = jax.tree.map(lambda x: x.copy() if eqx.is_array(x) else x, model)
            self._states = {
                name: optim.init(self._optimisers[name], take(model, paths))
                for name, paths in self._paths.items()
            }
            self.state = model.initial_state()
        self.seed = seed
        self._seen: Any = ({}, None, None)
        self._step = eqx.filter_jit(self._compiled, donate="all-except-first")

    def step(self, batch: Mapping[str, np.ndarray], step: int) -> dict[str, float]:
        """Takes one optimiser step; returns the losses by name and their weighted "total"."""
        with self._context():
            noise = self.model.noise(step, batch, seed=self.seed)
            rates = {n: jnp.asarray(learning_rate(o, step)) for n, o in self._optimisers.items()}
            arrays, rest = eqx.partition(self.model, eqx.is_array)
            fixed = ((self.model.place(batch), noise), rates, jnp.asarray(step), rest)
            values, latents, arrays, self._states, self.state = self._step(
                fixed, arrays, self._states, self.state
            )
            self.model = eqx.combine(arrays, rest)
            return self._seeing(batch, noise, latents, values)

    def evaluate(self, batch: Mapping[str, np.ndarray], step: int, draw: int) -> dict[str, float]:
        """Returns the losses of a batch, and moves nothing."""
        with self._context():
            noise = self.model.noise(-1 - draw, batch, seed=0)
            inputs = (self.model.place(batch), noise, self.state, jnp.asarray(step))
            values, latents = _evaluated(self.model, *inputs)
            return self._seeing(batch, noise, latents, values)

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

    def _seeing(self, batch: Any, noise: Any, latents: Any, values: Array) -> dict[str, float]:
        """The losses and their "total" as floats; the rest is kept for `latents`."""
        self._seen = (latents, batch, noise)
        names = [*self.model.plan.losses, "total"]
        return dict(zip(names, np.asarray(values, np.float64).tolist(), strict=True))

    def _compiled(self, fixed: Any, arrays: Any, states: Any, state: Any) -> Any:
        (batch, noise), rates, step, rest = fixed
        model = eqx.combine(arrays, rest)
        params = {name: take(model, paths) for name, paths in self._paths.items()}

        def total(params: dict[str, Params]) -> tuple[Array, Any]:
            out = put(model, {k: v for p in params.values() for k, v in p.items()})(
                batch, noise, state, step
            )
            return out.total, out

        grads, out = jax.grad(total, has_aux=True)(params)
        after = {}
        for name, optimiser in self._optimisers.items():
            moved, after[name] = optim.update(
                optimiser, grads[name], states[name], params[name], rates[name]
            )
            model = put(model, moved)
        model = models.update_targets(model, step)
        moved_on = (eqx.filter(model, eqx.is_array), after, {**state, **out.state})
        return _values(model, out), out.latents, *moved_on

    def snapshot(self) -> dict[str, np.ndarray]:
        """Returns everything that `restore` needs."""
        arrays = {
            f"weights/{name}/{path}": array
            for name, held in models.weights(self.model).items()
            for path, array in held.items()
        }
        for name, optimiser in self._optimisers.items():
            held = optim.state_to_numpy(optimiser, self._states[name])
            arrays |= {f"optimiser/{name}/{key}": a for key, a in held.items()}
        return arrays | {f"state/{n}": to_numpy(v) for n, v in self.state.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from a snapshot; raises CheckpointError if names or shapes differ."""
        held = nested(self.snapshot(), arrays)
        with self._context():
            self.model = models.load_weights(self.model, held["weights"])
            self._states = {
                name: optim.state_from_numpy(
                    optimiser, take(self.model, self._paths[name]), held["optimiser"][name]
                )
                for name, optimiser in self._optimisers.items()
            }
            self.state = models.arrays(self.model, held["state"])


@eqx.filter_jit
def _evaluated(model: Model, batch: Any, noise: Any, state: Any, step: Array) -> Any:
    out = model(batch, noise, state, step)
    return _values(model, out), out.latents


def _values(model: Model, out: models.Outputs) -> Array:
    """The losses and their total; by name, since JAX sorts the keys of a transformed dict."""
    return jnp.stack([*(out.losses[name] for name in model.plan.losses), out.total])


def take(model: Model, paths: list[str]) -> Params:
    """The parameters at "module/path", as they are stored."""
    found = {}
    for key in paths:
        name, path = key.split("/", 1)
        found[key] = leaf(getattr(model, name), path)
    return found


def put(model: Model, params: Params) -> Model:
    """The model with the parameters at "module/path" replaced."""
    if not params:
        return model
    return eqx.tree_at(lambda m: list(take(m, list(params)).values()), model, list(params.values()))
