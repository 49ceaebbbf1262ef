"""The model of a run folder."""

from pathlib import Path
from typing import Any

from latentroles.compile import compile as compile_spec
from latentroles.compile import load_weights
from latentroles.spec import Spec
from latentroles.train import checkpoint
from latentroles.train.run import read_run, read_spec


def load(folder: str | Path, *, backend: str | None = None, device: Any = None) -> Any:
    """The model that a run left behind, with the weights of its last checkpoint.

    Args:
        folder: of the run, as `RunResult.folder` or `--out` names it.
        backend: "torch" or "jax", not only that of the run; None is that of the run.
        device: of the backend; None is its own choice.

    Raises:
        CheckpointError: the folder holds no run, or its checkpoint is damaged.
    """
    folder = Path(folder)
    run = read_run(folder)
    held = checkpoint.load(folder)
    model = compile_spec(
        Spec.from_json(read_spec(folder)),
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
