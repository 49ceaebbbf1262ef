"""Stepping and turning in a plane: the group Z^2 x| C4, on a torus or without end.

The plane is painted with a colour for each cell, and seen in first person.
"""

from typing import NamedTuple

import numpy as np

from .simulated import HEADINGS, Simulated, checked_action, drawn, natural, within

LEFT, RIGHT, FORWARD, BACK = range(4)
VIEW = 5  # cells: the agent stands in the middle of the bottom row and looks up
_AHEAD = ((1, 0), (0, 1), (-1, 0), (0, -1))  # after 0 to 3 quarter turns to the left


class State(NamedTuple):
    """Cell and heading, in quarter turns to the left; 0 looks along x."""

    x: int
    y: int
    turns: int


class Plane(Simulated):
    """Made by `plane`. An element of the group is what a word does, seen from where it starts."""

    def __init__(self, size: int | None, heading: bool):
        self.size, self.heading = size, heading
        parameters = {"size": size, "heading": heading}
        super().__init__("plane", parameters, ("left", "right", "forward", "back"))

    def starts(self) -> list[State]:
        """The origin, in each heading."""
        return [State(0, 0, turns) for turns in range(4)]

    def begin(self, rng: np.random.Generator) -> State:
        return drawn(rng, self.starts())

    def move(self, state: State, action: int) -> State:
        """A quarter turn, or a step along the heading or against it."""
        x, y, turns = state
        if action in (LEFT, RIGHT):
            return State(x, y, (turns + (1 if action == LEFT else -1)) % 4)
        sign = 1 if action == FORWARD else -1
        dx, dy = _AHEAD[turns]
        x, y = x + sign * dx, y + sign * dy
        return State(x % self.size, y % self.size, turns) if self.size else State(x, y, turns)

    def inverse(self, state: State, action: int) -> int:
        """The other turn, or the other step: nothing is in the way."""
        return (RIGHT, LEFT, BACK, FORWARD)[checked_action(self, action)]

    def place(self, state: State) -> tuple[int, ...]:
        """(x, y), and the heading where the plane was made with `heading=True`."""
        return tuple(state) if self.heading else tuple(state[:2])

    def nuisance(self, state: State) -> dict[str, int]:
        """The heading, as turns, where it is no part of the place."""
        return {} if self.heading else {"turns": state.turns}

    def stands(self, state: State) -> tuple[float, float, float]:
        return float(state.x), float(state.y), HEADINGS[state.turns]

    def picture(self, state: State) -> np.ndarray:
        """The cells ahead, uint8 (3, 5, 5): a pixel for each."""
        far, aside = np.mgrid[VIEW - 1 : -1 : -1, -(VIEW // 2) : VIEW // 2 + 1]
        dx, dy = _AHEAD[state.turns]
        x, y = state.x + far * dx + aside * dy, state.y + far * dy - aside * dx
        if self.size:
            x, y = x % self.size, y % self.size
        return _painted(x, y)

    def valid(self, state: State) -> bool:
        reach = (self.size, 0) if self.size else (2**31, -(2**31))
        return within(state.x, *reach) and within(state.y, *reach) and within(state.turns, 4)


def _painted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Three pseudo-random bytes for each cell, (3,) + x.shape: a multiplicative hash."""
    bits = x.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits ^= y.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(0x165667B19E3779F9)
    bits ^= bits >> np.uint64(29)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    return np.stack([bits >> np.uint64(shift) for shift in (56, 48, 40)]).astype(np.uint8)


def plane(*, size: int | None = 6, heading: bool = False) -> Plane:
    """The plane, with the actions left, right, forward and back.

    Args:
        size: of the torus, in cells, at least 2; None for a plane without end, whose states
            cannot be listed (loops then close by inverses).
        heading: whether the heading is part of a place.

    Raises:
        DataError: a size below 2.
    """
    return Plane(None if size is None else natural("plane: size", size, 2), bool(heading))
