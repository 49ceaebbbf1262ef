"""Where examples of a batch, and frames of a sequence, meet in an expression."""

from ...spec.array_functions import array_function
from ...spec.expr import Expr
from ...spec.walk import postorder

# What an expression is over the batch: without it, an entry for each example, the mean of such, or
# anything else.
FREE, EACH, MEAN, MIXED = "free", "each", "mean", "mixed"

# Linear in every operand, and without an axis of the batch.
_LINEAR = ("neg", "concat", "slice", "reshape", "mean", "sum")


def averages_over_the_batch(loss: Expr) -> bool:
    """Whether a loss is the mean over the batch of a function of each example; never too often."""
    found: dict[Expr, str] = {}
    for e in postorder(loss):
        found[e] = _over_the_batch(e, [found[i] for i in e.inputs])
    return found[loss] == MEAN


def _over_the_batch(e: Expr, operands: list[str]) -> str:
    kinds = set(operands)
    if not operands:
        # A variable of a loop stands for what the loop reads, which the loop's tap looks at.
        return EACH if e.kind == "var" or "batch" in e.axes else FREE
    if MIXED in kinds:
        return MIXED
    if e.kind == "op" and e.attrs[0] in ("mean", "sum") and e.attrs[1] == "batch":
        return MEAN if e.attrs[0] == "mean" and kinds == {EACH} else MIXED
    if e.kind == "call":
        function = array_function(e.attrs[0])
        if function.couples or MEAN in kinds:
            return MIXED
        return EACH if "batch" in e.axes else MEAN if EACH in kinds else FREE
    if MEAN not in kinds:
        return EACH if EACH in kinds else FREE
    if EACH in kinds or e.kind in ("scan", "tap", "apply"):
        return MIXED
    if e.kind in ("stop", "gate", "scale"):
        return MEAN
    if e.kind != "op":
        return MIXED
    if e.attrs[0] in ("add", "sub") or e.attrs[0] in _LINEAR:
        return MEAN
    product = e.attrs[0] == "mul" or (e.attrs[0] == "div" and operands[1] == FREE)
    return MEAN if product and operands.count(MEAN) == 1 else MIXED


def is_per_frame(e: Expr) -> bool:
    """Whether a shift of the columns in time is a shift of the value."""
    return all(_keeps_time(i) for i in postorder(e))


def _keeps_time(e: Expr) -> bool:
    if e.kind in ("scan", "tap", "prepend", "call"):
        return False
    if e.kind == "pick" or (e.kind == "op" and e.attrs[0] in ("mean", "sum")):
        return e.attrs[0 if e.kind == "pick" else 1] != "time"
    return e.kind != "apply" or not e.spec._layer(e.attrs[0]).mixes_time
