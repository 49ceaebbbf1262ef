"""Validation: what is held out, what is kept of it; phases, where they end and start."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
from latentroles import plugins
from latentroles.data import Trajectories
from latentroles.errors import CheckpointError, DataError, SpecError, TrainingError
from latentroles.evaluate import curves
from latentroles.train import EarlyStopping, Interrupted, PhaseSettings, checkpoint, metrics
from latentroles.train.best import Best
from latentroles.train.display import Display
from latentroles.train.run import read_run
from latentroles.train.validation import divide
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


def validated(out: Path | None = None, **options: Any) -> lr.RunResult:
    """A run of the quadratic backend with validation after step 1 and every second one."""
    settings = {"validation": Draws(seed=9), "validate_every": 2, "validation_batches": 2}
    return trained(out, **{**settings, **options})


def scripted(values: dict[int, float], loss: str = "push") -> Callable[..., dict[str, float]]:
    """For `QuadraticBackend.evaluated`: a loss by the steps done at its validation."""

    def evaluated(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        return {**losses, loss: values[step + 1], "total": values[step + 1]}

    return evaluated


def weights(folder: Path, name: str) -> dict[str, np.ndarray]:
    arrays = checkpoint.load(folder, name).arrays
    return {key: a for key, a in arrays.items() if key.startswith("weights/")}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[key].tobytes() == b[key].tobytes() for key in a)


# The best validation, and patience -----------------------------------------------------------


@given(
    values=st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]), min_size=1, max_size=12),
    patience=st.integers(1, 4),
    delta=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_best_and_the_end_are_those_of_their_definition(
    values: list[float], patience: int, delta: float
) -> None:
    stopping = EarlyStopping(patience=patience, min_delta=delta, loss="x")
    best = Best()
    for index, value in enumerate(values):
        seen = values[: index + 1]
        improved = best.see(10 * index, {"x": value, "total": -value}, stopping)
        assert improved == (value < min(seen[:-1], default=float("inf")))
        assert (best.value, best.step) == (min(seen), 10 * seen.index(min(seen)))
        # Improvements by more than delta over the one before, and how long ago the last is.
        marks = [0]
        for at, other in enumerate(seen):
            if other < seen[marks[-1]] - delta:
                marks.append(at)
        assert best.exhausted(stopping) == (index - marks[-1] >= patience)
        assert not best.exhausted(None)
        best = Best(**best.to_json())


@pytest.mark.parametrize(
    "wrong", [{"patience": 0}, {"patience": 1, "min_delta": -1.0}, {"patience": 1.5}]
)
def test_early_stopping_checks_its_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="EarlyStopping"):
        EarlyStopping(**wrong)


# A run with validation -----------------------------------------------------------------------


def test_validations_are_lines_of_metrics_and_in_the_result(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    result = validated(tmp_path / "run", steps=5, log_every=4)
    rows = lines_of(tmp_path / "run")
    assert [row["step"] for row in rows] == [0, 1, 3, 4]
    assert ["validation" in row for row in rows] == [True, True, True, False]
    last = rows[2]["validation"]
    assert last["total"] == pytest.approx(sum(last["losses"].values()))
    assert result.validation == {**last["losses"], "total": last["total"]}
    assert metrics.read(tmp_path / "run" / metrics.METRICS)[0]["validation"]


def test_the_mean_is_over_the_batches_held_out(backend: QuadraticBackend, tmp_path: Path) -> None:
    asked: list[int] = []

    class Held(Draws):
        def batch(self, step: int) -> Any:
            asked.append(step)
            return super().batch(step)

    result = validated(tmp_path / "run", validation=Held(seed=9), validation_batches=3)
    assert asked == [0, 1, 2]  # once, and the same each time
    at = weights(tmp_path / "run", "checkpoint")["weights/near"]
    means = [Draws(seed=9).batch(i)["x"].mean((0, 1)) + i for i in range(3)]
    expected = np.mean([((at - mean) ** 2).sum() for mean in means])
    assert result.validation["pull"] == pytest.approx(expected)


def test_validation_changes_nothing_of_the_training(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    trained(tmp_path / "without")
    validated(tmp_path / "with")
    assert same(
        weights(tmp_path / "without", "checkpoint"), weights(tmp_path / "with", "checkpoint")
    )


def test_the_best_checkpoint_is_that_of_the_lowest_validation(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    backend.evaluated = scripted({1: 5.0, 2: 3.0, 4: 1.0, 6: 1.0, 8: 2.0})
    validated(tmp_path / "run", steps=8)
    backend.evaluated = lambda trainer, step, losses: losses
    validated(tmp_path / "four", steps=4)
    held = checkpoint.load(tmp_path / "run", "best")
    assert (held.record["phase_step"], held.record["progress"]["best"]["value"]) == (4, 1.0)
    assert same(weights(tmp_path / "run", "best"), weights(tmp_path / "four", "checkpoint"))
    assert not same(weights(tmp_path / "run", "best"), weights(tmp_path / "run", "checkpoint"))


def test_a_validation_that_is_not_finite_stops(backend: QuadraticBackend, tmp_path: Path) -> None:
    backend.evaluated = scripted({1: 1.0, 2: float("nan")}, loss="push")
    with pytest.raises(TrainingError, match="push = nan at step 1 of validation of phase main"):
        validated(tmp_path / "run")


def test_a_phase_ends_early_and_says_so(backend: QuadraticBackend, tmp_path: Path) -> None:
    backend.evaluated = scripted({1: 5.0, 2: 3.0, 4: 2.5, 6: 2.4, 8: 9.0})
    stopping = EarlyStopping(patience=2, min_delta=1.0, loss="push")
    result = validated(tmp_path / "run", steps=20, early_stopping=stopping)
    assert result.steps == 6
    assert status_of(tmp_path / "run") == "complete"
    assert "main ended after 6 steps: validation of push" in result.notes[0]
    assert "The best was 2.4, after 6 steps" in result.notes[0]
    assert [row["step"] for row in lines_of(tmp_path / "run")] == list(range(6))
    before = (tmp_path / "run" / checkpoint.TENSORS).read_bytes()
    resumed = validated(resume=tmp_path / "run", steps=30, early_stopping=stopping)
    assert resumed.steps == 6  # it has ended
    assert (tmp_path / "run" / checkpoint.TENSORS).read_bytes() == before


def test_the_loss_that_is_named_is_the_one_that_judges(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    def evaluated(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        return {"pull": float(-step), "push": float(step), "total": float(step)}

    backend.evaluated = evaluated
    stopping = EarlyStopping(patience=1, loss="pull")
    assert validated(tmp_path / "pull", early_stopping=stopping).steps == 8
    assert checkpoint.load(tmp_path / "pull", "best").record["step"] == 8
    assert validated(tmp_path / "t", early_stopping=EarlyStopping(patience=1)).steps == 2
    assert checkpoint.load(tmp_path / "t", "best").record["step"] == 1


# Phases --------------------------------------------------------------------------------------

TWO = quadratic(two_phases=True)  # "pretrain" of 4 steps, "decode" of 3


def test_a_phase_that_ends_early_hands_on_to_the_next(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    steps: list[tuple[str, int]] = []
    data: list[int] = []

    def after(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        steps.append(("+".join(trainer.model.losses), step))
        return losses

    backend.after = after
    backend.evaluated = scripted({1: 1.0, 2: 2.0, 4: 0.0}, loss="pull")
    phases = {"pretrain": PhaseSettings(early_stopping=EarlyStopping(patience=1))}
    draws = Draws(before=data.append)
    result = validated(tmp_path / "run", spec=TWO, steps=None, data=draws, phases=phases)
    assert steps == [("pull", 0), ("pull", 1), *(("pull+push", i) for i in range(3))]
    assert data[1:] == [0, 1, 2, 3, 4]  # the data of the run goes on
    assert [(row["step"], row["phase"]) for row in lines_of(tmp_path / "run")] == [
        *((i, "pretrain") for i in range(2)),
        *((i, "decode") for i in range(2, 5)),
    ]
    assert result.steps == 5
    assert "total" not in result.validation
    assert checkpoint.load(tmp_path / "run", "checkpoint_pretrain").record["step"] == 2
    steps.clear()
    options: dict[str, Any] = {"spec": TWO, "steps": None, "phases": phases}
    assert validated(tmp_path / "run", skip_if_trained=True, **options).steps == 5
    assert steps == []  # a phase that ended early is trained


@pytest.mark.parametrize("start", ["last", "best"])
def test_a_phase_starts_from_the_last_or_the_best_of_the_one_before(
    backend: QuadraticBackend, tmp_path: Path, start: str
) -> None:
    begun: dict[str, np.ndarray] = {}

    def after(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        if len(trainer.model.losses) == 2 and step == 0:
            moved = trainer.model.weights.items()
            begun.update({n: w + trainer.rate * trainer.momentum[n] for n, w in moved})
        return losses

    backend.after = after
    backend.evaluated = scripted({1: 3.0, 2: 1.0, 4: 2.0}, loss="pull")
    validated(
        tmp_path / "run",
        spec=TWO,
        steps=None,
        phases={"decode": PhaseSettings(start=start)},
    )
    name = {"last": "checkpoint_pretrain", "best": "best_pretrain"}[start]
    assert checkpoint.load(tmp_path / "run", name).record["step"] == {"last": 4, "best": 2}[start]
    for module, array in begun.items():
        held = weights(tmp_path / "run", name)[f"weights/{module}"]
        np.testing.assert_allclose(array, held, rtol=1e-12)


def test_a_phase_has_settings_of_its_own(backend: QuadraticBackend, tmp_path: Path) -> None:
    rates: list[float] = []

    def after(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        rates.append(trainer.rate)
        return losses

    backend.after = after
    own = PhaseSettings(steps=2, optimisers={"default": lr.sgd(0.5)})
    trained(tmp_path / "run", spec=TWO, steps=3, phases={"decode": own})
    assert rates == [0.05] * 3 + [0.5] * 2
    run = read_run(tmp_path / "run")
    assert run.steps == {"pretrain": 3, "decode": 2}
    assert PhaseSettings.from_json(run.phases["decode"]).optimisers == own.optimisers
    other = {"decode": PhaseSettings(optimisers=lr.sgd(0.4))}
    with pytest.raises(CheckpointError, match=r"differs .* phases"):
        trained(resume=tmp_path / "run", spec=TWO, phases=other)


def test_a_phase_that_is_trained_is_not_trained_again(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    run, options = tmp_path / "run", {"spec": TWO, "steps": None, "skip_if_trained": True}
    validated(run, **options)  # a folder without a run is an ordinary one
    whole = weights(run, "checkpoint")
    calls: list[tuple[str, ...]] = []

    def after(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        calls.append(trainer.model.losses)
        return losses

    backend.after = after
    again = validated(run, **options)
    assert (calls, again.steps) == ([], 7)
    assert same(whole, weights(run, "checkpoint"))
    # Without its own checkpoint the second phase is trained again, with what is asked for now.
    (run / "checkpoint_decode.safetensors").unlink()
    phases = {"decode": PhaseSettings(optimisers={"default": lr.sgd(0.1)}, steps=2)}
    assert (run / "best_decode.safetensors").exists()
    result = trained(run, phases=phases, **options)
    assert not (run / "best_decode.safetensors").exists()  # it was of what is gone
    assert checkpoint.load(run).record["step"] == 6
    assert calls == [("pull", "push")] * 2
    assert result.steps == 6
    assert [row["step"] for row in lines_of(run)] == list(range(6))
    assert read_run(run).steps == {"pretrain": 4, "decode": 2}
    assert status_of(run) == "complete"


def test_a_crash_after_taking_over_leaves_the_end_of_what_was_taken(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trained(run, spec=TWO, steps=None)
    (run / "checkpoint_decode.safetensors").unlink()

    def crash(step: int) -> None:
        if step == 4:
            raise OSError("the machine goes down")

    with pytest.raises(OSError, match="goes down"):
        trained(run, spec=TWO, steps=None, data=Draws(before=crash), skip_if_trained=True)
    assert checkpoint.load(run).record["step"] == 4
    trained(resume=run, spec=TWO, steps=None)
    trained(tmp_path / "whole", spec=TWO, steps=None)
    assert_same_run(tmp_path / "whole", run)


def test_what_is_trained_of_another_spec_is_kept(backend: QuadraticBackend, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(run, spec=TWO, steps=None)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(CheckpointError, match=r"spec_hash.*left as it is"):
        trained(run, spec=quadratic(weight=2.0, two_phases=True), skip_if_trained=True)
    with pytest.raises(TrainingError, match="takes over phases of the run in out="):
        trained(resume=run, spec=TWO, skip_if_trained=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("spec", [TWO, quadratic()], ids=["two phases", "one"])
def test_an_unfinished_phase_is_for_resuming(
    backend: QuadraticBackend, tmp_path: Path, spec: lr.Spec
) -> None:
    def crash(step: int) -> None:
        if step == 2:
            raise OSError("the machine goes down")

    with pytest.raises(OSError, match="goes down"):
        trained(tmp_path / "run", spec=spec, steps=None, data=Draws(before=crash))
    with pytest.raises(TrainingError, match="finished no phase yet"):
        trained(tmp_path / "run", spec=spec, steps=None, skip_if_trained=True)


# Going on ------------------------------------------------------------------------------------


@given(
    many_phases=st.booleans(),
    at=st.integers(1, 5),
    every=st.integers(1, 4),
    validate=st.integers(1, 3),
    patience=st.integers(1, 3),
    kind=st.sampled_from(["Ctrl-C", "crash"]),
    start=st.sampled_from(["last", "best"]),
)
def test_a_resumed_run_is_bitwise_the_uninterrupted_one_with_its_best(
    tmp_path_factory: pytest.TempPathFactory,
    many_phases: bool,
    at: int,
    every: int,
    validate: int,
    patience: int,
    kind: str,
    start: str,
) -> None:
    """Law B10, with validation, early stopping and phases."""
    folder = tmp_path_factory.mktemp("b10")
    settings: dict[str, Any] = {
        "spec": quadratic(two_phases=many_phases),
        "steps": None if many_phases else 9,
        "checkpoint_every": every,
        "validate_every": validate,
        "early_stopping": EarlyStopping(patience=patience),
        "phases": {"decode": PhaseSettings(start=start)} if many_phases else {},
    }
    calls = 0

    def break_off(step: int) -> None:
        nonlocal calls
        calls += 1
        if step == at and calls > 1:  # the first call checks that the data fits
            if kind == "crash":
                raise OSError("the machine goes down")
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        validated(folder / "whole", **settings)
        try:
            validated(folder / "parts", data=Draws(before=break_off), **settings)
        except (Interrupted, OSError):
            validated(resume=folder / "parts", **{**settings, "validate_every": None})
    assert_same_run(folder / "whole", folder / "parts")
    assert status_of(folder / "parts") == "complete"
    names = {path.name for path in (folder / "whole").glob("*.safetensors")}
    assert {path.name for path in (folder / "parts").glob("*.safetensors")} == names
    for name in names:
        stem = name.removesuffix(".safetensors")
        left, right = (checkpoint.load(folder / part, stem) for part in ("whole", "parts"))
        assert same(left.arrays, right.arrays), name
        assert {**left.record, "seconds": 0} == {**right.record, "seconds": 0}


def test_a_best_that_a_crash_left_unwritten_is_written(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    backend.evaluated = scripted({1: 5.0, 2: 3.0, 4: 1.0, 6: 0.5, 8: 0.1})
    validated(tmp_path / "run", steps=4)
    best = checkpoint.load(tmp_path / "run", "best")
    for damage in (b"", None):
        path = tmp_path / "run" / "best.safetensors"
        path.unlink() if damage is None else path.write_bytes(damage)
        validated(resume=tmp_path / "run", steps=4)
        again = checkpoint.load(tmp_path / "run", "best")
        assert again.record == best.record
        assert same(again.arrays, best.arrays)


# What is held out ----------------------------------------------------------------------------


def trajectories(episodes: int = 10, length: int = 6) -> Trajectories:
    """Every frame holds the number of its episode."""
    frames = np.repeat(np.arange(episodes), length).astype(np.float32)
    return Trajectories(
        frames=np.repeat(frames[:, None], 3, axis=1),
        actions=np.arange(episodes * (length - 1)) % 4,
        pose=np.zeros((episodes * length, 3)),
        offsets=np.arange(episodes + 1) * length,
        environment="own",
        action_names=tuple("abcd"),
    )


@given(fraction=st.floats(0.01, 0.99), episodes=st.integers(2, 12))
def test_a_fraction_holds_out_whole_episodes(fraction: float, episodes: int) -> None:
    train, held = divide(trajectories(episodes), fraction)
    ours, theirs = set(train.frames[:, 0]), set(held.frames[:, 0])
    assert not ours & theirs
    assert ours | theirs == set(range(episodes))
    assert abs(len(held) - fraction * episodes) <= 1
    assert set(divide(trajectories(episodes), fraction)[1].frames[:, 0]) == theirs


def test_a_file_is_split_and_a_second_file_held_out(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    file = tmp_path / "own.h5"
    trajectories().save(file)
    options: dict[str, Any] = {"columns": {"x": "frames", "a": "actions"}, "frames": 4, "batch": 3}
    trained(tmp_path / "a", data=file, validation=0.3, **options)
    run = read_run(tmp_path / "a")
    assert run.validation is not None
    assert (run.data["episodes"], run.validation["data"]["episodes"]) == (7, 3)
    assert run.validation["every"] == {"main": 1}  # a tenth of 8 steps
    trained(tmp_path / "b", data=file, validation=str(file), **options)
    run = read_run(tmp_path / "b")
    assert run.validation is not None
    assert (run.data["episodes"], run.validation["data"]["episodes"]) == (10, 10)
    with pytest.raises(CheckpointError, match="validation"):
        trained(resume=tmp_path / "a", data=file, validation=0.2, **options)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"validation": 0.1}, DataError, "fraction of the episodes .* Draws, which has none"),
        ({"validation": [1]}, DataError, "got list"),
        ({"validation": 2}, DataError, r"validation \(--validation\) is a fraction .*; got 2"),
        ({"validation": 0}, DataError, "between 0 and 1 and neither of them"),
        ({"validation": 1.0}, DataError, "got 1.0"),
        ({"validation": float("nan")}, DataError, "got nan"),
        ({"validation": True}, DataError, "got True"),
        ({"validate_every": 9}, TrainingError, "validate_every=9 is more than the 8 steps"),
        ({"validate_every": 0}, SpecError, "validate_every .* must be an integer of at least 1"),
        ({"validation_batches": 0}, SpecError, "validation_batches .* must be an integer"),
        (
            {"validation": None, "early_stopping": EarlyStopping(patience=1)},
            TrainingError,
            "early_stopping of phase main judges by validation, and there is none",
        ),
        (
            {"early_stopping": EarlyStopping(patience=1, loss="pul")},
            SpecError,
            "'pul', which is no loss of it. Did you mean 'pull'",
        ),
        (
            {"phases": {"mian": PhaseSettings()}},
            SpecError,
            "'mian' that quadratic does not declare. Did you mean 'main'",
        ),
        ({"phases": {"main": {"steps": 3}}}, SpecError, "'main' is dict"),
        ({"early_stopping": {"patience": 3}}, SpecError, "early_stopping is EarlyStopping"),
        ({"phases": ["main"]}, SpecError, r"phases= takes PhaseSettings.*; received \['main'\]"),
        ({"groups": "near"}, SpecError, "groups .* must be a dictionary of strings; .* 'near'"),
        ({"groups": ["near"]}, SpecError, "groups .* must be a dictionary of strings"),
        ({"columns": "x"}, SpecError, "columns .* must be a dictionary of strings; .* 'x'"),
        ({"columns": {"x": 3}}, SpecError, "columns .* must be a dictionary of strings"),
        ({"seed": -1}, SpecError, "seed .* must be an integer of at least 0; received -1"),
        ({"frames": "4"}, SpecError, r"frames \(T of a window\) must be an integer .* '4'. Fix"),
        ({"frames": None}, SpecError, "frames .* must be an integer .* received None"),
        ({"frames": np.float64(4)}, SpecError, "frames .* must be an integer"),
        ({"batch": 0}, SpecError, "batch .* must be an integer of at least 1; received 0. Fix"),
        ({"collapse_every": True}, SpecError, "collapse_every .* an integer .*; received True"),
        ({"display": 3}, SpecError, "display must be True, False or .* begin, .*; received 3. Fix"),
        ({"display": None}, SpecError, "display must be .*; received None"),
        ({"display": Display}, SpecError, "display must be .*; received <class"),
        ({"command": [3]}, SpecError, r"command must be .* JSON can hold; received \[3\]. Fix"),
        ({"command": {"at": {3}}}, SpecError, r"command .* \(Object of type set is not .*\). Fix"),
        ({"optimisers": lr.cosine(0.1, 5)}, TrainingError, "'default' is Cosine. Write lr.adamw"),
        ({"phases": {"main": PhaseSettings(start="best")}}, TrainingError, "is the first one"),
        (
            {"phases": {"main": PhaseSettings(groups={"nar": "default"})}},
            SpecError,
            "'nar'.*'near'",
        ),
        ({"skip_if_trained": True, "out": None}, TrainingError, "give that folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    backend: QuadraticBackend, tmp_path: Path, options: dict[str, Any], error: type, said: str
) -> None:
    options = {"out": tmp_path / "run", **options}
    with pytest.raises(error, match=said):
        validated(**options)
    assert not (tmp_path / "run").exists()


class Place:
    """A path that is not a `Path`."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return "Place"


