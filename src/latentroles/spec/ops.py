"""The array operations of the language: one row each, with its type rule.

A backend implements every row under the same name in its `ops.py` and `emit.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ..arguments import DECAY, integer, real
from ..errors import ShapeError, user_line
from .expr import Constant, Expr, align, as_expr, spec_of, unary
from .types import Type


@dataclass(frozen=True)
class Op:
    """One operation: how its type follows from its operands, and whether gradient passes it.

    Args:
        infer: (operand types, static arguments) -> type of the result.
        differentiable: False where the derivative is zero or undefined.
        per_frame: True where frames do not meet, so that a cut commutes with it.
    """

    infer: Callable[[Sequence[Type], tuple[Any, ...]], Type]
    differentiable: bool = True
    per_frame: bool = True


def _float(what: str, t: Type) -> Type:
    if t.dtype != "float":
        raise ShapeError(
            f"{user_line()}{what} needs a float operand, got {t}. "
            "Turn a discrete action into floats with `.one_hot()`."
        )
    return t


def _same(name: str) -> Callable[[Sequence[Type], tuple[Any, ...]], Type]:
    return lambda types, _: _float(name, types[0])


def _binary(name: str) -> Callable[[Sequence[Type], tuple[Any, ...]], Type]:
    def infer(types: Sequence[Type], _: tuple[Any, ...]) -> Type:
        a, b = (_float(name, t) for t in types)
        lead = a if len(a.axes) >= len(b.axes) else b
        return lead.with_shape(a.shape or b.shape)

    return infer


def _one_hot(types: Sequence[Type], args: tuple[Any, ...]) -> Type:
    return types[0].with_shape((*types[0].shape, args[0]), "float")


def _concat(types: Sequence[Type], _: tuple[Any, ...]) -> Type:
    first = _float("concat", types[0])
    for t in types:
        _float("concat", t)
        if not t.shape or t.shape[:-1] != first.shape[:-1]:
            raise ShapeError(
                f"{user_line()}concat joins the last event axis; all others must be equal, got "
                f"{', '.join(str(u) for u in types)}."
            )
    return first.with_shape((*first.shape[:-1], sum(t.shape[-1] for t in types)))


def _slice(types: Sequence[Type], args: tuple[Any, ...]) -> Type:
    return types[0].with_shape((*types[0].shape[:-1], args[1] - args[0]))


def _reshape(types: Sequence[Type], args: tuple[Any, ...]) -> Type:
    (shape,) = args
    if prod(shape) != prod(types[0].shape):
        raise ShapeError(
            f"{user_line()}reshape keeps the number of entries of the event: {types[0]} cannot "
            f"become {shape}."
        )
    return types[0].with_shape(shape)


def _reduce(types: Sequence[Type], args: tuple[Any, ...]) -> Type:
    (over,) = args
    t = _float("mean and sum", types[0])
    return t.with_shape(()) if over == "event" else t.without(over)


def _pool(types: Sequence[Type], args: tuple[Any, ...]) -> Type:
    (size,) = args
    t = _float("avg_pool2d", types[0])
    if len(t.shape) < 2 or t.shape[-1] % size or t.shape[-2] % size:
        raise ShapeError(
            f"{user_line()}avg_pool2d({size}) needs an event whose last two sizes divide by "
            f"{size}, got {t}."
        )
    return t.with_shape((*t.shape[:-2], t.shape[-2] // size, t.shape[-1] // size))


def _crop(types: Sequence[Type], args: tuple[Any, ...]) -> Type:
    t = _float("a random crop", types[0])
    if len(t.shape) < 2:
        raise ShapeError(
            f"{user_line()}a random crop needs frames, an event whose last two sizes are height "
            f"and width; got {t}."
        )
    return t


OPS: dict[str, Op] = {
    **{name: Op(_binary(name)) for name in ("add", "sub", "mul", "div")},
    **{
        name: Op(_same(name))
        for name in ("neg", "abs", "square", "exp", "tanh", "sigmoid", "relu", "normalise")
    },
    "one_hot": Op(_one_hot, differentiable=False),
    "concat": Op(_concat),
    "slice": Op(_slice),
    "reshape": Op(_reshape),
    "mean": Op(_reduce, per_frame=False),
    "sum": Op(_reduce, per_frame=False),
    "avg_pool2d": Op(_pool),
    "random_crop": Op(_crop),
}


def zeros(*shape: int) -> Constant:
    """Zeros of the given event shape; leading axes are added where they are used."""
    return Constant(0.0, shape)


def constant(value: float, *shape: int) -> Constant:
    """A constant of the given event shape; leading axes are added where it is used."""
    return Constant(value, shape)


def concat(*operands: Any) -> Expr:
    """Joins operands along the last event axis: (..., m) and (..., n) -> (..., m + n).

    `concat(a, b)` and `concat([a, b])` are the same.
    """
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    spec = spec_of("concat", operands)
    exprs = align("concat", [as_expr(spec, o, "concat") for o in operands])
    return spec._node("op", exprs, ("concat",))


def stack(*operands: Any) -> Expr:
    """Joins equal operands along a new first event axis: n of (..., dim) -> (..., n, dim).

    So frames become tokens: `lr.stack([z.t[i] for i in range(4)])`. `stack(a, b)` and
    `stack([a, b])` are the same.
    """
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    spec = spec_of("stack", operands)
    exprs = [as_expr(spec, o, "stack") for o in operands]
    if len({e.shape for e in exprs}) != 1:
        raise ShapeError(
            f"{user_line()}stack needs equal event shapes, got "
            f"{', '.join(str(e.type) for e in exprs)}."
        )
    shape = exprs[0].shape
    flat = [e if len(shape) == 1 else reshape(e, prod(shape)) for e in exprs]
    return reshape(concat(flat), len(exprs), *shape)


def split(operand: Expr, *sizes: int) -> tuple[Expr, ...]:
    """Takes the last event axis apart: (..., m + n) -> (..., m), (..., n)."""
    spec = spec_of("split", (operand,))
    if not operand.shape or sum(sizes) != operand.shape[-1] or min(sizes, default=0) < 1:
        raise ShapeError(
            f"{user_line()}split needs positive sizes that add up to the last event axis of "
            f"{operand.type}, got {sizes}."
        )
    stops = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(
        spec._node("op", (operand,), ("slice", hi - n, hi))
        for n, hi in zip(sizes, stops, strict=True)
    )


def reshape(operand: Expr, *shape: int) -> Expr:
    """Gives the event another shape with the same number of entries."""
    spec = spec_of("reshape", (operand,))
    sizes = tuple(integer("reshape", "shape", size, "the sizes, one by one") for size in shape)
    return spec._node("op", (operand,), ("reshape", sizes))


def avg_pool2d(operand: Expr, size: int) -> Expr:
    """Means over size x size blocks: (..., C, H, W) -> (..., C, H / size, W / size)."""
    return spec_of("avg_pool2d", (operand,))._node("op", (operand,), ("avg_pool2d", size))


def absolute(operand: Expr) -> Expr:
    """|x|, with derivative 0 at 0 on both backends."""
    return unary("abs", operand)


def square(operand: Expr) -> Expr:
    """x ** 2."""
    return unary("square", operand)


def exp(operand: Expr) -> Expr:
    """e ** x."""
    return unary("exp", operand)


def tanh(operand: Expr) -> Expr:
    """tanh x."""
    return unary("tanh", operand)


def sigmoid(operand: Expr) -> Expr:
    """1 / (1 + e ** -x)."""
    return unary("sigmoid", operand)


def relu(operand: Expr) -> Expr:
    """max(x, 0), with derivative 0 at 0 on both backends."""
    return unary("relu", operand)


def normalise(operand: Expr) -> Expr:
    """x / ||x|| along the last event axis; a zero vector stays zero, with zero derivative."""
    return unary("normalise", operand)


def dropout(operand: Expr, rate: float, *, label: str) -> Expr:
    """Zeroes entries with probability `rate` and scales the rest by 1 / (1 - rate).

    The mask is Noise, an input of the step: equal labels share it, another label draws anew. Inside
    a loop the mask is the same at every step. To encode without it, declare the latent without it.
    """
    spec_of("dropout", (operand,))
    rate = real("dropout", "rate", rate, DECAY)
    if rate == 0.0:
        return operand
    mask = draw("dropout", operand, label, operand.shape, "bernoulli", 1.0 - rate)
    return operand * mask


def draw(
    what: str, operand: Expr, name: str, shape: tuple[int, ...], kind: str, rate: float = 1.0
) -> Expr:
    """Noise for each entry of the operand's batch, and for each frame of its own outside a loop.

    Shapes: (batch, time n, ...) -> (batch, time n) + shape; without what the operand lacks.
    """
    spec = operand.spec
    axes = tuple(a for a in operand.axes if a == "batch" or (a == "time" and not spec._tracing))
    if axes == ("time",) or (operand.type.time or 0) < 0:
        raise ShapeError(
            f"{user_line()}{what} draws for each entry of the batch, and for the frames 0 to T - 1 "
            f"at most; got {operand.type}. Apply it before the mean over the batch, and leave out "
            "what was put in front of the sequence: `h.t[1:]`."
        )
    drawn = spec.noise(name, shape, axes=axes, kind=kind, rate=rate)
    return drawn.t[: -operand.type.time] if operand.type.time and "time" in axes else drawn


def prepend(first: Any, sequence: Expr) -> Expr:
    """Puts `first` in front of a sequence, along its step axis, or else its time axis.

    Shapes: first (batch, ...), sequence (batch, time n, ...) -> (batch, time n + 1, ...).
    """
    spec = spec_of("prepend", (first, sequence))
    axis = "step" if "step" in sequence.axes else "time"
    if axis not in sequence.axes:
        raise ShapeError(
            f"{user_line()}prepend needs a sequence with a time or a step axis, got "
            f"{sequence.type}."
        )
    return _prepend(spec, as_expr(spec, first, "prepend"), sequence, axis)


def _prepend(spec: Any, first: Expr, sequence: Expr, axis: str) -> Expr:
    from .expr import expand
    from .types import join_leads

    entry = sequence.type.without(axis)
    expand_to = join_leads("prepend", [first.type, entry])
    if first.shape != entry.shape or expand_to.lead() != entry.lead():
        raise ShapeError(
            f"{user_line()}prepend needs a first entry like those of the sequence: "
            f"first is {first.type}, an entry is {entry}."
        )
    return spec._node("prepend", (expand(first, entry), sequence), (axis,))
