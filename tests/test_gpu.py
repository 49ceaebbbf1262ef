"""What only a GPU shows: the same numbers there, and a trainer that stays on its device."""

import numpy as np
import pytest

import latentroles as lr
from latentroles import plugins
from latentroles_specs.hzp import hzp

pytestmark = pytest.mark.gpu

BATCH = {
    "x": np.random.default_rng(0).integers(0, 256, (2, 6, 3, 8, 8), dtype=np.uint8),
    "a": np.random.default_rng(1).integers(0, 3, (2, 5)),
    "pose": np.random.default_rng(2).random((2, 6, 4), dtype=np.float32),
}


def has_gpu(backend: str) -> bool:
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    import jax

    return any(d.platform == "gpu" for d in jax.devices())


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_training_on_the_gpu_gives_the_losses_of_the_cpu(backend):
    if not has_gpu(backend):
        pytest.skip(f"{backend} sees no CUDA device here")
    spec = hzp(frame=(3, 8, 8), dim=6, horizon=3)
    losses = {}
    for device in ("cpu", "cuda"):
        model = lr.compile(spec, backend=backend, device=device)
        trainer = plugins.backend(backend).trainer(model, {"default": lr.adamw(1e-3)}, None, 0)
        losses[device] = [trainer.step(BATCH, step) for step in range(3)]
    for cpu, gpu in zip(losses["cpu"], losses["cuda"], strict=True):
        for name, value in cpu.items():
            # Loose: a GPU rounds matrix products to TF32.
            assert gpu[name] == pytest.approx(value, rel=2e-2, abs=2e-3), name