def test_numbers_and_paths_of_other_kinds_are_taken(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    whole = ("frames", "batch", "validate_every", "validation_batches", "collapse_every")
    counts = dict.fromkeys((*whole, "checkpoint_every", "log_every"), np.int32(2))
    validated(Place(str(tmp_path / "run")), steps=np.int32(3), **counts)
    run = read_run(tmp_path / "run")
    assert (run.steps, run.collapse_every, run.validation["batches"]) == ({"main": 3}, 2, 2)
    validated(resume=Place(str(tmp_path / "run")), steps=np.int32(4), **counts)
    assert read_run(tmp_path / "run").steps == {"main": 4}
    phases = {"main": PhaseSettings(steps=np.int64(3))}
    validated(tmp_path / "own", phases=phases)
    assert read_run(tmp_path / "own").steps == {"main": 3}


@pytest.mark.parametrize("name", ["out", "resume"])
@pytest.mark.parametrize("folder", ["", 3, Place(""), Place(b"run")])
def test_a_folder_of_no_path_is_refused(
    backend: QuadraticBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    folder: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match=rf"{name}= \(--{name}\) is the path .* {folder!r}"):
        validated(**{"out": None, name: folder})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "wrong", "said"),
    [
        (EarlyStopping, {"patience": 1, "loss": 3}, "loss .* must be a string; received 3. Fix"),
        (EarlyStopping, {"patience": 1, "loss": ""}, "loss .* must be a string; received ''"),
        (PhaseSettings, {"groups": "near"}, "groups .* must be a dictionary .* 'near'. Fix"),
        (PhaseSettings, {"groups": {"near": 1}}, "groups .* must be a dictionary of strings"),
        (PhaseSettings, {"early_stopping": 3}, "early_stopping is EarlyStopping.* received 3"),
    ],
)
def test_settings_are_refused_where_they_are_declared(
    settings: Any, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=rf"^test_validation\.py:\d+: .*{said}"):
        settings(**wrong)


