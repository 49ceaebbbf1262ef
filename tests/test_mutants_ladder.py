"""The tests of the ladder can fail: each planted mistake is found by the law that is named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import test_ladder as laws
import test_ladder_specs as specs
from latentroles.evaluate import ladder_kinds, ladder_optima, ladder_walk
from latentroles.evaluate.ladder_kinds import Kinds
from latentroles.evaluate.ladder_walk import Steps, Walk

Patch = pytest.MonkeyPatch
# The same few environments every time, so that a mistake is found or is not.
DRAWN = [laws.Chain(seed, states=4 + seed % 2, actions=1 + seed % 2) for seed in range(12)]
CHAINS = [chain for chain in DRAWN if chain.wide()]


def holds(law: Callable[..., Any], *more: int) -> Callable[[], None]:
    """A property, on those environments."""

    def run() -> None:
        for chain in CHAINS:
            law.hypothesis.inner_test(chain, *more)  # type: ignore[attr-defined]

    return run


LAWS = {
    "M11": holds(laws.test_the_ladder_is_monotone, 1),
    "M12": holds(laws.test_the_inverse_dynamics_gap_is_a_conditional_mutual_information),
    "no latent": holds(laws.test_no_latent_does_better, 0),
    "no head": holds(laws.test_no_head_does_better, 0),
    "some latent": holds(laws.test_some_latent_does_as_well),
    "names": holds(laws.test_names_of_states_and_actions_mean_nothing, 0),
    "memory": holds(laws.test_more_memory_does_no_worse),
    "stationary": holds(laws.test_the_walk_is_stationary_whatever_it_remembers, 1),
    "window": holds(laws.test_what_a_window_of_two_holds),
    "closed forms": laws.test_what_of_the_table_has_a_closed_form,
    "velocity": laws.test_a_predictor_with_memory_reads_the_velocity_off_two_places,
    "kinds": lambda: specs.test_which_loss_of_the_ladder_a_loss_is(True),
    "near": specs.test_forms_that_are_near_a_loss_of_the_ladder,
    "side by side": specs.test_rule_and_ladder_side_by_side,
}


@pytest.mark.parametrize("law", LAWS)
def test_without_a_mutant_all_is_well(law):
    LAWS[law]()


def swapped(owner: object, name: str, make: Callable[[Any], Any]) -> Callable[[Patch], None]:
    """A mutant: `owner.name` becomes `make(what it was)`."""
    return lambda patch: patch.setattr(owner, name, make(getattr(owner, name)))


def same(column: np.ndarray) -> np.ndarray:
    return np.zeros_like(column)


def as_likely(paths: Steps) -> Steps:
    """Every step as likely as any other."""
    return paths._replace(weight=np.full(len(paths.weight), 1 / len(paths.weight)))


def with_constants(form: np.ndarray, mass: np.ndarray) -> tuple[float, ...]:
    """The directions, and the constant among them."""
    root = np.sqrt(mass)
    values = scipy.linalg.eigh(form / root[:, None] / root, eigvals_only=True)[:2]
    return tuple(float(v) for v in values) + (np.inf,) * (2 - len(values))


def forgetful(remember: Callable[[Walk], Walk]) -> Callable[[Walk], Walk]:
    """The past is forgotten; the nodes are as many."""

    def mutant(walk: Walk) -> Walk:
        found = remember(walk)
        return replace(found, past={name: found.classes[name] for name in found.past})

    return mutant


def without_actions(remember: Callable[[Walk], Walk]) -> Callable[[Walk], Walk]:
    def mutant(walk: Walk) -> Walk:
        blind = replace(walk, steps=walk.steps._replace(word=same(walk.steps.word)))
        return remember(blind)

    return mutant


def upside_down(found: ladder_optima.Optima) -> ladder_optima.Optima:
    return found._replace(observation=found.place, place=found.observation)


optima, walks = ladder_optima, ladder_walk
MUTANTS = {
    "bits not conditioned on the classes": (
        swapped(optima, "_entropy", lambda f: lambda v, g, p: f(v, same(g), p)),
        "M12",
    ),
    "bits of a walk that is as likely everywhere": (
        swapped(optima, "_entropy", lambda f: lambda v, g, p: f(v, g, as_likely(p))),
        "M12",
    ),
    "rungs in the wrong order": (
        swapped(laws, "optima", lambda f: lambda *a: upside_down(f(*a))),
        "M11",
    ),
    "a mean that is not conditioned": (
        swapped(optima, "_unexplained", lambda f: lambda v, p, g: f(v, p, same(g))),
        "some latent",
    ),
    "squares of a walk that is as likely everywhere": (
        swapped(optima, "_unexplained", lambda f: lambda v, p, g: f(v, as_likely(p), g)),
        "some latent",
    ),
    "a latent may be constant": (
        swapped(optima, "_directions", lambda f: with_constants),
        "closed forms",
    ),
    "classes weigh the same": (
        swapped(optima, "_directions", lambda f: lambda q, m: f(q, np.full_like(m, 1 / len(m)))),
        "some latent",
    ),
    "the second direction first": (
        swapped(optima, "_directions", lambda f: lambda q, m: f(q, m)[::-1]),
        "some latent",
    ),
    "the past is predicted": (
        swapped(
            laws,
            "optimum",
            lambda f: lambda w, loss, c, p, past: f(
                w, loss, c, p._replace(source=p.target, target=p.source), past
            ),
        ),
        "some latent",
    ),
    "a decoder that reads nothing": (
        swapped(optima, "_spread", lambda f: lambda w, c: f(w, same(c))),
        "closed forms",
    ),
    "optima a tenth too high": (
        swapped(optima, "_clean", lambda f: lambda v: 1.1 * f(v)),
        "some latent",
    ),
    "the greatest for the least": (
        swapped(optima, "_directions", lambda f: lambda q, m: tuple(-v for v in f(-q, m))),
        "no latent",
    ),
    "another unit than bits": (
        swapped(optima, "_entropy", lambda f: lambda v, g, p: 3 * f(v, g, p)),
        "no head",
    ),
    "the last two actions are one": (
        swapped(
            optima,
            "_unexplained",
            lambda f: lambda v, p, g: f(v, p, np.minimum(g, 0 * p.word + p.word.max() - 1)),
        ),
        "names",
    ),
    "a longer past costs": (
        swapped(
            optima,
            "optimum",
            lambda f: lambda w, loss, c, p, past: f(w, loss, c, p, past)
            if w.window != 2
            else tuple(v + 0.1 for v in f(w, loss, c, p, past)),
        ),
        "memory",
    ),
    "a predictor that has no memory": (
        swapped(
            laws,
            "optima",
            lambda f: lambda w, loss: f(w, replace(loss, memory=False)),
        ),
        "velocity",
    ),
    "the past is forgotten": (swapped(Walk, "remember", forgetful), "window"),
    "what was done is forgotten": (swapped(Walk, "remember", without_actions), "window"),
    "as long in every state": (
        swapped(walks, "_settled", lambda f: lambda s, start: np.full(len(start), 1 / len(start))),
        "stationary",
    ),
    "for ever at the start": (
        swapped(walks, "_settled", lambda f: lambda s, start: start),
        "stationary",
    ),
    "classes by the number of their state": (
        swapped(walks, "number", lambda f: lambda *c: (np.arange(len(c[0])), np.arange(len(c[0])))),
        "window",
    ),
    "every prediction has memory": (
        swapped(ladder_kinds, "LadderLoss", lambda f: lambda n, s=1, memory=False: f(
            n, s, memory=n == "prediction"
        )),
        "kinds",
    ),
    "any head is the latent itself": (
        swapped(Kinds, "_is_place", lambda f: lambda self, m: True),
        "kinds",
    ),
    "a head on both sides changes nothing": (
        swapped(Kinds, "_is_place", lambda f: lambda self, m: True),
        "near",
    ),
    "what the rules find live is all there is": (
        swapped(
            ladder_kinds._Rewards,
            "shaped",
            lambda f: lambda self, side, updated: super(ladder_kinds._Rewards, self).shaped(
                side, updated
            ),
        ),
        "side by side",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_mistake_is_found(name, monkeypatch):
    plant, law = MUTANTS[name]
    plant(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        LAWS[law]()
