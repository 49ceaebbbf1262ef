"""The route table: for each loss and module, whether gradient flows, and if not why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import SpecError, nearest
from ..spec.describe import describe
from ..spec.spec import Spec, require_spec
from .reach import Reach

STATUSES = ("live", "stopped", "frozen", "masked", "target", "unconnected")


@dataclass(frozen=True)
class Cell:
    """One route.

    Args:
        status: one of `STATUSES`.
        where: for a stopped route, the stops and gates that end it.
    """

    status: str
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.status} ({'; '.join(self.where)})" if self.where else self.status


class Row:
    """The routes of one loss.

    Attributes:
        loss: its name.
        modules: the modules that it updates.
        latents: the latents that its gradient flows into.
    """

    def __init__(self, reach: Reach, loss: str):
        self._reach, self.loss = reach, loss
        declared = reach.spec.losses[loss]
        self._expr, self._updates = declared.expr, declared.updates
        self._bits = reach[self._expr]

    @cached_property
    def modules(self) -> frozenset[str]:
        reached = self._reach.modules(self._bits.live)
        return reached if self._updates is None else reached & frozenset(self._updates)

    @cached_property
    def masked(self) -> frozenset[str]:
        """The modules that `updates=` freezes on a path that is otherwise live."""
        return self._reach.modules(self._bits.live) - self.modules

    @cached_property
    def latents(self) -> frozenset[str]:
        return self._reach.latents(self._bits.live)

    def __getitem__(self, name: str) -> Cell:
        spec = self._reach.spec
        if name in self.modules or name in self.latents:
            return Cell("live")
        if name in self.masked:
            return Cell("masked")
        if name in self._reach.modules(self._bits.frozen):
            return Cell("frozen")
        bits = self._bits.value
        if name in self._reach.targets(bits):
            return Cell("target")
        if name in self._reach.modules(bits) | self._reach.latents(bits):
            return Cell("stopped", self._stops(name))
        if name not in {*spec.modules, *spec.targets, *spec.latents}:
            known = [*spec.modules, *spec.targets, *spec.latents]
            raise SpecError(f"no module or latent {name!r} in {spec.name!r}.{nearest(name, known)}")
        return Cell("unconnected")

    def _stops(self, name: str) -> tuple[str, ...]:
        """The stops behind which `name` lies, those nearest to the loss first."""
        graph, found, seen = self._reach.graph, {}, {self._expr}
        queue = [self._expr]
        for e in queue:
            for edge in graph.edges(e):
                below = self._reach[edge.operand].value
                held = self._reach.modules(below) | self._reach.latents(below)
                if name not in held:
                    continue
                if edge.cut is not None:
                    on = describe(edge.operand)
                    found[edge.cut if edge.cut.startswith("gate") else f"{edge.cut} on {on}"] = None
                elif edge.operand not in seen:
                    seen.add(edge.operand)
                    queue.append(edge.operand)
        return tuple(found)


class RouteTable:
    """The routes of a spec; prints as a table.

    `table["jepa"].modules` is what the loss updates, `table["jepa"]["encoder"]` one cell.
    """

    def __init__(self, spec: Spec):
        self.spec = spec
        self._reach = Reach(spec, [loss.expr for loss in spec.losses.values()])
        self._rows = {name: Row(self._reach, name) for name in spec.losses}

    def __getitem__(self, loss: str) -> Row:
        if loss not in self._rows:
            raise SpecError(f"no loss {loss!r} in {self.spec.name!r}.{nearest(loss, self._rows)}")
        return self._rows[loss]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RouteTable) and self.live == other.live

    @cached_property
    def live(self) -> dict[str, frozenset[str]]:
        """The modules that each loss updates."""
        return {name: row.modules for name, row in self._rows.items()}

    @cached_property
    def reached(self) -> frozenset[str]:
        """The modules that any loss updates."""
        return frozenset().union(*self.live.values())

    def __str__(self) -> str:
        """One line per loss: what it updates, and the latents its gradient flows into."""
        order = list(self.spec.modules)
        rows = [("loss", "updates", "gradient flows into")]
        for name, row in self._rows.items():
            updates = ", ".join(m for m in order if m in row.modules) or "nothing"
            latents = ", ".join(z for z in self.spec.latents if z in row.latents) or "no latent"
            rows.append((name, updates, latents))
        widths = [max(len(r[i]) for r in rows) for i in range(3)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
        ]
        return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])

    def markdown(self) -> str:
        """Loss by module and latent, every cell spelled out, as a Markdown table."""
        names = [*self.spec.modules, *self.spec.targets, *self.spec.latents]
        lines = [f"| loss | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 1)]
        for loss, row in self._rows.items():
            cells = ["" if row[n].status == "unconnected" else str(row[n]) for n in names]
            lines.append(f"| {loss} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """{loss: {module or latent: {"status": ..., "where": [...]}}}."""
        names = [*self.spec.modules, *self.spec.targets, *self.spec.latents]
        return {
            loss: {n: {"status": row[n].status, "where": list(row[n].where)} for n in names}
            for loss, row in self._rows.items()
        }


def routes(spec: Spec) -> RouteTable:
    """The routes of every loss of `spec`, at its present gates. Linear in the size of the spec."""
    require_spec("routes", spec)
    return RouteTable(spec)
