"""A corridor: cells in a row between walls, or in a ring.

Nuisances, each of them optional: the velocity of an agent with momentum, the last action on
screen, and the phase of an animation that advances with every step.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from latentroles.errors import DataError

from .simulated import Simulated, checked_action, drawn, natural, one_hot, within

LEFT, RIGHT, NOOP = range(3)
NONE = -1  # the last action before the first, or where it is not part of the state
_COLOURS = np.array([[230, 60, 60], [60, 200, 90], [70, 110, 240], [90, 90, 90]], np.uint8)


class State(NamedTuple):
    """Where the agent is, and the nuisances: those that the corridor lacks stay as here."""

    cell: int
    velocity: int = 0
    last: int = NONE
    phase: int = 0


class Corridor(Simulated):
    """Made by `corridor`. The place is the cell."""

    def __init__(
        self,
        cells: int,
        open: bool,
        noop: bool,
        momentum: bool,
        last: bool,
        phases: int,
        pixels: bool,
    ):
        self.cells, self.open, self.momentum = cells, open, momentum
        self.last, self.phases, self.pixels = last, phases, pixels
        parameters = {
            "cells": cells,
            "open": open,
            "noop": noop,
            "momentum": momentum,
            "last_action": last,
            "phases": phases,
            "pixels": pixels,
        }
        super().__init__("corridor", parameters, ("left", "right", "noop")[: 2 + noop])

    def starts(self) -> list[State]:
        """At rest in each cell, before the first action."""
        return [
            State(cell, phase=phase) for cell in range(self.cells) for phase in range(self.phases)
        ]

    def begin(self, rng: np.random.Generator) -> State:
        return drawn(rng, self.starts())

    def move(self, state: State, action: int) -> State:
        """One cell on; with momentum an action changes the velocity, and a wall stops it."""
        push = (-1, 1, 0)[action]
        velocity = min(1, max(-1, state.velocity + push)) if self.momentum else push
        cell = state.cell + velocity
        if self.open:
            cell %= self.cells
        elif not 0 <= cell < self.cells:
            cell, velocity = state.cell, 0
        return State(
            cell,
            velocity if self.momentum else 0,
            action if self.last else NONE,
            (state.phase + 1) % self.phases,
        )

    def inverse(self, state: State, action: int) -> int | None:
        """The opposite action where it returns exactly: nuisances count."""
        opposite = (RIGHT, LEFT, NOOP)[checked_action(self, action)]
        after = self.move(state, action)
        if after == state:
            changes = self.momentum or self.last or self.phases > 1
            return NOOP if action == NOOP and not changes else None
        return opposite if self.move(after, opposite) == state else None

    def place(self, state: State) -> tuple[int, ...]:
        """(cell,)"""
        return (state.cell,)

    def nuisance(self, state: State) -> Mapping[str, int]:
        """velocity, last and phase, those that this corridor has."""
        has = {"velocity": self.momentum, "last": self.last, "phase": self.phases > 1}
        return {name: getattr(state, name) for name, present in has.items() if present}

    def stands(self, state: State) -> tuple[float, float, float]:
        return float(state.cell), 0.0, 0.0

    def picture(self, state: State) -> np.ndarray:
        """One-hot float32 (k,), of the cell and each nuisance; or pixels, uint8 (3, 8, 4 cells)."""
        shown = [one_hot(state.cell, self.cells)]
        if self.momentum:
            shown.append(one_hot(state.velocity + 1, 3))
        if self.last:
            shown.append(one_hot(state.last + 1, len(self.actions) + 1))
        if self.phases > 1:
            shown.append(one_hot(state.phase, self.phases))
        return self._drawn(state) if self.pixels else np.concatenate(shown)

    def _drawn(self, state: State) -> np.ndarray:
        """The agent in the upper half; below, side by side, a colour for each nuisance."""
        frame = np.zeros((3, 8, 4 * self.cells), np.uint8)
        frame[:, :4, 4 * state.cell : 4 * state.cell + 4] = 255
        frame[:, 4:, :2] = _COLOURS[state.velocity][:, None, None]
        frame[:, 4:, 2:4] = _COLOURS[state.last][:, None, None]
        frame[:, 4:, 4:6] = 255 * state.phase // self.phases
        return frame

    def valid(self, state: State) -> bool:
        speed = self.momentum and within(state.velocity, 2, -1)
        acted = self.last and within(state.last, len(self.actions), NONE)
        return (
            within(state.cell, self.cells)
            and (speed or state.velocity == 0)
            and (acted or state.last == NONE)
            and within(state.phase, self.phases)
        )


class SlipperyCorridor(Corridor):
    """A corridor in which an action is lost with probability `slip`: the agent stays."""

    def __init__(self, slip: float, *arguments: bool):
        self.slip = slip
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.parameters["slip"] = slip

    def step(self, action: int) -> State:
        """Takes an action, which is lost with probability `slip`."""
        lost = self._random.random() < self.slip
        action = checked_action(self, action)
        self._state = self._stay(self._state) if lost else self.move(self._state, action)
        return self._state

    def kernel(self, state: State, action: int) -> Mapping[State, float]:
        """Where `action` leads, with probabilities."""
        found = {self.move(state, checked_action(self, action)): 1.0 - self.slip}
        stay = self._stay(state)
        return {**found, stay: found.get(stay, 0.0) + self.slip}

    def inverse(self, state: State, action: int) -> int | None:
        """None: nothing is sure to return."""
        return None

    def _stay(self, state: State) -> State:
        """A lost action is neither felt nor seen; only the animation goes on."""
        return state._replace(velocity=0, phase=(state.phase + 1) % self.phases)


def corridor(
    *,
    cells: int = 9,
    open: bool = False,
    noop: bool = False,
    momentum: bool = False,
    last_action: bool = False,
    phases: int = 1,
    slip: float = 0.0,
    pixels: bool = False,
) -> Corridor:
    """A corridor with the actions left, right and, where asked for, noop.

    Args:
        cells: how many, at least 2.
        open: a ring, without walls (the group Z of n); else a wall blocks at both ends.
        momentum: left and right change the velocity (-1, 0 or 1 cells in a step).
        last_action: the frame shows the last action.
        phases: length in steps of an animation that the frame shows; 1 for none.
        slip: the probability, below 1, that an action is lost.
        pixels: frames are small pictures, uint8 (3, 8, 4 cells); else one-hot, float32 (k,).

    Raises:
        DataError: an argument out of its range.
    """
    cells, phases = natural("corridor: cells", cells, 2), natural("corridor: phases", phases, 1)
    flags = (bool(open), bool(noop), bool(momentum), bool(last_action), phases, bool(pixels))
    try:
        probability = float(slip)
    except (TypeError, ValueError):
        probability = -1.0
    if not 0 <= probability < 1:
        raise DataError(f"corridor: slip is a probability below 1; got {slip!r}.")
    if probability:
        return SlipperyCorridor(probability, cells, *flags)  # type: ignore[arg-type]
    return Corridor(cells, *flags)
