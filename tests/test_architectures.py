"""Architectures: what they are made of, their parity, and one compiled step of each."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
import latentroles_jax.layers as in_jax
import latentroles_torch.layers as in_torch
from latentroles import plugins
from latentroles.spec import nn
from latentroles_jax.precision import x64
from parity import assert_parity, same_step, step_like_reference, weights_for

FRAME = (2, 8, 8)
TINY = {
    "cnn": (nn.cnn(FRAME, 3, channels=(2, 3)), FRAME, (3,)),
    "vit": (nn.vit(FRAME, 4, patch=4, depth=1, heads=2), FRAME, (4,)),
    "vit, mean": (nn.vit(FRAME, 4, patch=(4, 8), depth=1, heads=2, pool="mean"), FRAME, (4,)),
    "resnet18": (nn.resnet18(FRAME, 3, width=2, stem="small"), FRAME, (3,)),
    "transformer": (nn.transformer(4, 2, 2), (3, 4), (3, 4)),
    "transformer, causal": (nn.transformer(4, 1, 2, tokens=3, causal=True), (3, 4), (3, 4)),
    "transformer, token": (nn.transformer(4, 1, 2, tokens=3, pool="token"), (3, 4), (4,)),
    "transformer, mean": (nn.transformer(4, 1, 1, pool="mean"), (3, 4), (4,)),
}
each_one = pytest.mark.parametrize(("layer", "reads", "gives"), TINY.values(), ids=TINY)


def parameters(layer: nn.Layer) -> int:
    return sum(math.prod(p.shape) for p in layer.parameters().values())


def on_torch(layer: nn.Layer, x: np.ndarray) -> np.ndarray:
    return in_torch.build(layer, weights_for(layer), "float64")(torch.tensor(x)).detach().numpy()


@each_one
def test_shapes_and_scope(layer, reads, gives):
    assert layer.out_shape(reads) == gives
    assert not layer.mixes_time
    assert not layer.mixes_batch
    assert nn.from_json(layer.to_json()) == layer


@each_one
def test_weights_pass_from_backend_to_backend_bitwise(layer, reads, gives):
    weights = weights_for(layer)
    with x64():
        first = in_torch.weights_of(layer, in_torch.build(layer, weights, "float64"))
        second = in_jax.weights_of(layer, in_jax.build(layer, first, "float64"))
        third = in_torch.weights_of(layer, in_torch.build(layer, second, "float64"))
    for path, array in weights.items():
        np.testing.assert_array_equal(third[path], array)


# resnet18, which takes long to compile, is compared in the compiled step below.
@pytest.mark.parametrize("name", [name for name in TINY if name != "resnet18"])
def test_backends_agree(name):
    layer, reads, _ = TINY[name]
    with x64():
        assert_parity(layer, reads)
    if name in ("cnn", "vit"):
        assert_parity(layer, reads, "float32", value=1e-5, gradient=1e-4)


def test_sizes_are_those_of_the_papers():
    """GroupNorm has the parameters of BatchNorm: the numbers are those of the published models."""
    resnet = nn.resnet18((3, 224, 224), 1000)
    assert parameters(resnet) == 11_689_512
    assert resnet.out_shape((3, 224, 224)) == (1000,)
    head = 768 * 1000 + 1000
    vit = nn.vit((3, 224, 224), 768, patch=16, depth=12, heads=12)
    assert parameters(vit) == 86_567_656 - head


@pytest.mark.parametrize(
    ("stem", "sides"), [("large", (56, 28, 14, 7)), ("small", (224, 112, 56, 28))]
)
def test_resnet18_has_its_stages(stem, sides):
    shape, seen = (3, 224, 224), []
    for layer in nn.resnet18((3, 224, 224), 10, stem=stem).layers:
        shape = layer.out_shape(shape)
        if isinstance(layer, nn.Residual):
            seen.append(shape)
    assert seen == [(64 * 2 ** (i // 2), sides[i // 2], sides[i // 2]) for i in range(8)]


def resnet18_by_hand(weights: dict[str, np.ndarray], x: np.ndarray) -> torch.Tensor:
    """The paper's formulas with norms of one group, on the parameters in their order."""
    left = iter(torch.tensor(w) for w in weights.values())

    def normed_convolution(x: torch.Tensor, stride: int) -> torch.Tensor:
        kernel, scale, shift = next(left), next(left), next(left)
        y = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return F.group_norm(y, 1, scale, shift)

    y = F.relu(normed_convolution(torch.tensor(x), 1))
    for stage, block in np.ndindex(4, 2):
        stride = 2 if stage and not block else 1
        body = normed_convolution(F.relu(normed_convolution(y, stride)), 1)
        y = F.relu(body + (y if stride == 1 else normed_convolution(y, stride)))
    return F.linear(y.mean((-1, -2)), next(left), next(left))


