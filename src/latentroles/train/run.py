"""The run folder: what one training run leaves behind.

- spec.json: the declaration
- run.json: settings, data, versions, times, status
- metrics.jsonl: the losses of each logged step
- checkpoint.safetensors: what resuming needs; checkpoint.json says what is in it
- best.safetensors, best.json: the same, where validation was best
- with several phases best_<phase>, and checkpoint_<phase> once the phase is done
- model_<backend>.py: the source that was run; with several phases model_<backend>_<phase>.py
- curves.png: the losses and the measures, drawn
- pictures.png: the declared pictures, drawn; with several phases pictures_<phase>.png
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from latentroles.errors import CheckpointError, LatentrolesError, TrainingError
from latentroles.files import replace_files
from latentroles.rules import diff
from latentroles.spec import Spec
from latentroles.train import checkpoint, metrics
from latentroles.train.changes import changes, leaves, listed

SPEC = "spec.json"
RUN = "run.json"
CURVES = "curves.png"
PICTURES = "pictures.png"

_VERSIONS = {
    "torch": ("torch",),
    "jax": ("jax", "jaxlib", "equinox", "optax"),
}


@dataclass(frozen=True)
class Run:
    """What `run.json` holds.

    Attributes:
        spec, spec_hash: the declaration's name and hash.
        backend, dtype, device, seed: the arguments of `train`; device None is the backend's choice.
        steps: phase -> optimiser steps at most, in the order of training.
        optimisers, groups: as JSON; module -> name of its optimiser.
        early_stopping, phases: as JSON; what single phases do otherwise.
        data: what identifies the batches.
        validation: what identifies the batches held out, and when they are evaluated; or None.
        collapse_every: steps between looks at the latents where there is no validation.
        versions: of Python and the packages that compute.
        started, ended: UTC, ISO 8601; of the last part of a resumed run.
        stages: seconds of each stage, summed over the parts of a resumed run.
        status: "running", "complete", "interrupted" or "failed".
        error: why it failed.
        command: what the command line was given; {} from Python.
    """

    spec: str
    spec_hash: str
    backend: str
    dtype: str
    device: str | None
    seed: int
    steps: dict[str, int]
    optimisers: dict[str, Any]
    groups: dict[str, str] | None
    data: dict[str, Any]
    early_stopping: dict[str, Any] | None = None
    phases: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] | None = None
    collapse_every: int = 100
    versions: dict[str, str] = field(default_factory=dict)
    started: str = ""
    ended: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
    status: str = "running"
    error: str | None = None
    command: dict[str, Any] = field(default_factory=dict)


# What a run may not change when it goes on, nor its spec: it would be another run.
_FIXED = (
    *("backend", "dtype", "seed", "optimisers", "groups", "data"),
    *("early_stopping", "phases", "validation", "collapse_every"),
)
# What a phase that is trained already must have in common with the run that takes it over.
_OF_A_PHASE = ("backend", "dtype", "seed")


@dataclass(frozen=True)
class RunResult:
    """What `train` returns.

    Attributes:
        folder: the run folder.
        steps: optimiser steps so far, over all phases.
        first, last: each loss's mean over its first and its last `averaged` logged steps.
        averaged: see `first`.
        validation: each loss at its last validation; {} without one.
        measures: each measure as it was last, NaN where it was not finite; {} without any.
        steps_per_second: of this call, the first step of each phase (which compiles) left out;
            NaN after fewer than two steps.
        stages: seconds of each stage of this call.
        model: the trained model, a torch or equinox module.
        notes: what is to be known: a latent that collapsed, a chart that could not be drawn.
    """

    folder: Path
    steps: int
    first: dict[str, float]
    last: dict[str, float]
    averaged: int
    steps_per_second: float
    stages: dict[str, float]
    model: Any = field(repr=False)
    notes: tuple[str, ...] = ()
    validation: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)


def occupied(folder: Path) -> str | None:
    """Returns why a new run cannot have `folder`, or None if it can.

    A folder that holds other things is fine, one with a file that the run would write is not.
    """
    if folder.exists() and not folder.is_dir():
        return f"{folder} is a file: out= (--out) is a folder for the run. Give another path."
    ours = (SPEC, RUN, CURVES, PICTURES, metrics.METRICS, checkpoint.TENSORS, checkpoint.RECORD)
    held = [name for name in ours if (folder / name).exists()]
    if not held:
        return None
    advice = "Give another folder, or remove this one."
    if checkpoint.TENSORS in held:
        advice = f"Go on with it (resume={str(folder)!r}, --resume {folder}), or give another."
    return f"{folder} already holds a run ({', '.join(held)}), which is kept. {advice}"


def refuse_occupied(folder: Path) -> None:
    """Raises TrainingError if a new run cannot have `folder`."""
    why = occupied(folder)
    if why is not None:
        raise TrainingError(why)


def create(out: Path | None, name: str) -> Path:
    """Makes the folder of a new run: `out`, or the first free `runs/<name>-<number>`.

    Raises:
        TrainingError: `out` holds a run already, or the folder cannot be made.
    """
    try:
        if out is None:
            return _numbered(Path("runs"), name)
        refuse_occupied(out)
        out.mkdir(parents=True, exist_ok=True)
        return out
    except OSError as error:
        raise TrainingError(
            f"The run folder {out or Path('runs')} could not be made: {error.strerror or error}. "
            "Give another path (out=, --out)."
        ) from error


def _numbered(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"{name}-{number:03d}"
        try:
            folder.mkdir()  # fails if another run has just taken the number
        except FileExistsError:
            number += 1
        else:
            return folder


def write_run(folder: Path, run: Run) -> None:
    """Writes `run.json`. Raises TrainingError if it cannot."""
    write_text(folder / RUN, json.dumps(asdict(run), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file of the run folder, whole or not at all. Raises TrainingError."""
    try:
        replace_files({path: text.encode()})
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written: {error.strerror or error}. Make room or permissions, "
            "or give another folder (out=, --out)."
        ) from error


