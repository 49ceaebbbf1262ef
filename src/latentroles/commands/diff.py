"""`latentroles diff`: what a change of a spec does to its routes and verdicts."""

import argparse
from typing import Any

from latentroles.commands.specs import add_parameters, build, find_function, read_parameters


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "diff",
        help="show which routes and verdicts differ between two specs",
        description=(
            "Compares two specs: -p sets arguments of the second. The folder of a run, or its "
            "spec.json, will do for either. Exits with code 1 if they differ."
        ),
    )
    parser.add_argument(
        "before", metavar="BEFORE", help="a registered name, path.py:function, or a run"
    )
    parser.add_argument("after", metavar="AFTER", help="the same")
    add_parameters(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.rules import diff

    first = find_function(arguments.before)
    second = find_function(arguments.after)
    before = build(first, read_parameters(first, []))
    changes = diff(before, build(second, read_parameters(second, arguments.parameter)))
    print(changes)
    return 1 if changes else 0