def test_resnet18_has_its_definition():
    layer = nn.resnet18(FRAME, 3, width=2, stem="small")
    x = np.random.default_rng(0).normal(size=(2, *FRAME))
    wanted = resnet18_by_hand(weights_for(layer), x)
    np.testing.assert_allclose(on_torch(layer, x), wanted, atol=1e-12)
    stem = nn.resnet18((3, 64, 64), 3, width=2).layers[:4]
    assert stem[0] == nn.Conv2d(3, 2, 7, stride=2, padding=3, bias=False)
    assert stem[1:] == (nn.GroupNorm(1, 2), nn.Relu(), nn.MaxPool2d(3, 2, 1))


@pytest.mark.parametrize(("width", "groups"), [(64, 4), (16, 1), (8, 1), (40, 2), (33, 1)])
def test_resnet18_norms_groups_of_16_channels_or_a_little_more(width, groups):
    first = nn.resnet18((3, 8, 8), 2, width=width).layers[1]
    assert first == nn.GroupNorm(groups, width)


def test_a_cnn_reads_frames_of_any_size():
    for frame, width in (((3, 56, 56), 7 * 7), ((1, 17, 9), 3 * 2), ((1, 1, 1), 1)):
        layer = nn.cnn(frame, 5)
        assert layer.out_shape(frame) == (5,)
        assert layer.layers[-1] == nn.Linear(128 * width, 5)
    one = nn.cnn((3, 9, 8), 2, channels=(4,), kernel=(3, 2), stride=1, padding=0, activation="tanh")
    assert one.layers[:2] == (nn.Conv2d(3, 4, (3, 2)), nn.Tanh())


# torch's own forward derivatives say this of themselves.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("name", ["vit", "transformer, causal"])
def test_torch_modules_pass_through_plain_transformations(name):
    layer, reads, _ = TINY[name]
    module = in_torch.build(layer, weights_for(layer), "float64")
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, *reads)))
    wanted = module(x.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(torch.vmap(module)(x), wanted)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x[0]), wanted[0])
    _, moved = torch.func.jvp(module, (x[0],), (x[1],))
    there, back = module(x[0] + 1e-6 * x[1]), module(x[0] - 1e-6 * x[1])
    torch.testing.assert_close(moved, (there - back) / 2e-6, rtol=1e-6, atol=1e-6)


tokens = st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).normal(size=(2, 5, 4)))
orders = st.permutations(range(5))


@given(tokens, orders)
def test_tokens_without_positions_have_no_order(x, order):
    free, mean = nn.transformer(4, 2, 2), nn.transformer(4, 1, 2, pool="mean")
    np.testing.assert_allclose(on_torch(free, x[:, order]), on_torch(free, x)[:, order], atol=1e-12)
    np.testing.assert_allclose(on_torch(mean, x[:, order]), on_torch(mean, x), atol=1e-12)
    placed = nn.transformer(4, 1, 2, tokens=5, pool="mean")
    if list(order) != list(range(5)):
        assert np.abs(on_torch(placed, x[:, order]) - on_torch(placed, x)).max() > 1e-6


