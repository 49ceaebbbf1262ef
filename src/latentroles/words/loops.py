"""Loop words: closing a word, and sampling words that close.

In a finite environment, `Loops` counts the words of each length that lead from a state back to
it, or to its place, and draws from all of them alike. Where the states are too many to list,
`loops_by_inverse` goes out, round and back; where steps are random, `returns` looks for loops in
walks. Every word that is handed out has been run.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentroles.errors import user_line

from .environment import Environment, WordError
from .simulated import natural
from .transitions import Transitions
from .word import Word, end, inverse, is_place_loop, is_state_loop, spell


def close(
    environment: Environment,
    state: Any,
    word: Word,
    *,
    transitions: Transitions | None = None,
    place: bool = False,
) -> Word:
    """A word that leads back from where `word` leads to: `word + close(...)` is a loop.

    Args:
        transitions: of the environment: the shortest such word. Without them, the word's inverse.
        place: closes a place loop, which may be shorter; only with `transitions`.

    Raises:
        WordError: the state is transient, or a move of the word cannot be taken back.
    """
    if transitions is not None:
        source = recurrent(transitions, state)
        there = transitions.index(end(environment, state, word))
        only = np.arange(len(transitions.states)) == source
        found = transitions.path(there, transitions.same_place(source) if place else only)
    else:
        found = inverse(environment, state, word)
    if found is None:
        raise WordError(
            f"{user_line()}{environment.name}: {spell(environment, word)} cannot be taken back "
            f"from {state!r}: a move is blocked or has no inverse. Fix: pass "
            "`transitions=explore(environment)`, and the shortest way back is taken."
        )
    return found


def recurrent(transitions: Transitions, state: Any) -> int:
    """The index of a state, if every word from it can be closed.

    Raises:
        WordError: the state is transient; the message has a shortest word of no return.
    """
    index = transitions.index(state)
    if not transitions.recurrent[index]:
        away = transitions.path(index, transitions.component != transitions.component[index])
        word = spell(transitions.environment, away or ())
        where = transitions.states[int(np.flatnonzero(transitions.recurrent)[0])]
        raise WordError(
            f"{user_line()}{state!r} is a transient state of {transitions.environment.name}: after "
            f"{word} nothing leads back to it. Fix: take a recurrent state, such as {where!r}."
        )
    return index


class Loops:
    """The loop words of at most `max_length` letters from one state, without the empty one.

    `lengths` holds the lengths that there are. ways[k, node] is proportional to the number of ways
    to end in k more steps; a node is a state, or, without back-tracking, a state and the step
    that led to it.
    """

    def __init__(
        self,
        transitions: Transitions,
        state: Any,
        *,
        max_length: int = 12,
        place: bool = False,
        backtracking: bool = True,
    ):
        """Counts them.

        Args:
            place: loops that return to the place; else to the state.
            backtracking: whether a step may be followed by one that undoes it. Without it, what is
                left are the loops that go round something.

        Raises:
            WordError: the state is transient, or unknown.
        """
        max_length = natural("max_length", max_length, 1)
        self.transitions, self.place, self.state = transitions, place, state
        self.source = recurrent(transitions, state)
        states = np.arange(len(transitions.states))
        targets = transitions.same_place(self.source) if place else states == self.source
        self.successors, at = transitions.after, states
        if not backtracking:
            self.successors, at = _steps(transitions.after)
        allowed = self.successors >= 0
        self.ways = np.zeros((max_length + 1, len(at)))
        self.ways[0] = targets[at]
        for k in range(max_length):
            ways = np.where(allowed, self.ways[k][self.successors], 0).sum(axis=1)
            self.ways[k + 1] = ways / (ways.max() or 1.0)
        reaches = self.ways > 0
        self._home = np.where(reaches.any(axis=0), reaches.argmax(axis=0), max_length + 1)
        lengths = range(1, max_length + 1)
        self.lengths = tuple(k for k in lengths if self.ways[k, self.source] > 0)

    def home(self, node: int) -> int:
        """How few steps lead from a node to the end of a loop; `max_length` + 1 if more do."""
        return int(self._home[node]) if node >= 0 else len(self.ways)

    def __iter__(self) -> Iterator[Word]:
        """Every one of the words, the shortest first. They are not run."""
        for length in self.lengths:
            open_: list[tuple[Word, int]] = [((), self.source)]
            while open_:
                word, node = open_.pop()
                if len(word) == length:
                    yield word
                    continue
                closing = self.ways[length - len(word) - 1] > 0
                for letter in reversed(range(self.successors.shape[1])):
                    there = int(self.successors[node, letter])
                    if there >= 0 and closing[there]:
                        open_.append(((*word, letter), there))

    def sample(self, rng: np.random.Generator, count: int) -> list[Word]:
        """Draws words: their lengths uniformly, and each uniformly among those of its length.

        Raises:
            WordError: there is no such loop, or the environment does not close one of them.
        """
        if not self.lengths:
            raise WordError(
                f"{user_line()}{self.transitions.environment.name}: no loop word of at most "
                f"{len(self.ways) - 1} letters starts at {self.state!r}. Fix: raise `max_length`."
            )
        drawn = rng.choice(self.lengths, size=count)
        words: list[Word] = [()] * count
        for length in np.unique(drawn):
            which = np.flatnonzero(drawn == length)
            for position, row in zip(which, self._words(rng, len(which), int(length)), strict=True):
                words[position] = tuple(row)
        return verified(self.transitions.environment, self.state, words, place=self.place)

    def _words(self, rng: np.random.Generator, count: int, length: int) -> list[list[int]]:
        node = np.full(count, self.source)
        letters = np.empty((count, length), np.int64)
        for position in range(length):
            ahead = self.successors[node]
            weight = np.where(ahead >= 0, self.ways[length - position - 1][ahead], 0).cumsum(axis=1)
            draw = rng.random((count, 1)) * weight[:, -1:]
            letters[:, position] = (weight <= draw).sum(axis=1)
            node = ahead[np.arange(count), letters[:, position]]
        return letters.tolist()


def _steps(after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The graph of walks that never step straight back: node -> nodes, -1 for what is forbidden.

    The nodes are the S states, for the start, then the S * A steps. The second array says which
    state each node stands at.
    """
    states, actions = after.shape
    source = np.repeat(np.arange(states), actions)
    target = after.ravel()
    at = np.concatenate([np.arange(states), target])
    following = states + at[:, None] * actions + np.arange(actions)
    back = (after[target] == source[:, None]) & (target != source)[:, None]
    following[states:][back] = -1
    return following, at


