"""Affine expansion: a moment as a sum of coefficients times moments that are not sums.

Equal terms cancel, so that a difference which is zero by construction is seen to be zero: a sum of
steps that telescopes, or a pose minus the moves that it is made of.
"""

from __future__ import annotations

from collections.abc import Callable

from .unrolled import Moment, Unrolled

Expansion = dict[Moment, float]

# Linear in their one operand, and acting on it as a whole.
_WRAPPING = frozenset({"slice", "reshape", "avg_pool2d", "mean", "sum"})
_TINY = 1e-9


class Affine:
    """Expansions of primals, down to what `stops` holds for.

    Args:
        stops: whether a moment is left as it is, such as a latent; by default none is.
    """

    def __init__(self, unrolled: Unrolled, stops: Callable[[Moment], bool] = lambda m: False):
        self._unrolled, self._stops = unrolled, stops
        self._known: dict[Moment, Expansion] = {}

    def of(self, m: Moment) -> Expansion:
        """The expansion of the value of `m`; terms that cancel are left out."""
        root = m.primal
        stack = [root]
        while stack:
            top = stack[-1]
            parts = self._parts(top)
            waiting = [p for p in parts if p not in self._known]
            if top in self._known:
                stack.pop()
            elif waiting:
                stack += waiting
            else:
                self._known[top] = self._combine(top, parts)
                stack.pop()
        return self._known[root]

    def difference(self, left: Moment, right: Moment | None) -> Expansion:
        """The expansion of left - right."""
        total = dict(self.of(left))
        for atom, c in (self.of(right) if right is not None else {}).items():
            total[atom] = total.get(atom, 0.0) - c
        return _kept(total)

    def _parts(self, m: Moment) -> list[Moment]:
        """The operands that `m` is an affine function of; nothing for an atom."""
        if m.kind != "op" or self._stops(m):
            return []
        if m.attrs[0] in ("add", "sub") or m.attrs[0] in _WRAPPING:
            return list(m.operands)
        multiplied = multiple(m)
        return [multiplied[0]] if multiplied else []

    def _combine(self, m: Moment, parts: list[Moment]) -> Expansion:
        if m.kind == "constant":
            return {m: 1.0} if m.attrs[0] else {}
        if not parts:
            return {m: 1.0}
        name, expanded = m.attrs[0], [self._known[p] for p in parts]
        if name in _WRAPPING and len(parts) == 1:
            return self._wrapped(m, parts[0], expanded[0])
        multiplied, n = multiple(m), len(parts)
        if multiplied:
            factors = [multiplied[1]]
        else:
            factors = {"sub": [1.0, -1.0], "mean": [1.0 / n] * n}.get(name, [1.0] * n)
        total: Expansion = {}
        for factor, expansion in zip(factors, expanded, strict=True):
            for atom, c in expansion.items():
                total[atom] = total.get(atom, 0.0) + factor * c
        return _kept(total)

    def _wrapped(self, m: Moment, part: Moment, expansion: Expansion) -> Expansion:
        if expansion == {part: 1.0}:
            return {m: 1.0}
        return _kept(
            {self._unrolled.make("op", m.attrs, (atom,), None): c for atom, c in expansion.items()}
        )


def multiple(m: Moment) -> tuple[Moment, float] | None:
    """An operand and its factor, where `m` is a constant multiple of one."""
    name = m.attrs[0] if m.kind == "op" else ""
    if name == "neg":
        return m.operands[0], -1.0
    if name not in ("mul", "div"):
        return None
    left, right = m.operands
    if right.kind == "constant" and name == "mul":
        return left, right.attrs[0]
    if right.kind == "constant" and right.attrs[0]:
        return left, 1.0 / right.attrs[0]
    return (right, left.attrs[0]) if left.kind == "constant" and name == "mul" else None


def _kept(total: Expansion) -> Expansion:
    return {atom: c for atom, c in total.items() if abs(c) > _TINY}
