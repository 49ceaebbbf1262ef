"""hzp with one loss, small: what the tests of its losses share."""

import inspect

import latentroles as lr
from latentroles_specs.hzp import hzp

PARAMETERS = inspect.signature(hzp).parameters
ON = {n for n, p in PARAMETERS.items() if p.annotation is float and p.default}
OFF = {n for n, p in PARAMETERS.items() if p.annotation is float and not p.default}


def alone(loss: str, **arguments) -> lr.Spec:
    """The model with this loss, and no other."""
    weights = {n: float(n == loss) for n in {*ON, loss}}
    rolls = {"horizon": 2} if loss.startswith("rollout") else {}
    return hzp(frame=(3, 8, 8), dim=4, **rolls, **weights, **arguments)
