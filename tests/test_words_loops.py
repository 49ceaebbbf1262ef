"""Words, transition graphs and loops, against what brute force finds."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from latentroles.errors import DataError
from latentroles.words import Loops, WordError, close, explore, run, spell, word
from latentroles.words.components import components
from latentroles.words.corridor import LEFT, RIGHT, State, corridor
from latentroles.words.environment import TooManyStates
from latentroles.words.gridworld import gridworld
from latentroles.words.loops import loops_by_inverse, order, returns, verified
from latentroles.words.minigrid import dynamic_obstacles, four_rooms
from latentroles.words.places import cycle_rank, frame_varies, place_aliased, place_splits
from latentroles.words.plane import plane
from latentroles.words.rotations import rotations
from latentroles.words.rubik import rubik
from latentroles.words.word import (
    cancelled,
    end,
    inverse,
    is_place_loop,
    is_state_loop,
    keeps_end,
    opposites,
    reduced,
)

Row = list[int]


class Table:
    """A small environment that is a table: state, action -> state; with places and frames."""

    name, parameters = "table", {}

    def __init__(self, after: list[Row], places: Row | None = None, frames: Row | None = None):
        self.after = after
        self.actions = tuple("abcdef"[: len(after[0])])
        self.places = places or list(range(len(after)))
        self.frames = frames or list(range(len(after)))
        self.reset(0)

    def reset(self, seed: int) -> int:
        self.now = 0
        return 0

    def step(self, action: int) -> int:
        self.now = self.after[self.now][action]
        return self.now

    def state(self) -> int:
        return self.now

    def restore(self, state: int) -> None:
        self.now = state

    def frame(self) -> np.ndarray:
        return np.array([self.frames[self.now]], np.float32)

    def pose(self) -> tuple[float, float, float]:
        return 0.0, 0.0, 0.0

    def place(self, state: int) -> tuple[int, ...]:
        return (self.places[state],)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    size, actions = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    numbers = st.integers(0, size - 1)
    after = draw(
        st.lists(
            st.lists(numbers, min_size=actions, max_size=actions), min_size=size, max_size=size
        )
    )
    row = st.lists(st.integers(0, 2), min_size=size, max_size=size)
    return Table(after, draw(row), draw(row))


def reach(after: np.ndarray) -> np.ndarray:
    """Which state leads to which, by Warshall's closure."""
    size = len(after)
    found = np.eye(size, dtype=bool)
    found[np.arange(size)[:, None], after] = True
    for k in range(size):
        found |= found[:, k, None] & found[None, k]
    return found


@given(tables())
def test_components_are_what_reaches_each_other(table: Table) -> None:
    after = np.array(table.after)
    closure = reach(after)
    label = components(after)
    np.testing.assert_array_equal(label[:, None] == label, closure & closure.T)
    assert (label[after] <= label[:, None]).all(), "a component comes after those it leads to"


def test_a_long_chain_of_states_is_no_recursion() -> None:
    after = np.minimum(np.arange(30_000) + 1, 29_999)[:, None]
    assert len(set(components(after))) == 30_000


@given(tables())
def test_a_graph_is_what_the_resets_reach(table: Table) -> None:
    graph = explore(table)  # type: ignore[arg-type]
    closure = reach(np.array(table.after))
    assert set(graph.states) == set(np.flatnonzero(closure[0]))
    for index, state in enumerate(graph.states):
        assert [graph.states[i] for i in graph.after[index]] == table.after[state]  # type: ignore[index]
        back = closure[:, state]
        assert graph.recurrent[index] == back[closure[state]].all()
        start, letters = graph.access(index)
        assert (start, end(table, start, letters)) == (0, state)  # type: ignore[arg-type]
    for values, classes in [(table.places, graph.place), (table.frames, graph.view)]:
        given_ = np.array([values[s] for s in graph.states])  # type: ignore[index]
        np.testing.assert_array_equal(given_[:, None] == given_, classes[:, None] == classes)


@given(tables(), st.data())
def test_a_path_is_a_shortest_one(table: Table, data: Any) -> None:
    graph = explore(table)  # type: ignore[arg-type]
    size = len(graph.states)
    targets = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    distance = graph.distances(targets)
    near, steps = targets.copy(), 0
    for steps in range(size + 1):
        np.testing.assert_array_equal((distance >= 0) & (distance <= steps), near)
        near = near | near[graph.after].any(axis=1)
    for source in range(size):
        path = graph.path(source, targets)
        assert (path is None) == (distance[source] < 0)
        if path is not None:
            assert len(path) == distance[source]
            assert targets[graph.index(end(table, graph.states[source], path))]  # type: ignore[arg-type]


