"""The pressures that a loss puts on the latents of each role, read off its comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .affine import Affine
from .facts import Table, ones, union
from .sides import Present, Side
from .unrolled import Moment

_PREDICTIONS = ("distance", "divergence", "contrastive")


@dataclass(frozen=True)
class Pressure:
    """What one comparison of a loss rewards a latent for.

    Args:
        slug: the rule.
        latent: whose.
        opposed: whether the gradient is reversed, so that it is punished instead.
        present: the comparison. side: the side that reads the latent.
        occurrences: of the latent, those that the rule speaks of, as bits.
        gap: how many steps are predicted, where it is a prediction.
        module: the module at fault, where it is one.
    """

    slug: str
    latent: str
    opposed: bool
    present: Present
    side: Side
    occurrences: int
    gap: int = 0
    module: str = ""


class Pressures:
    """The pressures of a Spec's losses."""

    def __init__(self, table: Table):
        self.table, self.spec = table, table.spec
        self._by_role = [
            Affine(table.unrolled, lambda m, role=role: bool(table.here(m) & table.of_role(role)))
            for role in table.roles
        ]
        self._latent_bits = {name: table.of_latent(name) for name in self.spec.latents}
        self._below: dict[int, int] = {}
        # The modules that read observations, and the latents that they make.
        self._encoders: dict[str, list[str]] = {}
        for name in self.spec.latents:
            for module in self._reads_frames(name):
                self._encoders.setdefault(module, []).append(name)

    def of(self, present: Present, updated: int) -> Iterator[Pressure]:
        """Every pressure of one comparison.

        Args:
            updated: the modules that the loss updates, as bits.
        """
        shaped = [self.shaped(side, updated) for side in present.sides()]
        for r, role in enumerate(self.table.roles):
            own = [bits & self.table.of_role(role) for bits in shaped]
            if any(own):
                yield from self._of_role(present, r, own, all(shaped))
        for side in present.sides():
            for module in self._misused(side, updated):
                for latent in self._encoders[module]:
                    yield Pressure(
                        "off-manifold-encoder", latent, False, present, side, 0, module=module
                    )

    def shaped(self, side: Side, updated: int) -> int:
        """The occurrences that the loss shapes through this side: some module below is updated."""
        return union(1 << i for i in ones(side.shaped) if self._makers(i) & updated)

    # One role ------------------------------------------------------------------------------

    def _of_role(
        self, present: Present, r: int, shaped: list[int], both: bool
    ) -> Iterator[Pressure]:
        sides = present.sides()
        for side, bits in zip(sides, shaped, strict=True):
            asked = [*self._actions(present, side, r), *self._frames(present, side, r)]
            yield from self._named(present, side, bits, asked)
        for slug, gap in self._times(present, r, both):
            for side, bits in zip(sides, shaped, strict=True):
                for pressure in self._named(present, side, bits, [slug], gap):
                    own = self._latent_bits[pressure.latent]
                    yield replace(pressure, occurrences=union(shaped) & own)

    def _named(
        self, present: Present, side: Side, bits: int, slugs: list[str], gap: int = 0
    ) -> Iterator[Pressure]:
        for name in dict.fromkeys(o.latent for o in self.table.latents(bits)):
            own = self._latent_bits[name]
            opposed = present.opposes(side, own)
            for slug in slugs:
                yield Pressure(slug, name, opposed, present, side, bits & own, gap)

    def _actions(self, present: Present, side: Side, r: int) -> list[str]:
        """What the other side asks of the actions."""
        slugs, other = [], present.other(side)
        if other is not None and other.only_actions():
            slugs.append("action-leak" if side.leaves & other.actions else "action-identity")
        if present.comparison.kind == "distance" and self._adds_up(present, r):
            slugs.append("action-additivity")
        return slugs

    def _adds_up(self, present: Present, r: int) -> bool:
        """Whether the residual is a difference of latents plus a function of actions alone."""
        clocks, others = self._difference(present, r)
        return bool(clocks and others) and Side(self.table, tuple(others)).only_actions()

    def _bare(self, present: Present, r: int) -> bool:
        """Whether the residual is a difference of latents at different times, and nothing else."""
        if present.comparison.kind != "distance":
            return False
        clocks, others = self._difference(present, r)
        return len(clocks) > 1 and not others

    def _difference(self, present: Present, r: int) -> tuple[set[int], list[Moment]]:
        """The times of the latents of which the residual is a difference, and what else it holds.

        Without times where it is none: the coefficients of a difference add up to 0.
        """
        left, *rest = present.operands
        expansion = self._by_role[r].difference(left, rest[0] if rest else None)
        here = {m: self.table.here(m) & self.table.of_role(self.table.roles[r]) for m in expansion}
        adds_up = abs(sum(c for m, c in expansion.items() if here[m])) < 1e-9
        latents = self.table.latents(union(here.values()) if adds_up else 0)
        return {o.clock for o in latents}, [m for m in expansion if not here[m]]

    def _frames(self, present: Present, side: Side, r: int) -> list[str]:
        """What the other side asks of the observation."""
        other = present.other(side)
        if other is None or not other.observed() or not side.frontier(r):
            return []
        ahead = other.seen() > side.clock(r)
        return ["rendered-prediction" if ahead else "observation-sufficiency"]

    def _times(self, present: Present, r: int, both: bool) -> Iterator[tuple[str, int]]:
        """What follows from the two sides standing at different times.

        Args:
            both: whether the loss shapes something through either side.
        """
        left, right = present.left, present.right
        if right is None or present.comparison.kind not in _PREDICTIONS:
            return
        gap = span(left, right, r)
        bare = self._bare(present, r)
        same = bare or present.same_head(gap)
        if (gap or bare) and same and not between(present, r):
            if not present.comparison.chosen:
                yield "temporal-adjacency", gap
        elif gap >= 2:
            yield "open-loop-rollout", gap
        elif gap == 1:
            yield "conditioned-prediction", gap
        if both and not same:
            yield "target-live", gap

    def alike(self, present: Present, r: int, gap: int) -> bool:
        """Whether the sides are one function `gap` frames apart, or differ by latents only."""
        return present.same_head(gap) or self._bare(present, r)

    def _misused(self, side: Side, updated: int) -> list[str]:
        """Encoders that the loss trains on something that a module made."""
        encoders = self._encoders.keys() & set(self.table.modules(side.live & updated))
        if not encoders:
            return []
        found: dict[str, None] = {}
        stack, seen = list(side.moments), set()
        while stack:
            m = stack.pop()
            if m in seen or m.cut is not None:
                continue
            seen.add(m)
            # A cell is applied to its own carry; what it is fed with is projected first.
            fed = m.kind == "apply" and not m.attrs[2] and m.attrs[1] != "step"
            if fed and m.attrs[0] in encoders:
                if any(self.table.source(o).modules for o in m.operands):
                    found[m.attrs[0]] = None
            stack += m.operands
        return list(found)

    def _reads_frames(self, latent: str) -> list[str]:
        """The modules that read a frame, with nothing between, to make the latent."""
        found: dict[str, None] = {}
        seen: set[Moment] = set()
        stack = self.table.moments_of(latent)
        while stack:
            m = stack.pop()
            if m in seen:
                continue
            seen.add(m)
            if m.kind == "apply" and m.attrs[0] in self.spec.modules:
                read = [self.table.source(o) for o in m.operands]
                observed = union(s.leaves for s in read) & self.table.groups["observation"]
                if observed and not union(s.modules for s in read):
                    found[m.attrs[0]] = None
            stack += m.operands
        return list(found)

    def _makers(self, occurrence: int) -> int:
        """The modules that a gradient reaches from an occurrence.

        Of a latent that is declared as what a target makes, those of the module: a loss on the
        student shapes what the target will be.
        """
        if occurrence not in self._below:
            o = self.table.occurrences[occurrence]
            e = self.spec.latents[o.latent].expr
            m, targets = self.table.unrolled.at(e, o.frame, o.step), self.spec.targets
            student = m.kind == "stop" and m.primal.kind == "apply" and m.primal.attrs[0] in targets
            self._below[occurrence] = self.table[self.table.shape(m) if student else m].live
        return self._below[occurrence]


def span(left: Side, right: Side, role: int) -> int:
    """How many steps lie between what the two sides read of a role; 0 where one reads nothing."""
    clocks = left.clock(role), right.clock(role)
    return abs(clocks[0] - clocks[1]) if min(clocks) >= 0 else 0


def between(present: Present, role: int) -> int:
    """The demanded actions that are read above the latents of either side."""
    assert present.right is not None
    read = present.left.above(role) | present.right.above(role)
    return read & demanded(present, role)


def demanded(present: Present, role: int) -> int:
    """The actions that lead from the earlier side's latents to the later side's, as bits."""
    assert present.right is not None
    first, last = sorted((present.left.clock(role), present.right.clock(role)))
    table = present.table
    return table.leaf_bits(
        ("action", e.attrs[1], frame)
        for e in table.spec.inputs.values()
        if e.attrs[0] == "action"
        for frame in range(first, last)
    )
