"""The dependence graph of a Spec: who depends on whom, by value and by gradient.

Every query of this package (routes, rules, audits) is a walk over the Exprs as declared, with
gates resolved. Loops are handled without unrolling: a loop variable depends on what it starts
from, on what runs into it, and, through the feedback, on the next carry.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..spec.array_functions import array_function
from ..spec.expr import Expr
from ..spec.ops import OPS
from ..spec.spec import Spec


@dataclass(frozen=True)
class Edge:
    """One operand of an expression.

    Args:
        operand: the expression that is read.
        cut: why no gradient passes: "stop", "gate NAME", "not differentiable", or None.
    """

    operand: Expr
    cut: str | None


class Graph:
    """The edges below the given expressions."""

    def __init__(self, spec: Spec, roots: Iterable[Expr]):
        self.spec = spec
        self.sources: dict[Expr, Expr] = {}
        self.feedback: dict[Expr, Expr] = {}
        self.order = self._order(list(roots))
        self.loops = bool(self.feedback)

    def edges(self, e: Expr) -> Iterator[Edge]:
        """The operands of `e`; a loop variable's are its source and its feedback."""
        if e.kind == "var":
            yield Edge(self.sources[e], None)
            if e in self.feedback:
                yield Edge(self.feedback[e], None)
        elif e.kind == "tap":
            yield Edge(e.inputs[1], None)
        elif e.kind == "cut" and behind_first(e):
            yield Edge(e.inputs[0].inputs[1], None)
        elif e.kind != "scan":
            cut = self.cut(e)
            for operand in e.inputs:
                yield Edge(operand, cut)

    def cut(self, e: Expr) -> str | None:
        """Why no gradient passes `e`, or None where it does."""
        if e.kind == "stop":
            return "stop"
        if e.kind == "gate" and not self.spec.gates[e.attrs[0]].open:
            return f"gate {e.attrs[0]}"
        if e.kind == "op" and not OPS[e.attrs[0]].differentiable:
            return "not differentiable"
        if e.kind == "call" and not array_function(e.attrs[0]).differentiable:
            return "not differentiable"
        return None

    def _order(self, roots: list[Expr]) -> list[Expr]:
        """Operands first; a loop variable comes after its source and before its feedback."""
        order: dict[Expr, None] = {}
        stack = [(root, False) for root in reversed(roots)]
        while stack:
            e, ready = stack.pop()
            if e in order:
                continue
            if ready:
                order[e] = None
                continue
            stack.append((e, True))
            if e.kind == "tap":
                self._bind(e.inputs[0])
            below = (self.sources[e],) if e.kind == "var" else e.inputs
            stack.extend((i, False) for i in reversed(below) if i not in order)
        return list(order)

    def _bind(self, scan: Expr) -> None:
        trace, _, _, carries, xs = scan.attrs
        nexts = scan.inputs[-carries:]
        for group, count, offset in (("carry", carries, 0), ("x", xs, carries)):
            for i in range(count):
                source = scan.inputs[offset + i]
                entry = source.type if group == "carry" else source.type.without(scan.attrs[1])
                var = self.spec._node("var", (), (trace, group, i, entry))
                self.sources[var] = source
                if group == "carry":
                    self.feedback[var] = nexts[i]


def behind_first(cut: Expr) -> bool:
    """Whether a cut of a prepended sequence leaves its first entry out, and so never reads it."""
    axis, lo, _ = cut.attrs
    inner = cut.inputs[0]
    return lo >= 1 and inner.kind == "prepend" and inner.attrs[0] == axis
