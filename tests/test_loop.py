"""The loop, the run folder and the display, on a backend without a framework."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentroles import files
from latentroles.errors import (
    CheckpointError,
    DataError,
    LatentrolesError,
    SpecError,
    TrainingError,
)
from latentroles.evaluate import curves
from latentroles.train import Interrupted, RunResult, checkpoint, metrics, phases, train
from latentroles.train.display import make_display, print_summary
from latentroles.train.loop import StopRequest
from latentroles.train.optimisers import adam, sgd
from latentroles.train.run import read_run
from quadratic import Draws, QuadraticBackend, hearing_ctrl_c, install, quadratic

SGD = {"default": sgd(0.05)}


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    with hearing_ctrl_c():
        yield


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> QuadraticBackend:
    return install(monkeypatch)


def trained(out: Path | None = None, **options: Any) -> RunResult:
    """`train` with the tests' defaults."""
    spec = options.pop("spec", None) or quadratic()
    data = options.pop("data", None) or Draws()
    settings = {"backend": "quadratic", "optimisers": SGD, "display": False, "steps": 8}
    return train(spec, data, out=out, **{**settings, **options})


def status_of(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text())["status"]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The metrics without the times, which differ from run to run."""
    rows = metrics.read(folder / metrics.METRICS)
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_run(a: Path, b: Path) -> None:
    left, right = checkpoint.load(a), checkpoint.load(b)
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        assert array.tobytes() == right.arrays[name].tobytes(), name
    timeless = [{**c.record, "seconds": None} for c in (left, right)]
    assert timeless[0] == timeless[1]
    assert lines_of(a) == lines_of(b)


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


def test_resuming_a_finished_run_changes_nothing(backend: QuadraticBackend, tmp_path: Path) -> None:
    done = trained(tmp_path / "run", command={"spec": "quadratic"})
    before = (tmp_path / "run" / checkpoint.TENSORS).read_bytes()
    again = trained(resume=tmp_path / "run", steps=None)
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
from quadratic import Draws, install
from test_loop import trained
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


# What goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_stops_with_its_name_and_step(
    backend: QuadraticBackend, tmp_path: Path, value: float
) -> None:
    def after(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        if step != 5:
            return losses
        trainer.model.weights["near"][:] = np.nan
        return {**losses, "push": value, "total": value}

    backend.after = after
    with pytest.raises(TrainingError, match=f"push = {value} at step 5") as raised:
        trained(tmp_path / "run", checkpoint_every=2)
    assert "pull =" not in str(raised.value)
    held = checkpoint.load(tmp_path / "run")
    assert held.record["step"] == 4
    assert all(np.isfinite(array).all() for array in held.arrays.values())
    assert status_of(tmp_path / "run") == "failed"
    assert len(lines_of(tmp_path / "run")) == 5


def test_weights_that_are_not_finite_are_not_saved(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    def after(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        if step == 3:
            trainer.model.weights["far"] = np.array([0.0, np.inf, 0.0])
        return losses

    backend.after = after
    with pytest.raises(TrainingError, match=r"weights/far is not after 4 steps"):
        trained(tmp_path / "run", checkpoint_every=2)
    assert checkpoint.load(tmp_path / "run").record["step"] == 2


def test_a_full_disk_keeps_the_previous_checkpoint(
    backend: QuadraticBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_size and (tmp_path / "full").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    def fill(step: int) -> None:
        if step == 5:
            (tmp_path / "full").touch()

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(TrainingError, match="No space left") as raised:
        trained(tmp_path / "run", data=Draws(before=fill), checkpoint_every=2)
    assert str(tmp_path / "run") in str(raised.value)
    (tmp_path / "full").unlink()
    assert checkpoint.load(tmp_path / "run").record["step"] == 4
    assert not list((tmp_path / "run").glob(".*"))
    trained(tmp_path / "whole")
    trained(resume=tmp_path / "run")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_folder_that_holds_a_run_is_not_overwritten(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    trained(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(TrainingError, match=r"already holds a run .*--resume"):
        trained(tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_folder_with_other_files_is_fine(backend: QuadraticBackend, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    trained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_as_out_is_refused(backend: QuadraticBackend, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(TrainingError, match="is a file"):
        trained(tmp_path / "run")
    with pytest.raises(TrainingError, match="could not be made"):
        trained(tmp_path / "run" / "below")
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec": quadratic(weight=2.0)}, "spec_hash"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"dtype": "float64"}, "dtype: float32 there, float64 here"),
        ({"backend": "torch"}, "backend: quadratic there, torch here"),
        ({"optimisers": {"default": adam(0.05)}}, "optimisers"),
        ({"data": Draws(seed=1)}, "data"),
        ({"groups": {"near": "default"}}, "groups"),
    ],
)
def test_a_resumed_run_is_the_same_run(
    backend: QuadraticBackend, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    trained(tmp_path / "run")
    with pytest.raises(CheckpointError, match=said):
        trained(resume=tmp_path / "run", **change)


def test_a_checkpoint_of_another_run_is_refused(backend: QuadraticBackend, tmp_path: Path) -> None:
    trained(tmp_path / "run")
    trained(tmp_path / "other", spec=quadratic(weight=2.0))
    (tmp_path / "other" / checkpoint.TENSORS).replace(tmp_path / "run" / checkpoint.TENSORS)
    with pytest.raises(CheckpointError, match="is not of this run: its spec_hash"):
        trained(resume=tmp_path / "run")


def test_resume_needs_a_run(backend: QuadraticBackend, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no run"):
        trained(resume=tmp_path / "nothing")
    trained(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"run.json is damaged"):
        trained(resume=tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps is a whole number"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"log_every": 1.5}, "log_every"),
        ({"resume": "elsewhere"}, "stays in its folder"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(
    backend: QuadraticBackend, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TrainingError, match=said):
        trained(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_fewer_steps_than_done_are_refused(backend: QuadraticBackend, tmp_path: Path) -> None:
    trained(tmp_path / "run", steps=8)
    with pytest.raises(TrainingError, match=r"has done 8 steps of phase main"):
        trained(resume=tmp_path / "run", steps=7)
    assert len(lines_of(tmp_path / "run")) == 8


def test_a_spec_without_losses_is_refused(backend: QuadraticBackend, tmp_path: Path) -> None:
    from latentroles.spec import Spec

    with pytest.raises(SpecError, match="declares no loss"):
        trained(tmp_path / "run", spec=Spec("empty"))


X, A = np.zeros((2, 5, 3), np.float32), np.zeros((2, 4), int)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"X": X, "a": A}, r"the column 'x', which the batches do not have"),
        ({"x": X[..., :2], "a": A}, r"'x' of quadratic is declared as .*\(2, 5, 2\)"),
        ({"x": X, "a": A.astype(float)}, r"'a' of quadratic is declared as .* int"),
        ({"x": X, "a": A[:, :3]}, r"agree in T.*'x' says 5, 'a' says 4"),
        ({"x": X, "a": A[:1]}, r"agree in batch"),
        ({"x": X, "a": A + 4}, r"Discrete\(4\), 0 to 3; the batch has 4 to 4"),
        ({"x": X[:0], "a": A[:0]}, r"at least 1"),
        ([X, A], r"got list"),
    ],
)
def test_a_batch_that_does_not_fit_the_spec_is_named(
    backend: QuadraticBackend, tmp_path: Path, batch: Any, said: str
) -> None:
    class Given:
        def batch(self, step: int) -> Any:
            return batch

    with pytest.raises(DataError, match=said):
        trained(tmp_path / "run", data=Given())
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_compiled_leaves_no_folder(
    backend: QuadraticBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "run", steps=4)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    def compile_spec(*args: Any, **kwargs: Any) -> None:
        raise SpecError("no such module")

    monkeypatch.setattr(phases, "compile_spec", compile_spec)
    with pytest.raises(SpecError, match="no such module"):
        trained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(SpecError, match="no such module"):
        trained(resume=tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_checkpoint_that_does_not_fit_the_trainer_is_refused(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    trained(tmp_path / "run")
    held = checkpoint.load(tmp_path / "run")
    del held.arrays["weights/far"]
    checkpoint.save(tmp_path / "run", held.arrays, held.record)
    with pytest.raises(CheckpointError, match="other arrays"):
        trained(resume=tmp_path / "run")
    assert status_of(tmp_path / "run") == "complete"


@pytest.mark.parametrize("optimisers", [{"default": object()}, "adamw"])
def test_an_optimiser_of_another_library_is_refused(
    backend: QuadraticBackend, tmp_path: Path, optimisers: Any
) -> None:
    with pytest.raises(TrainingError, match="takes latentroles' own"):
        trained(tmp_path / "run", optimisers=optimisers)


def test_data_without_batches_is_refused(backend: QuadraticBackend, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got list"):
        trained(tmp_path / "run", data=[1, 2])


# What a person sees ---------------------------------------------------------------------------

FOURTEEN = {f"rollout_kstep_delta_{i:02d}": 10.0 ** (i - 7) for i in range(14)}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("width", "columns"), [(80, 2), (120, 3), (40, 1)])
def test_fourteen_losses_fit_the_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int, columns: int
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "24")
    screen: Any = make_display(True, Terminal())
    screen.begin("main", 0, 600)
    screen.update(1, {**FOURTEEN, "total": 1.0})
    rows = screen._loss_rows()
    screen.end()
    assert len(rows) == -(-15 // columns)
    assert max(map(len, rows)) <= width
    assert all(any(name in row for row in rows) for name in FOURTEEN)


def test_a_log_file_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    screen = make_display(True, stream)
    screen.begin("main", 0, 600)
    for done in range(1, 601):
        screen.update(done, {**FOURTEEN, "total": 1.0})
    screen.end()
    text = stream.getvalue()
    assert "\x1b" not in text
    assert text.count("main ") == 11  # the first step, and every sixtieth
    assert max(map(len, text.splitlines())) <= 80


class Heard(list[str]):
    """A display that writes down what it is told."""

    def note(self, text: str) -> None:
        self.append(f"note {text}")

    def begin(self, phase: str, start: int, stop: int) -> None:
        self.append(f"begin {phase} {start} {stop}")

    def update(self, done: int, losses: Mapping[str, float]) -> None:
        self.append(f"{done}")

    def end(self) -> None:
        self.append("end")


def test_a_display_is_told_of_each_step_and_closed_on_an_error(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    heard = Heard()
    trained(tmp_path / "run", steps=2, display=heard)
    assert heard == ["begin main 0 2", "1", "2", "end"]
    backend.after = lambda trainer, step, losses: {**losses, "pull": float("nan")}
    heard = Heard()
    with pytest.raises(TrainingError):
        trained(resume=tmp_path / "run", steps=4, display=heard)
    assert heard[1:] == ["begin main 2 4", "end"]


def test_no_display_is_silent(
    backend: QuadraticBackend, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path / "run")
    assert capfd.readouterr() == ("", "")


def test_the_summary_says_what_it_averages(
    backend: QuadraticBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = trained(tmp_path / "run", steps=30)
    print_summary(result, "the routes")
    text = capsys.readouterr().out
    assert "last 3 logged steps" in text
    assert "the routes" in text
    assert str(tmp_path / "run") in text.replace("\n", "")
    for word in ("pull", "push", "total", "compile", "first step", "steps per second"):
        assert word in text


def rows_of(values: dict[str, list[float]], phase: Callable[[int], str]) -> list[dict[str, Any]]:
    steps = range(len(next(iter(values.values()))))
    return [
        {
            "step": step,
            "phase": phase(step),
            "seconds": 0.0,
            "total": 1.0,
            "losses": {name: series[step] for name, series in values.items()},
        }
        for step in steps
    ]


@pytest.mark.parametrize("length", [1, 2, 7, 900])
def test_curves_draw_what_losses_can_be(tmp_path: Path, length: int) -> None:
    values = {
        "zero": [0.0] * length,
        "negative": [-1.0 - i for i in range(length)],
        "falling": [10.0**-i for i in range(length)],
        "huge": [1e30] * length,
    }
    rows = rows_of(values, lambda step: "late" if step > 3 else "early")
    curves.draw(rows, tmp_path / "c.png", title="t", last=metrics.ends(rows)[1])
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


def test_a_run_without_matplotlib_is_complete_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, charts=True)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = trained(tmp_path / "run")
    assert "pip install 'latentroles[plots]'" in result.notes[0]
    assert status_of(tmp_path / "run") == "complete"


def test_errors_are_ours() -> None:
    for kind in (TrainingError, CheckpointError, DataError):
        assert issubclass(kind, LatentrolesError)
