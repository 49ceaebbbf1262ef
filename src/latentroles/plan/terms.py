"""Normal forms: what one loss sees of an expression.

Seen from one loss, a value is either live (the loss's gradient passes through it or into its
parameters) or dead (it is a number like any other). A `Term` is a live value or a dead one;
nothing below a stop is remembered:

    stop(stop(u)) = stop(u),   f(stop(u), stop(v)) = stop(f(u, v)),
    a stop on what carries no gradient disappears.

Two losses share a value when it is the same term for both; a dead value is served by any live
term that has the same primal.
"""

from typing import Any

from ..routes.graph import Graph
from ..spec.expr import Expr
from ..spec.spec import Spec
from ..spec.types import Type
from ..spec.walk import postorder

Mask = tuple[str, ...] | None


class Term:
    """A hash-consed normal form.

    Attributes:
        kind, inputs, attrs, type: as in the Expr it comes from; `apply` has attrs
            (module, part, frozen), with frozen set where the loss's mask freezes the module.
        live: whether gradient passes it.
        primal: the dead term of the same value; itself when dead.
        loops: the loops whose variables occur in it.
    """

    __slots__ = ("id", "kind", "inputs", "attrs", "type", "live", "primal", "loops")

    def __init__(
        self,
        id: int,
        kind: str,
        inputs: tuple["Term", ...],
        attrs: tuple[Any, ...],
        type: Type,
        live: bool,
    ):
        self.id, self.kind, self.inputs, self.attrs = id, kind, inputs, attrs
        self.type, self.live = type, live
        self.primal: Term = self
        loops = frozenset().union(*(i.loops for i in inputs))
        if kind == "var":
            loops |= {attrs[0]}
        elif kind in ("scan", "tap"):
            loops -= {(self if kind == "scan" else inputs[0]).attrs[0]}
        self.loops: frozenset[int] = loops

    def __repr__(self) -> str:
        return f"<{'live' if self.live else 'dead'} {self.kind} {self.attrs}>"


class Terms:
    """The table of terms of one phase of a Spec."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self._table: dict[Any, Term] = {}
        self._trainable = {n for n, m in spec.modules.items() if m.layer.parameters()}
        self._memo: dict[tuple[Expr, Mask], Term] = {}
        self._live_carries: dict[tuple[Expr, Mask], tuple[bool, ...]] = {}

    def make(
        self, kind: str, inputs: tuple[Term, ...], attrs: tuple[Any, ...], type: Type, live: bool
    ) -> Term:
        """The term with these parts; dead terms hold dead inputs and forget what is frozen."""
        if not live:
            inputs = tuple(i.primal for i in inputs)
            if kind == "apply":
                attrs = (*attrs[:2], False)
            if kind == "scan":
                attrs = (*attrs[:-1], (False,) * attrs[3])
            if kind == "scale":
                return inputs[0]
        key = (kind, tuple(i.id for i in inputs), attrs, type, live)
        term = self._table.get(key)
        if term is None:
            term = self._table[key] = Term(len(self._table), kind, inputs, attrs, type, live)
            if live:
                term.primal = self.make(kind, inputs, attrs, type, False)
        return term

    def rebuild(self, term: Term, inputs: tuple[Term, ...]) -> Term:
        """The same term over other inputs."""
        if inputs == term.inputs:
            return term
        return self.make(term.kind, inputs, term.attrs, term.type, term.live)

    def normalise(self, root: Expr, mask: Mask = None) -> Term:
        """The normal form of an expression for a loss that may update `mask` (None: all)."""
        graph = Graph(self.spec, [root])
        memo = self._memo
        for e in graph.order:
            if (e, mask) in memo or e.loops():
                continue
            memo[e, mask] = self._term(e, mask, graph, {})
        return memo[root, mask]

    def _term(self, e: Expr, mask: Mask, graph: Graph, inner: dict[Expr, Term]) -> Term:
        def of(operand: Expr) -> Term:
            return inner[operand] if operand in inner else self._memo[operand, mask]

        if e.kind == "scan":
            return self._scan(e, mask, graph)
        if e.kind == "tap":
            scan, body = e.inputs
            values = self._bodies(scan, mask, graph, (body,))
            return self._tap(of(scan), values[body], e.type)
        inputs = tuple(of(i) for i in e.inputs)
        cut = graph.cut(e)
        if e.kind in ("stop", "gate"):
            return inputs[0].primal if cut else inputs[0]
        if e.kind == "scale" and e.attrs[0] == 1.0:
            return inputs[0]
        if cut:
            return self.make(e.kind, inputs, e.attrs, e.type, False)
        live = any(i.live for i in inputs)
        attrs = e.attrs
        if e.kind == "apply":
            name, part, frozen = attrs
            updates = not frozen and name in self._trainable and (mask is None or name in mask)
            attrs = (name, part, not updates)
            live = live or updates
        if e.kind == "cut" and e.inputs[0].kind == "prepend" and e.attrs[0] == e.inputs[0].attrs[0]:
            # The first entry is not read, so that only the rest makes the cut live.
            live = live and (e.attrs[1] == 0 or of(e.inputs[0].inputs[1]).live)
        return self.make(e.kind, inputs, attrs, e.type, live)

    def _tap(self, scan: Term, body: Term, type: Type) -> Term:
        if not body.live:
            return self.make("tap", (scan.primal, body), (), type, False)
        return self.make("tap", (scan, body), (), type, True)

    def _scan(self, e: Expr, mask: Mask, graph: Graph) -> Term:
        carries = e.attrs[3]
        nexts = e.inputs[-carries:]
        values = self._bodies(e, mask, graph, ())
        outer = tuple(self._memo[i, mask] for i in e.inputs[:-carries])
        live = self._live_carries[e, mask]
        inputs = (*outer, *(values[n] for n in nexts))
        # Gradient may run from a tap to what the loop reads even where every carry is stopped.
        flows = any(live) or any(i.live for i in outer)
        return self.make("scan", inputs, (*e.attrs, live), e.type, flows)

    def _bodies(
        self, scan: Expr, mask: Mask, graph: Graph, wanted: tuple[Expr, ...]
    ) -> dict[Expr, Term]:
        """The terms of the next carries and of `wanted`, body expressions of the scan.

        The liveness of the carries is a least fixpoint: a carry is live where its init or its
        next value is, given the liveness of all.
        """
        carries = scan.attrs[3]
        nexts = scan.inputs[-carries:]
        live = self._live_carries.get((scan, mask))
        if live is None:
            live = tuple(self._memo[i, mask].live for i in scan.inputs[:carries])
        while True:
            values = self._body(scan, mask, graph, live, (*nexts, *wanted))
            grown = tuple(a or values[n].live for a, n in zip(live, nexts, strict=True))
            if grown == live:
                break
            live = grown
        self._live_carries[scan, mask] = live
        return values

    def _body(
        self, scan: Expr, mask: Mask, graph: Graph, live: tuple[bool, ...], wanted: tuple[Expr, ...]
    ) -> dict[Expr, Term]:
        trace, carries = scan.attrs[0], scan.attrs[3]
        values: dict[Expr, Term] = {}
        for root in wanted:
            for e in postorder(root):
                if e in values or trace not in e.loops():
                    continue
                if e.kind == "var":
                    group, index = e.attrs[1:3]
                    source = scan.inputs[index + (carries if group == "x" else 0)]
                    flag = live[index] if group == "carry" else self._memo[source, mask].live
                    values[e] = self.make("var", (), e.attrs, e.type, flag)
                else:
                    values[e] = self._term(e, mask, graph, values)
        return values
