"""What keeps the embeddings of `jepa` from collapsing, and what its prediction loss says then.

Each cell trains an mlp encoder of width 32 on transitions of FourRooms frames, averaged down to
8 x 8. Embeddings are judged on episodes that were held out: effective rank and deviation per
dimension; the prediction loss, and the same divided by the variance of its target; the part of the
pixels' variance that a linear map of the embedding gives, whatever its scale. The gradient of the
prediction in the online encoder is that of the trained model.
"""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from study import ROOT, Study, main

import latentroles as lr
from latentroles import plugins
from latentroles.data import Trajectories, Windows, collect_or_reuse
from latentroles.train.collapse import spread
from latentroles_specs.jepa import REGULARISERS, jepa

SETTINGS = {
    **{f"none, {regulariser}": ("none", regulariser) for regulariser in REGULARISERS},
    **{f"{mode}, {r}": (mode, r) for mode in ("vjepa2", "default") for r in ("vicreg", "none")},
}
SIDE, DIM = 8, 32  # pixels of a frame, width of an embedding
STEPS = 600
WINDOWS = {"frames": 2, "batch": 64, "columns": {"x": "frames", "a": "actions"}}


@cache
def episodes() -> tuple[Trajectories, Trajectories]:
    """Those to train on and those held out, of the file that `latentroles train jepa` collects."""
    recipe = jepa.recipe
    path = ROOT / f"data/{recipe.environment}-{recipe.episodes}x{recipe.episode_steps}.h5"
    path.parent.mkdir(exist_ok=True)
    environment = plugins.environment(recipe.environment)()
    counts = {"episodes": recipe.episodes, "steps": recipe.episode_steps}
    collected = collect_or_reuse(environment, path, **counts)
    count, channels, height, width = collected.frames.shape
    blocks = collected.frames.reshape(count, channels, SIDE, height // SIDE, SIDE, width // SIDE)
    small = blocks.mean((3, 5), dtype=np.float32) / 255.0
    return replace(collected, frames=small).split(recipe.validation)


def declared(mode: str, regulariser: str) -> lr.Spec:
    sizes = {"hidden": (128,), "latent_dim": DIM}
    if regulariser == "sigreg":
        sizes["sigreg_slices"] = 128
    spec = jepa((3, SIDE, SIDE), mode=mode, regulariser=regulariser, encoder="mlp", **sizes)
    del spec.phases["decode"]  # a linear map is quicker to fit than the state decoder, and exact
    spec.pictures.clear()
    return spec


def measure(setting: str, backend: str, seed: int) -> dict[str, float]:
    mode, regulariser = SETTINGS[setting]
    train, held_out = episodes()
    with tempfile.TemporaryDirectory() as folder:
        trained = lr.train(
            declared(mode, regulariser),
            train,
            backend=backend,
            steps=STEPS,
            out=Path(folder) / "run",
            optimisers=lr.adam(1e-3),
            validation=held_out,
            seed=seed,
            log_every=100,
            checkpoint_every=STEPS,
            display=False,
            **WINDOWS,
        )
    fitted, judged = (
        Windows(part, **{**WINDOWS, "batch": 1024}).batch(0) for part in (train, held_out)
    )
    z, z_new = (
        np.array(trained.model.encode(b["x"], "z").tolist())[:, 0] for b in (fitted, judged)
    )
    found = spread(z_new)
    return {
        "rank": found.rank,
        "std": found.std,
        "prediction": trained.validation["prediction"],
        "by_variance": trained.measures["prediction_by_variance"],
        "pixels": linear_r2(z, fitted["x"][:, 0], z_new, judged["x"][:, 0]),
        "gradient": prediction_gradient(trained.model, mode, backend, judged),
        "warned": float(any("latent z" in note for note in trained.notes)),
    }


def linear_r2(z: np.ndarray, x: np.ndarray, z_new: np.ndarray, x_new: np.ndarray) -> float:
    """R2 of the frames `x_new` by the affine map of `z_new` that fits `x` and `z` best."""
    x, x_new = (frames.reshape(len(frames), -1).astype(np.float64) for frames in (x, x_new))
    z, z_new = (np.c_[e, np.ones(len(e))] for e in (z, z_new))
    guessed = z_new @ np.linalg.lstsq(z, x)[0]
    return 1.0 - np.square(x_new - guessed).sum() / np.square(x_new - x_new.mean(0)).sum()


def prediction_gradient(model, mode: str, backend: str, batch: dict[str, np.ndarray]) -> float:
    """The norm of the gradient of the prediction alone in the online encoder."""
    alone = lr.compile(declared(mode, "none"), backend=backend)
    alone = lr.load_weights(alone, lr.weights(model))
    found = lr.gradients(alone, alone.inputs(batch), alone.noise(0, like=batch))["encoder"]
    return float(np.sqrt(sum(np.square(np.asarray(g, float)).sum() for g in found.values())))


JEPA = Study(
    name="jepa",
    page="docs/systems/jepa.md",
    settings=tuple(SETTINGS),
    columns={
        "rank": f"effective rank of {DIM}",
        "std": "std per dimension",
        "prediction": "prediction loss",
        "by_variance": "by its variance",
        "pixels": "R2 of pixels, linear",
        "gradient": "its gradient in the encoder",
        "warned": "warned",
    },
    measure=measure,
)

if __name__ == "__main__":
    main(JEPA)
