"""The endless random walk in a finite environment, exactly: who is where, and what is seen.

    walk = stationary(corridor(noop=True), window=1)

A *node* of the walk is a state together with what was seen and done in the last `window` steps.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from latentroles.arguments import choice
from latentroles.errors import DataError, PluginError
from latentroles.words.environment import Environment, Stochastic
from latentroles.words.simulated import natural
from latentroles.words.transitions import explore, starts

LIMIT = 4000  # states, and classes: dense eigenproblems of that size take half a minute
_PATHS = 2_000_000
_NEVER = 1e-12  # a share of time that is round-off
POLICIES = ("uniform", "moves")

Policy = Callable[[Hashable], Sequence[float]]


class Steps(NamedTuple):
    """Steps of the walk, or paths of several steps, with the probability to see each next.

    source, target: (E,) int, nodes. word: (E,) int, equal where the same actions were taken.
    weight: (E,) float, probabilities that sum to one.
    """

    source: np.ndarray
    word: np.ndarray
    target: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class Walk:
    """A stationary random walk of N nodes.

    Attributes:
        mass: (N,) the share of time at each node.
        state: (N,) int: the state of each node, an index into `frames`.
        steps: single steps.
        classes: what a latent may be a function of, as (N,) ints: "place" and "observation".
        past: the same with the classes and the actions of the last `window` steps.
        frames: (S, D) float: what is seen in each state; bytes are read as 0 to 1.
        window: how many steps the past holds.
    """

    mass: np.ndarray
    state: np.ndarray
    steps: Steps
    classes: Mapping[str, np.ndarray]
    past: Mapping[str, np.ndarray]
    frames: np.ndarray
    window: int = 0

    @property
    def vacuous(self) -> bool:
        """Whether the frame is a function of the place, so that nothing can vary within a place."""
        return _determines(self.classes["place"], self.classes["observation"])

    @property
    def nested(self) -> bool:
        """Whether the place is a function of the frame; else frames alias, and a latent of places
        may know more than one of frames."""
        return _determines(self.classes["observation"], self.classes["place"])

    def paths(self, length: int) -> Steps:
        """Every path of some steps.

        Raises:
            DataError: there are more than two million.
        """
        found, step = self.steps, self.steps
        onward = step.weight / self.mass[step.source]
        for _ in range(length - 1):
            first, then = _joined(found.target, step.source)
            if len(first) > _PATHS:
                raise DataError(
                    f"{length} steps ahead the walk has more than {_PATHS} paths. Fix: fewer "
                    "steps, or a smaller environment."
                )
            word = number(found.word[first], step.word[then])[0]
            weight = found.weight[first] * onward[then]
            source, target = found.source[first], step.target[then]
            same, once = number(source, word, target)
            found = Steps(source[once], word[once], target[once], np.bincount(same, weight))
        return found

    def remember(self) -> "Walk":
        """The same walk with one more step of the past in its nodes."""
        source, word, target, weight = self.steps
        longer = {
            name: number(past[source], word, self.classes[name][target])[0]
            for name, past in self.past.items()
        }
        arrived, first = number(target, *longer.values())
        node = target[first]  # what each of the new nodes was before
        mass = np.bincount(arrived, weight)
        before, then = _joined(node, source)
        steps = Steps(
            before, word[then], arrived[then], mass[before] * (weight / self.mass[source])[then]
        )
        return replace(
            self,
            mass=mass,
            state=self.state[node],
            steps=steps,
            classes={name: of[node] for name, of in self.classes.items()},
            past={name: of[first] for name, of in longer.items()},
            window=self.window + 1,
        )


def stationary(
    environment: Environment,
    *,
    policy: str | Policy = "uniform",
    window: int = 1,
    limit: int = LIMIT,
) -> Walk:
    """The walk that an endless episode in an environment becomes.

    Args:
        environment: a finite one: deterministic, or with a `kernel`.
        policy: "uniform"; "moves", uniform over the actions that lead to another place (over all
            where none does); or a function from a state to a probability for each action.
        window: how many steps a node remembers.
        limit: the most states, and the most nodes.

    Raises:
        WordError: the environment has more states, or its steps are random in an unknown way.
        DataError: an argument out of its range, or too many nodes.
        PluginError: scipy is not installed.
    """
    if not callable(getattr(environment, "restore", None)):
        raise DataError(
            f"the ladder is of an environment, such as corridor(noop=True); got {environment!r}. "
            'Fix: make one by name with latentroles.plugins.environment("corridor")().'
        )
    natural("ladder: window", window)
    if not callable(policy):
        choice("ladder", "policy", policy, POLICIES)
    states, begins, moves = _moves(environment, limit)
    numbers: dict[Any, int] = {}
    place = np.array(
        [numbers.setdefault(tuple(environment.place(s)), len(numbers)) for s in states]
    )
    source, word, target, kernel = moves
    chance = _policy(policy, states, len(environment.actions), place, moves)
    return of_chain(
        Steps(source, word, target, chance[source, word] * kernel),
        start=np.bincount(begins, minlength=len(states)) / len(begins),
        place=place,
        frames=_frames(environment, states),
        window=window,
        limit=limit,
    )


def of_chain(
    steps: Steps,
    *,
    start: np.ndarray,
    place: np.ndarray,
    frames: np.ndarray,
    window: int = 1,
    limit: int = LIMIT,
) -> Walk:
    """The walk of a Markov chain whose states have places and frames.

    Args:
        steps: with weights P(action, target | source).
        start: (S,) where it begins. place: (S,) int. frames: (S, D).
    """
    steps = Steps(*(column[steps.weight > 0] for column in steps))
    mass = _settled(steps, start)
    kept = np.flatnonzero(mass > 0)
    renamed = np.cumsum(mass > 0) - 1
    source, word, target, weight = (column[mass[steps.source] > 0] for column in steps)
    classes = {
        "place": np.unique(place[kept], return_inverse=True)[1],
        "observation": np.unique(frames[kept], axis=0, return_inverse=True)[1].ravel(),
    }
    once = Steps(renamed[source], word, renamed[target], mass[source] * weight)
    walk = Walk(mass[kept], kept, once, classes, classes, frames)
    while walk.window < window:
        walk = walk.remember()
        if len(walk.mass) > limit:
            raise DataError(
                f"a walk that remembers {walk.window} steps has {len(walk.mass)} nodes; the most "
                f"is {limit}. Fix: a shorter window (--window {walk.window - 1}), or a smaller "
                "environment."
            )
    return walk


def number(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers rows: (E,) int, equal where all columns are, and a row of each number."""
    codes, *others = columns
    for column in others:  # pair by pair, so that no code is larger than 64 bits hold
        codes = np.unique(codes, return_inverse=True)[1] * (int(column.max()) + 1) + column
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return inverse, first


