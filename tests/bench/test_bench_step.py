"""The compiled step of `hzp` beside the hand-written one and beside the masked reference.

At the size of the recipe: 16 windows of 12 frames, 3 x 56 x 56, dim 64.
"""

import time

import equinox as eqx
import jax
import numpy as np
import pytest

import latentroles as lr
from bench import handwritten_jax, handwritten_torch
from latentroles import plugins
from latentroles.plan.build import least_applications
from latentroles_specs.hzp import hzp

BACKENDS = ("torch", "jax")
FEW = 8  # rounds against the reference, which takes seconds


def batch() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    lead = (hzp.recipe.batch, hzp.recipe.frames)
    return {
        "x": random.integers(0, 256, (*lead, 3, 56, 56), dtype=np.uint8),
        "a": random.integers(0, 3, (lead[0], lead[1] - 1)),
        "pose": random.normal(size=(*lead, 4)).astype(np.float32),
    }


def gradient_functions(backend: str):
    """The forward and the backward pass of the compiled and of the hand-written model."""
    model = lr.compile(hzp(), backend=backend)
    inputs = model.inputs(batch())
    if backend == "torch":
        byhand = handwritten_torch.HandwrittenHzp()
        byhand.load(lr.weights(model))

        def compiled():
            total = model(inputs).total
            total.backward()
            model.zero_grad()
            return total.detach()

        def handwritten():
            total, _ = byhand(**inputs)
            total.backward()
            byhand.zero_grad()
            return total.detach()

        return compiled, handwritten

    byhand = handwritten_jax.HandwrittenHzp().load(lr.weights(model))

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def of_compiled(model, inputs):
        out = model(inputs)
        return out.total, out.losses

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def of_handwritten(model, inputs):
        return model(**inputs)

    return (
        lambda: jax.block_until_ready(of_compiled(model, inputs))[0][0],
        lambda: jax.block_until_ready(of_handwritten(byhand, inputs))[0][0],
    )


def step_functions(backend: str):
    """A whole optimiser step, from a batch of numpy arrays to numbers of losses."""
    model = lr.compile(hzp(), backend=backend)
    columns, weights = batch(), lr.weights(model)
    trainer = plugins.backend(backend).trainer(model, hzp.recipe.optimisers)
    if backend == "torch":
        byhand = handwritten_torch.HandwrittenHzp()
        byhand.load(weights)
        step = handwritten_torch.training_step(byhand)
    else:
        step = handwritten_jax.training_step(handwritten_jax.HandwrittenHzp().load(weights))
    return lambda: trainer.step(columns, 0), lambda: step(columns)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forward_and_backward(backend, compare):
    compiled, handwritten = gradient_functions(backend)
    assert float(compiled()) == pytest.approx(float(handwritten()), rel=1e-4)
    compare(f"{backend}: losses and gradients, compiled / hand-written", compiled, handwritten)


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_step(backend, compare):
    compiled, handwritten = step_functions(backend)
    for _ in range(2):  # the second after an optimiser step
        assert compiled() == pytest.approx(handwritten(), rel=1e-2)
    compare(f"{backend}: training step, compiled / hand-written", compiled, handwritten)


@pytest.mark.parametrize("backend", BACKENDS)
def test_reference(backend, compare):
    model = lr.compile(hzp(), backend=backend)
    inputs = model.inputs(batch())
    reference = plugins.backend(backend).reference
    compare(
        f"{backend}: gradients, compiled / one backward pass per loss",
        lambda: lr.gradients(model, inputs),
        lambda: reference(model, inputs),
        rounds=FEW,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_compilation(backend, note):
    start = time.perf_counter()
    lr.compile(hzp(), backend=backend)
    note(f"{backend}: lr.compile(hzp()) takes {1e3 * (time.perf_counter() - start):.0f} ms")


@pytest.mark.parametrize("backend", BACKENDS)
def test_applications(backend, note):
    plan = lr.compile(hzp(), backend=backend).plan
    applied, least = plan.applications(), least_applications(plan.spec, plan.phase)
    assert set(applied) == set(least)
    assert all(applied[name] >= least[name] for name in least)
    counts = ", ".join(f"{name} {n}/{least[name]}" for name, n in applied.items())
    note(f"{backend}: applications of each module / the least possible: {counts}")
