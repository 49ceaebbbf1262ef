"""The part of a report about loops: what was measured, and what it looks like."""

import math
from collections.abc import Iterable
from html import escape

import numpy as np

from latentroles.evaluate.evaluation import Evaluation
from latentroles.evaluate.settings import Settings
from latentroles.evaluate.sources import Source

from . import embedding, figures


def blocks(found: Evaluation, source: Source, z: np.ndarray, how: Settings) -> list[str]:
    """The pieces of HTML, first what may be said, then the numbers, then pictures.

    Args:
        z: (N, D) of the visits of `source`.
        how: it was measured; said where it is not the default, since a verdict depends on it.
    """
    kind = found.verdict if found.verdict in ("pass", "fail") else "vacuous"
    reason = found.to_json()["because"]
    because = f" ({reason})" if reason else ""
    said = [
        f"<p>{escape(found.name)} in {escape(found.environment)}: {found.visits} visits to "
        f"{found.places} places in {found.episodes} episodes.</p>",
        f'<p class="verdict {kind}">This encoder: {escape(found.verdict + because)}.</p>',
        f"<p>Encoders trained like it: {escape(found.claim.verdict)}.</p>",
        *([f"<p>Measured with {escape(how.changed)}.</p>"] if how.changed else []),
        *(f'<p class="quiet">{escape(note)}</p>' for note in found.notes),
    ]
    drawn = [
        _figure(
            embedding.plane(z, source.visits),
            f"The plane in which z varies most, at most {embedding.POINTS} visits: coloured by "
            "place, and by what is to leave no trace, dark to bright in the order of their values.",
        ),
        _figure(
            embedding.recurrence(z, source.visits),
            "Left the distances in z between the steps of an episode, bright where they are small; "
            "right where the agent truly was at the same place.",
        ),
    ]
    drift = found.seeds[0].drift
    if drift is not None and drift.slope == 0:
        drawn.append("<p>No loop of any length moved z.</p>")
    elif drift is not None and math.isfinite(drift.slope) and min(drift.lcr) > 0:
        drawn.append(
            _figure(
                figures.drift(drift.lengths, drift.lcr),
                f"LCR of loops by their length; log-log slope {drift.slope:.2g}: 0 is invariant, "
                "1/2 diffusive, 1 ballistic.",
            )
        )
    return [*said, _table(found), *drawn, *_matches(source, z)]


def _table(found: Evaluation) -> str:
    """Every metric, with its controls beside it."""
    told = found.to_json()["metrics"]
    assert isinstance(told, dict)
    heads = ["", found.name, *found.controls]
    lines = ["".join(f'<th scope="col">{escape(head)}</th>' for head in heads)]
    for name, metric in told.items():
        if name.endswith(("_permuted", "_entropy")):
            continue
        interval = metric["interval"]
        own = _number(metric["mean"])
        if interval:
            own += f" [{_number(interval[0])}, {_number(interval[1])}]"
        cells = [own, *(_number(value) for value in metric["controls"].values())]
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        meaning = f'<br><span class="quiet">{escape(metric["meaning"])}</span>'
        lines.append(f'<th scope="row">{escape(metric["title"])}{meaning}</th>{numbers}')
    head, *body = (f"<tr>{line}</tr>" for line in lines)
    rows = f"<thead>{head}</thead><tbody>{''.join(body)}</tbody>"
    region = 'class="wide" tabindex="0" role="region" aria-label="metrics"'
    return f"<div {region}><table>{rows}</table></div>"


def _matches(source: Source, z: np.ndarray) -> Iterable[str]:
    frames = source.frames
    if frames.ndim != 4 or frames.shape[1] not in (1, 3):
        return
    found = embedding.matches(z, source.visits, frames)
    if not found:
        return
    yield "<h3>Nearest revisits</h3><p>Left a visit, right the nearest in z of another episode.</p>"
    shown = "".join(
        f'<figure><img src="{m.query}" alt="query"> <img src="{m.best}" alt="nearest visit">'
        f'<figcaption class="{"pass" if m.right else "fail"}">'
        f"{'right' if m.right else 'wrong'}: {escape(m.said)}</figcaption></figure>"
        for m in found
    )
    yield f'<div class="pictures">{shown}</div>'


def _figure(drawn: str, caption: str) -> str:
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
