"""The loss-gap ladder: exact optima of losses in finite environments."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from latentroles import plugins
from latentroles.errors import DataError, LatentrolesError, PluginError, SpecError
from latentroles.evaluate import ladder_walk
from latentroles.evaluate.ladder_optima import LadderLoss, Optima, optima, optimum
from latentroles.evaluate.ladder_walk import Steps, Walk, number, of_chain, stationary
from latentroles.words.corridor import corridor

LOSSES = (
    LadderLoss("inverse dynamics"),
    LadderLoss("action delta"),
    LadderLoss("adjacency"),
    LadderLoss("prediction"),
    LadderLoss("reconstruction"),
    LadderLoss("action delta", 2),
    LadderLoss("adjacency", 2),
    LadderLoss("prediction", 2),
    LadderLoss("prediction", 2, memory=True),
)


# Random environments --------------------------------------------------------------------------


class Chain:
    """A random decision process with S states and A actions, of which everything is dense.

    kernel: (S, A, S), P(after | state, action). policy: (S, A). view, place: (S,) int; the place is
    a function of the view. frames: (S, 2), equal where views are.
    """

    def __init__(self, seed: int, states: int, actions: int):
        rng = np.random.default_rng(seed)
        kernel = rng.integers(0, 4, (states, actions, states)) * (
            rng.random((states, actions, states)) < 0.4
        )
        kernel[..., 0] += (
            kernel.sum(axis=2) == 0
        )  # some action leads back, so that one class closes
        self.kernel = kernel / kernel.sum(axis=2, keepdims=True)
        policy = rng.integers(1, 4, (states, actions)).astype(float)
        self.policy = policy / policy.sum(axis=1, keepdims=True)
        self.view = rng.integers(0, max(2, states - 1), states)
        self.place = rng.integers(0, 3, states)[self.view]
        self.frames = rng.normal(size=(states, 2))[self.view]

    def walk(self, window: int = 1) -> Walk:
        states = len(self.kernel)
        source, word, target = (c.ravel() for c in np.indices(self.kernel.shape))
        weight = (self.policy[..., None] * self.kernel).ravel()
        return of_chain(
            Steps(source, word, target, weight),
            start=np.full(states, 1 / states),
            place=self.place,
            frames=self.frames,
            window=window,
        )

    def wide(self) -> bool:
        """Whether it stays at more places than one."""
        return len(set(self.place[self.joint().sum(axis=(1, 2)) > 1e-12])) > 1

    def renamed(self, seed: int) -> "Chain":
        """The same with other numbers for states, actions and places."""
        rng = np.random.default_rng(seed)
        s, a = rng.permutation(len(self.kernel)), rng.permutation(self.kernel.shape[1])
        other = object.__new__(Chain)
        other.kernel = self.kernel[s][:, a][:, :, s]
        other.policy = self.policy[s][:, a]
        other.place, other.frames = 7 - self.place[s], self.frames[s]
        return other

    def joint(self) -> np.ndarray:
        """(S, A, S): P(state, action, after) in the long run, by iterating what a step does."""
        step = np.einsum("sa,sat->st", self.policy, self.kernel)
        lazy = (step + np.eye(len(step))) / 2  # the same long run, without periods
        long_run = np.full(len(step), 1 / len(step)) @ np.linalg.matrix_power(lazy, 2**14)
        return long_run[:, None, None] * self.policy[..., None] * self.kernel


chains = st.builds(
    Chain, st.integers(0, 10**6), states=st.integers(3, 6), actions=st.integers(1, 2)
).filter(Chain.wide)


def conditional_variance(values: np.ndarray, given: np.ndarray, weight: np.ndarray) -> float:
    """E |v - E[v | given]|^2 of (E, D) values, group by group."""
    total = 0.0
    for group in np.unique(given):
        own = given == group
        mean = weight[own] @ values[own] / weight[own].sum()
        total += float(weight[own] @ ((values[own] - mean) ** 2).sum(axis=1))
    return total


def value(walk: Walk, loss: LadderLoss, f: np.ndarray, classes: np.ndarray, past: np.ndarray):
    """A whitened loss of the latents f, (classes, D), with the best heads, by its definition."""
    paths = walk.paths(loss.steps)
    now, later = classes[paths.source], classes[paths.target]
    if loss.name == "prediction":
        read = (past if loss.memory else classes)[paths.source]
        return conditional_variance(f[later], number(read, paths.word)[0], paths.weight)
    if loss.name == "action delta":
        return conditional_variance(f[later] - f[now], paths.word, paths.weight)
    return float(paths.weight @ ((f[later] - f[now]) ** 2).sum(axis=1))


def rungs(walk: Walk) -> list[tuple[np.ndarray, np.ndarray]]:
    """(classes, past) of place, observation and history."""
    past = walk.past["observation"]
    both = [(walk.classes[r], walk.past[r]) for r in ("place", "observation")]
    return [*both, (past, past)]


# Laws -----------------------------------------------------------------------------------------


@given(chains, st.integers(0, 2))
def test_the_ladder_is_monotone(chain, window):
    """M11: who knows more does no worse, in every whitened direction."""
    walk = chain.walk(window)
    assert walk.nested
    for loss in LOSSES:
        found = optima(walk, loss)
        for above, below in pairwise(found):
            for upper, lower in zip(above, below, strict=True):
                assert upper >= lower - 1e-9
        assert found.gap >= 0 or math.isnan(found.gap)


@given(chains)
def test_more_memory_does_no_worse(chain):
    walks = [chain.walk(window) for window in range(3)]
    for loss in LOSSES[:5]:
        reached = [optima(walk, loss).history[0] for walk in walks]
        assert all(upper >= lower - 1e-9 for upper, lower in pairwise(reached))


@given(chains)
def test_the_inverse_dynamics_gap_is_a_conditional_mutual_information(chain):
    """M12: I(A; O, O' | P, P'), summed from the joint distribution by its definition."""
    joint = chain.joint()
    information = 0.0
    seen: dict[tuple[int, ...], float] = {}
    for (s, a, t), p in np.ndenumerate(joint):
        key = (chain.place[s], chain.place[t], chain.view[s], chain.view[t], a)
        seen[key] = seen.get(key, 0.0) + p

    def marginal(*kept: int) -> dict[tuple[int, ...], float]:
        found: dict[tuple[int, ...], float] = {}
        for key, p in seen.items():
            short = tuple(key[i] for i in kept)
            found[short] = found.get(short, 0.0) + p
        return found

    places, with_views, with_action = marginal(0, 1), marginal(0, 1, 2, 3), marginal(0, 1, 4)
    for key, p in seen.items():
        if p > 1e-15:
            both = p * places[key[:2]]
            apart = with_views[key[:4]] * with_action[key[0], key[1], key[4]]
            information += p * math.log2(both / apart)
    found = optima(chain.walk(), LadderLoss("inverse dynamics"))
    assert found.gap == pytest.approx(information, abs=1e-7)


@given(chains, st.integers(0, 10**6))
def test_no_latent_does_better(chain, seed):
    """Whitened functions of the classes, drawn at random, with the best heads there are."""
    walk, rng = chain.walk(), np.random.default_rng(seed)
    for loss in LOSSES:
        if loss.name in ("inverse dynamics", "reconstruction"):
            continue
        for classes, past in rungs(walk):
            best = optimum(walk, loss, classes, walk.paths(loss.steps), past)
            mass = np.bincount(classes, walk.mass)
            for width in (1, 2):
                if len(mass) <= width:
                    assert best[width - 1] == math.inf
                    continue
                raw = rng.normal(size=(len(mass), width))
                raw -= mass @ raw
                f = raw @ np.linalg.inv(np.linalg.cholesky(raw.T @ (mass[:, None] * raw))).T
                assert f.T @ (mass[:, None] * f) == pytest.approx(np.eye(width), abs=1e-6)
                assert value(walk, loss, f, classes, past) >= sum(best[:width]) - 1e-7


@given(chains, st.integers(0, 10**6))
def test_no_head_does_better(chain, seed):
    walk, rng = chain.walk(), np.random.default_rng(seed)
    source, word, target, weight = walk.steps
    for classes, past in rungs(walk):
        size = int(classes.max()) + 1
        best = optimum(walk, LadderLoss("inverse dynamics"), classes, walk.steps, past)[0]
        chance = rng.dirichlet(np.ones(chain.kernel.shape[1]), size=(size, size))
        told = chance[classes[source], classes[target], word]
        assert -weight @ np.log2(told) >= best - 1e-9
        drawn = rng.normal(size=(size, 2))
        error = ((walk.frames[walk.state] - drawn[classes]) ** 2).sum(axis=1)
        spread = optimum(walk, LadderLoss("reconstruction"), classes, walk.steps, past)[0]
        assert walk.mass @ error >= spread - 1e-9


@given(chains)
def test_some_latent_does_as_well(chain):
    """The optimum by another way: Cov f = I in a basis that leaves one class away."""
    walk = chain.walk()
    for loss in LOSSES:
        if loss.name in ("inverse dynamics", "reconstruction"):
            continue
        for classes, past in rungs(walk)[:2]:
            mass = np.bincount(classes, walk.mass)
            if len(mass) < 2:
                continue
            basis = np.eye(len(mass))[:, :-1]
            form = np.array(
                [
                    [
                        value(walk, loss, basis[:, [i]] + basis[:, [j]], classes, past)
                        - value(walk, loss, basis[:, [i]] - basis[:, [j]], classes, past)
                        for j in range(basis.shape[1])
                    ]
                    for i in range(basis.shape[1])
                ]
            )
            covariance = np.diag(mass[:-1]) - np.outer(mass[:-1], mass[:-1])
            values, vectors = scipy.linalg.eigh(form / 4, covariance)
            best = optimum(walk, loss, classes, walk.paths(loss.steps), past)
            finite = [v for v in best if v < math.inf]
            assert finite == pytest.approx(values[: len(finite)], abs=1e-7)
            f = basis @ vectors[:, :1]
            assert value(walk, loss, f, classes, past) == pytest.approx(best[0], abs=1e-7)


@given(chains, st.integers(0, 10**6))
def test_names_of_states_and_actions_mean_nothing(chain, seed):
    walk, other = chain.walk(), chain.renamed(seed).walk()
    for loss in LOSSES:
        for here, there in zip(optima(walk, loss), optima(other, loss), strict=True):
            assert here == pytest.approx(there, abs=1e-8)


@given(chains, st.integers(0, 2))
def test_the_walk_is_stationary_whatever_it_remembers(chain, window):
    walk = chain.walk(window)
    assert walk.mass.sum() == pytest.approx(1)
    for end in (walk.steps.source, walk.steps.target):
        assert np.bincount(end, walk.steps.weight, len(walk.mass)) == pytest.approx(walk.mass)
    shares = np.bincount(walk.state, walk.mass, len(chain.kernel))
    assert shares == pytest.approx(chain.joint().sum(axis=(1, 2)), abs=1e-7)


@given(chains)
def test_what_a_window_of_two_holds(chain):
    """The probability of each (o, a, o, a, o), from the joint distribution."""
    joint = chain.joint()
    step = chain.policy[..., None] * chain.kernel
    paths = np.einsum("sat,tbu->satbu", joint, step)
    told: dict[tuple[int, ...], float] = {}
    for (s, a, t, b, u), p in np.ndenumerate(paths):
        key = (chain.view[s], a, chain.view[t], b, chain.view[u])
        told[key] = told.get(key, 0.0) + p
    walk = chain.walk(2)
    shares = np.bincount(walk.past["observation"], walk.mass)
    expected = sorted(p for p in told.values() if p > 1e-12)
    assert sorted(shares[shares > 1e-12]) == pytest.approx(expected, abs=1e-7)


def test_where_a_walk_ends_that_cannot_come_back():
    """From 0 to 1 and 3, which take turns, once in four times; else to 2, where it stays."""
    columns = [[0, 0, 1, 3, 2], [0] * 5, [1, 2, 3, 1, 2], [0.25, 0.75, 1, 1, 1]]
    steps, order = Steps(*map(np.array, columns)), np.arange(4)
    start = np.array([1.0, 0, 0, 0])
    walk = of_chain(steps, start=start, place=order, frames=order[:, None])
    assert walk.state.tolist() == [1, 2, 3]
    assert walk.mass == pytest.approx([1 / 8, 3 / 4, 1 / 8])


def test_a_visit_is_a_class_of_its_own_where_all_is_known():
    """A latent that turns slowly is whitened and hardly moves: 0 is what visits come to."""
    t = np.arange(200_000)
    turns = [np.sqrt(2) * np.cos(2 * np.pi * k * t / len(t)) for k in (1, 2)]
    assert np.cov(turns) == pytest.approx(np.eye(2), abs=1e-4)
    assert max(np.mean(np.diff(turn) ** 2) for turn in turns) < 1e-6
    walk = stationary(corridor(noop=True, last_action=True))
    assert all(max(optima(walk, loss).visit) == 0 for loss in LOSSES)


# The corridor ---------------------------------------------------------------------------------

# L* at place and at observation; action delta in its second direction where the first is 0.
CORRIDORS = {
    "open": ({}, "moves"),
    "walls": ({}, "uniform"),
    "noop": ({"noop": True}, "uniform"),
    "last": ({"noop": True, "last_action": True}, "uniform"),
    "momentum": ({"noop": True, "momentum": True}, "uniform"),
}
TABLE = {
    ("open", "inverse dynamics"): ("0", "0"),
    ("open", "action delta"): ("0", "0"),
    ("open", "adjacency"): ("0.152", "0.152"),
    ("open", "prediction"): ("0", "0"),
    ("open", "reconstruction"): ("0", "0"),
    ("walls", "inverse dynamics"): ("0", "0"),
    ("walls", "action delta"): ("0.0147", "0.0147"),
    ("walls", "adjacency"): ("0.121", "0.121"),
    ("walls", "prediction"): ("0", "0"),
    ("walls", "reconstruction"): ("0", "0"),
    ("noop", "inverse dynamics"): ("0.148", "0.148"),
    ("noop", "action delta"): ("0.00977", "0.00977"),
    ("noop", "adjacency"): ("0.0804", "0.0804"),
    ("noop", "prediction"): ("0", "0"),
    ("noop", "reconstruction"): ("0", "0"),
    ("last", "inverse dynamics"): ("0.148", "0"),
    ("last", "action delta"): ("0.00977", "0.00827"),
    ("last", "adjacency"): ("0.0804", "0.0406"),
    ("last", "prediction"): ("0", "0"),
    ("last", "reconstruction"): ("0.617", "0"),
    ("momentum", "inverse dynamics"): ("1.11", "0.569"),
    ("momentum", "action delta"): ("0.0431", "0.0421"),
    ("momentum", "adjacency"): ("0.0702", "0.0579"),
    ("momentum", "prediction"): ("0.0378", "0"),
    ("momentum", "reconstruction"): ("0.586", "0"),
}


def found_in(row: str, name: str, steps: int = 1) -> Optima:
    parameters, policy = CORRIDORS[row]
    return optima(stationary(corridor(**parameters), policy=policy), LadderLoss(name, steps))


@pytest.mark.parametrize(("row", "name"), TABLE)
def test_the_table_of_the_corridor(row, name):
    found = found_in(row, name)
    assert tuple(f"{v[0]:.3g}" for v in (found.place, found.observation)) == TABLE[row, name]


def test_what_of_the_table_has_a_closed_form():
    """Cosines of a path of nine cells, with loops at its ends or without; fractions else."""
    loops, none = 2 - 2 * math.cos(math.pi / 9), 2 - 2 * math.cos(math.pi / 8)
    close = {"abs": 1e-12}
    assert found_in("walls", "adjacency").place[0] == pytest.approx(loops, **close)
    assert found_in("noop", "adjacency").place[0] == pytest.approx(2 / 3 * loops, **close)
    assert found_in("open", "adjacency").place[0] == pytest.approx(none, **close)
    assert found_in("open", "action delta").place[1] == pytest.approx(2 - math.sqrt(2), **close)
    # At either end (2 cells of 9) two of three actions stay: one bit is not told.
    bits = Fraction(2, 9) * Fraction(2, 3)
    assert found_in("noop", "inverse dynamics").place[0] == pytest.approx(float(bits), **close)
    # The last action is uniform inside, and two to one at the ends.
    inside, ends = Fraction(2, 3), Fraction(4, 9)
    spread = float(Fraction(7, 9) * inside + Fraction(2, 9) * ends)
    assert found_in("last", "reconstruction").place[0] == pytest.approx(spread, **close)


@pytest.mark.parametrize("row", ["noop", "last", "momentum"])
def test_a_walk_that_is_walked_comes_near(row):
    """20,000 steps in the environment itself: a sampled figure is off in the third digit."""
    parameters, _ = CORRIDORS[row]
    row_ = corridor(**parameters)
    rng, length = np.random.default_rng(0), 20_000
    actions = rng.integers(len(row_.actions), size=length)
    states = [row_.reset(0)]
    for action in actions:
        states.append(row_.step(int(action)))
    cells = np.array([s.cell for s in states])
    pair, first = number(cells[:-1], cells[1:])
    joint = np.zeros((len(first), len(row_.actions)))
    np.add.at(joint, (pair, actions), 1 / length)
    marginal = joint.sum(axis=1, keepdims=True)
    entropy = -np.sum(joint * np.log2(np.where(joint > 0, joint / marginal, 1)))
    assert found_in(row, "inverse dynamics").place[0] == pytest.approx(entropy, abs=0.02)
    spread = 0.0
    frames = np.array([row_.picture(s) for s in states[1:]])
    for cell in range(9):
        own = frames[cells[1:] == cell]
        spread += ((own - own.mean(axis=0)) ** 2).sum() / length
    assert found_in(row, "reconstruction").place[0] == pytest.approx(spread, abs=0.01)


def test_a_predictor_with_memory_reads_the_velocity_off_two_places():
    walk = stationary(corridor(noop=True, momentum=True))
    assert optima(walk, LadderLoss("prediction")).gap == pytest.approx(0.0378, abs=1e-4)
    assert optima(walk, LadderLoss("prediction", memory=True)).gap == 0


def test_a_slippery_corridor_has_a_ladder_too():
    slips = stationary(corridor(slip=0.25))
    stays = stationary(corridor())
    adjacency = LadderLoss("adjacency")
    assert slips.vacuous
    assert optima(slips, adjacency).place[0] == pytest.approx(
        0.75 * optima(stays, adjacency).place[0]
    )
    assert optima(slips, LadderLoss("prediction")).place[0] > 0.01


def test_a_policy_may_be_given():
    right = stationary(corridor(noop=True), policy=lambda state: (0.5, 0.5, 0.0))
    assert optima(right, LadderLoss("adjacency")) == optima(
        stationary(corridor()), LadderLoss("adjacency")
    )


@pytest.mark.parametrize("name", ["plane", "gridworld"])
def test_registered_environments_have_a_ladder(name):
    walk = stationary(plugins.environment(name)(), window=0)
    for loss in LOSSES[:5]:
        assert not walk.nested or optima(walk, loss).gap >= 0


# Bad input ------------------------------------------------------------------------------------


class Aliased:
    """A corridor whose frame is blank, or shows only whether the cell is even."""

    def __init__(self, colours: int):
        self._row, self._colours = corridor(cells=5), colours
        self.name, self.parameters, self.actions = "aliased", {}, self._row.actions

    def __getattr__(self, name):
        return getattr(self._row, name)

    def frame(self):
        return np.array([float(self._row.state().cell % self._colours)])


class Torn(Aliased):
    def frame(self):
        return np.zeros(self._row.state().cell)


class Blind(Aliased):
    def frame(self):
        return np.array([np.nan])


class OnePlace(Aliased):
    def place(self, state):
        return (0,)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: optima(stationary(OnePlace(2)), LOSSES[0]), DataError, "one place only"),
        (lambda: stationary(corridor(), window=-1), DataError, "window is an integer"),
        (lambda: stationary(corridor(), policy="best"), SpecError, "'moves'"),
        (lambda: stationary(corridor(), policy=lambda s: (1, 1)), DataError, "sum to one"),
        (lambda: stationary(corridor(), policy=lambda s: (1,)), DataError, "2 probabilities"),
        (lambda: stationary(corridor(), policy=lambda s: "left"), DataError, "gave 'left'"),
        (lambda: stationary(corridor(), policy=lambda s: (2, -1)), DataError, "2 probabilities"),
        (lambda: stationary("corridor"), DataError, "got 'corridor'"),
        (lambda: stationary(corridor), DataError, "got <function"),
        (lambda: stationary(Torn(2)), DataError, "one shape"),
        (lambda: stationary(Blind(2)), DataError, "finite numbers"),
        (lambda: stationary(corridor(cells=9), limit=8), LatentrolesError, "more than 8 states"),
        (lambda: stationary(corridor(slip=0.1), limit=8), LatentrolesError, "more than 8 states"),
        (lambda: stationary(corridor(), window=2, limit=20), DataError, "--window 1"),
        (lambda: LadderLoss("recon"), SpecError, "reconstruction"),
        (lambda: LadderLoss("reconstruction", 2), DataError, "2 steps"),
        (lambda: LadderLoss("adjacency", 0), DataError, "0 steps"),
        (lambda: LadderLoss("adjacency", memory=True), DataError, "prediction"),
    ],
)
def test_bad_input_is_said(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_too_many_paths(monkeypatch):
    monkeypatch.setattr(ladder_walk, "_PATHS", 100)
    with pytest.raises(DataError, match="fewer steps"):
        stationary(corridor()).paths(4)


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.sparse.csgraph", None)
    with pytest.raises(PluginError, match=r"latentroles\[evaluate\]"):
        stationary(corridor())
