"""`latentroles routes`: which loss moves what."""

import argparse
import json
from typing import Any

from latentroles.commands.specs import add_spec, build, find_function, read_parameters


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "routes",
        help="print which modules each loss updates",
        description="Prints, for each loss, what its gradient reaches and what stops it.",
    )
    add_spec(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="every cell, as a Markdown table")
    form.add_argument("--json", action="store_true", help="every cell, as JSON")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.routes import routes

    function = find_function(arguments.spec)
    spec = build(function, read_parameters(function, arguments.parameter))
    table = routes(spec)
    if arguments.json:
        print(json.dumps(table.to_json(), indent=2))
    else:
        print(table.markdown() if arguments.markdown else table)
    return 0
