"""A short name for an expression, in the user's words where there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .expr import Expr


def describe(e: Expr) -> str:
    """Such as "z", "encoder(x)", "z.t[1:]", "mse(...)"; identities in value are left out."""
    for latent in e.spec.latents.values():
        if latent.expr is e:
            return latent.name
    if e.kind == "leaf":
        return e.attrs[1]
    if e.kind == "constant":
        return "zeros" if e.attrs[0] == 0.0 else str(e.attrs[0])
    if e.kind == "apply":
        name, part, frozen = e.attrs
        operand = e.inputs[0]
        inner = describe(operand) if operand.kind in ("leaf", "apply") else "..."
        return f"{name}{'.frozen' if frozen else ''}{f'.{part}' if part else ''}({inner})"
    if e.kind in ("cut", "pick"):
        axis = e.attrs[0]
        index = str(e.attrs[1]) if e.kind == "pick" else _range(*e.attrs[1:])
        return f"{describe(e.inputs[0])}.{'t' if axis == 'time' else 'k'}[{index}]"
    if e.kind in ("expand", "gate", "scale", "window", "stop"):
        return describe(e.inputs[0])
    if e.kind in ("tap", "scan"):
        return "a loop"
    if e.kind == "prepend":
        return describe(e.inputs[1]) if e.inputs[1].kind == "tap" else "prepend(...)"
    if e.kind in ("op", "call"):
        return f"{e.attrs[0]}(...)"
    return e.kind


def _range(lo: int, hi: int) -> str:
    return f"{lo or ''}:{-hi if hi else ''}"
