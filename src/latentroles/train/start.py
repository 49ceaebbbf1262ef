"""`train`: from a spec and data to a run folder."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentroles import arguments
from latentroles.data import Trajectories
from latentroles.errors import LatentrolesError, SpecError, TrainingError
from latentroles.evaluate import curves
from latentroles.rules import check
from latentroles.spec import Spec
from latentroles.train import given, metrics
from latentroles.train.batches import Batches
from latentroles.train.best import Best
from latentroles.train.display import Display, asked_display
from latentroles.train.frames import frames_of, refuse_short
from latentroles.train.phases import (
    Outcome,
    PhaseTraining,
    Position,
    find_position,
    find_trained,
    forget_later,
)
from latentroles.train.run import (
    CURVES,
    RUN,
    SPEC,
    Run,
    RunResult,
    create,
    read_run,
    refuse_changes,
    refuse_occupied,
    refuse_other_phases,
    refuse_other_spec,
    utc_now,
    versions,
    write_run,
    write_text,
)
from latentroles.train.settings import (
    EarlyStopping,
    PhasePlan,
    PhaseSettings,
    as_json,
    named_optimisers,
    named_phases,
    plan_phases,
    with_steps,
)
from latentroles.train.stages import Stages
from latentroles.train.validation import divide, hold_out


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
    out: str | os.PathLike[str] | None = None,
    optimisers: Any = None,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str = "float32",
    frames: int = 12,
    batch: int = 16,
    columns: Mapping[str, str] | None = None,
    validation: Any = None,
    validate_every: int | None = None,
    validation_batches: int = 4,
    early_stopping: EarlyStopping | None = None,
    phases: Mapping[str, PhaseSettings] | None = None,
    skip_if_trained: bool = False,
    collapse_every: int | None = None,
    resume: str | os.PathLike[str] | None = None,
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
        steps: optimiser steps of each phase; None is what the phase declares, else 2000. Of a
            resumed run, those of the phase that it is in and of those after it.
        out: folder of the run; None is `runs/<spec>-<backend>-<number>`.
        optimisers: by name, "default" having every module that `groups` does not name; or one for
            all. None is adamw(1e-3).
        groups: module -> name of its optimiser.
        seed: of the weights, the noise and the windows.
        device: of the backend, such as "cuda"; None is its own choice.
        dtype: "float32", "float64" or "bfloat16".
        frames: T of a window, where `data` is a file or trajectories.
        batch: windows per step, where `data` is a file or trajectories.
        columns: input -> column of the trajectories; None looks for columns of the inputs' names.
        validation: what to hold out: a fraction of the episodes of `data`, or data of its own in
            any of its forms. The model is evaluated on the same batches each time, moving nothing,
            and the best checkpoint is kept beside the last: `load(folder, which="best")`.
        validate_every: steps between validations; one more follows the first step of a phase. None
            is a tenth of a phase's steps, at most 100.
        validation_batches: how many batches are held out.
        early_stopping: when a phase ends before its steps are done; `phases` may say otherwise.
        phases: phase -> settings of its own: optimisers, groups, steps, early stopping, and
            whether it starts from the best weights of the phase before it.
        skip_if_trained: where `out` holds a run of the same spec, backend, dtype and seed, take its
            phases that are done as they are, and train the others from the end of those. A
            folder without a run is an ordinary one.
        collapse_every: steps between looks at the latents that are trained, and at the measures,
            where there is no validation to look at them; None is 100. A latent that collapses is
            warned of.
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
    screen, command = asked_display(display), given.command_line(command)
    out, resume = given.folder("out", out), given.folder("resume", resume)
    given.refuse_arguments(spec, out, resume, skip_if_trained, groups=groups, columns=columns)
    steps, frames = given.count("steps", steps), given.count("frames", frames)
    batch, log_every = given.count("batch", batch), given.count("log_every", log_every)
    validate_every = given.count("validate_every", validate_every)
    validation_batches = given.count("validation_batches", validation_batches)
    collapse_every = given.count("collapse_every", collapse_every)
    checkpoint_every = given.count("checkpoint_every", checkpoint_every)
    seed = arguments.integer("train", "seed", seed, "of weights, noise and windows", minimum=0)
    before = _run_before(out, resume, skip_if_trained)
    if before is not None:  # first of all: of another spec, nothing else would fit either
        refuse_other_spec(Path(str(resume or out)), before, spec)
    if optimisers is None:
        from latentroles.train.optimisers import adamw

        optimisers = {"default": adamw(1e-3)}
    optimisers = named_optimisers(optimisers)
    own = named_phases(phases)
    plans = plan_phases(
        spec,
        steps=steps,
        optimisers=optimisers,
        groups=groups,
        early_stopping=early_stopping,
        phases=own,
        validated=validation is not None,
    )
    with stages("data"):
        if isinstance(data, (str, Path, Trajectories)):
            refuse_short(spec, frames)  # before a file is read
        data, held_out = divide(data, validation)
        batches = Batches(spec, data, frames=frames, batch=batch, columns=columns, seed=seed)
        first = batches.batch(0)  # what does not fit is found before the model is compiled
        held = None
        if held_out is not None:
            held = hold_out(
                spec,
                held_out,
                count=validation_batches,
                every=validate_every or _every_before(before, resume),
                steps={name: plan.steps for name, plan in plans.items()},
                frames=frames,
                batch=batch,
                columns=columns,
            )
        for one in (first, *(held.batches[:1] if held else ())):
            refuse_short(spec, frames_of(spec, one))
    asked = Run(
        spec=spec.name,
        spec_hash=spec.hash,
        backend=backend,
        dtype=dtype,
        device=None if device is None else str(device),
        seed=seed,
        steps={name: plan.steps for name, plan in plans.items()},
        optimisers=as_json(optimisers),
        groups=None if groups is None else dict(groups),
        data=batches.identity(),
        early_stopping=None if early_stopping is None else early_stopping.to_json(),
        phases=as_json(own),
        validation=None if held is None else dict(held.identity),
        collapse_every=collapse_every or (before.collapse_every if before else 100),
        versions=versions(backend),
        started=utc_now(),
        command=command,
    )
    settings, position = asked, Position()
    if resume is not None and before is not None:
        settings, position = _resumed(before, asked, resume, steps)
    elif out is not None and before is not None:
        settings, position = _taken_over(before, asked, out)
    elif out is not None:
        refuse_occupied(out)
    plans = with_steps(plans, settings.steps)
    training = PhaseTraining(
        spec=spec,
        data=batches,
        run=settings,
        plans=plans,
        validation=held,
        position=position,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        stages=stages,
        screen=screen,
    )
    training.prepare()  # what cannot be compiled or restored leaves no trace in a folder
    if before is None:
        folder = create(out, f"{spec.name}-{backend}")
    else:
        folder = Path(str(resume or out))
        if resume is None:
            forget_later(folder, settings, position)
        metrics.truncate(folder / metrics.METRICS, position.step)
        for line in _standing(folder, position, plans, steps):
            screen.note(line)
    broken = _broken(spec)
    if broken:
        screen.note(broken[0])
    if not (folder / SPEC).exists():
        write_text(folder / SPEC, json.dumps(spec.to_json(), indent=2) + "\n")
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
        result = _report(folder, settings, outcome, broken)
    close(status)
    result = replace(result, stages=dict(stages.seconds))
    if outcome.interrupted:
        raise Interrupted(
            f"Stopped after step {outcome.step} of {sum(settings.steps.values())}, and saved. "
            f"To go on: --resume {folder} (in Python resume={str(folder)!r}).",
            result,
        )
    return result


def _run_before(out: Path | None, resume: Path | None, skip_if_trained: bool) -> Run | None:
    """The run that the folder holds, if this one builds on it."""
    if resume is not None:
        return read_run(resume)
    if skip_if_trained and out is not None and (out / RUN).exists():
        return read_run(out)
    return None


def _every_before(before: Run | None, resume: Path | None) -> Mapping[str, int] | None:
    """When a resumed run was validated: its steps may be others by now."""
    if before is None or resume is None or before.validation is None:
        return None
    return before.validation["every"]


def _resumed(before: Run, asked: Run, folder: Path, steps: int | None) -> tuple[Run, Position]:
    """Where the run of `folder` is, and its settings with the steps that are asked for now."""
    refuse_changes(folder, before, asked)
    position = find_position(folder, before)
    planned = {
        name: count if steps is None or index < position.phase else asked.steps[name]
        for index, (name, count) in enumerate(before.steps.items())
    }
    phase = list(planned)[position.phase]
    if position.phase_step > planned[phase]:
        raise SpecError(
            f"{folder} has done {position.phase_step} steps of phase {phase}, more than steps="
            f"{planned[phase]} (--steps). Ask for as many or more, or start a new run."
        )
    return replace(asked, steps=planned, command=asked.command or before.command), position


def _standing(
    folder: Path, position: Position, plans: Mapping[str, PhasePlan], steps: int | None
) -> list[str]:
    """What is said of a run that goes on: where it is, and how far each phase goes."""
    planned = {name: plan.steps for name, plan in plans.items()}
    phase = list(plans)[position.phase]
    best = Best(**position.progress["best"]) if position.progress else Best()
    stopped = best.exhausted(plans[phase].early_stopping) and not position.taken_over
    done = stopped or position.phase_step >= planned[phase]
    if done and position.phase == len(plans) - 1:
        return [
            f"{folder}: after step {position.step} nothing is left to do. More --steps (steps=) "
            "than before lengthen the last phase, unless it ended early."
        ]
    lines = [f"{folder}: going on after step {position.step}."]
    if steps is not None and len(planned) > 1:
        listed = [
            f"{name} {count}{' (done)' if index < position.phase else ''}"
            for index, (name, count) in enumerate(planned.items())
        ]
        lines.append(f"Steps of the phases: {', '.join(listed)}.")
    return lines


def _taken_over(before: Run, asked: Run, folder: Path) -> tuple[Run, Position]:
    """Where the phases end that `folder` has trained, and the settings with their steps."""
    refuse_other_phases(folder, before, asked)
    found = find_trained(folder, before)
    if found is None:
        raise TrainingError(
            f"{folder} holds a run that has finished no phase yet, and is kept. Go on with it "
            f"(resume={str(folder)!r}, --resume {folder}), or give another folder."
        )
    position, done = found
    return replace(asked, steps={**asked.steps, **done}), position


def _broken(spec: Spec) -> list[str]:
    """What `lr.check` has errors on, in one note: training goes on all the same."""
    errors = check(spec).errors
    if not errors:
        return []
    said = ", ".join(
        dict.fromkeys(" ".join(filter(None, (f.rule, f.loss, f.subject))) for f in errors)
    )
    return [f"lr.check finds errors in {spec.name}: {said}. print(lr.check(spec)) explains them."]


def _report(folder: Path, settings: Run, outcome: Outcome, broken: list[str]) -> RunResult:
    rows = metrics.read(folder / metrics.METRICS)
    first, last, averaged = metrics.ends(rows)
    title, notes = f"{settings.spec}, {settings.backend}", [*broken, *outcome.notes]
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
        validation=metrics.last_validation(rows),
        measures=metrics.last_measures(rows),
    )
