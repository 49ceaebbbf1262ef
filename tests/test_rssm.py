"""`rssm`: the two lists of its note, its losses against closed forms, and both backends."""

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch

import latentroles as lr
from latentroles import plugins
from latentroles.testing import assert_routes
from latentroles.testing.laws import Case, compiled
from latentroles_specs.rssm import rssm
from latentroles_torch.layers import build
from parity import step_like_reference
from test_laws_audit import jax_routes, torch_routes

both = pytest.mark.parametrize("backend", ["torch", "jax"])
posteriors = pytest.mark.parametrize("posterior", ["gaussian", "categorical"])
BOX = lr.Box(-1.0, 1.0, (2,))
SMALL = {"frame": (1, 8, 8), "dim": 4, "hidden": 5}

# The note's two lists; its RSSM is two modules here, the recurrent cell and its prior head.
VAE, RSSM = {"encoder", "decoder"}, {"rssm", "rssm_prior"}
NOTE = {"rec": VAE, "kld": {"encoder"}, "rssm": RSSM}


def small(**arguments) -> lr.Spec:
    categorical = arguments.get("posterior") == "categorical"
    return rssm(**SMALL, **{"classes": 2} if categorical else {}, **arguments)


def a_batch(spec: lr.Spec, frames: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    space = spec.actions["a"]
    if isinstance(space, lr.Box):
        a = rng.uniform(space.low, space.high, (3, frames - 1, *space.shape))
    else:
        a = rng.integers(0, space.n, (3, frames - 1))
    return {"x": rng.uniform(size=(3, frames, 1, 8, 8)), "a": a}


# Routes -------------------------------------------------------------------------------------


@posteriors
@pytest.mark.parametrize("actions", [3, BOX], ids=["discrete", "continuous"])
def test_the_routes_are_the_two_lists_of_the_note(posterior, actions):
    table = lr.routes(small(posterior=posterior, actions=actions))
    assert_routes(table, NOTE, latents={"rec": {"z"}, "kld": {"z"}, "rssm": {"h"}})
    assert str(table["rssm"]["encoder"]) == "stopped (gate encoder_to_rssm)"
    assert str(table["rssm"]["decoder"]) == "unconnected"


@both
@posteriors
@pytest.mark.parametrize("isolated", [True, False])
def test_an_audit_of_the_compiled_model_finds_the_same(backend, posterior, isolated):
    case = Case.of(small(posterior=posterior, isolated=isolated))
    found = {"torch": torch_routes, "jax": jax_routes}[backend](compiled(case, backend), case)
    assert found == {**NOTE, "rssm": RSSM if isolated else RSSM | {"encoder"}}


def test_the_gate_alone_makes_the_difference():
    apart, together = small(), small(isolated=False)
    assert apart.with_gates(encoder_to_rssm=True).hash == together.hash != apart.hash
    assert_routes(lr.routes(together), {**NOTE, "rssm": RSSM | {"encoder"}})


@posteriors
def test_check_says_what_is_wrong_with_a_shared_gradient(posterior):
    def rules(**arguments) -> dict[str, str]:
        report = lr.check(small(posterior=posterior, **arguments))
        return {f.rule: f.severity for f in report.findings}

    assert rules() == {}
    shared = {"conditioned-prediction": "warning", "target-live": "warning"}
    assert rules(isolated=False) == shared
    # The note's first version, whose dynamics learn pixels, is refused.
    first = rules(isolated=False, one_step=1.0)
    assert first == {**shared, "rendered-prediction": "error"}
    assert rules(one_step=1.0) == {}  # from behind the gate, pixels reach the decoder alone


def test_one_step_is_a_measure_or_where_it_has_a_weight_a_loss():
    assert (set(small().losses), set(small().measures)) == (set(NOTE), {"one_step"})
    weighed = small(one_step=0.5)
    assert (set(weighed.losses), set(weighed.measures)) == ({*NOTE, "one_step"}, set())
    assert lr.routes(weighed)["one_step"].modules == RSSM | {"decoder"}
    assert set(small(kld=0.0, rssm=0.0).losses) == {"rec"}
    later = small(one_step=lr.warmup(0.5, 10))
    assert set(later.losses) == {*NOTE, "one_step"}


def test_pictures_stand_below_the_frames_that_they_are_of():
    s = small()
    assert {p.expr.type for p in s.pictures.values()} == {s.inputs["x"].type}
    assert not rssm(**{**SMALL, "frame": (2, 8, 8)}).pictures  # which two channels are not


# Values -------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """One forward pass in float64, as numpy arrays."""

    losses: dict[str, np.ndarray]
    latents: dict[str, np.ndarray]
    weights: dict[str, dict[str, np.ndarray]]
    noise: dict[str, np.ndarray]


def forward(backend: str, spec: lr.Spec, batch: dict[str, np.ndarray]) -> Seen:
    """With the distributions and the picture as latents, so that they can be looked at."""
    show = {"q": spec.modules["encoder"](spec.inputs["x"])}
    show["p"] = spec.modules["rssm_prior"](spec.latents["h"].expr.t[1:])
    for name, expr in show.items():
        spec.latent(name, expr, role=lr.DYNAMICS)
    model = lr.compile(spec, backend=backend, dtype="float64")
    with plugins.backend(backend).x64():
        noise = model.noise(0, like=batch)
        out = model(model.inputs(batch), noise)
        losses, latents, noise = (
            {name: np.asarray(getattr(v, "detach", lambda v=v: v)()) for name, v in found.items()}
            for found in (out.losses, out.latents, noise)
        )
    return Seen(losses, latents, lr.weights(model), noise)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def of_classes(x):
    return x.reshape(*x.shape[:-1], -1, 2)


def gaussian(parameters):
    mean, wide = np.split(parameters, 2, axis=-1)
    return mean, np.exp(4.0 * np.tanh(wide / 4.0))


def means(posterior, q):
    return gaussian(q)[0] if posterior == "gaussian" else softmax(of_classes(q)).reshape(q.shape)


def decoded(weights, z):
    """conv_decoder of (1, 8, 8), by torch's own layers."""
    layer = lr.nn.conv_decoder(4, (1, 8, 8))
    with torch.no_grad():
        module = build(layer, weights, "float64")
        return module(torch.tensor(z.reshape(-1, 4))).numpy().reshape(*z.shape[:-1], 1, 8, 8)


def divergence(posterior, q, p):
    """KL(q || p) of each entry, by the textbook; p None is N(0, I) or uniform."""
    if posterior == "categorical":
        q = softmax(of_classes(q))
        p = np.full_like(q, 0.5) if p is None else softmax(of_classes(p))
        return (q * np.log(q / p)).sum((-1, -2))
    (m, s), (n, r) = gaussian(q), (0.0, 1.0) if p is None else gaussian(p)
    return (np.log(r / s) + (s**2 + (m - n) ** 2) / (2 * r**2) - 0.5).sum(-1)


def remembered(weights, means, actions):
    """h_0 = 0, h_{t+1} = GRU(h_t, mean_t and a_t), frame by frame."""
    h = [np.zeros((len(means), 5))]
    for t in range(actions.shape[1]):
        u = np.concatenate([means[:, t], actions[:, t]], axis=-1)
        p = np.split(u @ weights["weight_input"].T + weights["bias"], 3, axis=-1)
        q = np.split(h[-1] @ weights["weight_hidden"].T, 3, axis=-1)
        r, keep = sigmoid(p[0] + q[0]), sigmoid(p[1] + q[1])
        h.append((1 - keep) * np.tanh(p[2] + r * q[2]) + keep * h[-1])
    return np.stack(h, 1)


@both
@posteriors
@pytest.mark.parametrize("actions", [3, lr.Box(-2.0, 4.0, (1, 2))], ids=["discrete", "continuous"])
def test_every_loss_is_its_closed_form(backend, posterior, actions):
    s = small(posterior=posterior, actions=actions)
    batch = a_batch(s)
    losses, latents, weights, _ = forward(backend, s, batch)
    q, p, a = latents["q"], latents["p"], batch["a"]
    coded = np.eye(3)[a] if actions == 3 else (a.reshape(3, 3, 2) - 1.0) / 3.0
    assert np.abs(coded).max() <= 1.0
    h = remembered(weights["rssm"], means(posterior, q), coded)
    np.testing.assert_allclose(latents["h"], h, rtol=0, atol=1e-12)
    # Summed over the event; the mean over batch and time, at t = 0 over the batch.
    kld, rssm = divergence(posterior, q[:, 0], None), divergence(posterior, q[:, 1:], p)
    assert kld.shape == (3,)
    assert rssm.shape == (3, 3)
    np.testing.assert_allclose(losses["kld"], kld.mean(), rtol=1e-10)
    np.testing.assert_allclose(losses["rssm"], rssm.mean(), rtol=1e-10)


@both
@posteriors
def test_frames_are_drawn_from_a_sample_and_the_next_one_from_the_mean_of_the_prior(
    backend, posterior
):
    s = small(posterior=posterior, one_step=1.0)
    batch = a_batch(s)
    losses, latents, weights, noise = forward(backend, s, batch)
    q, p = latents["q"], latents["p"]
    if posterior == "gaussian":
        mean, std = gaussian(q)
        z = mean + std * noise["z_noise"]
    else:
        u = np.stack([noise["z_0"], noise["z_1"]], axis=-1)
        second = u >= softmax(of_classes(q))[..., 0]
        z = np.stack([~second, second], axis=-1).reshape(q.shape).astype(float)
    for name, seen, x in (
        ("rec", z, batch["x"]),
        ("one_step", means(posterior, p), batch["x"][:, 1:]),
    ):
        error = decoded(weights["decoder"], seen) - x
        wanted = (error**2).sum((2, 3, 4)).mean()
        np.testing.assert_allclose(losses[name], wanted, rtol=1e-10)


@posteriors
def test_gradients_are_those_of_one_masked_backward_pass_per_loss(posterior):
    s = small(posterior=posterior, actions=BOX)
    gradients = step_like_reference(s, "torch", a_batch(s)).results.gradients
    moved = {
        loss: {m for m, arrays in modules.items() if any(a.any() for a in arrays.values())}
        for loss, modules in gradients.items()
    }
    assert moved == NOTE


# Training -----------------------------------------------------------------------------------


class Draws:
    """Batches that are a function of the step."""

    def __init__(self, spec: lr.Spec, frames: int = 4):
        self.spec, self.frames = spec, frames

    def batch(self, step: int) -> dict[str, np.ndarray]:
        return a_batch(self.spec, self.frames, seed=step)


def ten_steps(spec: lr.Spec, backend: str, out, **options) -> list[dict[str, float]]:
    options = {"steps": 10, "dtype": "float64", "display": False, "log_every": 1, **options}
    recipe = rssm.recipe
    lr.train(
        spec,
        Draws(spec),
        backend=backend,
        out=out,
        optimisers=recipe.optimisers,
        groups=recipe.groups,
        **options,
    )
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["losses"] for row in rows]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"posterior": "categorical", "actions": BOX, "isolated": False, "one_step": 1.0}],
    ids=["isolated", "shared"],
)
def test_ten_steps_agree_on_both_backends(arguments, tmp_path):
    found = {b: ten_steps(small(**arguments), b, tmp_path / b) for b in ("torch", "jax")}
    assert len(found["torch"]) == 10
    for got, wanted in zip(found["jax"], found["torch"], strict=True):
        assert got.keys() == wanted.keys()
        for name, value in wanted.items():
            assert got[name] == pytest.approx(value, rel=1e-6), name
    first, last = found["torch"][0], found["torch"][-1]
    assert last["rec"] < first["rec"]


# Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"posterior": "gausian"}, "posterior must be one of 'gaussian', 'categorical'.*Did you"),
        ({"posterior": "categorical", "classes": 3}, "dim=4 and classes=3.*a dim that 3 divides"),
        ({"classes": 1}, "classes .* at least 2"),
        ({"dim": 0}, "dim .* at least 1; received 0"),
        ({"hidden": 2.5}, "hidden .* received 2.5"),
        ({"isolated": "no"}, "isolated must be True or False"),
        ({"actions": 0}, r"actions \(how many there are, or an lr.Box\) must be"),
        ({"actions": "three"}, r"actions \(how many there are, or an lr.Box\) must be"),
        ({"frame": (1, 7, 8)}, "side"),
        ({"rec": -1.0}, "'rec' needs a positive, finite weight"),
        ({"one_step": None}, "the weight of loss 'one_step' is a number or a schedule.*got None"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(lr.SpecError, match=f"(?s){message}"):
        rssm(**{**SMALL, **arguments})


def test_a_window_of_one_frame_is_refused(tmp_path):
    s = small()
    with pytest.raises(lr.DataError, match="1 frames are too short for rssm"):
        lr.train(s, Draws(s, frames=1), out=tmp_path / "run", display=False)


class Filled(Draws):
    """Every action is the same number."""

    def __init__(self, spec: lr.Spec, action: float):
        super().__init__(spec)
        self.action = action

    def batch(self, step: int) -> dict[str, np.ndarray]:
        held = super().batch(step)
        return {**held, "a": np.full_like(held["a"], self.action, np.float32)}


def test_actions_beyond_their_box_are_refused(tmp_path):
    s, options = small(actions=BOX), {"steps": 1, "display": False}
    for action in (180.0, -1.1):
        wrong = rf"'a' is declared Box\(-1, 1\); the batch has {action:g} .*Normalise the column"
        with pytest.raises(lr.DataError, match=wrong):
            lr.train(s, Filled(s, action), out=tmp_path / "raw", **options)
    for number, action in enumerate((np.nextafter(np.float32(1), 2), -1.0)):  # rounding is no more
        assert lr.train(s, Filled(s, action), out=tmp_path / str(number), **options).steps == 1
