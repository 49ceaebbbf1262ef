"""The transition graph of a finite environment: what its resets reach, as arrays."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from latentroles.errors import user_line

from .components import components
from .environment import Environment, Started, TooManyStates, WordError, is_random
from .word import Word, spell

LIMIT = 20_000  # states
_SEEDS = 8  # resets that are tried where an environment does not list its starts


@dataclass(frozen=True, eq=False)
class Transitions:
    """The states that resets and words reach, and where each action leads. Made by `explore`.

    A state is *recurrent* where every word from it can be undone by another: it lies in a strongly
    connected component that no word leaves. The others are *transient*: loop words are not made
    from them.

    Attributes:
        environment: where frames are read.
        states: S states, those at the start first, then by distance from them.
        after: (S, A) int: the index of the state that an action leads to.
        place: (S,) int: which of the places, numbered in the order of the states.
        parent: (S,) int: from which state each was found first, -1 at the start.
    """

    environment: Environment
    states: tuple[Hashable, ...]
    after: np.ndarray
    place: np.ndarray
    parent: np.ndarray

    @cached_property
    def _indices(self) -> dict[Hashable, int]:
        return {state: index for index, state in enumerate(self.states)}

    @cached_property
    def component(self) -> np.ndarray:
        """(S,) int: the strongly connected component of each state."""
        return components(self.after)

    @cached_property
    def recurrent(self) -> np.ndarray:
        """(S,) bool: the states from which every word can be closed."""
        leaves = (self.component[self.after] != self.component[:, None]).any(axis=1)
        return ~np.isin(self.component, self.component[leaves])

    @cached_property
    def view(self) -> np.ndarray:
        """(S,) int: the alias class of each state: those with equal frames share a number."""
        seen: dict[Hashable, int] = {}
        numbers = []
        for state in self.states:
            self.environment.restore(state)
            frame = np.asarray(self.environment.frame())
            key = (frame.shape, frame.dtype.str, frame.tobytes())
            numbers.append(seen.setdefault(key, len(seen)))
        return np.array(numbers)

    def index(self, state: Any) -> int:
        """The number of a state.

        Raises:
            WordError: no reset reaches it.
        """
        try:
            return self._indices[state]
        except (KeyError, TypeError):
            raise WordError(
                f"{user_line()}{state!r} is not among the {len(self.states)} states of "
                f"{self.environment.name} that its resets reach, such as {self.states[0]!r}."
            ) from None

    def same_place(self, index: int) -> np.ndarray:
        """(S,) bool: the states at the place of a state."""
        return self.place == self.place[index]

    def distances(self, targets: np.ndarray) -> np.ndarray:
        """(S,) int: how many actions away the nearest target is; -1 where none can be reached.

        Args:
            targets: (S,) bool.
        """
        found = np.where(targets, 0, -1)
        step = 0
        while True:
            step += 1
            nearer = (found[self.after] == step - 1).any(axis=1) & (found < 0)
            if not nearer.any():
                return found
            found[nearer] = step

    def path(self, source: int, targets: np.ndarray) -> Word | None:
        """A shortest word from a state to one of the targets, (S,) bool; None without one."""
        distance = self.distances(targets)
        if distance[source] < 0:
            return None
        letters = []
        while distance[source] > 0:
            ahead = distance[self.after[source]]
            letters.append(int(np.flatnonzero(ahead == distance[source] - 1)[0]))
            source = int(self.after[source, letters[-1]])
        return tuple(letters)

    def access(self, index: int) -> tuple[Hashable, Word]:
        """A start, and a shortest word from it to a state."""
        letters = []
        while self.parent[index] >= 0:
            before = int(self.parent[index])
            letters.append(int(np.flatnonzero(self.after[before] == index)[0]))
            index = before
        return self.states[index], tuple(letters[::-1])


def explore(environment: Environment, *, limit: int = LIMIT) -> Transitions:
    """Finds every state that words lead to from where episodes start.

    Each step is taken twice, so that an environment whose steps are random is noticed.

    Args:
        limit: the most states to find.

    Raises:
        TooManyStates: there are more.
        WordError: the steps are random, or the states leave something out.
    """
    if is_random(environment):
        raise _random(environment, "it says so")
    states = list(dict.fromkeys(starts(environment)))
    indices = {state: index for index, state in enumerate(states)}
    parent = [-1] * len(states)
    after: list[list[int]] = []
    while len(after) < len(states):
        if len(states) > limit:
            raise TooManyStates(
                f"{user_line()}{environment.name} has more than {limit} states. Fix: raise "
                "`limit`, make the environment smaller, or close words by their inverses: "
                "`close(environment, state, word)`."
            )
        state, row = states[len(after)], []
        for action in range(len(environment.actions)):
            environment.restore(state)
            following = environment.step(action)
            environment.restore(state)
            again = environment.step(action)
            if following != again:
                what = f"{spell(environment, [action])} led from {state!r} to {following!r}"
                raise _random(environment, f"{what} and then to {again!r}")
            if following not in indices:
                indices[following] = len(states)
                states.append(following)
                parent.append(len(after))
            row.append(indices[following])
        after.append(row)
    numbers: dict[tuple[int, ...], int] = {}
    place = [numbers.setdefault(tuple(environment.place(s)), len(numbers)) for s in states]
    return Transitions(
        environment, tuple(states), np.array(after), np.array(place), np.array(parent)
    )


def starts(environment: Environment) -> Iterable[Hashable]:
    """Where episodes start: every state where the environment lists them, else some of them."""
    if isinstance(environment, Started):
        return environment.starts()
    return [environment.reset(seed) for seed in range(_SEEDS)]


def _random(environment: Environment, why: str) -> WordError:
    return WordError(
        f"{user_line()}the steps of {environment.name} are random: {why}. A word then leads to no "
        "one state, and nothing is sure to close. Fix: if the state leaves something out, put it "
        "in; if steps are meant to be random, look for returns in walks: "
        "`latentroles.words.loops.returns`."
    )
