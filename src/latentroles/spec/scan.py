"""Loops: `scan` over time and open-loop `rollout` over steps, reduced to bare recurrences.

A step function is traced once. What it computes is then sorted: carries that do not need each
other become loops of their own, work that reads no carry is lifted in front of its loop (it acts
on whole sequences), work that only reads the carries is lifted behind it. What stays in the loop
is what the next carry needs. Readers tap the loop, so two readers never split it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ShapeError, SpecError, user_line
from .expr import Expr, align, as_expr, expand, spec_of
from .ops import _prepend
from .types import Type, join_leads
from .walk import postorder

Step = Callable[..., Any]


def scan(step: Step, init: Any, xs: Any) -> Any:
    """Runs `carry = step(carry, x)` over time and returns every carry, the first included.

    Args:
        step: (carry, x) -> next carry, or (next carry, outputs). A module with a recurrent layer
            is such a function. It is called once, on Exprs that stand for one time.
        init: the carry at time 0, an Expr without time axis or `lr.zeros(n)`; or a tuple of them.
        xs: a sequence with a time axis of extent n, or a tuple of them.

    Returns:
        The carries, extent n + 1; where step returns outputs, (carries, outputs), outputs of
        extent n.

    Raises:
        ShapeError: the next carry has another type than the carry.
    """
    many, inits, sequences = _arguments("scan", init, xs)
    if not sequences:
        raise SpecError(f"{user_line()}scan needs `xs`: a sequence to run over.")
    for x in sequences:
        if "time" not in x.axes or "step" in x.axes:
            raise ShapeError(
                f"{user_line()}scan runs over the time axis of `xs`, got {x.type}. "
                "For a loop over steps from every frame, use `lr.rollout`."
            )
    lead = join_leads("scan", [x.type for x in sequences])
    assert lead.time is not None
    sequences = tuple(expand(x, lead) for x in sequences)
    carries, outputs, has_outputs = _trace(
        "scan", step, "time", lead.time, lead, inits, sequences, many, isinstance(xs, tuple)
    )
    whole = [_prepend(c.spec, i, c, "time") for i, c in zip(carries[1], carries[0], strict=True)]
    result = tuple(whole) if many else whole[0]
    return (result, outputs) if has_outputs else result


def rollout(step: Step, start: Any, xs: Any = (), *, horizon: int) -> Any:
    """Runs `horizon` open-loop steps from every frame.

    Args:
        step: (carry, x) -> next carry, or (next carry, outputs).
        start: (batch, time T - d, ...), where each loop starts; or a tuple of such Exprs.
        xs: what each step reads: sequences with a time axis, from which the windows of `horizon`
            frames are taken, or ready windows (batch, time T - d, step = horizon, ...).
        horizon: K, the number of steps.

    Returns:
        The carries after 1, ..., K steps: (batch, time T - d, step K, ...), the start not
        included; where step returns outputs, (carries, outputs).

    Raises:
        ShapeError: windows of `xs` and `start` have different time extents.
    """
    if not isinstance(horizon, int) or horizon < 1:
        raise SpecError(f"{user_line()}rollout needs a horizon of at least 1, got {horizon!r}.")
    many, inits, sequences = _arguments("rollout", start, xs)
    sequences = tuple(x if "step" in x.axes else x.windows(horizon) for x in sequences)
    for x in sequences:
        if x.type.step != horizon:
            raise ShapeError(
                f"{user_line()}rollout needs {horizon} steps of every x, got {x.type}."
            )
    lead = join_leads(
        "rollout", [*(x.type.without("step") for x in sequences), *(i.type for i in inits)]
    )
    sequences = tuple(expand(x, lead.with_axis("step", horizon)) for x in sequences)
    if horizon == 1:
        return _single(step, inits, sequences, lead, many, isinstance(xs, tuple))
    carries, outputs, has_outputs = _trace(
        "rollout",
        step,
        "step",
        horizon,
        lead.with_axis("step", horizon),
        inits,
        sequences,
        many,
        isinstance(xs, tuple),
    )
    result = tuple(carries[0]) if many else carries[0][0]
    return (result, outputs) if has_outputs else result


def _arguments(what: str, init: Any, xs: Any) -> tuple[bool, list[Expr], tuple[Expr, ...]]:
    many = isinstance(init, tuple)
    inits = list(init) if many else [init]
    sequences = xs if isinstance(xs, tuple) else (xs,)
    spec = spec_of(what, [*inits, *sequences])
    if not inits:
        raise SpecError(f"{user_line()}{what} needs at least one carry.")
    return (
        many,
        [as_expr(spec, i, what) for i in inits],
        tuple(as_expr(spec, x, what) for x in sequences),
    )


def _call(
    what: str, step: Step, carry: Sequence[Expr], x: Sequence[Expr], many: bool, many_x: bool
) -> tuple[list[Expr], Any, bool]:
    """Calls the user's step; returns next carries, outputs, and whether there are outputs."""
    first = tuple(carry) if many else carry[0]
    if not x:
        result = step(first)
    else:
        result = step(first, tuple(x) if many_x else x[0])
    outputs, has_outputs = None, False
    if (
        isinstance(result, tuple)
        and len(result) == 2
        and (not many or isinstance(result[0], tuple))
    ):
        result, outputs = result
        has_outputs = True
    nexts = list(result) if isinstance(result, tuple) else [result]
    if len(nexts) != len(carry) or isinstance(result, tuple) != many:
        raise SpecError(
            f"{user_line()}the step of {what} must return the next carry in the form of the carry "
            f"({len(carry)} of them{', as a tuple' if many else ''}), or (next carry, outputs); "
            f"got {result!r}."
        )
    spec = carry[0].spec
    nexts = [as_expr(spec, n, what) for n in nexts]
    for c, n in zip(carry, nexts, strict=True):
        if c.shape != n.shape or c.type.dtype != n.type.dtype:
            raise ShapeError(
                f"{user_line()}the step of {what} must keep the type of its carry: it was given "
                f"{c.type} and returned {n.type}."
            )
    return [expand(n, c.type) for c, n in zip(carry, nexts, strict=True)], outputs, has_outputs


