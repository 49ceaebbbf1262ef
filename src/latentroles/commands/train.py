"""`latentroles train`: collect or open data, train, say what came of it."""

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentroles.commands.specs import (
    add_spec,
    build,
    find_function,
    has_argument,
    read_parameters,
)
from latentroles.errors import DataError, SpecError
from latentroles.spec import Spec
from latentroles.train.display import Display, make_display, print_summary
from latentroles.train.recipe import Recipe
from latentroles.train.run import Run, occupied, read_run, spec_of
from latentroles.train.settings import EarlyStopping, PhaseSettings
from latentroles.train.stages import Stages

BATCH, FRAMES = 16, 12  # for a spec without a recipe
_ENDINGS = (".h5", ".hdf5")


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "train",
        help="train a spec and leave a run folder",
        description=(
            "Trains a spec as its recipe says, or as the options do. Data is collected once and "
            "used again. Ctrl-C finishes the step, saves, and exits with code 130."
        ),
    )
    add_spec(parser, optional=True)
    option = parser.add_argument
    option("--backend", help="torch (default), jax, or a plugin's")
    option(
        "--steps",
        type=_count,
        metavar="N",
        help="optimiser steps of each phase; with --resume of the phase that the run is in, and "
        "of those after it",
    )
    option(
        "--out", type=_path, metavar="DIR", help="the run folder; default runs/SPEC-BACKEND-NUMBER"
    )
    option(
        "--data",
        type=_path,
        metavar="FILE",
        help="trajectories (HDF5); collected there if it is missing",
    )
    option("--batch", type=_count, metavar="N", help="windows per step")
    option("--frames", type=_count, metavar="T", help="frames of a window")
    option("--device", metavar="D", help="such as cpu or cuda; default the backend's choice")
    option("--dtype", choices=["float32", "float64", "bfloat16"], help="default float32")
    option("--seed", type=_seed, metavar="N", help="of weights, noise and windows; default 0")
    option(
        "--validation",
        type=_path,
        metavar="PART",
        help="what to hold out: a fraction of the episodes such as 0.1, or a trajectory file",
    )
    option("--validate-every", type=_count, metavar="N", help="steps between validations")
    option(
        "--patience", type=_count, metavar="N", help="end a phase N validations after its best one"
    )
    option("--min-delta", type=_amount, metavar="D", help="what counts as better; default 0")
    option("--stop-on", metavar="LOSS", help="the loss that validation judges; default the total")
    option(
        "--skip-if-trained",
        action="store_true",
        help="take the phases that the run in --out has trained as they are",
    )
    option(
        "--resume", type=_path, metavar="DIR", help="go on with a run; SPEC may then be left away"
    )
    option("--quiet", action="store_true", help="print the run folder, and nothing else")
    return parser


@dataclass(frozen=True)
class Plan:
    """Everything that one call trains with.

    Attributes:
        data: the trajectory file.
        collection: what to collect if there is no such file: (environment, episodes, steps).
        exact: whether an existing file must hold that collection; not if the user named the file.
    """

    spec: Spec
    backend: str
    steps: int | None
    optimisers: Mapping[str, Any] | None
    groups: Mapping[str, str] | None
    seed: int
    device: str | None
    dtype: str
    data: Path
    collection: tuple[str, int, int] | None
    exact: bool
    frames: int
    batch: int
    columns: Mapping[str, str] | None
    validation: float | str | None
    validate_every: int | None
    early_stopping: EarlyStopping | None
    phases: Mapping[str, PhaseSettings]
    command: Mapping[str, Any]


def run(arguments: argparse.Namespace) -> int:
    from latentroles import plugins
    from latentroles.routes import routes
    from latentroles.train import train
    from latentroles.train.frames import refuse_short
    from latentroles.train.validation import refuse_no_part

    screen = make_display(not arguments.quiet)
    stages = Stages()
    plan = _plan_resumed(arguments) if arguments.resume else _plan_new(arguments)
    # What is missing or does not fit shows before data is collected.
    plugins.backend(plan.backend).device_of(plan.device)
    refuse_short(plan.spec, plan.frames)
    refuse_no_part(plan.validation)
    with stages("data"):
        trajectories = _trajectories(plan, screen)
    result = train(
        plan.spec,
        trajectories,
        backend=plan.backend,
        steps=plan.steps,
        out=arguments.out,
        optimisers=plan.optimisers,
        groups=plan.groups,
        seed=plan.seed,
        device=plan.device,
        dtype=plan.dtype,
        frames=plan.frames,
        batch=plan.batch,
        columns=plan.columns,
        validation=plan.validation,
        validate_every=plan.validate_every,
        early_stopping=plan.early_stopping,
        phases=plan.phases,
        skip_if_trained=arguments.skip_if_trained,
        resume=arguments.resume,
        display=screen,
        stages=stages,
        command=plan.command,
    )
    if arguments.quiet:
        print(result.folder)
    else:
        sys.stderr.flush()
        print_summary(result, routes(plan.spec))
    return 0


