"""The `latentroles` command.

Exit codes: 0 done; 1 training failed (a loss that is not finite, a full disk), or a check found an
error; 2 the command or its input is wrong; 130 stopped by Ctrl-C, the run saved.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from latentroles.errors import LatentrolesError, TrainingError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Args:
        argv: the arguments; None is those of the process.
    """
    arguments = _parser().parse_args(argv)
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except LatentrolesError as error:
        if arguments.traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, TrainingError) else 2
    except KeyboardInterrupt as stop:
        # The first Ctrl-C of a training run arrives here as Interrupted, with what to do next.
        print(str(stop) or "Stopped at once.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (`| head`) has left; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    from latentroles.commands import (
        check,
        compare,
        diff,
        emit,
        evaluate,
        explain,
        ladder,
        losses,
        plugins,
        report,
        routes,
        train,
    )

    parser = argparse.ArgumentParser(
        prog="latentroles",
        description="World models with declared latent roles and gradient routes.",
        epilog=(
            "SPEC is a registered name (latentroles plugins lists them) or path.py:function; "
            "-p key=value sets an argument of its function. "
            "Exit codes: 0 done, 1 training failed or a check found an error, 2 wrong command or "
            "input, 130 Ctrl-C."
        ),
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (
        check,
        explain,
        losses,
        routes,
        diff,
        ladder,
        train,
        evaluate,
        compare,
        report,
        emit,
        plugins,
    ):
        subparser = command.add(subparsers)
        subparser.set_defaults(run=command.run)
        subparser.add_argument(
            "--traceback", action="store_true", help="show where in the code an error was raised"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