def _map_outputs(outputs: Any, f: Callable[[Expr], Expr]) -> Any:
    if isinstance(outputs, tuple):
        return tuple(_map_outputs(o, f) for o in outputs)
    if isinstance(outputs, dict):
        return {name: _map_outputs(o, f) for name, o in outputs.items()}
    return f(outputs)


def _single(
    step: Step,
    inits: list[Expr],
    xs: tuple[Expr, ...],
    lead: Type,
    many: bool,
    many_x: bool,
) -> Any:
    """A rollout of horizon 1 feeds nothing back: it is the step itself, on a step axis of 1."""
    starts = [expand(i, lead) for i in inits]
    nexts, outputs, has_outputs = _call("rollout", step, starts, [x.k[0] for x in xs], many, many_x)

    def with_step(e: Expr) -> Expr:
        return expand(e, lead.with_axis("step", 1))

    result = tuple(with_step(n) for n in nexts) if many else with_step(nexts[0])
    return (result, _map_outputs(outputs, with_step)) if has_outputs else result


def _trace(
    what: str,
    step: Step,
    axis: str,
    extent: int,
    lead: Type,
    inits: list[Expr],
    xs: tuple[Expr, ...],
    many: bool,
    many_x: bool,
) -> tuple[tuple[list[Expr], list[Expr]], Any, bool]:
    """Traces the step and sorts its work; returns (sequences of next carries, inits), outputs."""
    spec = inits[0].spec
    if spec._tracing:
        raise SpecError(
            f"{user_line()}a {what} inside the step of a loop is not supported: declare the inner "
            "loop outside and read its result."
        )
    entry = lead.without(axis)
    inits = [expand(i, entry) for i in inits]
    trace = spec._new_scan_id()
    carry = [_var(spec, trace, "carry", i, e.type) for i, e in enumerate(inits)]
    x_vars = [_var(spec, trace, "x", i, x.type.without(axis)) for i, x in enumerate(xs)]
    spec._tracing = True
    try:
        nexts, outputs, has_outputs = _call(what, step, carry, x_vars, many, many_x)
    finally:
        spec._tracing = False
    sorter = _Sorter(
        spec, axis, extent, entry, carry, inits, nexts, dict(zip(x_vars, xs, strict=True))
    )
    sequences = [sorter.sequence(n) for n in nexts]
    if not has_outputs:
        return (sequences, inits), None, False

    def lift(output: Any) -> Expr:
        value = as_expr(spec, output, what)
        sorter.look(what, value)
        value = expand(value, entry)
        sorter.look(what, value)
        return sorter.sequence(value)

    return (sequences, inits), _map_outputs(outputs, lift), True


def _var(spec: Any, trace: int, group: str, index: int, type: Type) -> Expr:
    return spec._node("var", (), (trace, group, index, type))


class _Sorter:
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

    def sequence(self, e: Expr) -> Expr:
        """The values of a body expression over all steps, outside the loop."""
        if e not in self._sequences:
            self._sequences[e] = self._sequence(e)
        return self._sequences[e]

    def _sequence(self, e: Expr) -> Expr:
        lead = self.entry.with_axis(self.axis, self.extent)
        if e in self.xs:
            return self.xs[e]
        if not self.inner(e):
            return expand(e, lead)
        for i in sorted(self.needs(e)):
            loop = self._loops.get(i)
            if loop is not None and loop.computes(e):
                return loop.tap(e)
        if e in self.carry:
            i = self.carry.index(e)
            loop = self._loops.get(i)
            if loop is not None and self.nexts[i] in self.carry:
                return loop.tap(e)  # carries that only swap places
            after = self.sequence(self.nexts[i])
            cut = (self.axis, 0, 1)
            return self.spec._node(
                "cut", (_prepend(self.spec, self.inits[i], after, self.axis),), cut
            )
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

    def __init__(self, sorter: _Sorter, group: list[int]):
        self.sorter, self.group = sorter, group
        self.inside: set[Expr] = set()
        for i in group:
            self._collect(sorter.nexts[i])
        # What the loop reads from outside: lifted work, and the carries of earlier loops.
        lifted: dict[Expr, Expr] = {}
        for e in sorted(self.inside, key=lambda e: e.id):
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
        key = (axis, inits, xs, self._digest(lifted))
        known = spec._scans.get(key)
        trace = known if known is not None else spec._new_scan_id()
        spec._scans[key] = trace
        self.vars: dict[Expr, Expr] = {
            sorter.carry[i]: _var(spec, trace, "carry", k, sorter.carry[i].type)
            for k, i in enumerate(group)
        }
        self.vars |= {e: _var(spec, trace, "x", k, e.type) for k, e in enumerate(lifted)}
        nexts = tuple(self.body(sorter.nexts[i]) for i in group)
        attrs = (trace, axis, sorter.extent, len(group), len(xs))
        self.scan = spec._node("scan", (*inits, *xs, *nexts), attrs)

    def _own(self, e: Expr) -> bool:
        return any(self.sorter.carry[i] is e for i in self.group)

    def _collect(self, e: Expr) -> None:
        if e in self.inside or self._own(e) or not self.sorter.needs(e) & set(self.group):
            return
        self.inside.add(e)
        for operand in e.inputs:
            self._collect(operand)

    def _digest(self, lifted: dict[Expr, Expr]) -> Any:
        """The body's structure with its variables numbered, so that equal loops are one."""
        names: dict[Expr, Any] = {
            self.sorter.carry[i]: ("carry", k) for k, i in enumerate(self.group)
        }
        names |= {e: ("x", k) for k, e in enumerate(lifted)}
        memo: dict[Expr, Any] = {}

        def digest(e: Expr) -> Any:
            if e in names:
                return names[e]
            if e not in self.inside:
                return e.id
            if e not in memo:
                memo[e] = (e.kind, e.attrs, tuple(digest(i) for i in e.inputs))
            return memo[e]

        return tuple(digest(self.sorter.nexts[i]) for i in self.group)

    def computes(self, e: Expr) -> bool:
        return e in self.inside

    def body(self, e: Expr) -> Expr:
        """A body expression in terms of this loop's own variables."""
        if e in self.vars:
            return self.vars[e]
        if e not in self.inside:
            return e
        inputs = tuple(self.body(i) for i in e.inputs)
        self.vars[e] = self.sorter.spec._node(e.kind, inputs, e.attrs)
        return self.vars[e]

    def tap(self, e: Expr) -> Expr:
        return self.sorter.spec._node("tap", (self.scan, self.body(e)), ())


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
