"""The hand-written baselines of tests/bench have the losses and gradients of the compiled model."""

import equinox as eqx
import jax
import numpy as np

import latentroles as lr
from bench import handwritten_jax, handwritten_torch
from latentroles import plugins
from latentroles_specs.hzp import hzp

# Sides that differ, and no size of the recipe: an axis taken for another would show. Boxes fit.
SIZES = {"frame": (3, 24, 40), "actions": 4, "dim": 16, "pose_dim": 3, "horizon": 3}
BATCH, FRAMES = 3, 7


def batch() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    return {
        "x": random.random((BATCH, FRAMES, *SIZES["frame"])),
        "a": random.integers(0, SIZES["actions"], (BATCH, FRAMES - 1)),
        "pose": random.normal(size=(BATCH, FRAMES, SIZES["pose_dim"])),
    }


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray], what: str) -> None:
    __tracebackhide__ = True
    assert set(got) == set(expected)
    for name, value in expected.items():
        largest = np.abs(value).max()
        assert largest > 0, f"{what} of {name} is zero, which shows nothing"
        error = np.abs(got[name] - value).max() / largest
        assert error < 1e-8, f"{what} of {name} differs by {error:.1e} of its largest entry"


def test_torch():
    model = lr.compile(hzp(**SIZES), backend="torch", dtype="float64")
    byhand = handwritten_torch.HandwrittenHzp(**SIZES).double()
    byhand.load(lr.weights(model))
    expected = lr.gradients(model, batch())
    out = model(model.inputs(batch()))
    total, losses = byhand(**model.inputs(batch()))
    total.backward()

    assert_same(
        {n: v.detach().numpy() for n, v in {**losses, "total": total}.items()},
        {n: v.detach().numpy() for n, v in {**out.losses, "total": out.total}.items()},
        "the value",
    )
    paths = [(module, path) for module, arrays in expected.items() for path in arrays]
    assert_same(
        {f"{m}/{p}": byhand.parameter_at(m, p).grad.numpy() for m, p in paths},
        {f"{m}/{p}": expected[m][p] for m, p in paths},
        "the gradient",
    )
    # Every parameter that is trained has been compared.
    assert len(paths) == sum(p.grad is not None for p in byhand.parameters())


def test_jax():
    backend = plugins.backend("jax")
    with backend.x64():
        model = lr.compile(hzp(**SIZES), backend="jax", dtype="float64")
        byhand = handwritten_jax.HandwrittenHzp(**SIZES).load(lr.weights(model))
        inputs = model.inputs(batch())

        @eqx.filter_jit
        @eqx.filter_value_and_grad(has_aux=True)
        def compiled_step(model, inputs):
            out = model(inputs)
            return out.total, out.losses

        @eqx.filter_jit
        @eqx.filter_value_and_grad(has_aux=True)
        def handwritten_step(model, inputs):
            return model(**inputs)

        (expected_total, expected), expected_grads = compiled_step(model, inputs)
        (total, losses), grads = handwritten_step(byhand, inputs)

    assert_same(
        {n: np.asarray(v) for n, v in {**losses, "total": total}.items()},
        {n: np.asarray(v) for n, v in {**expected, "total": expected_total}.items()},
        "the value",
    )
    expected_paths = {
        f"{m.name}/{path}": array
        for m in model.spec.modules.values()
        for path, array in backend.layers.weights_of(
            m.layer, getattr(expected_grads, m.name)
        ).items()
    }
    assert_same(
        {p: np.asarray(grads.parameter_at(*p.split("/"))) for p in expected_paths},
        expected_paths,
        "the gradient",
    )
    assert len(expected_paths) == len(jax.tree.leaves(eqx.filter(grads, eqx.is_array)))
