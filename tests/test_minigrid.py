"""MiniGrid as an environment: what it shows, how it moves, and that it never ends."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentroles.data import collect
from latentroles.errors import DataError, PluginError
from latentroles.words.minigrid import MiniGrid, State, dynamic_obstacles, four_rooms

LEFT, RIGHT, FORWARD = range(3)
seeds = st.integers(0, 2**31 - 1)
words = st.lists(st.sampled_from([LEFT, RIGHT, FORWARD, FORWARD, FORWARD]), max_size=40)
both = pytest.mark.parametrize("make", [four_rooms, dynamic_obstacles])


@cache
def shared(make: Callable[[], MiniGrid]) -> MiniGrid:
    """One environment for the examples of a property: each of them resets it."""
    return make()


def wrapped(degrees: float) -> float:
    return (degrees + math.pi) % (2 * math.pi) - math.pi


@both
@given(seed=seeds, word=words)
def test_a_step_turns_or_goes_one_cell_ahead(
    make: Callable[[], MiniGrid], seed: int, word: list[int]
) -> None:
    environment = shared(make)
    state = environment.reset(seed)
    for action in word:
        x, y, heading = environment.pose()
        state_before, state = state, environment.step(action)
        assert state == environment.state()
        dx, dy, turn = np.subtract(environment.pose(), (x, y, heading))
        if action == FORWARD:
            ahead = (round(math.cos(heading)), round(math.sin(heading)))
            assert turn == 0
            assert (dx, dy) in {ahead, (0, 0)}
            if (dx, dy) == (0, 0):
                assert blocked(environment, state_before, ahead)
        else:
            assert (dx, dy) == (0, 0)
            quarter = math.pi / 2 if action == LEFT else -math.pi / 2
            assert wrapped(turn - quarter) == pytest.approx(0, abs=1e-12)


def blocked(environment: MiniGrid, state: State, ahead: tuple[int, int]) -> bool:
    """Whether a wall, or a ball before or after its move, is in the cell ahead (y up)."""
    cell = (state.column + ahead[0], state.row - ahead[1])
    thing = environment._grid.grid.get(*cell)
    balls = {*state.movers, *environment.state().movers}
    return cell in balls or (thing is not None and thing.type == "wall")


@both
@given(seed=seeds, word=words)
def test_a_restored_state_has_the_same_frame_pose_and_place(
    make: Callable[[], MiniGrid], seed: int, word: list[int]
) -> None:
    environment = shared(make)
    seen = [environment.reset(seed)]
    shown = [(environment.frame(), environment.pose())]
    for action in word:
        seen.append(environment.step(action))
        shown.append((environment.frame(), environment.pose()))
    environment.reset(seed + 1)
    for state, (frame, pose) in reversed(list(zip(seen, shown, strict=True))):
        environment.restore(state)
        assert environment.state() == state
        assert environment.pose() == pose
        np.testing.assert_array_equal(environment.frame(), frame)


@both
@given(seed=seeds, word=words)
def test_an_episode_depends_on_its_seed_alone(
    make: Callable[[], MiniGrid], seed: int, word: list[int]
) -> None:
    environment = shared(make)
    runs = []
    for _ in range(2):
        runs.append([environment.reset(seed), *(environment.step(action) for action in word)])
    assert runs[0] == runs[1]


def reference(layout: int, state: State) -> np.ndarray:
    """The picture that minigrid itself gives of a state, (56, 56, 3)."""
    from minigrid.envs.fourrooms import FourRoomsEnv
    from minigrid.wrappers import RGBImgPartialObsWrapper

    grid: Any = FourRoomsEnv()
    camera = RGBImgPartialObsWrapper(grid, tile_size=8)
    camera.reset(seed=layout)
    grid.agent_pos, grid.agent_dir = (state.column, state.row), state.direction
    return camera.observation(grid.gen_obs())["image"]


@given(seeds, st.integers(0, 3))
def test_a_frame_is_minigrids_own_egocentric_picture(seed: int, layout: int) -> None:
    environment = four_rooms(layout=layout)
    state = environment.reset(seed)
    frame = environment.frame()
    assert (frame.shape, frame.dtype) == ((3, 56, 56), np.uint8)
    np.testing.assert_array_equal(frame.transpose(1, 2, 0), reference(layout, state))


def states_from(environment: MiniGrid, start: State) -> set[State]:
    """All states that words lead to."""
    known, open_ = {start}, [start]
    while open_:
        state = open_.pop()
        for action in range(len(environment.actions)):
            environment.restore(state)
            following = environment.step(action)
            if following not in known:
                known.add(following)
                open_.append(following)
    return known


def test_four_rooms_have_260_cells_and_a_layout_of_their_own() -> None:
    environment = four_rooms(layout=4)
    reached = states_from(environment, environment.reset(0))
    assert len(reached) == 1040
    assert {environment.place(state) for state in reached} == {
        (state.column, state.row) for state in reached
    }
    assert len({environment.place(state) for state in reached}) == 260
    assert {environment.reset(seed) for seed in range(300)} <= reached
    assert len({environment.reset(seed) for seed in range(300)}) > 200
    cells = {environment.place(state) for state in reached}
    other = four_rooms(layout=5)
    assert {other.place(s) for s in states_from(other, other.reset(0))} != cells
    views = set()
    for state in reached:
        environment.restore(state)
        views.add(environment.frame().tobytes())
    assert 400 < len(views) < 500, "views alias: a metric must know it"


def test_the_goal_is_a_landmark_that_ends_nothing() -> None:
    environment = four_rooms()
    goal = next(
        (x, y)
        for x in range(19)
        for y in range(19)
        if getattr(environment._grid.grid.get(x, y), "type", "") == "goal"
    )
    before = next(
        State(goal[0] + dx, goal[1] + dy, direction)
        for direction, (dx, dy) in enumerate([(-1, 0), (0, -1), (1, 0), (0, 1)])
        if environment._grid.grid.get(goal[0] + dx, goal[1] + dy) is None
    )
    environment.restore(before)
    green = environment.frame()
    assert ((green[1] > 100) & (green[0] < 100)).any(), "the goal is in sight"
    assert environment.place(environment.step(FORWARD)) == goal
    environment.step(LEFT)
    environment.step(LEFT)
    back = environment.step(FORWARD)
    assert environment.place(back) == environment.place(before)


def test_a_long_episode_goes_on() -> None:
    environment = four_rooms()
    start = environment.reset(1)
    assert [environment.step(LEFT) for _ in range(4 * 100)][-1] == start
    assert environment.step(LEFT) != start


def test_a_collision_ends_nothing_and_balls_are_no_part_of_the_place() -> None:
    environment = dynamic_obstacles(size=6, balls=3)
    moved = collisions = 0
    state = environment.reset(5)
    for step in range(300):
        before, state = state, environment.step(FORWARD if step % 3 else LEFT)
        cells = [(state.column, state.row), *state.movers]
        assert len(set(cells)) == 4
        assert all(1 <= x <= 4 and 1 <= y <= 4 for x, y in cells)
        assert environment.place(state) == (state.column, state.row)
        moved += before.movers != state.movers
        collisions += environment.place(before) == environment.place(state)
    assert moved > 250
    assert collisions > 100


def test_balls_are_seen() -> None:
    environment = dynamic_obstacles()
    environment.restore(State(5, 5, 3, ((5, 3), (1, 8), (2, 8), (3, 8))))
    near = environment.frame()
    environment.restore(State(5, 5, 3, ((1, 7), (1, 8), (2, 8), (3, 8))))
    assert not np.array_equal(near, environment.frame())
    blue = (near[2] > 150) & (near[0] < 120)
    rows, columns = np.nonzero(blue)
    # two cells ahead of the agent, in the middle column: tile 4 of 7 down, tile 3 of 7 across
    assert {*(rows // 8)} == {4}
    assert {*(columns // 8)} == {3}


def test_the_heading_is_part_of_a_place_where_it_was_declared() -> None:
    environment = four_rooms(heading=True)
    state = environment.reset(0)
    assert environment.place(state) == state[:3]
    assert environment.place(environment.step(LEFT)) != environment.place(state)
    assert environment.parameters == {"layout": 0, "heading": True}


def test_a_frame_that_is_kept_cannot_be_painted_over() -> None:
    with pytest.raises(ValueError, match="read-only"):
        four_rooms().frame()[:] = 0


def test_what_makes_no_sense_is_refused() -> None:
    environment = four_rooms()
    here = environment.reset(0)
    for action in (3, -1, 1.5, "left", None, True):
        with pytest.raises(DataError, match="an action is one of 0 left, 1 right, 2 forward"):
            environment.step(action)  # type: ignore[arg-type]
    for seed in (-1, 1.5, None, True):
        with pytest.raises(DataError, match="seed is an integer of at least 0"):
            environment.reset(seed)  # type: ignore[arg-type]
    for state in [State(0, 0, 0), State(1, 1, 4), State(-1, 1, 0), State(1, 1, 0, ((2, 2),))]:
        with pytest.raises(DataError, match="is not a state of this layout"):
            environment.restore(state)
    assert environment.state() == here
    with pytest.raises(DataError, match="layout is an integer of at least 0"):
        four_rooms(layout=-1)
    changes: list[dict[str, Any]] = [{"size": 4, "balls": 1}, {"balls": 0}, {"balls": 6}]
    for change in changes:
        with pytest.raises(DataError, match="size >= 5 and 1 <= balls <= size // 2"):
            dynamic_obstacles(**change)
    balls = dynamic_obstacles()
    with pytest.raises(DataError, match="4 ball"):
        balls.restore(State(5, 5, 0, ((5, 5), (1, 8), (2, 8), (3, 8))))


@pytest.mark.parametrize("missing", ["gymnasium", "minigrid.envs"])
@both
def test_without_minigrid_the_extra_is_named(
    make: Callable[[], MiniGrid], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PluginError, match=r"pip install 'latentroles\[envs\]'"):
        make()


def test_making_one_warns_of_nothing_and_prints_nothing() -> None:
    program = "from latentroles.words.minigrid import *; four_rooms().frame(); dynamic_obstacles()"
    command = [sys.executable, "-W", "error", "-c", program]
    # this process has already told pygame to be quiet
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYGAME")}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_collection_revisits_places_across_episodes(tmp_path: Path) -> None:
    found = collect(four_rooms(), tmp_path / "rooms.h5", episodes=8, steps=100)
    assert found.environment == "minigrid-fourrooms"
    assert found.frames.shape == (808, 3, 56, 56)
    place = found.labels["place"]
    visits = [set(map(tuple, place[rows].tolist())) for rows in found.episodes]
    everywhere = set.union(*visits)
    shared_places = [p for p in everywhere if sum(p in visit for visit in visits) > 1]
    assert len(everywhere) > 100
    assert len(shared_places) > 30
    # at equal poses frames are equal: nothing but the pose is in a frame
    key = [(*p, round(h, 3)) for p, h in zip(place.tolist(), found.pose[:, 2], strict=True)]
    first: dict[tuple, int] = {}
    for row, pose in enumerate(key):
        np.testing.assert_array_equal(found.frames[row], found.frames[first.setdefault(pose, row)])
