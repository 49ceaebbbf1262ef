"""The environments of loop words, against models of them that share no code."""

import importlib
import itertools
import math
import os
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentroles.errors import DataError, PluginError
from latentroles.words import WordError, explore
from latentroles.words.corridor import LEFT, NOOP, RIGHT, State, corridor
from latentroles.words.environment import (
    Described,
    Invertible,
    Labelled,
    Started,
    Stochastic,
    is_random,
)
from latentroles.words.gridworld import gridworld
from latentroles.words.gymnasium import from_gymnasium
from latentroles.words.minigrid import dynamic_obstacles, four_rooms
from latentroles.words.plane import plane
from latentroles.words.rotations import LIGHTS, PICTURES, TEST, TRAIN, _digits, digits, rotations
from latentroles.words.rotations import State as Turned
from latentroles.words.rubik import rubik
from latentroles.words.transitions import starts
from latentroles.words.word import end, is_place_loop, run, word


def test_loop_words_of_a_corridor_with_walls_depend_on_the_state() -> None:
    nine = corridor(cells=9)
    closing = {
        w: sum(is_place_loop(nine, s, w) for s in nine.starts())
        for length in (2, 4, 6, 8)
        for w in itertools.product((LEFT, RIGHT), repeat=length)
    }
    assert max(closing.values()) == 8, "none closes from every cell"
    assert closing[RIGHT, LEFT] == closing[LEFT, RIGHT] == 8


@given(
    cells=st.integers(2, 9),
    open=st.booleans(),
    letters=st.lists(st.sampled_from([LEFT, RIGHT, NOOP]), max_size=12),
    data=st.data(),
)
def test_a_corridor_without_momentum_clips_or_wraps(cells, open, letters, data) -> None:
    start = data.draw(st.integers(0, cells - 1))
    row = corridor(cells=cells, open=open, noop=True, last_action=True, phases=3)
    at = start
    for letter in letters:
        at += (-1, 1, 0)[letter]
        at = at % cells if open else min(cells - 1, max(0, at))
    last = letters[-1] if letters else -1
    assert end(row, State(start), letters) == State(at, 0, last, len(letters) % 3)


def test_momentum_goes_on_until_it_is_pushed_back_or_stopped() -> None:
    row = corridor(cells=5, momentum=True, noop=True)
    passed = run(row, State(0), word(row, "right noop noop left noop right right right noop"))
    assert [(s.cell, s.velocity) for s in passed] == [
        (0, 0), (1, 1), (2, 1), (3, 1), (3, 0), (3, 0), (4, 1), (4, 0), (4, 0), (4, 0),
    ]  # fmt: skip


def test_a_frame_shows_the_place_and_each_nuisance() -> None:
    row = corridor(cells=4, momentum=True, last_action=True, phases=2, noop=True)
    row.restore(State(2, -1, NOOP, 1))
    cell, velocity, last, phase = [0, 0, 1, 0], [1, 0, 0], [0, 0, 0, 1], [0, 1]
    np.testing.assert_array_equal(row.frame(), [*cell, *velocity, *last, *phase])
    assert row.nuisance(State(2, -1, NOOP, 1)) == {"velocity": -1, "last": NOOP, "phase": 1}
    assert corridor().nuisance(State(2)) == {}
    drawn = corridor(cells=4, momentum=True, last_action=True, phases=2, noop=True, pixels=True)
    frames = set()
    graph = explore(drawn)
    for state in graph.states:
        drawn.restore(state)
        assert (drawn.frame().shape, drawn.frame().dtype) == ((3, 8, 16), np.uint8)
        frames.add(drawn.frame().tobytes())
    assert len(frames) == len(graph.states), "a picture shows all that there is"


