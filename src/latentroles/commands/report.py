"""`latentroles report`: what a run is, on one page."""

import argparse
from pathlib import Path
from typing import Any


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
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--env", metavar="NAME", help="an environment to walk in instead")
    where.add_argument(
        "--data",
        metavar="FILE",
        help="trajectories to measure loops on; default what the run held out, or else its own",
    )
    parser.add_argument(
        "--latent", metavar="NAME", help="which is measured; default the first with the role PLACE"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles import plugins
    from latentroles.evaluate.report.page import write_report

    data = plugins.environment(arguments.env)() if arguments.env else arguments.data
    out = Path(arguments.out) if arguments.out else None
    folder = Path(arguments.folder)
    print(write_report(folder, out, data=data, latent=arguments.latent))
    return 0
