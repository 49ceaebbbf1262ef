"""What the loop words, the collector and the measures ask of an environment.

Conventions that every environment keeps:

- A *state* is hashable and complete: two equal states have the same frame, pose and place.
- The pose is (x, y, heading): x and y in cells, in right-handed axes (x to the right, y up);
  the heading in radians, counterclockwise, 0 along x. A left turn adds to the heading.
- An environment never ends an episode. Whoever drives it decides how long an episode is.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import numpy as np


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
