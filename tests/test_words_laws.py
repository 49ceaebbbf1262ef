"""E1-E18: every environment keeps them, and each of them kills the environments planted here."""

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from latentroles.errors import LatentrolesError
from latentroles.testing.environment_laws import LAWS, BrokenLaw, check_environment
from latentroles.words import Loops, explore
from latentroles.words.corridor import LEFT, RIGHT, Corridor, SlipperyCorridor, State, corridor
from latentroles.words.gridworld import gridworld
from latentroles.words.minigrid import dynamic_obstacles, four_rooms
from latentroles.words.places import Pair, cycle_rank
from latentroles.words.plane import plane
from latentroles.words.rotations import rotations
from latentroles.words.rubik import rubik
from latentroles.words.word import run, spell

ENVIRONMENTS: dict[str, Callable[[], Any]] = {
    "walls": corridor,
    "ring": lambda: corridor(cells=5, open=True),
    "noop, last action": lambda: corridor(noop=True, last_action=True),
    "noop, momentum, phases": lambda: corridor(cells=5, noop=True, momentum=True, phases=3),
    "slippery": lambda: corridor(cells=4, slip=0.3, phases=2),
    "pixels": lambda: corridor(cells=3, noop=True, pixels=True),
    "grid": gridworld,
    "torus": lambda: gridworld(layout=(3, 4), open=True, noop=True),
    "plane": lambda: plane(size=4),
    "plane with headings": lambda: plane(size=3, heading=True),
    "endless plane": lambda: plane(size=None),
    "rotations": lambda: rotations(pictures=("coffee", "moon"), size=16, jitter=1),
    "cube": rubik,
    "large cube": lambda: rubik(size=3),
    "four rooms": four_rooms,
    "balls": lambda: dynamic_obstacles(size=6, balls=2),
}
RANDOM = {"slippery", "balls"}
ENDLESS = {"endless plane", "cube", "large cube"}

# Laws that say nothing about an environment, besides those of the two groups below.
WITHOUT = {
    "E5": {"noop, momentum, phases"},
    "E6": {"ring", "torus", "plane", "plane with headings", "endless plane", "rotations"}
    | {"noop, momentum, phases", "cube", "large cube"},
}


@cache
def tried(name: str) -> dict[str, int]:
    return check_environment(ENVIRONMENTS[name]())


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_keeps_the_laws_and_gives_them_cases(name: str) -> None:
    for law, cases in tried(name).items():
        if law == "E18":
            assert (cases > 0) == (name == "slippery")
        elif law == "E12":
            assert (cases > 0) == (name == "noop, last action")
        elif law in ("E1", "E3", "E4", "E15"):
            assert cases > 0
        elif name in RANDOM:
            assert cases == 0
        elif name in ENDLESS and law in ("E9", "E11", "E13", "E14", "E16", "E17"):
            assert cases == 0
        else:
            assert (cases > 0) == (name not in WITHOUT.get(law, ())), law


class Planted(Corridor):
    """A corridor of five cells and two phases, to be spoilt."""

    def __init__(self, **changes: Any):
        flags = dict.fromkeys(("open", "noop", "momentum", "last", "pixels"), False)
        super().__init__(**{"cells": 5, "phases": 1, **flags, **changes})


class ForgetsVelocity(Planted):
    def restore(self, state: Any) -> None:
        super().restore(State(*state)._replace(velocity=0))


class ShowsTheLastStep(Planted):
    shown = None

    def step(self, action: int) -> Any:
        self.shown = super().step(action)
        return self.shown

    def frame(self) -> np.ndarray:
        return self.picture(self.shown or self._state)


class LosesEveryThirdStep(Planted):
    steps = 0

    def restore(self, state: Any) -> None:
        self.steps = 0
        super().restore(state)

    def step(self, action: int) -> Any:
        self.steps += 1
        return self._state if self.steps % 3 == 0 else super().step(action)


class StandsStillAfterFive(LosesEveryThirdStep):
    def step(self, action: int) -> Any:
        self.steps += 1
        return self._state if self.steps > 5 else Corridor.step(self, action)


class IgnoresItsSeed(Planted):
    resets = 0

    def reset(self, seed: int) -> Any:
        self.resets += 1
        return super().reset(seed + self.resets % 3)


class HasNoise(Planted):
    noise = np.random.default_rng(0)

    def frame(self) -> np.ndarray:
        return super().frame() + self.noise.random(5)


