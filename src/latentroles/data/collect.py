"""Collecting trajectories with a random exploring policy."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from latentroles.data.trajectories import Trajectories, replaceable, whole
from latentroles.errors import DataError
from latentroles.words.environment import Environment, Labelled

FORWARD = 0.8  # the share of steps that go forward where nothing is in the way

_POLICY = f"wander-{FORWARD}"
_Progress = Callable[[int, int], object]


def collect(
    environment: Environment,
    path: str | os.PathLike[str],
    *,
    episodes: int = 64,
    steps: int = 200,
    seed: int = 0,
    progress: _Progress | None = None,
) -> Trajectories:
    """Wanders through an environment, writes the trajectories to `path`, and returns them.

    The policy goes forward in a share `FORWARD` of its steps and else takes one of the other
    actions; after a step that changed nothing it takes one of the others. Where the environment has
    no action named "forward", actions are uniform. The same arguments give the same trajectories.

    Arguments:
        episodes: how many, each of `steps` actions and `steps` + 1 frames.
        progress: called as progress(done, episodes) after each episode.

    The labels hold the column `place` (N, k) int64, the environment's place of each frame, and what
    the environment's `labels` say where it is `Labelled`. Raises DataError for bad arguments
    (before the first step), for an environment whose frames or labels differ in shape, and where
    the file cannot be written; what was at `path` before is then unchanged.
    """
    recipe = _recipe(environment, episodes, steps, seed)
    target = replaceable(path)
    trajectories = _wander(environment, recipe, progress)
    trajectories.save(target)
    return trajectories


def collect_or_reuse(
    environment: Environment,
    path: str | os.PathLike[str],
    *,
    episodes: int = 64,
    steps: int = 200,
    seed: int = 0,
    progress: _Progress | None = None,
) -> Trajectories:
    """Opens the file at `path` if it holds exactly what `collect` would; collects if none is there.

    Raises DataError, and leaves the file alone, where it is damaged or was made with other
    arguments or from another environment; the message names each difference.
    """
    recipe = _recipe(environment, episodes, steps, seed)
    if not os.path.lexists(path):
        return collect(
            environment, path, episodes=episodes, steps=steps, seed=seed, progress=progress
        )
    trajectories = Trajectories.open(path)
    found = {
        "environment": trajectories.environment,
        "actions": list(trajectories.action_names),
        **{f"parameter {name}": value for name, value in trajectories.parameters.items()},
        **trajectories.collection,
    }
    wanted = {
        "environment": recipe["environment"],
        "actions": recipe["actions"],
        **{f"parameter {name}": value for name, value in recipe["parameters"].items()},
        **recipe["collection"],
    }
    differences = [
        f"{name} is {found.get(name)!r} in the file and {wanted.get(name)!r} was asked for"
        for name in dict.fromkeys([*wanted, *found])
        if found.get(name) != wanted.get(name)
    ]
    if differences:
        raise DataError(
            f"{os.fspath(path)}: this file holds other trajectories: {'; '.join(differences)}. The "
            "file is left as it is; delete it, pass another path, or ask for what it holds."
        )
    return trajectories


def _recipe(environment: Environment, episodes: int, steps: int, seed: int) -> dict[str, Any]:
    """What decides a collection, as JSON values. Raises DataError."""
    if not environment.actions:
        raise DataError(f"environment {environment.name!r}: it has at least one action; got none.")
    recipe = {
        "environment": environment.name,
        "parameters": dict(environment.parameters),
        "actions": list(environment.actions),
        "collection": {
            "episodes": whole("episodes", episodes, least=1),
            "steps": whole("steps", steps, least=1),
            "seed": whole("seed", seed, least=0),
            "policy": _POLICY,
        },
    }
    try:
        return json.loads(json.dumps(recipe, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"environment {environment.name!r}: its parameters are stored as JSON, and these "
            f"cannot be ({error}). Use numbers, strings, lists and dictionaries."
        ) from error


def _wander(
    environment: Environment, recipe: dict[str, Any], progress: _Progress | None
) -> Trajectories:
    """The trajectories that `recipe` decides."""
    episodes, steps, seed = (recipe["collection"][k] for k in ("episodes", "steps", "seed"))
    total = episodes * (steps + 1)
    environment.reset(0)
    first = environment.frame()
    try:
        frames = np.empty((total, *first.shape), first.dtype)
    except (MemoryError, ValueError) as error:
        raise DataError(
            f"{total} frames of shape {first.shape} do not fit in memory ({error}). "
            "Collect fewer episodes or steps."
        ) from error
    actions = np.empty(episodes * steps, np.int64)
    pose = np.empty((total, 3))
    places: list[tuple[int, ...]] = []
    told = environment.labels if isinstance(environment, Labelled) else lambda _: {}
    labels: list[Mapping[str, Any]] = []

    def record(state: Any) -> None:
        row, frame = len(places), environment.frame()
        if frame.shape != first.shape or frame.dtype != first.dtype:
            raise DataError(
                f"environment {environment.name!r}: all frames have one shape and dtype; got "
                f"{first.dtype} {first.shape}, then {frame.dtype} {frame.shape}."
            )
        frames[row] = frame
        pose[row] = environment.pose()
        places.append(environment.place(state))
        labels.append(told(state))

    for episode in range(episodes):
        rng = np.random.default_rng([seed, episode])
        state = environment.reset(int(rng.integers(2**31)))
        record(state)
        blocked = False
        for step in range(steps):
            action = choose(rng, environment.actions, blocked)
            actions[episode * steps + step] = action
            before = pose[len(places) - 1]
            state = environment.step(action)
            record(state)
            blocked = np.array_equal(pose[len(places) - 1], before)
        if progress is not None:
            progress(episode + 1, episodes)
    return Trajectories(
        frames=frames,
        actions=actions,
        pose=pose,
        offsets=np.arange(0, total + 1, steps + 1),
        environment=recipe["environment"],
        action_names=tuple(recipe["actions"]),
        parameters=recipe["parameters"],
        collection=recipe["collection"],
        labels={**_columns(environment, labels), "place": np.array(places, np.int64)},
    )


def _columns(environment: Environment, labels: list[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What an environment says of each frame, name by name."""
    names = set(labels[0])
    if "place" in names or any(set(found) != names for found in labels):
        odd = next((found for found in labels if set(found) != names), labels[0])
        raise DataError(
            f"environment {environment.name!r}: every state has the same labels, none of them "
            f"`place`; got {sorted(names)} and {sorted(odd)}. Fix: let `labels` return one set of "
            "names, and call what it says of places something else."
        )
    columns = {}
    for name in sorted(names):
        shapes = {np.shape(found[name]) for found in labels}
        if len(shapes) > 1:
            raise DataError(
                f"environment {environment.name!r}: the label {name!r} has one shape for every "
                f"state; got {' and '.join(map(str, sorted(shapes)))}. Fix: pad it to one shape."
            )
        columns[name] = np.array([found[name] for found in labels])
    return columns


def choose(rng: np.random.Generator, names: tuple[str, ...], blocked: bool) -> int:
    """Draws an action; see `collect`."""
    if "forward" not in names or len(names) == 1:
        return int(rng.integers(len(names)))
    forward = names.index("forward")
    if rng.random() < FORWARD and not blocked:
        return forward
    return int((forward + 1 + rng.integers(len(names) - 1)) % len(names))