RECIPE: dict[str, Any] = {
    "environment": "walk",
    **dict.fromkeys(("episodes", "batch", "steps"), 2),
    "episode_steps": 9,
    "frames": 4,
    "optimisers": lr.sgd(0.1),
}


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"environment": 3}, SpecError, "environment .* must be a string; received 3"),
        ({"episodes": 0}, SpecError, "recipe: episodes .* an integer of at least 1; received 0"),
        ({"frames": True}, SpecError, "recipe: frames .* must be an integer .* received True"),
        ({"columns": "x"}, SpecError, "columns .* must be a dictionary of strings; .* 'x'"),
        ({"groups": "near"}, SpecError, "groups .* must be a dictionary of strings; .* 'near'"),
        ({"phases": ["main"]}, SpecError, "phases= takes PhaseSettings"),
        ({"phases": {"main": 3}}, SpecError, "phases= takes PhaseSettings.* 'main' is int"),
        ({"early_stopping": 3}, SpecError, "early_stopping is EarlyStopping.* received 3"),
        ({"validation": "0.1"}, SpecError, "between 0 and 1, not '0.1'"),
        ({"optimisers": 3}, TrainingError, "'default' is int. Write lr.adamw"),
        ({"optimisers": {}}, SpecError, "A recipe needs an optimiser"),
    ],
)
def test_a_recipe_is_refused_where_it_is_declared(
    wrong: dict[str, Any], error: type, said: str
) -> None:
    function = lr.recipe(**RECIPE)(lambda: quadratic())
    assert function.recipe.optimisers == {"default": lr.sgd(0.1)}  # one is for all
    counted = lr.recipe(**{**RECIPE, "steps": np.int64(2)})(lambda: quadratic())
    assert type(counted.recipe.steps) is int
    with pytest.raises(error, match=said):
        lr.recipe(**{**RECIPE, **wrong})


