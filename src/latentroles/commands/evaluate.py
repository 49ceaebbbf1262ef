"""`latentroles evaluate`: does a run's latent close loops?"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentroles.commands.measured_on import add_measured_on, add_settings, measured_on, settings
from latentroles.commands.outputs import output, write
from latentroles.errors import SpecError
from latentroles.evaluate.measured import FAMILIES
from latentroles.evaluate.runs import own_data, place_latent, unfinished, untrained
from latentroles.spec import Spec

_NO_NULL = (
    "no control 'regulariser only': what a loss does to z shows beside a run without it. Train "
    "one, and give --control 'regulariser only=RUN'"
)


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
    add_measured_on(parser)
    option("--only", action="append", choices=FAMILIES, help="these metrics alone; may be repeated")
    option(
        "--control",
        action="append",
        default=[],
        metavar="NAME=RUN",
        help="another run as a control, such as 'regulariser only=runs/null'; may be repeated",
    )
    add_settings(parser)
    option("--which", choices=["last", "best"], default="last", help="checkpoint; default last")
    option("--device", metavar="D", help="such as cpu or cuda; default the backend's choice")
    option("--json", metavar="FILE", help="write everything that was measured, too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.evaluate.encoders import latent_encoder
    from latentroles.evaluate.evaluate import evaluate
    from latentroles.train import load

    folders, which = [Path(folder) for folder in arguments.runs], arguments.which
    spec = _spec(folders)
    latent = arguments.latent or place_latent(spec, folders[0])
    target = output("--json", arguments.json)
    data, remarks = measured_on(arguments), ()
    if data is None:
        data, remarks = own_data(folders[0], which)

    def model(folder: Path) -> Any:
        return load(folder, which=which, device=arguments.device)

    encoders = [latent_encoder(model(folder), latent) for folder in folders]
    reads = encoders[0][1]
    remarks = [text for folder in folders for text in unfinished(folder, which)] + list(remarks)
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
        remarks += unfinished(Path(folder), which)
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
        only=arguments.only or FAMILIES,
        **settings(arguments),
    )
    if not arguments.control and len(spec.losses) > 1:
        remarks.append(_NO_NULL)
    # What own_data says of the first run is said once.
    found = replace(found, remarks=tuple(dict.fromkeys([*remarks, *found.remarks])))
    print(found.table())
    if target is not None:
        write(target, json.dumps(found.to_json(), allow_nan=False, indent=1))
    return 0


def _spec(folders: list[Path]) -> Spec:
    """The spec of all runs; SpecError where they are not seeds of one."""
    from latentroles.train.run import read_run, spec_of

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
    return spec_of(folders[0])
