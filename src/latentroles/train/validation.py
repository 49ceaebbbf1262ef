"""Losses on data that is held out, while a run goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from latentroles.data import Trajectories
from latentroles.errors import DataError, TrainingError
from latentroles.spec import Spec
from latentroles.train.batches import Batches
from latentroles.train.loop import Batch, Losses, Trainer, refuse_non_finite

# The split and the windows are the same for every seed of a run, so that runs compare.
_SEED = 0
_DEFAULT_EVERY = 100


@dataclass(frozen=True)
class Validated:
    """One validation.

    Attributes:
        losses: the mean of each over the batches, and of their "total".
        latents: those that were asked for, name -> (batch, ...), the batches one after the other.
        measures: the mean of each over the batches, where they were asked for.
    """

    losses: Losses
    latents: dict[str, np.ndarray]
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Validation:
    """Batches that are held out, the same each time.

    Attributes:
        batches: in the order of their noise.
        every: phase -> steps between validations; one more follows the first step.
        identity: JSON that tells this validation from others.
    """

    batches: tuple[Batch, ...]
    every: Mapping[str, int]
    identity: Mapping[str, Any]

    def run(
        self,
        trainer: Trainer,
        phase: str,
        done: int,
        latents: Sequence[str],
        measured: bool = False,
    ) -> Validated:
        """Evaluates the batches after `done` steps of a phase; moves nothing.

        Args:
            latents: which ones to return; each has a batch axis.
            measured: whether to take the declared measures.

        Raises:
            TrainingError: a loss is not finite.
        """
        losses: list[Losses] = []
        held: list[dict[str, np.ndarray]] = []
        measures: list[dict[str, float]] = []
        for index, batch in enumerate(self.batches):
            losses.append(trainer.evaluate(batch, done - 1, index))
            refuse_non_finite(losses[-1], f"validation of phase {phase}", done - 1)
            held.append(trainer.latents(latents))
            if measured:
                measures.append(trainer.measure(batch, index))
        return Validated(
            _means(losses),
            {name: np.concatenate([found[name] for found in held]) for name in latents},
            _means(measures),
        )


def _means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = found[0] if found else ()
    return {name: float(np.mean([values[name] for values in found])) for name in names}


def divide(data: Any, validation: Any) -> tuple[Any, Any]:
    """Returns what to train on and what to hold out.

    Args:
        data: as for `train`.
        validation: the fraction of its episodes to hold out, data of its own, or None.

    Raises:
        DataError: a fraction of what has no episodes, or one that is not between 0 and 1.
    """
    refuse_no_part(validation)
    if not isinstance(validation, Real):
        return data, validation
    if isinstance(data, (str, Path)):
        data = Trajectories.open(data)
    if not isinstance(data, Trajectories):
        raise DataError(
            f"validation={validation!r} is a fraction of the episodes of a trajectory file; data "
            f"is {type(data).__name__}, which has none. Give validation= an object with "
            "batch(step) of its own."
        )
    return data.split(float(validation), seed=_SEED)


def refuse_no_part(validation: Any) -> None:
    """Raises DataError for a number that is no part of the episodes."""
    if isinstance(validation, Real) and (validation is True or not 0 < float(validation) < 1):
        raise DataError(
            "validation (--validation) is a fraction of the episodes, between 0 and 1 and neither "
            f"of them, such as 0.1, or data of its own; got {validation!r}."
        )


def hold_out(
    spec: Spec,
    data: Any,
    *,
    count: int,
    every: int | Mapping[str, int] | None,
    steps: Mapping[str, int],
    frames: int,
    batch: int,
    columns: Mapping[str, str] | None,
) -> Validation:
    """Draws the batches that a run is validated on.

    Args:
        data: what is held out.
        count: how many batches.
        every: steps between validations; None is a tenth of a phase's, at most 100. Of a run that
            goes on, phase -> what it was.
        steps: phase -> its steps. The rest: as for `train`.

    Raises:
        DataError: the data cannot be used.
        TrainingError: a phase has fewer steps than `every`.
    """
    held = Batches(spec, data, frames=frames, batch=batch, columns=columns, seed=_SEED)
    chosen: dict[str, int] = {}
    for phase, planned in steps.items():
        if isinstance(every, Mapping):
            chosen[phase] = every[phase]
            continue
        chosen[phase] = every or max(1, min(_DEFAULT_EVERY, planned // 10))
        if chosen[phase] > planned:
            raise TrainingError(
                f"validate_every={chosen[phase]} is more than the {planned} steps of phase "
                f"{phase}, which would not be validated at its end. Give {planned} or less."
            )
    identity = {"data": held.identity(), "every": chosen, "batches": count}
    return Validation(tuple(held.batch(index) for index in range(count)), chosen, identity)
