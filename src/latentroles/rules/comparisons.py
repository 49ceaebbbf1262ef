"""What a loss compares: its terms, taken apart down to the functions that are not linear.

A loss is read through sums, means, weights and monotone functions. What is left are comparisons:
calls of array functions with their declared kind, and the squares and magnitudes that a user
wrote by hand, which are distances as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..routes.graph import Graph
from ..spec.array_functions import array_function
from ..spec.expr import Expr

# Passed through with their operands' signs.
_LINEAR = frozenset({"add", "concat", "slice", "reshape", "mean", "sum", "avg_pool2d"})
_RISING = frozenset({"relu", "exp", "tanh", "sigmoid"})
_MOVES = frozenset({"expand", "cut", "window", "pick", "prepend"})


@dataclass(frozen=True)
class Comparison:
    """One term of a loss.

    Args:
        kind: of the array function; see `spec.array_functions`.
        function: its name; "square" or "abs" for a distance written by hand.
        arguments: its keyword arguments.
        operands: what it compares. A distance of one operand is that operand's distance from 0.
        weight: the factor before it where the factors are constants, else its sign.
        couples, prevents_collapse: what the array function declares.
    """

    kind: str
    function: str
    arguments: tuple[tuple[str, object], ...]
    operands: tuple[Expr, ...]
    weight: float
    couples: bool = False
    prevents_collapse: bool = False


def comparisons(graph: Graph, loss: Expr) -> list[Comparison]:
    """The terms of a loss through which a gradient flows."""
    found: dict[Comparison, None] = {}
    stack, seen = [(loss, 1.0)], set()
    while stack:
        e, weight = stack.pop()
        if (e, weight) in seen or graph.cut(e) is not None or e.kind == "constant":
            continue
        seen.add((e, weight))
        parts = list(_parts(e, weight))
        if parts:
            stack += reversed(parts)
        else:
            found[_comparison(e, weight)] = None
    return list(found)


def _parts(e: Expr, weight: float) -> Iterator[tuple[Expr, float]]:
    """What a linear or rising function is made of; nothing where `e` is a comparison."""
    if e.kind in _MOVES or e.kind == "gate":
        yield from ((i, weight) for i in e.inputs)
    elif e.kind == "scale":
        yield e.inputs[0], weight * e.attrs[0]
    elif e.kind == "call" and array_function(e.attrs[0]).kind == "array":
        yield from ((i, weight) for i in e.inputs if i.type.dtype == "float")
    elif e.kind == "op":
        name = e.attrs[0]
        if name in _LINEAR or name in _RISING:
            yield from ((i, weight) for i in e.inputs)
        elif name == "neg":
            yield e.inputs[0], -weight
        elif name == "sub":
            yield e.inputs[0], weight
            yield e.inputs[1], -weight
        elif name in ("mul", "div"):
            yield from _scaled(e, weight)


def _scaled(e: Expr, weight: float) -> Iterator[tuple[Expr, float]]:
    """The factors of a product; of one with a constant, the other factor at its weight."""
    left, right = e.inputs
    if e.attrs[0] == "div" and right.kind == "constant" and right.attrs[0]:
        yield left, weight / right.attrs[0]
    elif e.attrs[0] == "mul" and right.kind == "constant":
        yield left, weight * right.attrs[0]
    elif e.attrs[0] == "mul" and left.kind == "constant":
        yield right, weight * left.attrs[0]
    elif left is not right:
        yield from ((i, weight) for i in e.inputs)


def _comparison(e: Expr, weight: float) -> Comparison:
    if e.kind == "call":
        function = array_function(e.attrs[0])
        return Comparison(
            function.kind,
            function.name,
            e.attrs[1],
            e.inputs,
            weight,
            function.couples,
            function.prevents_collapse,
        )
    if e.kind == "op" and e.attrs[0] in ("square", "abs"):
        return Comparison("distance", e.attrs[0], (), e.inputs, weight)
    if e.kind == "op" and e.attrs[0] == "mul" and e.inputs[0] is e.inputs[1]:
        return Comparison("distance", "square", (), e.inputs[:1], weight)
    return Comparison("statistic", "value", (), (e,), weight)


def couples_below(roots: list[Expr], known: dict[Expr, bool]) -> bool:
    """Whether entries of the batch meet anywhere below.

    Args:
        known: what earlier calls found; it is added to.
    """
    from ..spec.walk import postorder

    for root in roots:
        for e in postorder(root, known):
            known[e] = _couples(e) or any(known[i] for i in e.inputs)
    return any(known[root] for root in roots)


def _couples(e: Expr) -> bool:
    if e.kind == "op" and e.attrs[0] in ("mean", "sum"):
        return e.attrs[1] == "batch"
    if e.kind == "call":
        function = array_function(e.attrs[0])
        return function.couples or ("batch" not in e.axes and bool(e.inputs))
    return e.kind == "apply" and e.spec._layer(e.attrs[0]).mixes_batch
