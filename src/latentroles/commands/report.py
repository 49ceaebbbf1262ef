"""`latentroles report`: what a run is, on one page."""

import argparse
from pathlib import Path
from typing import Any

from latentroles.commands.measured_on import add_measured_on, add_settings, measured_on, settings
from latentroles.commands.outputs import output


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "report",
        help="write a page about a run: routes, findings, curves, loops",
        description=(
            "Writes one HTML file that needs no network: the spec's routes as a map that answers "
            "clicks, findings, learning curves, what z does on loops, and versions."
        ),
    )
    parser.add_argument("folder", metavar="RUN", help="the folder of a run")
    parser.add_argument("--out", metavar="FILE", help="default RUN/report.html")
    add_measured_on(parser)
    parser.add_argument(
        "--latent", metavar="NAME", help="which is measured; default the first with the role PLACE"
    )
    add_settings(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.evaluate.report.page import write_report

    out, folder = output("--out", arguments.out), Path(arguments.folder)
    data, how = measured_on(arguments), settings(arguments)
    print(write_report(folder, out, data=data, latent=arguments.latent, **how))
    return 0
