"""Training the phases of a spec in order, into a run folder."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latentroles import plugins
from latentroles.compile import compile as compile_spec
from latentroles.errors import CheckpointError
from latentroles.train import checkpoint
from latentroles.train.display import Display
from latentroles.train.loop import (
    Data,
    Losses,
    Span,
    StopRequest,
    Trainer,
    fit,
    refuse_non_finite_arrays,
)
from latentroles.train.metrics import METRICS, MetricsLog
from latentroles.train.run import Run, write_text
from latentroles.train.stages import Stages


@dataclass(frozen=True)
class Position:
    """Where a run goes on: the phase, the steps done in it and before it, and the arrays then.

    Attributes:
        phase: index of the phase; `phase_step` of its steps are done.
        step: steps done over all phases.
        seconds: training time so far.
        arrays: the trainer's snapshot, or None at the very start.
    """

    phase: int = 0
    phase_step: int = 0
    step: int = 0
    seconds: float = 0.0
    arrays: dict[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Outcome:
    """How far it went; `step` counts over all phases."""

    model: Any
    step: int
    steps_per_second: float
    interrupted: bool


def find_position(folder: Path, before: Run) -> Position:
    """Reads where the run of `folder` stopped.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or not of this run.
    """
    held = checkpoint.load(folder)
    record = held.record
    for key in ("spec_hash", "backend", "dtype", "seed"):
        if record[key] != getattr(before, key):
            raise CheckpointError(
                f"{folder / checkpoint.TENSORS} is not of this run: its {key} is {record[key]!r}, "
                f"and the run's is {getattr(before, key)!r}. Both files are left as they are."
            )
    return Position(
        phase=list(before.steps).index(record["phase"]),
        phase_step=record["phase_step"],
        step=record["step"],
        seconds=record["seconds"],
        arrays=held.arrays,
    )


@dataclass
class PhaseTraining:
    """Trains every phase of `run` that is not done: `prepare`, then `train`.

    Attributes:
        spec, data, run: what is trained, on what, under which settings.
        optimisers, groups: those of `run`, as objects.
        position: where to begin.
        checkpoint_every, log_every: in steps.
        stages: gets the times of "compile", "first step" and "train".
        screen: is told of each step.
    """

    spec: Any
    data: Data
    run: Run
    optimisers: Mapping[str, Any]
    groups: Mapping[str, str] | None
    position: Position
    checkpoint_every: int
    log_every: int
    stages: Stages
    screen: Display
    _first: Trainer | None = field(default=None, init=False)
    _seconds: float = field(default=0.0, init=False)
    _timed_steps: int = field(default=0, init=False)
    _timed_seconds: float = field(default=0.0, init=False)

    def prepare(self) -> None:
        """Compiles and restores the first phase to train. Writes nothing."""
        phase = list(self.run.steps)[self.position.phase]
        self._first = self._trainer(phase, None, self.position.arrays)

    def train(self, folder: Path) -> Outcome:
        """Trains into a run folder, after `prepare`.

        Raises:
            TrainingError: a loss is not finite, or the folder cannot be written. The last good
                checkpoint is kept.
        """
        assert self._first is not None, "prepare first"
        trainer, reached, interrupted = self._first, self.position.step, False
        phases = list(self.run.steps.items())
        with MetricsLog(folder / METRICS) as log:
            for index in range(self.position.phase, len(phases)):
                phase, steps = phases[index]
                start = 0
                if index == self.position.phase:
                    start = self.position.phase_step
                else:
                    trainer = self._trainer(phase, trainer, None)
                write_text(folder / self._source_name(phase), trainer.model.source)
                offset = sum(count for _, count in phases[:index])
                span = Span(phase, offset, start, steps)
                done, interrupted = self._fit(trainer, span, folder, log)
                reached = offset + done
                if interrupted:
                    break
        interrupted = interrupted and reached < sum(self.run.steps.values())
        return Outcome(trainer.model, reached, self._rate(), interrupted)

    def _trainer(
        self, phase: str, previous: Trainer | None, arrays: dict[str, np.ndarray] | None
    ) -> Trainer:
        run = self.run
        with self.stages("compile"):
            model = compile_spec(
                self.spec,
                backend=run.backend,
                phase=phase,
                seed=run.seed,
                dtype=run.dtype,
                device=run.device,
            )
            trainer = plugins.backend(run.backend).trainer(
                model, self.optimisers, self.groups, run.seed
            )
            if arrays is not None:
                trainer.restore(arrays)
            elif previous is not None:
                # Weights, targets and states go on; optimisers begin anew with each phase.
                before = previous.snapshot().items()
                kept = {name: a for name, a in before if not name.startswith("optimiser/")}
                trainer.restore({**trainer.snapshot(), **kept})
        return trainer

    def _source_name(self, phase: str) -> str:
        suffix = "" if len(self.run.steps) == 1 else f"_{phase}"
        return f"model_{self.run.backend}{suffix}.py"

    def _fit(self, trainer: Trainer, span: Span, folder: Path, log: MetricsLog) -> tuple[int, bool]:
        """Runs one phase; returns its steps done, and whether Ctrl-C was pressed."""
        began = time.perf_counter()
        before = self.position.seconds + self._seconds
        first_done: float | None = None

        def seconds() -> float:
            return before + time.perf_counter() - began

        def seen(done: int, losses: Losses) -> None:
            nonlocal first_done
            if first_done is None:
                first_done = time.perf_counter()
            step = span.offset + done - 1
            if step % self.log_every == 0 or done == span.stop:
                log.append(step, span.phase, seconds(), losses)
            self.screen.update(done, losses)

        def save(done: int) -> None:
            arrays = trainer.snapshot()
            refuse_non_finite_arrays(arrays, span.offset + done)
            log.sync()
            checkpoint.save(folder, arrays, self._record(span, done, seconds()))

        self.screen.begin(span.phase, span.start, span.stop)
        try:
            with StopRequest() as stop:
                if span.offset + span.start == 0:
                    save(0)  # a folder that cannot be written shows before the work, not after it
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
        if first_done is not None:
            self._timed_steps += done - span.start - 1
            self._timed_seconds += ended - first_done
        return done, stop.requested

    def _record(self, span: Span, done: int, seconds: float) -> dict[str, Any]:
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
            "versions": self.run.versions,
        }

    def _rate(self) -> float:
        return self._timed_steps / self._timed_seconds if self._timed_steps else math.nan