class ReturnsAList(Planted):
    def step(self, action: int) -> Any:
        return list(super().step(action))


class SaysWhereItWas(Planted):
    def step(self, action: int) -> Any:
        before = self._state
        super().step(action)
        return before


class WidensAtTheWall(Planted):
    def frame(self) -> np.ndarray:
        frame = super().frame()
        return np.append(frame, 0) if self._state.cell == 4 else frame


class HasALongPlace(Planted):
    def place(self, state: Any) -> Any:
        return (state.cell,) * (2 if state.cell == 0 else 1)


class InvertsByItself(Planted):
    def inverse(self, state: Any, action: int) -> int | None:
        return action


class InvertsAtTheWall(Planted):
    def inverse(self, state: Any, action: int) -> int | None:
        return (RIGHT, LEFT)[action]


class InvertsAtOneEnd(Planted):
    def inverse(self, state: Any, action: int) -> int | None:
        return super().inverse(state, action) if state.cell == 2 else None


class PlaceOfThePresent(Planted):
    def place(self, state: Any) -> Any:
        return (self._state.cell,)


class PlaceWithPhase(Planted):
    def place(self, state: Any) -> Any:
        return (state.cell + state.phase,)


class SlipsMore(SlipperyCorridor):
    """Its kernel says less than what happens."""

    def __init__(self):
        super().__init__(0.6, 3, False, False, False, False, 1, False)
        self.slip = 0.6

    def kernel(self, state: Any, action: int) -> Any:
        move, stay = self.move(state, action), self._stay(state)
        return {stay: 1.0} if move == stay else {move: 0.8, stay: 0.2}


class SumsToMore(SlipsMore):
    def kernel(self, state: Any, action: int) -> Any:
        return {**super().kernel(state, action), self._stay(state): 0.9}


class HidesTheSlip(SlipsMore):
    def kernel(self, state: Any, action: int) -> Any:
        return {self.move(state, action): 1.0}


# environment, law, letters of the shortest counterexample
SPOILT: list[tuple[Callable[[], Any], str, int]] = [
    (lambda: ForgetsVelocity(momentum=True), "E1", 1),
    (ShowsTheLastStep, "E1", 1),
    (HasNoise, "E1", 0),
    (PlaceOfThePresent, "E15", 0),
    (LosesEveryThirdStep, "E2", 3),
    (StandsStillAfterFive, "E2", 6),
    (IgnoresItsSeed, "E3", 0),
    (HasNoise, "E3", 0),
    (ReturnsAList, "E4", 1),
    (SaysWhereItWas, "E4", 1),
    (WidensAtTheWall, "E4", 0),
    (HasALongPlace, "E4", 0),
    (InvertsByItself, "E5", 2),
    (InvertsAtTheWall, "E5", 2),
    (InvertsAtTheWall, "E6", 1),
    (InvertsByItself, "E7", 2),
    (InvertsAtTheWall, "E7", 2),
    (StandsStillAfterFive, "E8", 6),
    (lambda: PlaceWithPhase(phases=2), "E15", 0),
    (SumsToMore, "E18", 1),
    (SlipsMore, "E18", 1),
    (HidesTheSlip, "E18", 1),
]


@pytest.mark.parametrize(
    ("make", "law", "letters"),
    SPOILT,
    ids=[f"{law} {getattr(make, '__name__', '')}" for make, law, _ in SPOILT],
)
def test_a_spoilt_environment_is_reported_with_the_shortest_word(
    make: Callable[[], Any], law: str, letters: int
) -> None:
    environment = make()
    with pytest.raises(BrokenLaw) as caught:
        LAWS[law](environment)
    assert caught.value.law == law
    assert len(caught.value.word) == letters
    message = str(caught.value)
    assert f"breaks {law}: " in message
    assert f"shortest counterexample: {spell(environment, caught.value.word)}" in message
    assert repr(caught.value.start) in message
    with pytest.raises((BrokenLaw, LatentrolesError)):
        check_environment(make())


def test_an_inverse_that_is_left_out_where_the_move_returns_is_reported() -> None:
    environment = corridor(open=True)
    environment.inverse = lambda state, action: None  # type: ignore[method-assign]
    with pytest.raises(BrokenLaw, match="said to be blocked, and cancelling them never changes"):
        LAWS["E7"](environment, {LEFT: RIGHT, RIGHT: LEFT})


