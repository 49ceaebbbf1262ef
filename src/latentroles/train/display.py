"""What a person sees while a run goes on, and at its end.

A terminal gets a bar with the losses under it, on 80 columns and wider; a log file or CI gets a few
plain lines. All of it goes to stderr: stdout is for the results.
"""

import math
import os
import sys
import textwrap
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from latentroles.errors import SpecError, user_line
from latentroles.train.run import RunResult

_LINES_PER_PHASE = 10
_SECONDS_BETWEEN_LINES = 30.0


class Display(Protocol):
    """Follows a run. `begin` and `end` enclose each phase's calls of `update`."""

    def note(self, text: str) -> None:
        """Says a sentence between phases."""
        ...

    def begin(self, phase: str, start: int, stop: int) -> None: ...

    def update(self, done: int, losses: Mapping[str, float]) -> None: ...

    def end(self) -> None: ...


def asked_display(asked: Any) -> Display:
    """Returns the display that display= of `train` asks for; raises SpecError where it is none."""
    if isinstance(asked, bool):
        return make_display(asked)
    methods = ("note", "begin", "update", "end")
    if isinstance(asked, type) or not all(callable(getattr(asked, m, None)) for m in methods):
        raise SpecError(
            f"{user_line()}train: display must be True, False or an object with the methods "
            f"{', '.join(methods)}; received {asked!r}. Fix: pass display=False for silence."
        )
    return asked


def make_display(wanted: bool, stream: TextIO | None = None) -> Display:
    """Returns a bar on a terminal, plain lines elsewhere, and silence if nothing is `wanted`."""
    stream = stream or sys.stderr
    if not wanted or stream is None:
        return _Silence()
    if stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb":
        return _Bar(stream)
    return _Lines(stream)


class _Silence:
    def note(self, text: str) -> None:
        pass

    def begin(self, phase: str, start: int, stop: int) -> None:
        pass

    def update(self, done: int, losses: Mapping[str, float]) -> None:
        pass

    def end(self) -> None:
        pass


class _Lines:
    """About ten reports in a phase, more when steps are slow."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def begin(self, phase: str, start: int, stop: int) -> None:
        self._phase, self._start, self._stop = phase, start, stop
        self._every = max(1, -(-stop // _LINES_PER_PHASE))
        self._began = self._said = time.perf_counter()

    def update(self, done: int, losses: Mapping[str, float]) -> None:
        now = time.perf_counter()
        first = done == self._start + 1
        due = done % self._every == 0 or now - self._said > _SECONDS_BETWEEN_LINES
        if not (first or due or done == self._stop):
            return
        self._said = now
        rate = (done - self._start) / max(now - self._began, 1e-9)
        self.note(
            f"{self._phase} {done}/{self._stop}  {rate:.3g} steps/s  {now - self._began:.1f} s"
        )
        # No-break spaces keep a name and its number on one line.
        pairs = "  ".join(
            f"{name}\u00a0{number(value)}".replace(" ", "\u00a0")
            for name, value in _ordered(losses)
        )
        for line in textwrap.wrap(pairs, 76, break_long_words=False, break_on_hyphens=False):
            self.note(f"    {line}".replace("\u00a0", " "))

    def end(self) -> None:
        pass


class _Bar:
    """A progress bar, and under it the losses in as many columns as fit."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream)
        self._live: Any = None
        self._first: dict[str, float] = {}
        self._losses: Mapping[str, float] = {}

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def begin(self, phase: str, start: int, stop: int) -> None:
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._first, self._losses = {}, {}
        self._began, self._start = time.perf_counter(), start
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            expand=True,
        )
        self._task = self._progress.add_task(phase, total=stop, completed=start, rate="")
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def update(self, done: int, losses: Mapping[str, float]) -> None:
        if not self._first:
            self._first = dict(losses)
            self._after_first = time.perf_counter()
        steps = done - self._start - 1  # the first step compiles
        seconds = time.perf_counter() - self._after_first
        rate = f"{steps / seconds:.3g} steps/s" if steps > 0 and seconds > 0 else ""
        self._losses = dict(losses)
        self._progress.update(self._task, completed=done, rate=rate)

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        heading = "losses, and their share of the first value" if self._losses else "compiling"
        rows = [Text(row, no_wrap=True) for row in self._loss_rows()]
        return Group(self._progress.get_renderable(), Text(heading, style="dim"), *rows)

    def _loss_rows(self) -> list[str]:
        """The losses, top to bottom in as many columns as the terminal is wide."""
        losses = _ordered(self._losses)
        if not losses:
            return []
        widest = max(len(name) for name, _ in losses)
        cells = [
            f"{name:<{widest}} {number(value):>9} {_of_first(value, self._first.get(name)):>5}"
            for name, value in losses
        ]
        columns = max(1, (self._console.width + 3) // (len(cells[0]) + 3))
        room = columns * max(1, self._console.height - 5)
        if len(cells) > room:
            cells = [*cells[: room - 1], f"and {len(cells) - room + 1} more"]
        height = -(-len(cells) // columns)
        return ["   ".join(cells[row::height]) for row in range(height)]


def number(value: float) -> str:
    """Returns a loss in at most nine characters."""
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.2e}"


def _of_first(value: float, first: float | None) -> str:
    if not first:
        return ""
    ratio = value / first
    if abs(ratio) < 9.995:
        return f"{ratio:.0%}"
    return f"{ratio:.0f}x" if abs(ratio) < 1000 else ">999x"


def _ordered(losses: Mapping[str, float]) -> list[tuple[str, float]]:
    """The total first: it is read most."""
    return sorted(losses.items(), key=lambda item: item[0] != "total")


def print_summary(result: RunResult, routes: object) -> None:
    """Prints the tables that end `latentroles train` to stdout.

    Args:
        result: what `train` returned.
        routes: the route table; its `str` is printed.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    few = result.averaged
    console.print(
        "Losses in the first and the last logged step"
        if few == 1
        else f"Losses, the mean of the first and of the last {few} logged steps"
    )
    losses, held_out = Table("loss", box=SIMPLE_HEAD), result.validation
    for heading in ("first", "last", "of first", *(["validation"] if held_out else [])):
        losses.add_column(heading, justify="right")
    for name, last in result.last.items():
        cells = [number(result.first[name]), number(last), _of_first(last, result.first[name])]
        losses.add_row(name, *cells, number(held_out[name]) if name in held_out else None)
    console.print(losses)
    if result.measures:
        data = "data held out" if held_out else "training data"
        console.print(f"Measures as they were last, on {data}")
        measures = Table("measure", box=SIMPLE_HEAD)
        measures.add_column("last", justify="right")
        for name, value in result.measures.items():
            measures.add_row(name, number(value))
        console.print(measures)
    console.print("Routes")
    print(f"\n{routes}\n", flush=True)
    stages = Table("stage", box=SIMPLE_HEAD)
    stages.add_column("seconds", justify="right")
    for name, seconds in result.stages.items():
        stages.add_row(name, f"{seconds:.1f}")
    stages.add_row("all", f"{sum(result.stages.values()):.1f}")
    console.print("Where the time went")
    console.print(stages)
    rate = result.steps_per_second  # NaN where there was no step after the first
    said = "" if math.isnan(rate) else f"; {rate:.3g} steps per second after the first"
    console.print(f"{result.steps} steps{said}")
    for note in result.notes:
        console.print(note)
    console.print(f"Run folder: {result.folder}", soft_wrap=True)
