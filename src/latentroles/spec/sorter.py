"""What a step function computed, sorted into recurrences and work outside of them.

Carries that do not need each other become loops of their own; work that reads no carry is lifted
in front of its loop, where it acts on whole sequences; work that only reads the carries is lifted
behind it. What stays in the loop is what the next carry needs. Readers tap the loop, so that two
readers never split it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import SpecError, user_line
from .expr import Expr, align, expand
from .ops import _prepend
from .types import Type, join_leads
from .walk import postorder


def var(spec: Any, trace: int, group: str, index: int, type: Type) -> Expr:
    return spec._node("var", (), (trace, group, index, type))


class Sorter:
    """Turns body expressions of a traced step into sequences over the loop's axis."""

    def __init__(
        self,
        spec: Any,
        axis: str,
        extent: int,
        entry: Type,
        carry: list[Expr],
        inits: list[Expr],
        nexts: list[Expr],
        xs: dict[Expr, Expr],
    ):
        self.spec, self.axis, self.extent, self.entry = spec, axis, extent, entry
        self.carry, self.inits, self.nexts, self.xs = carry, inits, nexts, xs
        self._needs: dict[Expr, frozenset[int]] = {}
        self._inner: dict[Expr, bool] = {}
        self._sequences: dict[Expr, Expr] = {}
        self._loops: dict[int, _Loop] = {}
        for n in nexts:
            self.look("a loop", n)
        for group in _components([self.needs(n) for n in nexts]):
            # A carry that does not need itself is only a delay: it needs no loop.
            if len(group) > 1 or group[0] in self.needs(nexts[group[0]]):
                self._loops.update(dict.fromkeys(group, _Loop(self, group)))

    def look(self, what: str, root: Expr) -> None:
        """Notes which carries the expressions below `root` read, and which differ by step.

        Raises:
            SpecError: one of them has the loop's own axis as well.
        """
        for e in postorder(root, self._needs):
            if e in self.carry:
                self._needs[e] = frozenset({self.carry.index(e)})
            else:
                self._needs[e] = frozenset().union(*(self._needs[i] for i in e.inputs))
            inner = e in self.xs or e in self.carry or any(self._inner[i] for i in e.inputs)
            self._inner[e] = inner
            if inner and self.axis in e.axes:
                raise SpecError(
                    f"{user_line()}the step of {what} stands at one entry of the {self.axis} axis, "
                    f"and combines it with all of them: {e!r}. Pass the sequence in xs, or take it "
                    "together before the loop."
                )

    def needs(self, e: Expr) -> frozenset[int]:
        """The carries that a body expression reads."""
        return self._needs.get(e, frozenset())

    def inner(self, e: Expr) -> bool:
        """Whether the value of `e` differs from step to step."""
        return self._inner.get(e, False)

    def sequence(self, root: Expr) -> Expr:
        """The values of a body expression over all steps, outside the loop."""
        known, stack = self._sequences, [root]
        while stack:
            e = stack[-1]
            waiting = [i for i in self._lifts(e) if i not in known]
            if waiting:
                stack += waiting
            else:
                known[e] = self._sequence(e) if e not in known else known[e]
                stack.pop()
        return known[root]

    def _loop_of(self, e: Expr) -> "_Loop | None":
        """The loop that computes a body expression, or carries it and only swaps it."""
        for i in sorted(self.needs(e)):
            loop = self._loops.get(i)
            if loop is not None and (
                loop.computes(e) or (e is self.carry[i] and self.nexts[i] in self.carry)
            ):
                return loop
        return None

    def _lifts(self, e: Expr) -> Sequence[Expr]:
        """The body expressions whose sequences the sequence of `e` is made of."""
        if e in self.xs or not self.inner(e) or self._loop_of(e) is not None:
            return ()
        if e in self.carry:
            return (self.nexts[self.carry.index(e)],)
        return [i for i in e.inputs if self.inner(i)]

    def _sequence(self, e: Expr) -> Expr:
        lead = self.entry.with_axis(self.axis, self.extent)
        if e in self.xs:
            return self.xs[e]
        if not self.inner(e):
            return expand(e, lead)
        loop = self._loop_of(e)
        if loop is not None:
            return loop.tap(e)
        if e in self.carry:
            i = self.carry.index(e)
            whole = _prepend(self.spec, self.inits[i], self.sequence(self.nexts[i]), self.axis)
            return self.spec._node("cut", (whole,), (self.axis, 0, 1))
        inputs = [self.sequence(i) if self.inner(i) else i for i in e.inputs]
        if e.kind == "expand":
            return expand(inputs[0], e.type.with_axis(self.axis, self.extent))
        if e.kind == "prepend":
            first, rest = inputs
            (along,) = e.attrs
            one = join_leads("prepend", [first.type, rest.type.without(along)])
            whole = one.with_axis(along, getattr(rest.type, along))
            inputs = [expand(first, one), expand(rest, whole)]
        elif e.kind == "op" and len(inputs) > 1:
            scalar = [i for i in inputs if i.kind == "constant" and i.shape == ()]
            inputs = inputs if scalar else list(align(e.attrs[0], inputs))
        elif len(inputs) > 1:
            inputs = list(align(e.kind, inputs))
        return self.spec._node(e.kind, tuple(inputs), e.attrs)


