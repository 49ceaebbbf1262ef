"""`latentroles check`: what the rules say of a spec."""

import argparse
import json
from typing import Any

from latentroles.commands.specs import add_spec, build, find_function, read_parameters


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "check",
        help="check a spec against its roles before it is trained",
        description=(
            "Prints what the rules find in a spec, and the pressures of each loss on each latent. "
            "Exits with code 1 if there is an error. `latentroles explain CODE` says more of a "
            "rule."
        ),
    )
    add_spec(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the report as JSON")
    form.add_argument(
        "--github", action="store_true", help="the findings as annotations of a GitHub workflow"
    )
    parser.add_argument("--strict", action="store_true", help="exit with code 1 on warnings too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.rules import check
    from latentroles.train.frames import too_short
    from latentroles.train.recipe import Recipe

    function = find_function(arguments.spec)
    spec = build(function, read_parameters(function, arguments.parameter))
    report = check(spec)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
    elif arguments.github:
        print("\n".join(filter(None, (report.github(), report.closing()))))
    else:
        print(f"{report.table()}\n\n{report}")
        recipe = getattr(function, "recipe", None)
        why = too_short(spec, recipe.frames) if isinstance(recipe, Recipe) else None
        if why is not None:
            print(f"\nThe recipe does not fit: {why[0].lower()}{why[1:]}")
    passed = report.clean if arguments.strict else report.ok
    return 0 if passed else 1
