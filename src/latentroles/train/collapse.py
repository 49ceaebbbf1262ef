"""Collapse, noticed while a run goes on: latents that hold hardly anything.

A latent collapses wholly when it becomes a constant, and in part when it keeps to few of its
dimensions. One that nothing keeps from collapsing is on its way when most of its spread is lost.
Only latents that the phase trains are watched. A warning is said once, when it begins, and again
when it gets worse, with what the declaration and the data say about the cause.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from latentroles.routes import routes
from latentroles.rules import Finding, Report, check
from latentroles.spec import Spec
from latentroles.spec.walk import postorder
from latentroles.train.loop import Batch

# A latent is constant when it varies by no more than this part of its size, or of what it once was.
_CONSTANT = 0.02
# One that nothing guards may settle above that: this part of what it once varied by is little.
_LOST = 1 / 3
# It keeps to few dimensions when its effective rank is below both: in dimensions, and in part.
_FEW, _FEW_OF_ALL = 1.5, 0.02
# A warning stands up to this many times its bound: a latent that wavers there has it once.
_RECOVERED = 1.5
_LEAST_DIMENSIONS = 8  # a pose may well keep to one of two or three
_SAMPLES = 512  # more tell no more


@dataclass(frozen=True)
class Spread:
    """How much of its space a latent fills.

    Attributes:
        rank: the effective rank, from 1 to the dimensions; 0 for an exact constant.
        std: the mean over the dimensions of the standard deviation over the samples.
        size: the root mean square of all entries; `std` is at most that.
        dimensions: of an event, or as many as the samples can show.
    """

    rank: float
    std: float
    size: float
    dimensions: int


def spread(samples: np.ndarray) -> Spread:
    """Returns the spread of samples (N, D).

    The effective rank is exp(-sum p log p) with p the singular values of the centred samples over
    their sum (Roy and Vetterli, 2007; RankMe, Garrido et al., 2023, which does not centre: a
    constant would have rank 1 there whatever little varies around it).
    """
    every = -(-len(samples) // _SAMPLES)
    x = np.asarray(samples[::every], np.float64)
    centred = x - x.mean(0)
    # The smaller of the two Gram matrices: its eigenvalues are the squares of the singular values.
    gram = centred @ centred.T if len(x) < x.shape[1] else centred.T @ centred
    values = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0.0, None))
    total = values.sum()
    p = values[values > 0] / total if total > 0 else np.ones(0)
    rank = float(np.exp(-(p * np.log(p)).sum())) if len(p) else 0.0
    size = float(np.sqrt(np.mean(np.square(x))))
    return Spread(rank, float(x.std(0).mean()), size, min(x.shape[1], len(x) - 1))


@dataclass
class CollapseWatch:
    """Watches the latents of one phase; its plain data goes into checkpoints.

    Args:
        spec, phase: whose latents, and which phase trains them.

    Attributes:
        first: latent -> its std when it was measured first.
        said: latent -> the kinds of collapse that a warning stands for; see `_kinds`.
    """

    spec: Spec
    phase: str
    first: dict[str, float] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)
    _bare: dict[str, bool] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.latents = trained_latents(self.spec, self.phase)

    def measure(
        self, latents: Mapping[str, np.ndarray], batch: Batch
    ) -> tuple[dict[str, dict[str, float]], list[str]]:
        """Returns {latent: {"rank", "std"}} and the warnings that are new.

        Args:
            latents: name -> (batch, ..., *event).
            batch: what they were computed from, for the cause.
        """
        measured, warnings = {}, []
        for name in self.latents:
            axes = len(self.spec.latents[name].expr.axes)
            array = latents[name]
            found = spread(array.reshape(int(np.prod(array.shape[:axes])), -1))
            measured[name] = {"rank": round(found.rank, 4), "std": float(f"{found.std:.4g}")}
            before = self.first.setdefault(name, found.std)
            what = self._news(name, found, before)
            if what:
                cause = "; ".join(likely_causes(self.spec, self.phase, name, batch))
                warnings.append(f"latent {name} {what}. Likely cause: {cause}.")
        return measured, warnings

    def _news(self, latent: str, found: Spread, first: float) -> str:
        """What is wrong with a latent that has not been said, in words, or ""; it is said then."""
        bare = _LOST * _RECOVERED * first >= found.std and self._unguarded(latent)
        begun = _kinds(found, first, bare)
        standing = _kinds(found, first, bare, _RECOVERED)
        before = [kind for kind in self.said.pop(latent, ()) if kind in standing]
        said = before + [kind for kind in begun if kind not in before]
        if said:
            self.said[latent] = said
        if "constant" in before:  # nothing is worse
            return ""
        new = ["constant"] if "constant" in begun else said[len(before) :]
        return "; it ".join(_words(kind, found, first) for kind in new)

    def _unguarded(self, latent: str) -> bool:
        if latent not in self._bare:
            self._bare[latent] = bool(_unmet(_guarded(self.spec, self.phase, latent), latent))
        return self._bare[latent]

    def to_json(self) -> dict[str, Any]:
        """Returns what `restore` takes."""
        said = {name: list(kinds) for name, kinds in self.said.items()}
        return {"first": dict(self.first), "said": said}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Goes on from what `to_json` gave."""
        said = data["said"]
        if not isinstance(said, Mapping):
            # An earlier version kept no kind: the mildest, so that a worse one is not missed.
            said = {name: ["lost"] for name in said}
        self.first = dict(data["first"])
        self.said = {name: list(kinds) for name, kinds in said.items()}


