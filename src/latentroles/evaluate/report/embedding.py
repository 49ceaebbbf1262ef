"""z of a run's visits, looked at: a plane, distances along an episode, the nearest revisits."""

import base64
import io
from dataclasses import dataclass

import numpy as np

from latentroles.evaluate.visits import Visits

from .figures import panels, svg

POINTS = 1500  # more cover one another
_COORDINATES, _NUISANCES = 2, 3  # at most so many panels of each
_FRAMES = 160  # of an episode whose distances are drawn
_QUERIES = 8


def plane(z: np.ndarray, visits: Visits, seed: int = 0) -> str:
    """The first two principal components of z (N, D), coloured by place and by each nuisance."""
    chosen = np.random.default_rng(seed).permutation(len(z))[:POINTS]
    centred = z - z.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    flat = centred[chosen] @ vectors[:, ::-1][:, :2] if z.shape[1] > 1 else centred[chosen]
    if flat.shape[1] == 1:
        flat = np.concatenate([flat, np.zeros_like(flat)], axis=1)
    share = values[::-1][:2].sum() / max(values.sum(), 1e-300)
    colours = {
        f"place [{i}]": visits.place[chosen, i]
        for i in range(min(_COORDINATES, visits.place.shape[1]))
    }
    colours |= {name: code[chosen] for name, code in list(visits.codes.items())[:_NUISANCES]}
    figure, axes = panels(len(colours), height=2.3)
    for panel, (name, colour) in zip(axes, colours.items(), strict=True):
        panel.scatter(*flat.T, c=colour, cmap="viridis", s=5, linewidths=0, rasterized=True)
        panel.set_title(f"by {name}", fontsize=8, loc="left")
        panel.set_xticks([])
        panel.set_yticks([])
    axes[0].set_xlabel(f"two components, {share:.0%} of the variance", fontsize=7)
    return svg(figure)


def recurrence(z: np.ndarray, visits: Visits) -> str:
    """Distances in z between the frames of one episode, beside where the agent truly returned."""
    episode = visits.episode[0]
    own = np.flatnonzero(visits.episode == episode)
    own = own[np.argsort(visits.time[own])][:_FRAMES]
    gap = np.linalg.norm(z[own][:, None] - z[own][None], axis=-1)
    same = visits.label[own][:, None] == visits.label[own][None]
    figure, axes = panels(2, height=2.6)
    shown = ((gap, "viridis_r", "distance in z"), (same, "Greys", "same place"))
    for panel, (matrix, colours, what) in zip(axes, shown, strict=True):
        panel.imshow(matrix, cmap=colours, interpolation="nearest")
        panel.set_title(f"{what}, step by step", fontsize=8, loc="left")
    return svg(figure)


@dataclass(frozen=True)
class Match:
    """A query and the visit of another episode that is nearest to it in z.

    Attributes:
        query, best: the frames as data URIs of PNGs.
        right: whether the two show the same place.
        said: both places, in words.
    """

    query: str
    best: str
    right: bool
    said: str


def matches(z: np.ndarray, visits: Visits, frames: np.ndarray, seed: int = 0) -> list[Match]:
    """Some visits that have a revisit in another episode, each with its nearest.

    Args:
        frames: (N, C, H, W), C being 1 or 3; bytes, or numbers from 0 to 1.
    """
    found: list[Match] = []
    for query in np.random.default_rng(seed).permutation(len(z)):
        others = visits.episode != visits.episode[query]
        if not (others & (visits.label == visits.label[query])).any():
            continue
        gap = np.where(others, np.square(z - z[query]).sum(1), np.inf)
        best = int(gap.argmin())
        here, there = (tuple(visits.place[i].tolist()) for i in (query, best))
        found.append(
            Match(_uri(frames[query]), _uri(frames[best]), here == there, f"{here}, {there}")
        )
        if len(found) == _QUERIES:
            break
    return found


def _uri(frame: np.ndarray) -> str:
    """A frame (C, H, W) as the data URI of a PNG."""
    from matplotlib.image import imsave

    pixels = np.moveaxis(np.asarray(frame), 0, -1)
    if pixels.dtype != np.uint8:
        pixels = (255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    held = io.BytesIO()
    imsave(held, pixels, format="png")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