def scipy_modules() -> Any:
    """scipy, with the parts that the ladder needs."""
    try:
        import scipy.linalg
        import scipy.sparse.csgraph
        import scipy.sparse.linalg
    except ImportError as error:
        raise PluginError(
            f"The ladder needs scipy, which cannot be imported ({error}). "
            "Install it: pip install 'latentroles[evaluate]'"
        ) from error
    return scipy


def _moves(environment: Environment, limit: int) -> tuple[list[Any], list[int], Steps]:
    """The states, those at the start, and P(target | source, action)."""
    if not isinstance(environment, Stochastic):
        found = explore(environment, limit=limit)
        begins = np.flatnonzero(found.parent < 0).tolist()
        source, word = np.divmod(np.arange(found.after.size), found.after.shape[1])
        steps = Steps(source, word, found.after.ravel(), np.ones(found.after.size))
        return list(found.states), begins, steps
    states = list(dict.fromkeys(starts(environment)))
    begins = list(range(len(states)))
    indices = {state: index for index, state in enumerate(states)}
    rows: list[tuple[int, int, int, float]] = []
    for index, state in enumerate(states):  # it grows as it is read
        for action in range(len(environment.actions)):
            for after, chance in environment.kernel(state, action).items():
                if after not in indices:
                    indices[after] = len(states)
                    states.append(after)
                rows.append((index, action, indices[after], chance))
        if len(states) > limit:
            raise DataError(
                f"{environment.name} has more than {limit} states. Fix: make it smaller."
            )
    source, word, target, weight = (np.array(column) for column in zip(*rows, strict=True))
    return states, begins, Steps(source, word, target, weight)


