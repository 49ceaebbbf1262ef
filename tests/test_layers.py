"""Layers: neutral definitions, native builds, and the parity of the two backends."""

import inspect
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import latentroles_jax.layers as in_jax
import latentroles_torch.layers as in_torch
from latentroles.errors import CheckpointError, SpecError
from latentroles.spec import nn
from latentroles_jax.precision import x64
from parity import (
    assert_close,
    assert_parity,
    inputs_for,
    jax_numbers,
    torch_numbers,
    weights_for,
)

pytestmark = pytest.mark.filterwarnings("error")

# One row for each layer, or several: (layer, event shape). Every parity test runs over them.
EXAMPLES = [
    (nn.Linear(5, 3), (5,)),
    (nn.Linear(5, 3, bias=False), (5,)),
    (nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 5, 4)),
    (nn.Conv2d(2, 3, (2, 3), stride=(2, 3)), (2, 5, 6)),
    (nn.Conv2d(2, 3, 2, stride=2, bias=False), (2, 4, 4)),
    (nn.ConvTranspose2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 3, 4)),
    (nn.ConvTranspose2d(2, 3, (2, 3), padding=(1, 0)), (2, 3, 4)),
    (nn.ConvTranspose2d(2, 3, (2, 3), stride=(2, 3)), (2, 3, 2)),
    (nn.ConvTranspose2d(2, 3, 2, stride=2, bias=False), (2, 3, 2)),
    (nn.LayerNorm(6), (6,)),
    (nn.LayerNorm((2, 3), eps=1e-2, affine=False), (2, 3)),
    (nn.GroupNorm(2, 6), (6, 3)),
    (nn.GroupNorm(3, 6, eps=1e-2, affine=False), (6, 2, 2)),
    (nn.Embedding(4, 3), ()),
    (nn.GRU(3, 4), (3,)),
    (nn.Relu(), (4,)),
    (nn.Gelu("exact"), (4,)),
    (nn.Gelu("tanh"), (4,)),
    (nn.Silu(), (2, 3)),
    (nn.Tanh(), (4,)),
    (nn.Sigmoid(), (4,)),
    (nn.Flatten(3), (2, 3, 4)),
    (nn.Flatten(1), (4,)),
    (nn.Rearrange("c (h p) w -> p (w c) h", {"p": 2}), (2, 4, 3)),
    (nn.Rearrange("(h p) -> (p h)", {"p": 2}), (6,)),
    (nn.Reduce("c h w -> c", "mean"), (2, 3, 4)),
    (nn.Reduce("(g c) h -> g h", "max", {"g": 2}), (4, 3)),
    (nn.Sequential([nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6)]), (4,)),
    (nn.Residual(nn.Sequential([nn.Linear(4, 4), nn.Residual(nn.Linear(4, 4))])), (4,)),
    (nn.Residual(nn.Linear(4, 3), nn.Linear(4, 3, bias=False)), (4,)),
    (nn.ForEach(nn.Linear(4, 2)), (3, 4)),
    (nn.ForEach(nn.Conv2d(2, 3, 2)), (2, 2, 3, 3)),
    (nn.ForEach(nn.Embedding(4, 2)), (3,)),
    (nn.MaxPool2d((3, 2), (2, 1), (1, 0)), (2, 5, 4)),
    (nn.MaxPool2d(2, 3), (2, 6, 5)),
    (nn.AvgPool2d((3, 2), (2, 1), (1, 0)), (2, 5, 4)),
    (nn.AvgPool2d(2, 3), (2, 6, 5)),
    (nn.Attention(6, 2), (3, 6)),
    (nn.Attention(6, 3, causal=True), (3, 6)),
    (nn.Attention(4, 1, mask=((True, True), (False, False))), (2, 4)),
    (nn.PrependToken(3), (2, 3)),
    (nn.Positions(2, 3), (2, 3)),
    (nn.Take(1), (3, 2)),
    (nn.mlp(3, 2, hidden=(4, 5), activation="relu"), (3,)),
    (nn.conv_encoder((3, 8, 12), 5, channels=(2, 3)), (3, 8, 12)),
    (nn.conv_decoder(5, (3, 8, 12), channels=(2, 3)), (5,)),
]
NAMES = [f"{i}-{type(layer).__name__}" for i, (layer, _) in enumerate(EXAMPLES)]
each_layer = pytest.mark.parametrize(("layer", "shape"), EXAMPLES, ids=NAMES)


