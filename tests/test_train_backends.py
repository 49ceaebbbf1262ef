"""The whole way on the real backends: phases, a target, a state, noise, resuming, and parity."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import latentroles as lr
from latentroles.train.checkpoint import load

BACKENDS = ("torch", "jax")


def spec() -> lr.Spec:
    s = lr.Spec("whole")
    x = s.observation("x", (3,))
    a = s.action("a", lr.Discrete(2))
    encoder = s.module("encoder", lr.nn.linear(3, 4))
    predictor = s.module("predictor", lr.nn.gru(4 + 2, 4))
    decoder = s.module("decoder", lr.nn.linear(4, 3))
    teacher = s.target(encoder, decay=lr.cosine(0.5, 4, final=1.0))
    z = s.latent("z", encoder(x), role=lr.PLACE)
    u = lr.concat(lr.dropout(z.t[:-1], 0.25, label="mask"), a.one_hot())
    h = s.latent("h", lr.scan(predictor, init=lr.zeros(4), xs=u), role=lr.DYNAMICS)
    center = s.state("center", (4,), init=0.5)
    mean = z.mean(over="time").mean(over="batch")
    s.update(center, 0.8 * center + 0.2 * mean)
    s.loss("jepa", lr.losses.mse(h.t[1:], teacher(x).t[1:]), weight=lr.warmup(1.0, 3))
    s.loss("centre", lr.losses.mse(mean, center), weight=0.1)
    s.loss("recon", lr.losses.mse(decoder(z.stop()), x))
    s.phase("first", losses=["jepa", "centre"], steps=4)
    s.phase("second", losses=["recon"], steps=3)
    return s


class Draws:
    """Batches that are a function of the step."""

    def identity(self) -> dict[str, str]:
        return {"kind": "draws"}

    def batch(self, step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(step)
        return {"x": rng.normal(size=(2, 4, 3)), "a": rng.integers(0, 2, (2, 3))}


def trained(backend: str, out, **options) -> lr.RunResult:
    optimisers = {"default": lr.adamw(0.01, weight_decay=0.1, clip_norm=1.0)}
    options = {"checkpoint_every": 2, "dtype": "float64", "display": False, **options}
    of = options.pop("of", None) or spec()
    return lr.train(of, Draws(), backend=backend, out=out, optimisers=optimisers, **options)


def losses(folder) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["losses"] for row in rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict:
    root = tmp_path_factory.mktemp("runs")
    return {b: trained(b, root / b).folder for b in BACKENDS}


def test_both_backends_train_the_same(runs):
    torch, jax = (losses(runs[b]) for b in BACKENDS)
    assert len(torch) == len(jax) == 7
    for ours, theirs in zip(torch, jax, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-7)
    ours, theirs = (load(runs[b]).arrays for b in BACKENDS)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=0, atol=1e-7, err_msg=name)


def test_a_scheduled_learning_rate_is_the_same_on_both_backends(tmp_path):
    """Ten steps in float64: up to step 3, down to step 9, and constant after it."""
    rate = lr.warmup(0.05, 3, then=lr.cosine(0.05, 6, final=0.001))
    s = spec()
    s.phases.clear()
    moved = {}
    for backend in BACKENDS:
        for name, chosen in (("scheduled", rate), ("constant", 0.05)):
            out = tmp_path / f"{backend}-{name}"
            optimiser = lr.adamw(chosen, weight_decay=0.1, clip_norm=1.0)
            lr.train(
                s, Draws(), backend=backend, out=out, steps=10, dtype="float64", display=False,
                optimisers=optimiser,
            )  # fmt: skip
            moved[backend, name] = (losses(out), load(out).arrays)
    (ours, left), (theirs, right) = moved["torch", "scheduled"], moved["jax", "scheduled"]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-9)
    for name, array in left.items():
        np.testing.assert_allclose(array, right[name], rtol=0, atol=1e-9, err_msg=name)
    constant = moved["torch", "constant"][1]
    assert not np.allclose(constant["weights/encoder/weight"], left["weights/encoder/weight"])


def test_what_a_phase_does_not_reach_stays_and_what_it_leaves_goes_on(runs, tmp_path):
    only_first = spec()
    del only_first.phases["second"]
    after_first = load(trained("torch", tmp_path / "first", of=only_first).folder).arrays
    after_second = load(runs["torch"]).arrays
    start = lr.weights(lr.compile(spec(), backend="torch", dtype="float64"))
    for name, arrays in start.items():
        for path, array in arrays.items():
            key = f"weights/{name}/{path}"
            moved_first = not np.array_equal(array, after_first[key])
            moved_second = not np.array_equal(after_first[key], after_second[key])
            # The decoder belongs to the second phase, the rest to the first; no weight decay and
            # no momentum moves what is not reached. A target stands still with its module.
            assert moved_first == (name != "decoder"), key
            assert moved_second == (name == "decoder"), key
    assert not np.array_equal(after_first["state/center"], after_second["state/center"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_was_cut_short_goes_on_bitwise(backend, runs, tmp_path):
    out = tmp_path / "run"

    class Cut(Draws):
        def batch(self, step):
            if step == 3:
                raise lr.DataError("cut")
            return super().batch(step)

    optimisers = {"default": lr.adamw(0.01, weight_decay=0.1, clip_norm=1.0)}
    options = {"checkpoint_every": 2, "dtype": "float64", "display": False, "backend": backend}
    with pytest.raises(lr.DataError):
        lr.train(spec(), Cut(), out=out, optimisers=optimisers, **options)
    result = trained(backend, None, resume=out)
    assert result.steps == 7
    whole, cut = load(runs[backend]).arrays, load(out).arrays
    assert whole.keys() == cut.keys()
    for name, array in whole.items():
        assert np.array_equal(array, cut[name]), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_is_loaded_again_on_either_backend(backend, runs):
    held = load(runs["torch"]).arrays
    for name, arrays in lr.weights(lr.load(runs["torch"], backend=backend)).items():
        for path, array in arrays.items():
            assert np.array_equal(array, held[f"weights/{name}/{path}"]), (name, path)


def test_a_loop_of_one_s_own_moves_what_the_trainer_moves():
    """Plain torch.optim with `trainable` and `update_targets`, beside the trainer, bitwise."""
    import torch

    from latentroles import plugins

    model = lr.compile(spec(), backend="torch", phase="first", dtype="float64")
    trained = lr.compile(spec(), backend="torch", phase="first", dtype="float64")
    trainer = plugins.backend("torch").trainer(trained, {"default": lr.adamw(0.01)})
    optimiser = torch.optim.AdamW(lr.trainable(model), lr=0.01, weight_decay=0.01)
    state = model.initial_state()
    for step in range(3):
        batch = Draws().batch(step)
        optimiser.zero_grad()
        out = model(batch, model.noise(step, like=batch), state, step)
        out.total.backward()
        optimiser.step()
        lr.update_targets(model, step)
        state = {name: value.detach() for name, value in out.state.items()}
        trainer.step(batch, step)
    ours, theirs = lr.weights(model), lr.weights(trainer.model)
    for name, arrays in theirs.items():
        for path, array in arrays.items():
            assert np.array_equal(ours[name][path], array), (name, path)


def test_on_jax_the_filter_keeps_targets_and_unreached_modules_from_an_optimiser():
    import equinox as eqx
    import jax

    model = lr.compile(spec(), backend="jax", phase="first")
    moved, _ = eqx.partition(model, lr.trainable(model))
    held = {name: bool(jax.tree.leaves(getattr(moved, name))) for name in lr.weights(model)}
    assert held == {"encoder": True, "predictor": True, "decoder": False, "encoder_target": False}
    ahead = lr.load_weights(model, {"encoder": {"weight": np.ones((4, 3)), "bias": np.ones(4)}})
    after, before = (lr.weights(m)["encoder_target"] for m in (lr.update_targets(ahead, 0), model))
    # The decay at step 0 is 0.5.
    np.testing.assert_allclose(after["bias"], 0.5 * before["bias"] + 0.5, rtol=1e-6)


def test_columns_are_renamed_and_checked_for_any_data(tmp_path):
    class Named(Draws):
        def batch(self, step):
            held = super().batch(step)
            return {"frames": held["x"], "act": held["a"]}

    options = {"backend": "torch", "display": False, "dtype": "float64"}
    optimisers = {"default": lr.sgd(0.1)}
    columns = {"x": "frames", "a": "act"}
    result = lr.train(
        spec(), Named(), out=tmp_path / "a", columns=columns, optimisers=optimisers, **options
    )
    assert result.steps == 7
    for wrong, message in (({"xx": "frames"}, "'xx'"), ({"x": "frame"}, "'frame'.*'frames'")):
        with pytest.raises(lr.DataError, match=message):
            lr.train(spec(), Named(), out=tmp_path / "b", columns=wrong, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"encodr": "default"}}, "'encodr'.*'encoder'"),
        ({"groups": {"encoder": "slow"}}, "'slow', which is not among"),
        ({"optimisers": {"default": lr.sgd(0.1), "slow": lr.sgd(0.01)}}, "'slow' moves no module"),
    ],
)
def test_optimisers_and_their_modules_are_checked(options, message, tmp_path):
    with pytest.raises(lr.SpecError, match=message):
        lr.train(spec(), Draws(), backend="torch", out=tmp_path / "r", display=False, **options)


def test_a_phase_that_updates_nothing_is_not_trained(tmp_path):
    s = lr.Spec("idle")
    x = s.observation("x", (3,))
    z = s.latent("z", s.module("encoder", lr.nn.linear(3, 3))(x), role=lr.PLACE)
    s.loss("l", lr.losses.mse(z.stop(), x))
    with pytest.raises(lr.SpecError, match="nothing to train"):
        lr.train(s, Draws(), backend="torch", out=tmp_path / "r", display=False)


def test_a_spec_with_errors_is_trained_and_says_so(tmp_path):
    s = lr.Spec("broken")
    x = s.observation("x", (2,))
    z = s.latent("z", s.module("encoder", lr.nn.linear(2, 2))(x), role=lr.PLACE)
    s.loss("smooth", lr.losses.mse(z.t[1:], z.t[:-1]))
    batch = np.random.default_rng(0).normal(size=(2, 3, 2))
    data = SimpleNamespace(batch=lambda step: {"x": batch})
    settings = {"backend": "torch", "steps": 2, "display": False}
    found = lr.train(s, data, out=tmp_path / "broken", **settings)
    assert found.notes[0].startswith(
        "lr.check finds errors in broken: temporal-adjacency smooth z."
    )
    s.allow("temporal-adjacency", loss="smooth", latent="z", because="this is a test")
    allowed = lr.train(s, data, out=tmp_path / "allowed", **settings)
    assert not any("lr.check finds" in note for note in allowed.notes)
