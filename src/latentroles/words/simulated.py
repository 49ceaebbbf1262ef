"""Environments that are functions of their state, and the checks of what they are given."""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from latentroles.errors import DataError

HEADINGS = (0.0, math.pi / 2, math.pi, -math.pi / 2)  # after 0 to 3 quarter turns to the left


class Simulated(ABC):
    """Keeps the present state of an environment that is written as functions of its state.

    The environment gives `begin(rng)`, `move(state, action)`, `picture(state)`, `place(state)`,
    `stands(state)`, and `valid(state)`: whether a state can be restored.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any], actions: tuple[str, ...]):
        self.name = name
        self.parameters = dict(parameters)
        self.actions = actions
        self.reset(0)

    def reset(self, seed: int) -> Any:
        """Starts at a state that depends on the seed alone: an int of at least 0."""
        self._random = np.random.default_rng(natural("seed", seed))
        self._state = self.begin(self._random)
        return self._state

    def step(self, action: int) -> Any:
        """Takes one action and returns the state it leads to."""
        self._state = self.move(self._state, checked_action(self, action))
        return self._state

    def state(self) -> Any:
        """The present state."""
        return self._state

    def restore(self, state: Any) -> None:
        """Returns to a state."""
        self._state = self._checked(state)

    def frame(self) -> np.ndarray:
        """What is seen at the present state."""
        return self.picture(self._state)

    def pose(self) -> tuple[float, float, float]:
        """(x, y, heading) in cells and radians at the present state."""
        return self.stands(self._state)

    @abstractmethod
    def begin(self, rng: np.random.Generator) -> Any:
        """Draws where an episode starts."""

    @abstractmethod
    def move(self, state: Any, action: int) -> Any:
        """The state that an action leads to."""

    @abstractmethod
    def picture(self, state: Any) -> np.ndarray:
        """The frame of a state."""

    @abstractmethod
    def stands(self, state: Any) -> tuple[float, float, float]:
        """The pose of a state."""

    @abstractmethod
    def valid(self, state: Any) -> bool:
        """Whether `state`, a tuple, is a state."""

    def _checked(self, state: Any) -> Any:
        """`state` as this environment writes it, or DataError."""
        kind = type(self._state)
        try:
            found = kind(*state) if hasattr(kind, "_fields") else kind(state)
            if self.valid(found):
                return found
        except (TypeError, ValueError, LookupError):
            pass
        raise DataError(
            f"{self.name}: {state!r} is not a state of this environment, such as {self._state!r} "
            "is. Fix: restore states that reset or step returned."
        )


def checked_action(environment: Any, action: object) -> int:
    """`action` as an int that is an index of the environment's actions, or DataError."""
    names = environment.actions
    try:
        number = -1 if isinstance(action, bool) else operator.index(action)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number not in range(len(names)):
        named = ", ".join(f"{i} {name}" for i, name in enumerate(names))
        raise DataError(f"{environment.name}: an action is one of {named}; got {action!r}.")
    return number


def natural(name: str, value: object, minimum: int = 0) -> int:
    """`value` as an int of at least `minimum`, or DataError."""
    try:
        number = minimum - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = minimum - 1
    if number < minimum:
        raise DataError(f"{name} is an integer of at least {minimum}; got {value!r}.")
    return number


def drawn(rng: np.random.Generator, states: Sequence[Any]) -> Any:
    """One of the states, uniformly."""
    return states[int(rng.integers(len(states)))]


def within(value: Hashable, stop: int, start: int = 0) -> bool:
    """Whether `value` is an integer of start .. stop - 1."""
    return isinstance(value, (int, np.integer)) and start <= int(value) < stop


def one_hot(index: int, size: int) -> np.ndarray:
    """(size,) float32: 1 at `index`, 0 elsewhere."""
    return (np.arange(size) == index).astype(np.float32)
