"""`metrics.jsonl`: one JSON object per logged step, appended while a run goes on.

A line is {"step", "phase", "seconds", "total", "losses": {name: value}}; `step` counts from 0 over
all phases, `seconds` is training time, earlier parts of a resumed run included. A step after which
something was measured is always logged, and its line has also what there is of

    "validation"   {"total", "losses": {name: value}}: the means over the batches held out
    "measures"     {name: value}: of the batches held out, or of the training batch where there are
                   none; null is not finite
    "latents"      {name: {"rank", "std"}}: see `train.collapse`
    "warnings"     [text]: what collapsed, or fell silent
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from latentroles.errors import DataError, TrainingError
from latentroles.files import replace_files

METRICS = "metrics.jsonl"


def by_name(losses: Mapping[str, float]) -> dict[str, Any]:
    """{"total", "losses"} of losses that hold their "total" beside them."""
    named = {name: float(value) for name, value in losses.items() if name != "total"}
    return {"total": float(losses["total"]), "losses": named}


def finite(measures: Mapping[str, float]) -> dict[str, float | None]:
    """Measures as JSON knows them: a measure that is not finite stops nothing, and is null."""
    return {name: v if math.isfinite(v) else None for name, v in measures.items()}


class MetricsLog:
    """Appends to a metrics file, a line at a time; a context manager.

    Raises:
        TrainingError: a line cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def __enter__(self) -> "MetricsLog":
        try:
            self._file = self.path.open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise self._failed(error) from error
        return self

    def append(
        self,
        step: int,
        phase: str,
        seconds: float,
        losses: Mapping[str, float],
        measured: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes one line. `losses` holds "total" beside the losses by name."""
        assert self._file is not None, "open the log with `with`"
        start = {"step": step, "phase": phase, "seconds": round(seconds, 4)}
        line = {**start, **by_name(losses), **(measured or {})}
        try:
            self._file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise self._failed(error) from error

    def sync(self) -> None:
        """Puts all lines on the disk, so that a checkpoint is never ahead of its metrics."""
        assert self._file is not None, "open the log with `with`"
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None
        try:
            self._file.close()
        except OSError as failure:
            if error is None:
                raise self._failed(failure) from failure

    def _failed(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"{self.path} could not be written: {error.strerror or error}. Make room or "
            "permissions, then resume: the run goes on from its checkpoint."
        )


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a metrics file, [] when there is none.

    A last line without its newline was cut by a crash, and is left out.

    Raises:
        DataError: another line is not one of ours.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    rows = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            row = json.loads(line)
            values = [row["step"], row["seconds"], row["total"], *row["losses"].values()]
            held = row.get("validation")
            values += [held["total"], *held["losses"].values()] if held else []
            values += [v for v in row.get("measures", {}).values() if v is not None]
            if not (
                isinstance(row["phase"], str) and all(isinstance(v, int | float) for v in values)
            ):
                raise TypeError("a value has the wrong type")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number} is not a line of metrics ({error}). The file is left as "
                "it is; remove the line to go on."
            ) from error
        rows.append(row)
    return rows


def truncate(path: Path, step: int) -> None:
    """Keeps the lines before `step`: those that a resumed run will not write again."""
    rows = read(path)
    kept = [row for row in rows if row["step"] < step]
    text = "".join(json.dumps(row) + "\n" for row in kept)
    try:
        replace_files({path: text.encode()})
    except OSError as error:
        raise TrainingError(f"{path} could not be written: {error.strerror or error}.") from error


def ends(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float], int]:
    """Returns the mean of each loss over its first and its last few lines, and how many those are.

    A few is a tenth of the lines, at least 1 and at most 10. A loss of a later phase starts with
    that phase. "total" comes last, and not at all after several phases: it sums different losses.
    """
    few = max(1, min(10, len(rows) // 10))
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row["losses"].items():
            values.setdefault(name, []).append(value)
    if len({row["phase"] for row in rows}) == 1:
        values["total"] = [row["total"] for row in rows]
    first = {name: _mean(series[:few]) for name, series in values.items()}
    last = {name: _mean(series[-few:]) for name, series in values.items()}
    return first, last, few


def last_validation(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns each loss of the last validation that had it, and as `ends` does the "total"."""
    found: dict[str, float] = {}
    for row in rows:
        if "validation" in row:
            found |= row["validation"]["losses"]
            found["total"] = row["validation"]["total"]
    if len({row["phase"] for row in rows}) > 1:
        found.pop("total", None)
    return found


def last_measures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns each measure as it was last; NaN where it was not finite."""
    found: dict[str, float] = {}
    for row in rows:
        measured = row.get("measures", {})
        found |= {name: math.nan if value is None else value for name, value in measured.items()}
    return found


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)
