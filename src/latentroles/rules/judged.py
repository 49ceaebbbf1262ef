"""A Spec made ready for the rules: unrolled once, its losses taken apart once."""

from __future__ import annotations

from functools import cached_property

from ..routes.declared import table as route_table
from ..routes.graph import Graph
from ..routes.reach import Reach
from ..routes.table import RouteTable
from ..spec.declarations import Loss
from ..spec.spec import Spec
from .affine import Affine
from .comparisons import comparisons
from .facts import Table
from .pressures import Pressure, Pressures
from .sides import Present, Side
from .unrolled import Unrolled


class JudgedLoss:
    """A loss as the rules see it.

    Attributes:
        terms: its comparisons, at the present.
        pressures: what they reward the latents for, each once.
        shaped: the latents that it shapes.
        updated: the modules that it updates, as bits.
    """

    def __init__(self, judged: Judged, declared: Loss):
        table, rules = judged.table, judged.rules
        self.name, self.declared = declared.name, declared
        self.terms = [
            Present(table, judged.exact, c) for c in comparisons(judged.graph, declared.expr)
        ]
        self.updated = table.module_bits(judged.routes[declared.name].modules)
        found: dict[tuple[str, str, bool], Pressure] = {}
        for term in self.terms:
            for pressure in rules.of(term, self.updated):
                key = (pressure.slug, pressure.latent, pressure.opposed)
                if key not in found or found[key].gap < pressure.gap:
                    found[key] = pressure
        # A rollout is judged by its longest reach; that it also reaches one step says no more.
        far = {p.latent for p in found.values() if p.slug == "open-loop-rollout"}
        self.pressures = [
            p
            for p in found.values()
            if not (p.slug == "conditioned-prediction" and p.latent in far)
        ]
        # At the first frame too: "isolated" is to say that no gradient arrives at all.
        sides = [Side(table, read) for term in self.terms for read in term.corners()]
        shaped = [o for side in sides for o in table.latents(rules.shaped(side, self.updated))]
        self.shaped = frozenset(o.latent for o in shaped)


class Judged:
    """A Spec, its graph with time written out, and its losses."""

    def __init__(self, spec: Spec, away: int = 0):
        self.spec = spec
        unrolled = Unrolled(spec, away)
        self.graph: Graph = unrolled.graph
        self.table = Table(unrolled)
        self.exact = Affine(unrolled)
        self.rules = Pressures(self.table)
        self.reach = Reach(spec, [loss.expr for loss in spec.losses.values()])
        self.routes: RouteTable = route_table(self.reach)

    @cached_property
    def losses(self) -> list[JudgedLoss]:
        """Every declared loss."""
        return [JudgedLoss(self, declared) for declared in self.spec.losses.values()]
