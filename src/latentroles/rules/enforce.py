"""`lr.enforce`: a smallest set of stops that makes the roles' contracts hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

from ..routes.reach import Reach
from ..spec.describe import describe
from ..spec.expr import Expr
from ..spec.rewrite import Stop, with_stops
from ..spec.spec import Spec, require_spec
from .check import check, standing
from .facts import Table
from .finding import Finding, Report
from .judged import Judged

# What a stop cannot mend: a loss that is nothing, an input that is missing, or one too many.
_BEYOND = frozenset({"vacuous-loss", "under-conditioned", "history-admitting", "dead-route"})


@dataclass(frozen=True)
class Enforced:
    """What `lr.enforce` did.

    Args:
        spec: the copy in which the stops stand.
        stops: the stops that were added, in words.
        places: the same, as places in the graph of the spec that was given.
        remaining: what no stop can mend.
        report: of `spec`.
    """

    spec: Spec
    stops: tuple[str, ...]
    places: tuple[Stop, ...]
    remaining: tuple[Finding, ...]
    report: Report

    def __str__(self) -> str:
        n = len(self.stops)
        lines = [f"{self.spec.name}: {n} stop{'' if n == 1 else 's'} added"]
        lines += [f"  {stop}" for stop in self.stops]
        if self.remaining:
            lines.append("no stop can mend:")
            lines += [f"  {f.code} {f.rule}: {f.message}" for f in self.remaining]
        return "\n".join(lines)


def enforce(spec: Spec) -> Enforced:
    """Adds stops until no loss puts a pressure on a latent that its role forbids.

    The set is inclusion-minimal: leave any one of them out and a forbidden pressure is back. Each
    stop stands in one loss only, so that what other losses do to the latent stays as it was. Values
    are unchanged. A spec that keeps its contracts comes back with no stop added.
    """
    require_spec("enforce", spec)
    judged = Judged(spec)
    broken = _broken(standing(judged))
    # A loss is judged alone, so that the cost is linear in their number; what stops every reader
    # comes first, and may spare a loss stops of its own.
    shared = _fewest(judged, None, [f for f in broken if f.loss is None], [])
    needed = list(shared)
    for loss in dict.fromkeys(f.loss for f in broken if f.loss is not None):
        needed += _fewest(judged, loss, [f for f in broken if f.loss == loss], shared)
    result = with_stops(spec, needed)
    report = check(result)
    beyond = [*_broken(report), *(f for f in report if f.rule in _BEYOND)]
    return Enforced(result, tuple(map(_said, needed)), tuple(needed), tuple(beyond), report)


def _broken(findings: Iterable[Finding]) -> list[Finding]:
    """What breaks a role's contract and can be mended by a stop, if anything can."""
    errors = [f for f in findings if f.severity == "error" and f.rule not in _BEYOND]
    return [f for f in errors if f.code.startswith("LR2") or f.rule == "ungated-edge"]


def _fewest(
    judged: Judged, loss: str | None, broken: Sequence[Finding], shared: list[Stop]
) -> list[Stop]:
    """The stops that are needed, beside those shared, for what one loss breaks, or no loss does."""
    spec, away = judged.spec, judged.table.unrolled.away
    part = copy(spec)
    part.losses = {loss: spec.losses[loss]} if loss is not None else {}
    needed = list(dict.fromkeys(stop for f in broken for stop in _places(judged, f)))
    goal = count_broken(part, [*shared, *needed], away)
    for place in list(needed):
        fewer = [other for other in needed if other != place]
        if count_broken(part, [*shared, *fewer], away) <= goal:
            needed = fewer
    return needed


def count_broken(spec: Spec, stops: Sequence[Stop], away: int = 0) -> int:
    """How many pressures break a contract once the stops stand; `away` as of `Unrolled`."""
    return len(_broken(standing(Judged(with_stops(spec, stops), away))))


def _places(judged: Judged, finding: Finding) -> Iterator[Stop]:
    """Where a stop may stand: on a live path of the loss, at what reads the latent, or at a gate
    that nothing but the latent passes.

    Those within loops come first, and are the first to be left out again; gates come last.
    """
    spec = judged.spec
    latent = spec.latents[finding.subject or ""]
    root = latent.expr if finding.loss is None else spec.losses[finding.loss].expr
    reach = Reach(spec, [root, *(z.expr for z in spec.latents.values())])
    found: dict[Stop, None] = {}
    seen, queue = {root}, [root]
    for e in queue:
        if reach.graph.cut(e) is not None:
            continue
        if finding.rule == "off-manifold-encoder":
            if _encodes(reach, e, latent.name):
                found[Stop(finding.loss, e, None)] = None
        else:
            # What a loop runs over is read by the loop, which only its taps read.
            reader = e.inputs[0] if e.kind == "tap" else e
            for position, operand in enumerate(reader.inputs):
                live = reach.known(operand) and reach[operand].live
                if live and _feeds(reach, judged.table, reader, operand, finding):
                    found[Stop(finding.loss, reader, position)] = None
        for edge in reach.graph.edges(e):
            if edge.operand not in seen:
                seen.add(edge.operand)
                queue.append(edge.operand)
    gates = [stop for stop in found if stop.reader.kind == "gate"]
    readers = [stop for stop in found if stop.reader.kind != "gate"]
    yield from (*sorted(readers, key=lambda stop: not stop.reader.loops()), *gates)


def _encodes(reach: Reach, e: Expr, latent: str) -> bool:
    """Whether `e` applies a module that makes the latent, itself or by a target, with live
    parameters.
    """
    bits, targets = reach[reach.spec.latents[latent].expr], reach.spec.targets
    makers = reach.modules(bits.live) | {targets[t].of for t in reach.targets(bits.value)}
    return e.kind == "apply" and not e.attrs[2] and e.attrs[0] in makers


def _feeds(reach: Reach, table: Table, reader: Expr, operand: Expr, finding: Finding) -> bool:
    """Whether the latent that is to be left alone enters by this operand."""
    spec, latents = reach.spec, reach.latents_at(operand)
    subject = finding.subject or ""
    if finding.loss is None:  # another latent that feeds this one
        return any(spec.latents[z].role != spec.latents[subject].role for z in latents)
    if reader.kind == "gate":
        alone = reach.latents(reach[operand].live) == {subject}
        return alone or _encodes(reach, operand, subject)
    same = subject in latents or subject in _latents_like(table, operand)
    return same or _encodes(reach, operand, subject)


def _latents_like(table: Table, e: Expr) -> set[str]:
    """The latents that an expression computes again, as the rules see it."""
    unrolled = table.unrolled
    frame = min(unrolled.present, unrolled.last(e)) if "time" in e.axes else None
    step = (e.type.step or 1) - 1 if "step" in e.axes else None
    turn = 1 if e.loops() else None  # any but the first, which reads where the loop starts
    return {o.latent for o in table.latents(table.here(unrolled.at(e, frame, step, turn)))}


def _said(stop: Stop) -> str:
    where, reader = f"loss {stop.loss}" if stop.loss else "every loss", stop.reader
    if stop.position is None:
        return f"{where}: {describe(reader)} becomes {reader.attrs[0]}.frozen(...)"
    read = describe(reader.inputs[stop.position])
    if reader.kind == "gate":
        return f"{where}: {read} is stopped as if gate {reader.attrs[0]} were closed"
    by = "a loop" if reader.kind == "scan" else describe(reader)
    return f"{where}: {read} is stopped where {by} reads it"
