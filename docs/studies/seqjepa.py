"""seq-JEPA: what z and z_agg come to hold, with and without actions, teacher and coding rate.

Digits that turn by quarters, split by picture. Each cell trains 300 steps and then fits probes of
scikit-learn on the frozen latents of training pictures; all numbers are of pictures held out.
"""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from study import Study, main

import latentroles as lr
from latentroles import plugins
from latentroles.data import Trajectories, Windows, collect
from latentroles.train.collapse import spread
from latentroles_specs.seqjepa import seqjepa

STEPS, BATCH = 300, 32
TRAIN_WINDOWS, HELD_WINDOWS = 1200, 800
COLUMNS = {"x": "frames", "a": "actions", "category": "category"}
SETTINGS: dict[str, dict[str, Any]] = {
    "untrained": {},
    "EMA, rate of z (default)": {},
    "the same, no actions": {"action_conditioning": False},
    "teacherless, rate of z": {"teacher": "none"},
    "teacherless, rate of z_agg": {"teacher": "none", "coding_rate_z": 0.0, "coding_rate": 0.01},
    "EMA alone": {"coding_rate_z": 0.0},
    "teacherless alone": {"teacher": "none", "coding_rate_z": 0.0},
}


def measure(setting: str, backend: str, seed: int) -> dict[str, float]:
    """Trains, and reads what was learned on the torch model with the same weights."""
    train, held = pictures()
    spec = seqjepa(**SETTINGS[setting])
    model = lr.compile(spec, backend="torch", seed=seed)
    if setting != "untrained":
        with tempfile.TemporaryDirectory() as folder:
            result = lr.train(
                spec,
                train,
                backend=backend,
                steps=STEPS,
                out=Path(folder) / "run",
                optimisers=lr.adamw(1e-3),
                seed=seed,
                frames=5,
                batch=BATCH,
                columns=COLUMNS,
                display=False,
            )
        lr.load_weights(model, lr.weights(result.model))
    return read(latents(model, train, TRAIN_WINDOWS), latents(model, held, HELD_WINDOWS))


@cache
def pictures() -> tuple[Trajectories, Trajectories]:
    """Trajectories for training, and others of pictures that those do not show."""
    with tempfile.TemporaryDirectory() as folder:
        environment = plugins.environment("rotations-digits")()
        found = collect(environment, Path(folder) / "digits.h5", episodes=1600, steps=8)
    return found.split(0.2)


def latents(model: Any, data: Trajectories, count: int) -> dict[str, np.ndarray]:
    """z (N, T, dim), z_agg (N, dim), the actions (N, T - 1) and what is shown (N,)."""
    import torch

    batch = Windows(data, frames=5, batch=count, columns=COLUMNS, seed=1).batch(0)
    with torch.no_grad():
        found = model(model.inputs(batch)).latents
    codes = {name: found[name].numpy().astype(np.float64) for name in ("z", "z_agg")}
    return {**codes, "action": batch["a"], "category": batch["category"][:, 0]}


def read(train: dict[str, np.ndarray], held: dict[str, np.ndarray]) -> dict[str, float]:
    """What probes of the training pictures' latents say of those held out, and their spread."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import r2_score
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def accuracy(features: Any) -> float:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        probe.fit(features(train), train["category"])
        return float(probe.score(features(held), held["category"]))

    def r2(features: Any, action: Any) -> float:
        network = MLPRegressor(hidden_layer_sizes=(64,), early_stopping=True, max_iter=60)
        probe = make_pipeline(StandardScaler(), network.set_params(alpha=1e-3, random_state=0))
        probe.fit(features(train), action(train))
        return float(r2_score(action(held), probe.predict(features(held))))

    def one_hot(d: dict[str, np.ndarray]) -> np.ndarray:
        return np.eye(3)[d["action"][:, :3]]  # the actions that z_agg was told

    def pairs(d: dict[str, np.ndarray]) -> np.ndarray:
        z = d["z"]
        return np.concatenate([z[:, :3], z[:, 1:4]], -1).reshape(-1, 2 * z.shape[-1])

    flat = held["z"].reshape(-1, held["z"].shape[-1])
    return {
        "picture_z": accuracy(lambda d: d["z"][:, 0]),
        "picture_agg": accuracy(lambda d: d["z_agg"]),
        "action_z": r2(pairs, lambda d: one_hot(d).reshape(-1, 3)),
        "action_agg": r2(lambda d: d["z_agg"], lambda d: one_hot(d).reshape(-1, 9)),
        "rank_z": spread(flat).rank,
        "rank_agg": spread(held["z_agg"]).rank,
        "cosine_z": mean_cosine(flat),
        "cosine_agg": mean_cosine(held["z_agg"]),
    }


def mean_cosine(x: np.ndarray) -> float:
    """The mean cosine of two samples of (N, dim)."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return float(np.square(unit.mean(0)).sum())


SEQJEPA = Study(
    name="seqjepa",
    page="docs/systems/seqjepa.md",
    settings=tuple(SETTINGS),
    columns={
        "picture_z": "accuracy z_t",
        "picture_agg": "accuracy z_agg",
        "action_z": "action R2, z pair",
        "action_agg": "action R2, z_agg",
        "rank_z": "rank z",
        "rank_agg": "rank z_agg",
        "cosine_z": "mean cosine z",
        "cosine_agg": "mean cosine z_agg",
    },
    measure=measure,
)

if __name__ == "__main__":
    main(SEQJEPA)
