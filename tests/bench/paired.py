"""Two functions timed in turn, and the ratio of their times with its interval.

A machine is never as fast in the second minute as in the first. So both are timed within each
round, in the order A B B A: what drifts evenly cancels. A figure is the median over the rounds of
one round's ratio, with the interval that order statistics give: it assumes nothing about how the
times are distributed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import comb
from typing import Any

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A median with its interval; without enough rounds for one, the whole range."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def median_of(values: Any) -> Estimate:
    """The median of independent values with its interval of at least 95% confidence."""
    ordered = np.sort(np.asarray(values, dtype=float))
    cut = trimmed(len(ordered))
    return Estimate(float(np.median(ordered)), float(ordered[cut]), float(ordered[-1 - cut]))


def trimmed(n: int) -> int:
    """How many of n values may be left out at each end of the interval.

    The median lies below the (k + 1)-th smallest with the probability of at most k heads in n
    throws of a fair coin.
    """
    below, k = 0.0, 0
    while True:
        below += comb(n, k) / 2**n
        if below > (1 - CONFIDENCE) / 2:
            return max(k - 1, 0)
        k += 1


@dataclass
class Pair:
    """Two functions and the times of their rounds, in seconds.

    Attributes:
        wall: what the clock on the wall says, two figures per round. cpu: what the process used,
            which another process on the same cores changes less.
    """

    ours: Callable[[], Any]
    other: Callable[[], Any]
    wall: list[tuple[float, float]] = field(default_factory=list)
    cpu: list[tuple[float, float]] = field(default_factory=list)

    def warm_up(self, times: int = 3) -> None:
        """Runs both without a clock: compilation, caches, allocators."""
        for _ in range(times):
            self.ours()
            self.other()

    def round(self) -> None:
        """Times ours, other, other, ours."""
        measured = [timed(f) for f in (self.ours, self.other, self.other, self.ours)]
        for kind, (a, b, c, d) in zip(
            (self.wall, self.cpu), zip(*measured, strict=True), strict=True
        ):
            kind.append(((a + d) / 2, (b + c) / 2))

    def ratio(self, kind: str = "wall") -> Estimate:
        """Our time by the other's: below 1 ours is faster."""
        times = np.array(getattr(self, kind))
        return median_of(times[:, 0] / times[:, 1])

    def seconds(self, kind: str = "wall") -> tuple[float, float]:
        """The median times of ours and of the other."""
        ours, other = np.median(np.array(getattr(self, kind)), axis=0)
        return float(ours), float(other)


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the wall and seconds of the processor."""
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu
