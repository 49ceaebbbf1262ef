"""Loops: `scan` over time and open-loop `rollout` over steps, reduced to bare recurrences.

A step function is traced once, on Exprs that stand for one entry; `sorter` takes what it computed
apart.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ShapeError, SpecError, user_line
from .expr import Expr, as_expr, expand, spec_of
from .ops import _prepend
from .sorter import Sorter, var
from .types import Type, join_leads

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
    carry = [var(spec, trace, "carry", i, e.type) for i, e in enumerate(inits)]
    x_vars = [var(spec, trace, "x", i, x.type.without(axis)) for i, x in enumerate(xs)]
    spec._tracing = True
    try:
        nexts, outputs, has_outputs = _call(what, step, carry, x_vars, many, many_x)
    finally:
        spec._tracing = False
    sorter = Sorter(
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
