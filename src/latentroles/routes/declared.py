"""The routes of a declared Spec."""

from __future__ import annotations

from ..spec.describe import describe
from ..spec.expr import Expr
from ..spec.spec import Spec, require_spec
from .reach import Reach
from .table import Cell, RouteTable, require_column


class DeclaredRow:
    """The routes of one declared loss; a cell is worked out when it is asked for.

    Attributes:
        masked: the modules that `updates=` freezes on a path that is otherwise live.
    """

    def __init__(self, reach: Reach, loss: str):
        self._reach, self.loss = reach, loss
        declared = reach.spec.losses[loss]
        self._expr = declared.expr
        self._bits = reach[self._expr]
        reached = reach.modules(self._bits.live)
        masked = frozenset() if declared.updates is None else reached - {*declared.updates}
        self.masked, self.modules = masked, reached - masked
        self.latents = reach.latents(self._bits.live)

    def __getitem__(self, name: str) -> Cell:
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
        self._require(name)
        return Cell("unconnected")

    def path(self, name: str) -> tuple[str, ...]:
        """The shortest live route, in the names of the modules and latents that it passes."""
        if name not in self.modules and name not in self.latents:
            self._require(name)
            return ()
        above: dict[Expr, Expr | None] = {self._expr: None}
        queue = [self._expr]
        for e in queue:
            if name in self._labels(e):
                return self._named(e, above, name)
            for edge in self._reach.graph.edges(e):
                if edge.cut is None and edge.operand not in above:
                    above[edge.operand] = e
                    queue.append(edge.operand)
        return ()

    def _require(self, name: str) -> None:
        spec = self._reach.spec
        require_column(name, (*spec.modules, *spec.targets, *spec.latents), spec.name)

    def _labels(self, e: Expr) -> tuple[str, ...]:
        """The latents and the module whose route `e` lies on."""
        labels = tuple(sorted(self._reach.latents_at(e)))
        return (*labels, e.attrs[0]) if e.kind == "apply" and not e.attrs[2] else labels

    def _named(self, e: Expr, above: dict[Expr, Expr | None], name: str) -> tuple[str, ...]:
        names = [name]
        labels = self._labels(e)
        names += reversed(labels[: labels.index(name)])
        step = above[e]
        while step is not None:
            for label in reversed(self._labels(step)):
                if label != names[-1]:
                    names.append(label)
            if step.kind == "apply" and step.attrs[2]:
                names.append(f"{step.attrs[0]}.frozen")
            step = above[step]
        return (self.loss, *reversed(names))

    def _stops(self, name: str) -> tuple[str, ...]:
        """The stops behind which `name` lies, those nearest to the loss first.

        Stops on what would carry no gradient anyway are left out, unless nothing else is there.
        """
        needed, redundant = {}, {}
        graph, seen, queue = self._reach.graph, {self._expr}, [self._expr]
        for e in queue:
            for edge in graph.edges(e):
                below = self._reach[edge.operand]
                if not self._reach.holds(below.value, name):
                    continue
                if edge.cut is not None:
                    on = describe(edge.operand)
                    said = edge.cut if edge.cut.startswith("gate") else f"{edge.cut} on {on}"
                    cuts = self._reach.holds(below.live | below.behind | below.frozen, name)
                    (needed if cuts else redundant)[said] = None
                elif edge.operand not in seen:
                    seen.add(edge.operand)
                    queue.append(edge.operand)
        return tuple(needed or redundant)


def routes(spec: Spec) -> RouteTable:
    """The routes of every loss of `spec`, at its present gates. Linear in the size of the spec."""
    require_spec("routes", spec)
    return table(Reach(spec, [loss.expr for loss in spec.losses.values()]))


def table(reach: Reach) -> RouteTable:
    """The routes of a spec whose losses are all below the roots of `reach`."""
    spec = reach.spec
    return RouteTable(
        [DeclaredRow(reach, loss) for loss in spec.losses],
        modules=spec.modules,
        targets=spec.targets,
        latents=spec.latents,
        name=spec.name,
    )
