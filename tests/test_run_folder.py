"""What goes wrong in a run is named, and what the folder holds is kept."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latentroles as lr
from latentroles import files
from latentroles.data import Trajectories
from latentroles.errors import CheckpointError, DataError, SpecError, TrainingError
from latentroles.rules import diff
from latentroles.spec import Spec, losses, nn
from latentroles.train import checkpoint, load, phases
from latentroles.train.batches import Batches
from latentroles.train.changes import changes
from latentroles.train.optimisers import adam, sgd
from quadratic import (
    Draws,
    QuadraticBackend,
    assert_same_run,
    install,
    lines_of,
    quadratic,
    status_of,
    trained,
)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> QuadraticBackend:
    return install(monkeypatch)


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


def test_a_spec_that_differs_is_shown_as_its_difference(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    trained(tmp_path / "run")
    other = quadratic()
    del other.losses["push"]
    with pytest.raises(CheckpointError) as raised:
        trained(resume=tmp_path / "run", spec=other)
    said = str(raised.value)
    assert "From the spec there to the spec here:\n  loss push: {" in said
    assert str(diff(quadratic(), other)).replace("\n", "\n  ") in said
    assert "push" in said
    (tmp_path / "run" / "spec.json").write_text("{")
    with pytest.raises(CheckpointError, match="spec_hash") as raised:
        trained(resume=tmp_path / "run", spec=other)
    assert "From the spec" not in str(raised.value)


def declared(
    width: int = 4, shift: float = 0.5, weight: float = 1.0, deep: bool = False, first: int = 1
) -> Spec:
    s = Spec("declared")
    x = s.observation("x", (3,))
    layers = [lr.nn.Linear(3, width), lr.nn.Linear(width, 3)]
    near = s.module("near", lr.nn.Sequential((*layers, *([lr.nn.Silu()] if deep else []))))
    z = s.latent("z", near(x) * shift, role=lr.DESCRIPTOR)
    s.loss("pull", losses.mse(z, x), weight=weight)
    s.measure("later", losses.mse(z.t[first:].stop(), x.t[first:]))
    return s


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, []),
        (
            {"width": 5},
            [
                "module near.layers[0].outputs: 4 there, 5 here",
                "module near.layers[1].inputs: 4 there, 5 here",
            ],
        ),
        ({"shift": 0.25}, ["latent z: constant: 0.5 there, 0.25 here"]),
        ({"first": 2}, ["measure later: cut[1]: 1 there, 2 here"]),
        ({"weight": 2.0}, ["loss pull.weight: 1.0 there, 2.0 here"]),
        ({"deep": True}, ['module near.layers[2]: nothing there, {"layer": "Silu"} here']),
    ],
)
def test_what_two_specs_declare_differently_is_named(
    other: dict[str, Any], said: list[str]
) -> None:
    assert changes(declared(), declared(**other)) == said
    turned = [
        f"{path}: {new} there, {old} here"
        for path, _, values in (line.rpartition(": ") for line in said if "{" not in line)
        for old, new in [values.removesuffix(" here").split(" there, ")]
    ]
    assert [n for n in changes(declared(**other), declared()) if "{" not in n] == turned


def test_a_run_of_another_spec_is_told_before_its_data(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    """The data does not fit either spec."""
    trained(tmp_path / "run")
    for options in (
        {"resume": tmp_path / "run"},
        {"out": tmp_path / "run", "skip_if_trained": True},
    ):
        with pytest.raises(CheckpointError, match=r"a run of quadratic, .* another spec than wide"):
            trained(spec=quadratic("wide"), data=object(), phases={"no": None}, **options)
        with pytest.raises(CheckpointError, match=r"loss pull.weight: 1.0 there, 2.0 here"):
            trained(spec=quadratic(weight=2.0), data=object(), **options)


def test_settings_that_differ_are_told_key_by_key(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    groups = {"near": "default", "far": "default"}
    trained(tmp_path / "run", groups=groups)
    with pytest.raises(CheckpointError) as raised:
        trained(
            resume=tmp_path / "run",
            groups={**groups, "far": "slow"},
            optimisers={"default": sgd(0.05), "slow": sgd(0.01)},
        )
    said = str(raised.value)
    assert "groups.far: default there, slow here" in said
    assert "groups.near" not in said
    assert "optimisers.slow: nothing there, {" in said
    assert "optimisers.default" not in said


def test_a_spec_json_that_is_gone_is_said_and_written_anew(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    trained(tmp_path / "run", steps=4)
    path = tmp_path / "run" / "spec.json"
    text = path.read_text()
    path.unlink()
    with pytest.raises(CheckpointError, match=r"has lost its spec.json.*--resume"):
        load(tmp_path / "run")
    trained(resume=tmp_path / "run", steps=6)
    assert path.read_text() == text


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
        ({"steps": 0}, r"steps .* must be an integer of at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"log_every": 1.5}, "log_every"),
        ({"resume": "elsewhere"}, "stays in its folder"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(
    backend: QuadraticBackend, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises((SpecError, TrainingError), match=said):
        trained(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("frames", range(1, 7))
@pytest.mark.parametrize("part", ["loss", "late phase", "measure", "picture", "held out"])
def test_windows_too_short_for_what_reads_them_leave_no_folder(
    backend: QuadraticBackend, tmp_path: Path, frames: int, part: str
) -> None:
    """Each part in turn is the one that needs four frames."""
    s = Spec("reach")
    x = s.observation("x", (3,))
    near = s.module("near", nn.linear(3, 3))
    far = losses.mse(near(x).t[:-3], x.t[3:])
    s.loss("pull", far if part in ("loss", "held out") else losses.mse(near(x), x))
    s.loss("push", far if part == "late phase" else losses.mse(near(x), x))
    s.phase("first", losses=["pull"], steps=2)
    s.phase("late", losses=["push"], steps=2)
    if part == "measure":
        s.measure("apart", far)
    if part == "picture":
        s.picture("later", lr.reshape(x.t[3:], 3, 1, 1))
    short = Draws(frames=frames)
    options = {"validation": short, "data": Draws(frames=5)} if part == "held out" else {}
    if frames >= 4:
        trained(tmp_path / "run", spec=s, **{"data": short, **options})
        return
    with pytest.raises(DataError, match=rf"Windows of {frames} frames .* 4. Take .*--frames 4 "):
        trained(tmp_path / "run", spec=s, **{"data": short, **options})
    assert not (tmp_path / "run").exists()


def test_fewer_steps_than_done_are_refused(backend: QuadraticBackend, tmp_path: Path) -> None:
    trained(tmp_path / "run", steps=8)
    with pytest.raises(SpecError, match=r"has done 8 steps of phase main, .* steps=7 \(--steps\)"):
        trained(resume=tmp_path / "run", steps=7)
    assert len(lines_of(tmp_path / "run")) == 8


def test_a_spec_without_losses_is_refused(backend: QuadraticBackend, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "x",
            np.nan,
            r"'frames' must be finite; in the batch of step 3, 1 of 30 .* nan at \(1, 2, 0",
        ),
        ("x", -np.inf, r"-inf at \(1, 2, 0\)"),
        ("place", np.nan, r"'place' must be finite.*1 of 20"),
    ],
)
def test_what_is_not_finite_in_a_batch_is_named(
    backend: QuadraticBackend, tmp_path: Path, name: str, value: float, said: str
) -> None:
    class Given:
        def batch(self, step: int) -> Any:
            held = {"frames": X.copy(), "a": A, "place": np.zeros((2, 5, 2))}
            if step == 3:
                held["frames" if name == "x" else name][1, 2, 0] = value
            return held

    spec = quadratic()
    spec.label("place", (2,))
    with pytest.raises(DataError, match=said):
        trained(tmp_path / "run", spec=spec, data=Given(), columns={"x": "frames"})
    assert checkpoint.load(tmp_path / "run").record["step"] == 0


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


def test_a_trajectory_file_gives_the_columns_of_the_inputs_names(tmp_path: Path) -> None:
    Trajectories(
        frames=np.arange(30, dtype=np.float32).reshape(10, 3),
        actions=np.arange(8) % 4,
        pose=np.zeros((10, 3)),
        offsets=np.array([0, 5, 10]),
        environment="own",
        action_names=tuple("abcd"),
        labels={"place": np.arange(20).reshape(10, 2)},
    ).save(tmp_path / "own.h5")
    spec = quadratic()
    spec.label("place", (2,))
    batches = Batches(spec, tmp_path / "own.h5", frames=3, batch=2, columns=None, seed=0)
    batch = batches.batch(0)
    assert {name: array.shape for name, array in batch.items()} == {
        "x": (2, 3, 3),
        "a": (2, 2),
        "place": (2, 3, 2),
    }
    np.testing.assert_array_equal(batch["x"][..., 0] / 3, batch["place"][..., 0] / 2)
    assert batches.identity()["window"] == 3


def test_data_without_batches_is_refused(backend: QuadraticBackend, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got list"):
        trained(tmp_path / "run", data=[1, 2])
