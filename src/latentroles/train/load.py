"""The model of a run folder."""

from pathlib import Path
from typing import Any

from latentroles import arguments
from latentroles.compile import compile as compile_spec
from latentroles.compile import load_weights
from latentroles.train import checkpoint
from latentroles.train.run import read_run, spec_of

_KINDS = {"last": checkpoint.LAST, "best": checkpoint.BEST}


def load(
    folder: str | Path,
    *,
    which: str = "last",
    phase: str | None = None,
    backend: str | None = None,
    device: Any = None,
) -> Any:
    """The model that a run left behind, with the weights of a checkpoint.

    Args:
        folder: of the run, as `RunResult.folder` or `--out` names it.
        which: "last", or "best" by validation.
        phase: which phase's, once it is done; None is the one that the run is in or ended with.
        backend: "torch" or "jax", not only that of the run; None is that of the run.
        device: of the backend; None is its own choice.

    Raises:
        CheckpointError: the folder holds no run, or not this checkpoint, or it is damaged.
        SpecError: there is no such phase.
    """
    folder = Path(folder)
    run = read_run(folder)
    arguments.choice("load", "which", which, _KINDS)
    if phase is not None:
        arguments.choice("load", "phase", phase, run.steps)
    held = checkpoint_of(folder, which, phase)
    model = compile_spec(
        spec_of(folder),
        backend=backend or run.backend,
        phase=held.record["phase"],
        seed=run.seed,
        dtype=run.dtype,
        device=device,
    )
    weights: dict[str, dict[str, Any]] = {}
    for name, array in held.arrays.items():
        part, _, path = name.partition("/")
        if part == "weights":
            module, _, path = path.partition("/")
            weights.setdefault(module, {})[path] = array
    return load_weights(model, weights)


def checkpoint_of(
    folder: Path, which: str = "last", phase: str | None = None
) -> checkpoint.Checkpoint:
    """The checkpoint that `load` takes, arguments as there."""
    kind, phases = _KINDS[which], list(read_run(folder).steps)
    if phase is not None:
        return checkpoint.load(folder, checkpoint.name_of(kind, phase, phases))
    held = checkpoint.load(folder)
    if kind == checkpoint.LAST:
        return held
    return checkpoint.load(folder, checkpoint.name_of(kind, held.record["phase"], phases))
