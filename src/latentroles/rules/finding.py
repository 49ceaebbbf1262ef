"""Findings, and the Report that holds them: what a check or an audit has to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import SpecError, nearest
from ..routes.table import RouteTable, aligned
from ..rulebook import RULES, SEVERITIES

ISOLATED = frozenset({"isolated"})


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found in one place.

    Args:
        rule: the slug of the rule.
        severity: "error", "warning" or "note".
        message: what is the case, in one line.
        loss: the loss that it is about, if any.
        subject: the latent, module, target or state that it is about, if any.
        path: the route in the user's names, such as "jepa <- h_to_z <- h[t+1] <- predictor".
        why: what is wrong with it.
        fix: what to do.
        measure: what would settle how much it matters, or "".
        place: (file, line) of the declaration, where it is known.
        because: the reason for which the spec allows it; None where it does not.
    """

    rule: str
    severity: str
    message: str
    loss: str | None = None
    subject: str | None = None
    path: str = ""
    why: str = ""
    fix: str = ""
    measure: str = ""
    place: tuple[str, int] | None = None
    because: str | None = None

    @property
    def code(self) -> str:
        """The code of the rule, such as "LR201"."""
        return RULES[self.rule].code

    def __str__(self) -> str:
        return self.text()

    def text(self, *, reason: bool = True) -> str:
        """The finding as a person reads it.

        Args:
            reason: whether to say what is wrong with it; a note says no more than its message.
        """
        lines = [f"{self.code} {self.rule}: {self.message}"]
        if self.path:
            lines.append(f"  {self.path}")
        if self.severity != "note":
            lines += [f"  {self.why}"] * reason
            settled = f"     measure: {self.measure}" if self.measure else ""
            lines.append(f"  fix: {self.fix}{settled}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The finding as plain data."""
        return {
            "code": self.code,
            "rule": self.rule,
            "severity": self.severity,
            "loss": self.loss,
            "subject": self.subject,
            "message": self.message,
            "path": self.path,
            "why": self.why,
            "fix": self.fix,
            "measure": self.measure,
            "place": [_shown(self.place[0]), self.place[1]] if self.place else None,
            "because": self.because,
        }


def find(
    rule: str,
    *,
    severity: str | None = None,
    loss: str | None = None,
    subject: str | None = None,
    path: str = "",
    place: tuple[str, int] | None = None,
    code: bool = False,
    **fields: str,
) -> Finding:
    """A finding in the words of its rule.

    Args:
        severity: of rules whose severity a role decides; others have their own.
        code: whether it is about running code, whose fix may be another one than a spec's.
        fields: what the rule's message, reason and fix name beside `loss`, `subject` and `path`.
    """
    said = RULES[rule]
    values = {**fields, "loss": loss or "", "subject": subject or "", "path": path}
    return Finding(
        rule,
        severity or said.severity or "note",
        said.message.format_map(values),
        loss,
        subject,
        path,
        said.why.format_map(values),
        (said.in_code if code and said.in_code else said.fix).format_map(values),
        said.measure,
        place,
    )


class Verdict(Mapping[str, frozenset[str]]):
    """The pressures of one loss: latent -> slugs; "isolated" where no gradient arrives.

    Args:
        latents: every latent.
        shaped: the pressures on those that the loss shapes; an empty set is a live route that no
            rule has a word on.
    """

    def __init__(self, latents: Sequence[str], shaped: Mapping[str, frozenset[str]]):
        self._latents, self._shaped = latents, shaped

    def __getitem__(self, latent: str) -> frozenset[str]:
        if latent not in self._latents:  # a KeyError, so that `in` and `get` work
            raise KeyError(f"no latent {latent!r}.{nearest(latent, self._latents)}")
        return self._shaped.get(latent, ISOLATED)

    def __iter__(self) -> Iterator[str]:
        return iter(self._latents)

    def __len__(self) -> int:
        return len(self._latents)


class Report:
    """What a check or an audit found.

    Attributes:
        name: of what was checked.
        findings: every finding that stands, errors first.
        allowed: the findings that the declaration accepts, with `because` set.
        routes: the RouteTable that was judged.
        verdicts: {loss: {latent: slugs of the pressures that the loss puts on it}}; the word
            "isolated" where no gradient of the loss reaches the latent. Empty for an audit.
    """

    def __init__(
        self,
        name: str,
        findings: Sequence[Finding],
        routes: RouteTable,
        verdicts: Mapping[str, Verdict] | None = None,
    ):
        order = {severity: i for i, severity in enumerate(SEVERITIES)}
        ranked = sorted(findings, key=lambda f: order[f.severity])
        self.name, self.routes = name, routes
        self.findings = tuple(f for f in ranked if f.because is None)
        self.allowed = tuple(f for f in ranked if f.because is not None)
        self.verdicts = verdicts or {}

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "note")

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    @property
    def clean(self) -> bool:
        """Whether there is no error and no warning."""
        return not self.errors and not self.warnings

    def assert_clean(self) -> None:
        """For a test suite.

        Raises:
            AssertionError: there is an error or a warning; its text is the whole report.
        """
        __tracebackhide__ = True
        if not self.clean:
            raise AssertionError(str(self))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def of(self, rule: str) -> tuple[Finding, ...]:
        """The findings of one rule.

        Raises:
            SpecError: there is no such rule.
        """
        if rule not in RULES:
            raise SpecError(f"no rule {rule!r}.{nearest(rule, RULES)}")
        return tuple(f for f in self.findings if f.rule == rule)

    def __repr__(self) -> str:
        return f"<Report of {self.name}: {self.summary()}>"

    def summary(self) -> str:
        """Such as "1 error, 2 warnings, 4 notes, 2 allowed"."""
        counts = [
            (len(self.errors), "error"),
            (len(self.warnings), "warning"),
            (len(self.notes), "note"),
        ]
        said = [f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts if n]
        said += [f"{len(self.allowed)} allowed"] * bool(self.allowed)
        return ", ".join(said) or "no findings"

    def __str__(self) -> str:
        """Every finding, the reason of each rule once; what is allowed and why; a summary."""
        parts, said = [], set()
        for f in (*self.errors, *self.warnings):
            parts.append(f"{_line(f)}{f.severity} {f.text(reason=f.rule not in said)}")
            said.add(f.rule)
        parts += ["\n".join(f"{_line(f)}note {f}" for f in self.notes)] * bool(self.notes)
        return "\n\n".join([*parts, self.closing()])

    def closing(self) -> str:
        """What is allowed and why, and the summary."""
        allowed = [
            f"allowed {f.code} {f.rule}: {f.message}\n  because {f.because}" for f in self.allowed
        ]
        return "\n".join([*allowed, *([""] * bool(allowed)), f"{self.name}: {self.summary()}"])

    def table(self) -> str:
        """Loss by latent: the pressures that each loss puts on each latent."""
        latents = list(dict.fromkeys(z for row in self.verdicts.values() for z in row))
        rows = [["loss", *(f"on {z}" for z in latents)]]
        for loss, row in self.verdicts.items():
            rows.append([loss, *(", ".join(sorted(row[z])) or "live" for z in latents)])
        return "\n".join(aligned(rows))

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "name": self.name,
            "ok": self.ok,
            "clean": self.clean,
            "findings": [f.to_json() for f in self.findings],
            "allowed": [f.to_json() for f in self.allowed],
            "verdicts": {
                loss: {latent: sorted(slugs) for latent, slugs in row.items()}
                for loss, row in self.verdicts.items()
            },
            "routes": self.routes.to_json(),
        }

    def github(self) -> str:
        """The findings as GitHub workflow commands, which become annotations of the lines."""
        kinds = {"error": "error", "warning": "warning", "note": "notice"}
        lines = []
        for f in self.findings:
            where = (
                f"file={_escaped(_shown(f.place[0]), True)},line={f.place[1]}," if f.place else ""
            )
            title = _escaped(f"{f.code} {f.rule}", True)
            text = "\n".join(filter(None, (f.message, f.path, f.why, f"fix: {f.fix}")))
            lines.append(f"::{kinds[f.severity]} {where}title={title}::{_escaped(text)}")
        return "\n".join(lines)


def accept(finding: Finding, because: str) -> Finding:
    """The finding, allowed for a reason."""
    return replace(finding, because=because)


def _shown(file: str) -> str:
    """A path as seen from the working folder, where it lies below."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _line(f: Finding) -> str:
    return f"{_shown(f.place[0])}:{f.place[1]}: " if f.place else ""


def _escaped(text: str, in_property: bool = False) -> str:
    """Workflow commands read %, line ends, and in properties also ":" and "," as their own."""
    for raw, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(raw, code)
    if in_property:
        text = text.replace(":", "%3A").replace(",", "%2C")
    return text
