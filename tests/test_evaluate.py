"""`lr.evaluate` and `latentroles evaluate`, end to end: M14, verdicts, data, and wrong input."""

import io
import json
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import latentroles as lr
from latentroles.cli import main
from latentroles.commands import outputs
from latentroles.data import Trajectories
from latentroles.errors import DataError, EncoderError, SpecError
from latentroles.evaluate import asked, distances
from latentroles.evaluate.controls import dead_reckoned, views_of
from latentroles.evaluate.encoders import latent_encoder
from latentroles.evaluate.measured import METRICS, measure
from latentroles.evaluate.narrow import narrowed
from latentroles.evaluate.progress import line
from latentroles.evaluate.runs import own_data, unfinished
from latentroles.evaluate.sources import read
from latentroles.evaluate.visits import Visits, past_actions
from latentroles.train import checkpoint
from latentroles.train.run import read_run, write_run
from latentroles.words.corridor import corridor
from latentroles.words.gridworld import gridworld
from latentroles.words.minigrid import dynamic_obstacles, four_rooms

CELLS = 5
SHORT = {"episodes": 12, "steps": 30}
QUICK = {**SHORT, "only": ["spreads"], "standard_controls": False}


def shown():
    """A corridor whose frame shows the last action beside the cell."""
    return corridor(cells=CELLS, noop=True, last_action=True)


def cells(frames):
    return frames[:, :CELLS]


def frame_id(frames):
    """A vector for each frame that is drawn from its bytes: two frames are as far as any two."""
    seeds = [int.from_bytes(np.packbits(f > 0).tobytes(), "little") for f in frames]
    return np.stack([np.random.default_rng(seed).standard_normal(8) for seed in seeds])


def constant(frames):
    return np.ones((len(frames), 3))


# M14 ----------------------------------------------------------------------------------------------


def test_m14_an_oracle_passes_and_a_number_for_each_frame_fails():
    oracle = lr.evaluate(cells, shown(), **SHORT)
    assert oracle.verdict == "pass"
    assert oracle.value("r1_hard").mean == 1.0
    assert oracle.value("leak_last_noisy").mean < 0.05
    hashed = lr.evaluate(frame_id, shown(), **SHORT)
    assert hashed.verdict == "fail"
    assert hashed.value("lcr_unlike").mean > 0.8
    assert hashed.value("r1_hard").mean < 0.5 * oracle.value("r1_hard").mean
    last = hashed.seeds[0].values
    assert last["leak_last"] > 0.8 * last["leak_last_entropy"]


def test_a_constant_is_degenerate_and_nothing_else():
    found = lr.evaluate(constant, shown(), **SHORT, only=["retrieval", "spreads", "collapse"])
    assert found.verdict == found.claim.verdict == "degenerate (collapsed)"
    assert found.value("auc").mean == pytest.approx(0.5)
    assert found.value("lcr") is None
    assert "degenerate (collapsed)" in found.table()


@pytest.mark.parametrize("encode", [cells, frame_id])
def test_it_is_vacuous_where_the_frame_is_the_place(encode):
    found = lr.evaluate(encode, corridor(cells=CELLS), **QUICK)
    assert found.verdict == found.claim.verdict == "vacuous here"
    assert "every visit to a place shows the same frame" in str(found)


def test_memory_is_no_vacuity():
    stacked = lambda frames, actions: np.hstack([frames, np.vstack([frames[:1], frames[:-1]])])  # noqa: E731
    found = lr.evaluate(stacked, corridor(cells=CELLS), reads="history", **SHORT, only=["spreads"])
    assert found.verdict == "fail"
    alone = lambda frames, actions: frames  # noqa: E731
    assert lr.evaluate(alone, corridor(cells=CELLS), reads="history", **QUICK).verdict == "pass"


