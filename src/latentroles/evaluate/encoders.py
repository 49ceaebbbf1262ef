"""Calling an encoder: any callable from frames to vectors, of any array library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arguments import choice
from ..errors import EncoderError, user_line
from ..plan.inputs import encoded_columns
from .sources import Source
from .visits import checked

Encode = Callable[..., Any]

READS = ("frame", "history")
_BLOCK = 256  # frames in one call
_SAME = 1e-3  # of the spread: single precision sums in another order in another batch


def as_numpy(array: Any) -> np.ndarray:
    """An array of any library, as float64."""
    if hasattr(array, "detach"):  # torch: numpy has no bfloat16
        array = array.detach().double().cpu()
    return np.asarray(array).astype(np.float64)


def encoded(encode: Encode, source: Source, reads: str = "frame") -> np.ndarray:
    """(N, D) float64: the embedding of every frame.

    Args:
        encode: with `reads="frame"`, frames (n, *frame) -> (n, D), called on 256 frames at a time;
            with "history", the frames (T, *frame) and actions (T - 1,) of one episode -> (T, D).

    Raises:
        EncoderError: it is not callable, or does not give one finite vector for each frame.
    """
    choice("evaluate()", "reads", reads, READS)
    if not callable(encode):
        raise EncoderError(
            f"{user_line()}an encoder is a callable from frames to vectors, got "
            f"{type(encode).__name__}. Fix: pass a function, such as "
            "`lambda frames: model.encode(frames[:, None], 'z')[:, 0]`; for an array of vectors, "
            "`latentroles.evaluate.measured.measure(visits, z)`."
        )
    parts = []
    if reads == "history":
        for episode, rows in enumerate(source.episodes):
            part = as_numpy(encode(source.frames[rows], source.actions_of(episode)))
            parts.append(checked(part, rows.stop - rows.start))
    else:
        for start in range(0, len(source.frames), _BLOCK):
            block = source.frames[start : start + _BLOCK]
            parts.append(checked(as_numpy(encode(block)), len(block)))
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:
        raise EncoderError(
            f"{user_line()}an encoder gives vectors of one length; got {sorted(widths)}."
        )
    return np.concatenate(parts)


def repeats(encode: Encode, source: Source, reads: str, z: np.ndarray) -> bool:
    """Whether an encoder gives the first frames the vectors z, (N, D), again, in a batch of fewer.

    Dropout, samples and statistics of a batch do not: the grade G0 of the claim.
    """
    rows = source.episodes[0] if reads == "history" else slice(0, min(_BLOCK, len(z)) // 2 or 1)
    frames = source.frames[rows]
    given = (frames, source.actions_of(0)) if reads == "history" else (frames,)
    again = checked(as_numpy(encode(*given)), len(frames))
    scale = float(np.sqrt(np.mean((z - z.mean(axis=0)) ** 2)))
    return bool(np.abs(again - z[rows]).max() <= _SAME * max(scale, 1e-3 * np.abs(z).max()))


def latent_encoder(model: Any, latent: str) -> tuple[Encode, str]:
    """A compiled model's latent as an encoder, and what it reads: "frame" or "history".

    Raises:
        SpecError: the model has no such latent.
        EncoderError: the latent is computed from more than frames and actions, or has not one
            vector for each frame.
    """
    columns = encoded_columns(model, latent)
    spec = model.spec
    frames = [name for name in columns if spec.inputs[name].attrs[0] == "observation"]
    actions = [name for name in columns if spec.inputs[name].attrs[0] == "action"]
    if len(frames) != 1 or len(actions) > 1 or len(columns) != len(frames) + len(actions):
        raise EncoderError(
            f"{user_line()}latent {latent!r} of {spec.name!r} is computed from "
            f"{', '.join(columns) or 'no column'}: only latents of one observation, and of an "
            "action, are measured from frames. Fix: measure another latent."
        )
    wanted = spec.latents[latent].expr.type
    if wanted.time != 0:
        extent = "no time axis" if wanted.time is None else f"T - {wanted.time} of them"
        raise EncoderError(
            f"{user_line()}a place belongs to each of T frames, and latent {latent!r} of "
            f"{spec.name!r} has {extent}: {wanted}. Fix: measure another latent."
        )
    # Whatever mixes time (a scan, a shift) has an action or a neighbour in it.
    alone = not actions and not mixes_time(model, latent, frames[0])

    def from_frames(images: np.ndarray) -> np.ndarray:
        found = as_numpy(model.encode({frames[0]: images[:, None]}, latent))
        return _flat(found[:, 0])

    def from_history(images: np.ndarray, taken: np.ndarray) -> np.ndarray:
        batch = {frames[0]: images[None]} | dict.fromkeys(actions, taken[None])
        return _flat(as_numpy(model.encode(batch, latent))[0])

    return (from_frames, "frame") if alone else (from_history, "history")


def mixes_time(model: Any, latent: str, observation: str) -> bool:
    """Whether a latent at one frame depends on other frames: tried on random ones."""
    shape = model.spec.inputs[observation].type.shape
    frames = np.random.default_rng(0).random((1, 3, *shape), np.float32)
    try:
        together = as_numpy(model.encode({observation: frames}, latent))[0]
        apart = as_numpy(model.encode({observation: frames[0][:, None]}, latent))[:, 0]
    except Exception:  # one frame is too few for it, in whatever words of its framework
        return True
    return not np.allclose(together, apart, rtol=1e-3, atol=1e-5)


def _flat(z: np.ndarray) -> np.ndarray:
    return z.reshape(len(z), -1)