def test_settings_of_late_phases_are_checked_first(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    two = {"default": lr.sgd(0.1), "slow": lr.sgd(0.01)}
    with pytest.raises(SpecError, match="'slow' moves no module"):
        trained(tmp_path / "run", spec=TWO, phases={"decode": PhaseSettings(optimisers=two)})
    assert not (tmp_path / "run").exists()
    with pytest.raises(SpecError, match=r"start must be one of 'last', 'best'"):
        PhaseSettings(start="first")


# What a person sees --------------------------------------------------------------------------


def test_the_curves_have_a_dashed_line_where_there_is_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    real, dashed = Axes.plot, []

    def plot(axes: Any, *values: Any, **style: Any) -> Any:
        if style.get("linestyle") == "--":
            dashed.append([list(v) for v in values])
        return real(axes, *values, **style)

    monkeypatch.setattr(Axes, "plot", plot)

    def row(step: int, **more: Any) -> dict[str, Any]:
        start = {"step": step, "phase": "main", "seconds": 0.0, "total": 1.0}
        return {**start, "losses": {"a": 1.0 + step, "b": 1.0}, **more}

    plain = [row(step) for step in range(4)]
    held = {"validation": {"total": 2.0, "losses": {"a": 3.0, "b": 4.0}}}
    rows = [plain[0], row(1, **held), plain[2], row(3, **held)]
    steps, values = curves.validation(rows)["a"]
    assert (steps.tolist(), values.tolist()) == ([1, 3], [3.0, 3.0])
    assert curves.validation(plain) == {}
    curves.draw(plain, tmp_path / "plain", title="t", last=metrics.ends(plain)[1])
    assert dashed == []
    curves.draw(rows, tmp_path / "held", title="t", last=metrics.ends(rows)[1])
    assert dashed == [[[1, 3], [value, value]] for value in (2.0, 3.0, 4.0)]


def test_a_display_shows_the_validation_that_judges(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    shown: list[set[str]] = []

    class Heard:
        def note(self, text: str) -> None: ...
        def begin(self, phase: str, start: int, stop: int) -> None: ...
        def update(self, done: int, losses: Any) -> None:
            shown.append(set(losses))

        def end(self) -> None: ...

    stopping = EarlyStopping(patience=9, loss="push")
    validated(tmp_path / "run", steps=3, display=Heard(), early_stopping=stopping)
    assert shown == [{"pull", "push", "total", "validation push"}] * 3


# On both backends ----------------------------------------------------------------------------

BACKENDS = ("torch", "jax")


def world() -> lr.Spec:
    """A target, a state, noise, a scheduled weight: what an evaluation could move."""
    s = lr.Spec("whole")
    x = s.observation("x", (3,))
    encoder = s.module("encoder", lr.nn.linear(3, 4))
    predictor = s.module("predictor", lr.nn.linear(4, 4))
    teacher = s.target(encoder, decay=0.5)
    z = s.latent("z", encoder(x), role=lr.PLACE)
    center = s.state("center", (4,), init=0.5)
    mean = z.mean(over="time").mean(over="batch")
    s.update(center, 0.8 * center + 0.2 * mean)
    noisy = lr.dropout(z, 0.25, label="mask")
    s.loss("jepa", lr.losses.mse(predictor(noisy), teacher(x)), weight=lr.warmup(1.0, 9))
    s.loss("centre", lr.losses.mse(mean, center), weight=0.1)
    return s


class Frames:
    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def identity(self) -> dict[str, int]:
        return {"seed": self.seed}

    def batch(self, step: int) -> dict[str, np.ndarray]:
        return {"x": np.random.default_rng([self.seed, step]).normal(size=(3, 4, 3))}


def train_world(out: Path, backend: str, **options: Any) -> lr.RunResult:
    settings = {"steps": 6, "dtype": "float64", "display": False, **options}
    return lr.train(
        world(), Frames(), backend=backend, out=out, optimisers=lr.adam(0.05), **settings
    )


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("worlds")
    held = {"validation": Frames(seed=1), "validate_every": 3, "validation_batches": 2}
    for backend in BACKENDS:
        train_world(root / backend, backend, **held)
    return {backend: root / backend for backend in BACKENDS}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_validation_moves_nothing(backend: str, worlds: dict[str, Path], tmp_path: Path) -> None:
    train_world(tmp_path / "without", backend)
    left, right = (checkpoint.load(f).arrays for f in (tmp_path / "without", worlds[backend]))
    assert same(left, right)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_validation_is_the_model_on_what_is_held_out(
    backend: str, worlds: dict[str, Path]
) -> None:
    """The losses of the last validation, computed with the model as a user would."""
    row = lines_of(worlds[backend])[-1]
    model = lr.load(worlds[backend], backend="torch")
    state = {
        name.removeprefix("state/"): array
        for name, array in checkpoint.load(worlds[backend]).arrays.items()
        if name.startswith("state/")
    }
    found = []
    for index in range(2):
        batch = model.inputs(Frames(seed=1).batch(index))
        noise = model.noise(-1 - index, like=batch, seed=0)
        out = model(batch, noise, plugins.backend("torch").arrays(model, state), 5)
        found.append([float(v.detach()) for v in (*out.losses.values(), out.total)])
    expected = [*row["validation"]["losses"].values(), row["validation"]["total"]]
    np.testing.assert_allclose(np.mean(found, 0), expected, rtol=1e-7)


def test_both_backends_validate_the_same(worlds: dict[str, Path]) -> None:
    torch, jax = (lines_of(worlds[backend]) for backend in BACKENDS)
    for ours, theirs in zip(torch, jax, strict=True):
        assert ours.keys() == theirs.keys()
        if "validation" in ours:
            held = [row["validation"]["losses"] for row in (ours, theirs)]
            assert held[0] == pytest.approx(held[1], rel=1e-7)
            assert ours["latents"]["z"] == pytest.approx(theirs["latents"]["z"], rel=1e-3)
    for which in ("best", "last"):
        ours, theirs = (lr.weights(lr.load(worlds[b], which=which)) for b in BACKENDS)
        np.testing.assert_allclose(
            ours["encoder"]["weight"], theirs["encoder"]["weight"], atol=1e-7
        )


def test_load_names_what_is_not_there(worlds: dict[str, Path], tmp_path: Path) -> None:
    train_world(tmp_path / "without", "torch", steps=1)
    with pytest.raises(CheckpointError, match=r"no best.safetensors: .* validation=0.1"):
        lr.load(tmp_path / "without", which="best")
    with pytest.raises(SpecError, match="which must be one of 'last', 'best'"):
        lr.load(worlds["torch"], which="bset")
    with pytest.raises(SpecError, match="phase must be one of 'main'"):
        lr.load(worlds["torch"], phase="man")
    held = lr.weights(lr.load(worlds["torch"], phase="main"))
    assert np.array_equal(
        held["encoder"]["bias"], lr.weights(lr.load(worlds["torch"]))["encoder"]["bias"]
    )