def _plan_new(arguments: argparse.Namespace) -> Plan:
    if arguments.spec is None:
        raise SpecError(
            "train needs a SPEC, or --resume DIR. `latentroles plugins` lists the specs."
        )
    if arguments.out is not None and not arguments.skip_if_trained:
        why = occupied(Path(arguments.out))
        if why is not None:  # before data is collected; `train` would say the same after it
            raise SpecError(why)
    function = find_function(arguments.spec)
    parameters = read_parameters(function, arguments.parameter)
    spec = build(function, parameters)
    _refuse_errors(spec)
    recipe = getattr(function, "recipe", None)
    if recipe is not None and not isinstance(recipe, Recipe):
        raise SpecError(f"{arguments.spec}: .recipe is made by @lr.recipe(...), not {recipe!r}.")
    collection = (recipe.environment, recipe.episodes, recipe.episode_steps) if recipe else None
    if arguments.data is not None:
        data = _data_file(arguments.data)
    elif collection is not None:
        data = Path("data") / "{}-{}x{}.h5".format(*collection)
    else:
        raise DataError(
            f"{arguments.spec} has no recipe that says which environment to collect from. Give "
            "--data FILE, or decorate its function with @lr.recipe(...)."
        )
    frames = arguments.frames or (recipe.frames if recipe else FRAMES)
    batch = arguments.batch or (recipe.batch if recipe else BATCH)
    columns = dict(recipe.columns) or None if recipe else None
    validation = _fraction(arguments.validation or (recipe.validation if recipe else None))
    return Plan(
        spec=spec,
        backend=arguments.backend or "torch",
        steps=arguments.steps or (recipe.steps if recipe else None),
        optimisers=recipe.optimisers if recipe else None,
        groups=recipe.groups if recipe else None,
        seed=arguments.seed or 0,
        device=arguments.device,
        dtype=arguments.dtype or "float32",
        data=data,
        collection=collection,
        exact=arguments.data is None,
        frames=frames,
        batch=batch,
        columns=columns,
        validation=validation,
        validate_every=arguments.validate_every,
        early_stopping=_early_stopping(arguments, recipe.early_stopping if recipe else None),
        phases=recipe.phases if recipe else {},
        command={
            "spec": arguments.spec,
            "parameters": parameters,
            "data": str(data.absolute()),
            "collection": collection,
            "exact": arguments.data is None,
            "frames": frames,
            "batch": batch,
            "columns": columns,
            "validation": validation,
        },
    )


def _refuse_errors(spec: Spec) -> None:
    """Raises SpecError for a spec that `latentroles check` has an error on."""
    from latentroles.rules import check

    report = check(spec)
    if not report.ok:
        found = "\n\n".join(str(finding) for finding in report.errors)
        raise SpecError(
            f"{spec.name!r} is not trained, because of what `latentroles check` finds in it:\n\n"
            f"{found}\n\n"
            "Fix: mend it, or declare each as an exception: s.allow(RULE, loss=..., because=...)."
        )


