"""Moments in the user's words: "z[t]", "a[t], a[t+1]", and the path from a loss to a latent."""

from __future__ import annotations

from collections.abc import Iterable

from .facts import Occurrence, Table
from .sides import Present, Side
from .unrolled import Moment

_MOST = 3  # so many are spelled out


def time(frame: int, base: int) -> str:
    """Such as "t", "t+1", "t-2"."""
    away = frame - base
    return f"t{away:+d}" if away else "t"


def named(name: str, frame: int | None, step: int | None, base: int) -> str:
    """Such as "z[t+1]"; a step of a rollout is "z[t, 3]"."""
    if frame is None:
        return name
    return f"{name}[{time(frame, base)}{'' if step is None else f', {step}'}]"


def occurrences(found: Iterable[Occurrence], base: int) -> str:
    """Some latents, in order of time."""
    ranked = sorted(set(found), key=lambda o: (o.latent, o.frame or 0, o.step or 0))
    return _listed([named(o.latent, o.frame, o.step, base) for o in ranked])


def leaves(table: Table, bits: int, base: int) -> str:
    """Columns at their times, noise and states left out."""
    given = [leaf for leaf in table.leaves(bits) if leaf[0] in ("observation", "action", "label")]
    ranked = sorted(given, key=lambda leaf: (leaf[1], leaf[2] or 0))
    return _listed([named(name, frame, None, base) for _, name, frame in ranked])


def _listed(words: list[str]) -> str:
    """The first and the last of many."""
    return ", ".join(words if len(words) <= _MOST else [words[0], "...", words[-1]])


def target(side: Side, base: int, role: int) -> str:
    """What a side is, as a target: its latents, best those of a role; without any, its columns."""
    table = side.table
    for r in (role, *range(len(table.roles))):
        frontier = table.latents(side.frontier(r))
        if frontier:
            last = max(o.clock for o in frontier)
            return occurrences([o for o in frontier if o.clock == last], base)
    return leaves(table, side.leaves, base)


def nearest(side: Side, wanted: int) -> list[Occurrence]:
    """The wanted occurrences that a gradient meets first, going down from a side."""
    table, level, seen = side.table, list(side.moments), set(side.moments)
    while level:
        found = 0
        for m in level:
            found |= table.here(m) & wanted if table[m].live else 0
        if found:
            return table.latents(found)
        below = [o for m in level if m.cut is None for o in m.operands if o not in seen]
        seen.update(below)
        level = list(dict.fromkeys(below))
    return []


def path(loss: str, side: Side, shown: list[Occurrence], base: int) -> str:
    """The shortest live way from a loss to the occurrences shown, and what makes them.

    Such as "jepa <- h_to_z <- h[t+1] <- predictor <- z[t] <- encoder".
    """
    table = side.table
    above: dict[Moment, Moment | None] = dict.fromkeys(side.moments)
    queue = list(side.moments)
    for m in queue:
        if any(o in shown for o in table.latents(table.here(m))) and table[m].live:
            words: list[str] = []
            step = above[m]
            while step is not None:
                words += _label(table, step, base)
                step = above[step]
            makers = [name for name in (_maker(table, m),) if name]
            return " <- ".join([loss, *_once(reversed(words)), occurrences(shown, base), *makers])
        if m.cut is None:
            for operand in m.operands:
                if operand not in above and table[operand].live:
                    above[operand] = m
                    queue.append(operand)
    return loss


def _maker(table: Table, m: Moment) -> str:
    """The module that a gradient meets first, going down."""
    queue, seen = [m], {m}
    for m in queue:
        if m.kind == "apply" and not m.attrs[2]:
            return m.attrs[0]
        below = [o for o in m.operands if m.cut is None and table[o].live and o not in seen]
        seen.update(below)
        queue += below
    return ""


def _label(table: Table, m: Moment, base: int) -> list[str]:
    """The latent that a moment is, or the module that it applies, those below first."""
    words = []
    if m.kind == "apply":
        name, _, frozen = m.attrs[:3]
        words.append(f"{name}.frozen" if frozen else name)
    here = table.latents(table.here(m))
    return words + [named(o.latent, o.frame, o.step, base) for o in here[:1]]


def _once(words: Iterable[str]) -> list[str]:
    result: list[str] = []
    for word in words:
        if not result or result[-1] != word:
            result.append(word)
    return result


def present_time(present: Present, shown: Iterable[Occurrence]) -> int:
    """The frame that is called t: of the first action that is asked for, or else of what is read.

    Where two sides stand at different times, t is the earlier one.
    """
    table, frames = present.table, [o.frame for o in shown if o.frame is not None]
    for side in present.sides():
        if side.only_actions():
            return min(t for _, _, t in table.leaves(side.actions) if t is not None)
    base = min(frames, default=present.frame)
    for r in range(len(table.roles)):
        clocks = [side.clock(r) for side in present.sides()]
        if len(clocks) == 2 and min(clocks) >= 0 and set(clocks) & set(frames):
            base = min(base, *clocks)
    return base
