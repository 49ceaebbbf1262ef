"""Do learned moves add up? A pose is worth its name if its steps compose: round a loop they sum to
zero, whatever the way.

A step that is read off a state, f(next) - f(now), sums to zero round every loop by arithmetic and
says nothing: it is found, and called vacuous.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import EncoderError, user_line
from ..evaluate.arrays import as_numpy
from ..words.environment import Environment
from ..words.word import spell
from .environment_cases import finite
from .walks import Frames, Track, walks

Delta = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
_TELESCOPES = 1e-5
_STILL = 1e-9


@dataclass(frozen=True)
class CompositionReport:
    """What `composition_report` measured.

    Args:
        environment: its name.
        residual: the root mean square of the sum of steps round a loop, relative to `reach`.
        reach: the same half-way round, where the agent is elsewhere.
        telescopes: whether a step is a difference of two states' values.
        worst: in words, the shortest loop whose steps do not sum to zero; "" without one.
        margin: the residual that still counts as zero.
    """

    environment: str
    residual: float
    reach: float
    telescopes: bool
    worst: str
    margin: float

    @property
    def verdict(self) -> str:
        """ "pass", "fail", "vacuous" or "degenerate"."""
        if self.telescopes:
            return "vacuous"
        if self.reach <= _STILL:
            return "degenerate"
        return "pass" if self.residual <= self.margin else "fail"

    def __str__(self) -> str:
        said = {
            "vacuous": "vacuous: a step is the difference of two states' values, and sums to zero "
            "round any loop by arithmetic",
            "degenerate": "degenerate: the steps are zero everywhere",
        }
        number = f"{self.residual:.3g} of the way that a loop goes is left at its end"
        verdict = said.get(self.verdict, f"{self.verdict}: {number}")
        return f"composition in {self.environment}\n  {verdict}" + (
            f"\n    {self.worst}" if self.verdict == "fail" else ""
        )


def composition_report(
    delta: Delta,
    environment: Environment,
    *,
    loops: int = 200,
    max_length: int = 8,
    margin: float = 0.1,
    seed: int = 0,
) -> CompositionReport:
    """Measures whether steps sum to zero round loops.

    Args:
        delta: frames (n, *frame), actions (n,), next frames (n, *frame) -> steps (n, k), in a frame
            of reference that does not turn with the agent. Any array library.
        loops: how many place loops are walked, of at most `max_length` letters.
        margin: the residual that still counts as zero, relative to how far a loop leads.

    Raises:
        EncoderError: `delta` returns no vector for each step, or what is not finite.
        WordError: the environment has no such loops.
    """
    rng = np.random.default_rng(seed)
    found = list(walks(environment, finite(environment), loops, max_length, rng))
    measure = _Measure(delta, environment)
    sums = [np.cumsum(measure.steps(track), axis=0) for track in found]
    ends = np.array([np.linalg.norm(s[-1]) for s in sums])
    # How far a loop leads: the sum of its steps where it is farthest.
    far = np.array([np.linalg.norm(s, axis=-1).max() for s in sums])
    reach = float(np.sqrt(np.mean(far**2)))
    residual = float(np.sqrt(np.mean(ends**2)) / reach) if reach > _STILL else 0.0
    over = [
        (len(track.word), spell(environment, track.word), track.states[0])
        for track, end in zip(found, ends, strict=True)
        if end > margin * reach
    ]
    worst = ""
    if over:
        _, word, start = min(over, key=lambda o: o[0])
        worst = f"{word} from {start!r} returns, and its steps do not sum to zero"
    telescopes = measure.telescopes(found, rng)
    return CompositionReport(environment.name, residual, reach, telescopes, worst, margin)


def assert_composes(delta: Delta, environment: Environment, **arguments: Any) -> None:
    """Asserts that steps sum to zero round loops, and not by arithmetic alone.

    Args:
        arguments: of `composition_report`.

    Raises:
        AssertionError: with the report, and the shortest loop that was found to be left open.
    """
    __tracebackhide__ = True
    report = composition_report(delta, environment, **arguments)
    if report.verdict != "pass":
        raise AssertionError(str(report))


class _Measure:
    def __init__(self, delta: Delta, environment: Environment):
        self.delta, self.environment = delta, environment
        self.frames = Frames(environment)

    def steps(self, track: Track) -> np.ndarray:
        """(letters, k): the steps of a walk."""
        frames = self.frames(track.states)
        return self._called(frames[:-1], np.array(track.word, dtype=np.int64), frames[1:])

    def telescopes(self, tracks: list[Track], rng: np.random.Generator) -> bool:
        """Whether d(x, a, y) + d(y, b, w) = d(x, c, w) for frames and actions that do not belong
        together: then d(x, a, y) is f(y) - f(x), whatever was done."""
        frames = self.frames(dict.fromkeys(t.states[0] for t in tracks))
        x, y, w = (frames[rng.integers(len(frames), size=64)] for _ in range(3))
        a, b, c = (rng.integers(len(self.environment.actions), size=64) for _ in range(3))
        first, second, whole = (self._called(*given) for given in ((x, a, y), (y, b, w), (x, c, w)))
        size = np.abs(np.stack([first, second, whole])).max()
        return bool(size > _STILL and np.abs(first + second - whole).max() <= _TELESCOPES * size)

    def _called(self, now: np.ndarray, actions: np.ndarray, following: np.ndarray) -> np.ndarray:
        steps = as_numpy(self.delta(now, actions, following))
        if steps.ndim != 2 or len(steps) != len(actions) or not np.isfinite(steps).all():
            raise EncoderError(
                f"{user_line()}a pose's step is one finite vector for each of {len(actions)} "
                f"moves, ({len(actions)}, k); got an array of shape {steps.shape}."
            )
        return steps
