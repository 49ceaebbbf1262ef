"""Calling an encoder: any callable from frames to vectors, of any array library.

What it receives is one rule: numpy arrays as the data stores them, frames such as (n, channels,
height, width) bytes from 0 to 255. A `torch.nn.Module` itself, which takes no numpy, gets the same
as tensors on its device: floats of its weights' precision, bytes divided by 255; it is called in
its eval mode without gradients, and left in the mode in which it was.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import choice
from ..errors import EncoderError, LatentrolesError, user_line
from ..plan.inputs import encoded_columns
from .arrays import as_numpy
from .asked import called
from .sources import Source
from .visits import checked, refuse_masked

Encode = Callable[..., Any]

READS = ("frame", "history")
_BLOCK = 256  # frames in one call
_SAME = 1e-3  # of the spread: single precision sums in another order in another batch


def encoded(encode: Encode, source: Source, reads: str = "frame") -> np.ndarray:
    """(N, D) float64: the embedding of every frame.

    Args:
        encode: with `reads="frame"`, frames (n, *frame) -> (n, D), called on at most 256 frames at
            a time; with "history", the frames (T, *frame) and actions (T - 1,) of one episode ->
            (T, D). See the module for what they are.

    Raises:
        EncoderError: it is not callable, fails, or does not give one finite vector for each frame.
    """
    choice("evaluate()", "reads", reads, READS)
    called(encode)
    parts = []
    if reads == "history":
        for episode, rows in enumerate(source.episodes):
            parts.append(_called(encode, source.frames[rows], source.actions_of(episode)))
    else:
        for start in range(0, len(source.frames), _BLOCK):
            parts.append(_called(encode, source.frames[start : start + _BLOCK]))
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
    again = _called(encode, *given)
    scale = float(np.sqrt(np.mean((z - z.mean(axis=0)) ** 2)))
    return bool(np.abs(again - z[rows]).max() <= _SAME * max(scale, 1e-3 * np.abs(z).max()))


def _called(encode: Encode, *given: np.ndarray) -> np.ndarray:
    """(n, D) float64: what an encoder gives for frames, and actions, of the data."""
    passed: tuple[Any, ...] = given
    try:
        if _is_torch_module(encode):
            passed = tuple(_tensor(encode, array) for array in given)
            with _evaluated(encode):
                found = encode(*passed)
        else:
            found = encode(*given)
    except LatentrolesError:  # says itself what is wrong
        raise
    except Exception as error:
        raise EncoderError(
            f"{user_line()}{_name(encode)} fails on what an encoder is given, "
            f"{' and '.join(map(_described, passed))}: {_where(error)}. Fix: "
            f"{_remedy(encode, error, len(given))}."
        ) from error
    refuse_masked(found)
    try:
        z = as_numpy(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EncoderError(
            f"{user_line()}{_name(encode)} gives a {type(found).__name__}, and an encoder gives "
            f"one array ({len(given[0])}, D) of real numbers for {len(given[0])} frames "
            f"({error}). Fix: pass a function that returns that one."
        ) from error
    return checked(z, len(given[0]))


def _is_torch_module(encode: Any) -> bool:
    torch = sys.modules.get("torch")  # who has a module of it has imported it
    return torch is not None and isinstance(encode, torch.nn.Module)


def _tensor(module: Any, array: np.ndarray) -> Any:
    """An array as a tensor on a module's device: floats in the precision of its weights, bytes
    divided by 255; 64-bit integers, such as actions, as they are.
    """
    torch = sys.modules["torch"]
    weights = next((w for w in module.parameters() if w.is_floating_point()), torch.zeros(0))
    # A copy: frames may be a read-only view of a file.
    tensor = torch.tensor(array, device=weights.device)
    if array.dtype == np.uint8:
        return tensor.to(weights.dtype) / 255
    return tensor.to(weights.dtype) if array.dtype.kind in "fb" else tensor


@contextmanager
def _evaluated(module: Any) -> Iterator[None]:
    """A torch module in eval mode and without gradients; afterwards in the modes it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with sys.modules["torch"].no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def _name(encode: Any) -> str:
    return f"the encoder {getattr(encode, '__name__', type(encode).__name__)}"


def _described(array: Any) -> str:
    """Such as "ndarray uint8 (256, 3, 56, 56)"."""
    return f"{type(array).__name__} {array.dtype} {tuple(array.shape)}"


def _where(error: Exception) -> str:
    """The error, and the line of the encoder that it came from, not of a library below it."""
    said = f"{type(error).__name__}: {error}".rstrip(".")
    own = [f for f in _below(error) if "site-packages" not in Path(f.filename).parts]
    return f"{said} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else said


def _below(error: Exception) -> list[traceback.FrameSummary]:
    """The frames of an error below the call of the encoder."""
    return [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]


def _remedy(encode: Any, error: Exception, given: int) -> str:
    if isinstance(encode, type):
        return "pass an instance of it"
    if not _below(error):  # not even called
        takes, other = ("frames", "history") if given == 1 else ("frames and actions", "frame")
        return f"let it take {takes}, or see reads={other!r}"
    if hasattr(encode, "encode"):
        return "name the latent: `lambda frames: model.encode(frames[:, None], 'z')[:, 0]`"
    if _is_torch_module(encode):
        return (
            "pass a function that makes of the frames, numpy as they are stored, what the module "
            "takes, such as `lambda frames: net(torch.tensor(frames).flatten(1) / 255)`"
        )
    return (
        "convert the frames in a function, such as `lambda frames: net(torch.tensor(frames) / 255)`"
        " or, in JAX, `lambda frames: jax.vmap(net)(frames / 255)`"
    )


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