def _frames(environment: Environment, states: Sequence[Any]) -> np.ndarray:
    """(S, D) float: the frame of each state."""
    frames = []
    for state in states:
        environment.restore(state)
        frame = np.asarray(environment.frame())
        scale = 255.0 if frame.dtype == np.uint8 else 1.0
        frames.append(frame.ravel() / scale)
        if frames[-1].shape != frames[0].shape or not np.isfinite(frames[-1]).all():
            raise DataError(
                f"{environment.name}: frames are finite numbers of one shape; at {state!r} it is "
                f"not so: {frame!r}. Fix the environment's `frame`."
            )
    return np.array(frames)


def _policy(
    policy: str | Policy, states: Sequence[Any], actions: int, place: np.ndarray, moves: Steps
) -> np.ndarray:
    """(S, A): the probability of each action in each state."""
    chance = np.ones((len(states), actions))
    if callable(policy):
        chance = np.array([_row(policy, state, actions) for state in states])
    elif policy == "moves":
        leaves = np.zeros((len(states), actions))
        away = (place[moves.source] != place[moves.target]) & (moves.weight > 0)
        leaves[moves.source[away], moves.word[away]] = 1.0
        chance = np.where(leaves.any(axis=1, keepdims=True), leaves, chance)
    return chance / chance.sum(axis=1, keepdims=True)


def _row(policy: Policy, state: Any, actions: int) -> np.ndarray:
    """(A,): what a given policy does in a state."""
    given = policy(state)
    try:
        chance = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        chance = np.empty(0)
    if chance.shape != (actions,) or (chance < 0).any() or not np.isclose(chance.sum(), 1.0):
        raise DataError(
            f"ladder: a policy gives {actions} probabilities that sum to one for each state; for "
            f"{state!r} it gave {given!r}."
        )
    return chance


def _settled(steps: Steps, start: np.ndarray) -> np.ndarray:
    """(S,): the share of time in each state in the long run."""
    scipy = scipy_modules()
    size = len(start)
    chain = scipy.sparse.csr_array((steps.weight, (steps.source, steps.target)), shape=(size, size))
    _, component = scipy.sparse.csgraph.connected_components(chain, connection="strong")
    crosses = component[steps.source] != component[steps.target]
    open_ones = np.unique(component[steps.source[crosses]])
    passing = np.isin(component, open_ones)
    arriving = np.where(passing, 0.0, start)
    if passing.any():
        inner = chain[passing][:, passing]
        visits = scipy.sparse.linalg.spsolve(
            (scipy.sparse.eye_array(inner.shape[0]) - inner.T).tocsc(), start[passing]
        )
        arriving[~passing] += visits @ chain[passing][:, ~passing]
    mass = np.zeros(size)
    for closed in np.setdiff1d(component, open_ones):
        own = np.flatnonzero(component == closed)
        total = arriving[own].sum()
        if total > _NEVER:
            mass[own] = total * _balanced(scipy, chain[own][:, own])
    return mass / mass.sum()


def _balanced(scipy: Any, chain: Any) -> np.ndarray:
    """The stationary distribution of an irreducible chain: mu P = mu, sum mu = 1."""
    size = chain.shape[0]
    balance = (chain.T - scipy.sparse.eye_array(size)).tocsr()[:-1]
    system = scipy.sparse.vstack([balance, np.ones((1, size))]).tocsc()
    wanted = np.zeros(size)
    wanted[-1] = 1.0
    found = np.atleast_1d(scipy.sparse.linalg.spsolve(system, wanted))
    return np.maximum(found, 0.0)


def _joined(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair (i, j) with left[i] == right[j], as two columns."""
    order = np.argsort(right, kind="stable")
    first = np.searchsorted(right[order], left, side="left")
    count = np.searchsorted(right[order], left, side="right") - first
    i = np.repeat(np.arange(len(left)), count)
    within = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
    return i, order[np.repeat(first, count) + within]


def _determines(one: np.ndarray, other: np.ndarray) -> bool:
    return len(number(one, other)[1]) == len(np.unique(one))