def test_a_lost_action_happens_as_often_as_declared() -> None:
    row = corridor(cells=50, slip=0.25)
    row.restore(State(0))
    assert row.kernel(State(7), RIGHT) == {State(8): 0.75, State(7): 0.25}
    assert row.kernel(State(0), LEFT) == {State(0): 1.0}
    stayed = sum(end(row, State(7), (RIGHT,)) == State(7) for _ in range(4000))
    assert stayed / 4000 == pytest.approx(0.25, abs=0.03)


@given(st.lists(st.integers(0, 3), max_size=12), st.booleans())
def test_a_grid_without_walls_adds_up(letters: list[int], open: bool) -> None:
    grid = gridworld(layout=(3, 5), open=open)
    x, y = 1, 2
    for letter in letters:
        dx, dy = [(1, 0), (0, 1), (-1, 0), (0, -1)][letter]
        x, y = (x + dx, y + dy) if open else (min(2, max(0, x + dx)), min(4, max(0, y + dy)))
    assert end(grid, (1, 2), letters) == (x % 3, y % 5)


def test_a_layout_is_read_from_the_top_and_its_walls_block() -> None:
    grid = gridworld(layout=("..", "#.", ".."), pixels=True, noop=True)
    assert set(grid.starts()) == {(0, 0), (1, 0), (1, 1), (0, 2), (1, 2)}
    assert end(grid, (0, 0), word(grid, "north")) == (0, 0)
    assert end(grid, (0, 0), word(grid, "east north north west south noop")) == (0, 2)
    grid.restore((0, 2))
    picture = grid.frame()[0, ::4, ::4]
    np.testing.assert_array_equal(picture, [[255, 0], [110, 0], [0, 0]])
    assert grid.pose() == (0, 2, 0)
    assert gridworld().parameters["layout"][0] == "...#..."


@given(st.lists(st.integers(0, 3), max_size=14), st.sampled_from([None, 3]))
def test_a_plane_is_what_complex_numbers_say(letters: list[int], size: int | None) -> None:
    flat = plane(size=size, heading=True)
    at, facing = 0j, 1 + 0j
    for letter in letters:
        if letter < 2:
            facing *= (1j, -1j)[letter]
        else:
            at += facing * (1, -1)[letter - 2]
    x, y, turns = end(flat, (0, 0, 0), letters)  # type: ignore[misc]
    wrap = size or 10**9
    assert (x - at.real) % wrap == (y - at.imag) % wrap == 0
    assert 1j**turns == pytest.approx(facing)
    assert flat.pose() == (x, y, pytest.approx(math.atan2(facing.imag, facing.real)))


def test_a_plane_is_seen_in_first_person() -> None:
    flat = plane(size=None)
    for heading, ahead in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        flat.restore((0, 0, heading))
        here = flat.frame()
        flat.restore((*ahead, heading))
        np.testing.assert_array_equal(flat.frame()[:, 1:], here[:, :-1], "one row nearer")
        flat.restore((-ahead[1], ahead[0], heading))  # one to the left
        np.testing.assert_array_equal(flat.frame()[:, :, 1:], here[:, :, :-1])
    pixels = {flat.picture(flat.starts()[0]._replace(x=3 * x, y=3 * y))[:, 4, 2].tobytes()
              for x in range(20) for y in range(20)}  # fmt: skip
    assert len(pixels) == 400, "cells are told apart"


# The corners of a cube, as Kociemba numbers them: where each one comes from, and how it is twisted.
CORNERS = {
    "U": ((3, 0, 1, 2, 4, 5, 6, 7), (0, 0, 0, 0, 0, 0, 0, 0)),
    "R": ((4, 1, 2, 0, 7, 5, 6, 3), (2, 0, 0, 1, 1, 0, 0, 2)),
    "F": ((1, 5, 2, 3, 0, 4, 6, 7), (1, 2, 0, 0, 2, 1, 0, 0)),
}


