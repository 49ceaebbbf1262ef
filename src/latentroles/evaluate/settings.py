"""How an encoder is measured: of `lr.evaluate` and of a report the same, with the same defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..arguments import POSITIVE, UNIT, integer, real
from . import asked, distances
from .leakage import LAGS
from .measured import FAMILIES, families
from .visits import TAU

MARGIN, SEPARATION = 0.1, 0.9
_OWNER = "evaluate()"


@dataclass(frozen=True)
class Settings:
    """Arguments of `lr.evaluate`, which has what they mean.

    Raises:
        SpecError, DataError: one of them means nothing.
    """

    nuisance: Iterable[str] | None = None
    only: Iterable[str] = FAMILIES
    lags: Iterable[int] = LAGS
    margin: float = MARGIN
    separation: float = SEPARATION
    episodes: int = 64
    steps: int = 100
    seed: int = 0
    tau: int = TAU
    distance: str | Callable[[np.ndarray], np.ndarray] | None = None
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        distances.refuse_other(self.distance)
        drawn, collected = "of all that is drawn", "walks to collect"
        for name, value in {
            "nuisance": asked.nuisance(_OWNER, self.nuisance),
            "only": families(_OWNER, self.only),
            "lags": asked.lags(_OWNER, self.lags),
            "margin": real(_OWNER, "margin", self.margin, POSITIVE),
            "separation": real(_OWNER, "separation", self.separation, UNIT),
            "episodes": integer(_OWNER, "episodes", self.episodes, collected),
            "steps": integer(_OWNER, "steps", self.steps, "actions of a walk"),
            "seed": integer(_OWNER, "seed", self.seed, drawn, minimum=0),
            "tau": integer(_OWNER, "tau", self.tau, "steps", minimum=0),
            "tolerance": asked.tolerance(_OWNER, self.tolerance, self.distance),
        }.items():
            object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; a function by its name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found["distance"] = None if self.distance is None else _shown(self.distance)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}

    @property
    def changed(self) -> str:
        """Those that are not the defaults, such as "margin 0.2 (default 0.1)"; "" for none."""
        told = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                told.append(f"{field.name} {_shown(value)} (default {_shown(field.default)})")
        return ", ".join(told)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if value is None or callable(value):
        return getattr(value, "__name__", "none")
    return f"{value:g}" if isinstance(value, float) else str(value)
