"""The node kinds and their type rules: what an Expr of each kind is worth.

| kind | attrs | value |
|---|---|---|
| leaf | group, name, type | a column of the batch, a noise draw, or a state |
| constant | value, type | an array filled with one number |
| op | name, *arguments | a row of `ops.OPS` |
| apply | module, part, frozen | a module or a target applied to its operands |
| cut | axis, lo, hi | the range [lo, extent - hi) of a leading axis |
| pick | axis, index | one entry of a leading axis |
| window | size | windows of successive frames, on a new step axis |
| prepend | axis | one entry in front of a sequence |
| expand | type | repeated along missing leading axes |
| stop, scale, gate | factor or name | identity in value; zero, scaled or gated in derivative |
| call | function, keyword arguments | an opaque array function, usually a loss |
| var | scan, group, index, type | a carry or an input inside a loop |
| scan | id, axis, extent, carries, xs | a recurrence: inits + xs + next carries |
| tap | | the sequence of a body expression of a scan |
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import ShapeError, user_line
from .ops import OPS
from .types import Type

if TYPE_CHECKING:
    from .expr import Expr
    from .spec import Spec


def infer(spec: "Spec", kind: str, inputs: Sequence["Expr"], attrs: tuple[Any, ...]) -> Type:
    """The type of a node, or a ShapeError on the user's line."""
    types = [e.type for e in inputs]
    return _RULES[kind](spec, types, attrs, inputs)


def _cut(spec: Any, types: list[Type], attrs: tuple[Any, ...], inputs: Any) -> Type:
    axis, lo, hi = attrs
    if axis == "time":
        return replace(types[0], time=types[0].time + lo + hi)  # type: ignore[operator]
    left = types[0].step - lo - hi  # type: ignore[operator]
    if left < 1:
        raise ShapeError(f"{user_line()}`.k[{lo}:...]` leaves no step of {types[0]}.")
    return replace(types[0], step=left)


def _pick(spec: Any, types: list[Type], attrs: tuple[Any, ...], inputs: Any) -> Type:
    axis, index = attrs
    steps = types[0].step
    if axis == "step" and steps is not None and not -steps <= index < steps:
        raise ShapeError(f"{user_line()}`.k[{index}]` is outside the {steps} steps of {types[0]}.")
    return types[0].without(axis)


def _window(spec: Any, types: list[Type], attrs: tuple[Any, ...], inputs: Any) -> Type:
    (size,) = attrs
    t = types[0]
    assert t.time is not None
    return replace(t, time=t.time + size - 1).with_axis("step", size)


def _prepend(spec: Any, types: list[Type], attrs: tuple[Any, ...], inputs: Any) -> Type:
    (axis,) = attrs
    t = types[1]
    if axis == "step":
        assert t.step is not None
        return replace(t, step=t.step + 1)
    assert t.time is not None
    return replace(t, time=t.time - 1)


def _apply(spec: "Spec", types: list[Type], attrs: tuple[Any, ...], inputs: Any) -> Type:
    name, part, _ = attrs
    layer = spec._layer(name)
    wanted = "int" if layer.reads_integers else "float"
    if types[0].dtype != wanted:
        raise ShapeError(
            f"{user_line()}module {name!r} needs a {wanted} input, got {types[0]}. "
            "A discrete action becomes floats with `.one_hot()`."
        )
    shape = getattr(layer, f"{part}_shape") if part else layer.out_shape
    try:
        return types[0].with_shape(shape(*(t.shape for t in types)), "float")
    except ShapeError as error:
        received = " and ".join(map(str, types))
        raise ShapeError(f"{error} (module {name!r} was applied to {received})") from None


def _call(spec: "Spec", types: list[Type], attrs: tuple[Any, ...], inputs: Any) -> Type:
    from .array_functions import array_function

    name, arguments = attrs
    return array_function(name).infer(types, dict(arguments))


_RULES: dict[str, Any] = {
    "leaf": lambda s, t, a, i: a[2],
    "constant": lambda s, t, a, i: a[1],
    "op": lambda s, t, a, i: OPS[a[0]].infer(t, a[1:]),
    "apply": _apply,
    "cut": _cut,
    "pick": _pick,
    "window": _window,
    "prepend": _prepend,
    "expand": lambda s, t, a, i: a[0],
    "stop": lambda s, t, a, i: t[0],
    "scale": lambda s, t, a, i: t[0],
    "gate": lambda s, t, a, i: t[0],
    "call": _call,
    "var": lambda s, t, a, i: a[3],
    # A scan is worth its carries; only its taps are read.
    "scan": lambda s, t, a, i: Type(),
    "tap": lambda s, t, a, i: t[1].with_axis(*_scan_axis(i[0])),
}


def _scan_axis(scan: "Expr") -> tuple[str, int]:
    """The axis a scan runs along, and its extent (d of T - d, or K)."""
    _, axis, extent, _, _ = scan.attrs
    return axis, extent