def turned(cube: tuple, name: str) -> tuple:
    for _ in range(3 if name.endswith("'") else 1):
        where, twist = CORNERS[name[0]]
        cube = tuple((cube[i][0], (cube[i][1] + t) % 3) for i, t in zip(where, twist, strict=True))
    return cube


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_a_small_cube_is_what_its_corners_say(letters: list[int]) -> None:
    """A word and its repetitions are the same on facelets as on twisted corners."""
    cube = rubik()
    facelets, corners = cube.solved, tuple((i, 0) for i in range(8))
    start = corners
    seen = {facelets: corners}
    for _ in range(40):
        for letter in letters:
            facelets, corners = cube.move(facelets, letter), turned(corners, cube.actions[letter])
            assert seen.setdefault(facelets, corners) == corners
        if corners == start:
            break
    assert facelets == cube.solved
    assert len(set(seen.values())) == len(seen)


def test_a_small_cube_has_as_many_states_at_each_distance_as_is_known() -> None:
    cube = rubik()
    known, shell, sizes = {cube.solved}, [cube.solved], []
    for _ in range(5):
        sizes.append(len(shell))
        shell = list({cube.move(s, a) for s in shell for a in range(6)} - known)
        known.update(shell)
    assert sizes == [1, 6, 27, 120, 534]


@pytest.mark.parametrize(
    ("letters", "order"),
    [("R", 4), ("R U R' U'", 6), ("R U", 105), ("R U U D' B D'", 1260), ("L F", 105), ("R L", 4)],
)
def test_words_of_the_large_cube_have_their_known_orders(letters: str, order: int) -> None:
    cube = rubik(size=3)
    state, times = cube.solved, 0
    while times == 0 or state != cube.solved:
        for letter in word(cube, letters):
            state = cube.move(state, letter)
        times += 1
    assert times == order


def test_a_cube_is_drawn_as_a_cross() -> None:
    cube = rubik(size=3)
    cube.restore(end(cube, cube.solved, word(cube, "U")))
    frame = cube.frame()
    assert frame.shape == (3, 9, 12)
    face = lambda row, column: {tuple(frame[:, y, x].tolist()) for y in row for x in column}  # noqa: E731
    third = [range(3 * i, 3 * i + 3) for i in range(4)]
    for row, column in [(0, 1), (2, 1)]:
        assert len(face(third[row], third[column])) == 1, "up and down keep their colour"
    assert face(third[0], third[0]) == {(0, 0, 0)}
    for column in range(4):  # clockwise: the front's upper row now shows what was on the right
        following = third[(column + 1) % 4]
        assert face([3], third[column]) == face([4, 5], following)
        assert len(face([4, 5], third[column])) == 1


@cache
def pictures() -> Any:
    return rotations(pictures=("coffee", "astronaut"), size=24, jitter=1)


def test_a_picture_turns_by_quarters_in_its_crop_and_light() -> None:
    turning = pictures()
    shots = {}
    for state in turning.starts():
        turning.restore(state)
        frame = turning.frame()
        assert (frame.shape, frame.dtype) == ((3, 24, 24), np.uint8)
        upright = shots.setdefault(state._replace(turns=0), np.rot90(frame, -state.turns, (1, 2)))
        np.testing.assert_array_equal(np.rot90(upright, state.turns, (1, 2)), frame)
    assert len({shot.tobytes() for shot in shots.values()}) == 2 * 2 * 2 * len(LIGHTS)
    state = turning.starts()[0]
    dark, light = (turning.picture(state._replace(light=i)).mean() for i in (0, 2))
    assert dark < light
    assert 30 < light
    assert turning.place(state._replace(light=2, down=1)) == turning.place(state)


def test_no_picture_is_in_both_parts_and_all_of_them_ship() -> None:
    assert not set(TRAIN) & set(TEST)
    program = (
        "import socket\n"
        "def refuse(*_): raise AssertionError('a picture was to be downloaded')\n"
        "socket.socket.connect = refuse\n"
        "from latentroles.words.rotations import *\n"
        "r = rotations(pictures=PICTURES, size=8, jitter=0)\n"
        "print(len({r.picture(State(i, 0)).tobytes() for i in range(len(PICTURES))}))\n"
        "digits()"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(len(PICTURES)), "")
    assert rotations(pictures="test", size=8).parameters["pictures"] == list(TEST)