@pytest.fixture(scope="module", autouse=True)
def strict_jax():
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


def test_every_layer_has_an_example_and_two_builders():
    known = set(nn.LAYERS.classes.values())
    assert {type(layer) for layer, _ in EXAMPLES} == known
    assert set(in_torch.BUILDERS) == known
    assert set(in_jax.BUILDERS) == known


@each_layer
def test_backends_agree_in_float64(layer, shape):
    with x64():
        assert_parity(layer, shape)


@each_layer
def test_backends_agree_in_float32(layer, shape):
    assert_parity(layer, shape, "float32", value=1e-5, gradient=1e-5)


@each_layer
def test_parameter_paths_are_those_of_the_torch_module(layer, shape):
    module = in_torch.build(layer, weights_for(layer), "float32")
    shapes = {path: tuple(p.shape) for path, p in module.named_parameters()}
    assert shapes == {path: p.shape for path, p in layer.parameters().items()}
    assert all(p.requires_grad for p in module.parameters())


@each_layer
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_weights_round_trip_bitwise(layer, shape, dtype):
    weights = weights_for(layer)
    exact = {"float64": np.float64}.get(dtype, np.float32)
    with x64():
        module = in_torch.build(layer, weights, dtype)
        first = in_torch.weights_of(layer, module)
        zeros = {path: np.zeros_like(w) for path, w in weights.items()}
        in_jax_ = in_jax.with_weights(layer, in_jax.build(layer, zeros, dtype), first)
        second = in_jax.weights_of(layer, in_jax_)
        again = in_torch.with_weights(layer, in_torch.build(layer, zeros, dtype), second)
        third = in_torch.weights_of(layer, again)
        # Built straight from the float64 weights, jax rounds to the same bits as torch.
        straight = in_jax.weights_of(layer, in_jax.build(layer, weights, dtype))
    for path in weights:
        assert first[path].dtype == exact
        if dtype == "float64":
            np.testing.assert_array_equal(first[path], weights[path])
        for other in (second, third, straight):
            assert other[path].dtype == exact
            np.testing.assert_array_equal(other[path], first[path])


@each_layer
def test_json_round_trip(layer, shape):
    back = nn.from_json(json.loads(json.dumps(layer.to_json())))
    assert back == layer
    assert hash(back) == hash(layer)
    assert layer.to_json()["layer"] == type(layer).__name__


@each_layer
def test_layers_act_per_frame(layer, shape):
    assert not layer.mixes_time
    assert not layer.mixes_batch


def reads_and_returns_vectors(layer: nn.Layer, shape: tuple[int, ...]) -> bool:
    return len(shape) < 2 and len(layer.out_shape(shape)) == 1 and not isinstance(layer, nn.GRU)


@pytest.mark.parametrize(
    ("layer", "shape"), [row for row in EXAMPLES if reads_and_returns_vectors(*row)]
)
def test_torch_modules_of_vectors_take_any_leading_axes(layer, shape):
    module = in_torch.build(layer, weights_for(layer), "float64")
    (x,) = inputs_for(layer, shape, count=6)
    flat = module(torch.tensor(x))
    for leading in ((), (2, 3), (3, 1, 2)):
        count = math.prod(leading)
        y = module(torch.tensor(x[:count].reshape(leading + shape)))
        torch.testing.assert_close(y, flat[:count].reshape(y.shape), rtol=0, atol=1e-14)
        assert y.shape == leading + layer.out_shape(shape)


