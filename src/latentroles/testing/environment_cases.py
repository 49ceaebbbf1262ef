"""What the laws of environments are tried on, shortest first, and what says that one is broken."""

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..words.environment import Environment, TooManyStates, is_random
from ..words.transitions import Transitions, explore, starts
from ..words.word import Word, run, spell

BUDGET = 600  # words that are tried one after the other, by length; then come longer random ones
STATES = 200  # of a larger environment, the states that are nearest to its starts
_STARTS, _RANDOM, _LONG = 12, 60, 24
_LISTED = 1500


class BrokenLaw(AssertionError):
    """A law that an environment breaks.

    Attributes:
        law: its name, "E5".
        start, word: the shortest counterexample that was found: run `word` from `start`.
    """

    def __init__(self, law: str, environment: Any, start: Any, word: Word, what: str):
        self.law, self.start, self.word = law, start, word
        super().__init__(
            f"{environment.name} breaks {law}: {what}\n"
            f"  shortest counterexample: {spell(environment, word)}\n"
            f"  from the state: {start!r}\n"
            f"  as indices: {list(word)}"
        )


class Reached(NamedTuple):
    """A state, and a shortest word to it from a start."""

    state: Hashable
    start: Hashable
    word: Word


def broken(law: str, environment: Environment, at: Reached, letters: Word, what: str) -> NoReturn:
    """Says that the law is broken by `letters`, taken at a state."""
    __tracebackhide__ = True
    raise BrokenLaw(law, environment, at.start, at.word + letters, what)


def some_starts(environment: Environment, seed: int = 0) -> list[Hashable]:
    """All the states that episodes start at, or a dozen of them."""
    found = list(dict.fromkeys(starts(environment)))
    if len(found) <= _STARTS:
        return found
    chosen = np.random.default_rng(seed).choice(len(found), _STARTS, replace=False)
    return [found[int(index)] for index in np.sort(chosen)]


def cases(
    environment: Environment, begin: Sequence[Hashable] = (), *, budget: int = BUDGET
) -> Iterator[tuple[Hashable, Word]]:
    """Starts with words: every short one, by length, while the budget lasts; then random ones."""
    begin = list(begin) or some_starts(environment)
    letters = range(len(environment.actions))
    by_length = (
        (start, word)
        for length in itertools.count()
        for word in itertools.product(letters, repeat=length)
        for start in begin
    )
    yield from itertools.islice(by_length, budget)
    rng = np.random.default_rng(0)
    for _ in range(_RANDOM):
        word = rng.integers(len(letters), size=rng.integers(1, _LONG + 1))
        yield begin[int(rng.integers(len(begin)))], tuple(word.tolist())


def reached(environment: Environment, *, limit: int = STATES) -> list[Reached]:
    """The states that are nearest to the starts, by distance; all of a small environment."""
    found = {s: Reached(s, s, ()) for s in some_starts(environment)}
    queue = list(found.values())
    for at in queue:
        for action in range(len(environment.actions)):
            environment.restore(at.state)
            state = environment.step(action)
            if state not in found and len(found) < limit:
                found[state] = Reached(state, at.start, (*at.word, action))
                queue.append(found[state])
    return queue


def shortest(word: Word, fails: Callable[[Word], bool]) -> Word:
    """A failing word without any letter that it does not need."""
    size = len(word) // 2
    while size >= 1:
        at = 0
        while at < len(word):
            less = word[:at] + word[at + size :]
            if fails(less):
                word = less
            else:
                at += size
        size //= 2
    return word


def first_failure(
    law: str,
    environment: Environment,
    says: Callable[[Hashable, Word], str | None],
    *,
    budget: int = BUDGET,
) -> int:
    """Tries a law on every case, and counts them: `says(start, word)` is what is wrong, or None."""
    __tracebackhide__ = True
    count = 0
    for start, word in cases(environment, budget=budget):
        if says(start, word) is not None:
            small = shortest(word, lambda less, start=start: says(start, less) is not None)
            raise BrokenLaw(law, environment, start, small, says(start, small) or "")
        count += 1
    return count


def finite(environment: Environment) -> Transitions | None:
    """The transitions; None where steps are random, or there are too many states to list."""
    if is_random(environment):
        return None
    try:
        return explore(environment, limit=_LISTED)
    except TooManyStates:
        return None


def ends(environment: Environment, start: Hashable, word: Word) -> tuple[Hashable, tuple[int, ...]]:
    """The state and the place that a word leads to."""
    state = run(environment, start, word)[-1]
    return state, tuple(environment.place(state))
