"""What a loss compares: its terms, taken apart down to the functions that are not linear.

A loss is read through sums, means, weights and monotone functions. What is left are comparisons:
calls of array functions with their declared kind, and the squares and magnitudes that a user
wrote by hand, which are distances as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..routes.graph import Graph
from ..spec.array_functions import array_function
from ..spec.expr import Expr
from ..spec.walk import postorder

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
        linear: whether nothing but sums, means and constant factors stands before it.
        chosen: whether a label weighs it, such as one that says which pairs are of one place.
    """

    kind: str
    function: str
    arguments: tuple[tuple[str, object], ...]
    operands: tuple[Expr, ...]
    weight: float
    couples: bool = False
    prevents_collapse: bool = False
    linear: bool = True
    chosen: bool = False


def comparisons(graph: Graph, loss: Expr) -> list[Comparison]:
    """The terms of a loss through which a gradient flows."""
    found: dict[Comparison, None] = {}
    stack, seen = [(loss, 1.0, True, False)], set()
    while stack:
        state = stack.pop()
        e, weight, linear, chosen = state
        if state in seen or graph.cut(e) is not None or e.kind == "constant":
            continue
        seen.add(state)
        parts = list(_parts(e, weight))
        if parts:
            linear, chosen = linear and not _bends(e), chosen or _weighed_by_label(e)
            stack += [(part, factor, linear, chosen) for part, factor in reversed(parts)]
        else:
            found[replace(_comparison(e, weight), linear=linear, chosen=chosen)] = None
    return list(found)


def _parts(e: Expr, weight: float) -> Iterator[tuple[Expr, float]]:
    """What a linear or rising function is made of; nothing where `e` is a comparison."""
    if e.kind in _MOVES or e.kind == "gate":
        yield from ((i, weight) for i in e.inputs)
    elif e.kind == "scale":
        yield e.inputs[0], weight * e.attrs[0]
    elif e.kind == "call" and array_function(e.attrs[0]).kind == "array":
        yield from ((i, weight) for i in e.inputs if i.type.dtype == "float")
    elif e.kind == "op" and not _inner_product(e):
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
        yield left, weight
        yield right, -weight if e.attrs[0] == "div" else weight


def _bends(e: Expr) -> bool:
    """Whether more than sums and constant factors stands here."""
    if e.kind != "op":
        return e.kind == "call"
    name = e.attrs[0]
    product = name in ("mul", "div") and not any(i.kind == "constant" for i in e.inputs)
    return name in _RISING or product


def _weighed_by_label(e: Expr) -> bool:
    product = e.kind == "op" and e.attrs[0] == "mul" and _bends(e)
    return product and any(map(_is_label, e.inputs))


def _is_label(e: Expr) -> bool:
    """Whether it is computed from a label, and by no module."""
    below = list(postorder(e))
    label = any(b.kind == "leaf" and b.attrs[0] == "label" for b in below)
    return label and not any(b.kind == "apply" for b in below)


def _inner_product(e: Expr) -> bool:
    """Whether `e` is <u, v> of two vectors, neither of which is a loss: their agreement."""
    if e.attrs not in (("sum", "event"), ("mean", "event")):
        return False
    (product,) = e.inputs
    if product.kind != "op" or product.attrs[0] != "mul":
        return False
    left, right = product.inputs
    vectors = left is not right and all(i.shape and i.kind != "constant" for i in (left, right))
    return vectors and not any(map(_compares, (left, right)))


def _compares(root: Expr) -> bool:
    """Whether there is a comparison among the terms of an expression, stopped or not."""
    stack, seen = [root], set()
    while stack:
        e = stack.pop()
        if e not in seen:
            seen.add(e)
            below = e.inputs if e.kind == "stop" else [part for part, _ in _parts(e, 1.0)]
            if not below and _comparison(e, 1.0).function != "value":
                return True
            stack += below
    return False


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
    if e.kind == "op" and _inner_product(e):
        return Comparison("contrastive", "product", (), e.inputs[0].inputs, -weight)
    return Comparison("statistic", "value", (), (e,), weight)


def couples_below(roots: list[Expr], known: dict[Expr, bool]) -> bool:
    """Whether entries of the batch meet anywhere below.

    Args:
        known: what earlier calls found; it is added to.
    """
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
