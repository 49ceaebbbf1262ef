"""`lr` with its loops written out step by step, as pure expressions, for a known number of frames.

A Program that is run with this in the place of `lr` declares the same model without a loop.
"""

from collections.abc import Callable
from typing import Any

import latentroles as lr

from ...spec.expr import Expr, as_expr, expand
from ...spec.types import Type, join_leads
from ..programs import FRAMES
from ..strategies import Program


class Unrolled:
    """Everything of `lr`, but for `scan` and `rollout`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(lr, name)

    def scan(self, step: Callable[..., Any], init: Any, xs: Any) -> Any:
        sequences = xs if isinstance(xs, tuple) else (xs,)
        lead = join_leads("scan", [x.type for x in sequences])
        assert lead.time is not None
        sequences = [expand(x, lead) for x in sequences]
        entries = [[x.t[i] for x in sequences] for i in range(FRAMES - lead.time)]
        return _run(step, init, entries, lead.without("time"), isinstance(xs, tuple), "time")

    def rollout(self, step: Callable[..., Any], start: Any, xs: Any = (), *, horizon: int) -> Any:
        sequences = [x.windows(horizon) for x in (xs if isinstance(xs, tuple) else (xs,))]
        starts = start if isinstance(start, tuple) else (start,)
        exprs = [s.type for s in starts if isinstance(s, Expr)]
        lead = join_leads("rollout", [*(x.type.without("step") for x in sequences), *exprs])
        entries = [[expand(x.k[i], lead) for x in sequences] for i in range(horizon)]
        return _run(step, start, entries, lead, isinstance(xs, tuple), "step")


def _run(
    step: Callable[..., Any], init: Any, entries: list[Any], lead: Type, many_x: bool, axis: str
) -> Any:
    many = isinstance(init, tuple)
    known = [e for e in [*(init if many else (init,)), *entries[0]] if isinstance(e, Expr)]
    spec = known[0].spec

    def entry(value: Any) -> Expr:
        return expand(as_expr(spec, value, "unrolled"), lead)

    carry = [entry(i) for i in (init if many else (init,))]
    whole, outputs = [carry], []
    for xs in entries:
        reads = [tuple(xs) if many_x else xs[0]] if xs else []
        result = step(tuple(carry) if many else carry[0], *reads)
        if isinstance(result, tuple) and (not many or isinstance(result[0], tuple)):
            result, given = result
            outputs.append([entry(o) for o in given])
        carry = [entry(n) for n in (result if many else (result,))]
        whole.append(carry)
    sequences = [_stack(c, lead, axis) for c in zip(*whole[axis == "step" :], strict=True)]
    carries = tuple(sequences) if many else sequences[0]
    if not outputs:
        return carries
    return carries, tuple(_stack(o, lead, axis) for o in zip(*outputs, strict=True))


def _stack(entries: tuple[Expr, ...], lead: Type, axis: str) -> Expr:
    one = lead.with_axis(axis, FRAMES - 1 if axis == "time" else 1)
    sequence = expand(entries[-1], one)
    for e in reversed(entries[:-1]):
        sequence = lr.prepend(e, sequence)
    return sequence


def unrolled(program: Program) -> lr.Spec | None:
    """The Spec of a program with every loop unrolled.

    None where a mask names a module that the unrolled loss does not reach: a loop's route may exist
    in its first frames alone, which the loss cuts off. The routes of a spec do not look so closely.
    """
    names: dict[str, Any] = {"lr": Unrolled(), "__name__": "declared"}
    try:
        exec(compile(program.text, "<unrolled>", "exec"), names)
    except lr.RouteError:
        return None
    return names["s"]
