"""Measures, as expressions: numbers to look at, for `s.measure(name, ...)`.

None of them carries gradient. Any scalar expression is a measure as well, a loss among them.
"""

from typing import Any

from . import array_measures as array_measures
from .call import call, require_logits
from .expr import Expr, as_expr, spec_of


def accuracy(logits: Expr, classes: Expr) -> Expr:
    """The share of entries whose class has the greatest logit (top-1), from 0 to 1.

    Ties count in expectation: logits that are all equal score 1 / n, never 1.

    Args:
        logits: (..., n). classes: (...) int, such as an action or a label with `classes=n`.

    Raises:
        ShapeError: `classes` has more classes than there are logits.
    """
    require_logits("accuracy", logits, classes)
    return call("accuracy", logits, classes)


def r2(prediction: Any, target: Any) -> Expr:
    """The coefficient of determination: per dimension 1 - SS_res / SS_tot, then their mean.

    The sums run over batch, time and step. 1 is a perfect prediction, 0 what the target's own mean
    reaches, and worse ones are negative. A dimension in which the target is constant has nothing
    to explain and counts 0.

    Args:
        prediction, target: float, of one shape.
    """
    spec = spec_of("r2", (prediction, target))
    return call("r2", prediction, target, event=len(as_expr(spec, target, "r2").shape))
