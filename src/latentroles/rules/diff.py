"""`lr.diff`: what a change of a model does to its routes and verdicts, for a review."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..spec.spec import Spec, require_spec
from .check import check
from .finding import Finding, Report


@dataclass(frozen=True)
class Diff:
    """What changes from one spec to another; prints as a review reads it.

    Args:
        routes: the routes, losses and modules that change, one line each.
        verdicts: the pressures that change, one line each.
        new, gone: the findings that appear and disappear, notes included.
        shown: the measures and pictures that appear and disappear, one line each.
    """

    routes: tuple[str, ...]
    verdicts: tuple[str, ...]
    new: tuple[Finding, ...]
    gone: tuple[Finding, ...]
    shown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.routes or self.verdicts or self.new or self.gone or self.shown)

    def __str__(self) -> str:
        parts = [("routes", self.routes), ("pressures", self.verdicts), ("to look at", self.shown)]
        for title, findings in (("new findings", self.new), ("findings gone", self.gone)):
            parts.append((title, tuple(f"{f.severity} {f.code} {f.message}" for f in findings)))
        blocks = [
            "\n".join([f"{title}:", *(f"  {line}" for line in lines)])
            for title, lines in parts
            if lines
        ]
        return "\n".join(blocks) or "routes and verdicts are the same"


def diff(before: Spec, after: Spec) -> Diff:
    """Compares the routes, the pressures and the findings of two specs."""
    require_spec("diff", before)
    require_spec("diff", after)
    old, new = check(before), check(after)
    was, now = ({_key(f): f for f in report} for report in (old, new))
    return Diff(
        old.routes.differences(new.routes),
        tuple(_verdicts(old, new)),
        tuple(f for key, f in now.items() if key not in was),
        tuple(f for key, f in was.items() if key not in now),
        tuple(_shown(before, after)),
    )


def _key(f: Finding) -> tuple[str, str, str | None, str | None]:
    return (f.rule, f.severity, f.loss, f.subject)


def _verdicts(old: Report, new: Report) -> list[str]:
    lines = []
    for loss in [loss for loss in old.verdicts if loss in new.verdicts]:
        was, now = old.verdicts[loss], new.verdicts[loss]
        for latent in [latent for latent in was if latent in now]:
            if was[latent] != now[latent]:
                lines.append(f"{loss} on {latent}: {_named(was[latent])} -> {_named(now[latent])}")
    return lines


def _shown(before: Spec, after: Spec) -> Iterator[str]:
    for what in ("measures", "pictures"):
        was, now = getattr(before, what), getattr(after, what)
        yield from (f"+ {what[:-1]} {name}" for name in now if name not in was)
        yield from (f"- {what[:-1]} {name}" for name in was if name not in now)


def _named(slugs: frozenset[str]) -> str:
    return ", ".join(sorted(slugs)) or "live"
