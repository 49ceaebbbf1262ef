"""Rubik's cube, 2x2x2 or 3x3x3: a group that does not commute.

The state is the colour of each facelet; nothing else is needed where one corner (2x2x2) or the
centres (3x3x3) stay where they are. The permutations follow from geometry: each facelet is a
point and a direction, and a quarter turn rotates those of one layer.
"""

import itertools
from collections import Counter

import numpy as np

from latentroles.errors import DataError

from .simulated import Simulated, checked_action, natural, within

# The faces, by what they look along: right, left, up, down, front, back.
_FACES: dict[str, tuple[int, ...]] = {
    "R": (1, 0, 0),
    "L": (-1, 0, 0),
    "U": (0, 1, 0),
    "D": (0, -1, 0),
    "F": (0, 0, 1),
    "B": (0, 0, -1),
}
_TURNED = {2: "RUF", 3: "RLUDFB"}  # on the small cube the other three move the same pieces
_NET = {"U": (0, 1), "L": (1, 0), "F": (1, 1), "R": (1, 2), "B": (1, 3), "D": (2, 1)}
_COLOURS = np.array(
    [[190, 20, 40], [255, 120, 20], [250, 250, 250], [255, 220, 20], [20, 150, 70], [20, 70, 180]],
    np.uint8,
)
_SCRAMBLE = 40  # random turns

Facelets = list[tuple[tuple[int, ...], tuple[int, ...]]]


class Rubik(Simulated):
    """Made by `rubik`. The state, and the place, is the colour of each facelet, as a tuple."""

    def __init__(self, size: int):
        self.size = size
        facelets = _facelets(size)
        self.solved = tuple(list(_FACES.values()).index(normal) for _, normal in facelets)
        names, self.permutations = [], []
        for face in _TURNED[size]:
            turn = _quarter_turn(facelets, np.array(_FACES[face]), size)
            names += [face, f"{face}'"]
            self.permutations += [turn, tuple(np.argsort(turn).tolist())]
        self._where = _net(facelets, size)
        super().__init__("rubik", {"size": size}, tuple(names))

    def begin(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Scrambled by forty random turns."""
        state = self.solved
        for action in rng.integers(len(self.permutations), size=_SCRAMBLE):
            state = self.move(state, int(action))
        return state

    def move(self, state: tuple[int, ...], action: int) -> tuple[int, ...]:
        """A quarter turn of one face, clockwise, or (with the stroke) counterclockwise."""
        return tuple(state[source] for source in self.permutations[action])

    def inverse(self, state: tuple[int, ...], action: int) -> int:
        """The turn of the same face the other way: every turn can be taken back."""
        return checked_action(self, action) ^ 1

    def place(self, state: tuple[int, ...]) -> tuple[int, ...]:
        """The state."""
        return state

    def nuisance(self, state: tuple[int, ...]) -> dict[str, int]:
        """None."""
        return {}

    def stands(self, state: tuple[int, ...]) -> tuple[float, float, float]:
        """Zeros: a cube has no pose."""
        return 0.0, 0.0, 0.0

    def picture(self, state: tuple[int, ...]) -> np.ndarray:
        """The faces unfolded to a cross, uint8 (3, 3 size, 4 size): a pixel for each facelet."""
        frame = np.zeros((3, 3 * self.size, 4 * self.size), np.uint8)
        frame[:, self._where[:, 0], self._where[:, 1]] = _COLOURS[list(state)].T
        return frame

    def valid(self, state: tuple[int, ...]) -> bool:
        """Whether each colour is there as often as on a solved cube; not whether it is solvable."""
        return all(within(c, 6) for c in state) and Counter(state) == Counter(self.solved)


def _facelets(size: int) -> Facelets:
    """Every facelet, as the place of its cubie and the direction it looks along."""
    line = range(1 - size, size, 2)
    return [
        (point, normal)
        for normal in _FACES.values()
        for point in itertools.product(line, repeat=3)
        if np.dot(point, normal) == size - 1
    ]


def _quarter_turn(facelets: Facelets, axis: np.ndarray, size: int) -> tuple[int, ...]:
    """For each facelet, which one comes there when the layer along `axis` turns clockwise."""

    def turned(vector: tuple[int, ...]) -> tuple[int, ...]:
        """Clockwise, seen from outside: v -> (axis . v) axis - axis x v."""
        return tuple((np.dot(axis, vector) * axis - np.cross(axis, vector)).tolist())

    source = list(range(len(facelets)))
    for i, (point, normal) in enumerate(facelets):
        if np.dot(point, axis) == size - 1:
            source[facelets.index((turned(point), turned(normal)))] = i
    return tuple(source)


def _net(facelets: Facelets, size: int) -> np.ndarray:
    """(facelets, 2): row and column in the unfolded cross."""
    across = {"U": ((0, 0, 1), (1, 0, 0)), "D": ((0, 0, -1), (1, 0, 0))}
    for face, right in {"L": (0, 0, 1), "F": (1, 0, 0), "R": (0, 0, -1), "B": (-1, 0, 0)}.items():
        across[face] = ((0, -1, 0), right)  # what is down and what is right in its square
    named = {normal: face for face, normal in _FACES.items()}
    where = []
    for point, normal in facelets:
        face = named[normal]
        down, right = (int(np.dot(point, axis)) for axis in across[face])
        row, column = _NET[face]
        at = ((down + size - 1) // 2, (right + size - 1) // 2)
        where.append((size * row + at[0], size * column + at[1]))
    return np.array(where)


def rubik(*, size: int = 2) -> Rubik:
    """Rubik's cube, with quarter turns of its faces as actions ("R", "R'", ...).

    Args:
        size: 2 (R, U and F turn; 3,674,160 states) or 3 (all six faces). The states are too many
            to list: loops close by inverses, or by repeating a word.

    Raises:
        DataError: another size.
    """
    if natural("rubik: size", size, 2) not in _TURNED:
        raise DataError(f"rubik: size is 2 or 3; got {size!r}.")
    return Rubik(int(size))
