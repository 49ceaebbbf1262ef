"""Trajectories on disk, their collection, and windows of them."""

import errno
import hashlib
import itertools
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentroles.data import Trajectories, Windows, collect, collect_or_reuse, relative_pose
from latentroles.errors import DataError, PluginError
from latentroles.plan.inputs import as_numpy
from latentroles.spec import Spec
from latentroles.train.batches import Batches

ARRAYS = ("frames", "actions", "pose", "offsets")
seeds = st.integers(0, 2**32 - 1)
lengths_of_episodes = st.lists(st.integers(1, 7), min_size=1, max_size=5)


def some_trajectories(lengths: list[int], seed: int = 0) -> Trajectories:
    """Random trajectories whose frames and actions are all different: each shows its own row."""
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    frames = rng.integers(0, 256, (total, 3, 2, 2), dtype=np.uint8)
    frames[:, 0, 0, 0] = np.arange(total)
    return Trajectories(
        frames=frames,
        actions=np.arange(total - len(lengths)),
        pose=rng.normal(0, 3, (total, 3)),
        offsets=np.cumsum([0, *lengths]),
        environment="tape",
        action_names=tuple(f"action {i}" for i in range(total)),
        parameters={"seed of the tape": seed},
        collection={"steps": lengths},
        labels={"place": rng.integers(0, 9, (total, 2)), "light": rng.normal(size=total)},
    )