def read_run(folder: Path) -> Run:
    """Returns what `run.json` of `folder` says.

    Raises:
        CheckpointError: there is no such run, or the file is damaged. It is left as it is.
    """
    path = folder / RUN
    try:
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} holds no run: there is no {RUN} in it. Give the folder that the run was "
            "started with."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). It is left as it is; restore it from a copy."
        ) from error


def read_spec(folder: Path) -> dict[str, Any]:
    """Returns the JSON of `spec.json`; raises CheckpointError."""
    path = folder / SPEC
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has lost its {SPEC}, the declaration that its weights belong to. Give the "
            "spec itself: `latentroles train SPEC --resume ...`, or in Python "
            f"lr.train(spec, data, resume={str(folder)!r}), which write it anew."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}). It is left as it is.") from error


def spec_of(folder: Path) -> Spec:
    """Returns the spec of `spec.json`; raises CheckpointError, which names the file."""
    data = read_spec(folder)
    try:
        return Spec.from_json(data)
    except LatentrolesError as error:
        raise CheckpointError(f"{folder / SPEC} holds no spec that can be read: {error}") from error


def refuse_other_spec(folder: Path, before: Run, spec: Spec) -> None:
    """Raises CheckpointError if the run of `folder` is not one of `spec`, and says what differs."""
    if before.spec != spec.name:
        raise CheckpointError(
            f"{folder} holds a run of {before.spec}, which is another spec than {spec.name}. It is "
            "left as it is: give the spec that it was started with (after --resume DIR it may be "
            "left away), or another folder."
        )
    if before.spec_hash != spec.hash:
        raise CheckpointError(
            f"{folder} holds a run of another declaration of {spec.name} (spec_hash "
            f"{before.spec_hash} there, {spec.hash} here). It is left as it is: declare the same, "
            f"or give another folder.{_change(folder, spec)}"
        )


def refuse_changes(folder: Path, before: Run, asked: Run) -> None:
    """Raises CheckpointError if `asked`, of the same spec, is not the run of `folder`."""
    found = _differences(before, asked, _FIXED)
    if found:
        raise CheckpointError(
            f"A resumed run is the same run, and {folder} differs from what was asked for in "
            f"{found}. Ask for the same, or start a new run."
        )


def refuse_other_phases(folder: Path, before: Run, asked: Run) -> None:
    """Raises CheckpointError if the phases trained in `folder` are not those of `asked`."""
    found = _differences(before, asked, _OF_A_PHASE)
    if found:
        raise CheckpointError(
            f"A phase that is trained is taken over by a run of the same kind, and {folder} "
            f"differs in {found}. It is left as it is: ask for the same, or give another folder."
        )


def _differences(before: Run, asked: Run, keys: Sequence[str]) -> str:
    old, new = asdict(before), json.loads(json.dumps(asdict(asked)))
    return "; ".join(listed([line for key in keys for line in leaves(old[key], new[key], key)]))


def _change(folder: Path, spec: Spec) -> str:
    """What became of the spec, by name and as `lr.diff` says it; "" where it is not known."""
    try:
        there = Spec.from_json(read_spec(folder))
        said = [*listed(changes(there, spec)), *str(diff(there, spec)).splitlines()]
    except LatentrolesError:
        return ""
    indented = "".join(f"\n  {line}" for line in said)
    return f"\nFrom the spec there to the spec here:{indented}"


def utc_now() -> str:
    """Returns the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(backend: str) -> dict[str, str]:
    """Returns the versions of Python and of the packages that a run computes with, unimported."""
    found = {"python": platform.python_version()}
    for package in ("latentroles", "numpy", *_VERSIONS.get(backend, ())):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
