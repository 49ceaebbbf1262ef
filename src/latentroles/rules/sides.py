"""A comparison at the present: its two sides, and what each depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..spec.expr import Expr
from .affine import Affine, Expansion
from .comparisons import Comparison
from .facts import Table, union
from .unrolled import Moment

_LINEAR = frozenset({"mean", "sum", "slice", "reshape", "avg_pool2d"})
_SUMS = _LINEAR | {"add", "sub", "neg"}


@dataclass(frozen=True)
class Side:
    """Moments that are compared, together, with those of another side."""

    table: Table
    moments: tuple[Moment, ...]

    @cached_property
    def leaves(self) -> int:
        """The columns and draws that it depends on."""
        return union(self.table.source(m).leaves for m in self.moments)

    @cached_property
    def modules(self) -> int:
        return union(self.table.source(m).modules for m in self.moments)

    @cached_property
    def live(self) -> int:
        """The modules that a gradient reaches from here."""
        return union(self.table[m].live for m in self.moments)

    @cached_property
    def shaped(self) -> int:
        """The occurrences that a gradient reaches, in either direction."""
        return union(self.table[m].shaped | self.table[m].reversed for m in self.moments)

    def _group(self, group: str) -> int:
        return self.leaves & self.table.groups[group]

    @property
    def actions(self) -> int:
        return self._group("action")

    def only_actions(self) -> bool:
        """Whether it is computed from actions and from nothing else that is given."""
        noise = self._group("noise")
        return bool(self.actions) and self.leaves == self.actions | noise

    def observed(self) -> bool:
        """Whether it is an observation, with no module between."""
        return bool(self._group("observation")) and not self.modules and not self.actions

    def frontier(self, role: int) -> int:
        """The first occurrences of latents of a role, going down."""
        return union(self.table[m].frontier[role] for m in self.moments)

    def above(self, role: int) -> int:
        """The actions met before them."""
        return union(self.table[m].actions[role] for m in self.moments)

    def clock(self, role: int) -> int:
        """The latest time of its frontier; -1 without one."""
        return max((o.clock for o in self.table.latents(self.frontier(role))), default=-1)

    def seen(self) -> int:
        """The latest time of an observation that it depends on; -1 without one."""
        frames = [t for _, _, t in self.table.leaves(self._group("observation"))]
        return max((t for t in frames if t is not None), default=-1)


class Present:
    """A comparison at the present frame, at the last step of a rollout.

    Attributes:
        left, right: its sides; `right` is None where it has one side only.
        residual: the expansion of left - right, where it is a distance.
    """

    def __init__(self, table: Table, exact: Affine, comparison: Comparison):
        self.table, self.comparison = table, comparison
        self._affine = exact
        self.frame = self._aligned()
        self.operands = self._at(self.frame)
        self.left, self.right = self._sides(self.operands)

    def _aligned(self) -> int:
        """The frame at which what it reads ends at the present."""
        unrolled = self.table.unrolled
        sequences = [e for e in self.comparison.operands if "time" in e.axes]
        last = min((unrolled.last(e) for e in sequences), default=0)
        frame = min(unrolled.present, last)
        if not sequences:
            return frame
        clock = max(self.table.source(m).clock for m in self._at(frame))
        return min(max(frame - clock + unrolled.present, 0), last)

    def _at(self, frame: int) -> tuple[Moment, ...]:
        at = self.table.unrolled.at
        return tuple(at(e, frame, _last_step(e)) for e in self.comparison.operands)

    @cached_property
    def residual(self) -> Expansion:
        left = self.operands[0]
        return self._affine.difference(left, self.operands[1] if len(self.operands) > 1 else None)

    def _sides(self, operands: tuple[Moment, ...]) -> tuple[Side, Side | None]:
        """Model against data where a distance has both; else as written."""
        if self.comparison.kind == "distance":
            atoms = [atom for operand in operands for atom in self._summands(operand)]
            data = [m for m in atoms if self._given(m)]
            model = [m for m in atoms if self.table.source(m).modules]
            if data and model:
                return self._side(model), self._side(data)
            if len(operands) == 1:
                operands = _difference(operands[0])
        elif self.comparison.kind == "divergence":
            half = len(operands) // 2
            return self._side(operands[:half]), self._side(operands[half:])
        elif self.comparison.kind not in ("classification", "contrastive"):
            return self._side(operands), None
        left, *rest = (self._side([m]) for m in operands)
        return left, rest[0] if rest else None

    def _summands(self, root: Moment) -> list[Moment]:
        """What a sum is made of, each summand under the stops that stand on the sum."""
        make, found = self.table.unrolled.make, []
        stack: list[tuple[Moment, tuple[Moment, ...]]] = [(root, ())]
        while stack:
            m, around = stack.pop()
            if m.kind in ("stop", "scale"):
                stack.append((m.operands[0], (*around, m)))
            elif m.kind == "op" and m.attrs[0] in _SUMS:
                stack += [(o, around) for o in m.operands]
            else:
                for wrapper in reversed(around):
                    m = make(wrapper.kind, wrapper.attrs, (m,), wrapper.cut)
                found.append(m)
        return found

    def _given(self, m: Moment) -> bool:
        source = self.table.source(m)
        return bool(source.leaves) and not source.modules

    def _side(self, moments: Sequence[Moment]) -> Side:
        return Side(self.table, tuple(moments))

    def sides(self) -> tuple[Side, ...]:
        return (self.left,) if self.right is None else (self.left, self.right)

    def other(self, side: Side) -> Side | None:
        return self.right if side is self.left else self.left

    def same_head(self, gap: int) -> bool:
        """Whether one side, `gap` frames later, is the other: one function at two times."""
        if self.right is None:
            return False
        last = min(
            (self.table.unrolled.last(e) for e in self.comparison.operands if "time" in e.axes),
            default=0,
        )
        if self.frame + gap > last:
            return False
        here = [self._shapes(side) for side in (self.left, self.right)]
        left, right = self._sides(self._at(self.frame + gap))
        later = [self._shapes(side) for side in (left, right) if side is not None]
        return later[0] == here[1] or later[-1] == here[0]

    def _shapes(self, side: Side) -> set[Moment]:
        return {self.table.shape(m) for m in side.moments}


def _last_step(e: Expr) -> int | None:
    return e.type.step - 1 if e.type.step is not None else None


def _difference(m: Moment) -> tuple[Moment, ...]:
    """The two sides of a difference, seen through means and the like; else the moment itself."""
    while m.kind == "op" and m.attrs[0] in _LINEAR and len(m.operands) == 1:
        m = m.operands[0]
    return m.operands if m.kind == "op" and m.attrs[0] == "sub" else (m,)
