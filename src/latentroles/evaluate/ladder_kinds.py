"""Which loss of the ladder a declared loss is, read off what the rules see in it.

No loss says of itself what it is: the rules take it apart into comparisons, and from the form of a
comparison follows what it rewards a latent for. The ladder knows a loss where its optimum over
whitened latents and universal heads is that of a form in `ladder_optima`.
"""

from latentroles.rules.facts import union
from latentroles.rules.judged import Judged
from latentroles.rules.pressures import Pressure, Pressures
from latentroles.rules.sides import Side
from latentroles.rules.unrolled import Moment
from latentroles.spec import Spec

from .ladder_optima import LadderLoss

# The pressures of the ladder's losses, the most telling first.
TELLING = (
    "action-additivity",
    "action-identity",
    "temporal-adjacency",
    "open-loop-rollout",
    "conditioned-prediction",
    "observation-sufficiency",
)


def places(spec: Spec) -> list[str]:
    """The latents that are to be places: their role forbids a pressure of the ladder's losses."""
    return [z for z, latent in spec.latents.items() if not latent.role.forbids.isdisjoint(TELLING)]


class Kinds:
    """What the losses of a Spec are on its places. Stops and gates are looked through: they decide
    whether a latent obeys, not what is asked of it.
    """

    def __init__(self, spec: Spec):
        self._judged = Judged(spec)
        self._rewards = _Rewards(self._judged.table)
        self._places = frozenset(places(spec))

    def of(self, loss: str, latent: str) -> LadderLoss | None:
        """The loss of the ladder, None where it is none."""
        (judged,) = (found for found in self._judged.losses if found.name == loss)
        asked = [
            p for term in judged.terms for p in self._rewards.of(term, judged.updated)
            if p.latent == latent
        ]  # fmt: skip
        slugs = {p.slug for p in asked}
        if "off-manifold-encoder" in slugs or any(p.opposed for p in asked):
            return None
        for slug in TELLING:
            if slug in slugs:
                return self._kind(max((p for p in asked if p.slug == slug), key=lambda p: p.gap))
        return None

    def _kind(self, pressure: Pressure) -> LadderLoss | None:
        table, sides = self._judged.table, pressure.present.sides()
        clocks = {o.clock for o in table.latents(pressure.occurrences)}
        before, after = min(clocks), max(clocks)
        bare = [all(map(self._is_place, side.moments)) for side in sides]
        other = pressure.present.other(pressure.side)
        actions = {t for _, _, t in table.leaves(union(side.actions for side in sides))}
        between = set(range(before, after))
        match pressure.slug:
            case "action-additivity" if len(clocks) == 2 and actions == between:
                return LadderLoss("action delta", after - before)
            case "action-identity" if len(clocks) == 2 and actions == between == {before}:
                return LadderLoss("inverse dynamics")
            case "temporal-adjacency" if len(clocks) == 2 and all(bare):
                return LadderLoss("adjacency", after - before)
            case "open-loop-rollout" | "conditioned-prediction" if any(bare):
                if actions >= set(range(after - pressure.gap, after)):
                    return LadderLoss("prediction", pressure.gap, memory=len(clocks) > 2)
            case "observation-sufficiency" if other is not None:
                if {t for _, _, t in table.leaves(other.frames)} == clocks == {after}:
                    return LadderLoss("reconstruction")
        return None

    def _is_place(self, m: Moment) -> bool:
        """Whether it is a place and nothing more: stopped or scaled, but read by no head."""
        while m.kind in ("stop", "scale"):
            m = m.operands[0]
        here = self._judged.table.latents(self._judged.table.here(m))
        return any(o.latent in self._places for o in here)


class _Rewards(Pressures):
    """What losses ask of the latents that they read, whether or not a gradient arrives there."""

    def shaped(self, side: Side, updated: int) -> int:
        return union(side.frontier(role) for role in range(len(self.table.roles)))