def trained_latents(spec: Spec, phase: str) -> tuple[str, ...]:
    """The latents that a phase trains: gradient of a loss passes them into a module behind."""
    table = routes(spec)
    rows = [table[loss] for loss in spec.phase_of(phase).losses]
    found = []
    for name, latent in spec.latents.items():
        behind = {e.attrs[0] for e in postorder(latent.expr) if e.kind == "apply"}
        trained = any(name in row.latents and behind & row.modules for row in rows)
        if trained and "batch" in latent.expr.axes:
            found.append(name)
    return tuple(found)


def _kinds(found: Spread, first: float, bare: bool, slack: float = 1.0) -> list[str]:
    """The kinds of collapse: "constant", "few" dimensions, and "lost" spread of a bare latent.

    Args:
        bare: whether nothing keeps it from collapsing.
        slack: how often its bounds a latent may reach and still count.
    """
    few = max(_FEW, _FEW_OF_ALL * found.dimensions)
    held = {
        "constant": found.std <= slack * _CONSTANT * max(found.size, first),
        "few": found.dimensions >= _LEAST_DIMENSIONS and found.rank < slack * few,
        "lost": bare and found.std <= slack * _LOST * first,
    }
    return [kind for kind, holds in held.items() if holds]


def _words(kind: str, found: Spread, first: float) -> str:
    if kind == "constant":
        return f"is all but constant: {_varies(found, first)}"
    if kind == "few":
        return (
            f"keeps to few dimensions: its effective rank is {found.rank:.2g} of {found.dimensions}"
        )
    return f"has lost most of its spread: {_varies(found, first)}"


def _varies(found: Spread, first: float) -> str:
    return (
        f"it varies by {found.std:.2g} per dimension ({first:.2g} at first) around a size of "
        f"{found.size:.2g}"
    )


def likely_causes(spec: Spec, phase: str, latent: str, batch: Batch) -> list[str]:
    """What the data and `lr.check` say about the collapse of a latent; never empty."""
    causes = [
        f"its input {name} is the same everywhere in the batch"
        for name in _columns(spec, latent)
        if name in batch and never_varies(batch[name])
    ]
    report = _guarded(spec, phase, latent)
    live = [
        loss
        for loss in spec.phase_of(phase).losses
        if "target-live" in report.verdicts[loss][latent]
    ]
    if live:
        causes.append(
            f"the target of {', '.join(live)} is live, so that both sides can meet at a constant: "
            "stop one of them"
        )
    causes += [
        f"no loss of phase {phase} keeps it from collapsing: {finding.fix}"
        for finding in _unmet(report, latent)
    ]
    return causes or [
        "none that the declaration shows; look at its learning rate and at the weights of the "
        "losses that shape it"
    ]


def _guarded(spec: Spec, phase: str, latent: str) -> Report:
    """What `check` says of the phase's losses alone, where the latent's role asks for a guard."""
    copy = Spec.from_json(spec.to_json())
    copy.losses = {name: copy.losses[name] for name in spec.phase_of(phase).losses}
    held = copy.latents[latent]
    role = replace(held.role, requires=held.role.requires | {"anti-collapse"})
    copy.latents[latent] = replace(held, role=role)
    return check(copy)


def _unmet(report: Report, latent: str) -> list[Finding]:
    """What a latent asks for and nothing gives, as long as it is more than a note."""
    return [
        finding
        for finding in (*report.findings, *report.allowed)
        if finding.rule == "requirement-unmet"
        and finding.subject == latent
        and finding.severity != "note"
    ]


def _columns(spec: Spec, latent: str) -> list[str]:
    """The observations that a latent is computed from."""
    leaves = (e for e in postorder(spec.latents[latent].expr) if e.kind == "leaf")
    return [e.attrs[1] for e in leaves if e.attrs[0] == "observation"]


def never_varies(column: np.ndarray) -> bool:
    """Whether all entries of all windows are equal: (batch, T, ...)."""
    entries = column.reshape(-1, *column.shape[2:])
    if len(entries) < 2 or not (entries[-1] == entries[0]).all():  # quick, and mostly enough
        return False
    return bool((entries == entries[0]).all())
