"""From what a user hands to `train` as data to batches by step."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latentroles.data import Trajectories, Windows
from latentroles.data.windows import DEFAULT_COLUMNS
from latentroles.errors import DataError, nearest
from latentroles.spec import Box, Discrete, Expr, Spec
from latentroles.train.loop import Batch, Data

_KINDS = {"float": "fu", "int": "iu", "bool": "b"}  # uint8 frames are scaled to floats


class Batches:
    """The batches of `data`, each checked against the columns that `spec` reads.

    A label's integers and truth values are what the spec declares: classes, or float32 numbers.

    Args:
        spec: whose observations, actions and labels a batch must hold.
        data, frames, batch, columns, seed: as for `train`.

    Raises:
        DataError: a file that cannot be used, a column that is not there, an object without
            `batch(step)`; from `batch`, an array that does not fit the spec.
    """

    def __init__(
        self,
        spec: Spec,
        data: Any,
        *,
        frames: int,
        batch: int,
        columns: Mapping[str, str] | None,
        seed: int,
    ) -> None:
        self._spec = spec
        self._inputs = columns_of(spec)
        if isinstance(data, (str, Path)):
            data = Trajectories.open(data)
        if isinstance(data, Trajectories):
            if columns is None:
                columns = {name: DEFAULT_COLUMNS.get(name, name) for name in self._inputs}
            data = Windows(data, frames=frames, batch=batch, seed=seed, columns=columns)
        if not callable(getattr(data, "batch", None)):
            raise DataError(
                "Data is the path of a trajectory file, a latentroles.data.Trajectories, or an "
                f"object with batch(step) -> dict of arrays; got {type(data).__name__}."
            )
        self._data: Data = data
        own = {} if isinstance(data, Windows) else dict(columns or {})
        for name in own:
            if name not in self._inputs:
                raise DataError(
                    f"columns= names an input {name!r} that {spec.name} does not have."
                    f"{nearest(name, self._inputs)}"
                )
        # Windows rename their columns themselves.
        self._columns = {name: own.get(name, name) for name in self._inputs}

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step, counted over all phases."""
        batch = self._data.batch(step)
        if not isinstance(batch, Mapping):
            raise DataError(f"batch(step) returns name -> array; got {type(batch).__name__}.")
        arrays = {}
        extents: dict[str, tuple[int, str]] = {}
        for name, expr in self._inputs.items():
            column = self._columns[name]
            if column not in batch:
                raise DataError(
                    f"{self._spec.name} reads the column {column!r}, which the batches do not have."
                    f"{nearest(column, batch)} Name it: columns={{{name!r}: ...}}."
                )
            arrays[name] = self._declared(name, np.asarray(batch[column]))
            self._refuse_unfit(name, expr, arrays[name], extents)
            _refuse_non_finite(column, arrays[name], step)
        return arrays

    def identity(self) -> dict[str, Any]:
        """Returns JSON that tells these batches from others: a resumed run must see the same.

        An object of the user's own may bring `identity()`; without one only its type is known.
        """
        data = self._data
        own = getattr(data, "identity", None)
        if callable(own):
            return dict(own())  # type: ignore[call-overload]
        if not isinstance(data, Windows):
            return {"kind": f"{type(data).__module__}.{type(data).__qualname__}"}
        source = data.trajectories
        digest = hashlib.sha256()
        for array in (source.offsets, source.actions, source.pose):
            digest.update(np.ascontiguousarray(array).data)
        return {
            "kind": "windows",
            "environment": source.environment,
            "episodes": len(source),
            "frames": len(source.frames),
            "sha256": digest.hexdigest(),
            "window": data.frames,
            "batch": data.size,
            "seed": data.seed,
            "columns": dict(data.columns),
        }

    def _declared(self, name: str, array: np.ndarray) -> np.ndarray:
        """`array`, where it is a label of integers or truth values in the dtype of the spec."""
        expr = self._inputs[name]
        if expr.attrs[0] != "label" or array.dtype.kind not in "ib":
            return array
        return array.astype(np.int64 if expr.type.dtype == "int" else np.float32)

    def _refuse_unfit(
        self, name: str, expr: Expr, array: np.ndarray, extents: dict[str, tuple[int, str]]
    ) -> None:
        """`extents` collects batch and T from the columns seen so far: all must agree."""
        wanted = expr.type
        fits = array.ndim == 2 + len(wanted.shape) and array.shape[2:] == wanted.shape
        if not fits or array.dtype.kind not in _KINDS[wanted.dtype]:
            raise DataError(
                f"The column {name!r} of {self._spec.name} is declared as {wanted}; the batch has "
                f"{array.shape} {array.dtype}. Declare what the data holds, or name another column."
            )
        found = {"batch": array.shape[0], "T": array.shape[1] + (wanted.time or 0)}
        for axis, extent in found.items():
            first, where = extents.setdefault(axis, (extent, name))
            if extent != first or extent < 1:
                raise DataError(
                    f"All columns of a batch agree in {axis}, and have at least 1: {where!r} says "
                    f"{first}, {name!r} says {extent}. T frames have T - 1 actions."
                )
        space = self._spec.actions.get(name)
        if isinstance(space, Discrete) and array.size:
            low, high = int(array.min()), int(array.max())
            if low < 0 or high >= space.n:
                raise DataError(
                    f"{name!r} is declared Discrete({space.n}), 0 to {space.n - 1}; the batch has "
                    f"{low} to {high}. Declare as many as the data has."
                )
        if isinstance(space, Box) and array.size:
            low, high = float(array.min()), float(array.max())
            rounding = 1e-6 * (space.high - space.low)
            if low < space.low - rounding or high > space.high + rounding:
                raise DataError(
                    f"{name!r} is declared Box({space.low:g}, {space.high:g}); the batch has "
                    f"{low:g} to {high:g}. Normalise the column, or declare the range that it has."
                )


def _refuse_non_finite(column: str, array: np.ndarray, step: int) -> None:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    bad = np.argwhere(~np.isfinite(array))
    first = tuple(bad[0].tolist())
    raise DataError(
        f"The column {column!r} must be finite; in the batch of step {step}, {len(bad)} of "
        f"{array.size} entries are not, the first being {array[first]} at {first}. Mend or leave "
        "out these frames: there are no masks."
    )


def columns_of(spec: Spec) -> dict[str, Expr]:
    """Returns the inputs that data provides: observations, actions and labels, but not noise."""
    return {
        n: e for n, e in spec.inputs.items() if e.attrs[0] in ("observation", "action", "label")
    }