def assert_same(found: Trajectories, wanted: Trajectories) -> None:
    for name in ARRAYS:
        a, b = getattr(found, name), getattr(wanted, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert found.labels.keys() == wanted.labels.keys()
    for name, label in wanted.labels.items():
        np.testing.assert_array_equal(found.labels[name], label, err_msg=name)
    for name in ("environment", "action_names", "parameters", "collection"):
        assert getattr(found, name) == getattr(wanted, name)


class Corridor:
    """`cells` cells between two walls; the frame shows the cell. Counts its own steps."""

    name = "corridor"
    actions: tuple[str, ...] = ("left", "right", "forward")

    def __init__(self, cells: int = 5):
        self.parameters = {"cells": cells}
        self.steps_taken = 0
        self.cell, self.direction = 0, 1

    def reset(self, seed: int) -> tuple[int, int]:
        rng = np.random.default_rng(seed)
        self.cell = int(rng.integers(self.parameters["cells"]))
        self.direction = int(rng.choice([-1, 1]))
        return self.cell, self.direction

    def step(self, action: int) -> tuple[int, int]:
        self.steps_taken += 1
        if action < 2:
            self.direction = -self.direction
        elif 0 <= self.cell + self.direction < self.parameters["cells"]:
            self.cell += self.direction
        return self.cell, self.direction

    def restore(self, state: tuple[int, int]) -> None:
        self.cell, self.direction = state

    def frame(self) -> np.ndarray:
        return np.full((3, 2, 2), 2 * self.cell + (self.direction > 0), np.uint8)

    def pose(self) -> tuple[float, float, float]:
        return float(self.cell), 0.0, 0.0 if self.direction > 0 else math.pi

    def place(self, state: tuple[int, int]) -> tuple[int, ...]:
        return (state[0],)


# Windows


@given(lengths_of_episodes, st.integers(1, 7), seeds)
def test_a_window_is_a_piece_of_one_episode(lengths: list[int], size: int, seed: int) -> None:
    source = some_trajectories(lengths, seed)
    columns = {"x": "frames", "a": "actions", "world": "pose", "where": "place", "light": "light"}
    wanted = [
        source.offsets[e] + start
        for e, length in enumerate(lengths)
        for start in range(length - size + 1)
    ]
    if not wanted:
        with pytest.raises(DataError, match=f"the longest has {max(lengths)} frames"):
            Windows(source, frames=size, batch=2)
        return
    windows = Windows(source, frames=size, batch=2, columns=columns)
    assert len(windows) == len(wanted)
    assert windows.skipped == sum(length < size for length in lengths)
    every = windows.at(np.arange(len(windows)))
    for i, start in enumerate(wanted):
        rows = slice(start, start + size)
        episode = int(np.searchsorted(source.offsets, start, side="right")) - 1
        np.testing.assert_array_equal(every["x"][i], source.frames[rows])
        inside = start - source.offsets[episode]
        actions = source.actions_of(episode)[inside : inside + size - 1]
        np.testing.assert_array_equal(every["a"][i], actions)
        np.testing.assert_array_equal(every["world"][i], source.pose[rows].astype(np.float32))
        np.testing.assert_array_equal(every["where"][i], source.labels["place"][rows])
        np.testing.assert_array_equal(every["light"][i], source.labels["light"][rows].astype("f4"))
    assert every["a"].shape == (len(wanted), size - 1)


@given(lengths_of_episodes, seeds, st.integers(0, 10**6))
def test_a_batch_is_a_function_of_seed_and_step(lengths: list[int], seed: int, step: int) -> None:
    source = some_trajectories(lengths)
    first = Windows(source, frames=1, batch=64, seed=seed)
    again = Windows(source, frames=1, batch=64, seed=seed)
    first.batch(step + 1)
    one, other = first.batch(step), again.batch(step)
    assert one.keys() == other.keys() == {"x", "a", "pose"}
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_another_step_or_seed_draws_other_windows_and_all_are_drawn() -> None:
    source = some_trajectories([7, 3, 5])
    windows = Windows(source, frames=3, batch=64, seed=1)
    base = windows.batch(0)["x"]
    assert not np.array_equal(base, windows.batch(1)["x"])
    assert not np.array_equal(base, Windows(source, frames=3, batch=64, seed=2).batch(0)["x"])
    drawn = np.concatenate([windows.batch(step)["x"][:, 0, 0, 0, 0] for step in range(100)])
    counts = np.bincount(drawn, minlength=15)
    starts = [0, 1, 2, 3, 4, 7, 10, 11, 12]
    assert set(np.flatnonzero(counts)) == set(starts)
    # 6400 draws from 9 windows: 711 each, with a standard deviation of 25
    assert np.abs(counts[starts] - 6400 / 9).max() < 5 * 25.2


def test_the_shapes_and_dtypes_of_a_batch() -> None:
    batch = Windows(some_trajectories([7, 7]), frames=4, batch=5).batch(0)
    found = {name: (column.shape, column.dtype.name) for name, column in batch.items()}
    assert found == {
        "x": ((5, 4, 3, 2, 2), "uint8"),
        "a": ((5, 3), "int64"),
        "pose": ((5, 4, 4), "float32"),
    }


def test_a_missing_column_is_refused_with_the_list_of_those_there() -> None:
    with pytest.raises(
        DataError, match=r"'g' asks for .*'goal'.*frames, actions, pose, relative_pose, place, l"
    ):
        Windows(some_trajectories([4]), frames=2, batch=1, columns={"g": "goal"})


@pytest.mark.parametrize(
    "arguments", [{"frames": 0}, {"batch": 0}, {"seed": -1}, {"frames": 2.0}, {"batch": True}]
)
def test_bad_sizes_are_refused(arguments: dict[str, object]) -> None:
    (name,) = arguments
    with pytest.raises(DataError, match=f"^{name} is an integer of at least"):
        Windows(some_trajectories([4]), **{"frames": 2, "batch": 1, **arguments})  # type: ignore
    with pytest.raises(DataError, match=r"^step is an integer of at least 0"):
        Windows(some_trajectories([4]), frames=2, batch=1).batch(-1)


# The relative pose

coordinates = st.floats(-50, 50, allow_subnormal=False)
poses = st.tuples(coordinates, coordinates, st.floats(-10, 10, allow_subnormal=False))


def as_matrix(relative: np.ndarray) -> np.ndarray:
    """The element of SE(2) that a relative pose stands for, (3, 3)."""
    forward, left, c, s = relative
    return np.array([[1 + c, -s, forward], [s, 1 + c, left], [0, 0, 1]])


@given(poses, poses, poses)
def test_relative_poses_compose_as_rigid_motions(i, j, k) -> None:
    ij = relative_pose(np.array([i, j]))
    jk = relative_pose(np.array([j, k]))
    ik = relative_pose(np.array([i, k]))
    assert not ij[0].any()
    product = as_matrix(ij[1]) @ as_matrix(jk[1])
    np.testing.assert_allclose(product, as_matrix(ik[1]), atol=1e-12 * 200)


@given(st.lists(poses, min_size=1, max_size=5), poses)
def test_a_relative_pose_forgets_where_the_window_lies(window, motion) -> None:
    window = np.array(window)
    x, y, turn = motion
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    moved = np.concatenate([window[:, :2] @ rotation.T + [x, y], window[:, 2:] + turn], -1)
    np.testing.assert_allclose(relative_pose(moved), relative_pose(window), atol=1e-12 * 200)


@pytest.mark.parametrize("heading", [0.0, math.pi / 2, math.pi, 0.3])
def test_the_axes_are_forward_and_left_of_the_first_frame(heading: float) -> None:
    ahead = [math.cos(heading), math.sin(heading)]
    left = [-ahead[1], ahead[0]]
    window = np.array([[1, 1, heading], [1 + ahead[0], 1 + ahead[1], heading], [0, 0, 0]])
    window[2] = [1 + 2 * left[0], 1 + 2 * left[1], heading + math.pi / 2]
    wanted = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 2, -1, 1]]
    np.testing.assert_allclose(relative_pose(window), wanted, atol=1e-12)