def drawn(keep: Callable[[Any, Any, tuple], bool], cut: int | None = None) -> Any:
    """A generator that gives some of the loops only, or cuts a letter off."""

    def sampler(graph: Any, state: Any, rng: Any, count: int) -> list[tuple]:
        words = Loops(graph, state, max_length=8).sample(rng, 3 * count)
        return [word[:cut] for word in words if keep(graph, state, word)]

    return sampler


def from_anywhere(graph: Any, state: Any, rng: Any, count: int) -> list[tuple]:
    return [(LEFT, RIGHT)] * count


def merely_back(graph: Any, state: Any, word: tuple) -> bool:
    passed = run(graph.environment, state, word)
    still = any(a == b for a, b in itertools.pairwise(passed))
    return still or any(a == b for a, b in zip(passed, passed[2:], strict=False))


def never_blocked(graph: Any, state: Any, word: tuple) -> bool:
    passed = run(graph.environment, state, word)
    return all(a != b for a, b in itertools.pairwise(passed))


def only_the_first_start(environment: Any) -> Any:
    graph = explore(environment)
    near = graph.component == graph.component[0]
    number = np.cumsum(near) - 1
    states = tuple(s for s, inside in zip(graph.states, near, strict=True) if inside)
    return type(graph)(
        environment, states, number[graph.after[near]], graph.place[near], graph.parent[near]
    )


# What is judged besides the environment: law, environment, what is planted, letters.
PLANTED: list[tuple[str, str, Callable[[], Any], Any, int]] = [
    ("E9", "blind to splits", lambda: corridor(cells=5, momentum=True), lambda graph: None, 4),
    ("E9", "sees splits", lambda: corridor(open=True), lambda graph: Pair(0, 0, (LEFT,)), 1),
    ("E9", "mixes places", corridor, lambda graph: Pair(0, 1, (LEFT,)), 1),
    ("E10", "does not close", corridor, drawn(lambda *_: True, cut=-1), 1),
    ("E11", "never left", corridor, drawn(lambda g, s, w: LEFT not in w), 1),
    ("E11", "never blocked", corridor, drawn(never_blocked), 1),
    ("E12", "from anywhere", lambda: corridor(last_action=True), from_anywhere, 2),
    ("E13", "even ones only", corridor, drawn(lambda g, s, w: len(w) % 2 == 0), 0),
    ("E13", "short ones only", gridworld, drawn(lambda g, s, w: len(w) < 8), 0),
    ("E13", "merely back", gridworld, drawn(merely_back), 4),
    ("E14", "no rank", lambda: corridor(cells=5, open=True), lambda graph: 0, 5),
    ("E14", "always a rank", corridor, lambda graph: 1, 0),
    ("E14", "counts blocked moves", corridor, lambda graph: cycle_rank(graph) + 2, 0),
    ("E16", "always vacuous", lambda: corridor(phases=2), lambda graph: None, 0),
    ("E16", "never vacuous", corridor, lambda graph: Pair(0, 0, ()), 0),
    ("E17", "first start", lambda: rotations(pictures=("moon",)), only_the_first_start, 0),
]


@pytest.mark.parametrize(
    ("law", "make", "planted", "letters"),
    [(law, make, planted, letters) for law, _, make, planted, letters in PLANTED],
    ids=[f"{law} {name}" for law, name, *_ in PLANTED],
)
def test_a_planted_generator_or_verdict_is_found(
    law: str, make: Callable[[], Any], planted: Any, letters: int
) -> None:
    with pytest.raises(BrokenLaw, match=f"breaks {law}: ") as caught:
        LAWS[law](make(), planted)
    assert len(caught.value.word) == letters
    LAWS[law](make())


def test_undeclared_randomness_is_told_from_a_declared_one() -> None:
    balls = dynamic_obstacles(size=6, balls=2)
    balls.random = False
    with pytest.raises(BrokenLaw, match="random = True"):
        LAWS["E2"](balls)


def test_a_law_can_be_left_out_and_must_be_one() -> None:
    assert set(check_environment(corridor(), leave_out=["E3"])) == set(LAWS) - {"E3"}
    with pytest.raises(LatentrolesError, match=r"test_words_laws.py:\d+: there is no law 'E19'"):
        check_environment(corridor(), leave_out=["E19"])
    assert list(LAWS) == [f"E{n}" for n in range(1, 19)]
