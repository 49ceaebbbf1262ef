"""Checkpoints: what a trainer needs to go on, in one file.

`checkpoint.safetensors` holds everything: the arrays, and in its header the record (spec hash,
step, phase, seed, ...) with a SHA-256 over record and arrays. One file is one `os.replace`, so
arrays and record can never come from different steps, which no order of writing two files can
promise. `checkpoint.json` repeats the record for people and scripts; nothing reads it back.

`checkpoint` is where a run stands. Beside it, `best` is where validation was best, and a run of
several phases keeps `checkpoint_PHASE` of each that is done, and `best_PHASE`.

safetensors checks the extents of its arrays but not their bytes: the digest finds the rest.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentroles.errors import CheckpointError, TrainingError
from latentroles.files import replace_files

LAST, BEST = "checkpoint", "best"
TENSORS = f"{LAST}.safetensors"
RECORD = f"{LAST}.json"
_ABSENT = {
    LAST: "there is nothing to resume from. Give the folder of a run that has been started.",
    BEST: "a run has a best checkpoint once it was validated. Train with validation=0.1 "
    "(--validation 0.1).",
}
_FORMAT = "latentroles.checkpoint/1"
_DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


def name_of(which: str, phase: str, phases: Collection[str]) -> str:
    """Returns the name of a phase's best or last checkpoint; the only phase's is not in it."""
    return which if len(phases) == 1 else f"{which}_{phase}"


@dataclass(frozen=True)
class Checkpoint:
    """What `load` returns: the record, and the arrays by name (writable, of their own)."""

    record: dict[str, Any]
    arrays: dict[str, np.ndarray]


def save(
    folder: Path,
    arrays: Mapping[str, np.ndarray],
    record: Mapping[str, Any],
    *,
    name: str = LAST,
) -> None:
    """Writes a checkpoint of `folder`, in place of the one that it holds under this name.

    Args:
        folder: an existing folder. While writing it holds both checkpoints.
        arrays: any shapes, 0-d and empty ones included; floats, integers and booleans.
        record: what `json.dumps` takes.
        name: of the two files, without what follows the dot.

    Raises:
        CheckpointError: a name or dtype that cannot be stored.
        TrainingError: a disk that is full or read-only. The previous checkpoint is as it was.
    """
    from safetensors.numpy import save as to_bytes

    stored = {name: _storable(name, array) for name, array in arrays.items()}
    text = json.dumps(dict(record), sort_keys=True)
    header = {"format": _FORMAT, "record": text, "sha256": _digest(text, stored)}
    tensors = to_bytes(stored, metadata=header)
    path = folder / f"{name}.safetensors"
    for_people = {**record, "sha256": header["sha256"], "arrays": len(stored)}
    try:
        replace_files(
            {
                path: tensors,
                path.with_suffix(".json"): (json.dumps(for_people, indent=2) + "\n").encode(),
            }
        )
    except OSError as error:
        raise TrainingError(
            f"The checkpoint {path} ({len(tensors) / 1e6:.1f} MB) could not be "
            f"written: {error.strerror or error}. The checkpoint that was there is as it was; "
            "make room (writing needs space for both) or permissions, then resume."
        ) from error


def load(folder: Path, name: str = LAST) -> Checkpoint:
    """Reads a checkpoint of `folder`.

    Raises:
        CheckpointError: there is none, or it is truncated or altered. The file is left as it is.
    """
    path = folder / f"{name}.safetensors"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} holds no {path.name}: {_ABSENT[BEST if name.startswith(BEST) else LAST]}"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        record, arrays = _parse(data)
    except Exception as error:  # whatever a damaged file provokes below is the same finding
        raise CheckpointError(
            f"{path} is truncated or damaged ({error}). It is left as it is and nothing was "
            "restored from it; resume from another copy, or start a new run."
        ) from error
    return Checkpoint(record, arrays)


def _parse(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors.numpy import load as from_bytes

    arrays = from_bytes(data)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    if header.get("format") != _FORMAT:
        raise ValueError(f"its format is {header.get('format')!r}, not {_FORMAT!r}")
    if header.get("sha256") != _digest(header["record"], arrays):
        raise ValueError("its checksum does not match its content")
    return json.loads(header["record"]), arrays


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if not name or name == "__metadata__" or not name.isprintable():
        raise CheckpointError(
            f"A checkpoint stores arrays under printable names; {name!r} is not one."
        )
    if array.dtype.name not in _DTYPES:
        raise CheckpointError(
            f"A checkpoint stores {', '.join(sorted(_DTYPES))}; {name!r} has dtype "
            f"{array.dtype}. Snapshots widen other floating types to float32."
        )
    # Not ascontiguousarray: it makes 0-d arrays 1-d.
    return np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _digest(record: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(record.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
