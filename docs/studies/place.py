"""What objectives do to the z of `place`: does it return when the agent does, and what it holds.

Each cell trains `place` with one objective on FourRooms, allowed with a reason where it must be, of
weight 1 or 25, beside the descriptor's losses with their weights of 25, 25 and 1. So that it takes
seconds, frames are averaged down to 8 x 8; a view differs from its frame by noise and brightness
alone. z is judged where it was not trained. LCR is the distance between visits to one place,
relative to that between places (0 is perfect, about 1 is chance): on loops of FourRooms drawn anew,
whose visits differ in heading, and on walks of Dynamic-Obstacles, whose visits differ in where
balls are. On episodes of FourRooms held out: effective rank, deviation per dimension, the length of
a step |z' - z| relative to that between any two frames, and how often a linear map of z' - z,
fitted on the training episodes, tells left from right among the steps that turn (chance is a half).
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from study import ROOT, Study, main

import latentroles as lr
from latentroles.data import Trajectories, collect_or_reuse
from latentroles.evaluate.encoders import latent_encoder
from latentroles.testing import loop_report
from latentroles.train.collapse import spread
from latentroles.words.environment import Environment
from latentroles.words.minigrid import LEFT, RIGHT, dynamic_obstacles, four_rooms
from latentroles_specs.place import OBJECTIVES, place

HEAVY = 25.0  # as much as the losses of the descriptor weigh
SETTINGS: dict[str, dict[str, Any]] = {
    "not trained": {},
    "jepa_input_stopped": {},
    "jepa_regularised": {"objective": "jepa_regularised"},
    "inverse_dynamics_z": {"objective": "inverse_dynamics_z"},
    "temporal_adjacency_z": {"objective": "temporal_adjacency_z"},
    "rollout_z": {"objective": "rollout_z"},
    "jepa_regularised, all of 25": {
        "objective": "jepa_regularised",
        "into_encoder": 1.0,
        "jepa": HEAVY,
    },
    "inverse_dynamics_z of 25": {"objective": "inverse_dynamics_z", "weight": HEAVY},
    "temporal_adjacency_z of 25": {"objective": "temporal_adjacency_z", "weight": HEAVY},
    "rollout_z of 25": {"objective": "rollout_z", "weight": HEAVY},
}
SIDE, DIM = 8, 32  # pixels of a frame, width of z
STEPS = 300
AT_ONCE = 64  # frames that are encoded together: one shape, so that JAX compiles once

Encode = Callable[[np.ndarray], np.ndarray]


def averaged(frames: np.ndarray) -> np.ndarray:
    """Frames of bytes (n, C, H, W) as bytes (n, C, SIDE, SIDE)."""
    n, channels, height, width = frames.shape
    rows = frames.reshape(n, channels, SIDE, height // SIDE, width).mean(3)
    return rows.reshape(n, channels, SIDE, SIDE, width // SIDE).mean(-1).astype(np.uint8)


@cache
def episodes() -> tuple[Trajectories, Trajectories]:
    """Those to train on and those held out, of the file that `latentroles train place` collects."""
    recipe = place.recipe
    counts = {"episodes": recipe.episodes, "steps": recipe.episode_steps}
    path = ROOT / f"data/{recipe.environment}-{recipe.episodes}x{recipe.episode_steps}.h5"
    path.parent.mkdir(exist_ok=True)
    collected = collect_or_reuse(four_rooms(), path, **counts)
    return replace(collected, frames=averaged(collected.frames)).split(0.25)


def measure(setting: str, backend: str, seed: int) -> dict[str, float]:
    train, held_out = episodes()
    encode = encoder(setting, backend, seed)
    z = encode(held_out.frames)
    found = spread(z)
    return {
        "heading": lcr(encode, four_rooms(), "G2", seed),
        "balls": lcr(encode, dynamic_obstacles(), "G1", seed),
        "rank": found.rank,
        "std": found.std,
        "step": step_length(held_out, z),
        "turn": read_linearly(turns(train, encode), turns(held_out, encode)),
    }


def declared(setting: str) -> lr.Spec:
    chosen = SETTINGS[setting]
    if OBJECTIVES[chosen.get("objective", "jepa_input_stopped")]:
        chosen = {**chosen, "allow_because": "to measure what it does"}
    views = {"crop": 0, "noise": 0.02, "brightness": 0.1}
    return place(frame=(3, SIDE, SIDE), dim=DIM, **views, **chosen)


def encoder(setting: str, backend: str, seed: int) -> Encode:
    """Frames of bytes (n, C, SIDE, SIDE) -> z (n, DIM)."""
    if setting == "not trained":
        return encoding(lr.compile(declared(setting), backend=backend, seed=seed))
    recipe = place.recipe
    with tempfile.TemporaryDirectory() as folder:
        trained = lr.train(
            declared(setting),
            episodes()[0],
            backend=backend,
            steps=STEPS,
            out=Path(folder) / "run",
            optimisers=lr.adamw(3e-3, weight_decay=1e-4, clip_norm=10.0),
            columns=recipe.columns,
            frames=recipe.frames,
            batch=recipe.batch,
            seed=seed,
            log_every=STEPS,
            checkpoint_every=STEPS,
            display=False,
        )
    return encoding(trained.model)


def encoding(model: Any) -> Encode:
    at_once, _ = latent_encoder(model, "z")

    def encode(frames: np.ndarray) -> np.ndarray:
        missing = -len(frames) % AT_ONCE
        full = np.concatenate([frames, np.zeros((missing, *frames.shape[1:]), frames.dtype)])
        parts = [at_once(full[i : i + AT_ONCE]) for i in range(0, len(full), AT_ONCE)]
        return np.concatenate(parts)[: len(frames)]

    return encode


def lcr(encode: Encode, environment: Environment, grade: str, seed: int) -> float:
    report = loop_report(lambda frames: encode(averaged(frames)), environment, seed=seed)
    distance = report.grades[grade].distance
    return np.nan if distance is None else distance


def pairs(data: Trajectories) -> np.ndarray:
    """The frames that an action follows."""
    return np.concatenate([np.arange(e.start, e.stop - 1) for e in data.episodes])


def step_length(data: Trajectories, z: np.ndarray) -> float:
    """sqrt(E |z' - z|^2 / E |z_i - z_j|^2), i and j any two frames."""
    before = pairs(data)
    step = np.square(z[before + 1] - z[before]).sum(-1).mean()
    return float(np.sqrt(step / (2 * z.var(0).sum())))


def turns(data: Trajectories, encode: Encode) -> tuple[np.ndarray, np.ndarray]:
    """z' - z of the steps that turned, and the action."""
    z, actions = encode(data.frames), data.actions
    turned = (actions == LEFT) | (actions == RIGHT)
    before, actions = pairs(data)[turned], actions[turned]
    return z[before + 1] - z[before], actions


def read_linearly(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> float:
    """The share of test classes that a ridge regression of the training classes gets right."""
    (x, y), (x_test, y_test) = train, test
    mean, scale = x.mean(0), x.std()
    x, x_test = (np.c_[(v - mean) / scale, np.ones(len(v))] for v in (x, x_test))
    gram = x.T @ x + 1e-3 * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ np.eye(y.max() + 1)[y])
    return float(np.mean((x_test @ weights).argmax(1) == y_test))


PLACE = Study(
    name="place",
    page="docs/systems/place.md",
    settings=tuple(SETTINGS),
    columns={
        "heading": "LCR, headings",
        "balls": "LCR, balls",
        "rank": f"effective rank (of {DIM})",
        "std": "std per dimension",
        "step": "step",
        "turn": "turn read",
    },
    measure=measure,
)

if __name__ == "__main__":
    main(PLACE)
