"""`train`: from a spec and data to a run folder."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentroles.errors import LatentrolesError, SpecError, TrainingError
from latentroles.evaluate import curves
from latentroles.spec import Spec
from latentroles.train import metrics
from latentroles.train.batches import Batches
from latentroles.train.display import Display, make_display
from latentroles.train.phases import Outcome, PhaseTraining, Position, find_position
from latentroles.train.run import (
    CURVES,
    SPEC,
    Run,
    RunResult,
    as_json,
    create,
    read_run,
    refuse_changes,
    refuse_occupied,
    utc_now,
    versions,
    write_run,
    write_text,
)
from latentroles.train.stages import Stages

DEFAULT_STEPS = 2000


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after the step was finished and saved. A second Ctrl-C is a plain KeyboardInterrupt.

    Attributes:
        result: what `train` would have returned.
    """

    def __init__(self, message: str, result: RunResult) -> None:
        super().__init__(message)
        self.result = result


def train(
    spec: Spec,
    data: Any,
    *,
    backend: str = "torch",
    steps: int | None = None,
    out: str | Path | None = None,
    optimisers: Mapping[str, Any] | None = None,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str = "float32",
    frames: int = 12,
    batch: int = 16,
    columns: Mapping[str, str] | None = None,
    resume: str | Path | None = None,
    checkpoint_every: int = 100,
    log_every: int = 1,
    display: bool | Display = True,
    stages: Stages | None = None,
    command: Mapping[str, Any] | None = None,
) -> RunResult:
    """Trains a spec's phases in order and leaves a run folder behind.

    Args:
        spec: the declaration.
        data: a trajectory file, a `latentroles.data.Trajectories`, or an object whose
            `batch(step)` returns name -> array: observations (B, T, *frame), actions (B, T - 1),
            labels (B, T, *shape). The same step must give the same batch.
        backend: "torch" or "jax".
        steps: optimiser steps of each phase; None is what the phase declares, else 2000.
        out: folder of the run; None is `runs/<spec>-<backend>-<number>`.
        optimisers: by name; "default" has every module that `groups` does not name. None is
            {"default": adamw(1e-3)}.
        groups: module -> name of its optimiser.
        seed: of the weights, the noise and the windows.
        device: of the backend, such as "cuda"; None is its own choice.
        dtype: "float32", "float64" or "bfloat16".
        frames: T of a window, where `data` is a file or trajectories.
        batch: windows per step, where `data` is a file or trajectories.
        columns: input -> column of the trajectories; None looks for columns of the inputs' names.
        resume: folder of a run to go on with. Everything but `steps`, `device`, `checkpoint_every`
            and `log_every` is then as it was, and the result is bitwise that of an uninterrupted
            run. Lines of metrics after the checkpoint are dropped.
        checkpoint_every: steps between checkpoints. There is one before the first step and one
            after the last.
        log_every: steps between lines of `metrics.jsonl`.
        display: whether to show progress on stderr, or a display of your own.
        stages: times of what the caller has done already, to be recorded with the run's.
        command: what to keep in `run.json` of how the run was started (JSON).

    Raises:
        LatentrolesError: TrainingError if a loss is not finite or the folder cannot be written,
            CheckpointError if `resume` is not this run, DataError, SpecError, PluginError.
        Interrupted: Ctrl-C was pressed once; the run is saved.
    """
    stages = Stages() if stages is None else stages
    screen = make_display(display) if isinstance(display, bool) else display
    _refuse_arguments(spec, steps, checkpoint_every, log_every, out, resume)
    if optimisers is None:
        from latentroles.train.optimisers import adamw

        optimisers = {"default": adamw(1e-3)}
    optimisers = dict(optimisers) if isinstance(optimisers, Mapping) else {"default": optimisers}
    _refuse_foreign(optimisers)
    with stages("data"):
        batches = Batches(spec, data, frames=frames, batch=batch, columns=columns, seed=seed)
        batches.batch(0)  # what does not fit is found before the model is compiled
    asked = Run(
        spec=spec.name,
        spec_hash=spec.hash,
        backend=backend,
        dtype=dtype,
        device=None if device is None else str(device),
        seed=seed,
        steps=_planned_steps(spec, steps),
        optimisers=as_json(optimisers),
        groups=None if groups is None else dict(groups),
        data=batches.identity(),
        versions=versions(backend),
        started=utc_now(),
        command=dict(command or {}),
    )
    before = None if resume is None else read_run(Path(resume))
    settings, position = asked, Position()
    if before is not None:
        settings, position = _resumed(before, asked, Path(str(resume)), steps)
    elif out is not None:
        refuse_occupied(Path(out))
    training = PhaseTraining(
        spec=spec,
        data=batches,
        run=settings,
        optimisers=optimisers,
        groups=groups,
        position=position,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        stages=stages,
        screen=screen,
    )
    training.prepare()  # what cannot be compiled or restored leaves no trace in a folder
    if before is None:
        folder = create(None if out is None else Path(out), f"{spec.name}-{backend}")
        write_text(folder / SPEC, json.dumps(spec.to_json(), indent=2) + "\n")
    else:
        folder = Path(str(resume))
        metrics.truncate(folder / metrics.METRICS, position.step)
        screen.note(f"{folder}: going on after step {position.step}.")
    write_run(folder, settings)
    earlier = {} if before is None else before.stages

    def close(status: str, error: BaseException | None = None) -> None:
        message = None if error is None else f"{type(error).__name__}: {error}"
        ended = replace(settings, ended=utc_now(), stages=stages.after(earlier))
        write_run(folder, replace(ended, status=status, error=message))

    try:
        outcome = training.train(folder)
    except BaseException as error:
        with contextlib.suppress(LatentrolesError):  # the first error is the one to hear about
            close("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error)
        raise
    status = "interrupted" if outcome.interrupted else "complete"
    close(status)  # before the report: who pressed Ctrl-C may press it again
    with stages("report"):
        result = _report(folder, settings, outcome)
    close(status)
    result = replace(result, stages=dict(stages.seconds))
    if outcome.interrupted:
        raise Interrupted(
            f"Stopped after step {outcome.step} of {sum(settings.steps.values())}, and saved. "
            f"To go on: --resume {folder} (in Python resume={str(folder)!r}).",
            result,
        )
    return result


def _refuse_arguments(
    spec: Any,
    steps: int | None,
    checkpoint_every: int,
    log_every: int,
    out: str | Path | None,
    resume: str | Path | None,
) -> None:
    if not isinstance(spec, Spec):
        raise SpecError(f"train needs a latentroles Spec, got {type(spec).__name__}.")
    if not spec.losses:
        raise SpecError(
            f"{spec.name} declares no loss (one of weight 0 is none): there is nothing to train."
        )
    counts = {"checkpoint_every": checkpoint_every, "log_every": log_every}
    if steps is not None:
        counts["steps"] = steps
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise TrainingError(f"{name} is a whole number of at least 1, got {value!r}.")
    if resume is not None and out is not None and Path(out) != Path(resume):
        raise TrainingError(
            f"A resumed run stays in its folder: out={str(out)!r} differs from "
            f"resume={str(resume)!r}. Leave out= (--out) away."
        )


def _refuse_foreign(optimisers: Mapping[str, Any]) -> None:
    for name, optimiser in optimisers.items():
        if not hasattr(optimiser, "to_json"):
            raise TrainingError(
                f"optimisers= takes latentroles' own, which both backends follow; {name!r} is "
                f"{type(optimiser).__name__}. Write lr.adamw(1e-3), lr.adam(...) or lr.sgd(...)."
            )


def _planned_steps(spec: Spec, steps: int | None) -> dict[str, int]:
    return {p.name: steps or p.steps or DEFAULT_STEPS for p in spec.all_phases()}


def _resumed(before: Run, asked: Run, folder: Path, steps: int | None) -> tuple[Run, Position]:
    """Where the run of `folder` is, and its settings with the steps that are asked for now."""
    refuse_changes(folder, before, asked)
    position = find_position(folder, before)
    planned = {
        name: count if steps is None or index < position.phase else steps
        for index, (name, count) in enumerate(before.steps.items())
    }
    phase = list(planned)[position.phase]
    if position.phase_step > planned[phase]:
        raise TrainingError(
            f"{folder} has done {position.phase_step} steps of phase {phase}, more than steps="
            f"{planned[phase]}. Ask for as many or more, or start a new run."
        )
    return replace(asked, steps=planned, command=asked.command or before.command), position


def _report(folder: Path, settings: Run, outcome: Outcome) -> RunResult:
    rows = metrics.read(folder / metrics.METRICS)
    first, last, averaged = metrics.ends(rows)
    title, notes = f"{settings.spec}, {settings.backend}", []
    try:
        curves.draw(rows, folder / CURVES, title=title, last=last)
    except LatentrolesError as error:  # a chart is no reason to fail a finished run
        notes.append(f"No {CURVES}: {error}")
    return RunResult(
        folder=folder,
        steps=outcome.step,
        first=first,
        last=last,
        averaged=averaged,
        steps_per_second=outcome.steps_per_second,
        stages={},
        model=outcome.model,
        notes=tuple(notes),
    )