def _plan_resumed(arguments: argparse.Namespace) -> Plan:
    """The plan of a run that goes on: what its folder says, but for what the options say.

    `train` refuses options that would make it another run.
    """
    from latentroles.train.optimisers import from_json

    folder = Path(arguments.resume)
    before = read_run(folder)
    command = before.command
    if not command and arguments.data is None:
        raise DataError(
            f"{folder} was not started from the command line, which then does not know its data. "
            "Give --data FILE (and --frames, --batch), or resume from Python: "
            f"lr.train(..., resume={str(folder)!r})."
        )
    collection = command.get("collection")
    return Plan(
        spec=_resumed_spec(arguments, folder, before),
        backend=arguments.backend or before.backend,
        steps=arguments.steps,
        optimisers={name: from_json(data) for name, data in before.optimisers.items()},
        groups=before.groups,
        seed=before.seed if arguments.seed is None else arguments.seed,
        device=arguments.device or before.device,
        dtype=arguments.dtype or before.dtype,
        data=_data_file(arguments.data) if arguments.data else Path(command["data"]),
        collection=None if collection is None else tuple(collection),
        exact=bool(command.get("exact")) and arguments.data is None,
        frames=arguments.frames or command.get("frames", FRAMES),
        batch=arguments.batch or command.get("batch", BATCH),
        columns=command.get("columns"),
        validation=_fraction(arguments.validation or command.get("validation")),
        validate_every=arguments.validate_every,
        early_stopping=_early_stopping(
            arguments, EarlyStopping(**before.early_stopping) if before.early_stopping else None
        ),
        phases={name: PhaseSettings.from_json(data) for name, data in before.phases.items()},
        command=command,
    )


def _resumed_spec(arguments: argparse.Namespace, folder: Path, before: Run) -> Spec:
    """The folder's spec, or that of SPEC, with the folder's -p unless others are given."""
    if arguments.spec is None:
        if arguments.parameter:
            raise SpecError("-p sets arguments of a SPEC: give one, or leave -p away.")
        return spec_of(folder)
    function = find_function(arguments.spec)
    parameters = read_parameters(function, arguments.parameter)
    if not arguments.parameter:
        kept = before.command.get("parameters", {})
        # Of another SPEC than the run's some may be unknown; `train` says that it is another.
        parameters |= {
            k: tuple(v) if isinstance(v, list) else v
            for k, v in kept.items()
            if has_argument(function, k)
        }
    return build(function, parameters)


def _early_stopping(
    arguments: argparse.Namespace, otherwise: EarlyStopping | None
) -> EarlyStopping | None:
    """What the options say, and the rest as it would be without them."""
    options = {
        "patience": arguments.patience,
        "min_delta": arguments.min_delta,
        "loss": arguments.stop_on,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return otherwise
    if otherwise is not None:
        return replace(otherwise, **given)
    if "patience" not in given:
        raise SpecError("--min-delta and --stop-on say how --patience N judges: give it, too.")
    return EarlyStopping(**given)


def _fraction(validation: Any) -> Any:
    """A fraction where the text is a number, else the file that it names."""
    if validation is None:
        return None
    try:
        return float(validation)
    except ValueError:
        return str(Path(validation).absolute())


def _trajectories(plan: Plan, screen: Display) -> Any:
    """Opens the data, or collects it. An existing file is never written to."""
    from latentroles import plugins
    from latentroles.data import Trajectories, collect_or_reuse

    if plan.collection is None or (plan.data.exists() and not plan.exact):
        return Trajectories.open(plan.data)
    name, episodes, steps = plan.collection
    environment = plugins.environment(name)()
    collecting = not plan.data.exists()
    if collecting:
        screen.note(f"Collecting {episodes} episodes of {steps} actions in {name} ...")
        _make_parent(plan.data)
    trajectories = collect_or_reuse(environment, plan.data, episodes=episodes, steps=steps)
    screen.note(f"{'Wrote' if collecting else 'Using'} {plan.data}.")
    return trajectories


def _data_file(name: str) -> Path:
    """Raises DataError where --data names a file to collect whose ending says it is none."""
    path = Path(name)
    if not path.exists() and path.suffix.lower() not in _ENDINGS:
        raise DataError(
            f"There is no file {name!r}, and none is collected under that name: a trajectory file "
            f"ends in {' or '.join(_ENDINGS)}. Give --data FILE of one that is there, or "
            f"--data {path.with_suffix(_ENDINGS[0])} to collect it."
        )
    return path


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The folder {path.parent} could not be made: {error.strerror or error}. "
            "Give --data FILE."
        ) from error


def _path(text: str) -> str:
    """An empty path is the current folder, which nobody means."""
    if not text:
        raise argparse.ArgumentTypeError("a path, not ''")
    return text


def _count(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"a number of at least 0, not {text!r}")
    return value


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"a whole number of at least {least}, not {text!r}")
    return value
