"""`latentroles evaluate`: does a run's latent close loops?"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentroles.commands.parameter_files import ParameterFile
from latentroles.commands.specs import read_parameters
from latentroles.errors import DataError, SpecError
from latentroles.evaluate.measured import FAMILIES
from latentroles.evaluate.runs import own_data, place_latent, unfinished, untrained
from latentroles.spec import Spec


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "evaluate",
        help="measure whether a run's latent is the same where the place is",
        description=(
            "Prints every metric of a latent with every control beside it, and what they allow to "
            "be said. Several runs of one spec are its seeds. Without --data and --env, the "
            "latent is measured on what the run held out."
        ),
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders: one for each seed")
    option = parser.add_argument
    option("--latent", metavar="NAME", help="default the first with the role PLACE")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", metavar="FILE", help="trajectories (HDF5) with places")
    where.add_argument(
        "--env", metavar="NAME", help="an environment to walk in; -p sets its arguments"
    )
    option(
        "-p",
        "--parameter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an argument of the environment of --env, such as -p cells=9; may be repeated",
    )
    option(
        "--config",
        metavar="FILE",
        dest="parameter",
        type=ParameterFile,
        action="append",
        help="arguments of that environment from YAML, JSON or TOML; -p overrides them",
    )
    option("--episodes", type=int, default=64, metavar="N", help="walks in --env; default 64")
    option("--steps", type=int, default=100, metavar="N", help="actions of a walk; default 100")
    option("--seed", type=int, default=0, metavar="N", help="of walks and draws; default 0")
    option("--only", action="append", choices=FAMILIES, help="these metrics alone; may be repeated")
    option(
        "--control",
        action="append",
        default=[],
        metavar="NAME=RUN",
        help="another run as a control, such as 'regulariser only=runs/null'; may be repeated",
    )
    option(
        "--nuisance", action="append", metavar="NAME", help="a label that is one; may be repeated"
    )
    option("--margin", type=float, default=0.1, help="the LCR that counts as the same; default 0.1")
    option(
        "--separation",
        type=float,
        default=0.9,
        help="the share of revisits nearer than every wrong place that passes; default 0.9",
    )
    option("--which", choices=["last", "best"], default="last", help="checkpoint; default last")
    option("--device", metavar="D", help="such as cpu or cuda; default the backend's choice")
    option("--json", metavar="FILE", help="write everything that was measured, too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.evaluate.encoders import latent_encoder
    from latentroles.evaluate.evaluate import evaluate
    from latentroles.train import load

    folders = [Path(folder) for folder in arguments.runs]
    spec = _spec(folders)
    latent = arguments.latent or place_latent(spec, folders[0])
    target = _writable(arguments.json)
    data, remarks = _data(arguments, folders[0])

    def model(folder: Path) -> Any:
        return load(folder, which=arguments.which, device=arguments.device)

    encoders = [latent_encoder(model(folder), latent) for folder in folders]
    reads = encoders[0][1]
    remarks = [text for folder in folders for text in unfinished(folder)] + list(remarks)
    controls = {"untrained": latent_encoder(untrained(folders[0], arguments.device), latent)}
    for assignment in arguments.control:
        label, equals, folder = assignment.partition("=")
        if not equals or not label or not folder:
            raise SpecError(
                f"--control takes NAME=RUN, such as 'regulariser only=runs/null'; got "
                f"{assignment!r}."
            )
        if label in controls:
            raise SpecError(f"There are two controls named {label!r}; give each a name of its own.")
        controls[label] = latent_encoder(model(Path(folder)), latent)
        remarks += unfinished(Path(folder))
    for label, (_, other) in controls.items():
        if other != reads:
            raise SpecError(
                f"the control {label!r} reads a {other}, and {latent} of {folders[0]} a {reads}: "
                "they cannot stand beside each other. Give a control of the same kind."
            )
    found = evaluate(
        [encode for encode, _ in encoders],
        data,
        reads=reads,
        controls={label: encode for label, (encode, _) in controls.items()},
        name=latent,
        nuisance=arguments.nuisance,
        only=arguments.only or FAMILIES,
        margin=arguments.margin,
        separation=arguments.separation,
        episodes=arguments.episodes,
        steps=arguments.steps,
        seed=arguments.seed,
    )
    # What own_data says of the first run is said once.
    found = replace(found, remarks=tuple(dict.fromkeys([*remarks, *found.remarks])))
    print(found.table())
    if target is not None:
        _write(target, json.dumps(found.to_json(), allow_nan=False, indent=1))
    return 0


def _spec(folders: list[Path]) -> Spec:
    """The spec of all runs; SpecError where they are not seeds of one."""
    from latentroles.train.run import read_run, read_spec

    runs = [(folder, read_run(folder)) for folder in folders]
    first = runs[0][1]
    for folder, found in runs:
        if found.spec_hash != first.spec_hash:
            raise SpecError(
                f"Several runs are the seeds of one spec, and {folder} is of another "
                f"({found.spec}, {found.spec_hash}) than {folders[0]} ({first.spec}, "
                f"{first.spec_hash}). Evaluate them one by one, or give one as --control NAME=RUN."
            )
    if len({found.seed for _, found in runs}) < len(runs):
        listed = ", ".join(f"{folder} {found.seed}" for folder, found in runs)
        raise SpecError(
            f"Several runs count as seeds, and two of these have the same: {listed}. Give each "
            "seed once."
        )
    return Spec.from_json(read_spec(folders[0]))


def _data(arguments: argparse.Namespace, folder: Path) -> tuple[Any, tuple[str, ...]]:
    """What to measure on, and what is to be said of it."""
    from latentroles import plugins

    if arguments.env is not None:
        factory = plugins.environment(arguments.env)
        return factory(**read_parameters(factory, arguments.parameter)), ()
    if arguments.parameter:
        raise SpecError(
            "-p and --config set arguments of an environment: give --env NAME, or leave them away."
        )
    if arguments.data is not None:
        return arguments.data, ()
    return own_data(folder)


def _writable(path: str | None) -> Path | None:
    """Where JSON goes, if its folder is there: before minutes are spent, not after."""
    if path is None:
        return None
    target = Path(path)
    if not target.parent.is_dir() or target.is_dir():
        raise DataError(f"--json {path}: its folder does not exist, or it is a folder itself.")
    return target


def _write(path: Path, text: str) -> None:
    from latentroles.files import replace_files

    try:
        replace_files({path: text.encode()})
    except OSError as error:
        raise DataError(f"{path} could not be written: {error.strerror or error}.") from error
