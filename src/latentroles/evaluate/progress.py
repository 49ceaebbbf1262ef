"""What a person sees at a terminal while an encoder is measured: one line, gone at the end."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_CLEAR = "\r\033[K"


@contextmanager
def counted(
    total: int, wanted: bool = True, stream: TextIO | None = None
) -> Iterator[Callable[[str], None]]:
    """Gives what says which of `total` is next, such as "measuring constant, 3 of 8".

    Args:
        wanted: whether to say anything; nothing is said where `stream` is no terminal.
        stream: stderr by default: stdout is for the results.
    """
    stream, done = stream or sys.stderr, 0
    terminal = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"

    def say(what: str) -> None:
        nonlocal done
        done += 1
        if shown:
            print(f"{_CLEAR}measuring {what}, {done} of {total}", end="", file=stream, flush=True)

    shown = wanted and terminal and not os.environ.get("CI")
    try:
        yield say
    finally:
        if shown:
            print(_CLEAR, end="", file=stream, flush=True)