class _Loop:
    """One recurrence: the carries of `group`, which all need each other."""

    def __init__(self, sorter: Sorter, group: list[int]):
        self.sorter, self.group = sorter, group
        # Operands first: an expression has a higher number than what it reads.
        self.inside = {
            e: None
            for e in sorted(_below(sorter.nexts[i] for i in group), key=lambda e: e.id)
            if sorter.needs(e) & set(group) and not self._own(e)
        }
        # What the loop reads from outside: lifted work, and the carries of earlier loops.
        lifted: dict[Expr, Expr] = {}
        for e in self.inside:
            for operand in e.inputs:
                if operand not in self.inside and sorter.inner(operand) and not self._own(operand):
                    lifted.setdefault(operand, sorter.sequence(operand))
        for i in group:
            n = sorter.nexts[i]
            if n not in self.inside and sorter.inner(n) and not self._own(n):
                lifted.setdefault(n, sorter.sequence(n))
        spec, axis = sorter.spec, sorter.axis
        inits = tuple(sorter.inits[i] for i in group)
        xs = tuple(lifted.values())
        key = (axis, sorter.extent, inits, xs, self._digest(lifted))
        known = spec._scans.get(key)
        trace = known if known is not None else spec._new_scan_id()
        spec._scans[key] = trace
        self.vars: dict[Expr, Expr] = {
            sorter.carry[i]: var(spec, trace, "carry", k, sorter.carry[i].type)
            for k, i in enumerate(group)
        }
        self.vars |= {e: var(spec, trace, "x", k, e.type) for k, e in enumerate(lifted)}
        for e in self.inside:
            inputs = tuple(self.body(i) for i in e.inputs)
            self.vars[e] = spec._node(e.kind, inputs, e.attrs)
        nexts = tuple(self.body(sorter.nexts[i]) for i in group)
        attrs = (trace, axis, sorter.extent, len(group), len(xs))
        self.scan = spec._node("scan", (*inits, *xs, *nexts), attrs)

    def _own(self, e: Expr) -> bool:
        return any(self.sorter.carry[i] is e for i in self.group)

    def _digest(self, lifted: dict[Expr, Expr]) -> tuple[Any, ...]:
        """The body's structure with its values numbered, so that equal loops are one."""
        names: dict[Expr, Any] = {
            self.sorter.carry[i]: ("carry", k) for k, i in enumerate(self.group)
        }
        names |= {e: ("x", k) for k, e in enumerate(lifted)}
        names |= {e: ("value", k) for k, e in enumerate(self.inside)}

        def name(e: Expr) -> Any:
            return names.get(e, e.id)

        lines = [(e.kind, e.attrs, tuple(map(name, e.inputs))) for e in self.inside]
        return (*lines, *(name(self.sorter.nexts[i]) for i in self.group))

    def computes(self, e: Expr) -> bool:
        return e in self.inside

    def body(self, e: Expr) -> Expr:
        """A body expression in terms of this loop's own variables."""
        return self.vars.get(e, e)

    def tap(self, e: Expr) -> Expr:
        return self.sorter.spec._node("tap", (self.scan, self.body(e)), ())


def _below(roots: Iterable[Expr]) -> dict[Expr, None]:
    found: dict[Expr, None] = {}
    for root in roots:
        found.update(dict.fromkeys(postorder(root, found)))
    return found


def _components(needs: list[frozenset[int]]) -> list[list[int]]:
    """Strongly connected groups of carries, those that others read first."""
    reach = [set(n) for n in needs]
    for k in range(len(needs)):
        for i in range(len(needs)):
            if k in reach[i]:
                reach[i] |= reach[k]
    groups: list[list[int]] = []
    for i in range(len(needs)):
        if any(i in g for g in groups):
            continue
        groups.append([j for j in range(len(needs)) if j == i or (j in reach[i] and i in reach[j])])
    return sorted(groups, key=lambda g: len(set().union(*(reach[i] for i in g)) - set(g)))
