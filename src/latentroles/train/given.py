"""What `train` is given, looked at before anything is done with it."""

from pathlib import Path
from typing import Any

from latentroles import arguments
from latentroles.errors import SpecError, TrainingError
from latentroles.spec import Spec
from latentroles.train.settings import GROUPS

COLUMNS = "input -> column of the data"


def refuse_arguments(
    spec: Any,
    out: Any,
    resume: Any,
    skip_if_trained: Any,
    *,
    groups: Any,
    columns: Any,
    **counts: int | None,
) -> None:
    """Raises SpecError or TrainingError where an argument of `train` is of another kind.

    Args:
        counts: what is counted, by name; None is the default. The rest: as for `train`.
    """
    if not isinstance(spec, Spec):
        raise SpecError(f"train needs a latentroles Spec, got {type(spec).__name__}.")
    if not spec.losses:
        raise SpecError(
            f"{spec.name} declares no loss (one of weight 0 is none): there is nothing to train."
        )
    for name, value in counts.items():
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise TrainingError(f"{name} is a whole number of at least 1, got {value!r}.")
    if groups is not None:
        arguments.names("train", "groups", groups, GROUPS)
    if columns is not None:
        arguments.names("train", "columns", columns, COLUMNS)
    for name, folder in (("out", out), ("resume", resume)):
        _refuse_no_folder(name, folder)
    if resume is not None and out is not None and Path(out) != Path(resume):
        raise TrainingError(
            f"A resumed run stays in its folder: out={str(out)!r} differs from "
            f"resume={str(resume)!r}. Leave out= (--out) away."
        )
    if skip_if_trained and (out is None or resume is not None):
        raise TrainingError(
            "skip_if_trained (--skip-if-trained) takes over phases of the run in out= (--out): "
            "give that folder, and not resume=, which goes on with all of a run."
        )


def _refuse_no_folder(name: str, folder: Any) -> None:
    """An empty path is the current folder, which nobody means."""
    if folder is None or isinstance(folder, Path) or (isinstance(folder, str) and folder):
        return
    raise TrainingError(
        f"{name}= (--{name}) is the path of a folder, or None; received {folder!r}. Give a path, "
        f"such as {name}='runs/first', or '.' for the current folder."
    )
