"""What the loop words, the collector and the measures ask of an environment.

Conventions that every environment keeps:

- A *state* is hashable and complete: two equal states have the same frame, pose, place and future.
- The pose is (x, y, heading): x and y in cells, in right-handed axes (x to the right, y up);
  the heading in radians, counterclockwise, 0 along x. A left turn adds to the heading.
- An environment never ends an episode. Whoever drives it decides how long an episode is.

What only some environments can say stands in protocols of one method each: `Invertible`,
`Described`, `Started`, `Stochastic`, `Labelled`; an environment whose steps are random without
known probabilities has an attribute `random = True`. `latentroles.testing.environment_laws` checks
all of it but labels, whose form is checked where they are collected.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from latentroles.errors import LatentrolesError


class WordError(LatentrolesError):
    """A word, a state or an environment that no loop word can be made of."""


class TooManyStates(WordError):
    """An environment with more states than were to be listed."""


class Environment(Protocol):
    """An environment with finitely many actions and a declared place map.

    `name` and `parameters` (JSON values) say which environment it is: with a seed they repeat a
    collection exactly. `actions` holds one name for each action; an action is an index into it.
    """

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...

    @property
    def actions(self) -> tuple[str, ...]: ...

    def reset(self, seed: int) -> Hashable:
        """Starts an episode at a state that depends on the seed alone, and returns that state."""
        ...

    def step(self, action: int) -> Hashable:
        """Takes one action and returns the state it leads to (the same one if blocked)."""
        ...

    def state(self) -> Hashable:
        """The present state."""
        ...

    def restore(self, state: Any) -> None:
        """Returns to a state that `reset` or `step` gave; random movers then move anew."""
        ...

    def frame(self) -> np.ndarray:
        """The observation at the present state: one shape, channels first, uint8 or float."""
        ...

    def pose(self) -> tuple[float, float, float]:
        """(x, y, heading) of the agent at the present state, in cells and radians."""
        ...

    def place(self, state: Any) -> tuple[int, ...]:
        """The declared place of a state: integers, as many for every state."""
        ...


@runtime_checkable
class Invertible(Protocol):
    """An environment that knows which moves can be taken back."""

    def inverse(self, state: Any, action: int) -> int | None:
        """The action that returns to `state` from where `action` leads, exactly; None without one.

        A blocked move has none: its opposite would lead away. An action that changes nothing
        anywhere is its own.
        """
        ...


@runtime_checkable
class Described(Protocol):
    """An environment that names what of a state is nuisance, so that a measure can split by it."""

    def nuisance(self, state: Any) -> Mapping[str, Hashable]:
        """What of a state is not its place, by name; as far as possible the names of its fields."""
        ...


@runtime_checkable
class Started(Protocol):
    """An environment that can list where its episodes start."""

    def starts(self) -> Iterable[Hashable]:
        """Every state that `reset` can return."""
        ...


@runtime_checkable
class Stochastic(Protocol):
    """An environment whose steps are random, with known probabilities."""

    def kernel(self, state: Any, action: int) -> Mapping[Any, float]:
        """Where `action` leads, each state with its probability; they sum to one."""
        ...


@runtime_checkable
class Labelled(Protocol):
    """An environment that knows more of a state than its place: what a picture shows, say."""

    def labels(self, state: Any) -> Mapping[str, Any]:
        """By name a number, or an array of numbers, of one form for every state.

        They become columns of a trajectory file. The column `group` says which episodes belong
        together: a split never puts them on both sides.
        """
        ...


def is_random(environment: Environment) -> bool:
    """Whether a word may lead to one state or to another.

    So it is where there is a `kernel`, and where an environment has an attribute `random` that is
    true, because its probabilities are not known.
    """
    return isinstance(environment, Stochastic) or bool(getattr(environment, "random", False))
