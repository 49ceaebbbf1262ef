"""Hypothesis strategies of states, words and loop words of an environment.

Every loop word that is drawn has been run, and returns. In a finite environment every loop of at
most `max_length` letters can be drawn, from every recurrent state. A failing one shrinks by letters
that it can do without and by shorter ways home, mostly to a shortest one; `shortest` finds one for
certain. Where the states are too many to list, loops go out, round and back.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st

from ..errors import user_line
from ..words.environment import Environment, WordError, is_random
from ..words.loops import Loops, close, order, verified
from ..words.simulated import natural
from ..words.transitions import Transitions
from ..words.word import Word, end
from .environment_cases import finite, some_starts

_WANDER = 3  # before each letter, the way home is begun with probability 1 / (1 + _WANDER)
_EXPLORED: deque[tuple[Environment, Transitions | None]] = deque(maxlen=16)


class Loop(NamedTuple):
    """A word that returns to the place of the state that it starts from."""

    state: Any
    word: Word


def states(environment: Environment, *, recurrent: bool = False) -> st.SearchStrategy[Any]:
    """Draws a state that words reach from a start; it shrinks towards the starts.

    Args:
        recurrent: only states from which every word can be closed: those that loops start from.
    """
    graph = _explored(environment)
    if graph is None:
        starts = st.sampled_from(some_starts(environment))
        return st.builds(
            lambda start, word: end(environment, start, word), starts, words(environment)
        )
    return st.sampled_from(
        [
            s
            for s, inside in zip(graph.states, graph.recurrent, strict=True)
            if inside or not recurrent
        ]
    )


def words(environment: Environment, max_length: int = 12) -> st.SearchStrategy[Word]:
    """Draws a word of at most so many letters."""
    letters = st.integers(0, len(environment.actions) - 1)
    return st.lists(letters, max_size=natural("max_length", max_length)).map(tuple)


def loop_words(
    environment: Environment, state: Any, *, max_length: int = 12, backtracking: bool = True
) -> st.SearchStrategy[Word]:
    """Draws a word that returns to `state`, not the empty one.

    Args:
        backtracking: whether a letter may undo the one before; without it, only in an environment
            whose states can be listed, the word goes round something.

    Raises:
        WordError: the state is transient, no loop is that short, or steps are random.
    """
    graph = _graph(environment)
    if graph is not None:
        return _of(Loops(graph, state, max_length=max_length, backtracking=backtracking))
    if not backtracking:
        raise WordError(
            f"{user_line()}the states of {environment.name} are too many to list, and its loops "
            "cannot be drawn without back-tracking. Fix: leave `backtracking=False` out."
        )
    return _out_round_and_back(environment, state, natural("max_length", max_length, 2))


def place_loops(
    environment: Environment, *, max_length: int = 12, backtracking: bool = True
) -> st.SearchStrategy[Loop]:
    """Draws a recurrent state, and a word that returns to its place, not the empty one.

    Raises:
        WordError: no loop is that short, or steps are random.
    """
    graph = _graph(environment)
    if graph is None:
        return states(environment).flatmap(
            lambda state: loop_words(
                environment, state, max_length=max_length, backtracking=backtracking
            ).map(lambda word: Loop(state, word))
        )
    known: dict[Any, st.SearchStrategy[Loop]] = {}

    def of(state: Any) -> st.SearchStrategy[Loop]:
        if state not in known:
            found = Loops(
                graph, state, max_length=max_length, place=True, backtracking=backtracking
            )
            drawn = _of(found) if found.lengths else st.nothing()
            known[state] = drawn.map(lambda word: Loop(state, word))
        return known[state]

    return states(environment, recurrent=True).flatmap(of)


def shortest(
    environment: Environment,
    state: Any,
    fails: Callable[[Word], bool],
    *,
    max_length: int = 12,
    place: bool = False,
) -> Word | None:
    """The first loop word from a state for which `fails` is true, by length; None without one.

    Tries them all, in an environment whose states can be listed. A hypothesis that has found some
    failing word need not look further than its length.

    Raises:
        WordError: the state is transient, or the states cannot be listed.
    """
    graph = _graph(environment)
    if graph is None:
        raise WordError(
            f"{user_line()}the states of {environment.name} are too many to list, and so are its "
            "loops. Fix: draw them with `loop_words`."
        )
    return next(filter(fails, Loops(graph, state, max_length=max_length, place=place)), None)


def _graph(environment: Environment) -> Transitions | None:
    if is_random(environment):
        raise WordError(
            f"{user_line()}the steps of {environment.name} are random, and no word is sure to "
            "close. Fix: look for returns in walks with `latentroles.words.loops.returns`."
        )
    return _explored(environment)


def _explored(environment: Environment) -> Transitions | None:
    """The transitions, kept for the few environments that a suite uses at a time."""
    for known, graph in _EXPLORED:
        if known is environment:
            return graph
    _EXPLORED.append((environment, finite(environment)))
    return _EXPLORED[-1][1]


def _of(loops: Loops) -> st.SearchStrategy[Word]:
    """Draws letters, and at some point the way home, which is then a shortest one.

    So a draw with a letter deleted is a loop again. The letters of the way home are drawn too, and
    not looked at: a draw is as long as its word, and what shrinks is the word.
    """
    environment = loops.transitions.environment
    if not loops.lengths:
        raise WordError(
            f"{user_line()}{environment.name}: no such loop word of at most "
            f"{len(loops.ways) - 1} letters starts at {loops.state!r}. Fix: raise `max_length`."
        )

    actions = len(environment.actions)

    @st.composite
    def draw_word(draw: st.DrawFn) -> Word:
        node, word, walking = loops.source, [], True
        for left in range(len(loops.ways) - 1, 0, -1):
            ahead = [loops.home(int(there)) for there in loops.successors[node]]
            at_home = bool(word) and not loops.home(node)
            walking = walking and min(ahead) < left and draw(st.integers(0, _WANDER)) > 0
            if at_home and not walking:
                break
            drawn = draw(st.integers(0, actions - 1))
            letter = drawn if walking and ahead[drawn] < left else ahead.index(min(ahead))
            word.append(letter)
            node = int(loops.successors[node, letter])
        return verified(environment, loops.state, [tuple(word)], place=loops.place)[0]

    return draw_word()


@st.composite
def _out_round_and_back(
    draw: st.DrawFn, environment: Environment, state: Any, max_length: int
) -> Word:
    """Out by a word, round by another that is repeated until it closes, and back by inverses; the
    other one is taken back where that would be too long."""
    around = draw(words(environment, max_length // 2).filter(bool))
    out = draw(words(environment, max_length // 2 - len(around)))
    there = end(environment, state, out)
    most = (max_length - 2 * len(out)) // len(around)
    times = order(environment, there, around, limit=most) if draw(st.booleans()) else None
    loop = around * times if times else around + close(environment, there, around)
    return verified(environment, state, [out + loop + close(environment, state, out)])[0]
