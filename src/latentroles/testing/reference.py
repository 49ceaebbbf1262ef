"""The definition that compiled steps are tested against.

For module m: g_m = sum over losses l whose route to m is open of w_l * d l / d theta_m, with stops,
frozen applications and gates honoured. Each loss is evaluated alone, straight from the declared
expressions, without normal forms and without sharing, and differentiated in a backward pass of its
own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..routes.graph import Graph
from ..spec.array_functions import array_function
from ..spec.expr import Expr
from ..spec.spec import Spec


class Primitives(Protocol):
    """What a backend provides to the interpreter; arrays are its own."""

    def stop(self, x: Any) -> Any: ...
    def scale(self, x: Any, factor: float) -> Any: ...
    def constant(self, value: float, sizes: tuple[int, ...]) -> Any: ...
    def apply(self, name: str, part: str | None, frozen: bool, xs: list[Any], axes: int) -> Any: ...
    def op(self, e: Expr, xs: list[Any]) -> Any: ...
    def stack(self, xs: list[Any], axis: int) -> Any: ...
    def join(self, first: Any, rest: Any, axis: int) -> Any: ...
    def broadcast(self, x: Any, new: list[int], sizes: tuple[int, ...]) -> Any: ...


@dataclass(frozen=True)
class Results:
    """What one step gives, as numpy arrays in the model's dtype.

    Attributes:
        losses: each loss, unweighted, a scalar. total: their weighted sum.
        latents: those that the losses needed. state: the states after the step.
        gradients: {loss: {module: {path: array}}}, of the unweighted losses. A backend that
            differentiates targets too gives those as well, so that a law can see that they are 0.
    """

    losses: dict[str, np.ndarray]
    total: np.ndarray
    latents: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    gradients: dict[str, dict[str, dict[str, np.ndarray]]]


def evaluate(
    spec: Spec,
    root: Expr,
    leaves: Mapping[str, Any],
    primitives: Primitives,
    mask: tuple[str, ...] | None = None,
) -> Any:
    """The value of an expression, computed node by node as it is declared.

    Args:
        leaves: columns, noise and states by name.
        mask: the only modules that are not frozen; None for all.
    """
    return Interpreter(spec, root, leaves, primitives, mask).value(root)


class Interpreter:
    """Computes an expression node by node; a subclass may compute a kind of node otherwise."""

    def __init__(
        self, spec: Spec, root: Expr, leaves: Mapping[str, Any], primitives: Primitives, mask: Any
    ):
        self.spec, self.leaves, self.p, self.mask = spec, leaves, primitives, mask
        self.graph = Graph(spec, [root])
        self.memo: dict[Expr, Any] = {}
        self.sizes = _sizes(spec, leaves)

    def value(self, root: Expr) -> Any:
        for e in self.graph.order:
            if not e.loops() and e not in self.memo and e.kind != "scan":
                self.memo[e] = self.compute(e, self.memo)
        return self.memo[root]

    def _extent(self, e: Expr, axis: str) -> int:
        if axis == "batch":
            return self.sizes["batch"]
        if axis == "time":
            assert e.type.time is not None
            return self.sizes["time"] - e.type.time
        assert e.type.step is not None
        return e.type.step

    def _shape(self, e: Expr) -> tuple[int, ...]:
        return (*(self._extent(e, a) for a in e.axes), *e.shape)

    def compute(self, e: Expr, values: dict[Expr, Any]) -> Any:
        p = self.p
        if e.kind == "leaf":
            return self.leaves[e.attrs[1]]
        if e.kind == "constant":
            return p.constant(e.attrs[0], self._shape(e))
        if e.kind == "tap":
            return self._loop(e)
        xs = [values[i] for i in e.inputs]
        if self.graph.cut(e) is not None and e.kind in ("stop", "gate"):
            return p.stop(xs[0])
        if e.kind in ("stop", "gate"):
            return xs[0]
        if e.kind == "scale":
            return p.scale(xs[0], e.attrs[0])
        if e.kind == "op":
            return p.op(e, xs)
        if e.kind == "apply":
            name, part, frozen = e.attrs
            frozen = frozen or (self.mask is not None and name not in self.mask)
            return p.apply(name, part, frozen, xs, len(e.axes))
        if e.kind == "call":
            result = array_function(e.attrs[0]).function(*xs, **dict(e.attrs[1]))
            return p.stop(result) if self.graph.cut(e) else result
        position = e.inputs[0].type.position(e.attrs[0]) if e.kind in ("cut", "pick") else 0
        if e.kind == "cut":
            _, lo, hi = e.attrs
            index = (slice(None),) * position
            return xs[0][(*index, slice(lo, xs[0].shape[position] - hi))]
        if e.kind == "pick":
            return xs[0][(*(slice(None),) * position, e.attrs[1])]
        if e.kind == "window":
            (size,) = e.attrs
            n = xs[0].shape[1] - size + 1
            return p.stack([xs[0][:, j : j + n] for j in range(size)], 2)
        if e.kind == "prepend":
            return p.join(xs[0], xs[1], e.type.position(e.attrs[0]))
        if e.kind == "expand":
            new = [e.type.position(a) for a in e.axes if a not in e.inputs[0].axes]
            return p.broadcast(xs[0], new, self._shape(e))
        raise AssertionError(e.kind)

    def _loop(self, tap: Expr) -> Any:
        """Unrolls the loop and collects the tapped body value."""
        scan, wanted = tap.inputs
        trace, axis, extent, carries, _ = scan.attrs
        sources, nexts = scan.inputs[:-carries], scan.inputs[-carries:]
        values = [self.memo[s] for s in sources]
        steps = extent if axis == "step" else self.sizes["time"] - extent
        body = [e for e in Graph(self.spec, [tap]).order if trace in e.loops()]
        current = values[:carries]
        collected = []
        for i in range(steps):
            inside = dict(self.memo)
            for e in body:
                if e.kind != "var":
                    inside[e] = self.compute(e, inside)
                    continue
                group, index = e.attrs[1:3]
                if group == "carry":
                    inside[e] = current[index]
                else:
                    source = sources[carries + index]
                    lead = (slice(None),) * source.type.position(axis)
                    inside[e] = values[carries + index][(*lead, i)]
            collected.append(inside[wanted])
            current = [inside[n] for n in nexts]
        return self.p.stack(collected, tap.type.position(axis))


def _sizes(spec: Spec, leaves: Mapping[str, Any]) -> dict[str, int]:
    for name, array in leaves.items():
        e = spec.inputs.get(name)
        if e is not None and e.axes[:2] == ("batch", "time"):
            return {"batch": array.shape[0], "time": array.shape[1] + (e.type.time or 0)}
    return {"batch": 0, "time": 0}
