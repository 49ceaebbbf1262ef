"""Losses that fall silent, noticed while a run goes on: at zero for many steps, they move nothing.

A distance or a divergence that is exactly met by real data has nothing to compare: its inputs do
not vary, or there are too few frames. A loss with a margin, such as a hinge or a regulariser, is
zero where it is met, and is left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from latentroles.rules import check
from latentroles.spec import Expr, Spec
from latentroles.spec.array_functions import array_function
from latentroles.spec.walk import postorder
from latentroles.train.collapse import spread
from latentroles.train.loop import Batch, Losses

ZERO = 1e-12  # and below
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
    """

    spec: Spec
    phase: str
    silent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        declared = self.spec.losses
        names = self.spec.phase_of(self.phase).losses
        self.losses = tuple(name for name in names if not has_margin(declared[name].expr))

    def see(self, losses: Losses) -> list[str]:
        """Returns the losses that have now been at zero for `STEPS` steps in a row."""
        still = [name for name in self.losses if abs(losses[name]) <= ZERO]
        self.silent = {name: self.silent.get(name, 0) + 1 for name in still}
        return [name for name, steps in self.silent.items() if steps == STEPS]

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
        return (
            f"loss {loss} has been 0 for {STEPS} steps, and moves nothing. Likely cause: {cause}."
        )

    def causes(self, loss: str, batch: Batch, latents: Mapping[str, np.ndarray]) -> list[str]:
        """What the declaration, the batch and the latents say; never empty."""
        for finding in check(self.spec).findings:
            if (finding.rule, finding.loss) == ("vacuous-loss", loss):
                return [f"what it compares is equal by construction: {finding.fix}"]
        leaves = (e for e in postorder(self.spec.losses[loss].expr) if e.kind == "leaf")
        columns = {e.attrs[1]: e.attrs[0] for e in leaves if e.attrs[1] in batch}
        causes = []
        if any(kind != "action" and batch[name].shape[1] == 1 for name, kind in columns.items()):
            causes.append("the windows have T = 1 frame, in which nothing happens")
        for name, kind in columns.items():
            entries = batch[name].reshape(-1, *batch[name].shape[2:])
            if len(entries) > 1 and (entries == entries[0]).all():
                value = "the same" if entries.any() else "0"
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

    def to_json(self) -> dict[str, int]:
        """Returns what `restore` takes."""
        return dict(self.silent)

    def restore(self, data: Mapping[str, int]) -> None:
        """Goes on from what `to_json` gave."""
        self.silent = dict(data)


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
