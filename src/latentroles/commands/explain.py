"""`latentroles explain`: what a rule means."""

import argparse
from typing import Any

from latentroles.errors import SpecError, nearest
from latentroles.rulebook import CODES, RULES, Rule, page


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="say what a rule means",
        description="Says what a rule means and what to do about it; without CODE, lists them.",
    )
    parser.add_argument("codes", metavar="CODE", nargs="*", help="LR201, action-identity, ...")
    parser.add_argument("--markdown", action="store_true", help="every rule, as a Markdown page")
    return parser


def run(arguments: argparse.Namespace) -> int:
    if arguments.markdown:
        if arguments.codes:
            raise SpecError("--markdown writes the page of all rules: leave CODE away.")
        print(page())
        return 0
    if not arguments.codes:
        widest = max(map(len, RULES))
        for rule in RULES.values():
            print(f"{rule.code}  {rule.slug:<{widest}}  {rule.meaning}")
        return 0
    print("\n\n".join(_rule(code).explain() for code in arguments.codes))
    return 0


def _rule(code: str) -> Rule:
    rule = CODES.get(code.upper()) or RULES.get(code.lower())
    if rule is None:
        close = nearest(code, [*CODES, *RULES])
        hint = close if close.startswith(" Did") else ""
        raise SpecError(f"no rule {code!r}.{hint} `latentroles explain` lists them.")
    return rule
