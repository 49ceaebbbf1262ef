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
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.evaluate.report.page import write_report

    out = Path(arguments.out) if arguments.out else None
    print(write_report(Path(arguments.folder), out))
    return 0
