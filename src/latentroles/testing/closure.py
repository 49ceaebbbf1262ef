"""Does an encoder's z return when the agent does? The claim, in four grades, each with its number.

- **G0** determinism: the same input gives the same z. Dropout and batch statistics break it.
- **G1** exogenous noise: z does not change with what moves or shines by itself.
- **G2** place: z is the same at the same place, whatever else differs. The claim to certify.
- **G3** memory: z does not depend on how the agent came. An encoder of single frames has it.

Each number is a distance in z relative to the distance between places: 0 is perfect, and at 1 a
revisit is as far away as another place. A grade that an environment cannot test (every frame shows
the place and nothing else) is *vacuous here*, and never passed. A z that does not tell places apart
is *degenerate*, whatever its invariance.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np

from ..arguments import integer
from ..errors import EncoderError, user_line
from ..evaluate.arrays import as_numpy
from ..words.environment import Described, Environment
from ..words.transitions import Transitions
from ..words.word import spell
from .environment_cases import finite
from .walks import Frames, Track, walks

GRADES = ("G0", "G1", "G2", "G3")
READS = ("frame", "history", "state")
EXOGENOUS = ("movers", "light", "across", "down")
_SAME = 1e-5  # relative: the noise of float32
_COLLAPSED = 1e-6

Encode = Callable[..., Any]


@dataclass(frozen=True)
class Grade:
    """One grade of the claim.

    Args:
        distance: the root mean square distance in z of pairs that should be one, relative to the
            distance between places; None where there are no such pairs.
        pairs: how many were compared.
        worst: in words, the shortest way to a pair that is too far apart; "" where there is none.
        why: what makes it vacuous; "" where it is not.
    """

    name: str
    distance: float | None
    pairs: int
    margin: float
    worst: str = ""
    why: str = ""

    @property
    def verdict(self) -> str:
        """ "pass", "fail" or "vacuous here"."""
        if self.distance is None:
            return "vacuous here"
        return "pass" if self.distance <= self.margin else "fail"

    def __str__(self) -> str:
        if self.distance is None:
            return f"{self.name}  vacuous here: {self.why}"
        said = f"{self.name}  {self.verdict}: {self.distance:.3g} of the distance between places"
        return f"{said} ({self.pairs} pairs)" + (f"\n    {self.worst}" if self.worst else "")


@dataclass(frozen=True)
class LoopReport:
    """What `loop_report` measured.

    Args:
        environment: its name.
        separation: the root mean square distance between the z of different places.
        spread: the root mean square length of z, which separation is compared with.
        grades: by name.
    """

    environment: str
    separation: float
    spread: float
    grades: Mapping[str, Grade]

    @property
    def degenerate(self) -> bool:
        """Whether z does not tell places apart: a constant is invariant, and useless."""
        return self.separation <= _COLLAPSED * max(self.spread, 1.0)

    def __str__(self) -> str:
        lines = [f"loops of {self.environment}"]
        if self.degenerate:
            lines.append("  degenerate (collapsed): z is the same at every place")
        return "\n".join([*lines, *(f"  {grade}" for grade in self.grades.values())])


def loop_report(
    encode: Encode,
    environment: Environment,
    *,
    place: Callable[[Any], Hashable] | None = None,
    reads: str = "frame",
    exogenous: Sequence[str] = EXOGENOUS,
    loops: int = 200,
    max_length: int = 8,
    margin: float = 0.1,
    seed: int = 0,
) -> LoopReport:
    """Measures whether z returns to itself on loops of an environment.

    Args:
        encode: frames (n, *frame) -> z (n, d). With `reads="history"` frames (T, *frame) and
            actions (T - 1,) of one walk -> z (T, d), so that it may remember. With `reads="state"`
            a list of n states -> z (n, d), for an oracle. Any array library.
        place: state -> the place that is meant; the environment's own by default.
        exogenous: the nuisances that move by themselves, by their names in the environment.
        loops: how many loop words are walked, of at most `max_length` letters.
        margin: the distance that still counts as the same, relative to that between places.

    Raises:
        EncoderError: the encoder's output is not (n, d), or is not finite.
        WordError: the environment has no such loops.
    """
    integer("loop_report()", "loops", loops, "loop words to walk")
    if reads not in READS:
        raise EncoderError(f"{user_line()}reads= is one of {', '.join(READS)}, got {reads!r}.")
    where = place or environment.place
    graph = finite(environment)
    walked = list(walks(environment, graph, loops, max_length, np.random.default_rng(seed)))
    measure = _Measure(encode, environment, where, reads, margin)
    return measure.report(walked, graph, exogenous)


def assert_loop_invariant(
    encode: Encode, environment: Environment, *, grade: str = "G2", **arguments: Any
) -> None:
    """Asserts that z returns when the agent does, up to a grade.

    Every grade up to `grade` must pass or be vacuous here, `grade` itself must not be vacuous, and
    z must tell places apart.

    Args:
        arguments: of `loop_report`.

    Raises:
        AssertionError: with the report, and the shortest word that was found to break a grade.
    """
    __tracebackhide__ = True
    if grade not in GRADES:
        raise EncoderError(f"{user_line()}grade= is one of {', '.join(GRADES)}, got {grade!r}.")
    report = loop_report(encode, environment, **arguments)
    asked = [report.grades[name] for name in GRADES[: GRADES.index(grade) + 1]]
    broken = [g.name for g in asked if g.verdict == "fail"]
    if report.degenerate:
        raise AssertionError(
            f"z does not tell places apart, so that it certifies nothing\n{report}"
        )
    if broken:
        raise AssertionError(f"z does not return: {', '.join(broken)}\n{report}")
    if asked[-1].verdict == "vacuous here":
        raise AssertionError(
            f"{grade} is vacuous here: {asked[-1].why}. Ask for another grade, or test in an "
            f"environment that can break it.\n{report}"
        )


class Pair(NamedTuple):
    """Two z that should be one: how far apart, and the word that leads from one to the other."""

    distance: float
    letters: int
    said: str


def _length(z: np.ndarray) -> float:
    return float(np.linalg.norm(z))


class _Measure:
    def __init__(
        self,
        encode: Encode,
        environment: Environment,
        place: Callable[[Any], Hashable],
        reads: str,
        margin: float,
    ):
        self.encode, self.environment, self.place = encode, environment, place
        self.reads, self.margin = reads, margin
        self.frames = Frames(environment)
        self._fresh: dict[Hashable, np.ndarray] = {}

    def report(
        self, tracks: list[Track], graph: Transitions | None, exogenous: Sequence[str]
    ) -> LoopReport:
        visited = list(dict.fromkeys(state for walk in tracks for state in walk.states))
        ends = np.stack([self.walked(walk)[-1] for walk in tracks])
        again = np.stack([self.walked(walk)[-1] for walk in tracks])
        fresh = self.visits(visited)
        separation = self._separation([walk.states[-1] for walk in tracks], ends)
        spread = float(np.sqrt(np.mean(np.sum((ends - ends.mean(axis=0)) ** 2, axis=-1))))
        scale = separation or 1.0

        def grade(name: str, pairs: list[Pair], why: str) -> Grade:
            margin = _SAME if name == "G0" else self.margin
            if not pairs:
                return Grade(name, None, 0, margin, why=why)
            distance = float(np.sqrt(np.mean([p.distance**2 for p in pairs]))) / scale
            over = [p for p in pairs if p.distance / scale > margin]
            worst = min(over, key=lambda p: (p.letters, p.said)).said if distance > margin else ""
            return Grade(name, distance, len(pairs), margin, worst)

        same = [
            Pair(_length(a - b), len(walk.word), f"the same walk, twice: {self._spelt(walk)}")
            for a, b, walk in zip(ends, again, tracks, strict=True)
        ]
        memory = [
            Pair(_length(z - fresh[walk.states[-1]]), len(walk.word), self._remembered(walk))
            for z, walk in zip(ends, tracks, strict=True)
            if self.reads == "history"
        ]
        grades = {
            "G0": grade("G0", same, ""),
            "G1": grade(
                "G1",
                self._pairs(visited, graph, fresh, exogenous),
                "nothing in the frame moves by itself",
            ),
            "G2": grade(
                "G2",
                self._pairs(visited, graph, fresh, None),
                "every frame of a place is the same frame",
            ),
            "G3": grade("G3", memory, "an encoder of single frames has no memory"),
        }
        return LoopReport(self.environment.name, separation, spread, grades)

    # Encoding ------------------------------------------------------------------------------

    def walked(self, walk: Track) -> np.ndarray:
        """(T, d): z along a walk."""
        if self.reads == "history":
            z = self.encode(self.frames(walk.states), np.array(walk.word, dtype=np.int64))
            return self._checked(z, len(walk.states))
        return self._encoded(list(walk.states))

    def visits(self, states: list[Hashable]) -> dict[Hashable, np.ndarray]:
        """z of each state, for somebody who has just arrived."""
        if self.reads == "history":
            return {s: self.walked(Track((s,), ()))[0] for s in states}
        return dict(zip(states, self._encoded(states), strict=True))

    def _encoded(self, states: list[Hashable]) -> np.ndarray:
        given = states if self.reads == "state" else self.frames(states)
        return self._checked(self.encode(given), len(states))

    def _checked(self, z: Any, count: int) -> np.ndarray:
        array = as_numpy(z)
        if array.ndim != 2 or len(array) != count:
            raise EncoderError(
                f"{user_line()}an encoder returns one vector for each of {count} inputs, "
                f"({count}, d); got an array of shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise EncoderError(
                f"{user_line()}the encoder returned values that are not finite; no distance can "
                "be measured."
            )
        return array

    # Pairs ---------------------------------------------------------------------------------

    def _separation(self, states: list[Hashable], z: np.ndarray) -> float:
        """The root mean square distance between the z of different places."""
        places = [self.place(state) for state in states]
        numbers = {p: i for i, p in enumerate(dict.fromkeys(places))}
        label = np.array([numbers[p] for p in places])
        apart = label[:, None] != label[None, :]
        if not apart.any():
            raise EncoderError(
                f"{user_line()}the walks in {self.environment.name} visit one place only, so that "
                "nothing is apart. Fix: more loops, longer ones, or a finer place."
            )
        squares = np.sum((z[:, None] - z[None, :]) ** 2, axis=-1)
        return float(np.sqrt(squares[apart].mean()))

    def _pairs(
        self,
        states: list[Hashable],
        graph: Transitions | None,
        z: Mapping[Hashable, np.ndarray],
        exogenous: Sequence[str] | None,
    ) -> list[Pair]:
        """Visits to one place that look different, and how one leads to the other.

        Args:
            exogenous: the nuisances that alone may differ; None for any.
        """
        groups: dict[Hashable, list[Hashable]] = {}
        for state in states:
            key = (self.place(state), self._fixed(state, exogenous))
            groups.setdefault(key, []).append(state)
        found = []
        for group in groups.values():
            for a, b in islice(combinations(group, 2), 50):
                if np.array_equal(*self.frames((a, b))):
                    continue
                letters, said = self._between(graph, a, b)
                found.append(Pair(_length(z[a] - z[b]), letters, said))
        return found

    def _fixed(self, state: Hashable, exogenous: Sequence[str] | None) -> Hashable:
        """The nuisances that a pair must have in common."""
        if exogenous is None:
            return None
        if not isinstance(self.environment, Described):
            return state  # nothing is known to be nuisance: only equal states are alike
        nuisance = self.environment.nuisance(state)
        return tuple((name, v) for name, v in nuisance.items() if name not in exogenous)

    # Words ---------------------------------------------------------------------------------

    def _between(self, graph: Transitions | None, a: Hashable, b: Hashable) -> tuple[int, str]:
        said = f"{a!r} and {b!r} are at place {self.place(a)!r}"
        if graph is None:
            return 0, said
        target = np.zeros(len(graph.states), bool)
        target[graph.index(b)] = True
        word = graph.path(graph.index(a), target)
        if word is None:
            return 0, said
        word_said = spell(self.environment, word)
        return len(word), f"{word_said} from {a!r} returns to place {self.place(a)!r}"

    def _remembered(self, walk: Track) -> str:
        return f"{self._spelt(walk)}: z is not that of somebody who has just arrived there"

    def _spelt(self, walk: Track) -> str:
        return f"{spell(self.environment, walk.word)} from {walk.states[0]!r}"
