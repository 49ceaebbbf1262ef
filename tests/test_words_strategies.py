"""Strategies of words: sound, complete, not only back-tracking, and what they shrink to."""

import itertools
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from latentroles.testing.words import Loop, loop_words, place_loops, shortest, states, words
from latentroles.words import Loops, WordError, explore, run
from latentroles.words.corridor import LEFT, RIGHT, State, corridor
from latentroles.words.gridworld import gridworld
from latentroles.words.minigrid import dynamic_obstacles, four_rooms
from latentroles.words.plane import plane
from latentroles.words.rubik import rubik
from latentroles.words.word import is_place_loop, is_state_loop

ENVIRONMENTS: dict[str, Callable[[], Any]] = {
    "walls": corridor,
    "last action": lambda: corridor(cells=4, noop=True, last_action=True),
    "momentum": lambda: corridor(cells=5, momentum=True, phases=2),
    "grid": gridworld,
    "plane": lambda: plane(size=4),
    "rooms": four_rooms,
    "cube": rubik,
    "endless plane": lambda: plane(size=None),
}
thorough = settings(max_examples=2000, database=None, suppress_health_check=list(HealthCheck))


@cache
def made(name: str) -> Any:
    return ENVIRONMENTS[name]()


@given(st.sampled_from(sorted(ENVIRONMENTS)), st.data())
def test_every_loop_word_that_is_drawn_returns(name: str, data: Any) -> None:
    environment = made(name)
    state = data.draw(states(environment, recurrent=True))
    letters = data.draw(loop_words(environment, state))
    assert 1 <= len(letters) <= 12
    assert is_state_loop(environment, state, letters)
    loop = data.draw(place_loops(environment))
    assert isinstance(loop, Loop)
    assert 1 <= len(loop.word) <= 12
    assert is_place_loop(environment, loop.state, loop.word)
    assert len(data.draw(words(environment, 5))) <= 5


def collected(strategy: st.SearchStrategy, most: int = 300) -> set:
    """What a strategy draws in so many examples."""
    seen = set()

    @settings(thorough, max_examples=most, derandomize=True)
    @given(strategy)
    def collect(value: Any) -> None:
        seen.add(value)

    collect()
    return seen


def test_every_short_loop_is_drawn() -> None:
    row = corridor(cells=3, noop=True)
    wanted = set(Loops(explore(row), State(1), max_length=3))
    assert collected(loop_words(row, State(1), max_length=3)) == wanted
    rooms = corridor(cells=3, momentum=True)
    graph = explore(rooms)
    wanted = {
        (state, letters)
        for index, state in enumerate(graph.states)
        if graph.recurrent[index]
        for letters in Loops(graph, state, max_length=2, place=True)
    }
    assert collected(place_loops(rooms, max_length=2)) == wanted


@pytest.mark.parametrize("name", ["walls", "last action", "momentum"])
def test_every_state_and_edge_of_the_recurrent_part_is_drawn(name: str) -> None:
    environment = made(name)
    graph = explore(environment)
    assert collected(states(environment)) == set(graph.states)
    inside = {s for s, r in zip(graph.states, graph.recurrent, strict=True) if r}
    assert collected(states(environment, recurrent=True)) == inside
    taken = set()
    pairs = states(environment, recurrent=True).flatmap(
        lambda s: loop_words(environment, s).map(lambda w: (s, w))
    )
    for state, letters in collected(pairs):
        taken |= set(zip(run(environment, state, letters), letters, strict=False))
    assert taken == {(s, a) for s in inside for a in range(len(environment.actions))}


def test_loops_go_round_too() -> None:
    ring = corridor(cells=4, open=True)
    drawn = collected(loop_words(ring, State(0)))
    assert any(letters.count(LEFT) != letters.count(RIGHT) for letters in drawn)
    assert {len(letters) for letters in drawn} >= {2, 4, 6, 8}
    only = collected(loop_words(ring, State(0), backtracking=False))
    assert only == {(a,) * n for a in (LEFT, RIGHT) for n in (4, 8, 12)}
    cube = rubik()
    start = cube.reset(0)
    drawn = collected(loop_words(cube, start, max_length=24))
    assert any(len(set(letters)) == 1 for letters in drawn), "a turn, four times"


