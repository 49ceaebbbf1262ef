"""What `evaluate` returns: metrics with their controls, verdicts, a table and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .measured import METRICS, Measured, plain
from .statistics import Equivalence, Interval, equivalence, interval

FORMAT, VERSION = "latentroles-evaluation", 2
_LOOKED_UNLIKE = 0.01  # of revisits, at least, for a pass: of fewer it would be an accident
_KEPT = 0.5  # of what there is to read: a leak that is noted beside a pass
_SHORT = {
    "oracle place": "oracle",
    "raw frame": "frame",
    "regulariser only": "regul.",
    "time index": "time",
    "dead-reckoned": "reckoned",
    "shuffled places": "shuffled",
}


@dataclass(frozen=True)
class Evaluation:
    """Every metric of an encoder, with every control beside it.

    Attributes:
        name: of the encoder.
        environment: where it was measured.
        reads: "frame" or "history".
        visits, places, episodes: how many.
        unlike: the share of revisits whose frames differ; None where frames are not used.
        aliased: the share of visits whose frame is seen at another place, too.
        nuisances: those that vary.
        seeds: the metrics of each seed of the encoder.
        controls: name -> the metrics of a control.
        margin: the LCR up to which a revisit counts as the same.
        separation: the share of revisits that are to be nearer than every wrong place.
        remarks: what the caller has to say of the data.
        settings: how it was measured besides, as JSON values.
    """

    name: str
    environment: str
    reads: str
    visits: int
    places: int
    episodes: int
    unlike: float | None
    aliased: float
    nuisances: tuple[str, ...]
    seeds: tuple[Measured, ...]
    controls: Mapping[str, Measured]
    margin: float
    separation: float
    remarks: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Of these encoders as they are.

        "degenerate (collapsed)", "vacuous here", "pass", "fail", "merges places", or "not
        measured" without LCR.

        - degenerate: z is a constant, up to round-off, in one of the seeds.
        - vacuous here: no two visits to one place look different, so that any encoder of single
          frames is invariant; or so few do (less than 1 % of revisits) that to pass says nothing.
        - merges places: LCR is at most the margin, but of an average query less than `separation`
          of its revisits are nearer than every wrong place: z returns since it hardly tells places
          apart.
        - pass: LCR over revisits that look different is at most the margin, in each seed. Of an
          encoder that reads a history, over all revisits.
        """
        if any(m.degenerate for m in self.seeds):
            return "degenerate (collapsed)"
        if self.unlike == 0:
            return "vacuous here"
        ratios = self._ratios()
        if ratios is None:
            return "not measured"
        if max(ratios) > self.margin:
            return "fail"
        if any(share < self.separation for share in self._told()):
            return "merges places"
        rarely = self.unlike is not None and self.unlike < _LOOKED_UNLIKE
        return "vacuous here" if rarely else "pass"

    @property
    def claim(self) -> Equivalence:
        """Of encoders trained like these: whether their LCR is within the margin, by seeds.

        The verdict is "equivalent", "not equivalent" or "not enough seeds to say"; where the
        encoders' own verdict is that nothing can be said, it is that.
        """
        ratios = self._ratios()
        if self.verdict not in ("pass", "fail") or ratios is None:
            return Equivalence(None, self.verdict)
        return equivalence(ratios, self.margin)

    def value(self, metric: str) -> Interval | None:
        """A metric's mean over seeds and its interval; None where a seed does not have it.

        From 20 seeds on a bootstrap of seeds and episodes where the metric is a mean over visits
        (R@1); else Student's, over seeds.
        """
        values = [m.values.get(metric) for m in self.seeds]
        if any(value is None for value in values):
            return None
        episodes = [m.episodes.get(metric) for m in self.seeds]
        if any(e is None for e in episodes):
            return interval(values)
        known = [e for e in episodes if e is not None]
        return interval([e[:, 0] for e in known], [e[:, 1] for e in known])

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of what was measured, in the order of the table."""
        measured = dict.fromkeys(name for m in self.seeds for name in m.values)
        return tuple(
            [n for n in METRICS if n in measured] + [n for n in measured if n not in METRICS]
        )

    def table(self) -> str:
        """For the terminal: a row for each metric, a column for each control; then the verdicts."""
        shown = [
            name
            for name in self.metrics
            if not name.endswith(("_permuted", "_entropy"))
            and any(m.values.get(name) is not None for m in (*self.seeds, *self.controls.values()))
        ]
        heads = ["", self.name, *(_SHORT.get(name, name) for name in self.controls)]
        rows = [
            [
                _title(name),
                _interval(self.value(name)) + _beside(self.seeds, name),
                *(_number(m.values.get(name)) + _beside([m], name) for m in self.controls.values()),
            ]
            for name in shown
        ]
        claim = self.claim
        p = "" if claim.p is None else f" (p = {claim.p:.2g})"
        lines = [
            f"{self.name} in {self.environment}: {self.visits} visits to {self.places} places in "
            f"{self.episodes} episodes, {len(self.seeds)} seed(s)",
            *_aligned([heads, *rows]),
            *(["leakage in bits, (permuted control)"] if any("leak" in n for n in shown) else []),
            *(["± is half of the 95 % interval over seeds"] if len(self.seeds) > 1 else []),
            "",
            f"these encoders: {self.verdict}{self._because()}",
            f"encoders trained like them: {claim.verdict}{p}",
            *(f"note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known before the numbers are read."""
        found = list(dict.fromkeys(note for m in self.seeds for note in m.notes))
        found += self.remarks
        if self.verdict == "pass":
            found += self._kept()
        ratios = self._ratios() or []
        if len(ratios) > 1 and len(set(ratios)) == 1 and ratios[0] > 0:
            found.append(
                f"all {len(ratios)} seeds have one and the same LCR: are they one training? What "
                "is said of encoders trained like them takes them for as many"
            )
        if self.aliased:
            found.append(
                f"{self.aliased:.0%} of visits show a frame that is seen at another place, too; "
                "identical frames are not counted as apart"
            )
        return tuple(found)

    def to_json(self) -> dict[str, object]:
        """The evaluation as JSON values. `docs/evaluating.md` has the form."""
        metrics = {}
        for name in self.metrics:
            known = METRICS.get(name)
            over = self.value(name)
            metrics[name] = {
                "title": _title(name),
                "better": known.better if known else _better_leak(name),
                "meaning": known.meaning if known else _leak_meaning(name),
                "seeds": [m.values.get(name) for m in self.seeds],
                "mean": over and over.mean,
                "interval": [over.low, over.high] if over and over.low is not None else None,
                "method": over and over.method,
                "controls": {label: m.values.get(name) for label, m in self.controls.items()},
            }
        return plain(
            {
                "format": FORMAT,
                "version": VERSION,
                "name": self.name,
                "environment": self.environment,
                "reads": self.reads,
                "visits": self.visits,
                "places": self.places,
                "episodes": self.episodes,
                "unlike": self.unlike,
                "aliased": self.aliased,
                "nuisances": list(self.nuisances),
                "margin": self.margin,
                "separation": self.separation,
                "settings": dict(self.settings),
                "verdict": self.verdict,
                "because": self._because().strip(" ()"),
                "claim": asdict(self.claim),
                "notes": list(self.notes),
                "metrics": metrics,
                "encoders": [m.to_json() for m in self.seeds],
                "controls": {name: m.to_json() for name, m in self.controls.items()},
            }
        )

    def _ratios(self) -> list[float] | None:
        """LCR of each seed: of revisits that look different where that is known."""
        key = "lcr_unlike" if self.unlike else "lcr"
        values = [m.values.get(key) for m in self.seeds]
        found = [value for value in values if value is not None]
        return found if len(found) == len(values) else None

    def _told(self) -> list[float]:
        """The share of revisits nearer than every wrong place, of each seed that has it."""
        told = [m.values.get("beats") for m in self.seeds]
        return [share for share in told if share is not None]

    def _kept(self) -> list[str]:
        """Notes of what z tells, given place, of more than half that there is: it is not of G2."""
        found = []
        for name in self.metrics:
            read = [self.value(name + form) for form in ("", "_permuted", "_entropy")]
            bits, permuted, entropy = (over.mean if over else 0.0 for over in read)
            if bits - permuted > _KEPT * entropy > 0:
                found.append(
                    f"{_title(name)}: visits to a place lie close together, but how they differ "
                    f"still tells {bits:.2f} of {entropy:.2f} bits"
                )
        return found

    def _because(self) -> str:
        verdict = self.verdict
        if verdict == "vacuous here" and self.unlike == 0:
            return " (every visit to a place shows the same frame)"
        if verdict == "vacuous here":
            return f" (only {self.unlike:.2g} of the revisits look different)"
        told = self._told()
        share = (
            f"{min(told):.3g} of the revisits nearer than every wrong place; "
            f"separation {self.separation:g}"
            if told
            else "separation not measured"
        )
        if verdict == "merges places":
            return f" ({share})"
        ratios = self._ratios()
        if verdict not in ("pass", "fail") or ratios is None:
            return ""
        worst = held = ""
        if len(ratios) > 1:
            within = sum(ratio <= self.margin for ratio in ratios)
            worst, held = "in the worst seed ", f", held in {within} of {len(ratios)} seeds"
        return (
            f" ({worst}revisits lie at {max(ratios):.3g} of the distance between places; "
            f"margin {self.margin:g}{held}{'; ' + share if verdict == 'pass' else ''})"
        )


