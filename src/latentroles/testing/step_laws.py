"""The laws E1 to E7, E15 and E18: of states, steps, inverses and probabilities.

Each takes an environment and returns how many cases it has tried; see `environment_laws`.
"""

import itertools
import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from ..words.environment import Described, Environment, Invertible, Stochastic, is_random
from ..words.word import Word, cancelled, end, opposites, reduced, run, spell
from .environment_cases import (
    BrokenLaw,
    Reached,
    broken,
    cases,
    ends,
    first_failure,
    reached,
    some_starts,
)

ELSEWHERE = 1_000_003  # a seed: what it resets to lies between going away and coming back
ROLLS = 2000  # simulations of a random word


def e1_the_empty_word_stays(environment: Environment) -> int:
    """E1, s.e = s: restoring a state brings back its frame, pose and place, and nothing else."""

    def shown(state: Any) -> tuple[Any, ...]:
        frame = np.asarray(environment.frame())
        look = (frame.shape, frame.dtype.str, frame.tobytes())
        return environment.state(), look, tuple(environment.pose()), tuple(environment.place(state))

    def says(start: Hashable, word: Word) -> str | None:
        state = run(environment, start, word)[-1]
        live = shown(state)
        environment.reset(ELSEWHERE)
        environment.step(0)
        environment.restore(state)
        names = ("the state", "its frame", "its pose", "its place")
        for name, then, now in zip(names, live, shown(state), strict=True):
            if then != now:
                detail = "" if name == "its frame" else f": {then!r} before, {now!r} after"
                return f"after `restore`, {name} is another one{detail}."
        return None

    return first_failure("E1", environment, says)


def e2_words_compose(environment: Environment) -> int:
    """E2, s.(uv) = (s.u).v: nothing but the state says where a word leads."""
    if is_random(environment):
        return 0

    def says(start: Hashable, word: Word) -> str | None:
        passed = run(environment, start, word)
        for at, letter in enumerate(word):
            again = end(environment, passed[at], (letter,))
            if again != passed[at + 1]:
                name = environment.actions[letter]
                return (
                    f"{name} from {passed[at]!r} led to {passed[at + 1]!r} on the way, and to "
                    f"{again!r} after `restore`. The state leaves something out, or steps are "
                    "random (then set `random = True`)."
                )
        return None

    return first_failure("E2", environment, says)


def e3_a_seed_repeats(environment: Environment) -> int:
    """E3: the same seed and word pass the same states and frames, whatever came before."""
    count = 0
    for seed, (_, word) in enumerate(cases(environment, budget=100)):
        seen = []
        for before in (0, 1):
            environment.reset(ELSEWHERE + before)
            for _ in range(before):
                environment.step(0)
            states = [environment.reset(seed)]
            frames = [np.asarray(environment.frame()).tobytes()]
            for letter in word:
                states.append(environment.step(letter))
                frames.append(np.asarray(environment.frame()).tobytes())
            seen.append((states, frames))
        for name, first, second in zip(("state", "frame"), *seen, strict=True):
            for at, (one, other) in enumerate(zip(first, second, strict=True)):
                if one != other:
                    what = f"seed {seed} gives another {name} the second time."
                    raise BrokenLaw("E3", environment, states[0], word[:at], what)
        count += 1
    return count


def e4_steps_are_total(environment: Environment) -> int:
    """E4: every action leads from every state to a state: hashable, restorable, of one form."""
    environment.restore(some_starts(environment)[0])
    model = np.asarray(environment.frame())
    width = len(environment.place(environment.state()))

    def says(start: Hashable, word: Word) -> str | None:
        state = run(environment, start, word)[-1]
        try:
            hash(state)
        except TypeError:
            return f"the state {state!r} is not hashable."
        if state != environment.state():
            return f"`step` returned {state!r}, and `state()` says {environment.state()!r}."
        environment.restore(state)
        place = environment.place(state)
        integers = all(isinstance(n, (int, np.integer)) for n in place)
        if not isinstance(place, tuple) or not integers or len(place) != width:
            return f"a place is a tuple of {width} integer(s); got {place!r}."
        frame = np.asarray(environment.frame())
        if (frame.shape, frame.dtype) != (model.shape, model.dtype):
            one, other = (f"{f.dtype} {f.shape}" for f in (frame, model))
            return f"frames are of one form; got {one} and {other}."
        pose = environment.pose()
        if len(pose) != 3 or not all(math.isfinite(n) for n in pose):
            return f"a pose is three finite numbers; got {pose!r}."
        return None

    return first_failure("E4", environment, says)


def e5_inverses_return(environment: Environment) -> int:
    """E5: a move and then its declared inverse lead back to the state."""
    if not isinstance(environment, Invertible):
        return 0
    count = 0
    for at in reached(environment):
        for action in range(len(environment.actions)):
            back = environment.inverse(at.state, action)
            if back is None:
                continue
            count += 1
            there = end(environment, at.state, (action, back))
            if there != at.state:
                name, other = (environment.actions[a] for a in (action, back))
                what = f"{other} is declared the inverse of {name} at {at.state!r}, and the two "
                broken("E5", environment, at, (action, back), f"{what}lead to {there!r}.")
    return count


