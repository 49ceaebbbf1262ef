"""Training the phases of a spec in order, into a run folder."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from latentroles import plugins
from latentroles.compile import compile as compile_spec
from latentroles.errors import CheckpointError, LatentrolesError
from latentroles.evaluate import pictures
from latentroles.train import checkpoint
from latentroles.train.collapse import CollapseWatch
from latentroles.train.display import Display
from latentroles.train.loop import (
    Batch,
    Data,
    Losses,
    Span,
    StopRequest,
    Trainer,
    Verdict,
    fit,
    refuse_non_finite_arrays,
)
from latentroles.train.metrics import METRICS, MetricsLog
from latentroles.train.progress import Progress
from latentroles.train.run import PICTURES, Run, write_text
from latentroles.train.settings import PhasePlan
from latentroles.train.silence import SilenceWatch
from latentroles.train.stages import Stages
from latentroles.train.validation import Validation


@dataclass(frozen=True)
class Position:
    """Where a run goes on: the phase, the steps done in it and in all, and the arrays then.

    Attributes:
        phase: index of the phase; `phase_step` of its steps are done.
        step: steps done over all phases.
        seconds: training time so far.
        arrays: the trainer's snapshot, or None at the very start.
        progress: what the phase's `Progress` remembers, or None.
        record: of the checkpoint.
        taken_over: whether the phase is done, maybe with other optimisers than those asked for.
    """

    phase: int = 0
    phase_step: int = 0
    step: int = 0
    seconds: float = 0.0
    arrays: dict[str, np.ndarray] | None = None
    progress: Mapping[str, Any] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    taken_over: bool = False


@dataclass(frozen=True)
class Outcome:
    """How far it went; `step` counts over all phases."""

    model: Any
    step: int
    steps_per_second: float
    interrupted: bool
    notes: tuple[str, ...] = ()


def find_position(folder: Path, before: Run, name: str = checkpoint.LAST) -> Position:
    """Reads where a checkpoint of the run of `folder` stands.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or not of this run.
    """
    held = checkpoint.load(folder, name)
    record = held.record
    for key in ("spec_hash", "backend", "dtype", "seed"):
        if record[key] != getattr(before, key):
            raise CheckpointError(
                f"{folder / name}.safetensors is not of this run: its {key} is {record[key]!r}, "
                f"and the run's is {getattr(before, key)!r}. Both files are left as they are."
            )
    return Position(
        phase=list(before.steps).index(record["phase"]),
        phase_step=record["phase_step"],
        step=record["step"],
        seconds=record["seconds"],
        arrays=held.arrays,
        progress=record.get("progress"),
        record=record,
    )


def find_trained(folder: Path, before: Run) -> tuple[Position, dict[str, int]] | None:
    """Reads the end of the last phase that is trained, with those before it.

    Returns:
        Where a run that trains the rest begins, and phase -> its steps; None where no phase is.

    Raises:
        CheckpointError: a checkpoint is damaged, or not of this run.
    """
    found, steps = None, {}
    for phase in before.steps:
        name = checkpoint.name_of(checkpoint.LAST, phase, before.steps)
        if not (folder / f"{name}.safetensors").exists():
            break
        position = find_position(folder, before, name)
        if not position.record.get("finished"):
            break
        found, steps[phase] = replace(position, taken_over=True), position.phase_step
    return None if found is None else (found, steps)


def forget_later(folder: Path, run: Run, position: Position) -> None:
    """Makes the end of a phase where the run of `folder` stands: later phases are trained anew."""
    assert position.arrays is not None
    checkpoint.save(folder, position.arrays, position.record)
    for phase in list(run.steps)[position.phase + 1 :]:
        for kind in (checkpoint.LAST, checkpoint.BEST):
            name = checkpoint.name_of(kind, phase, run.steps)
            for ending in ("safetensors", "json"):
                (folder / f"{name}.{ending}").unlink(missing_ok=True)


def _hand_on(arrays: Mapping[str, np.ndarray] | None, trainer: Trainer) -> None:
    """Weights, targets and states go on from phase to phase; optimisers begin anew."""
    kept = {n: a for n, a in (arrays or {}).items() if not n.startswith("optimiser/")}
    trainer.restore({**trainer.snapshot(), **kept})


@dataclass
class PhaseTraining:
    """Trains every phase of `plans` that is not done: `prepare`, then `train`.

    Attributes:
        spec, data, run: what is trained, on what, under which settings.
        plans: phase -> its settings, in the order of training.
        validation: what is held out, or None.
        position: where to begin.
        checkpoint_every, log_every: in steps.
        stages: gets the times of "compile", "first step" and "train".
        screen: is told of each step.
    """

    spec: Any
    data: Data
    run: Run
    plans: Mapping[str, PhasePlan]
    validation: Validation | None
    position: Position
    checkpoint_every: int
    log_every: int
    stages: Stages
    screen: Display
    _first: Trainer | None = field(default=None, init=False)
    _seconds: float = field(default=0.0, init=False)
    _timed_steps: int = field(default=0, init=False)
    _timed_seconds: float = field(default=0.0, init=False)
    _notes: list[str] = field(default_factory=list, init=False)

    def prepare(self) -> None:
        """Compiles and restores the first phase to train. Writes nothing."""
        self._first = self._trainer(list(self.plans)[self.position.phase])
        if self.position.taken_over:
            _hand_on(self.position.arrays, self._first)
        elif self.position.arrays is not None:
            self._first.restore(self.position.arrays)

    def train(self, folder: Path) -> Outcome:
        """Trains into a run folder, after `prepare`.

        Raises:
            TrainingError: a loss is not finite, or the folder cannot be written. The last good
                checkpoint is kept.
        """
        assert self._first is not None, "prepare first"
        trainer, reached, interrupted = self._first, self.position.step, False
        phases = list(self.plans)
        with MetricsLog(folder / METRICS) as log:
            for index in range(self.position.phase, len(phases)):
                phase, start = phases[index], 0
                progress = self._progress(phase, trainer)
                if index == self.position.phase:
                    start = self.position.phase_step
                    if self.position.progress is not None:
                        progress.restore(self.position.progress)
                else:
                    trainer = self._next(folder, phases[index - 1], phase, trainer)
                write_text(folder / self._source_name(phase), trainer.model.source)
                span = Span(phase, reached - start, start, self.plans[phase].steps)
                done, pressed = self._fit(trainer, span, folder, log, progress)
                reached = span.offset + done
                if self._finished(span, done, progress):
                    self._draw(trainer, folder, phase, reached)
                if pressed:
                    ended = done == span.stop or progress.ended
                    interrupted = not (ended and phase == phases[-1])
                    break
        return Outcome(trainer.model, reached, self._rate(), interrupted, tuple(self._notes))

    def _trainer(self, phase: str) -> Trainer:
        run, plan = self.run, self.plans[phase]
        with self.stages("compile"):
            model = compile_spec(
                self.spec,
                backend=run.backend,
                phase=phase,
                seed=run.seed,
                dtype=run.dtype,
                device=run.device,
            )
            backend = plugins.backend(run.backend)
            return backend.trainer(model, plan.optimisers, plan.groups, run.seed)

    def _next(self, folder: Path, before: str, phase: str, previous: Trainer) -> Trainer:
        """The trainer of a phase that follows another one."""
        trainer = self._trainer(phase)
        arrays = previous.snapshot()
        if self.plans[phase].start == "best":
            name = checkpoint.name_of(checkpoint.BEST, before, self.plans)
            arrays = checkpoint.load(folder, name).arrays
        _hand_on(arrays, trainer)
        return trainer

    def _progress(self, phase: str, trainer: Trainer) -> Progress:
        return Progress(
            phase=phase,
            validation=self.validation,
            collapse_every=self.run.collapse_every,
            stopping=self.plans[phase].early_stopping,
            watch=CollapseWatch(self.spec, phase),
            silence=SilenceWatch(self.spec, phase),
            measured=self._gives(trainer, "measures", "measure"),
            steps=self.plans[phase].steps,
        )

    def _gives(self, trainer: Trainer, what: str, method: str) -> bool:
        """Whether the spec declares some, and the backend knows of them, which it need not."""
        if not getattr(self.spec, what):
            return False
        if not hasattr(trainer, method):
            said = f"The backend {self.run.backend} gives no {what}: those of {self.run.spec} are "
            if f"{said}left out." not in self._notes:  # once, not in each phase
                self._say(f"{said}left out.")
            return False
        return True

    def _draw(self, trainer: Trainer, folder: Path, phase: str, reached: int) -> None:
        """Draws the declared pictures at the end of a phase: of the data held out, if there is."""
        if not self._gives(trainer, "pictures", "pictures"):
            return
        held_out = self.validation is not None
        batch = self.validation.batches[0] if self.validation else self.data.batch(reached - 1)
        observed = [n for n, e in self.spec.inputs.items() if e.attrs[0] == "observation"]
        name = PICTURES if len(self.plans) == 1 else f"pictures_{phase}.png"
        what = "data held out" if held_out else "training data"
        title = f"{self.run.spec}, {self.run.backend}: {what} after {reached} steps"
        left_out = {n: pictures.untrained(self.spec, n, phase) for n in self.spec.pictures}
        left_out = {n: modules for n, modules in left_out.items() if modules}
        for picture, modules in left_out.items():
            self._say(
                f"{name} leaves out {picture}: after phase {phase} it would be noise, because "
                f"{', '.join(modules)} {'is' if len(modules) == 1 else 'are'} not trained."
            )
        if len(left_out) == len(self.spec.pictures):
            return
        with self.stages("report"):
            try:
                made = trainer.pictures(batch, 0)
                pictures.draw(
                    {n: frames for n, frames in made.items() if n not in left_out},
                    {n: batch[n] for n in observed},
                    folder / name,
                    title=title,
                )
            except LatentrolesError as error:  # as of the curves: no reason to fail
                self._say(f"No {name}: {error}")

    def _source_name(self, phase: str) -> str:
        suffix = "" if len(self.plans) == 1 else f"_{phase}"
        return f"model_{self.run.backend}{suffix}.py"

    def _fit(
        self, trainer: Trainer, span: Span, folder: Path, log: MetricsLog, progress: Progress
    ) -> tuple[int, bool]:
        """Runs one phase; returns its steps done, and whether Ctrl-C was pressed."""
        began = time.perf_counter()
        before = self.position.seconds + self._seconds
        first_done: float | None = None

        def seconds() -> float:
            return before + time.perf_counter() - began

        def seen(done: int, batch: Batch, losses: Losses) -> Verdict:
            nonlocal first_done
            measured = progress.measure(trainer, done, batch, losses)
            if first_done is None:
                first_done = time.perf_counter()
            step = span.offset + done - 1
            if step % self.log_every == 0 or done == span.stop or measured.row:
                log.append(step, span.phase, seconds(), losses, measured.row)
            for warning in measured.warnings:
                self._say(f"Warning: after step {step}, {warning}")
            self.screen.update(done, {**losses, **progress.shown})
            return measured.verdict

        def save(done: int) -> None:
            arrays = trainer.snapshot()
            refuse_non_finite_arrays(arrays, span.offset + done)
            log.sync()
            record = self._record(span, done, seconds(), progress)
            checkpoint.save(folder, arrays, record)
            # After it, so that the best one is never ahead of what a resumed run knows of.
            for name in self._copies(span, done, progress):
                checkpoint.save(folder, arrays, record, name=name)

        self.screen.begin(span.phase, span.start, span.stop)
        try:
            with StopRequest() as stop:
                if span.offset + span.start == 0:
                    save(0)  # a folder that cannot be written shows before the work, not after it
                self._complete(folder, span, progress)
                done = span.start
                if not progress.ended:
                    done = fit(
                        trainer,
                        self.data,
                        span,
                        seen=seen,
                        save=save,
                        save_every=self.checkpoint_every,
                        stop=stop,
                    )
        finally:
            self.screen.end()
            ended = time.perf_counter()
            self._seconds += ended - began
            if first_done is not None:
                self.stages.add("first step", first_done - began)
                self.stages.add("train", ended - first_done)
        if progress.ended and done > span.start:
            self._say(progress.farewell(done))
        if first_done is not None:
            self._timed_steps += done - span.start - 1
            self._timed_seconds += ended - first_done
        return done, stop.requested

    def _copies(self, span: Span, done: int, progress: Progress) -> list[str]:
        """The names under which the checkpoint after `done` steps is kept as well."""
        names = []
        if progress.best.step == done:
            names.append(checkpoint.name_of(checkpoint.BEST, span.phase, self.plans))
        if len(self.plans) > 1 and self._finished(span, done, progress):
            names.append(checkpoint.name_of(checkpoint.LAST, span.phase, self.plans))
        return names

    def _complete(self, folder: Path, span: Span, progress: Progress) -> None:
        """Writes the copies that a crash left unwritten right after their checkpoint."""
        position = self.position
        if span.start == 0 or position.arrays is None:
            return
        for name in self._copies(span, span.start, progress):
            try:
                written = checkpoint.load(folder, name).record["step"]
            except CheckpointError:
                written = None
            if written != position.step:
                checkpoint.save(folder, position.arrays, position.record, name=name)

    def _finished(self, span: Span, done: int, progress: Progress) -> bool:
        return done == span.stop or progress.ended

    def _say(self, text: str) -> None:
        self._notes.append(text)
        self.screen.note(text)

    def _record(self, span: Span, done: int, seconds: float, progress: Progress) -> dict[str, Any]:
        return {
            "spec": self.run.spec,
            "spec_hash": self.run.spec_hash,
            "backend": self.run.backend,
            "dtype": self.run.dtype,
            "seed": self.run.seed,
            "phase": span.phase,
            "phase_step": done,
            "step": span.offset + done,
            "seconds": round(seconds, 3),
            "finished": self._finished(span, done, progress),
            "progress": progress.to_json(),
            "versions": self.run.versions,
        }

    def _rate(self) -> float:
        return self._timed_steps / self._timed_seconds if self._timed_steps else math.nan
