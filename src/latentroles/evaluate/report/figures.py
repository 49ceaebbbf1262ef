"""The figures of a report, as SVG that takes its colours from the page.

A figure is then readable in light and in dark.
"""

import io
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from latentroles.evaluate.figure import INK, figure

# The colours of figures, and those of the page that stand for them in light and in dark.
BLUE, GRID = "#1f5fa8", "#e6e6e6"
_PAGE = {INK: "currentColor", BLUE: "var(--route)", GRID: "var(--line)"}


def collapse(rows: Sequence[Mapping[str, Any]]) -> str:
    """Effective rank and std of each latent against the step; "" where none was measured."""
    measured: dict[str, list[tuple[int, float, float]]] = {}
    for row in rows:
        for name, found in row.get("latents", {}).items():
            measured.setdefault(name, []).append((row["step"], found["rank"], found["std"]))
    if not measured:
        return ""
    drawn, axes = panels(2 * len(measured), across=2)
    for i, (name, entries) in enumerate(measured.items()):
        steps, ranks, stds = zip(*entries, strict=True)
        for panel, values, what in (
            (axes[2 * i], ranks, "effective rank"),
            (axes[2 * i + 1], stds, "std"),
        ):
            panel.plot(steps, values, color=BLUE, linewidth=1.3, marker=".", ms=4)
            panel.set_title(f"{name}: {what}", fontsize=8, loc="left")
            panel.set_ylim(bottom=0)
    return svg(drawn)


def drift(lengths: Sequence[float], lcr: Sequence[float]) -> str:
    """LCR against the length of loops, both logarithmic."""
    drawn, (panel,) = panels(1, height=2.2)
    panel.loglog(lengths, lcr, color=BLUE, linewidth=1.3, marker="o", ms=3)
    panel.set_xlabel("length of the loop, steps", fontsize=8)
    panel.set_title("LCR", fontsize=8, loc="left")
    return svg(drawn)


def panels(count: int, *, across: int = 3, height: float = 1.75) -> tuple[Any, list[Any]]:
    """A figure with so many panels of a height in inches, and the panels."""
    columns = min(across, count)
    lines = math.ceil(count / columns)
    drawn = figure(3.1 * columns, height * lines, layout="constrained")
    axes = list(drawn.subplots(lines, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    for panel in axes:
        panel.tick_params(which="both", labelsize=7)
    return drawn, axes[:count]


def svg(drawn: Any) -> str:
    """A figure as inline SVG, without a ground of its own and in the page's colour of text."""
    import matplotlib as mpl

    for panel in drawn.axes:
        panel.patch.set_alpha(0.0)
        panel.tick_params(which="both", colors=INK)
        for text in (panel.xaxis.label, panel.yaxis.label, panel._left_title):
            text.set_color(INK)
        for spine in panel.spines.values():
            spine.set_color(INK)
    drawn.patch.set_alpha(0.0)
    held = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "latentroles"}):
        drawn.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    text = held.getvalue()
    text = text[text.index("<svg") :].replace("<svg", '<svg aria-hidden="true"', 1)
    for drawn_in, shown_in in _PAGE.items():
        text = text.replace(drawn_in, shown_in)
    # Identifiers are of one figure, and a page has several.
    own = f"f{zlib.crc32(text.encode())}-"
    text = re.sub(r'(\bid="|url\(#|href="#)', lambda m: m[1] + own, text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