@pytest.fixture(scope="module")
def quick_compilation():
    """Half the compilation time: each shape that hypothesis tries is compiled anew."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


sides = st.integers(1, 4)
pairs = st.tuples(sides, sides)


@pytest.mark.usefixtures("quick_compilation")
@given(pairs, pairs, st.tuples(st.integers(0, 3), st.integers(0, 3)), pairs, st.booleans())
def test_convolutions_agree(kernel, stride, padding, extra, bias):
    layer = nn.Conv2d(2, 3, kernel, stride, padding, bias)
    size = [max(1, k - 2 * p) + e for k, p, e in zip(kernel, padding, extra, strict=True)]
    with x64():
        assert_parity(layer, (2, *size))


@pytest.mark.usefixtures("quick_compilation")
@given(pairs, pairs, st.tuples(st.integers(0, 3), st.integers(0, 3)), pairs, st.booleans())
def test_transposed_convolutions_agree(kernel, stride, padding, size, bias):
    layer = nn.ConvTranspose2d(2, 3, kernel, stride, padding, bias)
    columns = zip(size, kernel, stride, padding, strict=True)
    assume(all((n - 1) * s - 2 * p + k > 0 for n, k, s, p in columns))
    with x64():
        assert_parity(layer, (2, *size))


@pytest.mark.usefixtures("quick_compilation")
@given(pairs, pairs, pairs)
def test_patchwise_convolutions_agree(kernel, size, left_over):
    sides = tuple(k * n + e for k, n, e in zip(kernel, size, left_over, strict=True))
    with x64():
        assert_parity(nn.Conv2d(2, 3, kernel, kernel), (2, *sides))


def test_the_gradient_of_a_padded_convolution_does_not_end_the_process():
    """XLA aborts on this one when the padding is its own; a size that hypothesis rarely draws."""
    with x64():
        assert_parity(nn.Conv2d(2, 3, (2, 3), stride=2, padding=1), (2, 4, 4))


def test_convolutions_have_their_definitions():
    rng = np.random.default_rng(0)
    kernel, stride, padding = (3, 2), (2, 1), (1, 0)
    x, bias = rng.normal(size=(2, 4, 3)), rng.normal(size=3)

    layer = nn.Conv2d(2, 3, kernel, stride, padding)
    w = rng.normal(size=(3, 2, 3, 2))
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    wanted = np.zeros(layer.out_shape(x.shape))
    for o, i, j in np.ndindex(*wanted.shape):
        patch = padded[:, i * 2 : i * 2 + 3, j : j + 2]
        wanted[o, i, j] = bias[o] + np.sum(w[o] * patch)
    y, _ = torch_numbers(layer, {"weight": w, "bias": bias}, (x[None],), "float64")
    assert_close(y[0], wanted, 1e-12, "Conv2d")

    layer = nn.ConvTranspose2d(2, 3, kernel, stride, padding)
    w = rng.normal(size=(2, 3, 3, 2))
    whole = np.zeros((3, 9, 4))
    for c, i, j in np.ndindex(*x.shape):
        whole[:, i * 2 : i * 2 + 3, j : j + 2] += w[c] * x[c, i, j]
    wanted = whole[:, 1:8, :] + bias[:, None, None]
    assert layer.out_shape(x.shape) == wanted.shape
    y, _ = torch_numbers(layer, {"weight": w, "bias": bias}, (x[None],), "float64")
    assert_close(y[0], wanted, 1e-12, "ConvTranspose2d")


def test_gru_has_its_definition():
    layer = nn.GRU(3, 4)
    weights = weights_for(layer)
    h, x = (v[0] for v in inputs_for(layer, (3,)))
    p = weights["weight_input"] @ x + weights["bias"]
    q = weights["weight_hidden"] @ h
    reset, update = (1 / (1 + np.exp(-(p[s] + q[s]))) for s in (slice(0, 4), slice(4, 8)))
    new = np.tanh(p[8:] + reset * q[8:])
    wanted = (1 - update) * new + update * h
    module = in_torch.build(layer, weights, "float64")
    projected = module.project(torch.tensor(x))
    assert projected.shape == layer.project_shape((3,))
    assert_close(module.step(torch.tensor(h), projected).detach().numpy(), wanted, 1e-12, "step")
    with x64():
        module = in_jax.build(layer, weights, "float64")
        projected = module.project(jnp.asarray(x))
        assert projected.shape == layer.project_shape((3,))
        got = np.asarray(module.step(jnp.asarray(h), projected))
    assert_close(got, wanted, 1e-12, "step")
    assert layer.step_shape((4,), (12,)) == (4,)


def attention_of(layer: nn.Attention, weights, x: np.ndarray) -> np.ndarray:
    """One event, token by token and head by head, as the layer's docstring says it."""
    size = layer.dim // layer.heads
    projected = x @ weights["qkv.weight"].T + weights["qkv.bias"]
    q, k, v = (projected[:, i * layer.dim : (i + 1) * layer.dim] for i in range(3))
    y = np.zeros_like(x)
    for i, h in np.ndindex(len(x), layer.heads):
        read = [j for j in range(len(x)) if layer.mask is None or layer.mask[i][j]]
        read = [j for j in read if j <= i or not layer.causal]
        at = slice(h * size, (h + 1) * size)
        scores = np.array([np.exp(q[i, at] @ k[j, at] / math.sqrt(size)) for j in read])
        y[i, at] = sum((s * v[j, at] for s, j in zip(scores / scores.sum(), read, strict=True)), 0)
    return y @ weights["output.weight"].T + weights["output.bias"]