def e6_no_inverse_of_a_blocked_move(environment: Environment) -> int:
    """E6: a move that is blocked has no declared inverse. Blocked is what moves elsewhere only."""
    if not isinstance(environment, Invertible):
        return 0
    found = reached(environment)
    count = 0
    for action, name in enumerate(environment.actions):
        still = [at for at in found if end(environment, at.state, (action,)) == at.state]
        if len(still) == len(found):
            continue  # it never moves: idle, not blocked
        for at in still:
            count += 1
            back = environment.inverse(at.state, action)
            if back is not None:
                what = f"{name} is blocked at {at.state!r}, and {environment.actions[back]} is "
                broken("E6", environment, at, (action,), f"{what}declared its inverse.")
    return count


def e7_reduction_keeps_unblocked_ends(
    environment: Environment, pairs: Mapping[int, int] | None = None
) -> int:
    """E7: a freely reduced word leads where the word does if every cancelled pair was unblocked;
    and where a pair was blocked, some reduced word leads elsewhere."""
    if not isinstance(environment, Invertible) or is_random(environment):
        return 0
    formal = opposites(environment, [r.state for r in reached(environment)])
    formal = dict(formal if pairs is None else pairs)
    blocked, moved = 0, False

    def says(start: Hashable, word: Word) -> str | None:
        nonlocal blocked, moved
        passed = run(environment, start, word)
        gone = cancelled(word, formal)
        kept = all(environment.inverse(passed[i], word[i]) == word[j] for i, j in gone)
        less = reduced(word, formal)
        there = end(environment, start, less)
        if not kept:
            blocked, moved = blocked + 1, moved or there != passed[-1]
        elif there != passed[-1]:
            return (
                f"no cancelled pair was blocked, and the reduced word, {spell(environment, less)}, "
                f"leads to {there!r} instead of {passed[-1]!r}."
            )
        return None

    count = first_failure("E7", environment, says)
    if blocked and not moved:
        what = "pairs are said to be blocked, and cancelling them never changes an end."
        raise BrokenLaw("E7", environment, some_starts(environment)[0], (), what)
    return count


def e15_place_ignores_nuisance(environment: Environment) -> int:
    """E15: place is a function of the state, and of none of what `nuisance` names.

    States whose other fields are equal have the same place; a name that is no field of the state
    is left aside.
    """
    count = 0
    first: dict[Hashable, Reached] = {}
    for at in reached(environment):
        environment.restore(at.state)
        place = tuple(environment.place(at.state))
        environment.reset(ELSEWHERE)
        again = tuple(environment.place(at.state))
        if place != again:
            what = f"the place of {at.state!r} was {place}, and is {again} once the environment is "
            broken("E15", environment, at, (), f"{what}elsewhere: place is no function of state.")
        count += 1
        fields = getattr(at.state, "_fields", ())
        if not isinstance(environment, Described) or not fields:
            continue
        named = environment.nuisance(at.state)
        rest = tuple(getattr(at.state, name) for name in fields if name not in named)
        other = first.setdefault(rest, at)
        before = tuple(environment.place(other.state))
        if before != place:
            what = (
                f"{other.state!r} and {at.state!r} differ in nuisance alone, and have the places "
            )
            broken("E15", environment, at, (), f"{what}{before} and {place}.")
    return count


def e18_kernels_are_probabilities(environment: Environment) -> int:
    """E18: a kernel sums to one, holds every state that a step leads to, and gives the return
    probability of a word to within its interval (Hoeffding, at one in a million)."""
    if not isinstance(environment, Stochastic):
        return 0
    count = 0
    for at in reached(environment, limit=100):
        for action in range(len(environment.actions)):
            kernel = environment.kernel(at.state, action)
            total = math.fsum(kernel.values())
            if min(kernel.values()) < 0 or abs(total - 1) > 1e-9:
                what = f"the probabilities of where it leads sum to {total:g}: {dict(kernel)!r}."
                broken("E18", environment, at, (action,), what)
            count += 1
    width = math.sqrt(math.log(2e6) / (2 * ROLLS))
    environment.reset(0)
    for start, word in itertools.islice(cases(environment), 60):
        place = tuple(environment.place(start))
        spread: dict[Any, float] = {start: 1.0}
        for letter in word:
            following: dict[Any, float] = {}
            for state, mass in spread.items():
                for there, part in environment.kernel(state, letter).items():
                    following[there] = following.get(there, 0.0) + mass * part
            spread = following
        exact = math.fsum(
            m for state, m in spread.items() if tuple(environment.place(state)) == place
        )
        rolls = [ends(environment, start, word) for _ in range(ROLLS // 10 if not word else ROLLS)]
        strange = [state for state, _ in rolls if state not in spread]
        share = sum(there == place for _, there in rolls) / len(rolls)
        if strange or abs(share - exact) > width:
            what = f"it returns with probability {exact:.3f}, and did in a share of {share:.3f}."
            if strange:
                what = f"it led to {strange[0]!r}, which the kernel does not have."
            raise BrokenLaw("E18", environment, start, word, what)
        count += 1
    return count
