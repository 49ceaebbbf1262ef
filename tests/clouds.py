"""Latent clouds whose scores are known: visits drawn from small integers, and embeddings."""

from math import comb

import numpy as np

from latentroles.evaluate.visits import Visits, past_actions


def visits(seed, *, places=6, episodes=8, steps=30, nuisances=3, actions=3, **arguments):
    """Visits to random places with a random nuisance `light` and random actions."""
    rng = np.random.default_rng(seed)
    count = episodes * steps
    offsets = np.arange(0, count + 1, steps)
    taken = rng.integers(actions, size=count - episodes)
    columns = {
        "place": rng.integers(places, size=count),
        "episode": np.repeat(np.arange(episodes), steps),
        "time": np.tile(np.arange(steps), episodes),
        "nuisance": {"light": rng.integers(nuisances, size=count)},
        "actions": past_actions(taken, offsets, 3),
    }
    return Visits(**{**columns, **arguments})


def cloud(known, seed, *, dimensions=5, between=1.0, within=0.5, light=0.0):
    """(N, D): a random vector for each place, one for each light, and Gaussian noise."""
    rng = np.random.default_rng(seed)
    place = rng.standard_normal((known.count, dimensions))
    lights = rng.standard_normal((int(known.nuisance["light"].max()) + 1, dimensions))
    z = between * place[known.label] + light * lights[known.nuisance["light"]]
    return z + within * rng.standard_normal(z.shape)


def all_pairs(known):
    """(N, N) bool, twice: which pairs are revisits, and which are apart, from the definition."""
    same = known.label[:, None] == known.label[None, :]
    other = known.episode[:, None] != known.episode[None, :]
    late = np.abs(known.time[:, None] - known.time[None, :]) > known.tau
    apart = ~same
    if known.distance is not None:
        apart &= known.distance[known.label][:, known.label] > known.tolerance
    if known.view is not None:
        apart &= known.view[:, None] != known.view[None, :]
    return same & (other | late), apart


def different(known):
    """(N, N) bool: other episodes, and other values of every nuisance."""
    found = known.episode[:, None] != known.episode[None, :]
    for values in known.nuisance.values():
        found &= values[:, None] != values[None, :]
    return found


def squares(z):
    """(N, N): squared distances, one difference at a time."""
    return np.sum((z[:, None] - z[None, :]) ** 2, axis=-1)


def recall(distances, right, wrong, k):
    """R@k from the definition, ties in any order; queries without either are left out."""
    scores = []
    for query in np.flatnonzero(right.any(axis=1) & wrong.any(axis=1)):
        there = np.flatnonzero(right[query] | wrong[query])
        far = distances[query, there]
        last = np.sort(far)[min(k, len(far)) - 1]
        before, level = there[far < last - 1e-9], there[np.abs(far - last) <= 1e-9]
        if right[query, before].any():
            scores.append(1.0)
            continue
        left = min(k, len(far)) - len(before)
        wrong_ones = int(wrong[query, level].sum())
        scores.append(1 - comb(wrong_ones, left) / comb(len(level), left))
    return float(np.mean(scores))
