"""What a person sees at a terminal while an encoder is measured: one line, gone at the end."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_CLEAR = "\r\033[K"


@contextmanager
def line(wanted: bool = True, stream: TextIO | None = None) -> Iterator[Callable[[str], None]]:
    """Gives what shows a text, such as "encoding z, 1 of 9", in the place of the one before.

    Args:
        wanted: whether to say anything; nothing is said where `stream` is no terminal.
        stream: stderr by default: stdout is for the results.
    """
    stream = stream or sys.stderr
    terminal = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    shown = wanted and terminal and not os.environ.get("CI")

    def say(what: str) -> None:
        if shown:
            print(f"{_CLEAR}{what}", end="", file=stream, flush=True)

    try:
        yield say
    finally:
        if shown:
            print(_CLEAR, end="", file=stream, flush=True)
