"""How far validation lags behind training, with the dynamics apart from the encoder or not.

Few training episodes, so that overfitting can show: seed k trains on four episodes of its own, and
all are judged on the same sixteen. `isolated` is the note's refactoring, `shared` opens the gate,
`shared, pixels` also trains the dynamics by the pixels of the next frame: the note's first version.
"""

import tempfile
from functools import cache
from typing import Any

import numpy as np
from study import Study, main

import latentroles as lr
from latentroles import plugins
from latentroles.data import Trajectories, Windows, collect
from latentroles_specs.rssm import rssm

SETTINGS = {
    "isolated": {},
    "shared": {"isolated": False},
    "shared, pixels": {"isolated": False, "one_step": 1.0},
}
TRAINED_ON, HELD_OUT, ACTIONS = 4, 16, 64  # episodes of a seed, episodes of all, actions in each
STEPS, JUDGED = 400, 24  # of the optimiser; batches that the end is judged on
WINDOWS = {"frames": 8, "batch": 8, "columns": {"x": "frames", "a": "actions"}}


def declared(setting: str) -> lr.Spec:
    spec = rssm(**SETTINGS[setting])
    if "one_step" in spec.losses:
        reason = "the first version, which the note mends"
        spec.allow("rendered-prediction", loss="one_step", latent="z", because=reason)
    return spec


@cache
def collected() -> Trajectories:
    with tempfile.TemporaryDirectory() as folder:
        return collect(
            plugins.environment("minigrid-fourrooms")(),
            f"{folder}/all.h5",
            episodes=HELD_OUT + RSSM.seeds * TRAINED_ON,
            steps=ACTIONS,
        )


def measure(setting: str, backend: str, seed: int) -> dict[str, float]:
    first = HELD_OUT + TRAINED_ON * seed
    train = collected().subset(range(first, first + TRAINED_ON))
    held_out = collected().subset(range(HELD_OUT))
    with tempfile.TemporaryDirectory() as folder:
        trained = lr.train(
            declared(setting),
            train,
            backend=backend,
            steps=STEPS,
            out=f"{folder}/run",
            optimisers=rssm.recipe.optimisers,
            groups=rssm.recipe.groups,
            seed=seed,
            log_every=STEPS,
            display=False,
            **WINDOWS,
        )
    # Gates change no value: one model judges all of them, with the one-step error as a loss.
    judge = lr.compile(rssm(one_step=1.0), backend=backend)
    judge = lr.load_weights(judge, lr.weights(trained.model))
    trainer = plugins.backend(backend).trainer(judge, {"default": lr.adam(1e-3)}, None, seed)
    seen, new = mean_losses(trainer, train), mean_losses(trainer, held_out)
    return {
        "rec": seen["rec"],
        "rec_gap": new["rec"] - seen["rec"],
        "rssm": seen["rssm"],
        "rssm_gap": new["rssm"] - seen["rssm"],
        "one_step": seen["one_step"],
        "one_step_new": new["one_step"],
    }


def mean_losses(trainer: Any, episodes: Trajectories) -> dict[str, float]:
    windows = Windows(episodes, seed=1, **WINDOWS)
    found = [trainer.evaluate(windows.batch(i), 0, draw=i) for i in range(JUDGED)]
    return {name: float(np.mean([f[name] for f in found])) for name in found[0]}


RSSM = Study(
    name="rssm",
    page="docs/systems/rssm.md",
    settings=tuple(SETTINGS),
    columns={
        "rec": "rec, train",
        "rec_gap": "held out - train",
        "rssm": "rssm, train",
        "rssm_gap": "held out - train",
        "one_step": "one-step, train",
        "one_step_new": "one-step, held out",
    },
    measure=measure,
)

if __name__ == "__main__":
    main(RSSM)
