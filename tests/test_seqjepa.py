"""`seqjepa`: who shapes what, what its tokens and its losses are, and both backends alike."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import latentroles as lr
from latentroles import plugins
from latentroles.data import collect
from latentroles.train.batches import Batches
from latentroles.words.rotations import digits
from latentroles_jax.precision import x64
from latentroles_specs.seqjepa import seqjepa
from parity import same_step, step_like_reference

PAGE = Path(__file__).parents[1] / "docs/systems/seqjepa.md"
TOKENS = 3
TINY = {
    "frame": (1, 8, 8), "tokens": TOKENS, "classes": 3, "width": 1, "depth": 1, "heads": 2,
    "hidden": 6, "probe_hidden": 4,
}  # fmt: skip
PROBES = {
    "probe_action_pair": {"action_from_pair"},
    "probe_action_agg": {"actions_from_agg"},
    "probe_picture_z": {"picture_from_z"},
    "probe_picture_agg": {"picture_from_agg"},
}
HEADS = set().union(*PROBES.values())
MODEL = {"encoder", "aggregator", "predictor", "action_embedding"}
INVERSE = np.array([1, 0, 2])


def tiny(**options) -> lr.Spec:
    told = {"action_dim": 4} if options.get("action_conditioning", True) else {}
    return seqjepa(**{**TINY, **told, **options})


def walks(seed: int = 0, batch: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.random((batch, TOKENS + 1, 1, 8, 8)),
        "a": rng.integers(0, 3, (batch, TOKENS)),
        "category": np.repeat(rng.integers(0, 3, (batch, 1)), TOKENS + 1, 1),
    }


def off_the_start(spec: lr.Spec) -> torch.nn.Module:
    """A model whose weights have moved, biases and teacher included."""
    model = lr.compile(spec, backend="torch", dtype="float64")
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.tensor(0.1 * rng.normal(size=parameter.shape))
    return model


def losses(model: torch.nn.Module, batch: dict[str, np.ndarray]) -> dict[str, float]:
    found = model(model.inputs(batch)).losses
    return {name: value.item() for name, value in found.items()}


# Routes -------------------------------------------------------------------------------------------


def test_who_updates_what():
    routes = lr.routes(seqjepa(symmetric=True, coding_rate=0.1))
    assert {loss: routes[loss].modules for loss in routes} == {
        "predict": MODEL,
        "predict_back": MODEL,
        "coding_rate": MODEL - {"predictor"},
        "coding_rate_z": {"encoder"},
        **PROBES,
    }
    assert str(routes["predict"]["encoder_target"]) == "target"


def test_probes_shape_nothing_and_nothing_shapes_probes():
    rates = ((0.0, 0.1), (0.1, 0.0), (0.1, 0.1))
    for told, symmetric, teacher, (rate, rate_z) in itertools.product(
        (True, False), (True, False), ("ema", "none"), rates
    ):
        routes = lr.routes(
            tiny(
                action_conditioning=told,
                symmetric=symmetric,
                teacher=teacher,
                coding_rate=rate,
                coding_rate_z=rate_z,
            )
        )
        optional = ("predict_back", "coding_rate", "coding_rate_z")
        assert [loss in routes for loss in optional] == [symmetric, rate > 0, rate_z > 0]
        for loss in routes:
            if loss in PROBES:
                assert routes[loss].modules == PROBES[loss]
                assert not routes[loss].latents
            else:
                assert not routes[loss].modules & HEADS


def test_the_findings_are_those_of_the_page():
    told, untold = lr.check(seqjepa()), lr.check(seqjepa(action_conditioning=False))
    assert told.ok
    assert [f.rule for f in told.findings] == ["batch-statistic"]
    assert [f.rule for f in untold.findings] == ["under-conditioned", "batch-statistic"]
    assert [f.rule for f in told.allowed] == ["ungated-edge"]
    found = {f.rule for f in (*untold.findings, *untold.allowed)}
    assert set(re.findall(r"LR\d+\s+([a-z-]+)", PAGE.read_text())) == found


def test_the_losses_and_the_measures_are_those_of_the_page():
    s, page = seqjepa(symmetric=True, coding_rate=0.1), PAGE.read_text()
    rows = re.search(r"\| loss \| definition.*?\n\n", page, re.DOTALL).group()
    first = re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE)
    assert [name for cell in first for name in re.findall(r"`(\w+)`", cell)] == list(s.losses)
    assert all(f"`{name}`" in page for name in s.measures)


# The teacher --------------------------------------------------------------------------------------


def test_a_teacher_moves_by_its_ema_alone():
    model = off_the_start(tiny(decay=0.75))
    before = {n: p.detach().clone() for n, p in model.encoder_target.named_parameters()}
    optimiser = torch.optim.SGD(lr.trainable(model), lr=0.1)
    model(model.inputs(walks())).total.backward()
    optimiser.step()
    for name, parameter in model.encoder_target.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=0, atol=0)
    model = lr.update_targets(model, 0)
    moved = dict(model.encoder.named_parameters())
    for name, parameter in model.encoder_target.named_parameters():
        wanted = 0.75 * before[name] + 0.25 * moved[name]
        torch.testing.assert_close(parameter.detach(), wanted.detach(), rtol=0, atol=1e-14)
        assert not torch.equal(parameter, before[name])


def test_without_a_teacher_the_encoder_s_own_code_is_stopped():
    """At first a teacher is the encoder, and nothing but the stop makes the two alike."""
    batch = walks()
    with_one, without = (
        plugins.backend("torch").loss_gradients(
            lr.compile(tiny(teacher=teacher, symmetric=True), backend="torch", dtype="float64"),
            batch,
        )
        for teacher in ("ema", "none")
    )
    assert not tiny(teacher="none").targets
    same_step(
        without.losses,
        without.gradients,
        with_one.losses,
        {  # what no gradient reaches has none to compare
            loss: {m: g for m, g in modules.items() if m in without.gradients[loss]}
            for loss, modules in with_one.gradients.items()
        },
        "float64",
    )
    assert np.abs(without.gradients["predict"]["encoder"]["0.weight"]).max() > 0


# Tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
def test_a_token_is_a_code_beside_the_action_that_led_to_it(told):
    """The first view was led to by none: its place for one holds zeros, and no bias."""
    model, batch = off_the_start(tiny(action_conditioning=told)), walks()
    found = model(model.inputs(batch)).latents
    tokens = [found["z"][:, i] for i in range(TOKENS)]
    if told:
        one_hot = torch.tensor(np.eye(3)[batch["a"]])
        led = [torch.zeros(3, 4), *(model.action_embedding(one_hot[:, i]) for i in range(TOKENS))]
        tokens = [torch.cat(pair, -1) for pair in zip(tokens, led[:-1], strict=True)]
    wanted = model.aggregator(torch.stack(tokens, 1))
    torch.testing.assert_close(found["z_agg"], wanted, rtol=1e-12, atol=1e-12)
    given = torch.cat([wanted, led[-1]], -1) if told else wanted
    aim = model.encoder_target(torch.tensor(batch["x"][:, TOKENS]))
    cosine = torch.nn.functional.cosine_similarity(model.predictor(given), aim)
    assert losses(model, batch)["predict"] == pytest.approx(1 - cosine.mean().item(), abs=1e-12)


def test_what_the_summary_and_the_prediction_depend_on():
    """z_agg: the first M views, the M - 1 actions between them. The prediction: the last, too."""
    for told in (True, False):
        model, batch = off_the_start(tiny(action_conditioning=told)), walks()

        def seen(batch, model=model):
            out = model(model.inputs(batch))
            return out.latents["z_agg"].detach().numpy(), out.losses["predict"].item()

        agg, predict = seen(batch)
        for time in range(TOKENS + 1):
            changed = {**batch, "x": batch["x"].copy()}
            changed["x"][:, time] += 0.5
            assert (np.abs(seen(changed)[0] - agg).max() > 1e-9) == (time < TOKENS)
            assert seen(changed)[1] != predict
        for time in range(TOKENS):
            changed = {**batch, "a": batch["a"].copy()}
            changed["a"][:, time] = (changed["a"][:, time] + 1) % 3
            assert (np.abs(seen(changed)[0] - agg).max() > 1e-9) == (told and time < TOKENS - 1)
            assert (seen(changed)[1] != predict) == told


# Backwards ----------------------------------------------------------------------------------------


def backwards(batch: dict[str, np.ndarray], inverse=INVERSE) -> dict[str, np.ndarray]:
    return {
        "x": batch["x"][:, ::-1].copy(),
        "a": np.asarray(inverse)[batch["a"]][:, ::-1].copy(),
        "category": batch["category"],
    }


@pytest.mark.parametrize(
    ("teacher", "inverse"), [("ema", (1, 0, 2)), ("none", (1, 0, 2)), ("none", (0, 2, 1))]
)
def test_the_second_direction_is_the_first_on_the_window_played_backwards(teacher, inverse):
    spec, batch = tiny(symmetric=True, teacher=teacher, inverse=inverse), walks()
    model = off_the_start(spec)
    found, played_back = losses(model, batch), losses(model, backwards(batch, inverse))
    assert found["predict"] != pytest.approx(found["predict_back"])
    assert played_back["predict"] == pytest.approx(found["predict_back"], abs=1e-12)
    assert played_back["predict_back"] == pytest.approx(found["predict"], abs=1e-12)
    alone = off_the_start(tiny(teacher=teacher))
    alone.load_state_dict(model.state_dict())
    assert losses(alone, batch)["predict"] == pytest.approx(found["predict"], abs=1e-12)


def test_turning_back_is_the_inverse_of_the_environment():
    environment = digits(pictures="test")
    state = environment.reset(0)
    taken_back = [environment.inverse(state, action) for action in range(3)]
    assert taken_back == INVERSE.tolist()


def test_an_inverse_is_of_any_number_of_actions():
    """Of twelve, 10 and 11 are the last two, although "10" comes before "2"."""
    there = [i ^ 1 for i in range(12)]
    s = tiny(actions=12, symmetric=True, inverse=there)
    batch = {**walks(), "a": np.array([[11, 2, 5], [4, 10, 7], [0, 9, 1]])}
    model = off_the_start(s)
    found, played_back = losses(model, batch), losses(model, backwards(batch, there))
    assert played_back["predict"] == pytest.approx(found["predict_back"], abs=1e-12)


# Rates, probes and measures -----------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [None, 3.0])
def test_rates_are_of_the_latents_and_alpha_is_the_size_of_z(alpha):
    spec = tiny(coding_rate=0.1, coding_rate_z=0.3, alpha=alpha)
    weights = {name: loss.weight for name, loss in spec.losses.items() if "rate" in name}
    assert weights == {"coding_rate": 0.1, "coding_rate_z": 0.3}
    model, batch = off_the_start(spec), walks(batch=5)
    latents = model(model.inputs(batch)).latents
    for loss, name in (("coding_rate", "z_agg"), ("coding_rate_z", "z")):
        z = latents[name].detach().numpy().reshape(-1, latents[name].shape[-1])
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
        rate = np.linalg.slogdet(np.eye(z.shape[1]) + (alpha or 8.0) * np.cov(z.T, bias=True))[1]
        assert losses(model, batch)[loss] == pytest.approx(-rate, rel=1e-9)


def test_measures_are_those_of_the_probes_and_of_the_codes():
    model, batch = off_the_start(tiny()), walks(batch=12)
    measured = model.measure(model.inputs(batch))
    assert set(measured) == {
        "r2_action_pair", "r2_action_agg", "accuracy_z", "accuracy_agg",
        "mean_cosine_z", "mean_cosine_agg",
    }  # fmt: skip
    latents = {k: v.detach() for k, v in model(model.inputs(batch)).latents.items()}
    shown = batch["category"]
    for name, logits, wanted in (
        ("accuracy_z", model.picture_from_z(latents["z"]), shown),
        ("accuracy_agg", model.picture_from_agg(latents["z_agg"]), shown[:, 0]),
    ):
        right = logits.argmax(-1).numpy() == wanted
        assert float(measured[name]) == pytest.approx(right.mean())
    pairs = torch.cat([latents["z"][:, :-1], latents["z"][:, 1:]], -1)
    for name, read, told in (
        ("action_pair", model.action_from_pair(pairs), batch["a"]),
        ("action_agg", model.actions_from_agg(latents["z_agg"]), batch["a"][:, :-1]),
    ):
        read = read.detach().numpy()
        wanted = np.eye(3)[told].reshape(read.shape)
        entries = wanted.reshape(-1, wanted.shape[-1])
        error = ((wanted - read) ** 2).reshape(entries.shape)
        r2 = 1 - error.sum(0) / ((entries - entries.mean(0)) ** 2).sum(0)
        assert float(measured[f"r2_{name}"]) == pytest.approx(r2.mean())
        assert losses(model, batch)[f"probe_{name}"] == pytest.approx(error.mean())
    for name, z in (("mean_cosine_z", latents["z"][:, 0]), ("mean_cosine_agg", latents["z_agg"])):
        unit = (z / z.norm(dim=-1, keepdim=True)).numpy()
        assert float(measured[name]) == pytest.approx((unit @ unit.T).mean())


def test_pictures_without_classes_have_no_probe_of_them():
    spec = tiny(classes=0)
    assert "category" not in spec.inputs
    assert set(spec.losses) & set(PROBES) == {"probe_action_pair", "probe_action_agg"}
    assert "accuracy_z" not in spec.measures


# Both backends ------------------------------------------------------------------------------------


@pytest.fixture
def quick_encoder(monkeypatch):
    """ResNet-18 takes XLA long to compile, and test_architectures.py compares it by itself."""

    def instead(frame, dim, *, width, stem):
        assert stem == "small"
        small = lr.nn.cnn(frame, 8 * width, channels=(2,), activation="relu")
        return lr.nn.Sequential((*small.layers, lr.nn.Linear(8 * width, dim)))

    monkeypatch.setattr(lr.nn, "resnet18", instead)


def test_a_step_is_the_same_on_both_backends(quick_encoder):
    spec = tiny(symmetric=True, coding_rate=0.1)
    batch, _, wanted = step_like_reference(spec, "torch", walks())
    with x64():
        model = lr.compile(spec, backend="jax", dtype="float64")
        got = plugins.backend("jax").loss_gradients(model, batch)
    same_step(got.losses, got.gradients, wanted.losses, wanted.gradients, "float64")


def test_ten_steps_are_the_same_on_both_backends(quick_encoder, tmp_path):
    class Walks:
        def batch(self, step: int) -> dict[str, np.ndarray]:
            return walks(step)

    found = {
        backend: lr.train(
            tiny(decay=0.9),
            Walks(),
            backend=backend,
            steps=10,
            out=tmp_path / backend,
            optimisers=lr.adamw(1e-3),
            dtype="float64",
            display=False,
        )
        for backend in ("torch", "jax")
    }
    ours, theirs = (lr.weights(result.model) for result in found.values())
    assert ours.keys() == theirs.keys()
    assert "encoder_target" in ours
    for module, weights in ours.items():
        for path, array in weights.items():
            np.testing.assert_allclose(theirs[module][path], array, rtol=1e-6, atol=1e-6)


# Sizes and bad input ------------------------------------------------------------------------------


def sizes(spec: lr.Spec) -> dict[str, dict[str, tuple[int, ...]]]:
    return {
        name: {path: p.shape for path, p in module.layer.parameters().items()}
        for name, module in spec.modules.items()
    }


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"frame": (3, 8, 8)}, {"encoder"}),
        ({"stem": "large"}, {"encoder"}),
        ({"width": 2}, {"encoder", "aggregator", "predictor"} | HEADS),
        ({"actions": 4}, {"action_embedding", "action_from_pair", "actions_from_agg"}),
        ({"classes": 4}, {"picture_from_z", "picture_from_agg"}),
        ({"tokens": TOKENS + 1}, {"aggregator", "actions_from_agg"}),
        ({"action_dim": 2},
         {"action_embedding", "aggregator", "predictor", "actions_from_agg", "picture_from_agg"}),
        ({"depth": 2}, {"aggregator"}),
        ({"hidden": 7}, {"predictor"}),
        ({"probe_hidden": 5}, {"action_from_pair", "actions_from_agg"}),
    ],
    ids=lambda given: "".join(given) if isinstance(given, dict) else "",
)  # fmt: skip
def test_a_size_is_that_of_the_modules_it_names(options, changed):
    before, after = sizes(tiny()), sizes(tiny(**options))
    assert {name for name in before if after[name] != before[name]} == changed


def test_heads_share_the_weights_out():
    one, two = off_the_start(tiny(heads=1)), off_the_start(tiny(heads=2))
    two.load_state_dict(one.state_dict())
    assert losses(one, walks())["predict"] != pytest.approx(losses(two, walks())["predict"])


def test_the_real_encoder_is_resnet18_without_its_classifier():
    spec = seqjepa(frame=(3, 96, 96), width=64, stem="large", action_dim=128, heads=8, hidden=1024)
    assert spec.latents["z"].expr.shape == (512,)
    assert spec.latents["z_agg"].expr.shape == (640,)
    sizes = [np.prod(p.shape) for p in spec.modules["encoder"].layer.parameters().values()]
    # The 11,689,512 parameters of the published model, less its map from 512 features to 1000.
    assert sum(sizes) == 11_689_512 - (512 * 1000 + 1000)
    stem = 3 * 64 * 7 * 7 + 2 * 64
    widths = [(64, 64), (64, 128), (128, 256), (256, 512)]
    convolutions = sum(9 * (n * m + 3 * m * m) + 8 * m for n, m in widths)
    shortcuts = sum(n * m + 2 * m for n, m in widths[1:])
    assert sum(sizes) == stem + convolutions + shortcuts


def test_the_recipe_s_data_fits_and_is_split_by_picture(tmp_path):
    recipe = seqjepa.recipe
    environment = plugins.environment(recipe.environment)()
    source = collect(environment, tmp_path / "t.h5", episodes=40, steps=recipe.episode_steps)
    train, held = source.split(recipe.validation)
    assert not set(train.labels["group"]) & set(held.labels["group"])
    batches = Batches(
        seqjepa(), train, frames=recipe.frames, batch=4, columns=recipe.columns, seed=0
    )
    batch = batches.batch(0)
    assert batch["x"].shape == (4, 5, 3, 8, 8)
    assert (batch["category"] == batch["category"][:, :1]).all()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"teacher": "emma"}, lr.SpecError, "teacher must be one of 'ema', 'none'.*'ema'"),
        ({"tokens": 1}, lr.SpecError, "tokens .* at least 2; received 1"),
        ({"classes": -1}, lr.SpecError, "classes .* at least 0; received -1"),
        ({"heads": 5}, lr.SpecError, "heads must divide dim; received 5 heads for dim 12"),
        ({"decay": 1.5}, lr.SpecError, "decay must be a number from 0 to 1; received 1.5"),
        ({"stem": "tiny"}, lr.SpecError, "stem must be one of 'large', 'small'"),
        ({"width": 0}, lr.SpecError, "width .* at least 1; received 0"),
        ({"action_dim": 0}, lr.SpecError, "action_dim .* at least 1; received 0"),
        ({"hidden": ()}, lr.SpecError, r"hidden .* integer of at least 1; received \(\)"),
        ({"probe_hidden": b"x"}, lr.SpecError, "probe_hidden .* integer .* received b'x'"),
        ({"alpha": 0.0}, lr.SpecError, "alpha must be a number greater than 0"),
        ({"coding_rate": -1.0}, lr.SpecError, "needs a positive, finite weight, got -1.0"),
        ({"symmetric": 1}, lr.SpecError, "symmetric must be True or False"),
        ({"symmetric": True, "inverse": (1, 2, 0)}, lr.SpecError, r"received \(1, 2, 0\)"),
        ({"symmetric": True, "inverse": (1, 0)}, lr.SpecError, "each of the 3 actions"),
        ({"symmetric": True, "inverse": (0, 1, "2")}, lr.SpecError, "inverse .* received '2'"),
        ({"symmetric": True, "inverse": (1.0, 0.0, 2.0)}, lr.SpecError, "inverse .* received 1.0"),
        ({"symmetric": True, "inverse": (True, False, 2)}, lr.SpecError, "received True"),
        ({"symmetric": True, "inverse": (0, 1, -9)}, lr.SpecError, "at least 0; received -9"),
        ({"symmetric": True, "inverse": 3}, lr.SpecError, "a tuple of integers; received 3"),
        ({"frame": (8, 8)}, lr.LatentrolesError, "frame"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_on_the_caller_s_line(options, error, words):
    with pytest.raises(error, match=words):
        tiny(**options)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_window_that_is_too_short_is_refused(backend):
    model = lr.compile(tiny(tokens=4), backend=backend)
    with pytest.raises(lr.DataError, match="need at least 5 frames, 'x' has 4"):
        model(model.inputs(walks()))


@pytest.mark.parametrize(("index", "least"), [(0, 1), (2, 3), (-1, 1), (-3, 3)])
def test_a_frame_that_is_picked_by_number_must_be_there(index, least):
    """JAX would take the nearest frame there is, and say nothing."""
    s = lr.Spec("picked")
    z = s.latent("z", s.module("f", lr.nn.linear(2, 2))(s.observation("x", (2,))), role=lr.POSE)
    s.loss("last", lr.losses.mse(z.t[index], lr.zeros(2)))
    s.loss("all_but_one", lr.losses.mse(z.t[1:].t[index], lr.zeros(2)))
    model = lr.compile(s, backend="torch")
    assert model.plan.frames == least + 1
    model(model.inputs({"x": np.zeros((1, least + 1, 2))}))
    with pytest.raises(lr.DataError, match=f"need at least {least + 1} frames"):
        model(model.inputs({"x": np.zeros((1, least, 2))}))
