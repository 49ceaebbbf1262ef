"""Place loops of any environment, walked: what the measures of closure and composition look at."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..words.environment import Environment, is_random
from ..words.loops import Loops, loops_by_inverse, returns
from ..words.transitions import Transitions
from ..words.word import Word, run


@dataclass(frozen=True)
class Track:
    """A walk: `states` are one more than the letters of `word`."""

    states: tuple[Hashable, ...]
    word: Word


class Frames:
    """The frame of each state, rendered once."""

    def __init__(self, environment: Environment):
        self._environment = environment
        self._known: dict[Hashable, np.ndarray] = {}

    def __call__(self, states: Iterable[Hashable]) -> np.ndarray:
        """(n, *frame): the frames of some states."""
        return np.stack([self._of(state) for state in states])

    def _of(self, state: Hashable) -> np.ndarray:
        if state not in self._known:
            self._environment.restore(state)
            self._known[state] = np.asarray(self._environment.frame())
        return self._known[state]


def walks(
    environment: Environment,
    graph: Transitions | None,
    count: int,
    max_length: int,
    rng: np.random.Generator,
) -> Iterator[Track]:
    """Place loops, walked: drawn in a finite environment, made by inverses or found elsewhere."""
    if is_random(environment):
        found: list[Track] = []
        for _ in range(20 * count):
            steps = returns(environment, rng, steps=20 * max_length)
            found += [Track(r.passed, r.word) for r in steps if len(r.word) <= max_length]
            if len(found) >= count:
                break
        yield from found[:count]
    elif graph is None:
        state, each = environment.reset(int(rng.integers(2**31))), 5
        for _ in range(-(-count // each)):  # from several states: places must differ
            away = rng.integers(len(environment.actions), size=max_length).tolist()
            state = run(environment, state, away)[-1]
            drawn = loops_by_inverse(environment, state, rng, reach=max(max_length // 4, 1))
            for word in islice(drawn, each):
                yield Track(tuple(run(environment, state, word)), word)
    else:
        inside = np.flatnonzero(graph.recurrent)
        starts = rng.choice(inside, size=min(count, 4 * len(inside)))
        each = -(-count // len(starts))
        for index in starts:
            state = graph.states[int(index)]
            known = Loops(graph, state, max_length=max_length, place=True)
            for word in known.sample(rng, each) if known.lengths else []:
                yield Track(tuple(run(environment, state, word)), word)
