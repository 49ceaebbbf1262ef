"""Learning curves: one small chart for each loss and each measure, as a PNG."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentroles.errors import TrainingError
from latentroles.evaluate.figure import INK, figure, save

_COLUMNS = 3
_POINTS = 400  # more bins than a panel has pixels to tell apart show nothing
_FLOOR = 1e-10  # of the greatest value: a logarithmic axis down to round-off shows nothing else
_WIDE = 5.0  # times the least value, or the usual range: what one linear axis cannot show
_BLUE, _GREY = "#1f5fa8", "#8a8a8a"


def draw(
    rows: Sequence[Mapping[str, Any]], path: Path, *, title: str, last: Mapping[str, float]
) -> None:
    """Writes `chart` as a PNG, replaced whole.

    Raises:
        PluginError: matplotlib is not installed.
        TrainingError: there is nothing to draw, or the file cannot be written.
    """
    save(chart(rows, title=title, last=last), path)


def chart(rows: Sequence[Mapping[str, Any]], *, title: str, last: Mapping[str, float]) -> Any:
    """Draws each loss of a metrics log against the step, in small multiples that share the step.

    The pale line is the loss itself; over more than 400 logged steps it is a band from the least
    to the greatest value of a bin. The dark line is the mean over 1/25 of the run. An axis is
    logarithmic where the loss is positive and its mean changes by a factor of 5 or more. The dashed
    line is the loss on the data held out. Dotted lines are the starts of phases. Behind the losses
    come the measures, which are dashed where they are of the data held out; those that are not
    positive leave out what lies far from the later two thirds, with an arrow at the border.

    Args:
        rows: lines of `metrics.jsonl`, as `train.metrics.read` gives them.
        title: above all panels.
        last: the number at the right of each panel: the loss at the end.

    Returns:
        A matplotlib figure.
    """
    if not rows:
        raise TrainingError("There is no logged step to draw.")
    series, held_out, looked_at = _series(rows), validation(rows), measures(rows)
    count = len(series) + len(looked_at)
    starts = _phase_starts(rows)
    columns = min(_COLUMNS, count)
    lines = math.ceil(count / columns)
    drawn = figure(2.4 * columns + 0.2, 1.45 * lines + 0.6, layout="constrained")
    axes = drawn.subplots(lines, columns, squeeze=False, sharex=True)
    span = (rows[0]["step"], max(rows[-1]["step"], rows[0]["step"] + 1))
    for panel, (name, (steps, values)) in zip(axes.flat, series.items(), strict=False):
        _panel(panel, name, steps, values)
        if name in held_out:
            panel.plot(*held_out[name], color=INK, linewidth=1.0, linestyle="--")
        panel.set_title(f"{last[name]:.4g}", fontsize=7.5, color=_BLUE, loc="right", pad=3)
    for panel, (name, (steps, values)) in zip(
        axes.flat[len(series) :], looked_at.items(), strict=False
    ):
        style = {"color": INK, "linestyle": "--"} if held_out else {"color": _BLUE}
        alone = "o" if len(steps) == 1 else None
        panel.plot(steps, values, linewidth=1.0, marker=alone, markersize=3, **style)
        if not _log_axis(panel, values, values):
            _plain_axis(panel)
            if values.min() <= 0:
                _clip_axis(panel, steps, values)
        panel.set_title(name, fontsize=7.5, color=INK, loc="left", pad=3)
        panel.set_title(f"{values[-1]:.4g}", fontsize=7.5, color=_BLUE, loc="right", pad=3)
    for panel in axes.flat[:count]:
        _frame(panel, span)
        for _, start in starts[1:]:
            panel.axvline(start, color=_GREY, linewidth=0.6, linestyle=":")
    for panel in axes.flat[count:]:
        panel.set_visible(False)
    for lowest in axes.flat[max(0, count - columns) : count]:
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel("optimiser step", fontsize=7.5, color=INK)
    shown = "losses and measures" if looked_at else "losses"
    heading = f"{title}: {shown} by step, and at the end"
    if held_out:
        heading += "; dashed: held out"
    if len(starts) > 1:
        heading += f" (phases: {', '.join(f'{name} from {start}' for name, start in starts)})"
    drawn.suptitle(heading, fontsize=9, color=INK, x=0.01, ha="left")
    return drawn


def validation(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The validations of each loss, and of the total: name -> (steps, values)."""
    measured = [
        {"step": row["step"], "phase": row["phase"], **row["validation"]}
        for row in rows
        if "validation" in row
    ]
    return _series(measured) if measured else {}


