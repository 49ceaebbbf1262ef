"""The loss-gap ladder of a spec: what each loss could gain, exactly, beside what the rules say.

    print(ladder(hzp(), corridor(noop=True, last_action=True)))

For each loss that the ladder knows, L* is its exact optimum in a finite environment over latents
that know the place alone, the present frame, the recent history, or every single visit. What
L* falls by from place to frame, the loss strictly rewards for telling visits to a place apart.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from latentroles.routes.table import aligned
from latentroles.rules import Finding, Report, check
from latentroles.spec import Spec
from latentroles.words.environment import Environment

from .ladder_kinds import TELLING, Kinds, places
from .ladder_optima import RUNGS, LadderLoss, Optima, optima
from .ladder_walk import Policy, Walk, stationary

_HEADING = ("loss", "on", "as", *RUNGS, "gap", "memory gap", "rule", "rule and ladder")


@dataclass(frozen=True)
class Row:
    """One loss and one latent that is to be a place.

    Attributes:
        loss, latent: their names.
        kind: the loss of the ladder that it is; None where the ladder does not know it.
        optima: L* at each rung; None without a kind.
        pressures: what the rules say that the loss rewards the latent for; ("isolated",) where no
            gradient arrives.
        level: "error", "warning" or "allowed" where a rule objects to a pressure of the ladder's
            losses; else "".
        judgement: how rule and ladder stand to each other.
    """

    loss: str
    latent: str
    kind: LadderLoss | None
    optima: Optima | None
    pressures: tuple[str, ...]
    level: str
    judgement: str

    @property
    def disagrees(self) -> bool:
        """Whether a rule objects where nothing is to be gained, or none does where something is."""
        return self.judgement.startswith("disagree")

    def to_json(self) -> dict[str, Any]:
        """The row as plain data; an optimum of too few classes is null."""
        found = self.optima
        rungs = zip(RUNGS, found or (), strict=False)
        return {
            "loss": self.loss,
            "latent": self.latent,
            "kind": str(self.kind) if self.kind else None,
            "optima": {rung: [_finite(v) for v in values] for rung, values in rungs},
            "gap": _finite(found.gap) if found else None,
            "memory_gap": _finite(found.memory_gap) if found else None,
            "pressures": list(self.pressures),
            "level": self.level or None,
            "judgement": self.judgement,
        }


@dataclass(frozen=True)
class Ladder:
    """The rows of a spec in an environment; prints as a table.

    Attributes:
        name, environment, policy: of the spec; of the environment, with its parameters; how the
            walk acts.
        walk: the endless walk that the optima are of.
        rows: one for each loss and each latent that is to be a place.
    """

    name: str
    environment: str
    policy: str
    walk: Walk
    rows: tuple[Row, ...]

    @property
    def disagreements(self) -> tuple[Row, ...]:
        """The rows in which rule and ladder do not say the same."""
        return tuple(row for row in self.rows if row.disagrees)

    def __str__(self) -> str:
        known = [row for row in self.rows if row.optima is not None]
        unknown = dict.fromkeys(row.loss for row in self.rows if row.optima is None)
        lines = list(self._heading())
        if known:
            lines += ["", *aligned([_HEADING, *map(_cells, known)])]
        if unknown:
            lines += ["", f"not losses of the ladder: {', '.join(unknown)}"]
        if not self.rows:
            lines += ["", "no loss with a latent that is to be a place, by its role"]
        return "\n".join(lines)

    def _heading(self) -> Iterator[str]:
        walk, window = self.walk, self.walk.window
        count = {name: int(of.max()) + 1 for name, of in walk.classes.items()}
        yield f"{self.name} in {self.environment}, policy: {self.policy}"
        yield (
            f"{count['place']} places, {count['observation']} frames; history: the last "
            f"{window} step{'s' * (window != 1)}; whitened losses: the first direction"
        )
        if walk.vacuous:
            yield "vacuous here: the frame is a function of the place"
        if not walk.nested:
            yield (
                "frames alias: some frame shows more than one place, so that a latent of places "
                "may do better than one of frames, and a gap be negative"
            )

    def to_json(self) -> dict[str, Any]:
        """The ladder as plain data."""
        return {
            "name": self.name,
            "environment": self.environment,
            "policy": self.policy,
            "window": self.walk.window,
            "vacuous": self.walk.vacuous,
            "nested": self.walk.nested,
            "rows": [row.to_json() for row in self.rows],
        }


def ladder(
    spec: Spec, environment: Environment, *, policy: str | Policy = "uniform", window: int = 1
) -> Ladder:
    """The ladder of every loss of a spec, on each latent that is to be a place.

    The optima are of the losses in their plain form, whatever the sizes, weights and distances of
    the spec. A loss that is stopped has the optima that it would have live.

    Args:
        environment: a finite one; its frames need not be those of the spec.
        policy: "uniform", "moves" (no action that stays at the place, where there is another), or
            a function from a state to a probability for each action.
        window: how many past steps the rung `history`, and a predictor with memory, know. With
            more, the optimum is lower or equal: the memory gap is a lower bound.

    Raises:
        LatentrolesError: the environment is too large or has one place only; scipy is missing.
    """
    report = check(spec)
    walk = stationary(environment, policy=policy, window=window)
    kinds = Kinds(spec)
    known: dict[LadderLoss, Optima] = {}
    rows = []
    for loss in spec.losses:
        for latent in places(spec):
            kind = kinds.of(loss, latent)
            if kind is not None and kind not in known:
                known[kind] = optima(walk, kind)
            rows.append(_row(report, loss, latent, kind, known[kind] if kind else None, walk))
    given = ", ".join(f"{name}={value}" for name, value in environment.parameters.items())
    return Ladder(
        spec.name,
        f"{environment.name}({given})",
        policy if isinstance(policy, str) else "as given",
        walk,
        tuple(rows),
    )


def _row(
    report: Report,
    loss: str,
    latent: str,
    kind: LadderLoss | None,
    found: Optima | None,
    walk: Walk,
) -> Row:
    pressures = tuple(sorted(report.verdicts[loss][latent]))
    level = _level(report, loss, latent)
    gain = None
    if found is not None:
        gain = found.gap + found.memory_gap if _remembers(report, latent) else found.gap
    vacuous = walk.vacuous and not _remembers(report, latent)
    judgement = _judgement(pressures, level, gain, nested=walk.nested, vacuous=vacuous)
    return Row(loss, latent, kind, found, pressures, level, judgement)


def _level(report: Report, loss: str, latent: str) -> str:
    def objects(finding: Finding) -> bool:
        return (finding.loss, finding.subject) == (loss, latent) and finding.rule in TELLING

    for finding in filter(objects, report.findings):
        return finding.severity  # the worst comes first
    return "allowed" if any(map(objects, report.allowed)) else ""


def _remembers(report: Report, latent: str) -> bool:
    """Whether a latent is computed from more than the frame of its own time."""
    found = (*report.findings, *report.allowed)
    return any((f.rule, f.subject) == ("history-admitting", latent) for f in found)


def _judgement(
    pressures: Sequence[str], level: str, gain: float | None, *, nested: bool, vacuous: bool
) -> str:
    """How rule and ladder stand to each other.

    Args:
        gain: what the loss gains at best from more than the place; None where nobody knows.
    """
    if gain is None:
        return "not a loss of the ladder"
    if vacuous:
        return "vacuous here"
    if not nested and gain <= 0:
        return "frames alias: the gap does not tell"
    if "isolated" in pressures:
        return f"isolated; live, it would gain {_figure(max(gain, 0.0))}"
    gains = gain > 0
    if level and not gains:
        return f"disagree: {level}, yet nothing to gain here"
    if not level and gains:
        return f"disagree: no objection, yet {_figure(gain)} to gain"
    return "agree"


def _cells(row: Row) -> list[str]:
    assert row.optima is not None
    figures = [*(values[0] for values in row.optima), row.optima.gap, row.optima.memory_gap]
    rule = ", ".join(row.pressures) or "live"
    rule += f" ({row.level})" if row.level else ""
    return [row.loss, row.latent, str(row.kind), *map(_figure, figures), rule, row.judgement]


def _figure(value: float) -> str:
    """Three digits; "-" where there are too few classes for a latent."""
    return f"{value:.3g}" if math.isfinite(value) else "-"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
