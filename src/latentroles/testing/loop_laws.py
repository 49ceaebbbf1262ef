"""The laws E8 to E14, E16 and E17: of loops, what generates them, and the transition graph.

Each takes an environment and returns how many cases it has tried; see `environment_laws`.
"""

import itertools
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from ..words.environment import Environment, Invertible, WordError, is_random
from ..words.loops import Loops, loops_by_inverse
from ..words.places import Pair, cycle_rank, frame_varies, place_splits
from ..words.transitions import Transitions, explore
from ..words.word import Word, end, spell
from .environment_cases import BrokenLaw, Reached, broken, cases, ends, finite, reached, some_starts
from .renamed import Renamed

Sampler = Callable[[Transitions, Any, np.random.Generator, int], list[Word]]
LENGTH = 8  # of the loops that are drawn, at most


def state_loops(
    transitions: Transitions, state: Any, rng: np.random.Generator, count: int
) -> list[Word]:
    """Draws state loops with `Loops`."""
    return Loops(transitions, state, max_length=LENGTH).sample(rng, count)


def e8_state_loops_concatenate(environment: Environment) -> int:
    """E8: where u and v return to a state, so does uv."""
    if is_random(environment):
        return 0
    loops: dict[Hashable, list[Word]] = {}
    begin = [at.state for at in reached(environment, limit=24)]
    for start, word in cases(environment, begin):
        if word and end(environment, start, word) == start:
            loops.setdefault(start, []).append(word)
    pairs = [
        (start, u, v)
        for start, words in loops.items()
        for u, v in itertools.product(words[:20], repeat=2)
    ]
    for start, u, v in sorted(pairs, key=lambda pair: len(pair[1] + pair[2])):
        there = end(environment, start, u + v)
        if there != start:
            what = f"{spell(environment, u)} and {spell(environment, v)} are state loops, and one "
            raise BrokenLaw("E8", environment, start, u + v, f"{what}after the other is none.")
    return len(pairs)


def e9_place_loops_concatenate_for_a_congruence(
    environment: Environment, splits: Callable[[Transitions], Pair | None] = place_splits
) -> int:
    """E9: a place loop may stand before any word without changing the place that it leads to, and
    so place loops concatenate, if and only if place is a congruence.

    (Place loops alone may concatenate without that, where no loop tells two states of a place
    apart.)
    """
    graph = finite(environment)
    if graph is None:
        return 0
    found = splits(graph)
    if found is None:
        return _place_loops_are_neutral(environment)
    start, other = (graph.states[index] for index in found[:2])
    same = environment.place(start) == environment.place(other)
    if (
        not same
        or ends(environment, start, found.word)[1] == ends(environment, other, found.word)[1]
    ):
        what = (
            f"place is said to be no congruence, at {start!r} and {other!r}, and it is one there."
        )
        raise BrokenLaw("E9", environment, start, found.word, what)
    there = graph.path(found.first, np.arange(len(graph.states)) == found.second)
    if there is not None:  # a place loop that is not neutral
        after = ends(environment, start, there + found.word)[1]
        if after == ends(environment, start, found.word)[1]:
            what = f"{spell(environment, there)} should change where the rest leads, and does not."
            raise BrokenLaw("E9", environment, start, there + found.word, what)
    return 1


def _place_loops_are_neutral(environment: Environment) -> int:
    tried = list(cases(environment))
    places = {(s, w): ends(environment, s, w)[1] for s, w in tried}
    loops = [(s, w) for s, w in tried if w and places[s, w] == places.get((s, ()))][:80]
    short = sorted({w for _, w in tried if 0 < len(w) <= 3}, key=lambda w: (len(w), w))
    pairs = [(s, u, v) for s, u in loops for v in short[:40]]
    for s, u, v in sorted(pairs, key=lambda pair: len(pair[1] + pair[2])):
        if ends(environment, s, u + v)[1] != ends(environment, s, v)[1]:
            what = "place is said to be a congruence, and after the place loop "
            what += f"{spell(environment, u)} the word {spell(environment, v)} leads elsewhere."
            raise BrokenLaw("E9", environment, s, u + v, what)
    return len(pairs)


