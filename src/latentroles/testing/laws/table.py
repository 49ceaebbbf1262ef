"""The page of laws: what each says, on which backends it is run, and on how many specs."""

from collections.abc import Sequence

from ... import plugins
from .law import CAPABILITIES, LAWS, Law
from .values import other_than

# What hypothesis's `max_examples` is in the suite's own runs: every day, and in `tests-deep`.
EVERYDAY, DEEP = 25, 250

LATER = {
    "B23": "gradient accumulation equals the large batch",
    "B24": "data-parallel training equals a single process",
}
_HEAD = """\
# Laws

What holds of every spec (S) and of every backend (B). Each is a function of
`latentroles.testing.laws`, and is run on random specs: a number is how many of them, every day / in
`nox -s tests-deep`. A dash means that the backend has not what the law needs.

```
pytest --pyargs latentroles.testing.conformance --latentroles-backend NAME
```

runs those that apply on another backend. This page is written by
`PYTHONPATH=tests python -m latentroles.testing.laws numpy_backend > docs/laws.md`; `numpy` is the
reference in `tests/numpy_backend`, which interprets the spec and differentiates by dual numbers.
"""


def page(backends: Sequence[str]) -> str:
    """The page as Markdown."""
    titles = ["law", "what holds", "specs", *backends]
    rows = [_row(law, backends) for law in LAWS.values()]
    rows += [[id, f"{what} (not yet)", *[""] * (len(titles) - 2)] for id, what in LATER.items()]
    lines = [_HEAD, *(f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *rows))]
    lines += ["", "B15 is no law: the number is free.", "", "## What a backend may have", ""]
    lines += ["| capability | what it is | backends |", "|---|---|---|"]
    for name, what in CAPABILITIES.items():
        have = [b for b in backends if name in plugins.backend(b).capabilities]
        lines.append(f"| {name} | {what} | {', '.join(have)} |")
    return "\n".join(lines)


def _row(law: Law, backends: Sequence[str]) -> list[str]:
    statement = f"**{law.title}**: {law.statement}"
    if "backend" not in law.reads:
        return [law.id, statement, _counts(law, ""), *[""] * len(backends)]
    return [law.id, statement, "", *(_on(law, b) for b in backends)]


def _on(law: Law, backend: str) -> str:
    if law.missing(backend):
        return "-"
    if partner := compared_by(law, backend):
        return f"with {partner}"
    return _counts(law, backend)


def compared_by(law: Law, backend: str) -> str | None:
    """The slower backend whose run of the law compares it with this one, if there is one."""
    if "other" not in law.reads:
        return None
    other = other_than(backend)
    slower = plugins.backend(other).pace < plugins.backend(backend).pace
    return other if slower and other_than(other) == backend else None


def _counts(law: Law, backend: str) -> str:
    return " / ".join(str(law.examples(backend, budget)) for budget in (EVERYDAY, DEEP))
