"""`latentroles emit`: the source that a spec is compiled to."""

import argparse
from typing import Any

from latentroles.commands.specs import add_spec, build, find_function, read_parameters


def add(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "emit",
        help="print the source of the compiled model",
        description="Prints the class that is run: a torch.nn.Module or an equinox.Module.",
    )
    add_spec(parser)
    parser.add_argument("--backend", default="torch", help="torch (default), jax, or a plugin's")
    parser.add_argument("--phase", help="a phase of the spec; default its first")
    return parser


def run(arguments: argparse.Namespace) -> int:
    from latentroles.compile import compile as compile_spec

    function = find_function(arguments.spec)
    spec = build(function, read_parameters(function, arguments.parameter))
    model = compile_spec(spec, backend=arguments.backend, phase=arguments.phase)
    print(model.source.rstrip())
    return 0
