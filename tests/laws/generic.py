"""The reference at a generic point: nothing cancels, no unit is dead, no entry is left out.

To the result of every operation is added a function of each operand with weights of its own. The
gradients that vanish then are those that no route carries.
"""

from typing import Any

import numpy as np
import torch

from latentroles.spec.expr import Expr
from latentroles.testing.reference import _Interpreter
from latentroles_torch.reference import Primitives
from laws.case import Case, Gradients
from laws.torch_steps import gradients, inputs


class _Generic(_Interpreter):
    def _compute(self, e: Expr, values: dict[Expr, Any]) -> Any:
        result = super()._compute(e, values)
        if e.kind not in ("op", "call", "apply") or self.graph.cut(e) is not None:
            return result
        for place, operand in enumerate(e.inputs):
            if operand.type.dtype == "float":
                result = result + self._felt(e, place, operand, values[operand])
        return result

    def _felt(self, e: Expr, place: int, operand: Expr, x: torch.Tensor) -> torch.Tensor:
        """A weighted sum of an operand, per entry of the leading axes that `e` keeps."""
        rng = np.random.default_rng([e.id, place])
        weighted = torch.tanh(x) * torch.from_numpy(rng.standard_normal(tuple(x.shape)))
        event = tuple(range(len(operand.axes), x.ndim))
        summed = weighted.sum(event) if event else weighted
        for position in reversed(range(len(operand.axes))):
            if operand.axes[position] not in e.axes:
                summed = summed.sum(position)
        kept = [a for a in operand.axes if a in e.axes]
        shape = [summed.shape[kept.index(a)] if a in kept else 1 for a in e.axes]
        return summed.reshape((*shape, *(1 for _ in e.shape)))


def generic_gradients(model: Any, case: Case) -> dict[str, Gradients]:
    """The gradient of each loss of a torch model at a generic point."""
    batch, noise, state = inputs(model, case)
    leaves = {**batch, **noise, **state}
    found = {}
    for name in model.plan.losses:
        loss = model.spec.losses[name]
        interpreter = _Generic(model.spec, loss.expr, leaves, Primitives(model), loss.updates)
        found[name] = gradients(model, interpreter.value(loss.expr))
    return found
