"""The dependence graph with time written out: what an expression is at one frame and one step.

A `Moment` is an Expr at one time. Loops are followed step by step, so that "z at t + 1" and "z at
t" are two moments and an action between them is seen. Moments are hash-consed: two expressions
that are the same computation at the same time are the same object.
"""

from __future__ import annotations

from typing import Any

from ..routes.graph import Graph, behind_first
from ..spec.expr import Expr
from ..spec.spec import Spec

# An expression at a frame and a step, and at a position of the loop whose variables it reads.
Index = tuple[Expr, int | None, int | None, int | None]

# How many frames lie before the one that is judged: at frame 0 a loop's initial state is a
# constant, and misleads.
HISTORY = 3


class Moment:
    """An expression at one time.

    Attributes:
        kind: "leaf", "constant", "op", "apply", "call", "stop" or "scale"; whatever only moves
            values about (cuts, windows, loops) is gone.
        attrs: of a leaf (group, name, frame), of an application (module, part, frozen).
        operands: the moments that it is computed from.
        cut: why no gradient passes to the operands, or None.
        primal: the moment of the same value with every stop, scale and freezing left out.
    """

    __slots__ = ("id", "kind", "attrs", "operands", "cut", "primal")

    def __init__(
        self,
        id: int,
        kind: str,
        attrs: tuple[Any, ...],
        operands: tuple[Moment, ...],
        cut: str | None,
        primal: Moment | None,
    ):
        self.id, self.kind, self.attrs = id, kind, attrs
        self.operands, self.cut = operands, cut
        self.primal = primal or self

    def __repr__(self) -> str:
        return f"<{self.kind} {self.attrs}>"


