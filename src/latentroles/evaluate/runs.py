"""What a run folder has to be measured: its place latent, its data, its untrained model."""

from pathlib import Path
from typing import Any

from latentroles.errors import DataError, SpecError
from latentroles.roles import PLACE
from latentroles.spec import Spec


def place_latent(spec: Spec, folder: Path) -> str:
    """The first latent with the role PLACE. Raises SpecError where there is none."""
    for name, latent in spec.latents.items():
        if latent.role.name == PLACE.name:
            return name
    raise SpecError(
        f"The spec of {folder} has no latent with the role PLACE. Say which one is measured: "
        f"--latent {' or '.join(spec.latents) or 'NAME'}."
    )


def own_data(folder: Path, which: str = "last") -> tuple[Any, tuple[str, ...]]:
    """What a run held out, or else trained on; and what is to be said of it, and of the run.

    Args:
        which: of its weights are measured, "last" or "best".

    Raises:
        DataError: the run does not know its data.
    """
    from latentroles.train.run import read_run
    from latentroles.train.validation import divide

    command = read_run(folder).command
    if "data" not in command:
        raise DataError(
            f"{folder} was not started from the command line, which then does not know its data. "
            "Give --data FILE or --env NAME."
        )
    held, said = command.get("validation"), unfinished(folder, which)
    if held is None:
        return command["data"], (
            *said,
            f"nothing was held out: measured on what it was trained on, {command['data']}",
        )
    if isinstance(held, str):
        return held, said
    _, held_out = divide(command["data"], held)
    return held_out, (*said, f"measured on the {len(held_out)} episodes that were held out")


def unfinished(folder: Path, which: str = "last") -> tuple[str, ...]:
    """What is to be said of a run that was not trained to its end; () where it was.

    Args:
        which: of its weights are measured, "last" or "best".

    Raises:
        CheckpointError: there is no run in the folder, or a file of it is damaged.
    """
    from latentroles.train.load import checkpoint_of
    from latentroles.train.run import read_run

    run = read_run(folder)
    if run.status == "complete":
        return ()
    ended = {
        "failed": f"failed ({run.error})",
        "interrupted": "was interrupted",
        "running": "has not ended, or was killed",
    }
    step, steps = checkpoint_of(folder, which).record["step"], sum(run.steps.values())
    weights = f"those after {step} of {steps} steps" if step else "the initial ones, after 0 steps"
    return (f"{folder} {ended.get(run.status, run.status)}: its {which} weights are {weights}",)


def untrained(folder: Path, device: str | None) -> Any:
    """The model of a run at its initial weights."""
    from latentroles.compile import compile as compile_spec
    from latentroles.train.run import read_run, spec_of

    found = read_run(folder)
    return compile_spec(
        spec_of(folder),
        backend=found.backend,
        seed=found.seed,
        phase=list(found.steps)[-1],
        dtype=found.dtype,
        device=device,
    )
