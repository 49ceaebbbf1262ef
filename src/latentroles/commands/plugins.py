"""`latentroles plugins`: what is registered, and what a spec can be given."""

import argparse
import inspect
from functools import partial
from typing import Any

from latentroles.commands.specs import find_function, named_arguments

GROUPS = ("backends", "specs", "environments", "losses", "roles")


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "plugins",
        help="list what is registered, or the arguments of a spec",
        description=(
            "Lists the registered backends, specs, environments, losses and roles, and where each "
            "comes from. A package registers its own under the entry-point group that is printed. "
            "With SPEC it prints what that spec says of itself, and its arguments for -p."
        ),
    )
    parser.add_argument(
        "spec", metavar="SPEC", nargs="?", help="a registered name, or path.py:function"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    if arguments.spec is None:
        _list()
    else:
        print(_described(arguments.spec))
    return 0


def _list() -> None:
    from latentroles.plugins import registered

    for group in GROUPS:
        print(f"latentroles.{group}")
        found = registered(group).values()
        widest = max((len(point.name) for point in found), default=0)
        for point in found:
            package = f" ({point.dist.name} {point.dist.version})" if point.dist else ""
            print(f"  {point.name:<{widest}}  {point.value}{package}")
        if not found:
            print("  none")


def _described(spec: str) -> str:
    """The docstrings of a SPEC, its arguments with their defaults, and its recipe."""
    function = find_function(spec)
    if isinstance(function, partial):
        return f"{spec} is declared already and has no arguments."
    named = named_arguments(function)
    docstrings = (inspect.getdoc(inspect.getmodule(function)), inspect.getdoc(function))
    blocks = [text for text in docstrings if text] or [f"{spec} has no docstring."]
    widest = max((len(name) for name in named), default=0)
    lines = [f"  {name:<{widest}}  {_default(argument)}" for name, argument in named.items()]
    heading = "arguments, -p NAME=VALUE, and their defaults:"
    blocks.append("\n".join([heading, *(lines or ["  none"])]))
    recipe = getattr(function, "recipe", None)
    if recipe is not None:
        blocks.append(
            f"recipe: {recipe.episodes} episodes of {recipe.episode_steps} actions in "
            f"{recipe.environment}; windows of {recipe.frames} frames, {recipe.batch} to a batch; "
            f"{recipe.steps} steps"
        )
    return "\n\n".join(blocks)


def _default(argument: inspect.Parameter) -> str:
    return "must be given" if argument.default is argument.empty else repr(argument.default)
