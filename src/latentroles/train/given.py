"""What `train` is given, looked at before anything is done with it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

from latentroles import arguments
from latentroles.errors import SpecError, TrainingError, user_line
from latentroles.spec import Spec
from latentroles.train.settings import GROUPS

COLUMNS = "input -> column of the data"

# What `train` counts, and of what.
_COUNTS = {
    "steps": "optimiser steps of each phase",
    "frames": "T of a window",
    "batch": "windows per step",
    "validate_every": "steps between validations",
    "validation_batches": "batches that are held out",
    "collapse_every": "steps between looks at the latents",
    "checkpoint_every": "steps between checkpoints",
    "log_every": "steps between lines of metrics.jsonl",
}
_MAY_BE_NONE = ("steps", "validate_every", "collapse_every")


@overload
def count(name: str, value: int) -> int: ...


@overload
def count(name: str, value: int | None) -> int | None: ...


def count(name: str, value: int | None) -> int | None:
    """Returns a count of `train` as an int, or None where that is its default; or SpecError."""
    if value is None and name in _MAY_BE_NONE:
        return value
    return arguments.integer("train", name, value, _COUNTS[name])


def folder(name: str, value: Any) -> Path | None:
    """Returns the path of out= or resume=, None as it is.

    Raises:
        TrainingError: it is no path, or an empty one: the current folder, which nobody means.
    """
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path:
        raise TrainingError(
            f"{name}= (--{name}) is the path of a folder, or None; received {value!r}. Give a "
            f"path, such as {name}='runs/first', or '.' for the current folder."
        )
    return Path(path)


def command_line(command: Any) -> dict[str, Any]:
    """Returns what command= keeps in `run.json`; raises SpecError where that cannot be."""
    if command is None:
        return {}
    fix = "Fix: pass, say, command={'argv': sys.argv}, or leave it away."
    if not isinstance(command, Mapping):
        raise SpecError(
            f"{user_line()}train: command must be a dictionary that JSON can hold; received "
            f"{command!r}. {fix}"
        )
    held = dict(command)
    try:
        json.dumps(held)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"{user_line()}train: command must be a dictionary that JSON can hold; received "
            f"{command!r} ({error}). {fix}"
        ) from None
    return held


def refuse_arguments(
    spec: Any,
    out: Path | None,
    resume: Path | None,
    skip_if_trained: Any,
    *,
    groups: Any,
    columns: Any,
) -> None:
    """Raises SpecError or TrainingError where an argument of `train` is of another kind.

    Args:
        out, resume: as `folder` gives them. The rest: as for `train`.
    """
    if not isinstance(spec, Spec):
        raise SpecError(f"train needs a latentroles Spec, got {type(spec).__name__}.")
    if not spec.losses:
        raise SpecError(
            f"{spec.name} declares no loss (one of weight 0 is none): there is nothing to train."
        )
    if groups is not None:
        arguments.names("train", "groups", groups, GROUPS)
    if columns is not None:
        arguments.names("train", "columns", columns, COLUMNS)
    if resume is not None and out is not None and out != resume:
        raise TrainingError(
            f"A resumed run stays in its folder: out={str(out)!r} differs from "
            f"resume={str(resume)!r}. Leave out= (--out) away."
        )
    if skip_if_trained and (out is None or resume is not None):
        raise TrainingError(
            "skip_if_trained (--skip-if-trained) takes over phases of the run in out= (--out): "
            "give that folder, and not resume=, which goes on with all of a run."
        )
