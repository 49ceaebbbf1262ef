"""Real pictures that turn by quarters: the group C4.

The pictures are photographs that ship inside scikit-image, and handwritten digits that ship inside
scikit-learn: nothing is downloaded. Where a picture is cut and how bright it is are drawn for each
episode, and stay: another episode shows the same place in another crop and light. All frames of an
episode show one picture, which is their label `group`: a split of episodes is one of pictures.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latentroles.errors import DataError, PluginError, nearest

from .simulated import HEADINGS, Simulated, checked_action, drawn, natural, within

LEFT, RIGHT, HALF = range(3)
LIGHTS = (0.7, 1.0, 1.3)
LARGEST = 300  # pixels: the height of the smallest picture
LARGEST_DIGIT = 128  # pixels: each of a digit's own becomes 16 x 16

# Split by picture: what a model has trained on says nothing about the others.
TRAIN = (
    "astronaut", "brick", "camera", "chelsea", "coins", "gravel", "hubble_deep_field", "ihc",
    "moon", "motorcycle_left",
)  # fmt: skip
TEST = ("clock_motion", "coffee", "grass", "retina", "rocket")
PICTURES = TRAIN + TEST

DIGITS = 1797
DIGITS_TRAIN = 1437  # a part in five is left for the test


class State(NamedTuple):
    """Which picture, turned how often by a quarter to the left; its crop and its light."""

    picture: int
    turns: int
    across: int = 0
    down: int = 0
    light: int = 1


class Rotations(Simulated):
    """Made by `rotations` and `digits`. The place is (picture, turns).

    Arguments: `pictures`, each (3, size + jitter, size + jitter) from 0 to 255, and what class each
    shows, if that is known.
    """

    def __init__(
        self,
        name: str,
        chosen: Any,
        pictures: Sequence[np.ndarray],
        categories: Sequence[int] | None,
        *,
        size: int,
        jitter: int,
        light: bool,
    ):
        self.size, self.jitter, self.light = size, jitter, light
        self._pictures, self._categories = pictures, categories
        parameters = {"pictures": chosen, "size": size, "jitter": jitter, "light": light}
        super().__init__(name, parameters, ("left", "right", "half"))

    def starts(self) -> list[State]:
        """Every picture, turn, crop and light."""
        return list(self._starts)

    @cached_property
    def _starts(self) -> list[State]:
        shift, lights = range(self.jitter + 1), range(len(LIGHTS)) if self.light else (1,)
        product = itertools.product(range(len(self._pictures)), range(4), shift, shift, lights)
        return [State(*values) for values in product]

    def begin(self, rng: np.random.Generator) -> State:
        return drawn(rng, self._starts)

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

    def labels(self, state: State) -> Mapping[str, int]:
        """group, the picture; and category, what it shows, where that is known."""
        found = {"group": state.picture}
        if self._categories is not None:
            found["category"] = self._categories[state.picture]
        return found

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
            within(state.picture, len(self._pictures))
            and within(state.turns, 4)
            and within(state.across, self.jitter + 1)
            and within(state.down, self.jitter + 1)
            and lights
        )


@cache
def _photograph(name: str, size: int) -> np.ndarray:
    """The middle square of a picture, block means of (3, size, size) float64 from 0 to 255."""
    try:
        from skimage import data, io
    except ImportError as error:
        raise PluginError(
            f"The rotations need the pictures of scikit-image, which cannot be imported ({error}). "
            "Install it: pip install 'latentroles[envs]'"
        ) from error
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


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) float64 from 0 to 255, and what each shows, (1797,) from 0 to 9."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise PluginError(
            f"The digits are those of scikit-learn, which cannot be imported ({error}). "
            "Install it: pip install 'latentroles[envs]'"
        ) from error
    drawings, shows = load_digits(return_X_y=True)
    return np.reshape(drawings, (-1, 8, 8)) * (255 / 16), np.asarray(shows)


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
    if not isinstance(named, Sequence) or not named:
        raise DataError(
            f'rotations: pictures is "train", "test" or a tuple of names; got {pictures!r}.'
        )
    for name in named:
        if name not in PICTURES:
            raise DataError(f"rotations: no picture {name!r}.{nearest(name, PICTURES)}")
    size, jitter = _sizes("rotations", size, jitter, LARGEST)
    light = _flag("rotations: light", light)
    shown = [_photograph(name, size + jitter) for name in named]
    return Rotations("rotations", list(named), shown, None, size=size, jitter=jitter, light=light)


def digits(
    *, pictures: str = "all", size: int = 8, jitter: int = 0, light: bool = False
) -> Rotations:
    """1797 handwritten digits that turn by quarters, with the actions left, right and half.

    They are of 8 x 8 pixels, repeated where `size` asks for more, and grey in all three channels.
    The label `category` is the digit.

    Args:
        pictures: "all", "train" (the first 1437) or "test" (the last 360).
        size: height and width of the frames, in pixels, at least 8; with `jitter` at most
            LARGEST_DIGIT.
        jitter, light: as for `rotations`.

    Raises:
        DataError: an argument out of its range.
        PluginError: scikit-learn is not installed.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits" (1998), its test set.
    """
    parts = {"all": (0, DIGITS), "train": (0, DIGITS_TRAIN), "test": (DIGITS_TRAIN, DIGITS)}
    if not isinstance(pictures, str) or pictures not in parts:
        raise DataError(f'digits: pictures is "all", "train" or "test"; got {pictures!r}.')
    size, jitter = _sizes("digits", size, jitter, LARGEST_DIGIT)
    light = _flag("digits: light", light)
    drawings, shows = (whole[slice(*parts[pictures])] for whole in _digits())
    nearest_pixel = np.arange(size + jitter) * drawings.shape[1] // (size + jitter)
    grey = drawings[:, nearest_pixel][:, :, nearest_pixel]
    return Rotations(
        "rotations-digits",
        pictures,
        list(np.repeat(grey[:, None], 3, axis=1)),
        shows.tolist(),
        size=size,
        jitter=jitter,
        light=light,
    )


def _sizes(name: str, size: object, jitter: object, largest: int) -> tuple[int, int]:
    pixels, shift = natural(f"{name}: size", size, 8), natural(f"{name}: jitter", jitter)
    if pixels + shift > largest:
        raise DataError(
            f"{name}: size + jitter is at most {largest} pixels; got {pixels} + {shift}."
        )
    return pixels, shift


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise DataError(f"{name} is True or False; got {value!r}.")
    return value