@given(tokens)
def test_a_block_that_adds_nothing_is_the_identity(x):
    """Its norms stand inside the residuals, before attention and perceptron."""
    layer = nn.transformer_block(4, 2)
    weights = weights_for(layer)
    for path in weights:
        if "output" in path or path.startswith("1.body.body.3"):
            weights[path] *= 0.0
    y = in_torch.build(layer, weights, "float64")(torch.tensor(x))
    np.testing.assert_array_equal(y.detach().numpy(), x)


@given(tokens, st.integers(0, 4))
def test_a_causal_token_reads_itself_and_those_before_it(x, i):
    causal, free = nn.transformer(4, 2, 2, causal=True), nn.transformer(4, 2, 2)
    changed = x.copy()
    changed[:, i, 0] += 1.0
    moved = np.abs(on_torch(causal, changed) - on_torch(causal, x)).max(axis=(0, 2)) > 1e-12
    np.testing.assert_array_equal(moved, np.arange(5) >= i)
    assert (np.abs(on_torch(free, changed) - on_torch(free, x)).max(axis=(0, 2)) > 1e-12).all()


def test_pools_are_of_the_same_tokens():
    """The mean is that of the tokens, and the token in front reads them all."""
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    whole, mean = (nn.transformer(4, 1, 2, pool=p) for p in ("none", "mean"))
    np.testing.assert_allclose(on_torch(mean, x), on_torch(whole, x).mean(1), atol=1e-12)
    token = nn.transformer(4, 1, 2, pool="token")
    for i in range(5):
        changed = x.copy()
        changed[:, i, 0] += 1.0
        assert np.abs(on_torch(token, changed) - on_torch(token, x)).max() > 1e-6


def test_a_patch_is_one_token():
    """With depth 1 and no positions to speak of, exchanged patches exchange their tokens."""
    embed = nn.Sequential(nn.vit(FRAME, 4, patch=(4, 2), depth=1, heads=2).layers[:2])
    x = np.random.default_rng(0).normal(size=(1, *FRAME))
    changed = x.copy()
    changed[:, :, 4:, 2:4] += 1.0
    moved = np.abs(on_torch(embed, changed) - on_torch(embed, x)).max(axis=(0, 2)) > 0
    np.testing.assert_array_equal(np.flatnonzero(moved), [5])  # row 1 of 2, column 1 of 4


# One compiled step -------------------------------------------------------------------------------


def aggregated() -> lr.Spec:
    """Frames by a small ResNet-18, three of them as tokens of an [AGG] transformer."""
    s = lr.Spec("aggregated")
    x = s.observation("x", FRAME)
    encoder = s.module("encoder", TINY["resnet18"][0])
    patches = s.module("patches", TINY["vit"][0])
    plain = s.module("plain", TINY["cnn"][0])
    aggregator = s.module("aggregator", nn.transformer(3, 1, 1, tokens=2, pool="token"))
    teacher = s.target(patches, decay=0.9)
    head = s.module("head", nn.linear(3, 4))
    z = s.latent("z", encoder(x) + plain(x.stop()), role=lr.EQUIVARIANT)
    agg = s.latent("agg", aggregator(lr.stack(z.t[0], z.t[1])), role=lr.AGGREGATE)
    s.loss("predict", lr.losses.mse(head(agg), teacher(x.t[2])))
    s.loss(
        "frozen",
        lr.losses.mse(head(aggregator.frozen(lr.stack([z.t[1], z.t[2]]))), patches(x.t[0])),
    )
    return s


def test_a_compiled_step_of_each_architecture():
    """On torch it is its masked reference, and on JAX, where that takes long, it is torch's."""
    spec, rng = aggregated(), np.random.default_rng(0)
    batch, _, wanted = step_like_reference(spec, "torch", {"x": rng.normal(size=(2, 3, *FRAME))})
    with x64():
        model = lr.compile(spec, backend="jax", dtype="float64")
        got = plugins.backend("jax").loss_gradients(model, batch)
    same_step(got.losses, got.gradients, wanted.losses, wanted.gradients, "float64")
    for loss, reached in (
        ("frozen", {"encoder", "plain", "head", "patches"}),
        ("predict", {"encoder", "plain", "head", "aggregator"}),
    ):
        for found in (got, wanted):
            moved = {m for m, g in found.gradients[loss].items() if any(map(np.any, g.values()))}
            assert moved == reached


