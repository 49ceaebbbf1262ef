"""The reference at a generic point: nothing cancels, no unit is dead, no entry is left out.

To the result of every operation is added a function of each operand with weights of its own. The
gradients that vanish then are those that no route carries.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from ...spec.expr import Expr
from ...spec.spec import Spec
from ..reference import Interpreter, Primitives


class _Generic(Interpreter):
    def compute(self, e: Expr, values: dict[Expr, Any]) -> Any:
        result = super().compute(e, values)
        if e.kind not in ("op", "call", "apply") or self.graph.cut(e) is not None:
            return result
        for place, operand in enumerate(e.inputs):
            if operand.type.dtype == "float":
                result = result + _felt(e, place, operand, values[operand])
        return result


def _felt(e: Expr, place: int, operand: Expr, x: Any) -> Any:
    """A weighted sum of an operand, per entry of the leading axes that `e` keeps."""
    xp = array_namespace(x)
    drawn = np.random.default_rng([e.id, place]).standard_normal(tuple(x.shape))
    weighted = xp.tanh(x) * xp.asarray(drawn, dtype=x.dtype, device=device(x))
    kept = [a for a in operand.axes if a in e.axes]
    gone = [i for i, a in enumerate(operand.axes) if a not in e.axes]
    summed = [*gone, *range(len(operand.axes), x.ndim)]
    if summed:
        weighted = xp.sum(weighted, axis=tuple(summed))
    shape = [weighted.shape[kept.index(a)] if a in kept else 1 for a in e.axes]
    return xp.reshape(weighted, (*shape, *(1 for _ in e.shape)))


def evaluate_generically(
    spec: Spec,
    root: Expr,
    leaves: Mapping[str, Any],
    primitives: Primitives,
    mask: tuple[str, ...] | None = None,
) -> Any:
    """In the place of `latentroles.testing.reference.evaluate`."""
    return _Generic(spec, root, leaves, primitives, mask).value(root)
