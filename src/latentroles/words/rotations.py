"""Real pictures that turn by quarters: the group C4.

The pictures are photographs that ship inside scikit-image: nothing is downloaded. Where a picture
is cut and how bright it is are drawn for each episode, and stay: another episode shows the same
place in another crop and light.
"""

import itertools
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from latentroles.errors import DataError, PluginError, nearest

from .simulated import HEADINGS, Simulated, checked_action, drawn, natural, within

LEFT, RIGHT, HALF = range(3)
LIGHTS = (0.7, 1.0, 1.3)
LARGEST = 300  # pixels: the height of the smallest picture

# Split by picture: what a model has trained on says nothing about the others.
TRAIN = (
    "astronaut", "brick", "camera", "chelsea", "coins", "gravel", "hubble_deep_field", "ihc",
    "moon", "motorcycle_left",
)  # fmt: skip
TEST = ("clock_motion", "coffee", "grass", "retina", "rocket")
PICTURES = TRAIN + TEST


class State(NamedTuple):
    """Which picture, turned how often by a quarter to the left; its crop and its light."""

    picture: int
    turns: int
    across: int = 0
    down: int = 0
    light: int = 1


class Rotations(Simulated):
    """Made by `rotations`. The place is (picture, turns)."""

    def __init__(self, names: tuple[str, ...], size: int, jitter: int, light: bool):
        self.names, self.size, self.jitter, self.light = names, size, jitter, light
        self._pictures = [_small(name, size + jitter) for name in names]
        parameters = {"pictures": list(names), "size": size, "jitter": jitter, "light": light}
        super().__init__("rotations", parameters, ("left", "right", "half"))

    def starts(self) -> list[State]:
        """Every picture, turn, crop and light."""
        shift, lights = range(self.jitter + 1), range(len(LIGHTS)) if self.light else (1,)
        product = itertools.product(range(len(self.names)), range(4), shift, shift, lights)
        return [State(*values) for values in product]

    def begin(self, rng: np.random.Generator) -> State:
        return drawn(rng, self.starts())

    def move(self, state: State, action: int) -> State:
        """A quarter turn to the left, one to the right, or a half turn."""
        return state._replace(turns=(state.turns + (1, 3, 2)[action]) % 4)

    def inverse(self, state: State, action: int) -> int:
        """The turn back: nothing is in the way."""
        return (RIGHT, LEFT, HALF)[checked_action(self, action)]

    def place(self, state: State) -> tuple[int, ...]:
        """(picture, turns)"""
        return state.picture, state.turns

    def nuisance(self, state: State) -> Mapping[str, int]:
        """across and down, in pixels, and light, an index into LIGHTS; those that vary."""
        found = {"across": state.across, "down": state.down} if self.jitter else {}
        return {**found, "light": state.light} if self.light else found

    def stands(self, state: State) -> tuple[float, float, float]:
        return 0.0, 0.0, HEADINGS[state.turns]

    def picture(self, state: State) -> np.ndarray:
        """The picture, cut, lit and turned, uint8 (3, size, size)."""
        rows, columns = (slice(at, at + self.size) for at in (state.down, state.across))
        lit = np.clip(self._pictures[state.picture][:, rows, columns] * LIGHTS[state.light], 0, 255)
        return np.ascontiguousarray(np.rot90(lit, state.turns, axes=(1, 2))).astype(np.uint8)

    def valid(self, state: State) -> bool:
        lights = within(state.light, len(LIGHTS)) if self.light else state.light == 1
        return (
            within(state.picture, len(self.names))
            and within(state.turns, 4)
            and within(state.across, self.jitter + 1)
            and within(state.down, self.jitter + 1)
            and lights
        )


@cache
def _small(name: str, size: int) -> np.ndarray:
    """The middle square of a picture, block means of (3, size, size) float64 from 0 to 255."""
    try:
        from skimage import data, io
    except ImportError as error:
        raise PluginError(
            f"The rotations need the pictures of scikit-image, which cannot be imported ({error}). "
            "Install it: pip install 'latentroles[envs]'"
        ) from error
    from pathlib import Path

    folder = Path(data.__file__).parent
    found = [path for ending in ("png", "jpg") if (path := folder / f"{name}.{ending}").exists()]
    if not found:
        raise PluginError(
            f"The picture {name!r} does not ship with the installed scikit-image. "
            "Fix: pass `pictures=` without it, or install scikit-image 0.25 or newer."
        )
    image = np.asarray(io.imread(found[0]))
    image = image[..., :3] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    block = min(image.shape[:2]) // size  # pixels that become one
    top, left = ((length - block * size) // 2 for length in image.shape[:2])
    square = image[top : top + block * size, left : left + block * size].astype(np.float64)
    return square.reshape(size, block, size, block, 3).mean(axis=(1, 3)).transpose(2, 0, 1)


def rotations(
    *,
    pictures: str | tuple[str, ...] = "train",
    size: int = 32,
    jitter: int = 2,
    light: bool = True,
) -> Rotations:
    """Photographs that turn by quarters, with the actions left, right and half.

    Args:
        pictures: "train" or "test", which share no picture; or names out of `PICTURES`.
        size: height and width of the frames, in pixels, at least 8; with `jitter` at most LARGEST.
        jitter: by how many pixels at most a crop is shifted, down and across.
        light: whether brightness differs from episode to episode, by the factors `LIGHTS`.

    Raises:
        DataError: an argument out of its range.
        PluginError: scikit-image is not installed.
    """
    named = {"train": TRAIN, "test": TEST}.get(pictures) if isinstance(pictures, str) else pictures
    if not named:
        raise DataError(
            f'rotations: pictures is "train", "test" or a tuple of names; got {pictures!r}.'
        )
    for name in named:
        if name not in PICTURES:
            raise DataError(f"rotations: no picture {name!r}.{nearest(name, PICTURES)}")
    size, jitter = natural("rotations: size", size, 8), natural("rotations: jitter", jitter)
    if size + jitter > LARGEST:
        raise DataError(
            f"rotations: the pictures are {LARGEST} pixels high, and size + jitter is at most "
            f"that; got {size} + {jitter}."
        )
    return Rotations(tuple(named), size, jitter, bool(light))