def measures(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The values of each measure that are finite: name -> (steps, values)."""
    collected: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.get("measures", {}).items():
            if value is not None:
                collected.setdefault(name, []).append((row["step"], value))
    return {
        n: (np.array([s for s, _ in found]), np.array([v for _, v in found], dtype=float))
        for n, found in collected.items()
    }


def _series(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> (steps, values); the total first, unless phases sum different losses."""
    collected: dict[str, tuple[list[int], list[float]]] = {}
    if len({row["phase"] for row in rows}) == 1 and len(rows[0]["losses"]) > 1:
        collected["total"] = ([r["step"] for r in rows], [r["total"] for r in rows])
    for row in rows:
        for name, value in row["losses"].items():
            steps, values = collected.setdefault(name, ([], []))
            steps.append(row["step"])
            values.append(value)
    return {n: (np.array(s), np.array(v, dtype=float)) for n, (s, v) in collected.items()}


def _phase_starts(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    starts: list[tuple[str, int]] = []
    for row in rows:
        if not starts or starts[-1][0] != row["phase"]:
            starts.append((row["phase"], row["step"]))
    return starts


def _panel(panel: Any, name: str, steps: np.ndarray, values: np.ndarray) -> None:
    size = math.ceil(len(values) / _POINTS)
    cuts = np.arange(0, len(values), size)
    counts = np.diff(cuts, append=len(values))
    at = np.add.reduceat(steps, cuts) / counts
    mean = np.add.reduceat(values, cuts) / counts
    smooth = _smooth(mean, len(mean) // 25)
    if size == 1:
        panel.plot(at, mean, color=_BLUE, alpha=0.3, linewidth=0.7)
    else:
        low, high = np.minimum.reduceat(values, cuts), np.maximum.reduceat(values, cuts)
        panel.fill_between(at, low, high, color=_BLUE, alpha=0.25, linewidth=0)
    panel.plot(at, smooth, color=_BLUE, linewidth=1.3, marker="o" if len(at) == 1 else None, ms=3)
    panel.set_title(name, fontsize=7.5, color=INK, loc="left", pad=3)
    if not _log_axis(panel, values, smooth):
        _plain_axis(panel)


def _log_axis(panel: Any, values: np.ndarray, course: np.ndarray) -> bool:
    """Makes the axis logarithmic, and says so, where `values` and their `course` ask for it."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if not (values.min() > 0 and course.max() >= _WIDE * course.min()):
        return False
    panel.set_yscale("log")
    if values.min() < _FLOOR * values.max():
        panel.set_ylim(_FLOOR * values.max(), 2 * values.max())
    if values.max() < 100 * values.min():
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    panel.yaxis.set_major_formatter(_plain_or_power)
    panel.yaxis.set_minor_formatter(NullFormatter())
    return True


def _clip_axis(panel: Any, steps: np.ndarray, values: np.ndarray) -> None:
    """Shows the run after its beginning where the few values of that would hide it."""
    shown = shown_range(values)
    if shown is None:
        return
    panel.set_ylim(*shown)
    for beyond, border, marker in (
        (values < shown[0], shown[0], "v"),
        (values > shown[1], shown[1], "^"),
    ):
        border_of = np.full(beyond.sum(), border)
        (arrows,) = panel.plot(steps[beyond], border_of, marker, color=_BLUE, ms=3, clip_on=False)
        arrows.set_in_layout(False)  # it may stand out of its panel


def shown_range(values: np.ndarray) -> tuple[float, float] | None:
    """The range of an axis that leaves far values of the beginning out, or None to show all.

    It is that from the 5th to the 95th percentile of the later two thirds, and of the last value,
    where all values take five times as much room.
    """
    low, high = np.percentile(values[len(values) // 3 :], [5.0, 95.0])
    low, high = min(low, values[-1]), max(high, values[-1])
    if values.max() - values.min() <= _WIDE * (high - low):
        return None
    margin = 0.5 * (high - low) or 0.05 * max(abs(low), abs(high)) or 1.0
    return float(low - margin), float(high + margin)


def _plain_axis(panel: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.yaxis.set_major_locator(MaxNLocator(4))


def _frame(panel: Any, span: tuple[int, int]) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_xlim(*span)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.tick_params(labelsize=6.5, colors=INK, width=0.6, length=2.5)
    panel.grid(True, which="major", color="#e6e6e6", linewidth=0.5)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_linewidth(0.6)
        panel.spines[side].set_color(_GREY)


def _plain_or_power(value: float, position: int | None) -> str:
    """0.02 and 30 as they are, 1e-05 as a power."""
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    digits = value / 10**exponent
    power = f"10^{{{exponent}}}"
    return f"${power}$" if abs(digits - 1) < 1e-6 else rf"${digits:.0f}\cdot {power}$"


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """The mean over a centred window, cut off at both ends."""
    window = np.ones(2 * (width // 2) + 1)
    weights = np.convolve(np.ones(len(values)), window)
    middle = slice(width // 2, width // 2 + len(values))
    return (np.convolve(values, window) / weights)[middle]