MASK = ((True, True, False), (False, False, False), (False, True, True))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Attention(6, 2),
        nn.Attention(6, 3, causal=True),
        nn.Attention(6, 2, mask=MASK),
        nn.Attention(6, 2, mask=MASK, causal=True),
    ],
    ids=["free", "causal", "masked", "both"],
)
def test_attention_has_its_definition(layer):
    weights, (x,) = weights_for(layer), inputs_for(layer, (3, 6))
    wanted = np.stack([attention_of(layer, weights, event) for event in x])
    with x64():
        for numbers in (torch_numbers, jax_numbers):
            got, gradients = numbers(layer, weights, (x,), "float64")
            assert_close(got, wanted, 1e-12, numbers.__name__)
            assert all(np.isfinite(g).all() for g in gradients.values())


def test_layers_of_tokens_have_their_definitions():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    weights = {layer: weights_for(layer) for layer in (nn.PrependToken(4), nn.Positions(3, 4))}
    (token,), (positions,) = (w.values() for w in weights.values())
    wanted = {
        nn.PrependToken(4): np.stack([np.concatenate([token[None], event]) for event in x]),
        nn.Positions(3, 4): x + positions,
        nn.Take(2): x[:, 2],
        nn.ForEach(nn.Take(1)): x[:, :, 1],
    }
    for layer, y in wanted.items():
        got, _ = torch_numbers(layer, weights.get(layer, {}), (x,), "float64")
        np.testing.assert_array_equal(got, y)


def test_pooling_has_its_definition():
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    inside = np.pad(np.ones_like(x), ((0, 0), (1, 1), (0, 0)))
    values = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    for layer in (nn.MaxPool2d((3, 2), (2, 1), (1, 0)), nn.AvgPool2d((3, 2), (2, 1), (1, 0))):
        wanted = np.zeros(layer.out_shape(x.shape))
        for c, i, j in np.ndindex(*wanted.shape):
            at = (c, slice(2 * i, 2 * i + 3), slice(j, j + 2))
            pixels = values[at][inside[at] == 1]
            wanted[c, i, j] = pixels.max() if isinstance(layer, nn.MaxPool2d) else pixels.mean()
        y, _ = torch_numbers(layer, {}, (x[None],), "float64")
        assert_close(y[0], wanted, 1e-12, type(layer).__name__)


