"""Numbers that depend on the optimiser step, as plain data.

A schedule is a frozen dataclass; `value` evaluates it, on the host as a Python float, or inside
a compiled step by the backend's own array functions.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import arguments
from ..errors import SpecError, user_line
from ..registry import Registry

SCHEDULES = Registry("schedule")


class Schedule(ABC):
    """What a function of the step is: `at` writes its formula, `to_json` its data."""

    @abstractmethod
    def at(self, step: Any, xp: Any) -> Any:
        """Returns the value at the float `step` by the functions of `xp`."""

    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """Returns the least and the greatest value, which it may approach without taking it."""

    def to_json(self) -> dict[str, Any]:
        """Returns {"schedule": name, ...fields}; `from_json` is the inverse."""
        return SCHEDULES.encode(self)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value at every step."""

    value: float

    def __post_init__(self):
        object.__setattr__(self, "value", arguments.real("constant", "value", self.value))

    def at(self, step: Any, xp: Any) -> Any:
        return self.value + 0.0 * step

    def bounds(self) -> tuple[float, float]:
        return self.value, self.value


@dataclass(frozen=True)
class Cosine(Schedule):
    """From `initial` at step 0 to `final` at step `steps` and after (Loshchilov and Hutter, 2017).

    final + (initial - final) (1 + cos(pi min(step, steps) / steps)) / 2. `final` may be the
    larger one: the decay of a target often rises to 1.
    """

    initial: float
    steps: int
    final: float = 0.0

    def __post_init__(self):
        steps = arguments.integer("cosine", "steps", self.steps, "how long it lasts")
        object.__setattr__(self, "initial", arguments.real("cosine", "initial", self.initial))
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "final", arguments.real("cosine", "final", self.final))

    def at(self, step: Any, xp: Any) -> Any:
        done = xp.clip(step / self.steps, 0.0, 1.0)
        return self.final + (self.initial - self.final) * 0.5 * (1.0 + xp.cos(math.pi * done))

    def bounds(self) -> tuple[float, float]:
        return min(self.initial, self.final), max(self.initial, self.final)


@dataclass(frozen=True)
class Warmup(Schedule):
    """Linear up to `peak` at step `steps`, then `then`, whose own step 0 that is.

    peak (step + 1) / (steps + 1) before: never 0, so that the first update moves. Without `then`
    it stays at `peak`.
    """

    peak: float
    steps: int
    then: Schedule | None = None

    def __post_init__(self):
        steps = arguments.integer("warmup", "steps", self.steps, "how long it lasts")
        object.__setattr__(self, "peak", arguments.real("warmup", "peak", self.peak))
        object.__setattr__(self, "steps", steps)
        if self.then is not None and not isinstance(self.then, Schedule):
            raise SpecError(
                f"{user_line()}warmup: then must be a schedule or None; received {self.then!r}. "
                "Fix: pass, say, then=cosine(1e-3, 1000)."
            )

    def at(self, step: Any, xp: Any) -> Any:
        rising = self.peak * (step + 1.0) / (self.steps + 1.0)
        return xp.where(step < self.steps, rising, self._after.at(step - self.steps, xp))

    @property
    def _after(self) -> Schedule:
        return Constant(self.peak) if self.then is None else self.then

    def bounds(self) -> tuple[float, float]:
        first = self.peak / (self.steps + 1.0)
        least, greatest = self._after.bounds()
        return min(first, self.peak, least), max(first, self.peak, greatest)


constant = SCHEDULES.register(Constant, "constant")
cosine = SCHEDULES.register(Cosine, "cosine")
warmup = SCHEDULES.register(Warmup, "warmup")


def value(schedule: Schedule | float, step: Any, xp: Any = None) -> Any:
    """Returns the schedule's value at `step`, counted from 0; a number is a constant schedule.

    Without `xp` the step is an integer on the host and the value a Python float. With `xp`, a
    namespace of the array API such as `jax.numpy`, the step may be a traced integer, and the
    value is an array of shape () of the namespace's default floating type.
    """
    formula = schedule if isinstance(schedule, Schedule) else Constant(schedule)
    if xp is None:
        return float(formula.at(np.float64(step), np))
    return formula.at(xp.asarray(step, dtype=float), xp)


def scheduled(owner: str, name: str, number: object, range: arguments.Range) -> Schedule | float:
    """Returns a schedule whose bounds are in `range`, or a finite float in it; or SpecError."""
    if not isinstance(number, Schedule):
        return arguments.real(owner, name, number, range)
    if not all(map(range.holds, number.bounds())):
        low, high = number.bounds()
        raise SpecError(
            f"{user_line()}{owner}: {name} must be {range.words} at every step; received a "
            f"schedule from {low} to {high}. Fix: give its ends values in that range."
        )
    return number


def from_json(data: object) -> Schedule:
    """Returns the schedule whose `to_json` gave `data`."""
    return SCHEDULES.decode(data)
