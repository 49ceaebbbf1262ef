"""`latentroles compare`: runs side by side."""

import argparse
import json
from pathlib import Path
from typing import Any


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "compare",
        help="show runs side by side: two losses, two backends, two seeds",
        description=(
            "Prints what runs differ in (settings, versions, routes and verdicts of their specs) "
            "and where their losses, validations and measures ended."
        ),
    )
    parser.add_argument("folders", metavar="RUN", nargs="+", help="run folders, two or more")
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.evaluate.comparison import compare

    found = compare([Path(folder) for folder in arguments.folders])
    print(json.dumps(found.to_json(), indent=2) if arguments.json else found.table())
    return 0
