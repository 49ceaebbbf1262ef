"""What a finite environment's place map is: whether frames tell it apart, and whether actions
respect it."""

from typing import NamedTuple

import numpy as np

from .transitions import Transitions
from .word import Word


class Pair(NamedTuple):
    """Two states (indices) at one place, and a word after which a difference shows."""

    first: int
    second: int
    word: Word


def frame_varies(transitions: Transitions) -> Pair | None:
    """Two states at one place with different frames; None where the frame is a function of place.

    Where it is one, any encoder of single frames is invariant at every place, whatever it has
    learnt: a test of that says nothing ("vacuous here").
    """
    return _split(transitions, transitions.view, ())


def place_aliased(transitions: Transitions) -> tuple[int, int] | None:
    """Two states (indices) at different places with equal frames, which no encoder of single frames
    can tell apart; None without such."""
    first: dict[int, int] = {}
    for index, (view, place) in enumerate(zip(transitions.view, transitions.place, strict=True)):
        other = first.setdefault(int(view), index)
        if transitions.place[other] != place:
            return other, index
    return None


def place_splits(transitions: Transitions) -> Pair | None:
    """Two states at one place that one action leads to different places; None for a congruence.

    Where place is a congruence, a word leads from place to place, whatever the state: a place loop
    may then stand in front of any word, and place loops concatenate.
    """
    for action in range(transitions.after.shape[1]):
        found = _split(transitions, transitions.place[transitions.after[:, action]], (action,))
        if found:
            return found
    return None


def cycle_rank(transitions: Transitions) -> int:
    """How many moves of the recurrent part are needed for no place but for loops: E - V + C.

    An edge joins two recurrent states that an action leads between, in either direction. The rank
    is 0 where every loop merely goes back the way it came.
    """
    inside = np.flatnonzero(transitions.recurrent)
    after = transitions.after[inside]
    pairs = np.stack([np.repeat(inside, after.shape[1]), after.ravel()], axis=1)
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    parts = len(np.unique(transitions.component[inside]))
    return len(pairs) - len(inside) + parts


def _split(transitions: Transitions, label: np.ndarray, word: Word) -> Pair | None:
    """The first two states at one place whose labels, (S,) int, differ."""
    first: dict[int, int] = {}
    for index, place in enumerate(transitions.place.tolist()):
        other = first.setdefault(place, index)
        if label[other] != label[index]:
            return Pair(other, index, word)
    return None
