"""Optimisers, as plain data that both backends follow to the same numbers.

Every hyper-parameter is written here; none is inherited from a framework. A parameter that no
loss of the phase reaches is not given to an optimiser at all: neither weight decay nor stale
momentum moves it.

With `clip_norm`, all gradients of the optimiser's group are multiplied by
min(1, clip_norm / norm), `norm` being the root of the sum of all their squares. Clipping is per
group, and it couples the group's modules: a large gradient in one shortens the steps of all.
Give a module a group of its own to keep it apart.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import arguments
from ..errors import CheckpointError, SpecError, user_line
from ..registry import Registry
from ..spec.schedules import Schedule, scheduled, value

_DEFAULTS_DIFFER = (
    "{} PyTorch and optax do not agree on it, and no parity test covers it. Fix: use sgd, adam or "
    "adamw."
)
OPTIMISERS = Registry(
    "optimiser",
    refused={
        "rmsprop": _DEFAULTS_DIFFER.format(
            "its decay is 0.99 in one framework and 0.9 in the other, and eps stands inside the "
            "root in one and outside in the other."
        ),
        "nadam": _DEFAULTS_DIFFER.format("only PyTorch's has a schedule of its momentum."),
        "adagrad": _DEFAULTS_DIFFER.format(
            "its accumulator starts at 0 or at 0.1, and eps differs by a factor of 1000."
        ),
    },
)


class _Common(ABC):
    """What all optimisers share: the checks, and their data."""

    learning_rate: float | Schedule
    clip_norm: float | None
    name: ClassVar[str]
    _ranges: ClassVar[dict[str, arguments.Range]]

    def __post_init__(self):
        if isinstance(self.learning_rate, Schedule):
            scheduled(self.name, "learning_rate", self.learning_rate, arguments.NON_NEGATIVE)
            if not self.learning_rate.bounds()[1]:
                raise SpecError(
                    f"{user_line()}{self.name}: learning_rate must be greater than 0 at some step; "
                    f"received {self.learning_rate!r}. Fix: give one of its ends such a value."
                )
        else:
            self._check("learning_rate", arguments.POSITIVE)
        for argument, range in self._ranges.items():
            self._check(argument, range)
        if self.clip_norm is not None:
            self._check("clip_norm", arguments.POSITIVE)

    def _check(self, argument: str, range: arguments.Range) -> None:
        number = arguments.real(self.name, argument, getattr(self, argument), range)
        object.__setattr__(self, argument, number)

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """The names of the arrays kept per parameter, each of the parameter's shape."""

    def to_json(self) -> dict[str, Any]:
        """Returns {"optimiser": name, ...fields}; `from_json` is the inverse."""
        return OPTIMISERS.encode(self)


@dataclass(frozen=True)
class SGD(_Common):
    """Gradient descent: m <- momentum m + g, p <- p - learning_rate m.

    The learning rate is outside of m: a schedule does not rescale what m remembers.
    """

    learning_rate: float | Schedule
    momentum: float = 0.0
    clip_norm: float | None = field(default=None, kw_only=True)

    name: ClassVar[str] = "sgd"
    _ranges: ClassVar[dict[str, arguments.Range]] = {"momentum": arguments.DECAY}

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()


@dataclass(frozen=True)
class Adam(_Common):
    """Adam (Kingma and Ba, 2015), t counting updates from 1.

    mu <- b1 mu + (1 - b1) g,  nu <- b2 nu + (1 - b2) g^2,
    p <- p - learning_rate (mu / (1 - b1^t)) / (sqrt(nu / (1 - b2^t)) + eps).
    """

    learning_rate: float | Schedule
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = field(default=None, kw_only=True)

    name: ClassVar[str] = "adam"
    _ranges: ClassVar[dict[str, arguments.Range]] = {
        "b1": arguments.DECAY,
        "b2": arguments.DECAY,
        "eps": arguments.POSITIVE,
    }

    @property
    def slots(self) -> tuple[str, ...]:
        return ("mu", "nu")


@dataclass(frozen=True)
class AdamW(_Common):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    As Adam, and each step also subtracts learning_rate weight_decay p, of every parameter of the
    group, biases included.
    """

    learning_rate: float | Schedule
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 1e-2
    clip_norm: float | None = field(default=None, kw_only=True)

    name: ClassVar[str] = "adamw"
    _ranges: ClassVar[dict[str, arguments.Range]] = {
        **Adam._ranges,
        "weight_decay": arguments.NON_NEGATIVE,
    }

    @property
    def slots(self) -> tuple[str, ...]:
        return ("mu", "nu")


Optimiser = SGD | Adam | AdamW

sgd = OPTIMISERS.register(SGD, SGD.name)
adam = OPTIMISERS.register(Adam, Adam.name)
adamw = OPTIMISERS.register(AdamW, AdamW.name)


def named(name: str, **options: Any) -> Optimiser:
    """Returns the optimiser called `name`, as a command line or a configuration file has it.

    RMSprop, NAdam and Adagrad are refused with the reason.
    """
    return OPTIMISERS.make(name, options)


def from_json(data: object) -> Optimiser:
    """Returns the optimiser whose `to_json` gave `data`."""
    return OPTIMISERS.decode(data)


def learning_rate(optimiser: Optimiser, step: int) -> float:
    """Returns the learning rate at `step`, counted from 0."""
    return value(optimiser.learning_rate, step)


def state_shapes(
    optimiser: Optimiser, parameters: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of an optimiser's saved arrays.

    They are "slot/path" for each slot and each parameter's path "module/parameter", and "count",
    the number of updates made, of shape ().
    """
    shapes: dict[str, tuple[int, ...]] = {"count": ()}
    for slot in optimiser.slots:
        for path, shape in parameters.items():
            shapes[f"{slot}/{path}"] = tuple(shape)
    return shapes


def check_state(
    optimiser: Optimiser,
    parameters: Mapping[str, Sequence[int]],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Raises CheckpointError unless `arrays` is a state of this optimiser for these parameters."""
    wanted = state_shapes(optimiser, parameters)
    wrong = [f"no {name!r}" for name in wanted if name not in arrays]
    wrong += [f"an unknown {name!r}" for name in arrays if name not in wanted]
    wrong += [
        f"{name!r} of shape {np.shape(arrays[name])} instead of {shape}"
        for name, shape in wanted.items()
        if name in arrays and np.shape(arrays[name]) != shape
    ]
    if wrong:
        raise CheckpointError(
            f"The state of {optimiser.name} must be that of the same optimiser on the same "
            f"parameters; received {'; '.join(wrong)}. Fix: resume with the optimiser that the "
            "checkpoint was written with."
        )
