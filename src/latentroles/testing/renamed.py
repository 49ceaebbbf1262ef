"""An environment under other names: what is found out about it must not depend on them."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from ..words.environment import Environment
from ..words.transitions import starts


class Renamed:
    """`environment` with its states as ("renamed", state) and its actions in another order.

    `order[i]` is the action that is number i here. It starts where the other one starts, but lists
    its starts in the opposite order.
    """

    def __init__(self, environment: Environment, order: Iterable[int]):
        self.environment = environment
        self.order = tuple(order)
        self.name = f"renamed {environment.name}"
        self.parameters: Mapping[str, Any] = dict(environment.parameters)
        self.actions = tuple(environment.actions[action] for action in self.order)

    def starts(self) -> list[Hashable]:
        return [_renamed(state) for state in starts(self.environment)][::-1]

    def reset(self, seed: int) -> Hashable:
        return _renamed(self.environment.reset(seed))

    def step(self, action: int) -> Hashable:
        return _renamed(self.environment.step(self.order[action]))

    def state(self) -> Hashable:
        return _renamed(self.environment.state())

    def restore(self, state: Any) -> None:
        self.environment.restore(state[1])

    def frame(self) -> np.ndarray:
        return self.environment.frame()

    def pose(self) -> tuple[float, float, float]:
        return self.environment.pose()

    def place(self, state: Any) -> tuple[int, ...]:
        return self.environment.place(state[1])


def _renamed(state: Hashable) -> Hashable:
    return ("renamed", state)
