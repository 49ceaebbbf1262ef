"""`lr.augment`: views of frames, whose draws are inputs of the step."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
from latentroles import plugins
from parity import same_step, step_like_reference

FRAME = (2, 4, 3)
both = pytest.mark.parametrize("backend", ["torch", "jax"])


def moved(image: np.ndarray, draw: np.ndarray, reach: int) -> np.ndarray:
    """One image (..., H, W), cut out of its padded copy."""
    padding = [(0, 0)] * (image.ndim - 2) + [(reach, reach)] * 2
    padded = np.pad(image, padding, mode="edge")
    top, left = (min(int(d * (2 * reach + 1)), 2 * reach) for d in draw)
    height, width = image.shape[-2:]
    return padded[..., top : top + height, left : left + width]


def crop_on(backend: str, x: np.ndarray, draw: np.ndarray, reach: int) -> np.ndarray:
    if backend == "torch":
        import torch

        return (
            plugins.backend("torch")
            .ops.random_crop(torch.tensor(x), torch.tensor(draw), reach)
            .numpy()
        )
    import jax.numpy as jnp

    return np.asarray(
        plugins.backend("jax").ops.random_crop(jnp.asarray(x), jnp.asarray(draw), reach)
    )


@both
@given(
    st.sampled_from([((1,), (1, 4, 3)), ((2, 3), (2, 1, 5)), ((2, 1), (3, 3))]),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_a_crop_moves_each_image_by_its_own_draw(backend, shapes, reach, seed):
    (lead, event), rng = shapes, np.random.default_rng(seed)
    x = rng.normal(size=lead + event).astype(np.float32)
    draw = rng.choice([0.0, 0.3, 0.5, 0.8, 1.0], size=(*lead, 2)).astype(np.float32)
    wanted = np.empty_like(x)
    for at in np.ndindex(*lead):
        wanted[at] = moved(x[at], draw[at], reach)
    np.testing.assert_array_equal(crop_on(backend, x, draw, reach), wanted)


@both
def test_a_crop_reaches_as_far_as_it_says_and_no_further(backend):
    x = np.arange(5.0, dtype=np.float32).reshape(1, 1, 1, 5)
    ends = [crop_on(backend, x, np.float32([[0.0, d]]), 2)[0, 0, 0] for d in (0.0, 0.5, 0.999, 1.0)]
    wanted = [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4], [2, 3, 4, 4, 4], [2, 3, 4, 4, 4]]
    np.testing.assert_array_equal(ends, wanted)


def views(cut: bool = False, **amounts) -> lr.Spec:
    s = lr.Spec("views")
    x = s.observation("x", FRAME)
    encoder = s.module("encoder", lr.nn.cnn(FRAME, 3, channels=(2,), activation="tanh"))
    frames = x.t[1:] if cut else x
    view = s.latent("view", lr.augment(frames, label="view", **amounts), role=lr.DESCRIPTOR)
    s.loss("invariance", lr.losses.mse(encoder(view), encoder(frames).stop()))
    s.loss("spread", lr.losses.vicreg(encoder(x)))
    return s


BATCH = {"x": np.random.default_rng(0).uniform(size=(2, 3, *FRAME))}
AMOUNTS = {"crop": 2, "noise": 0.1, "brightness": 0.4}


@both
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_a_view_is_moved_then_brightened_then_noisy(backend, cut):
    batch, draws, step = step_like_reference(views(cut, **AMOUNTS), backend, BATCH)
    frames = batch["x"][:, 1:] if cut else batch["x"]
    for b, t in np.ndindex(*frames.shape[:2]):
        wanted = moved(frames[b, t], draws["view_crop"][b, t], 2)
        wanted = wanted * (1.0 + 0.4 * (2.0 * draws["view_brightness"][b, t] - 1.0))
        wanted = wanted + 0.1 * draws["view_noise"][b, t]
        np.testing.assert_allclose(step.latents["view"][b, t], wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_backends_agree(dtype):
    steps = [step_like_reference(views(**AMOUNTS), b, BATCH, dtype) for b in ("torch", "jax")]
    for name, draws in steps[0].noise.items():
        np.testing.assert_array_equal(steps[1].noise[name], draws)
    got, wanted = steps[1].results, steps[0].results
    same_step(got.losses, got.gradients, wanted.losses, wanted.gradients, dtype)


def test_what_is_left_out_draws_nothing():
    assert set(views(crop=1).noises) == {"view_crop"}
    assert set(views(noise=1).noises) == {"view_noise"}
    assert set(views(brightness=0.5).noises) == {"view_brightness"}
    again = lr.Spec.from_json(json.loads(json.dumps(views(**AMOUNTS).to_json())))
    assert again.hash == views(**AMOUNTS).hash != views(**AMOUNTS | {"crop": 1}).hash


def test_equal_labels_share_a_view_and_others_draw_anew():
    s = lr.Spec("labels")
    x = s.observation("x", FRAME)
    one = lr.augment(x, crop=2, noise=0.1, label="one")
    assert lr.augment(x, crop=2, noise=0.1, label="one") is one
    assert lr.augment(x, crop=2, noise=0.1, label="two") is not one
    with pytest.raises(lr.SpecError, match="declared twice"):
        lr.augment(x.mean(over="time"), noise=0.1, label="one")


def test_invariance_to_views_is_no_breach_of_a_place():
    s = lr.Spec("place")
    x = s.observation("x", FRAME)
    encoder = s.module("encoder", lr.nn.mlp(24, 3))
    z = s.latent("z", encoder(lr.reshape(x, 24)), role=lr.PLACE)
    one, two = (encoder(lr.reshape(lr.augment(x, crop=1, label=n), 24)) for n in ("one", "two"))
    s.loss("invariance", lr.losses.mse(one, two))
    s.loss("spread", lr.losses.vicreg(z))
    assert not [f for f in lr.check(s).findings if f.severity in ("error", "warning")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x: lr.augment(x, label="a"), "crop, noise and brightness of 0"),
        (lambda x: lr.augment(x, crop=-1, label="a"), "crop .* at least 0; received -1"),
        (lambda x: lr.augment(x, crop=0.5, label="a"), "crop .* integer"),
        (lambda x: lr.augment(x, noise=-0.1, label="a"), "noise must be"),
        (lambda x: lr.augment(x, brightness=1.0, label="a"), "brightness must be .* less than 1"),
        (lambda x: lr.augment(x.windows(2), crop=1, label="a"), "before `.windows"),
        (lambda x: lr.augment(x.mean(over="event"), crop=1, label="a"), "height and width"),
        (
            lambda x: lr.augment(lr.prepend(x.t[0], x), crop=1, label="a"),
            "in front of the sequence",
        ),
        (lambda x: lr.augment(3.0, crop=1, label="a"), "none of them is an Expr"),
        (
            lambda x: lr.augment(x, crop=3, label="a"),
            r"received crop=3 for \(batch, T, 2, 4, 3\) float. Fix: pass a crop of at most 2\.",
        ),
        (
            lambda x: lr.augment(lr.reshape(x, 24, 1), crop=1, label="a"),
            "Fix: pass a crop of 0: frames of one pixel",
        ),
        (lambda x: lr.augment(lr.reshape(x, 24), crop=30, label="a"), "a random crop needs frames"),
        (
            lambda x: lr.scan(lambda h, u: lr.augment(h, noise=1, label="a"), init=x.t[0], xs=x),
            "a step of a loop",
        ),
    ],
)
def test_bad_arguments_are_refused(wrong, words):
    s = lr.Spec("bad")
    with pytest.raises(lr.LatentrolesError, match=words) as caught:
        wrong(s.observation("x", FRAME))
    assert str(caught.value).startswith("test_augment.py:")
