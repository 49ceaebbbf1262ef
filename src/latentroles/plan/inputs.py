"""What a compiled step reads: batch columns, noise draws, states; checked where they enter."""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import plugins
from ..errors import DataError, SpecError, nearest
from ..spec.spec import Spec
from .build import Plan
from .writer import column_variables


def read_columns(spec: Spec, batch: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """The named columns of a batch, after a look at their shapes.

    Raises:
        DataError: a column is missing, or its shape is not the declared one.
    """
    if not isinstance(batch, Mapping):
        raise DataError(f"a batch is a dict of arrays by column, got {type(batch).__name__}.")
    for name in names:
        if name not in batch:
            raise DataError(
                f"{spec.name!r} reads the column {name!r}, which the batch lacks."
                f"{nearest(name, batch)}"
            )
        _check_shape(spec, name, batch[name])
    return tuple(batch[n] for n in names)


def require_frames(
    plan: Plan, names: tuple[str, ...], columns: Sequence[Any], frames: int | None = None
) -> None:
    """Raises DataError unless the columns agree in batch and T, and T is enough.

    Args:
        frames: how many are enough; None is what the losses need.
    """
    spec, seen = plan.spec, {}
    what = "losses" if frames is None else "measures and pictures"
    least = plan.frames if frames is None else frames
    for name, column in zip(names, columns, strict=True):
        found = (column.shape[0], column.shape[1] + (spec.inputs[name].type.time or 0))
        seen[name] = found
        first = next(iter(seen))
        if found != seen[first]:
            raise DataError(
                f"the columns of a batch agree in batch and T: {first!r} has {seen[first]}, "
                f"{name!r} has {found}. T frames have T - 1 actions."
            )
    for name, (_, held) in seen.items():
        if held < least:
            raise DataError(
                f"the {what} of {spec.name!r} need at least {least} frames, {name!r} has "
                f"{held}. Take longer windows."
            )


def _check_shape(spec: Spec, name: str, array: Any) -> None:
    t = spec.inputs[name].type
    shape = tuple(getattr(array, "shape", ()))
    if len(shape) != len(t.axes) + len(t.shape) or shape[len(t.axes) :] != t.shape:
        raise DataError(
            f"column {name!r} of {spec.name!r} has shape {t}, got {shape}. Leading axes are "
            f"({', '.join(t.axes)})."
        )


def as_numpy(spec: Spec, name: str, array: Any) -> np.ndarray:
    """A column as floats or 64-bit integers; uint8 pixels are divided by 255."""
    array = np.asarray(array)
    if spec.inputs[name].type.dtype == "int":
        return array.astype(np.int64)
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255.0)
    return array


def draw_noise(spec: Spec, seed: int, step: int, like: Any = None) -> dict[str, np.ndarray]:
    """The random inputs of a step as float64 arrays, keyed by (seed, step, name).

    Args:
        like: a batch, which gives the sizes of the batch and time axes; needed where a noise has
            them.

    Raises:
        DataError: a noise has a batch axis and `like` is missing.
    """
    return {name: _draw(spec, seed, step, name, like) for name in spec.noises}


def _draw(spec: Spec, seed: int, step: int, name: str, like: Any) -> np.ndarray:
    declared, t = spec.noises[name], spec.inputs[name].type
    shape = (*_sizes(spec, name, like)[: len(t.axes)], *t.shape)
    digest = hashlib.sha256(f"{seed}/{step}/{name}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))
    if declared.kind == "normal":
        return generator.standard_normal(shape)
    uniform = generator.random(shape)
    if declared.kind == "uniform":
        return uniform
    return (uniform < declared.rate) / declared.rate


def _sizes(spec: Spec, name: str, like: Any) -> tuple[int, ...]:
    if not spec.inputs[name].axes:
        return ()
    for column, array in (like or {}).items():
        e = spec.inputs.get(column)
        if e is not None and e.attrs[0] != "noise" and e.axes[:2] == ("batch", "time"):
            return (array.shape[0], array.shape[1] + (e.type.time or 0))
    raise DataError(
        f"noise {name!r} of {spec.name!r} has axes {spec.inputs[name].axes}; their sizes come from "
        "a batch: call model.noise(step, like=batch)."
    )


def encoded_columns(model: Any, name: str) -> tuple[str, ...]:
    """The batch columns that a latent is computed from."""
    if name not in model.spec.latents:
        raise SpecError(
            f"no latent {name!r} in {model.spec.name!r}.{nearest(name, model.spec.latents)}"
        )
    dialect = plugins.backend(model.backend).dialect
    columns = {variable: name for name, variable in column_variables(model.spec, dialect).items()}
    method = getattr(type(model), f"encode_{name}")
    return tuple(columns[p] for p in inspect.signature(method).parameters if p in columns)
