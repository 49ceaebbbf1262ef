"""The training loop: one phase's steps, watched.

The loop knows neither framework: a trainer takes a batch of numpy arrays and returns the losses as
floats. It stops on a loss that is not finite and on Ctrl-C, and never saves what is not finite.
"""

import math
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Literal, Protocol

import numpy as np

from latentroles.errors import TrainingError

Batch = dict[str, np.ndarray]
Losses = dict[str, float]
# What is to be done after a step: "save" goes on after a checkpoint, "end" ends the phase.
Verdict = Literal["go on", "save", "end"]


class Trainer(Protocol):
    """One phase's model and optimisers, on one backend."""

    @property
    def model(self) -> Any:
        """The model as of the last step."""
        ...

    def step(self, batch: Batch, step: int) -> Losses:
        """Takes one optimiser step; returns the losses by name and their weighted "total"."""
        ...

    def evaluate(self, batch: Batch, step: int, draw: int) -> Losses:
        """Returns the losses of a batch as `step` does, and moves nothing: no target, no state.

        Args:
            step: of the phase, for weights that are scheduled.
            draw: number of the noise; equal numbers get equal noise, which no step has.
        """
        ...

    def measure(self, batch: Batch, draw: int) -> dict[str, float]:
        """Returns the declared measures of a batch, and moves nothing; `draw` as for `evaluate`.

        Asked of a spec with measures alone. A backend may be without it.
        """
        ...

    def pictures(self, batch: Batch, draw: int) -> dict[str, np.ndarray]:
        """Returns the declared pictures, (batch, time, C, H, W); as `measure`."""
        ...

    def latents(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns latents of the last step or evaluation, (batch, ..., *event), by name."""
        ...

    def snapshot(self) -> dict[str, np.ndarray]:
        """Returns everything that `restore` needs, e.g. "weights/encoder/0.weight"."""
        ...

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Goes on from a snapshot; raises CheckpointError if names or shapes differ."""
        ...


class Data(Protocol):
    """Batches by step. The same step must give the same batch: resuming relies on it."""

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step, counted over all phases."""
        ...


@dataclass(frozen=True)
class Span:
    """The steps of one phase: `start` to `stop` - 1, the run's step being `offset` further."""

    phase: str
    offset: int
    start: int
    stop: int


class StopRequest:
    """Turns the first Ctrl-C into a request, and the second into KeyboardInterrupt.

    A context manager. Outside the main thread, and where Ctrl-C is ignored (`nohup`), it does
    nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            previous = signal.getsignal(signal.SIGINT)
            if previous is not signal.SIG_IGN:
                self._previous = previous or signal.SIG_DFL
                signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not print: a handler may run inside another write to the same stream.
        os.write(2, b"\nFinishing this step, then saving. Ctrl-C again stops at once.\n")


def fit(
    trainer: Trainer,
    data: Data,
    span: Span,
    *,
    seen: Callable[[int, Batch, Losses], Verdict],
    save: Callable[[int], None],
    save_every: int,
    stop: StopRequest,
) -> int:
    """Steps `trainer` over `span` and returns the phase's step count when it stopped.

    Args:
        trainer: is given the step within the phase, so that schedules start with the phase.
        data: is given the step of the run.
        span: which steps.
        seen: called with (steps done in the phase, batch, losses) after each step; says how to go
            on.
        save: called with the steps done every `save_every` steps, where `seen` asks for it, and at
            the end.
        save_every: steps between two saves.
        stop: asked after each step.

    Raises:
        TrainingError: a loss is not finite. Nothing is saved.
    """
    done, verdict = span.start, "go on"
    while done < span.stop and verdict != "end" and not stop.requested:
        batch = data.batch(span.offset + done)
        losses = trainer.step(batch, done)
        refuse_non_finite(losses, f"phase {span.phase}", span.offset + done)
        done += 1
        verdict = seen(done, batch, losses)
        last = done == span.stop or verdict == "end" or stop.requested
        if not last and (done % save_every == 0 or verdict == "save"):
            save(done)
    if done > span.start:
        save(done)
    return done


def refuse_non_finite(losses: Mapping[str, float], where: str, step: int) -> None:
    """Raises TrainingError if a loss of `where`, such as "phase main", is not finite."""
    bad = {name: value for name, value in losses.items() if not math.isfinite(value)}
    if not bad:
        return
    named = {name: value for name, value in bad.items() if name != "total"} or bad
    listed = ", ".join(f"{name} = {value}" for name, value in named.items())
    raise TrainingError(
        f"A loss must be finite: {listed} at step {step} of {where}. The weights of this "
        "step are not saved; the checkpoint of an earlier step is as it was. Lower the learning "
        "rate, clip the gradient (clip_norm), or look at the loss's inputs at this step."
    )


def refuse_non_finite_arrays(arrays: Mapping[str, np.ndarray], step: int) -> None:
    """Raises TrainingError if a snapshot holds a NaN or an infinity.

    State is left out: what a model keeps between steps may start at infinity (a running minimum).
    """
    for name, array in arrays.items():
        floating = np.issubdtype(array.dtype, np.floating)
        if floating and not name.startswith("state/") and not np.isfinite(array).all():
            raise TrainingError(
                f"Weights must be finite to be saved: {name} is not after {step} steps, although "
                "the losses were. The checkpoint of an earlier step is as it was. Lower the "
                "learning rate, or clip the gradient (clip_norm)."
            )
