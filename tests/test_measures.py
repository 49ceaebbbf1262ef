"""Measures and pictures: what they compute, and that nothing else knows of them."""

import json
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given, settings
from hypothesis import strategies as st

import latentroles as lr
from latentroles.errors import DataError, ShapeError, SpecError
from latentroles.spec import array_measures
from latentroles.spec.array_functions import array_function
from latentroles.testing.laws import LAWS, Case, compiled, inputs, step_of
from latentroles.testing.laws.checks import same_values
from latentroles.testing.strategies import Program, programs
from latentroles_specs.hzp import hzp

BACKENDS = ["torch", "jax"]
few = settings(max_examples=max(1, settings.default.max_examples // 12))
TO = {"numpy": np.asarray, "torch": torch.asarray, "jax": jnp.asarray}
FRAME = (3, 8, 8)


# The functions ------------------------------------------------------------------------------


def top_1(logits: np.ndarray, classes: np.ndarray) -> float:
    """Entry by entry: the chance to hit, where one of the greatest is drawn."""
    found = []
    for i in np.ndindex(classes.shape):
        best = {k for k, v in enumerate(logits[i]) if v == max(logits[i])}
        found.append((classes[i] in best) / len(best))
    return sum(found) / len(found)


def determination(prediction: np.ndarray, target: np.ndarray) -> float:
    """Dimension by dimension: one minus the mean squared error over the variance."""
    p, t = (v.reshape(-1, v.shape[-1]).astype(np.float64) for v in (prediction, target))
    found = []
    for i in range(t.shape[1]):
        same = all(value == t[0, i] for value in t[:, i])
        found.append(0.0 if same else 1 - np.mean((t[:, i] - p[:, i]) ** 2) / np.var(t[:, i]))
    return float(np.mean(found))


def accuracy_is_top_1(accuracy: Callable[..., Any], to: Callable[..., Any]) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        logits = rng.integers(0, 3, (2, 5, 4)).astype(np.float32)  # many are equal
        classes = rng.integers(0, 4, (2, 5))
        assert float(accuracy(to(logits), to(classes))) == pytest.approx(top_1(logits, classes))
        flat = np.full((2, 5, 4), logits.flat[0], np.float32)
        assert float(accuracy(to(flat), to(classes))) == pytest.approx(0.25)
    right = np.eye(4, dtype=np.float32)[classes] - 7.0
    assert float(accuracy(to(right), to(classes))) == 1.0
    assert float(accuracy(to(-right), to(classes))) == 0.0


def r2_is_the_share_explained(r2: Callable[..., Any], to: Callable[..., Any]) -> None:
    def of(p: np.ndarray, t: np.ndarray) -> float:
        return float(r2(to(p.astype(np.float32)), to(t.astype(np.float32)), event=1))

    for seed in range(8):
        rng = np.random.default_rng(seed)
        t = rng.normal(size=(3, 5, 2)) * [1.0, 30.0] + [0.0, 1000.0]
        p = t + rng.normal(size=t.shape) * [0.5, 20.0]
        assert of(p, t) == pytest.approx(determination(p, t), rel=1e-3)
        assert of(t, t) == 1.0
        assert of(np.broadcast_to(t.mean((0, 1)), t.shape), t) == pytest.approx(0.0, abs=1e-4)
        # A tenth has no exact float, and its mean over 15 entries is another number.
        constant = np.concatenate([t[..., :1], np.full_like(t[..., :1], 0.1)], -1)
        assert of(p, constant) == pytest.approx(determination(p[..., :1], t[..., :1]) / 2, rel=1e-3)
    assert of(p, np.full_like(t, 0.1)) == 0.0
    assert of(np.full_like(t, 1e-30), np.where(t > t.mean(), 1e-30, 2e-30)) == 0.0  # underflows


@pytest.mark.parametrize("library", TO)
def test_accuracy_is_top_1(library):
    accuracy_is_top_1(array_measures.accuracy, TO[library])


@pytest.mark.parametrize("library", TO)
def test_r2_is_the_share_explained(library):
    r2_is_the_share_explained(array_measures.r2, TO[library])


def by_argmax(logits: Any, classes: Any) -> Any:
    return (logits.argmax(-1) == classes).mean()


def tie_wins(logits: Any, classes: Any) -> Any:
    chosen = np.take_along_axis(logits, classes[..., None], -1)
    return (chosen == logits.max(-1, keepdims=True)).mean()


def over_all(p: Any, t: Any, event: int) -> Any:
    return 1 - ((t - p) ** 2).sum() / ((t - t.mean()) ** 2).sum()


def per_window(p: Any, t: Any, event: int) -> Any:
    return (1 - ((t - p) ** 2).sum(1) / ((t - t.mean(1, keepdims=True)) ** 2).sum(1)).mean()


def with_epsilon(p: Any, t: Any, event: int) -> Any:
    total = ((t - t.mean((0, 1))) ** 2).sum((0, 1))
    return (1 - ((t - p) ** 2).sum((0, 1)) / (total + 1e-12)).mean()


def correlation(p: Any, t: Any, event: int) -> Any:
    return np.mean([np.corrcoef(p[..., i].flat, t[..., i].flat)[0, 1] ** 2 for i in range(2)])


@pytest.mark.parametrize("planted", [by_argmax, tie_wins])
def test_a_wrong_accuracy_is_found(planted):
    with pytest.raises(AssertionError):
        accuracy_is_top_1(planted, np.asarray)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("planted", [over_all, per_window, with_epsilon, correlation])
def test_a_wrong_r2_is_found(planted):
    with pytest.raises(AssertionError):
        r2_is_the_share_explained(planted, np.asarray)


def test_neither_promotes_ranks_or_types_on_jax():
    rng = np.random.default_rng(0)
    logits, classes = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.integers(0, 4, (2, 3))
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        found = [
            array_measures.accuracy(jnp.asarray(logits), jnp.asarray(classes)),
            array_measures.r2(jnp.asarray(logits), jnp.asarray(2 * logits), event=1),
        ]
    assert all(f.dtype == np.float32 and f.shape == () for f in found)
    assert array_namespace(found[0]) is array_namespace(jnp.zeros(()))


def test_no_gradient_passes_them():
    s = small()
    s.loss("wrong", lr.measures.r2(s.modules["regress"](s.latents["z"].expr), s.inputs["place"]))
    assert not lr.routes(s)["wrong"].modules
    assert not array_function("accuracy").differentiable


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_r2_takes_the_mean_over_every_dimension_of_an_event(shape):
    s = lr.Spec("shapes")
    x, y = s.observation("x", shape), s.label("y", shape)
    s.measure("r2", lr.measures.r2(0.5 * x, y))
    s.loss("loss", lr.losses.mse(x, y))
    rng = np.random.default_rng(0)
    batch = {n: rng.normal(size=(2, 4, *shape)).astype(np.float32) for n in "xy"}
    wanted = determination(*(v.reshape(2, 4, -1) for v in (0.5 * batch["x"], batch["y"])))
    for backend in BACKENDS:
        model = lr.compile(s, backend=backend)
        assert float(model.measure(batch)["r2"]) == pytest.approx(wanted, rel=1e-4)


# The declaration ----------------------------------------------------------------------------


def small(measured: bool = False) -> lr.Spec:
    s = lr.Spec("small")
    x = s.observation("x", FRAME)
    a = s.action("a", lr.Discrete(3))
    room = s.label("room", classes=4)
    place = s.label("place", (2,))
    encoder = s.module("encoder", lr.nn.conv_encoder(FRAME, 4))
    decoder = s.module("decoder", lr.nn.conv_decoder(4, FRAME))
    probe = s.module("probe", lr.nn.linear(4, 4))
    regress = s.module("regress", lr.nn.linear(4, 2))
    turn = s.module("turn", lr.nn.linear(8, 3))
    teacher = s.target(encoder, decay=0.5)
    to_probe = s.gate("to_probe", open=False)
    z = s.latent("z", encoder(x), role=lr.PLACE)
    count = s.state("count", init=1.0)
    s.update(count, 0.5 * count)
    s.loss("recon", lr.losses.mse(decoder(z), x))
    s.loss("room", lr.losses.cross_entropy(probe(z.through(to_probe)), room))
    s.loss("place", lr.losses.mse(regress(z.stop()), place))
    pair = lr.concat(z.t[:-1], z.t[1:])
    s.loss("turn", lr.losses.cross_entropy(turn(pair.stop()), a))
    if measured:
        s.measure("accuracy", lr.measures.accuracy(probe(z), room))
        s.measure("turns", lr.measures.accuracy(turn(pair), a))
        s.measure("r2", lr.measures.r2(regress(z), place))
        s.measure("drift", lr.losses.mse(teacher(x), z))
        s.measure("counted", count)
        s.picture("reconstruction", decoder(z))
        s.picture("later", decoder(z).t[1:])
    return s


def batch_of(frames: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.integers(0, 256, (2, frames, *FRAME), dtype=np.uint8),
        "a": rng.integers(0, 3, (2, frames - 1)),
        "room": rng.integers(0, 4, (2, frames)),
        "place": rng.normal(size=(2, frames, 2)).astype(np.float32),
    }


def step_source(spec: lr.Spec, backend: str) -> str:
    """The emitted method of the training step."""
    source = lr.compile(spec, backend=backend).source
    (found,) = re.findall(
        r"^    def (?:forward|__call__)\(.*?(?=^    def |\Z)", source, re.M | re.S
    )
    return found.rstrip()


def test_a_spec_without_measures_is_what_it_was():
    data = small().to_json()
    assert not {"measures", "pictures"} & set(data)
    s = lr.Spec("tiny")
    x = s.observation("x", (2,))
    s.loss("fit", lr.losses.mse(s.module("f", lr.nn.linear(2, 2))(x), x))
    assert s.hash == TINY  # of the version before there were measures


TINY = "65505737cbda0069"


def test_measures_and_pictures_survive_json_gates_and_enforcing():
    s = small(measured=True)
    s.loss("leak", lr.losses.cross_entropy(s.modules["turn"](pair_of(s)), s.inputs["a"]))
    again = lr.Spec.from_json(json.loads(json.dumps(s.to_json())))
    opened = s.with_gates(to_probe=True)
    mended = lr.enforce(s)
    assert mended.stops
    batch = batch_of()
    wanted = lr.compile(s, backend="torch")
    for other in (again, opened, mended.spec):
        assert list(other.measures) == list(s.measures)
        assert list(other.pictures) == list(s.pictures)
        model = lr.compile(other, backend="torch")
        same_values(numpy(model.measure(batch)), numpy(wanted.measure(batch)))
        same_values(numpy(model.pictures(batch)), numpy(wanted.pictures(batch)))
    assert again.hash == s.hash
    assert again.hash != small().hash


def pair_of(s: lr.Spec) -> lr.Expr:
    z = s.latents["z"].expr
    return lr.concat(z.t[:-1], z.t[1:])


@pytest.mark.parametrize("law", ["S10", "S11", "S12"])
def test_the_laws_of_declarations_hold_with_measures(law):
    for seed in range(3):
        LAWS[law].function(small(measured=True), seed=seed)


def test_diff_names_them():
    assert not lr.diff(small(True), small(True))
    assert "+ measure accuracy" in str(lr.diff(small(), small(True)))
    assert "- picture later" in str(lr.diff(small(True), small()))


def test_routes_and_rules_do_not_know_of_them():
    plain, measured = small(), small(measured=True)
    assert str(lr.routes(measured)) == str(lr.routes(plain))
    before, after = lr.check(plain), lr.check(measured)
    assert after.verdicts == before.verdicts
    assert [str(f).split(": ", 1)[1] for f in after] == [str(f).split(": ", 1)[1] for f in before]


def test_a_module_that_only_a_measure_reads_is_starved():
    s = small()
    only = s.module("only", lr.nn.linear(4, 4))
    s.measure("accuracy", lr.measures.accuracy(only(s.latents["z"].expr), s.inputs["room"]))
    found = [f for f in lr.check(s) if f.rule == "starved-module"]
    assert [f.subject for f in found] == ["only"]


def refused(error: type[Exception], declare: Callable[[lr.Spec], None], *words: str) -> None:
    with pytest.raises(error) as raised:
        declare(small(measured=True))
    assert str(raised.value).startswith("test_measures.py:")
    for word in words:
        assert word in str(raised.value)


REFUSED = {
    "the name of a loss": (
        lambda s: s.measure("recon", lr.losses.mse(s.inputs["x"], 0.0 * s.inputs["x"])),
        SpecError,
        "'recon' is taken by a declared loss",
    ),
    "a loss of the name of a measure": (
        lambda s: s.loss("r2", lr.losses.mse(s.inputs["x"], 0.0 * s.inputs["x"])),
        SpecError,
        "'r2' is taken by a declared measure",
    ),
    "twice": (lambda s: s.measure("r2", 1.0), SpecError, "'r2' is declared twice"),
    "a picture twice": (
        lambda s: s.picture("later", s.inputs["x"]),
        SpecError,
        "'later' is declared twice",
    ),
    "no name": (lambda s: s.measure("a b", 1.0), SpecError, "a measure's name is"),
    "no name of a picture": (
        lambda s: s.picture("class", s.inputs["x"]),
        SpecError,
        "a picture's name is",
    ),
    "a sequence": (
        lambda s: s.measure("m", s.inputs["place"]),
        ShapeError,
        "must be a float scalar, got (batch, T, 2) float. Use a function of lr.measures",
    ),
    "an event": (
        lambda s: s.measure("m", s.inputs["place"].mean(over="time").mean(over="batch")),
        ShapeError,
        "must be a float scalar, got (2) float",
    ),
    "an array": (lambda s: s.measure("m", np.zeros(())), SpecError, "measure 'm' takes Exprs"),
    "vectors": (
        lambda s: s.picture("p", s.latents["z"].expr),
        ShapeError,
        "must be frames (batch, time, C, H, W) of 1 or 3 channels, got (batch, T, 4) float",
    ),
    "two channels": (
        lambda s: s.picture("p", lr.reshape(s.inputs["x"], 2, 12, 8)),
        ShapeError,
        "of 1 or 3 channels",
    ),
    "one frame": (
        lambda s: s.picture("p", s.inputs["x"].t[0]),
        ShapeError,
        "got (batch, 3, 8, 8) float",
    ),
    "rolled out frames": (
        lambda s: s.picture("p", s.inputs["x"].windows(2)),
        ShapeError,
        "of a step axis, pick one: `.k[0]`",
    ),
    "logits of other classes": (
        lambda s: lr.measures.accuracy(s.latents["z"].expr, s.inputs["place"]),
        ShapeError,
        "logits (..., n) are judged by integer classes (...)",
    ),
    "unequal times": (
        lambda s: lr.measures.accuracy(s.latents["z"].expr, s.inputs["a"]),
        ShapeError,
        "unequal time extents",
    ),
    "unequal shapes": (
        lambda s: lr.measures.r2(s.latents["z"].expr, s.inputs["place"]),
        ShapeError,
        "one shape",
    ),
    "means": (
        lambda s: lr.measures.r2(
            *2 * [s.inputs["place"].mean(over="time").mean(over="batch")],
        ),
        ShapeError,
        "without leading axes",
    ),
}


@pytest.mark.parametrize("declare", ["loss", "measure", "latent", "picture", "update"])
def test_nothing_is_declared_of_a_value_inside_a_loop(declare):
    s = small(measured=True)
    kept = s.state("kept")

    def step(carry: lr.Expr, x: lr.Expr) -> lr.Expr:
        size = carry.mean()
        arguments = {
            "loss": ("inside", size),
            "measure": ("inside", size),
            "latent": ("inside", carry),
            "picture": ("inside", carry),
            "update": (kept, size),
        }[declare]
        getattr(s, declare)(*arguments, **({"role": lr.PLACE} if declare == "latent" else {}))
        return carry + x

    xs = s.inputs["place"].mean(over="batch")
    with pytest.raises(SpecError, match=r"^test_measures\.py:.* inside the step of a loop"):
        lr.scan(step, init=lr.zeros(2), xs=xs)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_measure_and_no_picture_is_refused_on_the_line(case):
    declare, error, words = REFUSED[case]
    refused(error, declare, words)


# The compiled model -------------------------------------------------------------------------


def numpy(found: dict[str, Any]) -> dict[str, np.ndarray]:
    return {n: np.asarray(v) for n, v in found.items()}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_training_step_is_emitted_byte_for_byte_as_without(backend):
    def shown(spec: lr.Spec) -> lr.Spec:
        z, x = spec.latents["z"].expr, spec.inputs["x"]
        decoder, inverse = spec.modules["decoder"], spec.modules["inverse_dynamics_h"]
        h = spec.latents["h"].expr
        spec.measure("error", lr.losses.mse(decoder(z), x))
        logits = inverse(lr.concat(h.t[:-1], h.t[1:]))
        spec.measure("accuracy", lr.measures.accuracy(logits, spec.inputs["a"]))
        spec.picture("frames", decoder(z))
        return spec

    assert step_source(shown(hzp()), backend) == step_source(hzp(), backend)
    assert step_source(small(True), backend) == step_source(small(), backend)


def measured_losses(backend: str, program: Program, seed: int) -> None:
    case = Case.one_of(program, seed)
    measured = lr.Spec.from_json(case.spec.to_json())
    for name in case.losses:
        measured.measure(f"measured_{name}", measured.losses[name].expr)
    want = step_of(case, backend)
    case = case.but(measured)
    model = compiled(case, backend)
    found = model.measure(*inputs(model, case), case.step)
    same_values({f"measured_{n}": v for n, v in want.losses.items()}, numpy(found))
    got = step_of(case, backend)
    for name, value in want.losses.items():
        np.testing.assert_array_equal(got.losses[name], value)
    assert step_source(measured, backend) == step_source(program.spec, backend)


@given(program=programs(), seed=st.integers(0, 3))
def test_a_measure_of_a_loss_is_its_value_and_changes_no_step(program, seed):
    """On random specs, with loops, targets, states and noise among them."""
    measured_losses("torch", program, seed)


@given(program=programs(), seed=st.integers(0, 3))
@few
def test_a_measure_of_a_loss_is_its_value_on_jax(program, seed):
    measured_losses("jax", program, seed)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_name_can_be_that_of_a_measure(backend):
    """Those that the emitted method needs itself, of columns and modules; one value twice."""
    names = "losses x batch torch jnp B T self step noise z encoder read".split()
    s = small()
    x = s.inputs["x"]
    for i, name in enumerate(names):
        s.measure(name, lr.losses.mse(x, x + float(i)))
    s.measure("twice", s.measures["read"].expr)
    model = lr.compile(s, backend=backend)
    found = model.measure(batch_of())
    assert list(found) == [*names, "twice"]
    for i, name in enumerate(names):
        assert float(found[name]) == pytest.approx(i**2, rel=1e-5)
    assert float(found["twice"]) == float(found["read"])


def test_both_backends_measure_and_draw_the_same():
    models = [lr.compile(small(True), backend=b, dtype="float64") for b in BACKENDS]
    ours, theirs = ([numpy(m.measure(batch_of())), numpy(m.pictures(batch_of()))] for m in models)
    for one, other in zip(ours, theirs, strict=True):
        assert list(one) == list(other)
        same_values(one, other)
    assert list(ours[0]) == ["accuracy", "turns", "r2", "drift", "counted"]
    shapes = {n: p.shape for n, p in ours[1].items()}
    assert shapes == {"reconstruction": (2, 5, *FRAME), "later": (2, 4, *FRAME)}
    np.testing.assert_array_equal(ours[1]["later"], ours[1]["reconstruction"][:, 1:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_measures_read_weights_targets_and_states_as_they_are_now(backend):
    model = lr.compile(small(True), backend=backend)
    start = {n: float(v) for n, v in model.measure(batch_of()).items()}
    assert start["drift"] == 0.0
    assert start["counted"] == 1.0
    moved = {p: 1.5 * w for p, w in lr.weights(model)["encoder"].items()}
    model = lr.load_weights(model, {"encoder": moved})
    state = {"count": model.full((), 7.0)}
    later = {n: float(v) for n, v in model.measure(batch_of(), state=state).items()}
    assert later["drift"] > 0.0
    assert later["counted"] == 7.0
    model = lr.update_targets(model)
    assert 0.0 < float(model.measure(batch_of())["drift"]) < later["drift"]


def test_a_measure_of_torch_records_no_graph():
    model = lr.compile(small(True), backend="torch")
    found = [*model.measure(batch_of()).values(), *model.pictures(batch_of()).values()]
    assert not any(f.requires_grad for f in found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_spec_that_shows_nothing_gives_nothing(backend):
    model = lr.compile(small(), backend=backend)
    assert model.measure(batch_of()) == {}
    assert model.pictures(batch_of()) == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_measure_lacks_is_said(backend):
    s = small()
    z = s.latents["z"].expr
    eps = s.noise("eps", (4,), axes=("batch",))
    s.measure("far", lr.losses.mse(z.t[4:], z.t[:-4]))
    s.measure("noisy", lr.losses.mse(z, eps))
    model = lr.compile(s, backend=backend)
    short = batch_of(frames=4)
    model(short)  # enough for the losses
    with pytest.raises(DataError, match="measures and pictures of 'small' need at least 5 frames"):
        model.measure(short, model.noise(0, short))
    with pytest.raises(SpecError, match=r"pass model\.noise"):
        model.measure(batch_of())
    with pytest.raises(DataError, match="lacks"):
        model.measure({"a": batch_of()["a"]}, model.noise(0, short))
    assert np.isfinite(float(model.measure(batch_of(), model.noise(0, short))["far"]))