@pytest.mark.usefixtures("quick_compilation")
@given(pairs, pairs, st.tuples(st.integers(0, 2), st.integers(0, 2)), pairs, st.booleans())
def test_pooling_agrees(kernel, stride, padding, extra, largest):
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    layer = (nn.MaxPool2d if largest else nn.AvgPool2d)(kernel, stride, padding)
    size = [max(1, k - 2 * p) + e for k, p, e in zip(kernel, padding, extra, strict=True)]
    with x64():
        assert_parity(layer, (2, *size))


def test_gelu_forms_are_the_named_ones():
    x = np.linspace(-3, 3, 7)
    exact = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])
    got, _ = torch_numbers(nn.Gelu("exact"), {}, (x,), "float64")
    assert_close(got, exact, 1e-12, "exact")
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    got, _ = torch_numbers(nn.Gelu("tanh"), {}, (x,), "float64")
    assert_close(got, 0.5 * x * (1 + np.tanh(inner)), 1e-12, "tanh")


def test_kinks_agree():
    """Subgradients at ties and at zero, where random inputs never are."""
    with x64():
        for layer in (nn.Relu(), nn.Reduce("n -> ()", "max"), nn.Reduce("n -> ()", "min")):
            _, wanted = torch_numbers(layer, {}, (np.zeros((1, 4)),), "float64")
            _, got = jax_numbers(layer, {}, (np.zeros((1, 4)),), "float64")
            np.testing.assert_array_equal(got["input0"], wanted["input0"])
        for layer in (nn.MaxPool2d(2, 1), nn.MaxPool2d((1, 3), 1, (0, 1))):
            tied = (np.zeros((1, 1, 2, 3)),)
            _, wanted = torch_numbers(layer, {}, tied, "float64")
            _, got = jax_numbers(layer, {}, tied, "float64")
            np.testing.assert_array_equal(got["input0"], wanted["input0"])
        constant = (np.full((1, 4), 2.0),)
        _, wanted = torch_numbers(nn.LayerNorm(4, affine=False), {}, constant, "float64")
        _, got = jax_numbers(nn.LayerNorm(4, affine=False), {}, constant, "float64")
        np.testing.assert_allclose(got["input0"], wanted["input0"], atol=1e-9)


def test_jax_modules_pass_through_plain_transformations():
    layer = nn.conv_encoder((1, 8, 8), 3, channels=(2, 2))
    module = in_jax.build(layer, weights_for(layer))
    x = jnp.ones((2, 3, 1, 8, 8))
    per_frame = jax.jit(lambda module, x: jax.vmap(jax.vmap(module))(x))
    assert per_frame(module, x).shape == (2, 3, 3)
    grads = jax.jit(jax.grad(lambda module, x: jnp.sum(module(x))))(module, x[0, 0])
    assert in_jax.weights_of(layer, grads).keys() == layer.parameters().keys()


def test_building_draws_no_random_numbers():
    before = torch.get_rng_state()
    for layer, _ in EXAMPLES:
        in_torch.build(layer, weights_for(layer))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("backend", [in_torch, in_jax])
def test_weights_of_another_module_are_refused(backend):
    layer = nn.mlp(3, 2, hidden=(4,))
    weights = weights_for(layer)
    for wrong, words in (
        ({}, "no '0.weight'"),
        (weights | {"9.bias": np.zeros(1)}, "an unknown '9.bias'"),
        (weights | {"0.bias": np.zeros(5)}, r"'0.bias' of shape \(5,\) instead of \(4,\)"),
    ):
        with pytest.raises(CheckpointError, match=words):
            backend.build(layer, wrong)
        module = backend.build(layer, weights)
        with pytest.raises(CheckpointError, match=words):
            backend.with_weights(layer, module, wrong)


