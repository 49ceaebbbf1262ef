"""What `nox -s bench` adds to pytest: paired benchmarks, and one table of all figures at the end.

pytest-benchmark runs the rounds and, asked by `--benchmark-json FILE`, writes the figures; its own
table shows times of single runs, which say little on a machine that others use, and stays away
unless `--benchmark-verbose` asks for it.
"""

from collections.abc import Callable
from typing import Any

import pytest

from bench.paired import Pair

ROUNDS = 40
TABLE = pytest.StashKey[list[tuple[str, ...]]]()
NOTES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench-rounds", type=int, default=ROUNDS, help="rounds of each comparison")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE], config.stash[NOTES] = [], []
    config.option.benchmark_quiet = True


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: Any) -> Callable[..., Pair]:
    """Times two functions in turn and puts a line into the table.

    Args of the function it gives:
        name: of the line. ours, other: without arguments; they end when their results are there.
        rounds: of ours, other, other, ours; None for `--bench-rounds`.
    """

    def run(
        name: str, ours: Callable[[], Any], other: Callable[[], Any], rounds: int | None = None
    ) -> Pair:
        rounds = rounds or request.config.getoption("--bench-rounds", ROUNDS)
        pair = Pair(ours, other)
        pair.warm_up()
        benchmark.pedantic(pair.round, rounds=rounds)
        benchmark.extra_info["comparison"] = name
        line = [name, str(len(pair.wall))]
        for kind in ("wall", "cpu"):
            (first, second), ratio = pair.seconds(kind), pair.ratio(kind)
            benchmark.extra_info[kind] = {
                "seconds": [first, second],
                "ratio": ratio.median,
                "interval": [ratio.low, ratio.high],
            }
            line += [f"{1e3 * first:.2f} / {1e3 * second:.2f}", str(ratio)]
        request.config.stash[TABLE].append(tuple(line))
        return pair

    return run


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Puts a line below the table."""
    return request.config.stash[NOTES].append


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[TABLE]:
        head = ("ours beside other", "rounds", "wall, ms", "ratio [95%]", "CPU, ms", "ratio [95%]")
        rows = [head, *config.stash[TABLE]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        terminalreporter.section("benchmarks")
        for row in rows:
            line = "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
            terminalreporter.write_line(line.rstrip())
    for line in config.stash[NOTES]:
        terminalreporter.write_line(line)
