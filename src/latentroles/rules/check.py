"""`lr.check`: every rule, held against a Spec."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import nearest
from ..spec.declarations import Allowance
from ..spec.spec import Spec, require_spec
from . import contracts, wiring
from .finding import Finding, Report, Verdict, accept, find
from .judged import Judged

_RULES = (
    wiring.vacuous,
    wiring.dead_routes,
    wiring.starved,
    wiring.stale,
    contracts.pressures,
    contracts.under_conditioned,
    contracts.history,
    contracts.requirements,
    wiring.duplicates,
    wiring.ungated,
    wiring.batch_statistics,
    wiring.partial,
)


def check(spec: Spec) -> Report:
    """Judges a declaration before a step is run.

    The spec is written out over time, and every rule is a query on that graph: no loss says of
    itself what it does. A finding says that an incentive is present and on which path; how much
    it does to a latent is for a measurement to say, which the finding names.

    Returns:
        A Report: `.ok` (no error), `.clean` (no error, no warning), `.findings`, `.allowed`,
        `.routes`, and `.verdicts[loss][latent]`, the pressures of each loss on each latent.
    """
    require_spec("check", spec)
    with _uncollected():
        judged = Judged(spec)
        used: set[Allowance] = set()
        findings = [_allowed(spec, finding, used) for finding in _found(judged)]
        findings += _unused(spec, used)
        return Report(spec.name, findings, judged.routes, _verdicts(judged))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Puts off garbage collection: nearly all that is made is kept until the end, and to look
    through it again and again makes the cost grow faster than the spec."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def standing(judged: Judged) -> list[Finding]:
    """The findings that no allowance covers."""
    spec = judged.spec
    return [f for f in _found(judged) if not any(_covers(a, f) for a in spec.allowances)]


def _found(judged: Judged) -> Iterator[Finding]:
    for rule in _RULES:
        yield from rule(judged)


def _allowed(spec: Spec, finding: Finding, used: set[Allowance]) -> Finding:
    for allowance in spec.allowances:
        if _covers(allowance, finding):
            used.add(allowance)
            return accept(finding, allowance.because)
    return finding


def _covers(allowance: Allowance, finding: Finding) -> bool:
    return (
        allowance.rule in (finding.rule, finding.code)
        and allowance.loss in (None, finding.loss)
        and allowance.latent in (None, finding.subject)
        and allowance.module in (None, finding.subject)
    )


def _unused(spec: Spec, used: set[Allowance]) -> Iterator[Finding]:
    """Allowances that no finding needs, whichever gates are open.

    Of a loss whose weight is 0 none is asked for. A spec that was read from JSON does not know such
    losses, and asks nothing of the losses that it does not have.
    """
    absent = spec.absent
    unused = [
        a
        for a in spec.allowances
        if a not in used
        and (a.loss in (None, *spec.losses) or (absent is not None and a.loss not in absent))
    ]
    if unused and not all(gate.open for gate in spec.gates.values()):
        opened = Judged(spec.with_gates(**dict.fromkeys(spec.gates, True)))
        found = list(_found(opened))
        unused = [a for a in unused if not any(_covers(a, finding) for finding in found)]
    for allowance in unused:
        where = [f', loss="{allowance.loss}"'] if allowance.loss else []
        unknown = allowance.loss is not None and allowance.loss not in spec.losses
        where += [f', latent="{allowance.latent}"'] if allowance.latent else []
        where += [f', module="{allowance.module}"'] if allowance.module else []
        yield find(
            "unused-allowance",
            loss=allowance.loss,
            subject=allowance.latent or allowance.module,
            allowed=allowance.rule,
            detail="".join(where),
            hint=nearest(allowance.loss or "", spec.losses) if unknown else "",
        )


def _verdicts(judged: Judged) -> dict[str, Verdict]:
    latents = tuple(judged.spec.latents)
    verdicts = {}
    for loss in judged.losses:
        row: dict[str, set[str]] = {name: set() for name in loss.shaped}
        for pressure in loss.pressures:
            slug = f"{'anti:' if pressure.opposed else ''}{pressure.slug}"
            row.setdefault(pressure.latent, set()).add(slug)
        verdicts[loss.name] = Verdict(latents, {z: frozenset(slugs) for z, slugs in row.items()})
    return verdicts
