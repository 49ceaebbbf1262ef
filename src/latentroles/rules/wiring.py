"""LR1xx: how losses, modules, targets and states hang together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..spec.expr import Expr
from .comparisons import couples_below
from .contracts import severity
from .finding import Finding, find
from .judged import Judged, JudgedLoss
from .sides import Present


def vacuous(judged: Judged) -> Iterator[Finding]:
    """Distances that are zero by construction."""
    for loss in judged.losses:
        for present in loss.terms:
            if present.comparison.kind in ("distance", "divergence") and _is_zero(present):
                yield find(
                    "vacuous-loss",
                    loss=loss.name,
                    place=loss.declared.place,
                    detail="their difference is 0 once it is written out",
                )
                break


def _is_zero(present: Present) -> bool:
    """Whether it is zero at the first frame as well: a start of its own may be all it compares."""
    half = len(present.operands) // 2
    if present.comparison.kind == "divergence":
        return all(
            a.primal is b.primal
            for operands in present.corners()
            for a, b in zip(operands[:half], operands[half:], strict=False)
        )
    return not any(present.residual(operands) for operands in present.corners())


def duplicates(judged: Judged) -> Iterator[Finding]:
    """Losses that are another loss again, up to weight or the first frames."""
    first: dict[Any, JudgedLoss] = {}
    for loss in judged.losses:
        key = _key(judged, loss)
        known = first.setdefault(key, loss)
        if known is loss:
            continue
        same = known.declared.expr is loss.declared.expr
        yield find(
            "duplicate-loss",
            loss=loss.name,
            place=loss.declared.place,
            other=known.name,
            detail="" if same else ", but for the frames at the ends",
        )


def _key(judged: Judged, loss: JudgedLoss) -> Any:
    """What is equal of two losses that are the same comparison of the same things."""
    if not all(term.comparison.linear for term in loss.terms):
        return (loss.declared.expr, loss.updated)
    terms = []
    scale = next((t.comparison.weight for t in loss.terms if t.comparison.weight), 1.0)
    for term in loss.terms:
        c = term.comparison
        operands = [(m.id, judged.table[m].live & loss.updated) for m in term.operands]
        ordered = tuple(sorted(operands) if c.kind == "distance" else operands)
        terms.append((c.function, c.arguments, ordered, round(c.weight / scale, 9)))
    return (frozenset(terms), scale > 0)


def dead_routes(judged: Judged) -> Iterator[Finding]:
    """Losses that train nothing, and `updates=` that names what cannot be reached."""
    trained = {loss for phase in judged.spec.all_phases() for loss in phase.losses}
    for loss in judged.losses:
        row, declared = judged.routes[loss.name], loss.declared
        missing = [m for m in declared.updates or () if m not in row.modules]
        if missing:
            names = ", ".join(f"`{m}`" for m in missing)
            detail = f"lists {names} in updates=, and no gradient of it arrives there"
        elif not row.modules:
            stops = dict.fromkeys(w for m in judged.routes.modules for w in row[m].where)
            detail = "updates no module" + (f": {'; '.join(stops)}" if stops else "")
        elif loss.name not in trained:
            detail = f"stands in no phase: {', '.join(judged.spec.phases)}"
        else:
            continue
        yield find("dead-route", loss=loss.name, place=declared.place, detail=detail)


def starved(judged: Judged) -> Iterator[Finding]:
    """Modules with parameters that no loss updates."""
    spec, reached = judged.spec, judged.routes.reached
    unreached = [n for n, m in spec.modules.items() if n not in reached and m.layer.parameters()]
    if not unreached:
        return
    live, frozen = _applied(judged)
    for name in unreached:
        module, level = spec.modules[name], None
        if name in live:
            cells = ((loss, judged.routes[loss][name]) for loss in judged.routes)
            cut = [f"{loss}: {c}" for loss, c in cells if c.status in ("stopped", "masked")]
            detail = "; ".join(cut[:3]) + ("; ..." if len(cut) > 3 else "")
            detail = detail or "no loss reads what it makes"
        else:
            level = "note"
            detail = "it is applied frozen everywhere" if name in frozen else "nothing applies it"
        yield find(
            "starved-module", severity=level, subject=name, place=module.place, detail=detail
        )


def _applied(judged: Judged) -> tuple[set[str], set[str]]:
    """The modules that are applied with live parameters anywhere, and those applied frozen."""
    applications = [e for e in judged.graph.order if e.kind == "apply"]
    live = {e.attrs[0] for e in applications if not e.attrs[2]}
    return live, {e.attrs[0] for e in applications if e.attrs[2]}


def partial(judged: Judged) -> Iterator[Finding]:
    """Losses that reach a module by one path while another path to it is stopped."""
    reach = judged.reach
    for name, loss in judged.spec.losses.items():
        bits = reach[loss.expr]
        both = reach.modules(bits.live & bits.behind) & judged.routes[name].modules
        if both:
            modules = [m for m in judged.spec.modules if m in both]
            yield find(
                "partial-route",
                loss=name,
                subject=modules[0] if len(modules) == 1 else None,
                place=loss.place,
                modules=", ".join(f"`{m}`" for m in modules),
            )


def stale(judged: Judged) -> Iterator[Finding]:
    """Targets and states that are read and never change; targets that are copied every step."""
    spec, read = judged.spec, judged.graph.order
    applied = {e.attrs[0] for e in read if e.kind == "apply"}
    for target in spec.targets.values():
        if target.name not in applied:
            continue
        if target.decay == 1.0:
            yield find(
                "stale-target",
                subject=target.name,
                readers="the model",
                place=target.place,
                detail="its decay is 1",
            )
        elif target.decay == 0.0:
            yield find(
                "aliased-module",
                severity="note",
                subject=target.name,
                place=target.place,
                other=target.of,
                detail=" after every step: its decay is 0",
            )
    states = {e.attrs[1] for e in read if e.kind == "leaf" and e.attrs[0] == "state"}
    for name in spec.states:
        if name in states and name not in spec.updates:
            yield find(
                "stale-target",
                subject=name,
                readers="the model",
                detail=f"there is no s.update({name}, ...)",
            )


def ungated(judged: Judged) -> Iterator[Finding]:
    """Latents that feed a latent of another role with neither gate, stop nor `live()`."""
    spec, graph, table = judged.spec, judged.graph, judged.table
    owners: dict[Expr, str] = {
        z.expr: z.name
        for z in spec.latents.values()
        if any(table[m].live for m in table.moments_of(z.name))
    }
    for latent in spec.latents.values():
        seen, queue = {latent.expr}, [latent.expr]
        found: dict[str, None] = {}
        for e in queue:
            if e.kind in ("gate", "scale", "stop") or graph.cut(e) is not None:
                continue
            for edge in graph.edges(e):
                source = owners.get(edge.operand)
                if source is not None and spec.latents[source].role != latent.role:
                    found[source] = None
                elif edge.operand not in seen:
                    seen.add(edge.operand)
                    queue.append(edge.operand)
        for source in found:
            yield find(
                "ungated-edge",
                severity=severity(latent.role, "ungated-edge"),
                subject=latent.name,
                place=latent.place,
                role=latent.role.name,
                source=source,
                source_role=spec.latents[source].role.name,
            )


def batch_statistics(judged: Judged) -> Iterator[Finding]:
    """Losses in which entries of the batch meet."""
    known: dict[Expr, bool] = {}
    for loss in judged.losses:
        for present in loss.terms:
            c = present.comparison
            if c.couples:
                detail = f"{c.function} couples its entries"
            elif couples_below(list(c.operands), known):
                detail = "a mean over the batch stands inside it"
            else:
                continue
            yield find("batch-statistic", loss=loss.name, place=loss.declared.place, detail=detail)
            break
