"""`latentroles losses`: which loss makes of which latent what."""

import argparse
import inspect
from collections.abc import Mapping
from typing import Any

from latentroles.commands.specs import SpecFunction, add_spec, build, find_function, read_parameters
from latentroles.errors import SpecError


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "losses",
        help="say which loss makes of which latent what",
        description=(
            "Prints each loss of SPEC with the modules that it updates and what the check says of "
            "each latent, those of weight 0 too, as if they were on. Without SPEC: the shipped "
            "losses, each on a live latent of every role."
        ),
    )
    add_spec(parser, optional=True)
    parser.add_argument("--markdown", action="store_true", help="as Markdown")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.rules import responsibility

    if arguments.spec is None:
        if arguments.parameter:
            raise SpecError(
                "-p and --config are arguments of a spec: name SPEC, or leave them out."
            )
        if arguments.markdown:
            print(responsibility.page())
        else:
            print(responsibility.table(responsibility.catalogue()))
        return 0
    function = find_function(arguments.spec)
    parameters = read_parameters(function, arguments.parameter)
    found = responsibility.of_spec(
        lambda given: build(function, given), parameters, _off(function, parameters)
    )
    print(responsibility.markdown(found) if arguments.markdown else responsibility.table(found))
    return 0


def _off(function: SpecFunction, parameters: Mapping[str, Any]) -> list[str]:
    """The arguments of a spec's function that are floats, and 0: weights of losses that are off."""
    return [
        name
        for name, argument in inspect.signature(function).parameters.items()
        if isinstance(argument.default, float) and not parameters.get(name, argument.default)
    ]
