"""The loss does what its declared algebra says, on arrays of any kind."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latentroles as lr
from latentroles.spec.array_functions import array_function
from latentroles.testing.policy import examples
from latentroles.testing.strategies import batch_for
from latentroles_extra import landmarks, uniformity

gathering = array_function("uniformity").function
properties = settings(max_examples=examples(), deadline=None)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@properties
@given(st.integers(0, 999), st.integers(2, 4), st.integers(1, 5), st.floats(0.1, 4.0))
def test_it_is_the_formula(seed: int, batch: int, dim: int, sharpness: float) -> None:
    z = drawn(seed, batch, 3, dim)
    rows = z.reshape(-1, dim).tolist()
    kernel = [math.exp(-sharpness * math.dist(p, q) ** 2) for p in rows for q in rows]
    expected = math.log(sum(kernel) / len(kernel))
    assert gathering(z, sharpness=sharpness) == pytest.approx(expected, abs=1e-12)


@properties
@given(st.integers(0, 999))
def test_a_constant_latent_scores_worst(seed: int) -> None:
    z = drawn(seed, 6, 3)
    assert gathering(np.broadcast_to(z[:1], z.shape), sharpness=2.0) == pytest.approx(0.0)
    assert gathering(z, sharpness=2.0) < 0.0


@properties
@given(st.integers(0, 999))
def test_entries_of_a_batch_meet_in_it(seed: int) -> None:
    z = drawn(seed, 6, 3)
    whole, halves = (
        gathering(z, sharpness=2.0),
        [gathering(h, sharpness=2.0) for h in (z[:3], z[3:])],
    )
    assert abs(whole - sum(halves) / 2) > 1e-6


def test_a_compiled_model_takes_it_of_directions(latentroles_backend: str) -> None:
    spec = landmarks()
    model = lr.compile(spec, backend=latentroles_backend)
    batch = batch_for(spec, 0)
    z = np.asarray(model.encode(batch["x"], "z"), dtype=np.float64)
    directions = z / np.linalg.norm(z, axis=-1, keepdims=True)
    out = model(model.inputs(batch), model.noise(0, like=batch), {})
    expected = gathering(directions, sharpness=2.0)
    assert out.losses["spread"].item() == pytest.approx(expected, rel=1e-4)


def test_what_is_no_batch_of_vectors_is_refused() -> None:
    s = lr.Spec("pictures")
    with pytest.raises(lr.ShapeError, match="vectors"):
        uniformity(s.observation("x", (3, 4, 4)))
