"""Parameters and their first values.

Weights are drawn here by numpy, once for both backends: each is keyed by (seed, module name,
parameter path) alone, so that adding a loss, a head or a layer changes no other weight, and a
model starts from the same bits in PyTorch and in JAX.
"""

import hashlib
import json
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...errors import CheckpointError, SpecError, user_line

if TYPE_CHECKING:
    from .layer import Layer


class Initial(Protocol):
    """How the first value of a parameter is drawn."""

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray: ...


@dataclass(frozen=True)
class Uniform:
    """Uniform on [-bound, bound)."""

    bound: float

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.bound * (2.0 * generator.random(shape) - 1.0)


@dataclass(frozen=True)
class Normal:
    """Normal with mean 0."""

    deviation: float

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.deviation * generator.standard_normal(shape)


@dataclass(frozen=True)
class Filled:
    """The same value everywhere."""

    value: float

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.value, dtype=np.float64)


def fan_in(count: float) -> Uniform:
    """Returns Uniform(1 / sqrt(count)), `count` being how many inputs one output reads."""
    return Uniform(1.0 / math.sqrt(count))


@dataclass(frozen=True)
class Parameter:
    """A parameter of a layer: its shape in the neutral layout, and how its first value is drawn."""

    shape: tuple[int, ...]
    init: Initial


def initial_weights(module_name: str, layer: "Layer", seed: int) -> dict[str, np.ndarray]:
    """Returns {path: float64 array} in the neutral layout, for every parameter of `layer`.

    Each array depends on `seed`, `module_name`, its own path, shape and distribution only.
    """
    try:
        number = operator.index(seed)
    except TypeError:
        raise SpecError(
            f"{user_line()}A seed is an integer; received {seed!r}. Fix: pass seed=0."
        ) from None
    weights = {}
    for path, parameter in layer.parameters().items():
        name = json.dumps([number, module_name, path]).encode()
        key = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")
        generator = np.random.Generator(np.random.Philox(key=key))
        weights[path] = parameter.init.draw(generator, parameter.shape)
    return weights


def check_weights(layer: "Layer", weights: Mapping[str, np.ndarray]) -> None:
    """Raises CheckpointError unless `weights` has exactly the paths and shapes of `layer`."""
    wanted = {path: p.shape for path, p in layer.parameters().items()}
    given = {path: np.shape(array) for path, array in weights.items()}
    if wanted == given:
        return
    wrong = [f"no {path!r}" for path in wanted if path not in given]
    wrong += [f"an unknown {path!r}" for path in given if path not in wanted]
    wrong += [
        f"{path!r} of shape {given[path]} instead of {wanted[path]}"
        for path in wanted
        if path in given and given[path] != wanted[path]
    ]
    raise CheckpointError(
        f"Weights must have the paths and shapes of their module; received {'; '.join(wrong)}. "
        "Fix: take the weights of a module with the same architecture."
    )