def test_digits_are_those_of_the_library_and_say_what_they_show() -> None:
    from sklearn.datasets import load_digits

    drawings, shows = load_digits(return_X_y=True)
    every, large = digits(), digits(size=16, jitter=2, light=True)
    for index in (0, 1, 1436, 1437, 1796):
        state = Turned(index, 0)
        grey = (drawings[index].reshape(8, 8) * (255 / 16)).astype(np.uint8)
        np.testing.assert_array_equal(every.picture(state), np.broadcast_to(grey, (3, 8, 8)))
        # 18 pixels show 8: some of them twice and some three times, whatever the crop
        shown = large.picture(state._replace(across=1, down=2))
        seen = (np.arange(18) * 8 // 18)[2:], (np.arange(18) * 8 // 18)[1:17]
        np.testing.assert_array_equal(shown[0], grey[np.ix_(*seen)])
        assert every.labels(state) == {"group": index, "category": shows[index]}
    train, test = digits(pictures="train"), digits(pictures="test")
    assert len(train.starts()) + len(test.starts()) == len(every.starts()) == 4 * 1797
    assert test.labels(Turned(0, 0)) == {"group": 0, "category": shows[1437]}
    np.testing.assert_array_equal(test.picture(Turned(0, 1)), digits().picture(Turned(1437, 1)))


def test_a_photograph_says_which_one_it_is() -> None:
    assert pictures().labels(Turned(1, 2)) == {"group": 1}
    assert isinstance(pictures(), Labelled)
    assert not isinstance(gridworld(), Labelled)


def test_without_its_library_an_environment_names_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(PluginError, match=r"pip install 'latentroles\[envs\]'"):
        rotations(pictures=("coffee",), size=9)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    _digits.cache_clear()
    with pytest.raises(PluginError, match=r"pip install 'latentroles\[envs\]'"):
        digits()
    for module, name, needed in [
        ("miniworld", "four_rooms", r"pip install 'latentroles\[miniworld\]'"),
        ("atari", "montezuma", r"pip install 'latentroles\[atari\]'"),
    ]:
        library = {"miniworld": "miniworld", "atari": "ale_py"}[module]
        monkeypatch.setitem(sys.modules, library, None)
        monkeypatch.setitem(sys.modules, f"{library}.envs", None)
        make = getattr(importlib.import_module(f"latentroles.words.{module}"), name)
        with pytest.raises(PluginError, match=needed):
            make()


def lake(**changes: Any) -> Any:
    """FrozenLake: 16 states in a square, an integer; holes and the goal end an episode."""
    gymnasium = pytest.importorskip("gymnasium")
    slippery = changes.pop("slippery", False)
    env = gymnasium.make("FrozenLake-v1", is_slippery=slippery)

    def kernel(state: int, action: int) -> dict[int, float]:
        found: dict[int, float] = {}
        for share, there, *_ in env.unwrapped.P[state][action]:
            found[int(there)] = found.get(int(there), 0.0) + share
        return found

    given = {
        "get_state": lambda env: int(env.s),
        "set_state": lambda env, state: setattr(env, "s", state),
        "place": lambda state: (state // 4, state % 4),
        "frame": lambda env: np.eye(16, dtype=np.float32)[int(env.s)],
        "actions": ("left", "down", "right", "up"),
    }
    if slippery:
        given["kernel"] = kernel
    return from_gymnasium(env, **{**given, **changes})


def test_any_gymnasium_environment_can_be_adapted() -> None:
    from latentroles.testing.environment_laws import LAWS, check_environment

    frozen = lake()
    tried = check_environment(frozen)
    assert frozen.name == "FrozenLake-v1"
    graph = explore(frozen)
    assert len(graph.states) == 16
    holes = {5, 7, 11, 12, 15}  # no word leads out of a hole, or from the goal
    assert {int(s) for s in np.array(graph.states)[graph.recurrent]} == holes
    assert tried["E12"] == 11
    assert not isinstance(frozen, Invertible | Described | Started | Stochastic)
    slippery = lake(slippery=True)
    assert LAWS["E18"](slippery) > 0
    assert is_random(slippery)
    assert isinstance(lake(inverse=lambda s, a: None), Invertible)


def test_a_rendered_picture_is_the_frame_of_an_adapted_environment() -> None:
    pytest.importorskip("gymnasium")  # first: it silences the greeting of pygame
    env = importlib.import_module("minigrid.envs").EmptyEnv(size=5, render_mode="rgb_array")
    adapted = from_gymnasium(
        env,
        get_state=lambda env: (*map(int, env.agent_pos), int(env.agent_dir)),
        set_state=lambda env, s: (
            setattr(env, "agent_pos", s[:2]),
            setattr(env, "agent_dir", s[2]),
        ),
        place=lambda state: state[:2],
        actions=("left", "right", "forward", "pick up", "drop", "toggle", "done"),
        pose=lambda env: (float(env.agent_pos[0]), -float(env.agent_pos[1]), 0.0),
    )
    state = adapted.reset(0)
    assert adapted.frame().dtype == np.uint8
    assert adapted.frame().shape[0] == 3
    for _ in range(300):  # longer than its time limit
        adapted.step(2)
    assert adapted.place(adapted.state()) == (3, 1)
    assert end(adapted, state, word(adapted, "left left left left")) == state


def test_what_cannot_be_adapted_is_refused() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    pole = gymnasium.make("Pendulum-v1")
    nothing = {"get_state": lambda e: 0, "set_state": lambda e, s: None, "place": lambda s: 0}
    with pytest.raises(DataError, match=r"test_words_environments.py:\d+: from_gymnasium takes"):
        from_gymnasium(pole, **nothing)
    with pytest.raises(DataError, match="there is no `frame`"):
        lake(frame=None)
    with pytest.raises(DataError, match="4 actions have as many names"):
        lake(actions=("left", "right"))
    with pytest.raises(WordError, match="`get_state` returns something hashable; got list"):
        lake(get_state=lambda env: [int(env.s)])


def test_minigrid_says_what_is_nuisance_and_what_can_be_taken_back() -> None:
    rooms = four_rooms()
    state = rooms.reset(0)
    assert rooms.nuisance(state) == {"direction": state.direction}
    assert four_rooms(heading=True).nuisance(state) == {}
    assert [rooms.inverse(state, action) for action in range(3)] == [1, 0, None]
    balls = dynamic_obstacles()
    state = balls.reset(0)
    assert balls.nuisance(state) == {"direction": state.direction, "movers": state.movers}
    assert [balls.inverse(state, action) for action in range(3)] == [None] * 3
    assert (is_random(balls), is_random(rooms)) == (True, False)


def test_every_registered_environment_is_made_without_arguments() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["latentroles.environments"]
    names = {}
    for name, value in points.items():
        module, function = value.split(":")
        try:
            environment = getattr(importlib.import_module(module), function)()
        except PluginError:  # an optional library
            continue
        names[name] = environment.name
        state = environment.reset(0)
        assert environment.place(state)
        assert len(environment.pose()) == 3
        assert list(starts(environment))
    assert all(name == own for name, own in names.items())
    assert len(names) >= 7


@pytest.mark.parametrize(
    ("module", "name", "library"),
    [("miniworld", "four_rooms", "miniworld"), ("atari", "montezuma", "ale_py")],
)
def test_optional_environments_keep_the_first_laws(module: str, name: str, library: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    from latentroles.testing.environment_laws import LAWS

    make = getattr(importlib.import_module(f"latentroles.words.{module}"), name)
    try:
        environment = make()
    except PluginError as error:
        pytest.skip(str(error))
    assert all(LAWS[law](environment) for law in ("E1", "E2", "E4"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: corridor(cells=1), "cells is an integer of at least 2; got 1"),
        (lambda: corridor(phases=0), "phases is an integer of at least 1; got 0"),
        (lambda: corridor(slip=1.0), "slip is a probability below 1; got 1.0"),
        (lambda: corridor(slip="a"), "slip is a probability below 1; got 'a'"),  # type: ignore[arg-type]
        (lambda: gridworld(layout=("..", ".")), "rows of equal length"),
        (lambda: gridworld(layout=("..", "x.")), "rows of equal length"),
        (lambda: gridworld(layout=()), "rows of equal length"),
        (lambda: gridworld(layout=(0, 3)), "a side of the layout is an integer of at least 1"),
        (lambda: gridworld(layout=("#.",)), "at least two free cells"),
        (lambda: plane(size=1), "size is an integer of at least 2; got 1"),
        (lambda: rubik(size=4), "size is 2 or 3; got 4"),
        (lambda: rotations(pictures="all"), '"train", "test" or a tuple of names'),
        (lambda: rotations(pictures=("cofee",)), "no picture 'cofee'. Did you mean 'coffee'?"),
        (lambda: rotations(pictures=5), '"train", "test" or a tuple of names; got 5'),  # type: ignore[arg-type]
        (lambda: rotations(pictures=None), '"train", "test" or a tuple of names'),  # type: ignore[arg-type]
        (lambda: rotations(pictures=()), '"train", "test" or a tuple of names'),
        (lambda: rotations(pictures=(5,)), "no picture 5."),  # type: ignore[arg-type]
        (lambda: rotations(pictures=([],)), "no picture []."),  # type: ignore[arg-type]
        (lambda: rotations(size=300), "size + jitter is at most 300 pixels; got 300 + 2"),
        (lambda: rotations(light="no"), "rotations: light is True or False; got 'no'"),  # type: ignore[arg-type]
        (lambda: rotations(size=7), "size is an integer of at least 8; got 7"),
        (lambda: digits(pictures="tests"), 'pictures is "all", "train" or "test"; got \'tests\''),
        (lambda: digits(pictures=("coffee",)), '"all", "train" or "test"'),  # type: ignore[arg-type]
        (lambda: digits(jitter=-1), "digits: jitter is an integer of at least 0; got -1"),
        (lambda: digits(size=2_000_000), "at most 128 pixels; got 2000000 + 0"),
        (lambda: digits(size=128, jitter=1), "at most 128 pixels; got 128 + 1"),
        (lambda: digits(light=1), "digits: light is True or False; got 1"),  # type: ignore[arg-type]
        (lambda: corridor().reset(-1), "seed is an integer of at least 0; got -1"),
        (lambda: corridor().step(2), "an action is one of 0 left, 1 right; got 2"),
        (lambda: corridor().inverse(State(0), 7), "an action is one of 0 left, 1 right; got 7"),
        (lambda: plane().step(True), "an action is one of 0 left"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(make: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        make()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("make", "states"),
    [
        (
            corridor,
            [(9,), (0, 1), (0, 0, 0), (0, 0, -1, 1), (), (0, 0, -1, 0, 0), None, "a", (0.5,)],
        ),
        (gridworld, [(3, 1), (9, 0), (0,), (0, -1)]),
        (plane, [(6, 0, 0), (0, 0, 4)]),
        (pictures, [(2, 0, 0, 0, 1), (0, 4, 0, 0, 1), (0, 0, 2, 0, 1), (0, 0, 0, 0, 3)]),
        (rubik, [(0,) * 24, (1, 2), 3]),
    ],
)
def test_what_is_no_state_is_not_restored(make: Any, states: list) -> None:
    environment = make()
    here = environment.reset(1)
    for state in states:
        with pytest.raises(DataError, match="is not a state of this environment"):
            environment.restore(state)
    assert environment.state() == here
    environment.restore(tuple(here))
    assert environment.state() == here
