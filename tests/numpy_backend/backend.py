"""The numpy backend as latentroles sees it: a model is a spec with weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from latentroles.plan.inputs import as_numpy, draw_noise
from latentroles.spec.declarations import Phase
from latentroles.spec.expr import Expr
from latentroles.spec.schedules import value as schedule_value
from latentroles.spec.spec import Spec
from latentroles.testing.laws import ALONG, directions
from latentroles.testing.reference import Results, evaluate

from . import layers
from .duals import Dual, Namespace, dual, exp, joined, linear, magnitude, relu, sigmoid, stop, tanh

Weights = dict[str, dict[str, np.ndarray]]
SPREAD = linear(np.broadcast_to)


@dataclass(frozen=True)
class Model:
    """A spec with weights, a phase and a seed."""

    spec: Spec
    phase: Phase
    held: Weights
    seed: int
    backend: str = "numpy"
    source: str = ""
    dtype: str = "float64"

    def inputs(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {n: as_numpy(self.spec, n, a) for n, a in batch.items() if n in self.spec.inputs}

    def noise(self, step: int, like: Any = None, *, seed: int | None = None) -> dict[str, Any]:
        return draw_noise(self.spec, self.seed if seed is None else seed, step, like)

    def initial_state(self) -> dict[str, np.ndarray]:
        return {s.name: np.full(s.shape, s.init) for s in self.spec.states.values()}

    def encode(self, batch: Any, name: str, noise: Any = None, state: Any = None) -> np.ndarray:
        leaves = _leaves(self, batch, noise, state)
        return evaluate(self.spec, self.spec.latents[name].expr, leaves, Primitives(self)).value


class Primitives:
    """The interpreter's operations on Duals.

    Args:
        moves: the modules whose parameters have tangents, in the order of their directions.
    """

    def __init__(self, model: Model, moves: tuple[str, ...] = ()):
        self.model = model
        along, count = directions(model.spec), 0
        self.parameters = {
            name: {path: Dual(a) for path, a in arrays.items()}
            for name, arrays in model.held.items()
        }
        total = sum(_count(along[name]) for name in moves)
        for name in moves:
            here = slice(count, count := count + _count(along[name]))
            for path, ways in along[name].items():
                tangent = np.zeros((total, *ways.shape[1:]))
                tangent[here] = ways
                self.parameters[name][path].tangent = tangent

    def stop(self, x: Any) -> Dual:
        return stop(x)

    def scale(self, x: Any, factor: float) -> Dual:
        x = dual(x)
        return Dual(x.value, None if x.tangent is None else factor * x.tangent)

    def constant(self, value: float, sizes: tuple[int, ...]) -> Dual:
        return Dual(np.full(sizes, value))

    def apply(self, name: str, part: str | None, frozen: bool, xs: list[Any], axes: int) -> Dual:
        parameters = self.parameters[name]
        if frozen:
            parameters = {path: stop(p) for path, p in parameters.items()}
        lead = xs[0].shape[:axes]
        flat = [linear(np.reshape)(x, (-1, *x.shape[axes:])) for x in xs]
        y = layers.run(self.model.spec._layer(name), parameters, *flat, part=part)
        return linear(np.reshape)(y, (*lead, *y.shape[1:]))

    def op(self, e: Expr, xs: list[Any]) -> Dual:
        name, *arguments = e.attrs
        xs = [dual(x) for x in xs]
        if len(xs) == 2 and name != "concat":
            xs = [
                x[(..., *(None,) * len(e.shape))] if i.axes and not i.shape else x
                for x, i in zip(xs, e.inputs, strict=True)
            ]
        if name in ("mean", "sum"):
            (over,), t = arguments, e.inputs[0].type
            axis = tuple(range(-len(t.shape), 0)) if over == "event" else (t.position(over),)
            return getattr(Namespace, name)(xs[0], axis=axis)
        if name == "concat":
            return joined(np.concatenate, xs, -1)
        if name == "reshape":
            return linear(np.reshape)(xs[0], (*xs[0].shape[: len(e.axes)], *arguments[0]))
        return _OPS[name](*xs, *arguments)

    def stack(self, xs: list[Any], axis: int) -> Dual:
        return joined(np.stack, xs, axis)

    def join(self, first: Any, rest: Any, axis: int) -> Dual:
        return joined(np.concatenate, [linear(np.expand_dims)(first, axis), rest], axis)

    def broadcast(self, x: Any, new: list[int], sizes: tuple[int, ...]) -> Dual:
        return SPREAD(linear(np.expand_dims)(x, tuple(new)), sizes)


def _count(ways: Mapping[str, np.ndarray]) -> int:
    return max((len(a) for a in ways.values()), default=0)


def _one_hot(x: Dual, n: int) -> Dual:
    return Dual((x.value[..., None] == np.arange(n)).astype(np.float64))


def _normalise(x: Dual) -> Dual:
    squared = Namespace.sum(x * x, axis=-1, keepdims=True)
    safe = Namespace.where(squared > 0, squared, Namespace.ones_like(squared))
    return Namespace.where(squared > 0, x / Namespace.sqrt(safe), Namespace.zeros_like(x))


def _pooled(x: Dual, size: int) -> Dual:
    *rest, rows, columns = x.shape
    blocks = (*rest, rows // size, size, columns // size, size)
    return Namespace.mean(linear(np.reshape)(x, blocks), axis=(-3, -1))


_OPS: dict[str, Callable[..., Dual]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda x: -x,
    "abs": magnitude,
    "square": lambda x: x * x,
    "exp": exp,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "relu": relu,
    "normalise": _normalise,
    "one_hot": _one_hot,
    "slice": lambda x, lo, hi: x[..., lo:hi],
    "avg_pool2d": _pooled,
}


def _leaves(model: Model, batch: Any, noise: Any, state: Any) -> dict[str, Dual]:
    state = model.initial_state() if state is None else state
    given = {**model.inputs(batch), **(noise or {}), **state}
    return {name: Dual(array) for name, array in given.items()}


class NumpyBackend:
    """Everything that the laws ask of a backend that interprets and does not train."""

    name = "numpy"
    targets_flow = False
    dialect = None
    capabilities = frozenset({"float64"})
    pace = 0.2

    def build(
        self, cls: None, plan: Any, source: str, drawn: Weights, seed: int, dtype: str, device: Any
    ) -> Model:
        held = copy.deepcopy(drawn)
        held |= {name: copy.deepcopy(drawn[t.of]) for name, t in plan.spec.targets.items()}
        return Model(plan.spec, plan.phase, held, seed)

    def reserved_names(self) -> frozenset[str]:
        return frozenset()

    def weights(self, model: Model) -> Weights:
        return copy.deepcopy(model.held)

    def load_weights(self, model: Model, held: Weights) -> Model:
        return replace(model, held={**model.held, **copy.deepcopy(held)})

    def arrays(self, model: Model, named: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {name: np.asarray(array, np.float64) for name, array in named.items()}

    def loss_gradients(
        self, model: Model, batch: Any, noise: Any = None, state: Any = None, step: int = 0
    ) -> Results:
        spec = model.spec
        leaves = _leaves(model, batch, noise, state)
        plain = Primitives(model)
        values, gradients = self.reference(model, batch, noise, state, step)
        scale = {n: schedule_value(spec.losses[n].weight, step) for n in values}
        read = {n: evaluate(spec, z.expr, leaves, plain).value for n, z in spec.latents.items()}
        after = {n: evaluate(spec, e, leaves, plain).value for n, e in spec.updates.items()}
        total = np.asarray(sum(scale[n] * values[n] for n in values))
        return Results(values, total, read, after, gradients)

    def reference(
        self,
        model: Model,
        batch: Any,
        noise: Any = None,
        state: Any = None,
        step: int = 0,
        evaluate: Callable[..., Dual] = evaluate,
    ) -> tuple[dict[str, np.ndarray], dict[str, Weights]]:
        """The value of each loss, and its derivatives along the directions of each module."""
        leaves, modules = _leaves(model, batch, noise, state), tuple(model.spec.modules)
        primitives = Primitives(model, modules)
        along, values, gradients = directions(model.spec), {}, {}
        for name in model.phase.losses:
            loss = model.spec.losses[name]
            found = evaluate(model.spec, loss.expr, leaves, primitives, loss.updates)
            values[name], gradients[name], first = found.value, {}, 0
            for module in modules:
                here = slice(first, first := first + _count(along[module]))
                slopes = np.zeros(first) if found.tangent is None else found.tangent
                gradients[name][module] = {ALONG: slopes[here]} if along[module] else {}
        return values, gradients


BACKEND = NumpyBackend()
