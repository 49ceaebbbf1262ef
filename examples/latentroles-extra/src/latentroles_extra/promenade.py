"""An environment of our own: benches round a pond, and a lantern that changes how they look."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

LEFT, RIGHT, LANTERN = range(3)


class State(NamedTuple):
    """The bench where the walker stands, counted to the right, and whether the lantern is lit."""

    bench: int
    lit: bool


class Promenade:
    """Made by `promenade`: the protocol of `latentroles.words.environment`, and nothing more."""

    name = "promenade"
    actions = ("left", "right", "lantern")

    def __init__(self, benches: int):
        self.benches = benches
        self.parameters: Mapping[str, int] = {"benches": benches}
        self._state = State(0, True)

    def reset(self, seed: int) -> State:
        """Starts at a bench that depends on the seed, by lantern light."""
        self._state = State(int(np.random.default_rng(seed).integers(self.benches)), True)
        return self._state

    def starts(self) -> Iterator[State]:
        return (State(bench, True) for bench in range(self.benches))

    def step(self, action: int) -> State:
        bench, lit = self._state
        if action == LANTERN:
            self._state = State(bench, not lit)
        else:
            self._state = State((bench + (1 if action == RIGHT else -1)) % self.benches, lit)
        return self._state

    def state(self) -> State:
        return self._state

    def restore(self, state: State) -> None:
        self._state = State(*state)

    def frame(self) -> np.ndarray:
        """(benches,) float32: 1 for the bench that is seen, 0.4 in the dark."""
        bench, lit = self._state
        return (np.arange(self.benches) == bench) * np.float32(1.0 if lit else 0.4)

    def pose(self) -> tuple[float, float, float]:
        """(x, y, heading): the walker looks at the pond, one cell away."""
        angle = -2 * math.pi * self._state.bench / self.benches
        return math.cos(angle), math.sin(angle), math.remainder(angle + math.pi, 2 * math.pi)

    def place(self, state: State) -> tuple[int]:
        return (state.bench,)

    def nuisance(self, state: State) -> Mapping[str, bool]:
        return {"lit": state.lit}

    def inverse(self, state: State, action: int) -> int:
        """Nothing is ever in the way."""
        return (RIGHT, LEFT, LANTERN)[action]


def promenade(*, benches: int = 6) -> Promenade:
    """A ring of so many benches, at least three."""
    if benches < 3:
        raise ValueError(f"a promenade has at least 3 benches, got {benches}")
    return Promenade(benches)
