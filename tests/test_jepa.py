"""`jepa`: who updates whom in its three modes, what its regularisers read, and its two phases."""

import itertools

import numpy as np
import pytest

import latentroles as lr
from latentroles import plugins
from latentroles.cli import main
from latentroles.testing import assert_stop_gradients
from latentroles.train.checkpoint import load
from latentroles_specs.jepa import ENCODERS, MODES, REGULARISERS, jepa

BACKENDS = ("torch", "jax")
FRAME = (1, 8, 8)
PREDICTOR = {"action_embedding", "predictor", "predictor_output"}


def small(**arguments) -> lr.Spec:
    given = {"encoder": "mlp", "regulariser": "vicreg", **arguments}
    sizes = {
        "mlp": {"hidden": (12,)},
        "cnn": {"channels": (4, 4)},
        "vit": {"patch": 4, "depth": 1, "heads": 2},
    }.get(given["encoder"], {})
    slices = {"sigreg_slices": 16} if given["regulariser"] == "sigreg" else {}
    widths = {"latent_dim": 6, "action_emb_dim": 3, "predictor_hidden_dim": 10}
    return jepa(**{"frame": FRAME, **widths, **sizes, **slices, **given})


def pairs(seed: int = 0, count: int = 5, frames: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, frames, *FRAME))
    return {"x": x, "a": rng.integers(0, 3, (count, frames - 1))}


def compiled(spec: lr.Spec, phase: str = "jepa", backend: str = "torch"):
    return lr.compile(spec, backend=backend, phase=phase, dtype="float64")


def losses(model, batch) -> dict[str, float]:
    out = model(model.inputs(batch), model.noise(0, like=batch), model.initial_state())
    return {name: float(value.detach()) for name, value in out.losses.items()}