@given(tables())
def test_verdicts_on_places_are_what_all_pairs_say(table: Table) -> None:
    graph = explore(table)  # type: ignore[arg-type]
    pairs = list(itertools.combinations(range(len(graph.states)), 2))
    together = [(i, j) for i, j in pairs if graph.place[i] == graph.place[j]]
    varied = [(i, j) for i, j in together if graph.view[i] != graph.view[j]]
    found = frame_varies(graph)
    assert (found is not None) == bool(varied)
    assert found is None or found[:2] in varied
    split = {
        (i, j, a)
        for i, j in together
        for a in range(graph.after.shape[1])
        if graph.place[graph.after[i, a]] != graph.place[graph.after[j, a]]
    }
    found = place_splits(graph)
    assert (found is not None) == bool(split)
    assert found is None or (found.first, found.second, *found.word) in split
    aliased = {(i, j) for i, j in pairs if graph.view[i] == graph.view[j]} - set(together)
    two = place_aliased(graph)
    assert (two is not None) == bool(aliased)
    assert two is None or two in aliased


def test_place_loops_may_concatenate_where_place_is_no_congruence() -> None:
    """The exact law is about words after a loop: loops alone do not tell these places apart."""
    table = Table([[1], [2], [3], [0]], places=[0, 1, 0, 2])
    graph = explore(table)  # type: ignore[arg-type]
    assert place_splits(graph) == (0, 2, (0,))
    for state in range(4):
        lengths = [n for n in range(1, 13) if is_place_loop(table, state, (0,) * n)]  # type: ignore[arg-type]
        sums = {a + b for a, b in itertools.product(lengths, repeat=2) if a + b <= 12}
        assert sums <= set(lengths)


@given(tables(), st.booleans(), st.booleans())
@example(Table([[1, 1], [0, 0]]), False, False)
def test_loops_are_all_that_brute_force_finds(
    table: Table, place: bool, backtracking: bool
) -> None:
    graph = explore(table)  # type: ignore[arg-type]
    state = graph.states[int(np.flatnonzero(graph.recurrent)[-1])]
    loops = Loops(graph, state, max_length=5, place=place, backtracking=backtracking)
    closes = is_place_loop if place else is_state_loop
    wanted = []
    for length in range(1, 6):
        for letters in itertools.product(range(len(table.actions)), repeat=length):
            passed = run(table, state, letters)  # type: ignore[arg-type]
            back = any(
                a == c and a != b for a, b, c in zip(passed, passed[1:], passed[2:], strict=False)
            )
            if closes(table, state, letters) and (backtracking or not back):  # type: ignore[arg-type]
                wanted.append(letters)
    assert list(loops) == wanted
    assert loops.lengths == tuple(sorted({len(letters) for letters in wanted}))
    if wanted:
        assert set(loops.sample(np.random.default_rng(0), 30)) <= set(wanted)
    else:
        with pytest.raises(WordError, match=r"test_words_loops.py:\d+: table: no loop word of at"):
            loops.sample(np.random.default_rng(0), 1)


def test_lengths_are_drawn_alike_and_words_alike_within_a_length() -> None:
    ring = corridor(cells=4, open=True)
    graph = explore(ring)
    loops = Loops(graph, State(0), max_length=4)
    drawn = Counter(loops.sample(np.random.default_rng(1), 20_000))
    assert set(drawn) == set(loops)
    assert Counter(map(len, drawn)) == {2: 2, 4: 8}  # LR, RL; six that go back, two that go round
    for letters, times in drawn.items():
        share = 1 / 4 if len(letters) == 2 else 1 / 16
        assert times / 20_000 == pytest.approx(share, abs=0.02), letters
    round_ = Loops(graph, State(0), max_length=4, backtracking=False)
    assert list(round_) == [(LEFT,) * 4, (RIGHT,) * 4]


def test_long_loops_do_not_underflow() -> None:
    graph = explore(corridor(cells=3))
    assert 900 in Loops(graph, State(1), max_length=900).lengths


