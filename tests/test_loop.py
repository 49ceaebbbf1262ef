"""The loop: what a run leaves behind, how it stops, and how it goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentroles.errors import DataError
from latentroles.evaluate import curves
from latentroles.train import (
    EarlyStopping,
    Interrupted,
    PhaseSettings,
    RunResult,
    checkpoint,
    metrics,
)
from latentroles.train.display import print_summary
from latentroles.train.loop import StopRequest
from latentroles.train.optimisers import sgd
from latentroles.train.run import read_run
from quadratic import (
    Draws,
    QuadraticBackend,
    assert_same_run,
    hearing_ctrl_c,
    install,
    lines_of,
    quadratic,
    status_of,
    trained,
)


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    with hearing_ctrl_c():
        yield


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> QuadraticBackend:
    return install(monkeypatch)


# What a run leaves behind ------------------------------------------------------------------


def test_a_run_leaves_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, charts=True)
    result = trained(tmp_path / "run", checkpoint_every=3)
    folder = tmp_path / "run"
    assert result.folder == folder
    assert {path.name for path in folder.iterdir()} == {
        "spec.json",
        "run.json",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "checkpoint.json",
        "model_quadratic.py",
        "curves.png",
    }
    assert json.loads((folder / "spec.json").read_text()) == quadratic().to_json()
    assert (folder / "model_quadratic.py").read_text() == result.model.source
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "complete"
    assert record["spec_hash"] == quadratic().hash
    assert record["steps"] == {"main": 8}
    assert record["optimisers"] == {"default": sgd(0.05).to_json()}
    assert record["data"] == {"kind": "draws", "seed": 0}
    assert record["versions"]["numpy"] == np.__version__
    assert {"data", "compile", "first step", "train", "report"} <= record["stages"].keys()
    assert checkpoint.load(folder).record["step"] == 8
    assert result.steps == 8
    assert result.steps_per_second > 0


def test_each_step_is_a_line_of_metrics(backend: QuadraticBackend, tmp_path: Path) -> None:
    result = trained(tmp_path / "run", steps=25)
    rows = metrics.read(tmp_path / "run" / metrics.METRICS)
    assert [row["step"] for row in rows] == list(range(25))
    for row in rows:
        assert row["losses"].keys() == {"pull", "push"}
        assert row["total"] == pytest.approx(sum(row["losses"].values()))
    assert result.averaged == 2
    assert result.first["pull"] == pytest.approx(
        (rows[0]["losses"]["pull"] + rows[1]["losses"]["pull"]) / 2
    )
    assert result.last["total"] == pytest.approx((rows[-1]["total"] + rows[-2]["total"]) / 2)


def test_log_every_keeps_the_last_step(backend: QuadraticBackend, tmp_path: Path) -> None:
    trained(tmp_path / "run", steps=8, log_every=3)
    assert [row["step"] for row in lines_of(tmp_path / "run")] == [0, 3, 6, 7]


def test_runs_without_out_are_numbered(
    backend: QuadraticBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [trained().folder for _ in range(2)]
    assert [str(f) for f in folders] == [
        "runs/quadratic-quadratic-001",
        "runs/quadratic-quadratic-002",
    ]


def test_phases_train_in_order_and_hand_their_weights_on(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    steps: list[tuple[str, int]] = []
    starts: list[dict[str, np.ndarray]] = []
    ends: list[dict[str, np.ndarray]] = []

    def after(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        steps.append(("+".join(trainer.model.losses), step))
        weights = trainer.model.weights
        starts.append({n: w + trainer.rate * trainer.momentum[n] for n, w in weights.items()})
        ends.append(dict(weights))
        return losses

    backend.after = after
    trained(tmp_path / "run", spec=quadratic(two_phases=True), steps=None)
    assert steps == [("pull", i) for i in range(4)] + [("pull+push", i) for i in range(3)]
    for name in ("near", "far"):
        np.testing.assert_allclose(starts[4][name], ends[3][name])
    rows = lines_of(tmp_path / "run")
    assert [(r["step"], r["phase"]) for r in rows] == [
        *((i, "pretrain") for i in range(4)),
        *((i, "decode") for i in range(4, 7)),
    ]
    sources = {path.name for path in (tmp_path / "run").glob("model_*.py")}
    assert sources == {"model_quadratic_pretrain.py", "model_quadratic_decode.py"}


# Stopping and going on ----------------------------------------------------------------------


def press_ctrl_c(at: int, times: int = 1) -> Callable[[int], None]:
    """For `Draws.before`: Ctrl-C while the loop reads the data of step `at`."""
    calls = 0

    def before(step: int) -> None:
        nonlocal calls
        calls += 1
        if step == at and calls > 1:  # the first call checks that the data fits
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return before


@given(
    many_phases=st.booleans(),
    at=st.integers(1, 6),
    every=st.integers(1, 9),
    kind=st.sampled_from(["Ctrl-C", "crash"]),
)
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(
    tmp_path_factory: pytest.TempPathFactory, many_phases: bool, at: int, every: int, kind: str
) -> None:
    """Law B10."""
    folder = tmp_path_factory.mktemp("b10")
    spec = quadratic(two_phases=many_phases)
    settings = {"spec": spec, "steps": None if many_phases else 7, "checkpoint_every": every}

    def crash(step: int) -> None:
        if step == at:
            raise OSError("the machine goes down")

    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        trained(folder / "whole", **settings)
        if kind == "Ctrl-C":
            with pytest.raises(Interrupted):
                trained(folder / "parts", data=Draws(before=press_ctrl_c(at - 1)), **settings)
            assert checkpoint.load(folder / "parts").record["step"] == at
        else:
            with pytest.raises(OSError, match="goes down"):
                trained(folder / "parts", data=Draws(before=crash), **settings)
            assert checkpoint.load(folder / "parts").record["step"] <= at
        trained(resume=folder / "parts", **settings)
    assert_same_run(folder / "whole", folder / "parts")
    assert status_of(folder / "parts") == "complete"


def test_a_resumed_run_may_go_further(backend: QuadraticBackend, tmp_path: Path) -> None:
    trained(tmp_path / "whole", steps=9)
    trained(tmp_path / "parts", steps=4)
    trained(resume=tmp_path / "parts", steps=9)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("patience", "steps", "said"),
    [
        (None, None, ["going on after step 5"]),
        (None, 9, ["going on after step 5", "pretrain 4 (done), decode 9."]),
        (1, 9, ["nothing is left to do"]),
    ],
)
def test_a_run_that_goes_on_says_how_far(
    backend: QuadraticBackend, tmp_path: Path, capsys: Any, patience: Any, steps: Any, said: Any
) -> None:
    """It has done its first phase, and one step of the second."""

    def stop(step: int) -> None:
        if step == 4:
            signal.raise_signal(signal.SIGINT)

    options: dict[str, Any] = {"spec": quadratic(two_phases=True), "validation": Draws(seed=1)}
    if patience is not None:  # the first validation of decode is its best, the second ends it
        decode = PhaseSettings(early_stopping=EarlyStopping(patience=1, min_delta=1e9))
        options["phases"] = {"decode": decode}
        trained(tmp_path / "run", steps=None, **options)
    else:
        with pytest.raises(Interrupted):
            trained(tmp_path / "run", steps=None, data=Draws(before=stop), **options)
    capsys.readouterr()
    trained(resume=tmp_path / "run", steps=steps, display=True, **options)
    notes = [n for n in capsys.readouterr().err.splitlines() if not n.startswith(" ")]
    heard = [n for n in notes if "run: " in n or n.startswith("Steps of")]
    assert len(heard) == len(said)
    assert all(part in line for part, line in zip(said, heard, strict=True)), heard


def test_resuming_a_finished_run_changes_nothing(
    backend: QuadraticBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = trained(tmp_path / "run", command={"spec": "quadratic"})
    before = (tmp_path / "run" / checkpoint.TENSORS).read_bytes()
    again = trained(resume=tmp_path / "run", steps=None, display=True)
    assert "after step 8 nothing is left to do" in capsys.readouterr().err
    print_summary(again, "")
    text = capsys.readouterr().out
    assert "8 steps\n" in text
    assert "nan" not in text
    assert (tmp_path / "run" / checkpoint.TENSORS).read_bytes() == before
    assert (again.steps, again.first, again.last) == (done.steps, done.first, done.last)
    assert read_run(tmp_path / "run").command == {"spec": "quadratic"}


def test_a_torn_last_line_of_metrics_is_written_again(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    trained(tmp_path / "whole", steps=9)
    trained(tmp_path / "parts", steps=4)
    with (tmp_path / "parts" / metrics.METRICS).open("a") as file:
        file.write('{"step": 4, "phase": "ma')
    trained(resume=tmp_path / "parts", steps=9)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_line_that_is_not_of_metrics_is_named(backend: QuadraticBackend, tmp_path: Path) -> None:
    trained(tmp_path / "run")
    path = tmp_path / "run" / metrics.METRICS
    path.write_text("hello\n" + path.read_text())
    text = path.read_text()
    with pytest.raises(DataError, match=r"metrics.jsonl, line 1 "):
        trained(resume=tmp_path / "run")
    assert path.read_text() == text


def test_ctrl_c_saves_and_says_how_to_go_on(
    backend: QuadraticBackend, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as stopped:
        trained(tmp_path / "run", data=Draws(before=press_ctrl_c(2)))
    assert stopped.value.result.steps == 3
    assert f"--resume {tmp_path / 'run'}" in str(stopped.value)
    assert status_of(tmp_path / "run") == "interrupted"
    assert checkpoint.load(tmp_path / "run").record["step"] == 3
    assert "Ctrl-C again" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_in_the_last_step_is_a_finished_run(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    assert trained(tmp_path / "run", data=Draws(before=press_ctrl_c(7))).steps == 8
    assert status_of(tmp_path / "run") == "complete"


def test_a_second_ctrl_c_stops_at_once(backend: QuadraticBackend, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        trained(tmp_path / "run", data=Draws(before=press_ctrl_c(5, times=2)), checkpoint_every=2)
    assert not isinstance(stopped.value, Interrupted)
    assert checkpoint.load(tmp_path / "run").record["step"] == 4
    assert status_of(tmp_path / "run") == "interrupted"


def test_ctrl_c_during_the_report_leaves_a_finished_run(
    backend: QuadraticBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(curves, "draw", draw)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run")
    assert status_of(tmp_path / "run") == "complete"
    assert checkpoint.load(tmp_path / "run").record["step"] == 8


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
        assert not stop.requested
    finally:
        signal.signal(signal.SIGINT, previous)


def test_training_outside_the_main_thread_works(backend: QuadraticBackend, tmp_path: Path) -> None:
    results: list[RunResult] = []
    thread = threading.Thread(target=lambda: results.append(trained(tmp_path / "run")))
    thread.start()
    thread.join()
    assert results[0].steps == 8


TRAIN_SLOWLY = """
import sys, time
from pathlib import Path
import pytest
from quadratic import Draws, install, trained
def slow(step):
    print(step, flush=True)
    time.sleep(0.02)
with pytest.MonkeyPatch.context() as patch:
    install(patch)
    trained(Path(sys.argv[1]), data=Draws(before=slow), steps=10_000)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process")
def test_sigint_from_outside_saves(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN_SLOWLY, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "3":
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=30)
    assert "Stopped after step" in errors, errors
    assert checkpoint.load(tmp_path / "run").record["step"] in (4, 5)
    assert status_of(tmp_path / "run") == "interrupted"
