"""The best validation of a phase, and whether it is long ago."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from latentroles.train.settings import TOTAL, EarlyStopping


@dataclass
class Best:
    """Follows one loss over a phase's validations. Plain data: it goes into checkpoints.

    Attributes:
        value, step: the lowest value, and the steps done in the phase then; None before the first.
        reference: the last improvement by more than `min_delta`; `stale` validations ago.
    """

    value: float | None = None
    step: int | None = None
    reference: float | None = None
    stale: int = 0

    def see(self, done: int, losses: Mapping[str, float], stopping: EarlyStopping | None) -> bool:
        """Takes a validation after `done` steps in; returns whether it is the best so far.

        The first of equal values is the best. Without `stopping` the total is judged.
        """
        value = losses[stopping.loss if stopping else TOTAL]
        margin = stopping.min_delta if stopping else 0.0
        if self.reference is None or value < self.reference - margin:
            self.reference, self.stale = value, 0
        else:
            self.stale += 1
        best = self.value is None or value < self.value
        if best:
            self.value, self.step = value, done
        return best

    def exhausted(self, stopping: EarlyStopping | None) -> bool:
        """Whether the phase is to end."""
        return stopping is not None and self.stale >= stopping.patience

    def to_json(self) -> dict[str, Any]:
        """Returns the fields; `Best(**data)` is the inverse."""
        return asdict(self)