def test_a_transient_state_gives_no_loops_but_its_word_of_no_return() -> None:
    row = corridor(cells=4, last_action=True)
    graph = explore(row)
    assert graph.recurrent.sum() == len(graph.states) - 4
    for make in (
        lambda: Loops(graph, State(2)),
        lambda: close(row, State(2), (), transitions=graph),
    ):
        with pytest.raises(WordError) as caught:
            make()
        assert "is a transient state of corridor: after left nothing leads back" in str(
            caught.value
        )
        assert "test_words_loops.py" in str(caught.value)
    with pytest.raises(WordError, match="is not among the 10 states of corridor"):
        Loops(graph, State(9))
    with pytest.raises(WordError, match="is not among the 10 states of corridor"):
        graph.index([])


@given(st.lists(st.integers(0, 3), max_size=10), st.booleans())
def test_a_word_is_closed_by_a_shortest_path(letters: list[int], place: bool) -> None:
    flat = plane(size=4)
    graph, start = explore(flat), flat.starts()[1]
    back = close(flat, start, tuple(letters), transitions=graph, place=place)
    closes = is_place_loop if place else is_state_loop
    assert closes(flat, start, (*letters, *back))
    others = itertools.product(range(4), repeat=len(back) - 1) if 0 < len(back) < 5 else ()
    assert not any(closes(flat, start, (*letters, *other)) for other in others)


@given(st.lists(st.integers(0, 5), max_size=12))
def test_a_word_of_a_group_is_closed_by_its_inverse(letters: list[int]) -> None:
    cube = rubik()
    start = cube.reset(3)
    back = close(cube, start, tuple(letters))
    assert back == tuple(letter ^ 1 for letter in reversed(letters))
    assert is_state_loop(cube, start, (*letters, *back))


def test_a_blocked_word_has_no_inverse() -> None:
    row = corridor()
    assert inverse(row, State(1), (LEFT, RIGHT)) == (LEFT, RIGHT)
    assert inverse(row, State(0), (RIGHT, LEFT, LEFT)) is None
    with pytest.raises(WordError) as caught:
        close(row, State(0), (LEFT,))
    assert "left cannot be taken back from State(cell=0" in str(caught.value)
    assert "transitions=explore(environment)" in str(caught.value)
    assert close(row, State(0), (LEFT,), transitions=explore(row)) == ()
    assert inverse(Table([[0]]), 0, ()) is None  # type: ignore[arg-type]


@given(st.integers(0, 8), st.lists(st.integers(0, 2), max_size=12))
def test_free_reduction_keeps_the_end_of_unblocked_pairs(cell: int, letters: list[int]) -> None:
    row = corridor(noop=True)
    formal = opposites(row, row.starts())
    assert formal == {0: 1, 1: 0, 2: 2}
    less = reduced(letters, formal)
    assert cancelled(less, formal) == []
    assert len(less) == len(letters) - 2 * len(cancelled(letters, formal))
    assert reduced(less, formal) == less
    if keeps_end(row, State(cell), letters, formal):
        assert end(row, State(cell), less) == end(row, State(cell), letters)
    ring = corridor(noop=True, open=True)
    assert keeps_end(ring, State(cell), letters, formal), "nothing is blocked in a ring"


def test_free_reduction_changes_the_end_of_a_blocked_pair() -> None:
    row = corridor()
    formal = opposites(row, row.starts())
    assert not keeps_end(row, State(0), (LEFT, RIGHT), formal)
    assert reduced((LEFT, RIGHT), formal) == ()
    assert end(row, State(0), (LEFT, RIGHT)) == State(1)
    assert opposites(four_rooms(), [four_rooms().reset(0)]) == {0: 1, 1: 0}
    assert opposites(Table([[0]]), [0]) == {}  # type: ignore[arg-type]


@given(st.integers(0, 50), st.sampled_from(["cube", "large cube", "plane", "torus"]))
def test_loops_go_out_round_and_back_where_states_are_too_many(seed: int, name: str) -> None:
    environment = {
        "cube": rubik(),
        "large cube": rubik(size=3),
        "plane": plane(size=None),
        "torus": gridworld(layout=(3, 3), open=True),
    }[name]
    start = environment.reset(seed)
    rng = np.random.default_rng(seed)
    for letters in itertools.islice(loops_by_inverse(environment, start, rng), 5):
        assert letters
        assert is_state_loop(environment, start, letters)


def test_some_of_these_loops_are_not_back_tracking() -> None:
    cube = rubik()
    start = cube.reset(0)
    drawn = list(itertools.islice(loops_by_inverse(cube, start, np.random.default_rng(0)), 50))
    formal = opposites(cube, [start])
    assert sum(bool(reduced(letters, formal)) for letters in drawn) > 25
    assert order(cube, start, word(cube, "R U R' U'")) == 6
    assert order(plane(size=None), (0, 0, 0), (2,), limit=20) is None


