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
    form.add_argument("--mermaid", action="store_true", help="a drawing, as a Mermaid flowchart")
    form.add_argument("--dot", action="store_true", help="a drawing, as Graphviz DOT")
    parser.add_argument(
        "--loss", metavar="NAME", help="this loss alone; in a drawing, its route is thick"
    )
    parser.add_argument(
        "--alone", action="store_true", help="in a drawing: nothing but what --loss reads"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.routes import RouteTable, draw, routes

    function = find_function(arguments.spec)
    spec = build(function, read_parameters(function, arguments.parameter))
    if arguments.mermaid or arguments.dot:
        drawing = draw(spec, arguments.loss, alone=arguments.alone)
        print(drawing.mermaid() if arguments.mermaid else drawing.dot())
        return 0
    table = routes(spec)
    if arguments.loss is not None:
        columns = {"modules": table.modules, "targets": table.targets, "latents": table.latents}
        table = RouteTable([table[arguments.loss]], name=table.name, **columns)
    if arguments.json:
        print(json.dumps(table.to_json(), indent=2))
    else:
        print(table.markdown() if arguments.markdown else table)
    return 0