def _beside(seeds: Sequence[Measured], name: str) -> str:
    """The permuted control of a leak, in parentheses."""
    permuted = [m.values.get(f"{name}_permuted") for m in seeds]
    known = [value for value in permuted if value is not None]
    return f" ({np.mean(known):.2f})" if known else ""


def _title(name: str) -> str:
    if name in METRICS:
        return METRICS[name].title
    label = name.removeprefix("leak_")
    suffix = {"_noisy": ", noisy", "_permuted": ", permuted", "_entropy": ", entropy"}
    ending = ""
    for tail, words in suffix.items():
        while label.endswith(tail):
            label, ending = label.removesuffix(tail), words + ending
    if label[:1] == "a" and label[1:].isdigit():
        label = f"action {label[1:]} back"
    return f"leak: {label}{ending}"


def _better_leak(name: str) -> str:
    """Less is better of what leaks, but not of what there is to leak, nor of the control."""
    return "" if name.endswith(("_entropy", "_permuted")) else "less"


def _leak_meaning(name: str) -> str:
    said = "bits of conditional information given place, by linear probes"
    if name.endswith("_entropy"):
        return "bits that there are to read, given place"
    if name.endswith("_permuted"):
        said += ", labels permuted within places"
    return said + (
        ", under noise of a quarter of the distance between places" if "_noisy" in name else ""
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"


def _interval(found: Interval | None) -> str:
    if found is None:
        return "-"
    if found.low is None or found.high is None or found.high - found.low < 1e-9:
        return _number(found.mean)
    if found.method == "t over seeds":
        return f"{_number(found.mean)} ± {_number(found.high - found.mean)}"
    return f"{_number(found.mean)} [{_number(found.low)}, {_number(found.high)}]"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "  ".join("-" * w for w in widths), *lines[1:]]