def test_a_word_that_does_not_close_is_not_handed_out() -> None:
    row = corridor()
    with pytest.raises(WordError, match=r"corridor: right from .* and was to close"):
        verified(row, State(3), [(LEFT, RIGHT), (LEFT, LEFT, LEFT), (RIGHT,)])
    assert verified(row, State(3), [(LEFT, RIGHT)]) == [(LEFT, RIGHT)]


def test_random_steps_have_returns_and_no_loop_words() -> None:
    balls = dynamic_obstacles(size=5, balls=1)
    for environment in (balls, corridor(slip=0.5)):
        with pytest.raises(WordError, match=r"test_words_loops.py:\d+: the steps of .* are random"):
            explore(environment)
        found = returns(environment, np.random.default_rng(0), steps=300)
        assert len(found) > 50
        for happened in found:
            places = [environment.place(state) for state in happened.passed]
            assert places[0] == places[-1] not in places[1:-1]
            assert len(happened.passed) == len(happened.word) + 1
    balls.random = False
    with pytest.raises(WordError, match=r"led from .* to .* and then to"):
        explore(balls)


def test_too_many_states_is_said_and_not_waited_for() -> None:
    with pytest.raises(TooManyStates, match=r"rubik has more than 50 states\. Fix: raise `limit`"):
        explore(rubik(), limit=50)
    assert len(explore(corridor(cells=50), limit=50).states) == 50
    with pytest.raises(TooManyStates):
        explore(corridor(cells=51), limit=50)


@pytest.mark.parametrize(
    ("make", "states", "places", "views", "rank"),
    [
        (lambda: corridor(), 9, 9, 9, 0),
        (lambda: corridor(open=True), 9, 9, 9, 1),
        (lambda: gridworld(layout=(3, 3)), 9, 9, 9, 4),
        (lambda: gridworld(layout=(3, 3), open=True), 9, 9, 9, 10),
        (lambda: plane(size=3), 36, 9, 36, 37),
        (lambda: rotations(pictures=("moon",), jitter=0, light=False), 4, 4, 4, 3),
        (four_rooms, 1040, 260, 452, 913),
    ],
)
def test_known_graphs(make: Any, states: int, places: int, views: int, rank: int) -> None:
    graph = explore(make())
    assert len(graph.states) == states
    assert len(set(graph.place)) == places
    assert len(set(graph.view)) == views
    assert cycle_rank(graph) == rank
    assert graph.recurrent.all()


def test_congruence_and_vacuity_of_known_environments() -> None:
    vacuous, congruent = set(), set()
    for name, make in {
        "walls": corridor,
        "last action": lambda: corridor(last_action=True),
        "momentum": lambda: corridor(momentum=True),
        "rooms": four_rooms,
        "rooms with headings": lambda: four_rooms(heading=True),
    }.items():
        graph = explore(make())
        vacuous |= {name} if frame_varies(graph) is None else set()
        congruent |= {name} if place_splits(graph) is None else set()
    assert vacuous == {"walls", "rooms with headings"}
    assert congruent == {"walls", "last action", "rooms with headings"}


def test_words_are_written_and_read() -> None:
    row = corridor(noop=True)
    assert word(row, "left, noop right") == (0, 2, 1) == word(row, [0, "noop", np.int64(1)])
    assert spell(row, (0, 2, 1)) == "left, noop, right"
    assert spell(row, ()) == "(no action)"
    assert word(row, "") == ()
    for letters in ("up", [3], [-1], [True], [0.0], [None]):
        with pytest.raises(WordError, match=r"test_words_loops.py:\d+: a letter of a word in corr"):
            word(row, letters)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="max_length is an integer of at least 1; got 0"):
        Loops(explore(row), State(0), max_length=0)


@given(tables())
def test_a_closed_word_of_a_table_is_a_loop(table: Table) -> None:
    graph = explore(table)  # type: ignore[arg-type]
    state = graph.states[int(np.flatnonzero(graph.recurrent)[0])]
    assume(len(table.actions) > 1)
    letters = (0, 1, 0, 1, 1)
    back = close(table, state, letters, transitions=graph)  # type: ignore[arg-type]
    assert is_state_loop(table, state, letters + back)  # type: ignore[arg-type]
