"""Losses that fall silent, noticed while a run goes on: at zero for many steps, they move nothing.

A distance or a divergence that is exactly met by real data has nothing to compare: its inputs do
not vary, or there are too few frames. One that has to learn what never varies comes near zero and
stays above it: it is spoken of where it has fallen far and all that it observes stands still. A
loss with a margin, such as a hinge or a regulariser, is zero where it is met, and is left alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentroles.rules import check
from latentroles.spec import Expr, Spec
from latentroles.spec.array_functions import array_function
from latentroles.spec.walk import postorder
from latentroles.train.collapse import never_varies, spread
from latentroles.train.loop import Batch, Losses

ZERO = 1e-12  # and below
FALLEN = 1e-3  # of what it was at first, and below
STEPS = 20  # so many in a row before a word is said
_CONSTANT = 1e-6  # of its size: a latent that varies by less is the same everywhere
_MARGINS = ("ranking", "statistic")


@dataclass
class SilenceWatch:
    """Watches the losses of one phase; its plain data goes into checkpoints.

    Args:
        spec, phase: whose losses.

    Attributes:
        losses: those that are watched, all but those with a margin.
        silent: loss -> its steps at zero in a row, up to now.
        idle: loss -> its steps in a row, up to now, at which it was at zero or far below its first
            value and nothing that it observes varied; not counted while it is spoken of.
        first: loss -> its size when it was seen first.
        said: loss -> "silent" or "idle", as long as that it was said stands: "silent" while it is
            at zero, "idle" while it is at zero or far below its first value.
    """

    spec: Spec
    phase: str
    silent: dict[str, int] = field(default_factory=dict)
    idle: dict[str, int] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        declared = self.spec.losses
        names = self.spec.phase_of(self.phase).losses
        self.losses = tuple(name for name in names if not has_margin(declared[name].expr))

    def see(self, losses: Losses, batch: Batch) -> list[str]:
        """Returns the losses that are to be spoken of now, after `STEPS` such steps in a row.

        Args:
            batch: of this step.
        """
        sizes = {name: abs(losses[name]) for name in self.losses}
        self.first = {**sizes, **self.first}
        low = [n for n, size in sizes.items() if size <= max(ZERO, FALLEN * self.first[n])]
        zero = [n for n in low if sizes[n] <= ZERO]
        stands = {"silent": zero, "idle": low}
        self.said = {n: kind for n, kind in self.said.items() if n in stands[kind]}
        still = [n for n in low if n not in self.said and self._stands_still(n, batch)]
        self.silent, self.idle = _counted(self.silent, zero), _counted(self.idle, still)
        found = []
        for name in low:
            idle = self.idle.get(name, 0) >= STEPS
            if name not in self.said and (idle or self.silent.get(name, 0) >= STEPS):
                self.said[name] = "idle" if idle else "silent"
                found.append(name)
        return found

    def _stands_still(self, loss: str, batch: Batch) -> bool:
        """Whether a loss observes something, and nothing of it varies in the batch."""
        seen = [name for name, kind in self._columns(loss, batch) if kind == "observation"]
        return bool(seen) and all(never_varies(batch[name]) for name in seen)

    def _columns(self, loss: str, batch: Batch) -> list[tuple[str, str]]:
        """The columns of the batch that a loss is computed from, each with its kind."""
        leaves = (e for e in postorder(self.spec.losses[loss].expr) if e.kind == "leaf")
        return [(e.attrs[1], e.attrs[0]) for e in leaves if e.attrs[1] in batch]

    def read(self, loss: str) -> tuple[str, ...]:
        """The latents that a loss is computed from."""
        below = set(postorder(self.spec.losses[loss].expr))
        latents = self.spec.latents.items()
        return tuple(n for n, z in latents if z.expr in below and "batch" in z.expr.axes)

    def warning(self, loss: str, batch: Batch, latents: Mapping[str, np.ndarray]) -> str:
        """Says that a loss is silent, and what it may be due to.

        Args:
            batch: of the last step.
            latents: those that the loss reads, (batch, ..., *event), by name.
        """
        cause = "; ".join(self.causes(loss, batch, latents))
        if self.silent.get(loss, 0) >= STEPS:
            what = f"has been 0 for {STEPS} steps, and moves nothing"
        else:
            what = (
                f"has been below {FALLEN:.1%} of the {self.first[loss]:.2g} it began with for "
                f"{STEPS} steps, and has nothing left to learn"
            )
        return f"loss {loss} {what}. Likely cause: {cause}."

    def causes(self, loss: str, batch: Batch, latents: Mapping[str, np.ndarray]) -> list[str]:
        """What the declaration, the batch and the latents say; never empty."""
        for finding in check(self.spec).findings:
            if (finding.rule, finding.loss) == ("vacuous-loss", loss):
                return [f"what it compares is equal by construction: {finding.fix}"]
        columns = dict(self._columns(loss, batch))
        causes = []
        if any(kind != "action" and batch[name].shape[1] == 1 for name, kind in columns.items()):
            causes.append("the windows have T = 1 frame, in which nothing happens")
        for name, kind in columns.items():
            if never_varies(batch[name]):
                value = "the same" if batch[name].any() else "0"
                causes.append(f"every {kind} {name} of the batch is {value}")
        for name in self.read(loss):
            axes = len(self.spec.latents[name].expr.axes)
            samples = latents[name].reshape(int(np.prod(latents[name].shape[:axes])), -1)
            found = spread(samples)
            if len(samples) > 1 and found.std <= _CONSTANT * found.size:
                causes.append(f"latent {name} is the same everywhere in the batch")
        return causes or [
            "none that the batch shows: look at what each side of it is computed from"
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns what `restore` takes."""
        return {
            "silent": dict(self.silent),
            "idle": dict(self.idle),
            "first": dict(self.first),
            "said": dict(self.said),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Goes on from what `to_json` gave."""
        # An earlier version kept a count for each loss instead, whose name may be one of these:
        # of its run nothing is known, and the counts begin anew.
        held = {key: dict(value) for key, value in data.items() if isinstance(value, Mapping)}
        self.silent, self.idle = held.get("silent", {}), held.get("idle", {})
        self.first = held.get("first", {})
        spoken = {name: "silent" for name, steps in self.silent.items() if steps >= STEPS}
        self.said = held.get("said", spoken)  # one between them kept none


def _counted(before: Mapping[str, int], still: Iterable[str]) -> dict[str, int]:
    """How many steps in a row each has been so, with this one."""
    return {name: before.get(name, 0) + 1 for name in still}


def has_margin(loss: Expr) -> bool:
    """Whether a loss may well be at zero: above its modules it has a hinge or a statistic."""
    stack, seen = [loss], set()
    while stack:
        e = stack.pop()
        if e in seen or e.kind == "apply":
            continue
        seen.add(e)
        if e.kind == "op" and e.attrs[0] == "relu":
            return True
        if e.kind == "call" and array_function(e.attrs[0]).kind in _MARGINS:
            return True
        stack += e.inputs
    return False