def e10_generated_words_close(environment: Environment, sampler: Sampler = state_loops) -> int:
    """E10: every word that the generator gives for a state returns to it."""
    graph = finite(environment)
    rng = np.random.default_rng(0)
    drawn: list[tuple[Any, Word]] = []
    if graph is not None:
        for index in _some(np.flatnonzero(graph.recurrent)):
            state = graph.states[index]
            drawn += [(state, word) for word in sampler(graph, state, rng, 20)]
    elif isinstance(environment, Invertible) and not is_random(environment):
        for state in some_starts(environment):
            drawn += [
                (state, w) for w in itertools.islice(loops_by_inverse(environment, state, rng), 10)
            ]
    for state, word in sorted(drawn, key=lambda pair: len(pair[1])):
        there = end(environment, state, word)
        if there != state:
            what = f"a generated loop word leads from {state!r} to {there!r}."
            raise BrokenLaw("E10", environment, state, word, what)
    return len(drawn)


def e11_the_generator_reaches_everything(
    environment: Environment, sampler: Sampler = state_loops
) -> int:
    """E11: over all recurrent states, the generated words take every edge of the recurrent part.

    Edges that no loop of at most `LENGTH` letters takes are left aside.
    """
    graph = finite(environment)
    if graph is None:
        return 0
    rng = np.random.default_rng(0)
    inside = np.flatnonzero(graph.recurrent)
    taken: set[tuple[int, int]] = set()
    wanted: set[tuple[int, int]] = set()
    for index in _some(inside):
        home = graph.distances(np.arange(len(graph.states)) == index)
        near = np.flatnonzero((home[graph.after[index]] >= 0) & (home[graph.after[index]] < LENGTH))
        wanted |= {(int(index), int(action)) for action in near}
        for word in sampler(graph, graph.states[index], rng, 120):
            here = int(index)
            for letter in word:
                taken.add((here, letter))
                here = int(graph.after[here, letter])
    for index, action in sorted(wanted - taken):
        start, word = graph.access(index)
        what = f"no generated word takes {environment.actions[action]} at {graph.states[index]!r}."
        broken("E11", environment, Reached(graph.states[index], start, word), (action,), what)
    return len(wanted)


def e12_no_word_from_a_transient_state(
    environment: Environment, sampler: Sampler = state_loops
) -> int:
    """E12: for a state that words leave for good, the generator raises WordError."""
    graph = finite(environment)
    if graph is None:
        return 0
    transient = _some(np.flatnonzero(~graph.recurrent))
    for index in transient:
        try:
            words = sampler(graph, graph.states[index], np.random.default_rng(0), 20)
        except WordError:
            continue
        start, word = graph.access(index)
        at = Reached(graph.states[index], start, word)
        given = min(words, key=len, default=())
        broken("E12", environment, at, given, f"{at.state!r} is transient, and words came from it.")
    return len(transient)


def e13_every_length_is_generated(environment: Environment, sampler: Sampler = state_loops) -> int:
    """E13: the words have every length up to `LENGTH` that a loop can have, and where loops without
    back-tracking are as short as that, some of the words are such."""
    graph = finite(environment)
    if graph is None:
        return 0
    count = 0
    for index in _some(np.flatnonzero(graph.recurrent), 6):
        state = graph.states[index]
        words = sampler(graph, state, np.random.default_rng(0), 400)
        possible = _lengths(graph, int(index))
        missing = sorted(possible - {len(word) for word in words})
        at = Reached(state, *graph.access(int(index)))
        if missing:
            what = f"loops of length {missing[0]} start at {state!r}, and none was generated."
            broken("E13", environment, at, (), what)
        round_ = _reduced_loop(graph, int(index))
        if (
            round_
            and len(round_) <= LENGTH
            and all(_backtracks(graph, int(index), w) for w in words)
        ):
            what = f"every generated word merely goes back; {spell(environment, round_)} does not."
            broken("E13", environment, at, round_, what)
        count += len(possible)
    return count


def e14_reduced_loops_need_a_cycle(
    environment: Environment, rank: Callable[[Transitions], int] = cycle_rank
) -> int:
    """E14: loops without back-tracking exist if and only if the cycle rank is positive.

    Of the moves that change the state, between recurrent states.
    """
    graph = finite(environment)
    if graph is None:
        return 0
    inside = np.flatnonzero(graph.recurrent)
    heads = [int(inside[graph.component[inside] == c][0]) for c in set(graph.component[inside])]
    loops = [(head, loop) for head in heads if (loop := _reduced_loop(graph, head))]
    found = rank(graph)
    if (found > 0) != bool(loops):
        head, loop = min(loops, key=lambda pair: len(pair[1])) if loops else (heads[0], ())
        what = f"the cycle rank is {found}, and the loops without back-tracking are " + (
            "not none." if loops else "none."
        )
        broken("E14", environment, Reached(0, *graph.access(head)), loop, what)
    return len(heads)


