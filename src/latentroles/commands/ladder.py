"""`latentroles ladder`: what each loss could gain, exactly, beside what the rules say."""

import argparse
import json
from typing import Any

from latentroles.commands.outputs import output, write
from latentroles.commands.specs import add_spec, build, find_function, read_parameters
from latentroles.errors import SpecError


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "ladder",
        help="print what each loss of a spec could gain in a finite environment",
        description=(
            "Prints, for each loss of a spec on each latent that is to be a place, its exact "
            "optimum in a finite environment where the latent knows the place, the frame, the "
            "recent history or the single visit. A gap from place to frame rewards telling visits "
            "to a place apart. The verdict of the rules stands beside it."
        ),
    )
    add_spec(parser)
    parser.add_argument(
        "--env", metavar="NAME", required=True, help="a registered environment, such as corridor"
    )
    parser.add_argument(
        "-e",
        metavar="KEY=VALUE",
        dest="environment",
        action="append",
        default=[],
        help="an argument of the environment, such as -e noop=True; may be repeated",
    )
    parser.add_argument(
        "--policy",
        choices=("uniform", "moves"),
        default="uniform",
        help="uniform, or moves: never an action that stays at the place",
    )
    parser.add_argument(
        "--window", type=int, default=1, metavar="STEPS", help="of the past that history knows (1)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the ladder as JSON too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles import plugins
    from latentroles.evaluate.ladder import ladder
    from latentroles.words.transitions import TooManyStates

    target = output("--json", arguments.json)
    function = find_function(arguments.spec)
    spec = build(function, read_parameters(function, arguments.parameter))
    make = plugins.environment(arguments.env)
    try:
        given = read_parameters(make, arguments.environment)
    except SpecError as error:
        raise SpecError(f"--env {arguments.env}: {str(error).replace('-p ', '-e ')}") from None
    environment = make(**given)
    try:
        found = ladder(spec, environment, policy=arguments.policy, window=arguments.window)
    except TooManyStates as error:  # it advises an argument that the ladder does not have
        raise TooManyStates(
            f"{str(error).partition(' Fix: ')[0]} The ladder is exact and visits each of them. "
            "Fix: take a smaller environment; -e KEY=VALUE sets an argument of one."
        ) from None
    print(found)
    if target is not None:
        write(target, f"{json.dumps(found.to_json(), indent=2)}\n")
    return 0
