"""LR2xx and LR3xx: pressures held against the contracts of the latents' roles."""

from __future__ import annotations

from collections.abc import Iterator

from ..roles import Role
from . import words
from .facts import union
from .finding import Finding, find
from .judged import Judged, JudgedLoss
from .pressures import Pressure, between, demanded, span
from .sides import Present, Side


def severity(role: Role, slug: str) -> str | None:
    """What a role makes of a pressure: "error", "warning", or None where it has no word on it."""
    if slug in role.forbids:
        return "error"
    return "warning" if slug in role.cautions else None


def pressures(judged: Judged) -> Iterator[Finding]:
    """What the losses put on latents whose role forbids it or cautions against it."""
    for loss in judged.losses:
        for pressure in loss.pressures:
            role = judged.spec.latents[pressure.latent].role
            level = severity(role, pressure.slug)
            if level is not None and not pressure.opposed:
                yield _pressure(judged, loss, pressure, level)


def _pressure(judged: Judged, loss: JudgedLoss, pressure: Pressure, level: str) -> Finding:
    table, side, present = judged.table, pressure.side, pressure.present
    sides = present.sides()
    shown = [o for s in sides for o in words.nearest(s, pressure.occurrences)]
    base = words.present_time(present, shown)
    other = present.other(side)
    role = judged.spec.latents[pressure.latent].role
    aim = words.target(other, base, table.roles.index(role)) if other is not None else ""
    path = words.path(loss.name, side, words.nearest(side, pressure.occurrences), base)
    latents = words.occurrences(shown, base) or pressure.latent
    if pressure.module:
        path = f"{loss.name} <- {pressure.module}"
    return find(
        pressure.slug,
        severity=level,
        loss=loss.name,
        subject=pressure.latent,
        path=f"{path}        target: {aim}" if aim else path,
        place=loss.declared.place,
        role=role.name,
        latents=latents,
        actions=words.leaves(table, other.actions, base) if other is not None else "",
        target=aim,
        gap=str(pressure.gap),
        module=pressure.module,
        detail=_detail(pressure, base, latents),
    )


def _detail(pressure: Pressure, base: int, latents: str) -> str:
    present = pressure.present
    if pressure.slug == "target-live":
        met = [words.nearest(side, side.shaped) for side in present.sides()]
        return "gradient flows into " + " and into ".join(words.occurrences(o, base) for o in met)
    if pressure.slug == "off-manifold-encoder":
        return "what other modules made, not on a frame"
    if pressure.slug == "action-additivity":
        return f"differences of {latents} are to be a function of the action"
    return ""


def under_conditioned(judged: Judged) -> Iterator[Finding]:
    """Predictions across a gap that do not read all the actions in between."""
    table = judged.table
    for loss in judged.losses:
        for present in loss.terms:
            for r in range(len(table.roles)):
                missing = _missing(judged, present, r)
                if not missing:
                    continue
                early, late = sorted(present.sides(), key=lambda s: s.clock(r))
                base = early.clock(r)
                source = [o for o in table.latents(early.frontier(r)) if o.clock == base]
                yield find(
                    "under-conditioned",
                    loss=loss.name,
                    subject=source[0].latent,
                    place=loss.declared.place,
                    source=words.occurrences(source, base),
                    target=words.target(late, base, r),
                    actions=words.leaves(table, missing, base),
                )
                break


def _missing(judged: Judged, present: Present, r: int) -> int:
    left, right = present.left, present.right
    if right is None or present.comparison.kind not in ("distance", "divergence", "contrastive"):
        return 0
    gap = span(left, right, r)
    if not gap or (judged.rules.alike(present, r, gap) and not between(present, r)):
        return 0
    return demanded(present, r) & ~(left.above(r) | right.above(r))


def history(judged: Judged) -> Iterator[Finding]:
    """Latents that are computed from more than the observation of their own time."""
    table = judged.table
    for latent in judged.spec.latents.values():
        level = severity(latent.role, "history-admitting")
        if level is None or "time" not in latent.expr.axes:
            continue
        own = [o for o in table.occurrences if o.latent == latent.name and o.step in (None, 0)]
        frame = min(table.unrolled.present, table.unrolled.last(latent.expr))
        if not any(o.frame == frame for o in own):
            continue
        m = table.unrolled.at(latent.expr, frame, 0 if "step" in latent.expr.axes else None)
        read = table.leaves(table.source(m).leaves)
        # Its own time is that of the latest frame: entry t of encoder(x.t[1:]) stands at t + 1.
        now = max(
            (t for group, _, t in read if group == "observation" and t is not None), default=frame
        )
        more = [
            (group, name, t)
            for group, name, t in read
            if group == "action" or (group == "observation" and t != now)
        ]
        if more:
            yield find(
                "history-admitting",
                severity=level,
                subject=latent.name,
                place=latent.place,
                role=latent.role.name,
                detail=words.leaves(table, table.leaf_bits(more), now),
            )


def requirements(judged: Judged) -> Iterator[Finding]:
    """What a role requires and the declaration does not have."""
    for latent in judged.spec.latents.values():
        shaping = [loss for loss in judged.losses if latent.name in loss.shaped]
        if not shaping:
            continue
        if "anti-collapse" in latent.role.requires and not any(
            _prevents(judged, loss, latent.name) for loss in shaping
        ):
            yield find(
                "requirement-unmet",
                subject=latent.name,
                place=latent.place,
                role=latent.role.name,
                detail="something that keeps it from collapsing, and "
                + ", ".join(f"`{loss.name}`" for loss in shaping)
                + (" is" if len(shaping) == 1 else " are")
                + " content with a constant",
                remedy="add a reconstruction, or a regulariser such as lr.losses.vicreg or "
                "lr.losses.sigreg",
            )
        if "composition-measure" in latent.role.requires:
            yield find(
                "requirement-unmet",
                severity="note",
                subject=latent.name,
                place=latent.place,
                role=latent.role.name,
                detail="a measurement that it composes; no declaration can show that",
                remedy="compare it with the true pose after training",
            )


def _prevents(judged: Judged, loss: JudgedLoss, latent: str) -> bool:
    """Whether a constant latent would score badly in a loss that shapes it."""
    table = judged.table
    own = table.of_latent(latent)
    for present in loss.terms:
        for side in present.sides():
            if not side.shaped & own:
                continue
            comparison, other = present.comparison, present.other(side)
            if present.opposes(side, own):
                # Pushed away from itself: from a negative, or from its mean over the batch.
                against = other.moments if comparison.kind == "distance" and other else ()
                if union(table[m].occurrences for m in against) & own:
                    return True
            elif comparison.prevents_collapse or (other is not None and _given(other)):
                return True
    return False


def _given(side: Side) -> bool:
    """Whether a side does not move with training: data, or what nothing updates makes of it."""
    latents = any(side.table[m].occurrences for m in side.moments)
    groups = side.table.groups
    columns = side.leaves & (groups["observation"] | groups["action"] | groups["label"])
    # A latent that no module makes is data.
    return bool(columns) and not side.live and not (side.modules and latents)
