"""What a run is measured on, and how: options that `evaluate` and `report` share."""

import argparse
from dataclasses import fields
from typing import Any

from latentroles.commands.specs import add_parameters, read_parameters
from latentroles.errors import SpecError
from latentroles.evaluate.distances import NAMED
from latentroles.evaluate.settings import Settings


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
    add_parameters(parser, "the environment of --env", "cells=9", "")


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


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declares how it is measured: each option has the default of `lr.evaluate`."""
    option, default = parser.add_argument, Settings()
    option(
        "--episodes",
        type=int,
        metavar="N",
        help=f"walks in --env; default {default.episodes}",
    )
    option(
        "--steps",
        type=int,
        metavar="N",
        help=f"actions of a walk; default {default.steps}",
    )
    option(
        "--seed", type=int, default=default.seed, metavar="N", help="of walks and draws; default 0"
    )
    option(
        "--nuisance", action="append", metavar="NAME", help="a label that is one; may be repeated"
    )
    option(
        "--lags",
        type=_lags,
        default=default.lags,
        metavar="K,K",
        help="how many steps back the actions lie whose leakage is measured, such as 1,2,4, "
        "each at most the actions of the longest episode; or none; default "
        f"{','.join(map(str, default.lags))}",
    )
    option(
        "--tau",
        type=int,
        default=default.tau,
        metavar="N",
        help=f"steps; nearer visits of an episode are not compared; default {default.tau}",
    )
    option(
        "--distance",
        choices=NAMED,
        help="between places: of coordinates on a grid, or the fewest steps that a walk took",
    )
    option(
        "--tolerance",
        type=float,
        default=default.tolerance,
        metavar="D",
        help="places at most this far apart are not compared; default 0, needs --distance",
    )
    option(
        "--margin",
        type=float,
        default=default.margin,
        help=f"the LCR that counts as the same; default {default.margin}",
    )
    option(
        "--separation",
        type=float,
        default=default.separation,
        help="the share of revisits nearer than every wrong place that passes; default "
        f"{default.separation}",
    )


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What those options say, by the names of `Settings`."""
    found = {f.name: getattr(arguments, f.name) for f in fields(Settings) if f.name != "only"}
    for name in ("episodes", "steps"):
        if found[name] is None:
            del found[name]
        elif arguments.env is None:
            raise SpecError(
                f"--{name} is of the walks in an environment, and trajectories have their own: "
                f"give --env NAME, or leave --{name} away."
            )
    return found


def _lags(text: str) -> tuple[int, ...]:
    try:
        return () if text == "none" else tuple(int(k) for k in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"whole numbers with commas between, such as 1,2, or none; not {text!r}"
        ) from None
