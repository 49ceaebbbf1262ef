"""Encoders whose scores are known beforehand: what a metric is read beside.

Each gives an embedding of the same visits, (N, D). Two more controls are networks, which
the caller gives: the same encoder untrained, and one trained on the regulariser alone.
"""

from __future__ import annotations

import numpy as np

from ..errors import DataError, user_line
from .narrow import numbered
from .spreads import group_means
from .visits import Visits

MOST_FRAMES = 1500  # that differ: of more, distances are kept within about 10 %


def oracle(visits: Visits) -> np.ndarray:
    """(N, P): the place, one-hot: the best there is."""
    return np.eye(visits.count)[visits.label]


def constant(visits: Visits) -> np.ndarray:
    """(N, 1): nothing: invariant, and useless."""
    return np.ones((len(visits), 1))


def time_index(visits: Visits) -> np.ndarray:
    """(N, 1): the step of the episode: a memory of how long, and nothing that is seen."""
    return np.asarray(visits.time, float)[:, None]


def shuffled(z: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, D): the encoder's own vectors, each at another visit: chance."""
    return z[np.random.default_rng(seed).permutation(len(z))]


def raw_frames(frames: np.ndarray) -> np.ndarray:
    """(N, D): the frames themselves, flattened, as they are stored."""
    return np.asarray(frames).reshape(len(frames), -1)


def views_of(frames: np.ndarray) -> np.ndarray:
    """(N,): a number for each frame; identical frames share one."""
    return numbered(raw_frames(frames))[0]


def dead_reckoned(visits: Visits) -> np.ndarray:
    """(N, 4): where the agent would be if every action did what it mostly does. (x, y, cos, sin).

    The usual move of an action, in the frame of the agent, is read off the poses: the commonest
    one that is not standing still. An episode is reckoned from (0, 0, 0): nothing is seen, and
    walls are run through.

    Raises:
        DataError: the visits have no poses or no actions.
    """
    if visits.pose is None or visits.actions is None or not visits.actions.shape[1]:
        raise DataError(f"{user_line()}dead reckoning needs `pose` and `actions` of the visits.")
    order = np.lexsort((visits.time, visits.episode))
    episode, pose = visits.episode[order], np.asarray(visits.pose[order], float)
    action = visits.actions[order, 0]
    begins = np.r_[True, episode[1:] != episode[:-1]] | (action < 0)
    moves = _own_moves(pose)
    usual = {int(a): _usual(moves[(action[1:] == a) & ~begins[1:]]) for a in np.unique(action)}
    found = np.zeros((len(visits), 3))
    for row in range(1, len(found)):
        if begins[row]:
            continue
        x, y, heading = found[row - 1]
        ahead, left, turn = usual[int(action[row])]
        cos, sin = np.cos(heading), np.sin(heading)
        found[row] = (x + cos * ahead - sin * left, y + sin * ahead + cos * left, heading + turn)
    reckoned = np.empty((len(visits), 4))
    heading = found[:, 2]
    reckoned[order] = np.stack([found[:, 0], found[:, 1], np.cos(heading), np.sin(heading)], axis=1)
    return reckoned


def reckoning(visits: Visits, z: np.ndarray) -> float:
    """How much of z's variation within places its past explains: R^2, 0 to 1.

    A least-squares fit of z on what is dead-reckoned and on the time, both within places, judged on
    episodes that it was not fitted to. An encoder that integrates its actions has a large one.
    """
    past = [time_index(visits)]
    if visits.pose is not None and visits.actions is not None and visits.actions.shape[1]:
        past.append(dead_reckoned(visits))
    label = visits.label
    x = np.concatenate(past, axis=1)
    x, y = x - group_means(x, label)[label], z - group_means(z, label)[label]
    total = float(np.sum((z - z.mean(axis=0)) ** 2))
    episodes = np.unique(visits.episode)
    if len(episodes) < 2:
        return float("nan")
    if float(np.sum(y**2)) <= 1e-9 * total:
        return 0.0
    held = np.isin(visits.episode, episodes[::2])
    left = 0.0
    for test in (held, ~held):
        weights, *_ = np.linalg.lstsq(x[~test], y[~test], rcond=None)
        left += float(np.sum((y[test] - x[test] @ weights) ** 2))
    return max(0.0, 1.0 - left / float(np.sum(y**2)))


def _own_moves(pose: np.ndarray) -> np.ndarray:
    """(N - 1, 3): the way from each pose to the next: ahead, to the left, and the turn."""
    dx, dy, turn = np.diff(pose, axis=0).T
    cos, sin = np.cos(pose[:-1, 2]), np.sin(pose[:-1, 2])
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx, turn], axis=1)


def _usual(moves: np.ndarray) -> np.ndarray:
    """(3,): the commonest of some moves that is not standing still."""
    rounded = np.round(moves, 3)
    moved = rounded[np.abs(rounded).max(axis=1, initial=0.0) > 0]
    if not len(moved):
        return np.zeros(3)
    kinds, counts = np.unique(moved, axis=0, return_counts=True)
    return kinds[counts.argmax()]
