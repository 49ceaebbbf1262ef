"""The exact optimum of a loss in a finite environment, over latents that know only so much.

For a class map k, a latent is any whitened function of k: mean 0 and covariance the identity under
the stationary walk. Heads are universal: they compute any function of what they read. Then, with
c = k(o_t), c' = k(o_{t+1}) and a the action between,

- inverse dynamics: min E[-log2 head(a | z, z')] = H(a | c, c'), in bits;
- action delta: min E (f(c') - f(c) - E[f(c') - f(c) | a])^2;
- adjacency: min E (f(c') - f(c))^2;
- prediction: min E (f(c_K) - E[f(c_K) | c, a_1 .. a_K])^2, where from memory the condition has the
  classes and actions of the past as well;
- reconstruction: min E |x - E[x | c]|^2, summed over the entries of the frame.

The middle three are quadratic forms of f. The best f of E f = 0, E f^2 = 1 is the first
eigenvector, the next orthogonal to it the second: these are the whitened directions.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from latentroles.arguments import choice
from latentroles.errors import DataError

from .ladder_walk import LIMIT, Steps, Walk, number, scipy_modules

LOSSES = (
    "inverse dynamics",
    "action delta",
    "adjacency",
    "prediction",
    "reconstruction",
)
RUNGS = ("place", "observation", "history", "visit")
DIRECTIONS = 2
ZERO = 1e-9  # below this an optimum, or the difference of two, is round-off


@dataclass(frozen=True)
class LadderLoss:
    """A loss whose optimum is known.

    Args:
        name: one of `LOSSES`.
        steps: how many steps lie between what it compares; K of a prediction.
        memory: of a prediction: whether the predictor reads the past too, as a recurrent one does.

    Raises:
        DataError: another name, or a combination that means nothing.
    """

    name: str
    steps: int = 1
    memory: bool = False

    def __post_init__(self) -> None:
        choice("LadderLoss", "name", self.name, LOSSES)
        if self.steps < 1 or (
            self.steps > 1 and self.name in ("inverse dynamics", "reconstruction")
        ):
            raise DataError(f"LadderLoss: {self.name} does not have {self.steps!r} steps.")
        if self.memory and self.name != "prediction":
            raise DataError(f"LadderLoss: memory is a prediction's; got {self.name}.")

    def __str__(self) -> str:
        unit = " (bits)" * (self.name == "inverse dynamics")
        steps = f", {self.steps} steps" * (self.steps > 1)
        return f"{self.name}{unit}{steps}{' from memory' * self.memory}"


class Optima(NamedTuple):
    """L* at each rung: one number, or one for each of the first whitened directions.

    A direction that a class map has too few classes for is infinite. At the rung of single visits
    every optimum is 0: a latent that knows which visit it is turns slowly, and tells everything.
    """

    place: tuple[float, ...]
    observation: tuple[float, ...]
    history: tuple[float, ...]
    visit: tuple[float, ...]

    @property
    def gap(self) -> float:
        """place - observation: what a memoryless encoder gains by varying within a place."""
        return _difference(self.place[0], self.observation[0])

    @property
    def memory_gap(self) -> float:
        """observation - history: what memory gains beyond it, a lower bound for more memory."""
        return _difference(self.observation[0], self.history[0])


def optima(walk: Walk, loss: LadderLoss) -> Optima:
    """L* of a loss at every rung.

    Raises:
        DataError: there is one place only, or too many classes or paths.
        PluginError: scipy is not installed.
    """
    if walk.classes["place"].max() == 0:
        raise DataError(
            "the ladder compares places, and this walk has one place only. Fix: an environment "
            "whose `place` tells states apart."
        )
    paths = walk.paths(loss.steps)
    found = [
        optimum(walk, loss, walk.classes[rung], paths, walk.past[rung])
        for rung in ("place", "observation")
    ]
    past = walk.past["observation"]
    found.append(optimum(walk, loss, past, paths, past))
    return Optima(*found, visit=(0.0,) * len(found[0]))


def optimum(
    walk: Walk, loss: LadderLoss, classes: np.ndarray, paths: Steps, past: np.ndarray
) -> tuple[float, ...]:
    """L* of a loss over latents that are constant on classes.

    Args:
        classes: (N,) int, one for each node. past: (N,) int, the same with what came before.
        paths: of as many steps as the loss has.
    """
    if loss.name == "inverse dynamics":
        return (
            _entropy(paths.word, number(classes[paths.source], classes[paths.target])[0], paths),
        )
    if loss.name == "reconstruction":
        return (_spread(walk, classes),)
    size = int(classes.max()) + 1
    if size > LIMIT:
        raise DataError(
            f"a whitened latent of {size} classes is too large an eigenproblem; the most is "
            f"{LIMIT}. Fix: a shorter window, or a smaller environment."
        )
    after = _one_hot(classes[paths.target], size)
    change = after - _one_hot(classes[paths.source], size)
    if loss.name == "prediction":
        read = (past if loss.memory else classes)[paths.source]
        form = _unexplained(after, paths, number(read, paths.word)[0])
    else:
        told = paths.word if loss.name == "action delta" else np.zeros_like(paths.word)
        form = _unexplained(change, paths, told)  # in the long run the mean change is 0
    return _directions(form, np.bincount(classes, walk.mass))


def _entropy(value: np.ndarray, given: np.ndarray, paths: Steps) -> float:
    """H(value | given) in bits."""
    pair, first = number(given, value)
    joint, marginal = np.bincount(pair, paths.weight), np.bincount(given, paths.weight)
    return _clean(-float(joint @ np.log2(joint / marginal[given[first]])))


def _spread(walk: Walk, classes: np.ndarray) -> float:
    """E |x - E[x | class]|^2."""
    scipy = scipy_modules()
    cell, first = number(classes, walk.state)  # the nodes of one state have one frame
    mass, of = np.bincount(cell, walk.mass), classes[first]
    frames = walk.frames[walk.state[first]]
    members = scipy.sparse.csr_array((mass, (of, np.arange(len(of)))))
    mean = (members @ frames) / np.bincount(of, mass)[:, None]
    return _clean(float(mass @ ((frames - mean[of]) ** 2).sum(axis=1)))


def _one_hot(classes: np.ndarray, size: int) -> Any:
    scipy = scipy_modules()
    rows = np.arange(len(classes))
    return scipy.sparse.csr_array((np.ones(len(rows)), (rows, classes)), shape=(len(rows), size))


def _unexplained(values: Any, paths: Steps, given: np.ndarray) -> np.ndarray:
    """E Cov(values | given), (classes, classes), of (E, classes) values."""
    scipy = scipy_modules()
    weight = scipy.sparse.diags_array(paths.weight)
    total = np.bincount(given, paths.weight)
    sums = scipy.sparse.csr_array((paths.weight, (given, np.arange(len(given))))) @ values
    means = scipy.sparse.diags_array(1.0 / total) @ sums
    return (values.T @ weight @ values - sums.T @ means).toarray()


def _directions(form: np.ndarray, mass: np.ndarray) -> tuple[float, ...]:
    """The least values of f' form f over whitened f, one orthogonal to the other."""
    scipy = scipy_modules()
    root = np.sqrt(mass)
    whitened = form / root[:, None] / root
    # A constant has value 0 and is no latent: it is put above all others.
    whitened += (np.trace(whitened) + 1.0) * np.outer(root, root)
    count = min(DIRECTIONS, len(mass) - 1)
    if not count:
        return (np.inf,) * DIRECTIONS
    values = scipy.linalg.eigh(whitened, eigvals_only=True, subset_by_index=[0, count - 1])
    return tuple(_clean(float(v)) for v in values) + (np.inf,) * (DIRECTIONS - count)


def _clean(value: float) -> float:
    return value if value > ZERO else 0.0


def _difference(upper: float, lower: float) -> float:
    """upper - lower, 0 where that is round-off."""
    if upper == lower:
        return 0.0
    return 0.0 if abs(upper - lower) <= ZERO * max(1.0, abs(lower)) else upper - lower
