"""B6-B10, B21 of the laws: what an optimiser step moves, and what it leaves alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
from latentroles import plugins
from latentroles.testing.laws import LAWS, Case, compiled
from latentroles.testing.laws.table import compared_by
from latentroles.testing.laws.training import batch_of, same_snapshots, trainer_of
from latentroles.testing.strategies import batch_for, programs
from latentroles_specs.hzp import hzp

seeds = st.integers(0, 3)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("law", [n for n, law in LAWS.items() if "training" in law.needs])
def test_training_random_specs_keeps(law, backend):
    if partner := compared_by(LAWS[law], backend):
        pytest.skip(f"{partner}'s turn compares them")
    LAWS[law].run(backend)


@given(programs(), seeds)
def test_states_and_losses_of_a_step_are_those_before_it(program, seed):
    case = Case.one_of(program, seed)
    if not case.reached:
        return
    trainer = trainer_of(case, "torch")
    for step in range(3):
        batch = batch_of(case, step)
        model = trainer.model
        noise = model.noise(step, batch, seed=trainer.seed)
        out = model(model.inputs(batch), noise, trainer.state, step)
        values = trainer.step(batch, step)
        assert list(values) == [*out.losses, "total"]
        for name, value in {**out.losses, "total": out.total}.items():
            assert values[name] == float(value.detach())
        for name, value in out.state.items():
            np.testing.assert_array_equal(trainer.state[name], value.detach())


def test_b9_ten_adamw_steps_on_hzp_are_the_same_on_both_backends():
    case = Case.of(hzp(frame=(3, 8, 8), dim=6, horizon=3))
    optimisers = {"default": lr.adamw(1e-2, weight_decay=1e-2, clip_norm=1.0)}
    ends = []
    for backend in ("torch", "jax"):
        trainer = plugins.backend(backend).trainer(
            compiled(case, backend), optimisers, None, seed=0
        )
        losses = [trainer.step(batch_for(case.spec, step), step) for step in range(10)]
        ends.append((losses, trainer.snapshot()))
    (torch_losses, torch), (jax_losses, jax) = ends
    for a, b in zip(torch_losses, jax_losses, strict=True):
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-7)
    same_snapshots(jax, torch, 1e-7)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_noise_follows_the_seed_of_the_trainer_and_the_step(backend):
    s = lr.Spec("noisy")
    x = s.observation("x", (2,))
    f = s.module("f", lr.nn.linear(2, 2))
    eps = s.noise("eps", (2,), axes=("batch", "time"))
    s.loss("l", lr.losses.mse(f(x + eps), x))
    case = Case.of(s)

    def losses(seed: int) -> list[float]:
        trainer = trainer_of(case, backend, seed=seed)
        return [trainer.step(case.batch, step)["l"] for step in (0, 0, 1)]

    assert losses(1) == losses(1)
    assert losses(1)[0] != losses(2)[0]
