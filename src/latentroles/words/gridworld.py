"""A grid of cells with walls, or a torus: one step east, north, west or south."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from latentroles.errors import DataError

from .simulated import Simulated, checked_action, drawn, natural, one_hot, within

EAST, NORTH, WEST, SOUTH, NOOP = range(5)
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1), (0, 0))
_ROOMS = ("...#...", "...#...", ".......", "...#...", "##.####", "...#...", "...#...", ".......")


class State(NamedTuple):
    """The cell of the agent: x to the right, y up, (0, 0) at the lower left."""

    x: int
    y: int


class Gridworld(Simulated):
    """Made by `gridworld`. The state is the place: there is no nuisance."""

    def __init__(self, free: np.ndarray, open: bool, noop: bool, pixels: bool):
        """Arguments: `free`, (width, height) bool, indexed by x and y (up); the rest as in
        `gridworld`."""
        self.free, self.open, self.pixels = free, open, pixels
        self._cells = [State(int(x), int(y)) for x, y in np.argwhere(free)]
        rows = ["".join(".#"[not cell] for cell in row) for row in free.T[::-1]]
        parameters = {"layout": rows, "open": open, "noop": noop, "pixels": pixels}
        names = ("east", "north", "west", "south", "noop")[: 4 + noop]
        super().__init__("gridworld", parameters, names)

    def starts(self) -> list[State]:
        """Every free cell."""
        return self._cells

    def begin(self, rng: np.random.Generator) -> State:
        return drawn(rng, self.starts())

    def move(self, state: State, action: int) -> State:
        """One cell on, unless a wall or the edge is in the way."""
        width, height = self.free.shape
        x, y = state.x + _STEPS[action][0], state.y + _STEPS[action][1]
        if self.open:
            x, y = x % width, y % height
        free = 0 <= x < width and 0 <= y < height and self.free[x, y]
        return State(x, y) if free else state

    def inverse(self, state: State, action: int) -> int | None:
        """The opposite direction, unless the move is blocked."""
        if checked_action(self, action) == NOOP:
            return NOOP
        return None if self.move(state, action) == state else (action + 2) % 4

    def place(self, state: State) -> tuple[int, ...]:
        """(x, y)"""
        return tuple(state)

    def nuisance(self, state: State) -> dict[str, int]:
        """None."""
        return {}

    def stands(self, state: State) -> tuple[float, float, float]:
        return float(state.x), float(state.y), 0.0

    def picture(self, state: State) -> np.ndarray:
        """One-hot float32 (free cells,); or pixels, uint8 (3, 4 height, 4 width), walls grey."""
        if not self.pixels:
            return one_hot(self._cells.index(state), len(self._cells))
        rows = np.where(self.free, 0, 110).astype(np.uint8)
        rows[state] = 255
        return np.tile(np.kron(rows.T[::-1], np.ones((4, 4), np.uint8)), (3, 1, 1))

    def valid(self, state: State) -> bool:
        width, height = self.free.shape
        return within(state.x, width) and within(state.y, height) and bool(self.free[state])


def gridworld(
    *,
    layout: Sequence[str] | tuple[int, int] = _ROOMS,
    open: bool = False,
    noop: bool = False,
    pixels: bool = False,
) -> Gridworld:
    """A grid with the actions east, north, west, south and, where asked for, noop.

    Args:
        layout: rows of text from the top, "." a free cell and "#" a wall; or (width, height).
        open: the edges are joined (without walls: the group Z^2, modulo width and height).
        pixels: frames are pictures, uint8 (3, 4 height, 4 width); else one-hot, float32.

    Raises:
        DataError: rows of unequal length, another letter, or fewer than two free cells.
    """
    if len(layout) == 2 and not isinstance(layout[0], str):
        width, height = (natural("gridworld: a side of the layout", n, 1) for n in layout)
        layout = ["." * width] * height
    rows = [str(row) for row in layout]
    if len({len(row) for row in rows}) != 1 or not set("".join(rows)) <= {".", "#"}:
        raise DataError(
            'gridworld: a layout is rows of equal length, of "." (free) and "#" (wall), or (width, '
            f"height); got {layout!r}."
        )
    free = np.array([[cell == "." for cell in row] for row in rows])[::-1].T
    if free.sum() < 2:
        raise DataError(f"gridworld: a layout has at least two free cells; got {layout!r}.")
    return Gridworld(free, bool(open), bool(noop), bool(pixels))
