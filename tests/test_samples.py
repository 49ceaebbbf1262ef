"""Samples of distributions: their draws are inputs of the step, and gradient reaches parameters."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
from latentroles.spec import losses
from latentroles.spec.array_functions import array_function
from parity import same_step, step_like_reference

both = pytest.mark.parametrize("backend", ["torch", "jax"])
N, CLASSES = 6, 3


def probabilities(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def drawn(backend: str, logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    as_array = torch.tensor if backend == "torch" else jnp.asarray
    found = array_function("categorical_draw").function(as_array(logits), as_array(uniform))
    return np.asarray(found)


@both
@given(st.integers(1, 5), st.integers(0, 99))
def test_a_draw_is_the_class_in_whose_share_the_number_falls(backend, classes, seed):
    rng = np.random.default_rng(seed)
    logits = (2 * rng.standard_normal((4, 2, classes))).astype(np.float32)
    uniform = rng.random((4, 2)).astype(np.float32)
    found, p = drawn(backend, logits, uniform), probabilities(logits)
    for at in np.ndindex(4, 2):
        ends = np.cumsum(p[at])
        near = np.abs(ends - uniform[at]).min() < 1e-5  # the rounding of either side decides
        assert near or found[at].argmax() == np.searchsorted(ends, uniform[at], side="right")


@both
def test_rounding_leaves_no_entry_without_a_class(backend):
    rng = np.random.default_rng(0)
    logits = (10 * rng.standard_normal((200, 7))).astype(np.float32)
    for edge in (0.0, 1.0, 1.0 - 2.0**-24):
        found = drawn(backend, logits, np.full(200, edge, np.float32))
        np.testing.assert_array_equal(found.sum(-1), 1)
        assert set(np.unique(found)) == {0.0, 1.0}


@both
def test_a_share_begins_with_its_first_number(backend):
    even = np.zeros((2, 2), np.float32)
    found = drawn(backend, even, np.array([0.5, np.nextafter(np.float32(0.5), np.float32(0))]))
    np.testing.assert_array_equal(found, [[0, 1], [1, 0]])


def test_classes_are_as_frequent_as_they_are_probable():
    logits = np.log([[0.1, 0.2, 0.7]]).repeat(20_000, 0)
    found = drawn("torch", logits, np.random.default_rng(0).random(20_000))
    np.testing.assert_allclose(found.mean(0), [0.1, 0.2, 0.7], atol=0.01)


def samples(kind: str, weigh: str = "sample") -> lr.Spec:
    """A linear loss of a sample, or with the same weights of its mean."""
    s = lr.Spec("samples")
    x = s.observation("x", (4,))
    weights = s.label("weights", (N,))
    encoder = s.module("encoder", lr.nn.linear(4, N if kind == "categorical" else 2 * N))
    if kind == "categorical":
        logits = lr.reshape(encoder(x), N // CLASSES, CLASSES)
        pair = lr.softmax(logits), lr.categorical_sample(logits, label="draw")
        mean, sample = (lr.reshape(e, N) for e in pair)
    else:
        mean, log_std = lr.split(encoder(x), N, N)
        s.latent("log_std", log_std, role=lr.DYNAMICS)
        sample = lr.gaussian_sample(mean, log_std, label="draw")
    s.latent("mean", mean, role=lr.DYNAMICS)
    s.latent("z", sample, role=lr.DYNAMICS)
    weighed = (weights * {"sample": sample, "mean": mean}[weigh]).sum()
    s.loss("weighed", weighed.mean(over="time").mean(over="batch"))
    return s


RNG = np.random.default_rng(0)
BATCH = {"x": RNG.normal(size=(2, 3, 4)), "weights": RNG.normal(size=(2, 3, N))}


@both
def test_a_categorical_sample_is_one_hot_and_has_the_gradient_of_its_mean(backend):
    step = step_like_reference(samples("categorical"), backend, BATCH)
    z = step.results.latents["z"].reshape(2, 3, N // CLASSES, CLASSES)
    np.testing.assert_array_equal(z.max(-1), 1)
    np.testing.assert_array_equal(z.sum(-1), 1)
    assert step.noise["draw"].shape == z.shape[:-1]
    mean = step_like_reference(samples("categorical", "mean"), backend, BATCH)
    got, wanted = (e.results.gradients["weighed"]["encoder"] for e in (step, mean))
    for path, array in wanted.items():
        assert np.abs(array).max() > 0
        np.testing.assert_allclose(got[path], array, rtol=0, atol=1e-12)


@both
def test_a_gaussian_sample_is_its_mean_plus_scaled_noise(backend):
    step = step_like_reference(samples("gaussian"), backend, BATCH)
    mean, log_std, z = (step.results.latents[n] for n in ("mean", "log_std", "z"))
    wanted = mean + np.exp(log_std) * step.noise["draw"]
    np.testing.assert_allclose(z, wanted, rtol=1e-12, atol=1e-14)
    # d/d log_std of the sample is the scaled noise: the bias sums it up.
    bias = step.results.gradients["weighed"]["encoder"]["bias"]
    weights = BATCH["weights"]
    np.testing.assert_allclose(bias[:N], weights.sum((0, 1)) / 6, rtol=1e-10)
    np.testing.assert_allclose(bias[N:], (weights * (wanted - mean)).sum((0, 1)) / 6, rtol=1e-10)


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_backends_agree(kind, dtype):
    steps = [step_like_reference(samples(kind), b, BATCH, dtype) for b in ("torch", "jax")]
    got, wanted = steps[1].results, steps[0].results
    same_step(got.losses, got.gradients, wanted.losses, wanted.gradients, dtype)


def test_equal_labels_share_a_draw_and_others_draw_anew():
    s = lr.Spec("labels")
    x = s.observation("x", (4,))
    one = lr.categorical_sample(x, label="one")
    assert lr.categorical_sample(x, label="one") is one
    assert lr.categorical_sample(x, label="two") is not one
    assert lr.Spec.from_json(samples("categorical").to_json()).hash == samples("categorical").hash


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda s, x: lr.softmax(x.mean()), "logits are floats"),
        (lambda s, x: lr.categorical_sample(x.mean(), label="a"), "logits are floats"),
        (lambda s, x: lr.softmax(s.action("a", lr.Discrete(2))), "logits are floats"),
        (lambda s, x: lr.softmax(3.0), "none of them is an Expr"),
        (lambda s, x: lr.categorical_sample(3.0, label="a"), "none of them is an Expr"),
        (lambda s, x: lr.gaussian_sample(0.0, x, label="a"), "takes Exprs alike"),
        (lambda s, x: lr.gaussian_sample(x, 0.0, label="a"), "takes Exprs alike"),
        (lambda s, x: lr.gaussian_sample(x, x.t[1:], label="a"), "takes Exprs alike"),
        (lambda s, x: lr.gaussian_sample(*lr.split(x, 1, 3), label="a"), "takes Exprs alike"),
        (
            lambda s, x: losses.call("categorical_draw", x, s.noise("u", (2,))),
            "one uniform number",
        ),
    ],
)
def test_bad_arguments_are_refused(wrong, words):
    s = lr.Spec("bad")
    x = s.observation("x", (4,))
    with pytest.raises(lr.LatentrolesError, match=words) as caught:
        wrong(s, x)
    assert str(caught.value).startswith("test_samples.py:")