def test_every_control_stands_beside_every_metric():
    given = {"untrained": frame_id}
    only = ["retrieval", "spreads", "collapse"]
    found = lr.evaluate(cells, shown(), controls=given, **SHORT, only=only)
    assert list(found.controls) == [
        "untrained",
        *("oracle place", "raw frame", "constant", "time index", "dead-reckoned"),
        "shuffled places",
    ]
    for measured in found.controls.values():
        assert set(measured.values) == set(found.metrics)
    for name in ("r1_hard", "auc", "probe"):
        best = found.controls["oracle place"].values[name]
        assert best == 1.0 >= found.controls["shuffled places"].values[name] + 0.3
    assert found.controls["dead-reckoned"].values["reckoning"] == pytest.approx(1)
    assert found.controls["constant"].degenerate


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_is_told_what_is_measured_and_nothing_else_is(monkeypatch):
    for name, value in {"CI": "", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    told = {}
    for name, stream, display in (
        ("terminal", Terminal(), True),
        ("file", io.StringIO(), True),
        ("unasked", Terminal(), False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        only = {**QUICK, "standard_controls": True}
        lr.evaluate([cells, frame_id], shown(), controls={"null": cells}, **only, display=display)
        told[name] = stream.getvalue()
    lines = told["terminal"].split("\r\033[K")
    assert lines[1] == "walking in corridor, 1 of 12"
    assert lines[12:20] == [
        "walking in corridor, 12 of 12",
        "encoding encoder of seed 1, 1 of 12",
        "encoding encoder of seed 2, 2 of 12",
        "measuring encoder of seed 1, 3 of 12",
        "measuring encoder of seed 2, 4 of 12",
        "encoding null, 5 of 12",
        "measuring null, 6 of 12",
        "measuring oracle place, 7 of 12",
    ]
    assert lines[24:] == ["measuring shuffled places, 12 of 12", ""]
    assert told["file"] == told["unasked"] == ""


def test_a_line_of_progress_is_gone_when_measuring_fails(monkeypatch):
    for name, value in {"CI": "", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    with suppress(DataError), line(stream=stream) as say:
        say("measuring z")
        raise DataError("mine")
    assert stream.getvalue() == "\r\033[Kmeasuring z\r\033[K"


def test_walks_are_the_same_for_the_same_seed():
    first, again, other = (
        lr.evaluate(frame_id, shown(), **QUICK, seed=seed).to_json() for seed in (0, 0, 1)
    )
    assert first == again != other


# Seeds --------------------------------------------------------------------------------------------


def leaky(size):
    return lambda frames: np.hstack([cells(frames), size * frames[:, CELLS:]])


@pytest.mark.parametrize(
    ("sizes", "verdict", "claim"),
    [
        ([0.0], "pass", "not enough seeds to say"),
        ([0.01, 0.02, 0.01], "pass", "equivalent"),
        ([0.6, 0.7, 0.65], "fail", "not equivalent"),
        ([0.01, 0.3], "fail", "not enough seeds to say"),
    ],
)
def test_one_run_says_nothing_about_another(sizes, verdict, claim):
    found = lr.evaluate([leaky(size) for size in sizes], shown(), **QUICK)
    assert (found.verdict, found.claim.verdict) == (verdict, claim)
    over = found.value("lcr")
    assert over.low is None or (over.low + over.high) / 2 == pytest.approx(over.mean)
    assert over.seeds == len(sizes)
    assert (over.low is None) == (len(sizes) == 1)


def test_revisits_that_look_alike_do_not_hide_those_that_do_not():
    data = trajectories()
    flag = (np.random.default_rng(0).random(len(data.frames)) < 0.03).astype(np.float32)
    frames = np.hstack([cells(data.frames), flag[:, None]])
    found = lr.evaluate(lambda f: f, trajectories(frames=frames), **QUICK, margin=0.4)
    assert found.value("lcr").mean < 0.4 < found.value("lcr_unlike").mean
    assert found.verdict == "fail"


def test_an_interval_lies_around_the_value_that_is_shown():
    several = [leaky(size) for size in (0.5, 1.0, 2.0)]
    found = lr.evaluate(several, shown(), **{**QUICK, "only": ["retrieval"]})
    over = found.value("r1")
    assert over.mean == pytest.approx(np.mean([seed.values["r1"] for seed in found.seeds]))
    assert (over.low + over.high) / 2 == pytest.approx(over.mean)


def test_a_margin_is_a_choice():
    assert lr.evaluate(leaky(0.3), shown(), **QUICK, margin=0.5).verdict == "pass"
    assert lr.evaluate(leaky(0.3), shown(), **QUICK, margin=0.05).verdict == "fail"


# What comes out -----------------------------------------------------------------------------------


def test_json_holds_every_metric_with_its_meaning_and_controls():
    found = lr.evaluate([cells, frame_id], shown(), **SHORT)
    text = json.dumps(found.to_json(), allow_nan=False)
    data = json.loads(text)
    assert (data["format"], data["version"]) == ("latentroles-evaluation", 2)
    assert set(METRICS) <= set(data["metrics"])
    for name, metric in data["metrics"].items():
        assert metric["meaning"], name
        assert len(metric["seeds"]) == 2
        assert set(metric["controls"]) == set(found.controls)
    assert data["verdict"] == "fail"
    assert data["encoders"][1]["nuisances"]["last"]["differ"] > 0.8
    assert len(data["encoders"][0]["drift"]["lengths"]) > 2
    assert str(found) == found.table()
    assert "LCR, unlike frames" in str(found)


def test_an_encoder_that_draws_is_noted():
    rng = np.random.default_rng(0)
    drawn = lambda f: cells(f) + 0.1 * rng.standard_normal((len(f), CELLS))  # noqa: E731
    batch = lambda f: cells(f) - 0.1 * cells(f).mean(axis=0)  # noqa: E731
    for encode in (drawn, batch):
        assert any("(G0)" in note for note in lr.evaluate(encode, shown(), **QUICK).notes)
    assert not lr.evaluate(cells, shown(), **QUICK).notes
    memory = lambda frames, actions: drawn(frames)  # noqa: E731
    found = lr.evaluate(memory, shown(), reads="history", **QUICK)
    assert any("(G0)" in note for note in found.notes)


def test_arrays_of_both_frameworks_will_do():
    import jax.numpy as jnp
    import torch

    plain = lr.evaluate(cells, shown(), **QUICK).to_json()
    convert = (
        lambda f: torch.tensor(cells(f), requires_grad=True).to(torch.bfloat16),
        lambda f: jnp.asarray(cells(f)),
    )
    for encode in convert:
        assert lr.evaluate(encode, shown(), **QUICK).to_json() == plain


# What an encoder receives -------------------------------------------------------------------------


def pixels():
    """The corridor's frames as images of bytes, (1, 3, 3) of 12 numbers and zeros."""
    data = trajectories()
    frames = np.zeros((len(data.frames), 1, 3, 3), np.uint8)
    width = data.frames.shape[1]
    frames.reshape(len(frames), -1)[:, :width] = 200 * data.frames
    return trajectories(frames=frames)


class Listening:
    """An encoder in torch or numpy that notes what it is given."""

    def __init__(self):
        self.heard = []

    def hear(self, frames):
        self.heard.append(frames)
        return frames.reshape(len(frames), -1)


def test_a_function_gets_frames_as_they_are_stored():
    listening, data = Listening(), pixels()
    lr.evaluate(listening.hear, data, **QUICK)
    *blocks, again = listening.heard
    assert all(len(block) <= 256 for block in blocks)
    assert np.array_equal(np.concatenate(blocks), data.frames)
    assert {block.dtype for block in [*blocks, again]} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_torch_module_gets_floats_up_to_one_in_eval_mode_without_gradients(dtype):
    import torch

    listening, data = Listening(), pixels()

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = torch.nn.Dropout(0.5)
            self.frozen = torch.nn.BatchNorm1d(3).eval()
            self.layer = torch.nn.Linear(9, 4)
            self.to(getattr(torch, dtype))

        def forward(self, frames):
            assert not torch.is_grad_enabled()
            assert not any(part.training for part in self.modules())
            return self.layer(self.drop(listening.hear(frames)))

    net = Net()
    found = lr.evaluate(net, data, **QUICK)
    seen = torch.cat(listening.heard[:-1])
    assert seen.dtype == getattr(torch, dtype)
    assert np.allclose(seen.numpy() * 255, data.frames, atol=1e-4)
    assert (net.training, net.drop.training, net.frozen.training) == (True, True, False)
    assert torch.is_grad_enabled()
    assert not found.notes
    scaled = lambda f: net.layer(torch.tensor(f).to(seen.dtype).flatten(1) / 255)  # noqa: E731
    by_hand = lr.evaluate(scaled, data, **QUICK)
    assert by_hand.seeds[0].values == pytest.approx(found.seeds[0].values)


def test_a_torch_module_with_memory_gets_actions_as_integers():
    import torch

    class Net(torch.nn.Module):
        def forward(self, frames, actions):
            assert (frames.dtype, actions.dtype) == (torch.float32, torch.int64)
            assert len(frames) == len(actions) + 1
            return frames.flatten(1)

    assert lr.evaluate(Net(), pixels(), reads="history", **QUICK).reads == "history"


def test_an_encoder_that_fails_is_told_what_it_was_given():
    import torch

    def wants_floats(frames):
        return torch.nn.functional.linear(torch.tensor(frames).flatten(1), torch.ones(2, 9))

    given = r"on what an encoder is given, ndarray uint8 \(256, 1, 3, 3\): RuntimeError: .*dtype"
    with pytest.raises(EncoderError, match=f"the encoder wants_floats fails {given}") as told:
        lr.evaluate(wants_floats, pixels(), **QUICK)
    assert re.search(r"\(test_evaluate.py, line \d+\)\. Fix: convert", str(told.value))
    assert isinstance(told.value.__cause__, RuntimeError)
    given = r"Tensor torch.float32 \(256, 1, 3, 3\): RuntimeError: mat1 and mat2"
    net = torch.nn.Linear(5, 2)
    with pytest.raises(EncoderError, match=f"the encoder Linear fails .*{given}"):
        lr.evaluate(net, pixels(), **QUICK)
    assert net.training
    with pytest.raises(EncoderError, match=r"<lambda> gives a dict, .* one array \(256, D\)"):
        lr.evaluate(lambda f: {"z": f}, pixels(), **QUICK)
    sparse = lambda f: torch.tensor(f).flatten(1).float().to_sparse()  # noqa: E731
    with pytest.raises(EncoderError, match=r"<lambda> gives a Tensor, .*Sparse"):
        lr.evaluate(sparse, pixels(), **QUICK)
    with pytest.raises(EncoderError, match=r"ndarray, .*complex128 is no type of real numbers"):
        lr.evaluate(lambda f: f.reshape(len(f), -1) * 1j, pixels(), **QUICK)
    with pytest.raises(
        EncoderError, match=r"argument: 'actions'\. Fix: let it take frames, or see"
    ):
        lr.evaluate(lambda frames, actions: frames, pixels(), **QUICK)
    with pytest.raises(EncoderError, match=r"were given\. Fix: let it take frames and actions"):
        lr.evaluate(lambda frames: frames, pixels(), reads="history", **QUICK)
    with pytest.raises(EncoderError, match=r"Fix: pass an instance of it\."):
        lr.evaluate(torch.nn.Linear, pixels(), **QUICK)
    with pytest.raises(DataError, match="mine"):
        lr.evaluate(refusing, pixels(), **QUICK)


def refusing(frames):
    raise DataError("mine")


# Data ---------------------------------------------------------------------------------------------


def trajectories(frames=None, **changes):
    environment = shown()
    source = read(environment, **SHORT)
    columns = {
        "frames": source.frames if frames is None else frames,
        "actions": source.actions,
        "pose": source.visits.pose,
        "offsets": source.offsets,
        "environment": "corridor",
        "action_names": environment.actions,
        "labels": {"place": source.visits.place, "last": source.visits.nuisance["last"]},
    }
    return Trajectories(**{**columns, **changes})


def test_a_file_is_measured_like_the_walks_in_it(tmp_path):
    path = tmp_path / "walks.h5"
    trajectories().save(path)
    walked = lr.evaluate(frame_id, shown(), **QUICK).seeds[0].values
    for data in (path, str(path), trajectories()):
        found = lr.evaluate(frame_id, data, **QUICK)
        assert found.nuisances == ("last",)
        assert found.seeds[0].values == pytest.approx(walked)


def test_a_label_that_is_a_function_of_place_is_no_nuisance():
    data = trajectories()
    labels = {**data.labels, "twice": 2 * data.labels["place"][:, 0]}
    assert lr.evaluate(cells, trajectories(labels=labels), **QUICK).nuisances == ("last",)
    none = lr.evaluate(cells, trajectories(labels=labels), **QUICK, nuisance=[])
    assert none.nuisances == ()


def test_headings_are_a_nuisance_of_four_rooms_and_frames_alias():
    found = lr.evaluate(
        lambda f: f[:, :, ::8, ::8].reshape(len(f), -1) / 255.0,
        four_rooms(),
        **{**QUICK, "only": ["spreads", "leakage"]},
        lags=[],
    )
    assert found.nuisances == ("direction",)
    assert found.aliased > 0.2
    assert any("seen at another place" in note for note in found.notes)
    turned = found.seeds[0].nuisances["direction"]
    assert turned.magnitudes == (1.0, 2.0)  # the shorter way round
    assert turned.differ > turned.agree == 0.0


def test_a_phase_comes_round():
    found = lr.evaluate(
        lambda f: f,
        corridor(cells=CELLS, phases=4),
        **{**QUICK, "only": ["leakage"]},
        lags=[],
    )
    assert found.seeds[0].nuisances["phase"].magnitudes == (1.0, 2.0)


def test_movers_are_split_by_though_they_are_no_numbers():
    found = lr.evaluate(
        lambda f: f[:, :, ::8, ::8].reshape(len(f), -1) / 255.0, dynamic_obstacles(), **QUICK
    )
    assert found.nuisances == ("direction", "movers")


def test_steps_lead_round_a_wall_that_a_grid_does_not_see():
    around = gridworld(layout=("...", ".#.", ".#."))
    grid, steps = (read(around, **SHORT, distance=name).visits for name in ("grid", "steps"))
    ends = [grid.places.tolist().index(place) for place in ([0, 0], [2, 0])]
    assert grid.distance[tuple(ends)] == 2
    assert steps.distance[tuple(ends)] == 6
    assert (steps.distance >= grid.distance).all()


def test_places_that_no_walk_joins_are_farthest():
    place = np.array([0, 1, 0, 1, 5, 6, 5, 6])
    found = distances.between(place, np.repeat([0, 1], 4), "steps")
    assert found.tolist() == [[0, 1, 4, 4], [1, 0, 4, 4], [4, 4, 0, 1], [4, 4, 1, 0]]


def test_near_places_are_not_counted_as_apart():
    smooth = lambda frames: np.argmax(cells(frames), axis=1)[:, None].astype(float)  # noqa: E731
    plain = read(shown(), **SHORT)
    grid = read(shown(), **SHORT, distance="grid", tolerance=1.0)
    z = smooth(plain.frames)
    assert grid.visits.distance[0].tolist() == [0, 1, 2, 3, 4]
    beside = [measure(s.visits, z, only=["retrieval"]).retrieval.pairs for s in (plain, grid)]
    assert beside[1][0] == beside[0][0]
    assert beside[1][1] < beside[0][1]


def test_dead_reckoning_is_right_until_the_first_wall():
    source = read(gridworld(layout=["......"] * 6), episodes=4, steps=3, seed=1)
    visits = source.visits
    reckoned = dead_reckoned(visits)[:, :2]
    start = visits.pose[np.flatnonzero(visits.time == 0)][visits.episode, :2]
    still = np.r_[False, np.abs(np.diff(visits.pose[:, :2], axis=0)).max(axis=1) == 0]
    free = np.array([not still[(visits.episode == e)][1:].any() for e in visits.episode])
    assert free.any()
    assert np.array_equal((reckoned + start)[free], visits.pose[free, :2])


def test_an_action_is_reckoned_by_what_it_does_where_it_is_free():
    """Two cells: of ten steps to the right, one moves."""
    taken = np.array([1] * 10 + [0] * 10)
    cell = np.array([0] + [1] * 10 + [0] * 10)
    visits = Visits(
        place=cell,
        episode=np.zeros(21, int),
        time=np.arange(21),
        actions=past_actions(taken, np.array([0, 21]), 1),
        pose=np.stack([cell, 0 * cell, 0 * cell], axis=1).astype(float),
    )
    assert dead_reckoned(visits)[:, 0].tolist() == [*range(11), *range(9, -1, -1)]


def test_a_memory_may_tell_frames_apart_that_look_alike():
    assert read(four_rooms(), **SHORT).visits.alias.max() >= 0
    assert read(four_rooms(), **SHORT, reads="history").visits.alias.max() == -1


def test_frames_that_are_turned_keep_their_distances():
    rng = np.random.default_rng(0)
    frames = rng.integers(256, size=(40, 3, 12, 12)).astype(np.uint8)[rng.integers(40, size=90)]
    flat, short = frames.reshape(90, -1).astype(float), narrowed(frames.reshape(90, -1))
    assert short.shape[1] <= 40
    far = lambda z: np.linalg.norm(z[:, None] - z[None], axis=-1)  # noqa: E731
    assert far(short) == pytest.approx(far(flat), abs=1e-6 * far(flat).max())
    assert len(np.unique(views_of(frames))) == len(np.unique(flat, axis=0))


def test_past_actions_end_at_the_start_of_an_episode():
    found = past_actions(np.array([1, 2, 3, 4, 5]), np.array([0, 3, 4, 8]), 3)
    rows = [[-1, -1, -1], [1, -1, -1], [2, 1, -1], [-1, -1, -1]]
    assert found.tolist() == [*rows, [-1, -1, -1], [3, -1, -1], [4, 3, -1], [5, 4, 3]]


# Wrong input --------------------------------------------------------------------------------------


def objects(*values):
    """(n,) of the values as they are."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


COLUMNS = {
    "place": np.array([0, 1, 0, 1]),
    "episode": np.array([0, 0, 1, 1]),
    "time": np.array([0, 1, 0, 1]),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"place": np.zeros(4, int)}, r"all to one place, \(0,\): nothing is apart"),
        ({"episode": np.zeros(4, int)}, "no place is visited again: 4 visits to 2 places"),
        ({"episode": np.zeros(4, int), "time": np.arange(4)}, "more than tau=8 steps apart"),
        ({"place": np.arange(4)}, "no place is visited again"),
        ({"place": np.array([0.5, 1, 0.5, 1])}, "integers, N at least 1; got float64"),
        ({"place": np.zeros(0, int)}, "N at least 1"),
        ({"episode": np.zeros(3, int)}, r"episode has one value for each of the 4 visits"),
        ({"time": np.array([0, 1, np.nan, 1])}, "time holds NaN"),
        ({"nuisance": {"light": np.zeros(5)}}, "nuisance 'light' has one value for each of the 4"),
        ({"actions": np.zeros((3, 2), int)}, r"actions has one row for each of the 4 visits"),
        ({"pose": np.zeros((4, 2))}, r"\(4, 3\); got float64 \(4, 2\)"),
        ({"view": np.zeros(4)}, "view has one value"),
        ({"distance": np.zeros((3, 3))}, r"numbers \(2, 2\); got float64 \(3, 3\)"),
        ({"distance": np.ones((2, 2)), "tolerance": 3.0}, "no two places are farther apart"),
        ({"distance": [["a", "b"], ["b", "a"]]}, r"numbers \(2, 2\); got <U1"),
        ({"distance": [[0, 1], [2, 0]]}, "from place 0 to 1 it is 1, and back 2"),
        ({"distance": [[0, np.nan], [np.nan, 0]]}, "from place 0 to 1 it is NaN. Fix: np.inf"),
        ({"distance": -np.eye(2)}, "distance is at least 0; got -1"),
        ({"place": [[0], [1, 2], [0], [1]]}, "place is one array; got a list that is none"),
        ({"nuisance": [0, 1, 0, 1]}, "nuisance maps names to columns; got list"),
        ({"nuisance": {"light": [[0], [1, 2], [0], [1]]}}, "nuisance 'light' is one array"),
        ({"nuisance": {"light": 1j * np.arange(4)}}, r"nuisance 'light' has .*complex128"),
        ({"nuisance": {"light": objects([0], [1], [0], [1])}}, r"holds \[0\] \(list\)"),
        ({"nuisance": {"light": objects("a", float("nan"), "b", "a")}}, r"holds nan \(float\)"),
    ],
)
def test_visits_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        Visits(**{**COLUMNS, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tau": -1}, "Visits: tau must be a number of at least 0; received -1"),
        ({"tau": "8"}, "Visits: tau must be a number"),
        ({"tolerance": 1.0}, "tolerance=1.0 and distance=None. Fix: give the distance"),
        ({"tolerance": -1.0, "distance": np.ones((2, 2))}, "tolerance must be a number of at"),
    ],
)
def test_numbers_of_visits_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        Visits(**{**COLUMNS, **changes})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lags": 2}, r"measure\(\): lags lists how many .*received 2\. Fix: pass a list"),
        ({"lags": "12"}, "lags lists how many"),
        ({"lags": [1.5]}, "lags .*must be an integer of at least 1; received 1.5"),
        ({"lags": [-1]}, "received -1"),
        ({"lags": ["1"]}, "received '1'"),
        ({"seed": -1}, r"measure\(\): seed .*received -1"),
        ({"seed": "0"}, "received '0'"),
        ({"only": ["leaks"]}, r"measure\(\): only must be one of"),
        ({"only": 3}, r"measure\(\): only lists one or more of retrieval, .*received 3\. Fix"),
        ({"periods": 4}, r"measure\(\): periods maps names .*received 4\. Fix: pass periods={"),
        ({"periods": {1: 4.0}}, "periods maps names of nuisances"),
        ({"periods": {"light": 0}}, r"periods\['light'\] must be a number greater than 0"),
        ({"periods": {"light": "4"}}, r"periods\['light'\] must be a number"),
        ({"visits": np.zeros(4)}, r"measure\(visits, z\); received ndarray as visits"),
    ],
)
def test_arguments_of_measure_that_mean_nothing_are_refused(arguments, message):
    visits = arguments.pop("visits", None)
    visits = Visits(**COLUMNS) if visits is None else visits
    with pytest.raises(SpecError, match=message):
        measure(visits, np.eye(4), **arguments)


@pytest.mark.parametrize(
    "lags", [[3, 1], (1, 3), {3, 1}, {3: "c", 1: "a"}.keys(), np.array([3, 1]), iter([3, 1, 3])]
)
def test_lags_are_of_any_kind_and_order(lags):
    assert asked.lags("measure()", lags) == (1, 3)


def test_lists_of_names_are_of_any_kind():
    names = {"wind": 1, "light": 2}
    assert asked.nuisance("evaluate()", ["wind", "light"]) == ("wind", "light")
    assert asked.nuisance("evaluate()", iter(names)) == ("wind", "light")
    for unordered in (set(names), names.keys()):
        assert asked.nuisance("evaluate()", unordered) == ("light", "wind")
    visits = Visits(**COLUMNS)
    found = measure(visits, np.eye(4), only={"spreads", "collapse"})
    assert {"lcr", "rank"} <= set(found.values)


def test_places_that_all_look_alike_are_not_compared():
    visits = Visits(**COLUMNS, view=np.zeros(4, int))
    with pytest.raises(DataError, match="every two visits to different places show identical"):
        measure(visits, np.eye(4), only=["retrieval"])


def test_a_dead_dimension_is_noted():
    visits = Visits(**COLUMNS)
    z = np.array([[0.0, 5, 1], [1, 5, 0], [0, 5, 1], [1, 5, 1]])
    assert measure(visits, z, only=["spreads"]).notes == ("1 of 3 dimensions never change: 1",)


def vectors(kind):
    """Four vectors in two dimensions, of an array library or type."""
    import jax.numpy as jnp
    import torch

    z = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 1.0], [1.0, 0.5]])
    return {
        "float64": lambda: z,
        "needs gradients": lambda: torch.tensor(z, requires_grad=True),
        "torch bfloat16": lambda: torch.tensor(z).bfloat16(),
        "jax": lambda: jnp.asarray(z),
        "jax bfloat16": lambda: jnp.asarray(z).astype(jnp.bfloat16),
        "lists": lambda: z.tolist(),
        "objects": lambda: z.astype(object),
        "large": lambda: 1e90 * z,
        "ragged": lambda: [[0.0, 1.0], [1.0], [0.5, 1.0], [1.0]],
        "none": lambda: None,
        "text": lambda: [["0", "1"]] * 4,
        "complex": lambda: z + 1j,
        "torch complex": lambda: torch.tensor(z) + 1j,
        "sparse": lambda: torch.tensor(z).to_sparse(),
        "masked": lambda: np.ma.masked_array(z, z == 1),
        "too large": lambda: 1e160 * z,
        "too small": lambda: 1e-160 * z,
    }[kind]()


def test_what_measure_takes_and_gives_has_names_at_the_top():
    """`lr.evaluate` is a function: nothing is reached through it."""
    visits = lr.Visits(**COLUMNS)
    assert isinstance(lr.measure(visits, vectors("float64"), only=["spreads"]), lr.Measured)
    assert (lr.measure, lr.Visits) == (measure, Visits)


@pytest.mark.parametrize(
    "kind",
    ["needs gradients", "torch bfloat16", "jax", "jax bfloat16", "lists", "objects", "large"],
)
def test_vectors_may_be_of_any_library(kind):
    visits = Visits(**COLUMNS)
    want = measure(visits, vectors("float64"), only=["retrieval", "spreads"]).values
    found = measure(visits, vectors(kind), only=["retrieval", "spreads"]).values
    assert found == pytest.approx(want)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("ragged", r"one vector of real numbers .*got a list that is no such array \(setting"),
        ("none", r"\(4, D\); got float64 \(\)"),
        ("text", "got a list that is no such array .*<U1 is no type of real numbers"),
        ("complex", "complex128 is no type of real numbers"),
        ("torch complex", "complex128 is no type of real numbers"),
        ("sparse", "a Tensor that is no such array"),
        ("masked", "gives an array with 4 of 8 numbers masked: .*leave those visits out"),
        ("too large", r"numbers up to 1e\+160, whose squares no float holds"),
        ("too small", "numbers up to 1e-160, whose squares no float holds"),
    ],
)
def test_vectors_that_cannot_be_measured_are_refused(kind, message):
    with pytest.raises(EncoderError, match=message) as told:
        measure(Visits(**COLUMNS), vectors(kind), only=["spreads"])
    assert str(told.value).startswith("test_evaluate.py:")


def test_actions_that_are_not_known_do_not_leak():
    with pytest.raises(DataError, match=r"needs `actions` with 1 columns; there are 0"):
        measure(Visits(**COLUMNS), np.eye(4), only=["leakage"], lags=[1])


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda f: f[0], r"one vector for each of \d+ visits, \(\d+, D\); got"),
        (lambda f: f[:, 0], "one vector for each"),
        (lambda f: f[:, :0], "one vector for each"),
        (lambda f: np.where(f == f[:1], np.nan, f), "not finite at"),
        (lambda f: np.ma.masked_equal(f, 0), r"gives an array with \d+ of \d+ numbers masked"),
        (3, r"a callable from frames to vectors, got int.*`lr\.measure\(visits, z\)`"),
    ],
)
def test_an_encoder_that_cannot_be_measured_is_told(encode, message):
    with pytest.raises(EncoderError, match=message):
        lr.evaluate(encode, shown(), **QUICK)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"reads": "pixels"}, SpecError, "reads must be one of 'frame', 'history'"),
        ({"only": ["leaks"]}, SpecError, r"evaluate\(\): only must be one of .*Did you mean"),
        ({"only": "leakage"}, SpecError, r"evaluate\(\): only lists one or more"),
        ({"only": []}, SpecError, "only lists one or more"),
        ({"margin": 0}, SpecError, "margin must be a number greater than 0"),
        ({"separation": 1.2}, SpecError, "separation must be a number from 0 to 1"),
        ({"lags": [0]}, SpecError, "lags"),
        (
            {"lags": [31]},
            DataError,
            "no action lies 31 steps back, where .* longest episode has 30",
        ),
        ({"episodes": 0}, SpecError, "episodes"),
        ({"nuisance": ["wind"]}, DataError, "nuisance= lists some of last; got 'wind'"),
        ({"distance": "far"}, DataError, "distance= is None, 'grid', 'steps', or a function"),
        ({"controls": {"constant": cells}}, SpecError, "'constant', which is measured anyway"),
        ({"steps": 1, "episodes": 1, "tau": 50}, DataError, "no place is visited again|one place"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, error, message):
    both = {**QUICK, "only": ["leakage"], **arguments}
    if "controls" in arguments:
        both["standard_controls"] = True
    with pytest.raises(error, match=message):
        lr.evaluate(cells, shown(), **both)


def silent(frames):
    raise AssertionError("an encoder was called")


class Unwalked:
    """An environment in which nothing is walked."""

    def __init__(self):
        inner = shown()
        self.name, self.actions, self.parameters = inner.name, inner.actions, inner.parameters
        self.place, self.frame = inner.place, inner.frame

    def reset(self, seed):
        raise AssertionError("a walk was begun")

    step = reset


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lags": "12"}, SpecError, r"evaluate\(\): lags lists"),
        ({"lags": [0]}, SpecError, "of at least 1; received 0"),
        ({"lags": [101]}, DataError, "no action lies 101 steps back, .* Fix: lags of at most 100"),
        ({"lags": [True]}, SpecError, "received True"),
        ({"seed": "0"}, SpecError, "seed .*received '0'"),
        ({"tau": -1}, SpecError, "tau .*received -1"),
        ({"tau": None}, SpecError, "tau .*received None"),
        ({"tolerance": 1.0}, SpecError, "tolerance=1.0 and distance=None"),
        ({"tolerance": "1", "distance": "grid"}, SpecError, "tolerance must be a number"),
        ({"distance": "far"}, DataError, "distance= is None, 'grid', 'steps', or a function"),
        ({"distance": np.eye(5)}, DataError, "distance= is None, 'grid', 'steps', or a function"),
        ({"nuisance": "last"}, SpecError, r"nuisance lists names .*received 'last'"),
        ({"nuisance": 3}, SpecError, "nuisance lists names"),
        ({"nuisance": [3]}, SpecError, "nuisance lists names"),
        ({"controls": [silent]}, SpecError, "controls maps names to encoders; received list"),
        ({"controls": {1: silent}}, SpecError, "controls maps names to encoders"),
        ({"controls": {"null": 3}}, EncoderError, "the control 'null' is a callable .*got int"),
        ({"controls": {"constant": silent}}, SpecError, "'constant', which is measured anyway"),
        ({"standard_controls": "no"}, SpecError, "standard_controls must be True or False"),
        ({"name": 3}, SpecError, "name is text, for the table; received 3"),
        ({"encode": [silent, 3]}, EncoderError, "an encoder is a callable .*got int"),
        ({"encode": [silent, cells, silent]}, SpecError, "numbers 1 and 3 of these 3 are one"),
    ],
)
def test_what_is_asked_is_checked_before_anything_is_walked(arguments, error, message):
    both = {"encode": silent, **arguments}
    with pytest.raises(error, match=message):
        lr.evaluate(both.pop("encode"), Unwalked(), **both)


def test_a_bound_method_is_one_encoder():
    listening = Listening()
    with pytest.raises(SpecError, match="numbers 1 and 2 of these 2 are one"):
        lr.evaluate([listening.hear, listening.hear], Unwalked())
    with pytest.raises(AssertionError, match="a walk was begun"):
        lr.evaluate([listening.hear, Listening().hear], Unwalked())


def test_a_lag_may_be_as_long_as_the_longest_episode_and_no_longer():
    data = trajectories()
    settings = {**QUICK, "only": ["leakage"]}
    found = lr.evaluate(cells, data, **settings, lags={30, 12})
    assert list(found.seeds[0].actions) == [12, 30]
    assert found.seeds[0].actions[12] is not None
    with pytest.raises(DataError, match=r"no action lies 31 steps back.*has 30\. Fix: lags of"):
        lr.evaluate(silent, data, **settings, lags=[1, 31])
    lr.evaluate(cells, data, **QUICK, lags=[31])  # no leakage is measured


def test_lags_that_nobody_asked_for_are_not_refused():
    short = {"episodes": 60, "steps": 1, "only": ["leakage"], "standard_controls": False}
    assert lr.evaluate(cells, shown(), **short).seeds[0].actions[2] is None


@pytest.mark.parametrize(
    ("distance", "message"),
    [
        (lambda p: 1 / 0, "it raises ZeroDivisionError: division by zero"),
        (lambda p: p, r"for places \(5, 1\) their distances, \(5, 5\); got \(5, 1\)"),
        (lambda p: "far", "it raises TypeError"),
        (lambda p: (p - p.T).clip(0), "from place 0 to 1 it is 0, and back 1"),
        (lambda p: p - p.T, "distance is at least 0; got -4"),
    ],
)
def test_a_distance_that_is_none_is_refused_before_anything_is_encoded(distance, message):
    with pytest.raises(DataError, match=message):
        lr.evaluate(silent, shown(), **QUICK, distance=distance)


@pytest.mark.parametrize("place", [0.5, "here", (1, 2.5), None])
def test_a_place_that_is_no_integer_is_not_rounded(place):
    environment = shown()
    environment.place = lambda state: place
    with pytest.raises(DataError, match=r"'corridor' gives .* and the like\. Fix: round it"):
        lr.evaluate(silent, environment, **QUICK)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "got int"),
        ("missing.h5", "there is no such file"),
        ("corridor", r"no file but the name of an environment.*environment\('corridor'\)\(\)"),
        (lambda: trajectories(labels={}), "have no label `place`"),
        (
            lambda: trajectories(labels={"place": np.zeros(12 * 31)}),
            "the label `place` holds integers",
        ),
    ],
)
def test_data_that_cannot_be_measured_on_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        lr.evaluate(cells, data() if callable(data) else data, **QUICK)


def test_no_encoder_is_none():
    with pytest.raises(SpecError, match="one for each seed; got none"):
        lr.evaluate([], shown())


def test_without_scikit_learn_the_extra_is_named():
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"sklearn", "scipy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import latentroles as lr
from latentroles.words.corridor import corridor
for only in ("leakage", "spreads"):
    try:
        lr.evaluate(lambda f: f, corridor(last_action=True), episodes=20, steps=40, only=[only])
    except lr.PluginError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install 'latentroles[evaluate]'") == 2


# The command --------------------------------------------------------------------------------------

SPEC_FILE = """
import latentroles as lr

@lr.recipe(
    environment="corridor", episodes=9, episode_steps=30, frames=4, batch=4, steps=3,
    validation=0.4, optimisers={"default": lr.sgd(0.05)}, columns={"x": "frames", "a": "actions"},
)
def small(dim: int = 4, place: bool = True):
    s = lr.Spec("small")
    x = s.observation("x", (9,))
    a = s.action("a", lr.Discrete(2))
    encoder = s.module("encoder", lr.nn.linear(9, dim))
    decoder = s.module("decoder", lr.nn.linear(dim, 9))
    cell = s.module("predictor", lr.nn.gru(dim + 2, dim))
    z = s.latent("z", encoder(x), role=lr.PLACE if place else lr.DYNAMICS)
    u = lr.concat(z.stop().t[:-1], a.one_hot())
    h = s.latent("h", lr.scan(cell, init=lr.zeros(dim), xs=u), role=lr.DYNAMICS)
    s.latent("dz", z.t[1:] - z.t[:-1], role=lr.DYNAMICS)
    before = s.module("before", lr.nn.gru(dim, dim))
    past = lr.scan(before, init=lr.zeros(dim), xs=z.stop().t[:-1])
    s.latent("past", past, role=lr.DYNAMICS)
    s.latent("centred", z - z.mean(over="time"), role=lr.DYNAMICS)
    s.latent("start", z.t[0], role=lr.DYNAMICS)
    s.loss("recon", lr.losses.mse(decoder(z), x))
    s.loss("jepa", lr.losses.mse(h.t[1:], z.t[1:].stop()))
    return s
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds on two backends, and a run of another spec."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "model.py").write_text(SPEC_FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, more in {
            "torch": ["--backend", "torch"],
            "jax": ["--backend", "jax", "--seed", "1"],
            "other": ["-p", "place=false"],
        }.items():
            assert main(["train", "model.py:small", "--out", name, "--quiet", *more]) == 0
    return folder


def test_seeds_of_both_backends_are_evaluated(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    command = ["evaluate", "torch", "jax", "--only", "spreads", "--json", "found.json"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "vacuous here" in said
    assert "measured on the 4 episodes that were held out" in said
    found = json.loads((runs / "found.json").read_text())
    assert (found["name"], found["episodes"], len(found["encoders"])) == ("z", 4, 2)
    assert "untrained" in found["controls"]


def test_lags_and_tau_are_those_of_the_command(runs, tmp_path, capsys):
    there = ["--env", "corridor", "--episodes", "6", "--steps", "20", "--seed", "1"]
    command = ["evaluate", f"{runs}/torch", *there, "--json", f"{tmp_path}/found.json"]

    def found(*more):
        assert main([*command, *more]) == 0
        return json.loads((tmp_path / "found.json").read_text())["encoders"][0]

    assert list(found("--only", "leakage", "--lags", "1,3")["actions"]) == ["1", "3"]
    assert found("--only", "leakage", "--lags", "none")["actions"] == {}
    near, far = (found("--only", "retrieval", "--tau", tau)["pairs"][0] for tau in ("2", "15"))
    assert near > far
    with pytest.raises(SystemExit):
        main(["evaluate", "run", "--lags", "one"])
    assert "with commas between, such as 1,2, or none; not 'one'" in capsys.readouterr().err


def test_that_losses_have_no_null_beside_them_is_noted(runs, capsys):
    there = ["--env", "corridor", "--episodes", "6", "--steps", "20", "--only", "spreads"]
    note = "note: no control 'regulariser only'"
    assert main(["evaluate", f"{runs}/torch", *there]) == 0
    assert capsys.readouterr().out.count(note) == 1
    null = ["--control", f"regulariser only={runs}/jax"]
    assert main(["evaluate", f"{runs}/torch", *there, *null]) == 0
    assert note not in capsys.readouterr().out


def test_a_latent_with_memory_is_read_from_histories(runs, capsys):
    command = ["evaluate", f"{runs}/torch", "--latent", "h", "--only", "spreads"]
    assert main([*command, "--env", "corridor", "--episodes", "6", "--steps", "20"]) == 0
    said = capsys.readouterr().out
    assert "these encoders: fail" in said
    assert main([*command[:-2], "--only", "collapse", "--control", f"null={runs}/jax"]) == 0
    assert "null" in capsys.readouterr().out


def test_a_run_that_was_not_trained_to_its_end_is_noted(runs, tmp_path, capsys):
    def copied(name, run, step=3, **changes):
        folder = tmp_path / name
        shutil.copytree(runs / run, folder)
        write_run(folder, replace(read_run(folder), **changes))
        held = checkpoint.load(folder)
        checkpoint.save(folder, held.arrays, {**held.record, "step": step})
        return str(folder)

    def said(*arguments):
        assert main(["evaluate", *arguments, "--only", "spreads"]) == 0
        return capsys.readouterr().out

    cut = copied("cut", "torch", status="interrupted", steps={"main": 9})
    note = f"note: {cut} was interrupted: its last weights are those after 3 of 9 steps"
    assert said(cut).count(note) == 1
    there = ["--env", "corridor", "--episodes", "6", "--steps", "20"]
    assert said(cut, *there).count(note) == 1
    assert note in said(str(runs / "jax"), *there, "--control", f"null={cut}")
    held = checkpoint.load(Path(cut), "best")
    checkpoint.save(Path(cut), held.arrays, {**held.record, "step": 2}, name="best")
    best = f"{cut} was interrupted: its best weights are those after 2 of 9 steps"
    assert best in said(cut, "--which", "best")
    assert best in said(cut, "--which", "best", *there)
    broken = copied("broken", "jax", step=0, status="failed", error="TrainingError: no")
    both = said(cut, broken, *there)
    assert note in both
    initial = "failed (TrainingError: no): its last weights are the initial ones, after 0 steps"
    assert f"note: {broken} {initial}" in both
    assert own_data(Path(cut))[1] == (
        note.removeprefix("note: "),
        "measured on the 4 episodes that were held out",
    )
    assert unfinished(runs / "torch") == ()


def test_help_says_that_parameters_are_of_the_environment(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "an argument of the environment of --env, such as -p cells=9" in said
    assert "arguments of the environment of --env from YAML" in said
    assert "spec's function" not in said


def test_what_a_latent_reads_is_found_out(runs):
    model = lr.load(runs / "torch")
    assert latent_encoder(model, "z")[1] == "frame"
    for name in ("h", "past", "centred"):
        assert latent_encoder(model, name)[1] == "history"
    with pytest.raises(EncoderError, match="latent 'dz' of 'small' has T - 1 of them"):
        latent_encoder(model, "dz")
    with pytest.raises(EncoderError, match="'start' of 'small' has no time axis"):
        latent_encoder(model, "start")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "holds no run"),
        (["torch", "torch"], "two of these have the same"),
        (["torch", "other"], "seeds of one spec"),
        (["torch", "--latent", "q"], "no latent 'q' in 'small'"),
        (["other"], "no latent with the role PLACE"),
        (["torch", "--env", "corridr"], "Did you mean 'corridor'"),
        (["torch", "--env", "corridor", "-p", "rooms=3"], "no argument 'rooms'"),
        (["torch", "--env", "corridor", "-p", "last_action=true"], "got \\(256, 1, 12\\)"),
        (["torch", "-p", "cells=3"], "-p and --config set arguments of an environment"),
        (["torch", "--data", "model.py"], "not an HDF5 file"),
        (["torch", "--control", "null"], "--control takes NAME=RUN"),
        (["torch", "--json", "nowhere/found.json"], "the folder nowhere does not exist. Fix: make"),
        (["torch", "--json", "torch"], r"torch could .*a folder itself. Fix: give a file in it\.$"),
        (["torch", "--json", ""], "--json names no file: it is empty"),
        (["torch", "--episodes", "4"], "--episodes is of the walks in an environment"),
        (["torch", "--margin", "0"], "margin must be a number greater than 0"),
        (["torch", "--lags", "1,0"], "lags .*received 0"),
        (["torch", "--tau", "-1"], "tau .*received -1"),
    ],
)
def test_a_wrong_command_is_told(runs, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert main(["evaluate", *arguments, "--only", "spreads"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert re.search(message, said), said


def test_a_folder_that_is_not_for_writing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(outputs.os, "access", lambda *given: False)
    with pytest.raises(DataError, match=r"not for you to write to\. Fix: give a file"):
        outputs.output("--json", str(tmp_path / "found.json"))


def test_what_means_nothing_is_told_at_the_line_of_the_call():
    with pytest.raises(SpecError, match=r"^test_evaluate\.py:\d+: evaluate\(\): margin"):
        lr.evaluate(silent, Unwalked(), margin=0)


def test_an_encoder_that_merges_places_does_not_pass():
    row = corridor(cells=9, noop=True, last_action=True)
    settings = {"episodes": 12, "steps": 40, "standard_controls": False}
    found = lr.evaluate(lambda frames: frames[:, :1], row, **settings)  # am I in the first cell?
    assert found.seeds[0].values["lcr_unlike"] == 0
    assert found.verdict == found.claim.verdict == "merges places"
    assert "nearer than every wrong place" in found.table()
    assert lr.evaluate(lambda frames: frames[:, :9], row, **settings).verdict == "pass"


def test_a_separation_is_a_choice():
    """Two of five cells are one to it: beside three fifths of the visits no wrong place lies."""
    merged = lambda f: np.hstack([f[:, :1] + f[:, 1:2], f[:, 2:CELLS]])  # noqa: E731
    settings = {**SHORT, "only": ["retrieval", "spreads"], "standard_controls": False}
    found = lr.evaluate(merged, shown(), **settings)
    share = found.value("beats").mean
    assert 0.4 < share < 0.8
    assert found.verdict == "merges places"
    assert f"({share:.3g} of the revisits nearer than every wrong place" in str(found)
    assert found.to_json()["separation"] == 0.9
    passed = lr.evaluate(merged, shown(), **settings, separation=share - 0.01)
    assert passed.verdict == "pass"
    assert f"; {share:.3g} of the revisits nearer than every wrong place; separation" in str(passed)


def test_a_leak_that_cannot_be_measured_is_noted():
    found = lr.evaluate(cells, shown(), episodes=2, steps=8, tau=2, only=["leakage"], lags=[1])
    assert found.seeds[0].values["leak_a1"] is None
    assert any(
        n.startswith("no leak is measured of a1, last: no place has 12") for n in found.notes
    )


def test_seeds_that_are_one_training_are_noted():
    twins = [lambda f: leaky(0.05)(f), lambda f: leaky(0.05)(f)]
    assert any("are they one training?" in n for n in lr.evaluate(twins, shown(), **QUICK).notes)
    others = [leaky(0.05), leaky(0.06)]
    assert not any("one training" in n for n in lr.evaluate(others, shown(), **QUICK).notes)


def test_json_says_how_it_was_measured():
    told = lr.evaluate(cells, shown(), **QUICK, tau=3, distance="grid").to_json()["settings"]
    assert (told["episodes"], told["steps"], told["tau"], told["seed"]) == (12, 30, 3, 0)
    assert (told["distance"], told["only"], told["lags"]) == ("grid", ["spreads"], [1, 2])
    assert "episodes" not in lr.evaluate(cells, trajectories(), **QUICK).to_json()["settings"]


def test_a_pass_on_hardly_any_unlike_frames_is_vacuous():
    data = trajectories()
    odd = np.zeros((len(data.frames), 1), np.float32)
    odd[7] = 1
    settings = {**QUICK, "nuisance": []}
    rare = trajectories(frames=np.hstack([cells(data.frames), odd]))
    found = lr.evaluate(cells, rare, **settings)
    assert 0 < found.unlike < 0.01
    assert found.verdict == found.claim.verdict == "vacuous here"
    assert f"(only {found.unlike:.2g} of the revisits look different)" in str(found)
    assert lr.evaluate(lambda f: f, rare, **settings).verdict == "fail"  # that is no accident
    plain = trajectories(frames=cells(data.frames))
    assert lr.evaluate(cells, plain, **settings).unlike == 0


def test_a_leak_is_noted_beside_a_pass():
    found = lr.evaluate(leaky(0.02), shown(), **{**QUICK, "only": ["spreads", "leakage"]}, lags=[1])
    assert found.verdict == "pass"
    last = found.seeds[0].values
    assert last["leak_a1_noisy"] < 0.1
    told = f"still tells {last['leak_a1']:.2f} of {last['leak_a1_entropy']:.2f} bits"
    assert any(note.startswith("leak: action 1 back: ") and told in note for note in found.notes)
    failed = lr.evaluate(leaky(2.0), shown(), **{**QUICK, "only": ["spreads", "leakage"]})
    assert not any("still tells" in note for note in failed.notes)


def test_it_is_said_in_how_many_seeds_the_margin_held():
    found = lr.evaluate([leaky(0.01), leaky(0.7), leaky(0.02)], shown(), **QUICK)
    assert found.verdict == "fail"
    assert "fail (in the worst seed revisits lie at " in str(found)
    assert "margin 0.1, held in 2 of 3 seeds)" in str(found)


def test_what_is_left_of_a_collapsed_encoder_is_not_read():
    row = corridor(cells=9, noop=True, last_action=True)
    settings = {"episodes": 12, "steps": 40, "standard_controls": False}
    where = np.arange(9, dtype=np.float32)
    found = lr.evaluate(lambda f: 1.0 + 1e-8 * (f[:, :9] @ where)[:, None], row, **settings)
    constant = lr.evaluate(lambda f: np.ones((len(f), 1)), row, **settings)
    assert found.verdict == "degenerate (collapsed)"
    for name in ("r1", "r1_hard", "auc", "leak_a1"):
        assert found.seeds[0].values[name] == constant.seeds[0].values[name], name


def test_a_control_may_have_a_name_that_is_not_measured():
    row = corridor(cells=9, noop=True, last_action=True)
    settings = {"episodes": 6, "steps": 20, "only": ["spreads"]}
    controls = {"constant": lambda frames: frames[:, :9]}
    found = lr.evaluate(lambda f: f, row, controls=controls, standard_controls=False, **settings)
    assert list(found.controls) == ["constant"]
    with pytest.raises(SpecError, match="'constant', which is measured anyway"):
        lr.evaluate(lambda f: f, row, controls=controls, **settings)