@pytest.mark.parametrize("backend", [in_torch, in_jax])
def test_a_layer_without_builder_is_refused(backend):
    class Linear2(nn.Linear):
        pass

    layer = Linear2(1, 1)
    with pytest.raises(SpecError, match=r"none for Linear2.*BUILDERS"):
        backend.build(layer, weights_for(layer))


@pytest.mark.parametrize("backend", [in_torch, in_jax])
def test_other_dtypes_are_refused(backend):
    layer = nn.Linear(1, 1)
    with pytest.raises(SpecError, match="'float32', 'float64', 'bfloat16'; received 'float16'"):
        backend.build(layer, weights_for(layer), "float16")


def test_float64_in_jax_needs_its_context():
    layer = nn.Linear(1, 1)
    with pytest.raises(SpecError, match="x64"):
        in_jax.build(layer, weights_for(layer), "float64")


@pytest.mark.parametrize("backend", [in_torch, in_jax])
def test_weights_are_copies(backend):
    layer = nn.Linear(1, 1, bias=False)
    given = {"weight": np.full((1, 1), 1.0)}
    with x64():
        module = backend.build(layer, given, "float64")
        taken = backend.weights_of(layer, module)
        given["weight"][:] = 5.0
        module = backend.with_weights(layer, module, {"weight": np.full((1, 1), 3.0)})
        assert taken["weight"] == 1.0
        taken["weight"][:] = 7.0
        assert backend.weights_of(layer, module)["weight"] == 3.0


def test_torch_weights_change_in_place_and_jax_weights_do_not():
    layer = nn.Linear(1, 1, bias=False)
    two = {"weight": np.full((1, 1), 2.0)}
    module = in_torch.build(layer, weights_for(layer))
    parameter = module.weight
    assert in_torch.with_weights(layer, module, two) is module
    assert module.weight is parameter
    assert parameter.item() == 2.0
    module = in_jax.build(layer, weights_for(layer))
    assert in_jax.with_weights(layer, module, two).weight.item() == 2.0
    assert module.weight.item() != 2.0


@pytest.mark.parametrize("name", ["BatchNorm2d", "batch_norm", "BatchNorm"])
def test_no_statistics_of_a_batch_and_why(name):
    with pytest.raises(AttributeError, match=f"no {name}: .* Fix: lr.nn.GroupNorm"):
        getattr(nn, name)


def test_a_layer_that_is_not_there_has_a_near_name():
    with pytest.raises(AttributeError, match=r"lr.nn has no 'conv2d'\. Did you mean 'Conv2d'"):
        nn.conv2d  # noqa: B018
    assert not hasattr(nn, "__wrapped__")
    with pytest.raises(AttributeError, match=r"lr.nn has no 'resnet'\. Did you mean 'resnet18'"):
        nn.resnet  # noqa: B018


def test_only_layers_and_architectures_are_suggested():
    with pytest.raises(AttributeError, match=r"lr.nn has no 'xyzzy'\. Known: .*\.$") as caught:
        nn.xyzzy  # noqa: B018
    known = str(caught.value).partition("Known: ")[2].rstrip(".").split(", ")

    def makes(value):
        if inspect.isfunction(value):
            value = inspect.signature(value).return_annotation
        return inspect.isclass(value) and issubclass(value, nn.Layer)

    held = {n for n, v in vars(nn).items() if n[0] != "_" and makes(v)}
    assert known == sorted(held - {"Layer", "from_json"})
    for name in ("Nearest", "foo", "from_jsn", "Layers", "ACTIVATION", "Parameters"):
        with pytest.raises(AttributeError) as caught:
            getattr(nn, name)
        near = re.search("mean '(.*)'", str(caught.value))
        assert near is None or near[1] in known