def test_a_small_turn_is_not_lost_to_rounding() -> None:
    c = relative_pose(np.array([[0, 0, 0], [0, 0, 1e-9]]))[1, 2]
    assert c == pytest.approx(-0.5e-18, rel=1e-6, abs=0)


# Files


@given(lengths_of_episodes, seeds)
def test_what_is_read_is_what_was_written(lengths: list[int], seed: int) -> None:
    written = some_trajectories(lengths, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.h5")
        written.save(path)
        assert_same(Trajectories.open(path), written)
        assert os.listdir(folder) == ["t.h5"]
        before = path.read_bytes()
        written.save(path)
        assert path.read_bytes() == before, "the bytes of a file depend on its content alone"


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "t.h5"
    some_trajectories([7, 3, 5]).save(path)
    return path.read_bytes()


def assert_refused_or_unharmed(damaged: bytes) -> bool:
    """Whether the file was refused: then it is named and left as it was."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.h5")
        path.write_bytes(damaged)
        try:
            assert_same(Trajectories.open(path), some_trajectories([7, 3, 5]))
        except DataError as error:
            message = str(error)
        else:
            return False
        assert message.startswith(str(path))
        assert "delete it or pass another path" in message
        assert path.read_bytes() == damaged
        return True


@given(st.data())
def test_damaged_bytes_are_noticed(whole_file: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(whole_file) - 1), label="start")
    junk = data.draw(st.binary(min_size=1, max_size=300), label="bytes")[: len(whole_file) - start]
    assert_refused_or_unharmed(whole_file[:start] + junk + whole_file[start + len(junk) :])


def test_one_wrong_byte_anywhere_is_noticed(whole_file: bytes) -> None:
    for at in range(0, len(whole_file), 7):
        damaged = bytearray(whole_file)
        damaged[at] ^= 0x10
        assert assert_refused_or_unharmed(bytes(damaged)), f"byte {at}"


def test_a_file_cut_short_anywhere_is_noticed(whole_file: bytes) -> None:
    for length in [*range(0, len(whole_file), 97), len(whole_file) - 1]:
        assert assert_refused_or_unharmed(whole_file[:length]), f"{length} bytes"


def edit_header(file: Any, **changes: object) -> None:
    """Rewrites entries of the header as a writer with other ideas would: checksum and all."""
    text = json.dumps(json.loads(bytes(file.attrs["header"])) | changes).encode()
    file.attrs["header"] = np.void(text)
    file.attrs["header_sha256"] = np.bytes_(hashlib.sha256(text).hexdigest())


def set_pixel(file: Any) -> None:
    file["frames"][4, 0, 0, 0] += 1


EDITS = {
    "version 2 of the format; this latentroles reads version 1": lambda f: f.attrs.update(
        version=2
    ),
    "does not hold latentroles-trajectories": lambda f: f.attrs.update(format="something"),
    "no mark of completeness": lambda f: f.attrs.pop("complete"),
    "header does not match its checksum": lambda f: f.attrs.update(header_sha256=np.bytes_(b"0")),
    "'frames' does not match its checksum": set_pixel,
    "dataset 'pose' is missing": lambda f: f.pop("pose"),
    "dataset 'labels/place' is missing": lambda f: f.pop("labels/place"),
    "dataset 'frames' is missing": lambda f: edit_header(f, sha256={}),
    "actions are 0 to 1": lambda f: edit_header(f, actions=["left", "right"]),
    "damaged or cannot be read": lambda f: edit_header(f, sha256=3),
}


@pytest.mark.parametrize("message", EDITS)
def test_a_file_that_was_edited_is_refused(message: str, whole_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    path.write_bytes(whole_file)
    with h5py.File(path, "r+") as file:
        EDITS[message](file)
    with pytest.raises(DataError, match=f"t.h5: .*{message}"):
        Trajectories.open(path)


def test_what_is_no_trajectory_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no such file.*collect\("):
        Trajectories.open(tmp_path / "none.h5")
    with pytest.raises(DataError, match="a folder, a broken link or a device"):
        Trajectories.open(tmp_path)
    (tmp_path / "notes.txt").write_text("not mine")
    with pytest.raises(DataError, match="not an HDF5 file"):
        Trajectories.open(tmp_path / "notes.txt")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="does not hold latentroles-trajectories"):
        Trajectories.open(tmp_path / "other.h5")


def test_only_a_whole_trajectory_file_is_replaced(tmp_path: Path, whole_file: bytes) -> None:
    source = some_trajectories([3])
    for name, content in {"notes.txt": b"not mine", "damaged.h5": whole_file[:-9]}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match="Nothing is written: only a whole trajectory file"):
            source.save(path)
        assert path.read_bytes() == content
    with pytest.raises(DataError, match=r"the folder .* does not exist"):
        source.save(tmp_path / "nowhere" / "t.h5")
    link, real = tmp_path / "link.h5", tmp_path / "real.h5"
    some_trajectories([7]).save(real)
    link.symlink_to(real)
    source.save(link)
    assert link.is_symlink()
    assert_same(Trajectories.open(real), source)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("there_before", [True, False])
@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_full_disk_changes_nothing(
    fails: str, there_before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.h5"
    if there_before:
        some_trajectories([7]).save(path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(os, fails, full_disk)
    with pytest.raises(DataError, match=r"t\.h5: .*No space left on device.*unchanged"):
        some_trajectories([3]).save(path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_an_interrupt_while_writing_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        some_trajectories([3]).save(tmp_path / "t.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of a file are POSIX's")
def test_a_file_that_may_not_grow_is_refused_by_the_system(tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match="cannot be written"):
            some_trajectories([7]).save(tmp_path / "t.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corridor = Corridor()
    monkeypatch.setitem(sys.modules, "h5py", None)
    for use in (
        lambda: Trajectories.open(tmp_path / "t.h5"),
        lambda: collect(corridor, tmp_path / "t.h5"),
    ):
        with pytest.raises(PluginError, match=r"pip install 'latentroles\[envs\]'"):
            use()
    assert corridor.steps_taken == 0


# Trajectories in memory

GOOD = {
    "frames": np.zeros((5, 3, 2, 2), np.uint8),
    "actions": np.zeros(3, int),
    "pose": np.zeros((5, 3)),
    "offsets": np.array([0, 3, 5]),
    "environment": "tape",
    "action_names": ("left", "right"),
}
NAN_POSE = np.zeros((5, 3))
NAN_POSE[3, 1] = np.nan
BAD = [
    ("frames are uint8 or float", {"frames": np.zeros((5, 3, 2, 2), np.int32)}),
    (r"frames are \(N", {"frames": np.zeros(5, np.uint8)}),
    ("frames are finite", {"frames": np.full((5, 2), np.inf)}),
    ("offsets rise from 0 to the number of frames, 5", {"offsets": np.array([0, 3, 6])}),
    ("offsets rise from 0", {"offsets": np.array([1, 3, 5])}),
    ("offsets rise from 0", {"offsets": np.array([0, 3, 3, 5])}),
    (r"offsets are \(E \+ 1,\) integers", {"offsets": np.array([0.0, 5.0])}),
    (r"5 frames in 2 episodes have \(3,\) integer actions", {"actions": np.zeros(4, int)}),
    ("5 frames .* integer actions; got float64", {"actions": np.zeros(3)}),
    ("actions are 0 to 1", {"actions": np.array([0, 1, 2])}),
    ("actions are 0 to 1", {"actions": np.array([0, -1, 1])}),
    (r"pose is \(5, 3\)", {"pose": np.zeros((5, 2))}),
    ("pose is finite; got NaN", {"pose": NAN_POSE}),
    (r"label 'place' is \(5,", {"labels": {"place": np.zeros(4)}}),
    ("label 'place' is finite", {"labels": {"place": np.full(5, np.nan)}}),
    ("a label's name is an identifier other than", {"labels": {"pose": np.zeros(5)}}),
    ("a label's name is an identifier other than", {"labels": {"../x": np.zeros(5)}}),
]


@pytest.mark.parametrize(("message", "change"), BAD)
def test_arrays_that_do_not_fit_are_refused(message: str, change: dict[str, object]) -> None:
    Trajectories(**GOOD)
    with pytest.raises(DataError, match=f"^trajectories: {message}"):
        Trajectories(**{**GOOD, **change})


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stored as JSON"):
        Trajectories(**GOOD, parameters={"rng": object()}).save(tmp_path / "t.h5")
    assert not list(tmp_path.iterdir())


@given(st.lists(st.integers(1, 7), min_size=2, max_size=6), st.floats(0.01, 0.99), seeds)
def test_a_split_puts_each_episode_in_one_part(
    lengths: list[int], fraction: float, seed: int
) -> None:
    source = some_trajectories(lengths)
    parts = source.split(fraction, seed)
    for part, again in zip(parts, source.split(fraction, seed), strict=True):
        assert_same(part, again)
    found = []
    for part in parts:
        for i, rows in enumerate(part.episodes):
            frames = part.frames[rows]
            episode = int(np.searchsorted(source.offsets, frames[0, 0, 0, 0], side="right")) - 1
            found.append(episode)
            original = source.episodes[episode]
            np.testing.assert_array_equal(frames, source.frames[original])
            np.testing.assert_array_equal(part.pose[rows], source.pose[original])
            np.testing.assert_array_equal(part.actions_of(i), source.actions_of(episode))
            np.testing.assert_array_equal(
                part.labels["place"][rows], source.labels["place"][original]
            )
    assert sorted(found) == list(range(len(lengths)))
    held = len(parts[1])
    assert 1 <= held <= len(lengths) - 1
    assert abs(held - fraction * len(lengths)) <= 1


def test_splits_with_other_seeds_differ_and_bad_ones_are_refused() -> None:
    source = some_trajectories([2] * 20)
    held = {tuple(source.split(0.5, seed)[1].frames[:, 0, 0, 0]) for seed in range(5)}
    assert len(held) == 5
    for episodes in ([], [20], [-1], [0, 0.5]):
        with pytest.raises(DataError, match="one or more of the episodes 0 to 19"):
            source.subset(episodes)
    for fraction in (0, 1, -0.5, math.nan, "a", None):
        with pytest.raises(DataError, match=r"fraction is between 0 and 1.*got .*Fix: pass 0\.1"):
            source.split(fraction)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 2 episodes"):
        some_trajectories([5]).split(0.5)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=9), st.floats(0.01, 0.99), seeds)
def test_a_split_keeps_the_episodes_of_a_group_together(
    groups: list[int], fraction: float, seed: int
) -> None:
    source = some_trajectories([3] * len(groups))
    source = replace(source, labels={**source.labels, "group": np.repeat(groups, 3)})
    if len(set(groups)) < 2:
        with pytest.raises(DataError, match="at least 2 groups of episodes; there is 1"):
            source.split(fraction, seed)
        return
    train, held = source.split(fraction, seed)
    kept, apart = (set(part.labels["group"].tolist()) for part in (train, held))
    assert kept | apart == set(groups)
    assert not kept & apart
    assert len(train) + len(held) == len(groups)
    assert abs(len(apart) - fraction * len(set(groups))) <= 1


def test_a_group_is_one_of_an_episode_and_may_have_several_numbers() -> None:
    source = some_trajectories([2, 2])
    mixed = replace(source, labels={"group": np.array([0, 1, 1, 1])})
    with pytest.raises(DataError, match=r"episode 0 has the labels 'group' \[\(0,\), \(1,\)\]"):
        mixed.split(0.5)
    pairs = replace(source, labels={"group": np.array([[0, 1], [0, 1], [0, 2], [0, 2]])})
    assert [len(part) for part in pairs.split(0.5)] == [1, 1]


LABELS = {
    "kind": np.array([2, 0, 1], np.uint8),
    "open": np.array([True, False, True]),
    "cell": np.array([[0, 5], [1, 300], [2, 7]], np.int32),
    "light": np.array([0.5, 1.5, 2.5]),
}


def labelled() -> Trajectories:
    return replace(some_trajectories([3]), labels=LABELS)


def test_a_window_keeps_the_integers_of_a_label_and_counts_truth_among_them() -> None:
    columns = {name: name for name in LABELS}
    batch = Windows(labelled(), frames=3, batch=1, columns=columns).batch(0)
    assert {name: array.dtype.name for name, array in batch.items()} == {
        "kind": "int64",
        "open": "int64",
        "cell": "int64",
        "light": "float32",
    }
    for name, label in LABELS.items():
        np.testing.assert_array_equal(batch[name], label[None])


@pytest.mark.parametrize("classes", [None, 301])
@pytest.mark.parametrize("name", ["kind", "open", "cell"])
def test_integers_are_classes_or_numbers_as_the_spec_declares_them(
    name: str, classes: int | None
) -> None:
    """A count is not scaled as a frame of bytes is, and truth values may be either."""
    spec = Spec("labels")
    spec.label(name, LABELS[name].shape[1:], classes=classes)
    batch = Batches(spec, labelled(), frames=3, batch=1, columns=None, seed=0).batch(0)
    assert batch[name].dtype == (np.float32 if classes is None else np.int64)
    np.testing.assert_array_equal(batch[name], LABELS[name][None])
    np.testing.assert_array_equal(as_numpy(spec, name, batch[name]), LABELS[name][None])


class Own:
    """Data of the user's own: truth values, and frames of bytes."""

    def batch(self, step: int) -> dict[str, np.ndarray]:
        return {"open": np.array([[True, False]]), "x": np.full((1, 2, 3), 255, np.uint8)}


@pytest.mark.parametrize("classes", [None, 2])
def test_truth_values_of_ones_own_data_are_what_the_spec_declares(classes: int | None) -> None:
    spec = Spec("labels")
    spec.label("open", classes=classes)
    spec.observation("x", (3,))
    batch = Batches(spec, Own(), frames=2, batch=1, columns=None, seed=0).batch(0)
    assert batch["open"].dtype == (np.float32 if classes is None else np.int64)
    assert batch["open"].tolist() == [[1, 0]]
    assert batch["x"].dtype == np.uint8
    assert as_numpy(spec, "x", batch["x"]).max() == 1.0

    observed = Spec("observed")
    observed.observation("open", ())
    with pytest.raises(DataError, match=r"'open' of observed is declared as .*bool"):
        Batches(observed, Own(), frames=2, batch=1, columns=None, seed=0).batch(0)


def test_integers_that_are_no_class_and_numbers_that_are_no_integers_are_refused() -> None:
    for name, said in (("kind", r"Discrete\(2\), 0 to 1; the batch has 0 to 2"), ("light", "int")):
        spec = Spec("labels")
        spec.label(name, classes=2)
        with pytest.raises(DataError, match=said):
            Batches(spec, labelled(), frames=3, batch=1, columns=None, seed=0).batch(0)


# Collection


class Told(Corridor):
    """A corridor that tells what `said` makes of its cell."""

    said: Callable[[int], dict[str, Any]]

    def labels(self, state: tuple[int, int]) -> dict[str, Any]:
        return type(self).said(state[0])


def test_what_an_environment_tells_of_a_state_becomes_columns(tmp_path: Path) -> None:
    Told.said = lambda cell: {"even": cell % 2, "lamps": [cell / 2, 1.0]}
    found = collect(Told(), tmp_path / "t.h5", episodes=2, steps=5)
    cells = found.labels["place"][:, 0]
    np.testing.assert_array_equal(found.labels["even"], cells % 2)
    np.testing.assert_array_equal(found.labels["lamps"], np.stack([cells / 2, np.ones(12)], 1))
    assert_same(Trajectories.open(tmp_path / "t.h5"), found)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (lambda cell: {"place": cell}, "none of them `place`; got .'place'."),
        (lambda cell: {"a": 0} if cell < 4 else {}, r"got \['a'\] and \[\]\. Fix: .* one set of"),
        (lambda cell: {"a": [0] * (cell // 4)}, r"state; got \(0,\) and \(1,\)\. Fix: pad it"),
        (lambda cell: {"a": "high"}, r"label 'a' is \(202, ...\) numbers; got <U4"),
        (lambda cell: {"a": math.nan}, "label 'a' is finite"),
    ],
)
def test_labels_of_another_form_are_refused(said: Any, message: str, tmp_path: Path) -> None:
    Told.said = said
    with pytest.raises(DataError, match=message):
        collect(Told(), tmp_path / "t.h5", episodes=2, steps=100)
    assert not list(tmp_path.iterdir())


@given(st.integers(1, 3), st.integers(1, 12), seeds)
def test_a_collection_replays_and_repeats(episodes: int, steps: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, ticks = Path(folder, "t.h5"), []
        found = collect(
            Corridor(),
            path,
            episodes=episodes,
            steps=steps,
            seed=seed,
            progress=lambda done, of: ticks.append((done, of)),
        )
        assert_same(Trajectories.open(path), found)
        again = collect(Corridor(), Path(folder, "u.h5"), episodes=episodes, steps=steps, seed=seed)
    assert_same(again, found)
    assert ticks == [(i + 1, episodes) for i in range(episodes)]
    assert np.diff(found.offsets).tolist() == [steps + 1] * episodes
    corridor = Corridor()
    for i, rows in enumerate(found.episodes):
        cell, heading = found.pose[rows.start, 0], found.pose[rows.start, 2]
        state = (int(cell), 1 if heading == 0 else -1)
        corridor.restore(state)
        for row, action in itertools.zip_longest(range(rows.start, rows.stop), found.actions_of(i)):
            np.testing.assert_array_equal(found.frames[row], corridor.frame())
            np.testing.assert_array_equal(found.pose[row], corridor.pose())
            np.testing.assert_array_equal(found.labels["place"][row], corridor.place(state))
            if action is not None:
                state = corridor.step(action)


def test_another_seed_collects_something_else(tmp_path: Path) -> None:
    found = [
        collect(Corridor(), tmp_path / f"{seed}.h5", episodes=2, steps=30, seed=seed)
        for seed in (0, 1)
    ]
    assert not np.array_equal(found[0].actions, found[1].actions)
    assert not np.array_equal(found[0].actions_of(0), found[0].actions_of(1))


def test_the_policy_goes_forward_and_turns_where_it_is_blocked(tmp_path: Path) -> None:
    found = collect(Corridor(50), tmp_path / "t.h5", episodes=8, steps=500)
    runs = [found.actions_of(e) for e in range(8)]
    blocked = np.concatenate(
        [(found.pose[rows][:-2] == found.pose[rows][1:-1]).all(1) for rows in found.episodes]
    )
    after = np.concatenate([run[1:] for run in runs])
    assert blocked.sum() > 20
    assert (after[blocked] != 2).all()
    # 3,700 draws at 0.8: a standard deviation of 0.007
    assert (after[~blocked] == 2).mean() == pytest.approx(0.8, abs=0.035)
    turns = after[after != 2]
    assert (turns == 0).mean() == pytest.approx(0.5, abs=0.1)
    assert len(np.unique(found.pose[:, 0])) == 50
    starts = {tuple(found.pose[start]) for start in found.offsets[:-1]}
    assert len(starts) > 1


def test_without_a_forward_action_the_policy_is_uniform(tmp_path: Path) -> None:
    corridor = Corridor()
    corridor.actions = ("west", "east", "rest")
    found = collect(corridor, tmp_path / "t.h5", episodes=1, steps=3000)
    np.testing.assert_allclose(np.bincount(found.actions) / 3000, [1 / 3] * 3, atol=0.05)


def test_a_file_that_fits_is_reused(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    made = collect_or_reuse(Corridor(), path, episodes=2, steps=5, seed=3)
    corridor = Corridor()
    assert_same(collect_or_reuse(corridor, path, episodes=2, steps=5, seed=3), made)
    assert corridor.steps_taken == 0


@pytest.mark.parametrize(
    ("message", "cells", "change"),
    [
        ("steps is 5 in the file and 6 was asked for", 5, {"steps": 6}),
        ("episodes is 2 in the file and 1 was asked for", 5, {"episodes": 1}),
        ("seed is 3 in the file and 4 was asked for", 5, {"seed": 4}),
        ("parameter cells is 5 in the file and 9 was asked for", 9, {}),
    ],
)
def test_a_file_of_something_else_is_not_reused(
    message: str, cells: int, change: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "t.h5"
    asked: dict[str, Any] = {"episodes": 2, "steps": 5, "seed": 3}
    collect_or_reuse(Corridor(), path, **asked)
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"t\.h5: .*: {message}\. The file is left"):
        collect_or_reuse(Corridor(cells), path, **{**asked, **change})
    assert path.read_bytes() == before


def test_a_damaged_file_is_not_collected_over(tmp_path: Path, whole_file: bytes) -> None:
    path = tmp_path / "t.h5"
    path.write_bytes(whole_file[:-20])
    corridor = Corridor()
    for use in (collect, collect_or_reuse):
        with pytest.raises(DataError, match="delete it or pass another path"):
            use(corridor, path, episodes=1, steps=5)
    assert path.read_bytes() == whole_file[:-20]
    assert corridor.steps_taken == 0


def test_bad_requests_and_bad_environments_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    for change in ({"episodes": 0}, {"steps": 0}, {"steps": 2.5}, {"seed": -1}):
        corridor = Corridor()
        with pytest.raises(DataError, match=f"^{next(iter(change))} is an integer"):
            collect(corridor, path, **change)  # type: ignore[arg-type]
        assert corridor.steps_taken == 0
    with pytest.raises(DataError, match="do not fit in memory"):
        collect(Corridor(), path, episodes=2**40, steps=2**20)
    shapes = iter([2, 2, 3])
    for name, value, message in [
        ("frame", lambda: np.zeros((3, 2, next(shapes))), "one shape and dtype"),
        ("pose", lambda: (math.nan, 0.0, 0.0), "pose is finite"),
        ("actions", (), "at least one action"),
        ("parameters", {"cells": 5, "rng": object()}, "stored as JSON"),
    ]:
        corridor = Corridor()
        setattr(corridor, name, value)
        with pytest.raises(DataError, match=message):
            collect(corridor, path, episodes=1, steps=3)
    assert not list(tmp_path.iterdir())