def verified(
    environment: Environment, state: Any, words: list[Word], *, place: bool = False
) -> list[Word]:
    """The words, each of which has been run and found to close.

    Raises:
        WordError: one does not close; the shortest such is named.
    """
    closes = is_place_loop if place else is_state_loop
    wrong = [word for word in words if not closes(environment, state, word)]
    if wrong:
        word = min(wrong, key=lambda word: (len(word), word))
        raise WordError(
            f"{user_line()}{environment.name}: {spell(environment, word)} from {state!r} leads to "
            f"{end(environment, state, word)!r}, and was to close. The environment has changed "
            "since its transitions were explored, or its states are not complete."
        )
    return words


def order(environment: Environment, state: Any, word: Word, *, limit: int = 400) -> int | None:
    """After how many repetitions a word first returns to its state; None if after none of them."""
    here: Hashable = state
    for times in range(1, limit + 1):
        here = end(environment, here, word)
        if here == state:
            return times
    return None


def loops_by_inverse(
    environment: Environment, state: Any, rng: np.random.Generator, *, reach: int = 6
) -> Iterator[Word]:
    """Draws loop words without end where the states are too many to list, as in a group.

    Each goes out by a random word of at most `reach` letters, repeats another one until it
    closes (or takes it back where that takes too long), and goes back the way it came.

    Raises:
        WordError: a move cannot be taken back.
    """
    while True:
        out, around = (
            tuple(
                rng.integers(len(environment.actions), size=rng.integers(low, reach + 1)).tolist()
            )
            for low in (0, 1)
        )
        there = end(environment, state, out)
        times = order(environment, there, around)
        loop = around * times if times else around + close(environment, there, around)
        word = out + loop + close(environment, state, out)
        yield verified(environment, state, [word])[0]


@dataclass(frozen=True)
class Return:
    """A piece of a walk that came back to its place: `passed` states, one more than letters."""

    word: Word
    passed: tuple[Hashable, ...]


def returns(
    environment: Environment, rng: np.random.Generator, *, steps: int = 200
) -> list[Return]:
    """The place loops in a random walk of so many steps, each from a visit to the next one.

    They happened: where steps are random, running the word again may lead elsewhere.
    """
    first = environment.reset(int(rng.integers(2**31)))
    word = tuple(rng.integers(len(environment.actions), size=natural("steps", steps)).tolist())
    passed = [first, *(environment.step(letter) for letter in word)]
    seen: dict[tuple[int, ...], int] = {}
    found = []
    for now, state in enumerate(passed):
        place = tuple(environment.place(state))
        if place in seen:
            before = seen[place]
            found.append(Return(word[before:now], tuple(passed[before : now + 1])))
        seen[place] = now
    return found