def e16_vacuity_is_reported(
    environment: Environment, varies: Callable[[Transitions], Pair | None] = frame_varies
) -> int:
    """E16: "vacuous here" is said if and only if the frame is a function of the place."""
    graph = finite(environment)
    if graph is None:
        return 0
    frames: dict[tuple[int, ...], tuple[int, bytes]] = {}
    differing = None
    for index, state in enumerate(graph.states):
        environment.restore(state)
        look = np.asarray(environment.frame()).tobytes()
        other, before = frames.setdefault(tuple(environment.place(state)), (index, look))
        if before != look:
            differing = (other, index)
            break
    if (varies(graph) is not None) != (differing is not None):
        index = differing[1] if differing else 0
        what = "frames at one place differ, and that is called vacuous."
        if differing is None:
            what = "the frame is a function of the place, and that is not called vacuous."
        broken("E16", environment, Reached(0, *graph.access(index)), (), what)
    return len(graph.states)


def e17_names_do_not_matter(
    environment: Environment, find: Callable[[Environment], Transitions] = explore
) -> int:
    """E17: renaming states and actions changes nothing but names."""
    if finite(environment) is None:
        return 0
    order = tuple(reversed(range(len(environment.actions))))
    graph, other = find(environment), find(Renamed(environment, order))
    match = {state: index for index, state in enumerate(other.states)}
    to = np.array([match.get(("renamed", state), -1) for state in graph.states])
    same = len(graph.states) == len(other.states) and bool((to >= 0).all())
    if same:
        for name, one, two in [
            ("where actions lead", to[graph.after], other.after[to][:, list(order)]),
            ("which states are recurrent", graph.recurrent, other.recurrent[to]),
            ("which states are at one place", *_classes(graph.place, other.place[to])),
            ("which states look alike", *_classes(graph.view, other.view[to])),
            ("what can reach what", *_classes(graph.component, other.component[to])),
        ]:
            if one.shape == two.shape and (one == two).all():
                continue
            index = int(np.argwhere(one != two)[0][0]) if one.shape == two.shape else 0
            what = f"under other names, {name} is different."
            broken("E17", environment, Reached(0, *graph.access(index)), (), what)
    else:
        what = f"there are {len(graph.states)} states, and {len(other.states)} under other names."
        raise BrokenLaw("E17", environment, graph.states[0], (), what)
    return len(graph.states)


def _some(indices: np.ndarray, most: int = 40) -> np.ndarray:
    """At most so many of them, evenly."""
    return indices[np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(int)]


def _lengths(graph: Transitions, index: int) -> set[int]:
    """The lengths of at most `LENGTH` that a state loop can have, by following sets of states."""
    here, found = {index}, set()
    for length in range(1, LENGTH + 1):
        here = {int(state) for state in np.unique(graph.after[list(here)])}
        found |= {length} if index in here else set()
    return found


def _reduced_loop(graph: Transitions, index: int) -> Word | None:
    """A shortest loop of moves none of which undoes the one before; None without one."""
    queue: list[tuple[int, int, Word]] = [(-1, index, ())]
    seen = set()
    for before, here, word in queue:
        for action, there in enumerate(graph.after[here].tolist()):
            if there in (here, before):
                continue
            if there == index:
                return (*word, action)
            if (here, there) not in seen:
                seen.add((here, there))
                queue.append((here, there, (*word, action)))
    return None


def _backtracks(graph: Transitions, index: int, word: Word) -> bool:
    """Whether a word stays where it is in some step, or undoes the step before."""
    passed = [index]
    for letter in word:
        passed.append(int(graph.after[passed[-1], letter]))
    still = any(one == other for one, other in itertools.pairwise(passed))
    return still or any(one == other for one, other in zip(passed, passed[2:], strict=False))


def _classes(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two labellings, each numbered in the order of first occurrence, so that equal partitions are
    equal arrays."""
    return tuple(  # type: ignore[return-value]
        np.array([numbers.setdefault(label, len(numbers)) for label in labels.tolist()])
        for labels in (one, other)
        for numbers in ({},)
    )