# environment, state, what fails: the shortest loop that fails is what is found
FAILING: list[tuple[str, Any, Callable[[Any, tuple], bool]]] = [
    ("walls", State(2), lambda passed, w: True),
    ("walls", State(2), lambda passed, w: any(s.cell == 6 for s in passed)),
    ("walls", State(2), lambda passed, w: {0, 4} <= {s.cell for s in passed}),
    ("walls", State(0), lambda passed, w: len(w) % 2 == 1),
    ("momentum", State(2), lambda passed, w: len(w) > 4),
    ("momentum", State(2), lambda passed, w: {1, -1} <= {s.velocity for s in passed}),
    ("grid", (1, 5), lambda passed, w: len(set(passed)) >= 4),
    ("grid", (1, 5), lambda passed, w: w.count(1) >= 3),
    ("grid", (2, 5), lambda passed, w: any(s[0] > 3 for s in passed)),
]


# Here a few letters have to change at once on the way to a shortest one.
HARDER: list[tuple[str, Any, Callable[[Any, tuple], bool]]] = [
    ("walls", State(7), lambda passed, w: w.count(RIGHT) >= 3),
    ("plane", (0, 0, 0), lambda passed, w: len({s[:2] for s in passed}) >= 4),
    ("plane", (0, 0, 0), lambda passed, w: w.count(2) > w.count(3)),
]


def failing(name: str, state: Any, fails: Any) -> tuple[Any, Any, Callable[[tuple], bool]]:
    environment = made(name)
    start = type(environment.state())(*state)
    return environment, start, lambda letters: fails(run(environment, start, letters), letters)


@pytest.mark.parametrize(("name", "state", "fails"), FAILING)
def test_a_failing_loop_shrinks_to_a_shortest_one(name: str, state: Any, fails: Any) -> None:
    environment, start, wrong = failing(name, state, fails)
    found = find(loop_words(environment, start), wrong, settings=thorough, random=Random(0))
    known = shortest(environment, start, wrong)
    assert known is not None
    assert len(found) == len(known)


@pytest.mark.parametrize(("name", "state", "fails"), [*FAILING, *HARDER])
def test_no_loop_is_shorter_than_the_shortest(name: str, state: Any, fails: Any) -> None:
    environment, start, wrong = failing(name, state, fails)
    known = shortest(environment, start, wrong)
    assert known is not None
    assert wrong(known)
    assert is_state_loop(environment, start, known)
    shorter = (
        letters
        for length in range(1, len(known))
        for letters in itertools.product(range(len(environment.actions)), repeat=length)
    )
    assert not any(is_state_loop(environment, start, w) and wrong(w) for w in shorter)
    found = find(loop_words(environment, start), wrong, settings=thorough, random=Random(1))
    assert len(found) <= 2 * len(known)


def test_a_failing_word_or_place_loop_shrinks_to_a_shortest_one() -> None:
    row = corridor(cells=5, momentum=True, phases=2)
    assert find(words(row), lambda w: len(w) > 2, settings=thorough) == (0, 0, 0)
    state_stays = find(
        place_loops(row), lambda loop: run(row, *loop)[-1] != loop.state, settings=thorough
    )
    assert len(state_stays.word) == 1
    assert find(states(row), lambda s: s.velocity != 0, settings=thorough).phase == 1
    cube = rubik()
    start = cube.reset(0)
    assert len(find(loop_words(cube, start), lambda w: True, settings=thorough)) == 2
    loop = find(loop_words(cube, start), lambda w: len(set(w)) == 1, settings=thorough)
    assert loop == (0, 0, 0, 0)


def test_transient_states_are_reported() -> None:
    row = corridor(cells=3, last_action=True)
    with pytest.raises(WordError, match=r"test_words_strategies.py:\d+: .* is a transient state"):
        loop_words(row, State(1))
    assert all(s.last >= 0 for s in collected(states(row, recurrent=True)))
    assert all(loop.state.last >= 0 for loop in collected(place_loops(row, max_length=3)))


def test_what_has_no_loop_words_is_refused() -> None:
    for environment in (dynamic_obstacles(size=5, balls=1), corridor(slip=0.5)):
        for make in (place_loops, lambda e: loop_words(e, e.state())):
            with pytest.raises(WordError, match="random, and no word is sure to close"):
                make(environment)
    ring = corridor(cells=5, open=True)
    with pytest.raises(WordError, match="no such loop word of at most 4 letters starts at"):
        loop_words(ring, State(0), max_length=4, backtracking=False)
    with pytest.raises(WordError, match="too many to list"):
        loop_words(rubik(), rubik().solved, backtracking=False)
    with pytest.raises(WordError, match="is not among the 9 states"):
        loop_words(corridor(), State(11))
    assert shortest(ring, State(0), lambda w: False, max_length=4) is None
    with pytest.raises(WordError, match="too many to list, and so are its loops"):
        shortest(rubik(), rubik().solved, lambda w: True)
