"""What a run is measured on: the options that say so, of `evaluate` and of `report`."""

import argparse
from typing import Any

from latentroles.commands.parameter_files import ParameterFile
from latentroles.commands.specs import read_parameters
from latentroles.errors import SpecError


def add_measured_on(parser: argparse.ArgumentParser) -> None:
    """Declares --data, and --env with its -p and --config."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--data",
        metavar="FILE",
        help="trajectories (HDF5) with places; default what the run held out, or else its own",
    )
    where.add_argument(
        "--env", metavar="NAME", help="an environment to walk in; -p sets its arguments"
    )
    parser.add_argument(
        "-p",
        "--parameter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an argument of the environment of --env, such as -p cells=9; may be repeated",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        dest="parameter",
        type=ParameterFile,
        action="append",
        help="arguments of that environment from YAML, JSON or TOML; -p overrides them",
    )


def measured_on(arguments: argparse.Namespace) -> Any:
    """The environment of --env, or the path of --data; None where neither is given."""
    from latentroles import plugins

    if arguments.env is not None:
        factory = plugins.environment(arguments.env)
        return factory(**read_parameters(factory, arguments.parameter))
    if arguments.parameter:
        raise SpecError(
            "-p and --config set arguments of an environment: give --env NAME, or leave them away."
        )
    return arguments.data