class Unrolled:
    """The moments of a Spec.

    Attributes:
        moments: all of them so far, operands first.
        present: the frame at which losses are judged.
        frames: T, the number of frames that the graph is written out for.
        away: by how many frames the shortest sequence is shorter than T.
    """

    def __init__(self, spec: Spec, away: int = 0):
        """Arguments: `away`, of a larger spec that this one is a part of, to be judged at the same
        frame."""
        self.spec = spec
        declared = [*spec.latents.values(), *spec.losses.values()]
        self.graph = Graph(spec, [d.expr for d in declared])
        self.away = max(away, *(e.type.time or 0 for e in self.graph.order), 0)
        self.present = self.away + HISTORY
        # A frame lies ahead of it in any case: a mean over time reads what is to come.
        self.frames = self.present + max(self.away, 1) + 1
        self.moments: list[Moment] = []
        self._table: dict[Any, Moment] = {}
        self._memo: dict[Index, Moment] = {}
        self._mixing: dict[str, bool] = {}

    def last(self, e: Expr) -> int:
        """The last frame of a sequence."""
        return self.frames - 1 - (e.type.time or 0)

    def at(
        self, e: Expr, frame: int | None, step: int | None = None, turn: int | None = None
    ) -> Moment:
        """The moment of `e` at a frame and a step; None where it has no such axis.

        Args:
            turn: of the loop, where `e` stands inside one.
        """
        root = _index(e, frame, step, turn)
        stack = [root]
        while stack:
            index = stack[-1]
            if index in self._memo:
                stack.pop()
                continue
            reads = self._reads(*index)
            waiting = [i for i in reads if i not in self._memo]
            if waiting:
                stack += waiting
            else:
                operands = tuple(self._memo[i] for i in reads)
                self._memo[index] = self._moment(index, operands)
                stack.pop()
        return self._memo[root]

    def make(
        self, kind: str, attrs: tuple[Any, ...], operands: tuple[Moment, ...], cut: str | None
    ) -> Moment:
        """The moment with these parts. Its operands and its primal have lower numbers."""
        key = (kind, attrs, tuple(o.id for o in operands), cut)
        known = self._table.get(key)
        if known is None:
            primal = self._primal(kind, attrs, operands, cut)
            known = Moment(len(self.moments), kind, attrs, operands, cut, primal)
            self.moments.append(known)
            self._table[key] = known
        return known

    def _primal(
        self, kind: str, attrs: tuple[Any, ...], operands: tuple[Moment, ...], cut: str | None
    ) -> Moment | None:
        if kind in ("stop", "scale"):
            return operands[0].primal
        frozen = kind == "apply" and attrs[2]
        if not frozen and all(o.primal is o for o in operands):
            return None
        attrs = (*attrs[:2], False, *attrs[3:]) if frozen else attrs
        return self.make(kind, attrs, tuple(o.primal for o in operands), cut)

    # What an expression reads, at a time ----------------------------------------------------

    def _reads(self, e: Expr, t: int | None, k: int | None, i: int | None) -> list[Index]:
        if e.kind in ("leaf", "constant"):
            return []
        if e.kind == "var":
            return [self._variable(e, t, k, i)]
        if e.kind == "tap":
            scan, body = e.inputs
            return [_index(body, t, k, t if scan.attrs[1] == "time" else k)]
        if e.kind == "cut":
            axis, lo, _ = e.attrs
            if behind_first(e):  # the first entry, which it leaves out, may be of another loop
                return [_moved(e.inputs[0].inputs[1], axis, t, k, i, lo - 1)]
            return [_moved(e.inputs[0], axis, t, k, i, lo)]
        if e.kind == "pick":
            return [self._picked(e, t, k, i)]
        if e.kind == "window":
            return [_index(e.inputs[0], (t or 0) + (k or 0), None, i)]
        if e.kind == "prepend":
            (axis,) = e.attrs
            first, rest = e.inputs
            if (t if axis == "time" else k) == 0:
                return [_index(first, t, k, i)]
            return [_moved(rest, axis, t, k, i, -1)]
        return [index for o in e.inputs for index in self._entries(e, o, t, k, i)]

    def _variable(self, e: Expr, t: int | None, k: int | None, i: int | None) -> Index:
        _, group, _, _ = e.attrs
        source = self.graph.sources[e]
        assert i is not None
        if group == "x":
            scans_time = "time" in source.axes and "time" not in e.axes
            return _index(source, i if scans_time else t, k if scans_time else i, None)
        if i == 0 or e not in self.graph.feedback:
            return _index(source, t, k, None)
        return _index(self.graph.feedback[e], t, k, i - 1)

    def _picked(self, e: Expr, t: int | None, k: int | None, i: int | None) -> Index:
        axis, at = e.attrs
        operand = e.inputs[0]
        if axis == "time":
            return _index(operand, at if at >= 0 else self.last(operand) + 1 + at, k, i)
        steps = operand.type.step or 0
        return _index(operand, t, at if at >= 0 else steps + at, i)

    def _entries(
        self, e: Expr, operand: Expr, t: int | None, k: int | None, i: int | None
    ) -> list[Index]:
        """The entries of an operand that meet in one entry of `e`: several where it reduces."""
        axes, kept = operand.type.axes, e.type.axes
        mixes = e.kind == "apply" and self._mixes_time(e.attrs[0])
        over_time = "time" in axes and ("time" not in kept or mixes)
        over_steps = "step" in axes and "step" not in kept
        if not over_time and not over_steps:
            return [_index(operand, t, k, i)]
        frames = range(self.last(operand) + 1) if over_time else [t]
        steps = range(operand.type.step or 0) if over_steps else [k]
        return [_index(operand, frame, step, i) for frame in frames for step in steps]

    def _mixes_time(self, module: str) -> bool:
        if module not in self._mixing:
            self._mixing[module] = self.spec._layer(module).mixes_time
        return self._mixing[module]

    def _moment(self, index: Index, operands: tuple[Moment, ...]) -> Moment:
        e, t, _, _ = index
        if e.kind == "leaf":
            group, name, _ = e.attrs
            return self.make("leaf", (group, name, t), (), None)
        if e.kind == "constant":
            return self.make("constant", (e.attrs[0], e.shape), (), None)
        cut = self.graph.cut(e)
        if e.kind == "stop" or (e.kind == "gate" and cut is not None):
            inner = operands[0]
            return inner if inner.kind == "stop" else self.make("stop", (), (inner,), cut)
        if e.kind == "scale":
            return self.make("scale", e.attrs, operands, None)
        if e.kind == "apply":
            attrs = (*e.attrs, t) if self._mixes_time(e.attrs[0]) else e.attrs
            return self.make("apply", attrs, operands, None)
        if e.kind in ("op", "call"):
            return self.make(e.kind, e.attrs, operands, cut)
        return operands[0]


def _index(e: Expr, t: int | None, k: int | None, i: int | None) -> Index:
    """The index without what `e` does not depend on."""
    axes = e.type.axes
    return (
        e,
        t if "time" in axes else None,
        k if "step" in axes else None,
        i if e.loops() else None,
    )


def _moved(e: Expr, axis: str, t: int | None, k: int | None, i: int | None, by: int) -> Index:
    if axis == "time":
        return _index(e, (t or 0) + by, k, i)
    return _index(e, t, (k or 0) + by, i)
