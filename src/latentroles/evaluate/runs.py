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


def own_data(folder: Path) -> tuple[Any, tuple[str, ...]]:
    """What a run held out, or else trained on; and what is to be said of it.

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
    held = command.get("validation")
    if held is None:
        return command["data"], (
            f"nothing was held out: measured on what it was trained on, {command['data']}",
        )
    if isinstance(held, str):
        return held, ()
    _, held_out = divide(command["data"], held)
    return held_out, (f"measured on the {len(held_out)} episodes that were held out",)


def untrained(folder: Path, device: str | None) -> Any:
    """The model of a run at its initial weights."""
    from latentroles.compile import compile as compile_spec
    from latentroles.train.run import read_run, read_spec

    found = read_run(folder)
    return compile_spec(
        Spec.from_json(read_spec(folder)),
        backend=found.backend,
        seed=found.seed,
        phase=list(found.steps)[-1],
        dtype=found.dtype,
        device=device,
    )
