"""What is seen while a phase is trained: validation and its best, measures, collapse, silence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latentroles.train.best import Best
from latentroles.train.collapse import CollapseWatch
from latentroles.train.loop import Batch, Losses, Trainer, Verdict
from latentroles.train.metrics import by_name, finite
from latentroles.train.settings import TOTAL, EarlyStopping
from latentroles.train.silence import SilenceWatch
from latentroles.train.validation import Validation


@dataclass(frozen=True)
class Measured:
    """What was found after one step; empty after most.

    Attributes:
        row: for the line of metrics.
        warnings: those that are new.
        verdict: what is to be done.
    """

    row: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    verdict: Verdict = "go on"


@dataclass
class Progress:
    """Measures one phase after its first step and every so many.

    Without validation the declared measures are taken after the last step as well.

    Attributes:
        validation: of the run, or None; latents are then those of the training batch.
        collapse_every: steps between measurements without validation.
        stopping: when the phase ends early, or None.
        watch, silence, best: what is remembered; a resumed run goes on with it.
        measured: whether to take the measures that the spec declares.
        steps: of the phase.
        shown: the last validation, for the display beside the losses.
    """

    phase: str
    validation: Validation | None
    collapse_every: int
    stopping: EarlyStopping | None
    watch: CollapseWatch
    silence: SilenceWatch
    measured: bool
    steps: int
    best: Best = field(default_factory=Best)
    shown: dict[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the phase has stopped early."""
        return self.best.exhausted(self.stopping)

    def farewell(self, done: int) -> str:
        """Says why the phase ended early, after `done` steps."""
        assert self.stopping is not None
        return (
            f"{self.phase} ended after {done} steps: validation of {self.stopping.loss} has not "
            f"improved {self.best.stale} times in a row. The best was {self.best.value:.4g}, after "
            f"{self.best.step} steps."
        )

    def measure(self, trainer: Trainer, done: int, batch: Batch, losses: Losses) -> Measured:
        """Measures after `done` steps, the last of them on `batch` with these losses."""
        warnings = [
            self.silence.warning(loss, batch, trainer.latents(self.silence.read(loss)))
            for loss in self.silence.see(losses, batch)
        ]
        found = self._measured(trainer, done, batch)
        if not warnings:
            return found
        row = {**found.row, "warnings": [*warnings, *found.warnings]}
        return Measured(row, (*warnings, *found.warnings), found.verdict)

    def _measured(self, trainer: Trainer, done: int, batch: Batch) -> Measured:
        """What is measured of the model, if it is time."""
        every = self.collapse_every
        if self.validation is not None:
            every = self.validation.every[self.phase]
        due = done == 1 or done % every == 0
        if self.validation is None:
            taken = self.measured and (due or done == self.steps)
            row = {"measures": finite(trainer.measure(batch, 0))} if taken else {}
            if not due or not self.watch.latents:
                return Measured(row)
            return self._watched(trainer.latents(self.watch.latents), batch, row, "go on")
        if not due:
            return Measured()
        found = self.validation.run(
            trainer, self.phase, done, self.watch.latents, measured=self.measured
        )
        improved = self.best.see(done, found.losses, self.stopping)
        judged = self.stopping.loss if self.stopping else TOTAL
        self.shown = {f"validation {judged}": found.losses[judged]}
        row: dict[str, Any] = {"validation": by_name(found.losses)}
        if found.measures:
            row["measures"] = finite(found.measures)
        verdict = "end" if self.ended else "save" if improved else "go on"
        return self._watched(found.latents, self.validation.batches[0], row, verdict)

    def _watched(
        self,
        latents: Mapping[str, Any],
        batch: Batch,
        row: dict[str, Any],
        verdict: Verdict,
    ) -> Measured:
        measured, warnings = self.watch.measure(latents, batch)
        if measured:
            row["latents"] = measured
        if warnings:
            row["warnings"] = warnings
        return Measured(row, tuple(warnings), verdict)

    def to_json(self) -> dict[str, Any]:
        """Returns what `restore` takes."""
        return {
            "best": self.best.to_json(),
            "collapse": self.watch.to_json(),
            "silence": self.silence.to_json(),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Goes on from what `to_json` gave."""
        self.best = Best(**data["best"])
        self.watch.restore(data["collapse"])
        self.silence.restore(data["silence"])