# Routes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "encoder", "verdict"),
    [
        ("default", set(), "isolated"),
        ("vjepa2", {"encoder"}, "conditioned-prediction"),
        ("none", {"encoder"}, "conditioned-prediction"),
    ],
)
def test_what_each_mode_updates(mode, encoder, verdict):
    spec = small(mode=mode)
    routes = lr.routes(spec)
    assert {loss: set(routes[loss].modules) for loss in routes} == {
        "prediction": PREDICTOR | encoder,
        "vicreg": {"encoder"},
        "reconstruction": {"decoder"},
    }
    verdicts = lr.check(spec).verdicts
    assert verdict in verdicts["prediction"]["z"]
    assert "isolated" in verdicts["reconstruction"]["z"]
    assert list(spec.targets) == ([] if mode == "none" else ["target_encoder"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_where_the_routes_are_and_exactly_zero_elsewhere(mode, backend):
    assert_stop_gradients(small(mode=mode), backend, draws=1)


def test_in_mode_default_the_prediction_does_not_know_the_online_encoder():
    """Another online encoder behind the same target: the loss is the same to the last bit."""
    for mode, same in (("default", True), ("vjepa2", False)):
        model = compiled(small(mode=mode))
        before = losses(model, pairs())
        other = {k: v + 0.5 for k, v in lr.weights(model)["encoder"].items()}
        after = losses(lr.load_weights(model, {"encoder": other}), pairs())
        assert (after["prediction"] == before["prediction"]) is same
        assert after["vicreg"] != before["vicreg"]


def test_the_decoder_reads_the_embeddings_that_are_named():
    for source, same in (("target", True), ("online", False)):
        model = compiled(small(decoder_source=source), "decode")
        before = losses(model, pairs())
        other = {k: v + 0.5 for k, v in lr.weights(model)["encoder"].items()}
        after = losses(lr.load_weights(model, {"encoder": other}), pairs())
        assert (after == before) is same


# What the checker expects of each regulariser -----------------------------------------------------


@pytest.mark.parametrize(("encoder", "regulariser"), [*itertools.product(ENCODERS, REGULARISERS)])
def test_every_encoder_with_every_regulariser_is_declared_and_judged(encoder, regulariser):
    for mode in MODES:
        report = lr.check(small(mode=mode, encoder=encoder, regulariser=regulariser))
        found = {finding.rule for finding in report.findings if finding.severity != "note"}
        expected = set() if mode == "default" else {"conditioned-prediction"}
        if mode == "default" and regulariser == "none":
            expected |= {"starved-module"}  # nothing trains the encoder: it cannot collapse either
        elif regulariser in ("barlow", "dino", "none"):
            expected |= {"requirement-unmet"}
        assert found == expected


@pytest.mark.parametrize("regulariser", [r for r in REGULARISERS if r != "none"])
def test_in_mode_vjepa2_the_regulariser_reads_the_current_frame_alone(regulariser):
    batch, later = pairs(), pairs()
    later["x"][:, 1] += 1.0
    for mode, same in (("vjepa2", True), ("none", False)):
        model = compiled(small(mode=mode, regulariser=regulariser))
        before, after = losses(model, batch), losses(model, later)
        assert (after[regulariser] == before[regulariser]) is same


def vicreg(z, variance=25.0, covariance=1.0):
    c = np.cov(z.T)
    spread = np.maximum(0.0, 1.0 - np.sqrt(np.diag(c) + 1e-4)).mean()
    return variance * spread + covariance * np.square(c - np.diag(np.diag(c))).sum() / len(c)


def coding_rate(z, alpha=1.0):
    u = z / np.linalg.norm(z, axis=-1, keepdims=True)
    return -np.linalg.slogdet(np.eye(z.shape[1]) + alpha * np.cov(u.T, bias=True))[1]


@pytest.mark.parametrize(
    ("regulariser", "given"),
    [
        (vicreg, {}),
        (vicreg, {"variance": 2.0, "covariance": 300.0}),
        (coding_rate, {}),
        (coding_rate, {"alpha": 3.0}),
    ],
)
def test_a_regulariser_of_both_frames_is_the_mean_of_theirs(regulariser, given):
    name = regulariser.__name__
    arguments = {f"{name}_{argument}": value for argument, value in given.items()}
    model = compiled(small(regulariser=name, **arguments))
    batch = pairs()
    z = model.encode(batch["x"], "z").detach().numpy()
    wanted = (regulariser(z[:, 0], **given) + regulariser(z[:, 1], **given)) / 2
    assert losses(model, batch)[name] == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize(
    ("argument", "value", "loss", "factor"),
    [
        ("prediction_weight", 0.5, "prediction", 1.0),  # a weight enters the total, not the loss
        ("auxiliary_weight", 0.5, "vicreg", 1.0),
        ("barlow_redundancy", 1e-2, "barlow", 2.0),
    ],
)
def test_weights_are_where_they_are_named(argument, value, loss, factor):
    regulariser = loss if loss in REGULARISERS else "vicreg"
    plain, weighted = (small(regulariser=regulariser, **given) for given in ({}, {argument: value}))
    before, after = (losses(compiled(spec), pairs())[loss] for spec in (plain, weighted))
    assert after == pytest.approx(factor * before)
    assert weighted.losses[loss].weight == (value if factor == 1.0 else 1.0)


def test_dino_is_the_distance_from_the_centre_which_follows_after_the_step():
    model = compiled(small(regulariser="dino", center_ema_decay=0.75))
    batch, center = pairs(), np.arange(6.0)
    means = model.encode(batch["x"], "z").detach().numpy().mean(0)  # (frame, 6)
    given = {"center": model.inputs({"x": center})["x"]}
    out = model(model.inputs(batch), model.noise(0, like=batch), given)
    distances = np.square(means - center).sum(-1)
    assert float(out.losses["dino"].detach()) == pytest.approx(distances.mean(), rel=1e-10)
    np.testing.assert_allclose(out.state["center"], 0.75 * center + 0.25 * means.mean(0))


def test_dropout_is_in_the_predictor_and_nowhere_else():
    model, batch = compiled(small(predictor_dropout_rate=0.5)), pairs()
    assert list(small().noises) == []
    first, second = (
        model(model.inputs(batch), model.noise(step, like=batch), model.initial_state()).losses
        for step in (0, 1)
    )
    assert float(first["prediction"].detach()) != float(second["prediction"].detach())
    assert float(first["vicreg"].detach()) == float(second["vicreg"].detach())


@pytest.mark.parametrize("mode", MODES)
def test_the_measure_is_the_prediction_over_the_variance_of_its_target_without_dropout(mode):
    certain, dropped = (
        compiled(small(mode=mode, predictor_dropout_rate=rate)) for rate in (0.0, 0.5)
    )
    batch = pairs(count=7)
    # An untrained target is a copy.
    target = certain.encode(batch["x"], "z").detach().numpy()[:, 1]
    wanted = losses(certain, batch)["prediction"] / target.var(0).mean()
    for model in (certain, dropped):
        found = model.measure(model.inputs(batch), model.noise(0, like=batch))
        assert float(found["prediction_by_variance"]) == pytest.approx(wanted, rel=1e-10)


def test_the_picture_is_what_the_decoder_makes_of_the_embedding():
    model, batch = compiled(small(), "decode"), pairs()
    pictures = model.pictures(model.inputs(batch))["decoded"].numpy()
    wanted = np.square(pictures - batch["x"]).mean()
    assert losses(model, batch)["reconstruction"] == pytest.approx(wanted, rel=1e-10)


# Sizes --------------------------------------------------------------------------------------------

ACTIONS = {"action_embedding"}
# Encoder, argument, value: the modules whose parameters have other shapes.
SHAPED = [
    ("mlp", "hidden", (12, 7), {"encoder"}),
    ("cnn", "channels", (4, 7), {"encoder"}),
    ("vit", "patch", 2, {"encoder"}),
    ("vit", "depth", 2, {"encoder"}),
    ("mlp", "actions", 5, ACTIONS),
    ("mlp", "action_emb_dim", 4, ACTIONS | {"predictor"}),
    ("mlp", "predictor_hidden_dim", 11, {"predictor", "predictor_output"}),
    ("mlp", "latent_dim", 8, {"encoder", "predictor", "predictor_output", "decoder"}),
]


def shapes(spec: lr.Spec) -> dict[str, dict]:
    return {
        name: {path: p.shape for path, p in module.layer.parameters().items()}
        for name, module in spec.modules.items()
    }


@pytest.mark.parametrize(("encoder", "argument", "value", "modules"), SHAPED)
def test_a_size_is_that_of_the_modules_that_it_is_named_for(encoder, argument, value, modules):
    before, after = (
        shapes(small(encoder=encoder)),
        shapes(small(encoder=encoder, **{argument: value})),
    )
    assert {name for name in before if before[name] != after[name]} == modules


def test_sizes_that_are_no_parameters_shape():
    assert small(regulariser="sigreg").inputs["directions"].shape == (6, 16)
    assert small(regulariser="sigreg", sigreg_slices=9).inputs["directions"].shape == (6, 9)
    # Equal weights, split among one, two or three heads.
    specs = [small(encoder="vit", heads=heads) for heads in (1, 2, 3)]
    assert shapes(specs[0]) == shapes(specs[1]) == shapes(specs[2])
    found = {losses(compiled(spec), pairs())["vicreg"] for spec in specs}
    assert len(found) == 3


# Training -----------------------------------------------------------------------------------------

Arrays = dict[str, np.ndarray]


def trained(spec: lr.Spec, backend: str, phase: str, steps: int) -> tuple[list[dict], list[Arrays]]:
    """The losses of each step, and all weights and states before and after each."""
    model = compiled(spec, phase, backend)
    trainer = plugins.backend(backend).trainer(model, {"default": lr.adamw(1e-2, weight_decay=0.1)})
    rows, held = [], [trainer.snapshot()]
    for step in range(steps):
        rows.append(trainer.step(pairs(step), step))
        held.append(trainer.snapshot())
    kept = [{k: a for k, a in arrays.items() if not k.startswith("optimiser/")} for arrays in held]
    return rows, kept


@pytest.mark.parametrize(
    ("phase", "arguments"),
    [  # each mode, encoder and regulariser at least once
        ("jepa", {"mode": "default", "regulariser": "vicreg", "encoder": "vit"}),
        ("jepa", {"mode": "vjepa2", "regulariser": "sigreg", "encoder": "cnn"}),
        ("jepa", {"mode": "none", "regulariser": "dino"}),
        ("jepa", {"mode": "vjepa2", "regulariser": "barlow", "predictor_dropout_rate": 0.3}),
        ("jepa", {"mode": "none", "regulariser": "coding_rate"}),
        ("jepa", {"mode": "vjepa2", "regulariser": "none"}),
        ("decode", {"decoder_source": "target"}),
    ],
)
def test_ten_steps_are_the_same_on_both_backends(phase, arguments):
    spec = small(**arguments)
    (ours, end), (theirs, other) = (trained(spec, b, phase, 10) for b in BACKENDS)
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(yours, rel=1e-6)
    assert end[-1].keys() == other[-1].keys()
    for name, array in end[-1].items():
        np.testing.assert_allclose(array, other[-1][name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("phase", "trained_modules"), [("jepa", {"encoder", *PREDICTOR}), ("decode", {"decoder"})]
)
def test_a_phase_moves_its_modules_and_the_target_by_its_average_alone(
    phase, trained_modules, backend
):
    spec = small(ema_decay=lr.cosine(0.5, 2, final=1.0))
    _, (before, after, last) = trained(spec, backend, phase, 2)
    for name, array in before.items():
        _, module, path = name.split("/", 2)
        if module == "target_encoder":  # the decay at step 0 is 0.5, and at step 1 it is 0.75
            online = f"weights/encoder/{path}"
            first = 0.5 * array + 0.5 * after[online]
            np.testing.assert_allclose(after[name], first, rtol=1e-12, atol=1e-15)
            second = 0.75 * first + 0.25 * last[online]
            np.testing.assert_allclose(last[name], second, rtol=1e-12, atol=1e-15)
        else:
            assert np.array_equal(array, last[name]) is (module not in trained_modules), name


def test_without_a_regulariser_nothing_trains_the_encoder_of_mode_default():
    _, held = trained(small(regulariser="none"), "torch", "jepa", 3)
    for name, array in held[0].items():
        still = name.split("/")[1] in ("encoder", "target_encoder", "decoder")
        # The average of two equal arrays is the same but for rounding.
        assert np.allclose(array, held[-1][name], rtol=1e-15, atol=0) is still, name


class Pairs:
    """Batches that are a function of the step."""

    def __init__(self, seed: int):
        self.seed = seed

    def identity(self) -> dict[str, int]:
        return {"seed": self.seed}

    def batch(self, step: int) -> dict[str, np.ndarray]:
        return pairs(1000 * self.seed + step)


def test_the_recipe_decodes_the_best_embeddings_and_takes_trained_phases_over(tmp_path):
    recipe = jepa.recipe
    given = {
        "optimisers": recipe.optimisers,
        "early_stopping": recipe.early_stopping,
        "phases": recipe.phases,
        "validation": Pairs(1),
        "validate_every": 2,
        "steps": 6,
        "out": tmp_path / "run",
        "display": False,
    }
    lr.train(small(), Pairs(0), **given)
    folder = tmp_path / "run"
    best, end = (load(folder, name).arrays for name in ("best_jepa", "checkpoint"))
    for name, array in best.items():
        if name.startswith("weights/"):
            module = name.split("/")[1]
            stands = np.array_equal(array, end[name])
            assert stands is (module != "decoder"), name
    decode = recipe.phases["decode"]
    assert decode.start == "best"
    assert decode.optimisers != dict(recipe.optimisers)
    again = lr.train(small(), Pairs(0), **given, skip_if_trained=True)
    assert again.steps == 12
    assert all(np.array_equal(a, load(folder).arrays[name]) for name, a in end.items())


# Bad input ----------------------------------------------------------------------------------------

FROM_0_TO_1 = "ema_decay must be a number from 0 to 1; received"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"mode": "defualt"},
            "mode must be one of 'default', 'vjepa2', 'none'; received 'defualt'. "
            "Did you mean 'default'?",
        ),
        (
            {"regulariser": "barlow_twins"},
            "regulariser must be one of 'vicreg', 'barlow', 'dino', 'sigreg', 'coding_rate', "
            "'none'; received 'barlow_twins'. Did you mean 'barlow'?",
        ),
        ({"encoder": "resnet"}, "encoder must be one of 'mlp', 'cnn', 'vit'; received 'resnet'"),
        ({"decoder_source": "both"}, "must be one of 'online', 'target'; received 'both'"),
        ({"mode": "none", "decoder_source": "target"}, "mode 'none' has no target encoder"),
        ({"ema_decay": 1.01}, f"{FROM_0_TO_1} 1.01"),
        ({"ema_decay": -0.1}, f"{FROM_0_TO_1} -0.1"),
        ({"ema_decay": float("nan")}, f"{FROM_0_TO_1} nan"),
        ({"ema_decay": "0.9"}, f"{FROM_0_TO_1} '0.9'"),
        ({"center_ema_decay": 1.0}, "center_ema_decay must be a number of at least 0 and less"),
        ({"predictor_dropout_rate": 1.0}, "predictor_dropout_rate must be a number of at least 0"),
        ({"latent_dim": 0}, "latent_dim (width of an embedding) must be an integer of at least 1"),
        (
            {"encoder": "vit", "latent_dim": 30, "heads": 4},
            "heads must divide dim; received 4 heads for dim 30. Fix: pass one of 1, 2, 3, 5, 6, "
            "10, 15, 30.",
        ),
        (
            {"encoder": "vit", "patch": 3},
            "patch must divide the frame; received (3, 3) for 8 x 8. Fix: pass one of 1, 2, 4, 8",
        ),
        ({"frame": 8}, "frame must be (channels, height, width); received 8"),
        ({"frame": (8, 8)}, "frame must be (channels, height, width); received (8, 8)"),
        ({"frame": None, "encoder": "cnn"}, "a shape holds positive integers, got None"),
        (
            {"auxiliary_weight": -1.0},
            "auxiliary_weight must be a number of at least 0; received -1.0",
        ),
        ({"vicreg_variance": 0.0}, "variance must be a number greater than 0"),
    ],
)
def test_bad_arguments_are_refused_at_declaration_with_what_is_admissible(arguments, message):
    with pytest.raises(lr.SpecError) as raised:
        small(**arguments)
    assert message in str(raised.value)


@pytest.mark.parametrize("decay", [0, 1, 0.0, 1.0])
def test_the_ends_of_the_range_of_the_decay_are_allowed(decay):
    assert small(ema_decay=decay).targets["target_encoder"].decay == decay


def test_the_command_line_says_so_too(capsys):
    assert main(["check", "jepa", "--strict"]) == 0
    assert main(["check", "jepa", "-p", "mode=vjepa"]) == 2
    assert "Did you mean 'vjepa2'?" in capsys.readouterr().err
