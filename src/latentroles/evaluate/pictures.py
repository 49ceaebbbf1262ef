"""Frames that a model makes, beside those that it saw: a grid as a PNG."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from latentroles.evaluate.figure import INK, figure, save
from latentroles.routes import routes
from latentroles.spec import Spec
from latentroles.spec.walk import postorder

_WINDOWS, _FRAMES = 4, 8
_LEAST = 4  # columns, so that the title has room
# In inches: the width of a frame, the room for names, and that between lines and windows.
_CELL, _NAMES, _BETWEEN_LINES, _BETWEEN_WINDOWS, _TITLE = 0.8, 1.3, 0.04, 0.18, 0.4


def draw(
    pictures: Mapping[str, np.ndarray],
    observations: Mapping[str, np.ndarray],
    path: Path,
    *,
    title: str,
) -> None:
    """Draws the first frames of the first windows, each window a block of lines.

    A line is a picture. Above the pictures that have the shape of an observation, T frames among
    it, stands that observation. Values are cut off at 0 and 1.

    Args:
        pictures: name -> (batch, time, C, H, W), C being 1 or 3; at least one.
        observations: name -> (batch, time, *event) of the same windows; bytes are 0 to 255.
        path: the PNG, replaced whole.
        title: above all.

    Raises:
        PluginError: matplotlib is not installed.
        TrainingError: the file cannot be written.
    """
    lines = arranged(pictures, observations)
    windows = min(_WINDOWS, *(len(frames) for _, frames in lines))
    columns = min(_FRAMES, max(_LEAST, *(frames.shape[1] for _, frames in lines)))
    sizes = [strip(frames[0], columns).shape for _, frames in lines]
    heights = [_CELL * columns * high / wide for high, wide, _ in sizes]
    block = sum(heights) + _BETWEEN_LINES * (len(lines) - 1) + _BETWEEN_WINDOWS
    width, height = _NAMES + _CELL * columns + 0.1, _TITLE + windows * block
    drawn = figure(width, height)
    for window in range(windows):
        top = height - _TITLE - window * block
        for (name, frames), high in zip(lines, heights, strict=True):
            place = (_NAMES / width, (top - high) / height, _CELL * columns / width, high / height)
            axes = drawn.add_axes(place)
            axes.imshow(strip(frames[window], columns), interpolation="nearest", aspect="auto")
            axes.axis("off")
            middle = (top - high / 2) / height
            drawn.text(
                (_NAMES - 0.08) / width,
                middle,
                name,
                fontsize=8,
                color=INK,
                ha="right",
                va="center",
            )
            top -= high + _BETWEEN_LINES
    drawn.text(0.1 / width, 1 - 0.22 / height, title, fontsize=9, color=INK, va="center")
    save(drawn, path)


def untrained(spec: Spec, picture: str, phase: str) -> list[str]:
    """The modules from the latents to a picture that are not trained up to the end of a phase.

    What goes through one of them is noise, and no picture of what the model knows.
    """
    phases = [declared.name for declared in spec.all_phases()]
    done = spec.all_phases()[: phases.index(phase) + 1]
    table = routes(spec)
    trained = {m for declared in done for loss in declared.losses for m in table[loss].modules}
    latents = {z.expr: None for z in spec.latents.values()}
    applied = [
        e.attrs[0] for e in postorder(spec.pictures[picture].expr, latents) if e.kind == "apply"
    ]
    modules = dict.fromkeys(spec.targets[n].of if n in spec.targets else n for n in applied)
    return [n for n in modules if n not in trained and spec.modules[n].layer.parameters()]


def arranged(
    pictures: Mapping[str, np.ndarray], observations: Mapping[str, np.ndarray]
) -> list[tuple[str, np.ndarray]]:
    """The lines of a block from the top: observations, each with the pictures of its shape, then
    the other pictures."""
    lines, rest = [], dict(pictures)
    for name, frames in observations.items():
        below = {n: picture for n, picture in rest.items() if picture.shape == frames.shape}
        if below:
            lines += [(name, frames), *below.items()]
            rest = {n: picture for n, picture in rest.items() if n not in below}
    return [*lines, *rest.items()]


def strip(frames: np.ndarray, columns: int) -> np.ndarray:
    """The first frames (time, C, H, W) side by side: (H, width, 3) in [0, 1], the rest white."""
    shown = frames[:columns].astype(np.float32) / (255.0 if frames.dtype == np.uint8 else 1.0)
    shown = np.clip(np.nan_to_num(shown), 0.0, 1.0)
    count, _, high, wide = shown.shape
    gap = max(1, wide // 24)
    canvas = np.ones((high, columns * (wide + gap) - gap, 3), np.float32)
    for i in range(count):
        start = i * (wide + gap)
        canvas[:, start : start + wide] = np.moveaxis(shown[i], 0, -1)
    return canvas
