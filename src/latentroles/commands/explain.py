"""`latentroles explain`: what a rule means."""

import argparse
from typing import Any

from latentroles.errors import SpecError, nearest


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="say what a rule means",
        description="Says what a rule means and what to do about it; without CODE, lists them.",
    )
    parser.add_argument("code", metavar="CODE", nargs="?", help="such as LR201 or action-identity")
    parser.add_argument("--markdown", action="store_true", help="every rule, as a Markdown page")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.rulebook import CODES, RULES, page

    if arguments.markdown:
        if arguments.code is not None:
            raise SpecError("--markdown writes the page of all rules: leave CODE away.")
        print(page())
        return 0
    if arguments.code is None:
        widest = max(map(len, RULES))
        for rule in RULES.values():
            print(f"{rule.code}  {rule.slug:<{widest}}  {rule.meaning}")
        return 0
    rule = CODES.get(arguments.code.upper()) or RULES.get(arguments.code.lower())
    if rule is None:
        close = nearest(arguments.code, [*CODES, *RULES])
        hint = close if close.startswith(" Did") else ""
        raise SpecError(f"no rule {arguments.code!r}.{hint} `latentroles explain` lists them.")
    print(rule.explain())
    return 0
