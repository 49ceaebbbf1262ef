"""A comparison at the present: its two sides, and what each depends on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..spec.expr import Expr
from .affine import Affine, Expansion, multiple
from .comparisons import Comparison
from .facts import Table, union
from .unrolled import Moment

_LINEAR = frozenset({"mean", "sum", "slice", "reshape", "avg_pool2d"})
_SUMS = _LINEAR | {"add", "sub"}


@dataclass(frozen=True)
class Side:
    """Moments that are compared, together, with those of another side.

    Args:
        before: the same side one frame earlier; () where there is none.
    """

    table: Table
    moments: tuple[Moment, ...]
    before: tuple[Moment, ...] = ()

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
    def frames(self) -> int:
        return self._group("observation")

    @property
    def actions(self) -> int:
        return self._group("action")

    def only_actions(self) -> bool:
        """Whether it is computed from actions and from nothing else that is given."""
        told = self.leaves & ~(self._group("noise") | self._group("state"))
        return bool(self.actions) and told == self.actions

    def observed(self) -> bool:
        """Whether it is an observation, with no module between."""
        return bool(self.frames) and not self.modules and not self.actions

    def frontier(self, role: int) -> int:
        """The first occurrences of latents of a role, going down."""
        return union(self.table[m].frontier[role] for m in self.moments)

    def above(self, role: int) -> int:
        """The actions met before them."""
        return union(self.table[m].actions[role] for m in self.moments)

    def clock(self, role: int) -> int:
        """The latest time of its frontier; -1 without one.

        What it reads at every frame, such as a goal `z.t[-1]`, says nothing of where it stands.
        """
        frontier = self.frontier(role)
        moving = frontier & ~union(self.table[m].frontier[role] for m in self.before)
        return max((o.clock for o in self.table.latents(moving or frontier)), default=-1)

    def seen(self) -> int:
        """The latest time of an observation that it depends on; -1 without one."""
        frames = [t for _, _, t in self.table.leaves(self.frames)]
        return max((t for t in frames if t is not None), default=-1)


class Present:
    """A comparison at the present frame, at the last step of a rollout.

    Attributes:
        left, right: its sides; `right` is None where it has one side only.
    """

    def __init__(self, table: Table, exact: Affine, comparison: Comparison):
        self.table, self.comparison = table, comparison
        self._affine = exact
        self.frame = self._aligned()
        self.operands = self._at(self.frame)
        self.left, self.right = self._sides(self.operands)
        if self.frame:
            left, right = self._sides(self._at(self.frame - 1))
            self.left = replace(self.left, before=left.moments)
            if self.right is not None and right is not None:
                self.right = replace(self.right, before=right.moments)

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

    def _at(self, frame: int, *, start: bool = False) -> tuple[Moment, ...]:
        """The operands at a frame, at the last step of a rollout or at its start."""
        at = self.table.unrolled.at
        return tuple(at(e, frame, 0 if start else _last_step(e)) for e in self.comparison.operands)

    def corners(self) -> Iterator[tuple[Moment, ...]]:
        """The operands where sequences begin and where they are judged."""
        steps = any(e.type.step for e in self.comparison.operands)
        yield self.operands
        yield self._at(0)
        if steps:
            yield from (self._at(frame, start=True) for frame in (self.frame, 0))

    def residual(self, operands: Sequence[Moment]) -> Expansion:
        """The expansion of left - right, of a distance."""
        left, *rest = operands
        return self._affine.difference(left, rest[0] if rest else None)

    def _sides(self, operands: tuple[Moment, ...]) -> tuple[Side, Side | None]:
        if self.comparison.kind == "distance":
            left, right = self._compared(operands)
            return self._side(left), self._side(right) if right else None
        if self.comparison.kind == "divergence":
            half = len(operands) // 2
            return self._side(operands[:half]), self._side(operands[half:])
        if self.comparison.kind not in ("classification", "contrastive"):
            return self._side(operands), None
        left, *rest = (self._side([m]) for m in operands)
        return left, rest[0] if rest else None

    def _compared(self, operands: Sequence[Moment]) -> tuple[Sequence[Moment], Sequence[Moment]]:
        """What a distance compares, as written; but frames against all else, as in a difference of
        two residuals. A label may stay where it is: it adds a reward to the target of a value.
        """
        written = [[m] for m in operands if m.primal.kind != "constant"]
        if len(written) == 1:
            written = self._difference(written[0][0])
        atoms = [atom for part in written for m in part for atom, _ in self._summands(m)]
        data = [m for m in atoms if self._given(m)]
        model = [m for m in atoms if self.table.source(m).modules]
        if data and model and (len(written) == 1 or self._side(data).frames):
            return model, data
        left, *rest = written or [list(operands)]
        return left, rest[0] if rest else ()

    def _difference(self, root: Moment) -> list[list[Moment]]:
        """The two sides of a difference, seen through factors, means and the like; else `root`."""
        around: list[Moment] = []
        m = root
        while (inner := _inside(m)) is not None:
            around += [m] * (m.kind == "scale")
            m = inner
        if m.kind == "op" and m.attrs[0] == "sub":
            return [[self._under(around, o)] for o in m.operands]
        sides: tuple[list[Moment], list[Moment]] = ([], [])
        for atom, sign in self._summands(m):
            sides[sign < 0].append(self._under(around, atom))
        return list(sides) if all(sides) else [[root]]

    def _summands(self, root: Moment) -> list[tuple[Moment, float]]:
        """What a sum is made of, each summand with its sign, under the stops that stand on it.

        Each once: of a sum that is shared there are as many ways down as it has been doubled.
        """
        found: list[tuple[Moment, float]] = []
        stack: list[tuple[Moment, float, tuple[Moment, ...]]] = [(root, 1.0, ())]
        seen: set[tuple[Moment, bool, tuple[Moment, ...]]] = set()
        while stack:
            m, sign, around = stack.pop()
            if (m, sign < 0, around) in seen:
                continue
            seen.add((m, sign < 0, around))
            multiplied = multiple(m)
            if m.kind in ("stop", "scale"):
                stack.append((m.operands[0], sign, (*around, m)))
            elif multiplied:
                stack.append((multiplied[0], sign * multiplied[1], around))
            elif m.kind == "op" and m.attrs[0] in _SUMS:
                signs = (sign, -sign) if m.attrs[0] == "sub" else (sign,) * len(m.operands)
                stack += [(o, s, around) for o, s in zip(m.operands, signs, strict=True)]
            else:
                found.append((self._under(around, m), sign))
        return found

    def _under(self, around: Sequence[Moment], m: Moment) -> Moment:
        """`m` under the stops and scales that stand on what it is a part of."""
        for wrapper in reversed(around):
            m = self.table.unrolled.make(wrapper.kind, wrapper.attrs, (m,), wrapper.cut)
        return m

    def _given(self, m: Moment) -> bool:
        """Whether it is data; noise that is added to one side, or a state, is no side by itself."""
        source, groups = self.table.source(m), self.table.groups
        columns = groups["observation"] | groups["action"] | groups["label"]
        return bool(source.leaves & columns) and not source.modules

    def _side(self, moments: Sequence[Moment]) -> Side:
        return Side(self.table, tuple(moments))

    def sides(self) -> tuple[Side, ...]:
        return (self.left,) if self.right is None else (self.left, self.right)

    def other(self, side: Side) -> Side | None:
        return self.right if side is self.left else self.left

    def opposes(self, side: Side, own: int) -> bool:
        """Whether what it asks of some occurrences on a side is punished: by a negative weight, or
        by a gradient that is reversed on every way.
        """
        turned = union(self.table[m].reversed for m in side.moments) & own
        straight = union(self.table[m].shaped for m in side.moments) & own
        return (self.comparison.weight < 0) != bool(turned and not straight)

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


def _inside(m: Moment) -> Moment | None:
    """The one operand that `m` is a multiple, a mean or the like of."""
    if m.kind == "scale" or (m.kind == "op" and m.attrs[0] in _LINEAR and len(m.operands) == 1):
        return m.operands[0]
    multiplied = multiple(m)
    return multiplied[0] if multiplied else None