def test_stacked_tokens_are_their_frames():
    s = lr.Spec("stacked")
    x = s.observation("x", (2, 3))
    both = s.latent("both", lr.stack(x.t[1], x.t[0]), role=lr.DESCRIPTOR)
    assert both.type == lr.stack([x.t[1], x.t[0]]).type
    assert (both.axes, both.shape) == (("batch",), (2, 2, 3))
    s.loss("use", lr.losses.mse(s.module("f", nn.Flatten(3))(both), lr.zeros(12)))
    batch = {"x": np.random.default_rng(0).normal(size=(2, 3, 2, 3))}
    step = step_like_reference(s, "torch", batch).results
    np.testing.assert_array_equal(step.latents["both"], batch["x"][:, [1, 0]])
    with pytest.raises(lr.ShapeError, match="stack needs equal event shapes"):
        lr.stack(x.t[0], x.t[0].mean(over="event"))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nn.transformer(6, 1, 4), lr.SpecError, "heads must divide dim.*1, 2, 3, 6"),
        (lambda: nn.transformer(6, 0, 2), lr.SpecError, "depth"),
        (lambda: nn.transformer(6, 1, 2, tokens=0), lr.SpecError, "tokens"),
        (lambda: nn.transformer(6, 1, 2, expansion=0), lr.SpecError, "expansion"),
        (lambda: nn.transformer(6, 1, 2, pool="cls"), lr.SpecError, "'none', 'token', 'mean'"),
        (lambda: nn.transformer("6", 1, 2), lr.SpecError, "dim"),
        (
            lambda: nn.transformer(6, 1, 2, pool="token", causal=True),
            lr.SpecError,
            "reads itself only",
        ),
        (lambda: nn.transformer(6, 1, 2, activation="gelu"), lr.SpecError, "gelu_exact"),
        (lambda: nn.transformer(6, 1, 2).out_shape((3, 5)), lr.ShapeError, r"received \(5,\)"),
        (lambda: nn.transformer(6, 1, 2, tokens=2).out_shape((3, 6)), lr.ShapeError, r"\(2, 6\)"),
        (lambda: nn.vit((3, 8), 4, patch=2), lr.ShapeError, r"\(channels, height, width\)"),
        (lambda: nn.vit((3, 8, 12), 4, patch=3), lr.ShapeError, "divide.*one of 1, 2, 4, or"),
        (lambda: nn.vit((3, 8, 12), 4, patch=(8, 5)), lr.ShapeError, r"\(8, 5\) for 8 x 12"),
        (lambda: nn.vit((3, 8, 8), 6, patch=2, heads=4), lr.SpecError, "must divide dim"),
        (lambda: nn.vit((3, 8, 8), 4, patch=2, pool="none"), lr.SpecError, "'token', 'mean'"),
        (lambda: nn.resnet18((3, 8, 8), 0), lr.SpecError, "dim"),
        (lambda: nn.resnet18((3, 8, 8), 2, width=0), lr.SpecError, "width"),
        (lambda: nn.resnet18((3, 8, 8), 2, stem="cifar"), lr.SpecError, "'large', 'small'"),
        (lambda: nn.resnet18(8, 2), lr.ShapeError, r"\(channels, height, width\)"),
        (lambda: nn.cnn((3, 8, 8), 2, channels=()), lr.SpecError, "at least one width"),
        (lambda: nn.cnn((3, 8, 8), 2, channels=8), lr.SpecError, "at least one width"),
        (lambda: nn.cnn((3, 8, 8), 0), lr.SpecError, "dim"),
        (lambda: nn.cnn((3, 2, 2), 3, padding=0), lr.ShapeError, "smaller kernel"),
    ],
)
def test_bad_arguments_are_refused(make, error, words):
    with pytest.raises(error, match=words) as caught:
        make()
    assert str(caught.value).startswith("test_architectures.py:")
