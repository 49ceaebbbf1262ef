"""Layers as core knows them: first weights, architectures, and refusals. No framework is here."""

import math

import numpy as np
import pytest

from latentroles.errors import ShapeError, SpecError
from latentroles.spec import nn


def test_initial_weights_are_pinned():
    """The draw must never change: a seed in an old run's record stands for these numbers."""
    uniform = nn.initial_weights("encoder", nn.Linear(2, 2), 0)["weight"]
    assert uniform.dtype == np.float64
    wanted = [[0.5214013857079552, -0.5115440612702074], [0.5582284504563714, -0.3172573886114389]]
    np.testing.assert_array_equal(uniform, wanted)
    normal = nn.initial_weights("encoder", nn.Embedding(1, 2), 0)["weight"]
    np.testing.assert_array_equal(normal, [[0.6530298675190725, 0.20046117488848736]])


def test_initial_weights_are_keyed_by_seed_module_and_path():
    layer = nn.mlp(3, 3, hidden=(4,))
    weights = nn.initial_weights("a", layer, 0)
    longer = nn.initial_weights("a", nn.Sequential([*layer.layers, nn.Linear(3, 9)]), 0)
    for path, array in weights.items():
        np.testing.assert_array_equal(longer[path], array)
        assert not np.array_equal(nn.initial_weights("b", layer, 0)[path], array)
        assert not np.array_equal(nn.initial_weights("a", layer, 1)[path], array)
    same = nn.initial_weights("a", nn.Sequential([nn.Linear(4, 4), nn.Linear(4, 4)]), 0)
    assert not np.array_equal(same["0.weight"], same["1.weight"])


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(100, 50), 100),
        (nn.Conv2d(10, 20, 5), 250),
        (nn.ConvTranspose2d(10, 20, 5), 250),
        (nn.ConvTranspose2d(40, 20, 4, stride=4), 40),
        (nn.ConvTranspose2d(40, 20, 4, stride=2), 160),
        (nn.GRU(30, 40), 40),
        (nn.Attention(36, 2), 36),
    ],
)
def test_initial_weights_are_uniform_within_the_fan_in(layer, fan_in):
    bound = 1 / math.sqrt(fan_in)
    for path, array in nn.initial_weights("m", layer, 0).items():
        assert np.abs(array).max() <= bound
        if array.size > 1000:
            assert np.abs(array).max() > 0.99 * bound, path
            np.testing.assert_allclose(array.std(), bound / math.sqrt(3), rtol=0.05)
            np.testing.assert_allclose(array.mean() / bound, 0, atol=0.05)


def test_other_initial_weights():
    for norm in (nn.LayerNorm((2, 3)), nn.GroupNorm(1, 4)):
        weights = nn.initial_weights("m", norm, 0)
        assert np.all(weights["weight"] == 1)
        assert np.all(weights["bias"] == 0)
    for layer in (nn.PrependToken(5000), nn.Positions(100, 50)):
        (learned,) = nn.initial_weights("m", layer, 0).values()
        np.testing.assert_allclose([learned.mean(), learned.std()], [0, 0.02], atol=1e-3)
    table = nn.initial_weights("m", nn.Embedding(100, 50), 0)["weight"]
    np.testing.assert_allclose([table.mean(), table.std()], [0, 1], atol=0.05)


@pytest.mark.parametrize(
    ("frame", "factors"),
    [((3, 56, 56), (4, 2)), ((3, 8, 8), (4, 2)), ((1, 84, 84), (4, 3)), ((3, 6, 9), None)],
)
def test_convolutional_architectures_mirror_each_other(frame, factors):
    encoder, decoder = nn.conv_encoder(frame, 7), nn.conv_decoder(7, frame)
    assert encoder.out_shape(frame) == (7,)
    assert decoder.out_shape((7,)) == frame
    down = [x.kernel for x in encoder.layers if isinstance(x, nn.Conv2d)]
    up = [x.kernel for x in decoder.layers if isinstance(x, nn.ConvTranspose2d)]
    assert up == down[::-1]
    if factors:
        assert down == [(f, f) for f in factors]
    assert isinstance(decoder.layers[-1], nn.ConvTranspose2d), "the output is linear"
    assert all(x.kernel == x.stride for x in encoder.layers if isinstance(x, nn.Conv2d))


def test_architectures_take_widths():
    assert nn.mlp(3, 2, hidden=7) == nn.mlp(3, 2, hidden=(7,))
    assert nn.mlp(3, 2, hidden=()) == nn.Sequential([nn.Linear(3, 2)])
    assert nn.linear(3, 2) == nn.Linear(3, 2)
    assert nn.gru(3, 2) == nn.GRU(3, 2)
    one = nn.conv_encoder((3, 49, 14), 5, channels=(4,), factors=((7, 2),), activation="tanh")
    assert one.layers[0] == nn.Conv2d(3, 4, (7, 2), (7, 2))
    assert one.layers[1] == nn.Tanh()


def test_equal_descriptors_are_equal():
    assert nn.Conv2d(np.int64(3), 4, 2, [2, 2]) == nn.Conv2d(3, 4, (2, 2), 2)
    assert nn.LayerNorm(3, eps=1) == nn.LayerNorm((3,), eps=1.0)
    assert nn.MaxPool2d(2, [2, 2]) == nn.MaxPool2d((2, 2), 2, 0)
    both = nn.Attention(4, 2, causal=True, mask=np.ones((2, 2), bool))
    assert both == nn.Attention(4, 2, mask=[[True, False], [True, True]])
    assert nn.Rearrange("c h  w->(c h w)") == nn.Rearrange("c h w -> (c h w)", {})
    assert nn.Rearrange("(a b) -> a b", {"a": 1}) != nn.Rearrange("(a b) -> a b", {"b": 1})


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nn.Linear(0, 3), SpecError, r"inputs .* at least 1; received 0"),
        (lambda: nn.Linear(True, 3), SpecError, r"received True"),
        (lambda: nn.Linear(3, 2.0), SpecError, r"outputs .*received 2.0"),
        (lambda: nn.Linear(3, 2, bias=1), SpecError, "bias must be True or False"),
        (lambda: nn.Conv2d(3, 2, (1, 2, 3)), SpecError, "kernel .* a pair"),
        (lambda: nn.Conv2d(3, 2, 1, padding=-1), SpecError, "padding .* at least 0"),
        (lambda: nn.LayerNorm(3, eps=0), SpecError, "eps must be a number greater than 0"),
        (lambda: nn.LayerNorm(3, eps=math.nan), SpecError, "eps must be"),
        (lambda: nn.LayerNorm(()), SpecError, "at least one axis"),
        (lambda: nn.GroupNorm(4, 6), SpecError, "groups must divide channels"),
        (lambda: nn.Gelu("fast"), SpecError, "'exact', 'tanh'; received 'fast'"),
        (lambda: nn.Reduce("c -> ()", "men"), SpecError, "Did you mean 'mean'"),
        (lambda: nn.Rearrange("b ... -> ..."), SpecError, "leading axes are never named"),
        (lambda: nn.Rearrange(3), SpecError, "pattern must be"),
        (lambda: nn.Rearrange("c h -> c"), ShapeError, "only on one side"),
        (lambda: nn.Rearrange("(c h -> c h"), ShapeError, "must fit"),
        (lambda: nn.Rearrange("c -> c", 3), SpecError, "axes must map"),
        (lambda: nn.Rearrange("c -> c", {"z": 3}), ShapeError, "must fit"),
        (lambda: nn.Sequential([]), SpecError, "at least one layer"),
        (lambda: nn.Sequential([math.tanh]), SpecError, "neutral layers"),
        (lambda: nn.Residual(3), SpecError, "neutral layers"),
        (lambda: nn.Sequential([nn.GRU(3, 2)]), SpecError, r"reads a carry.*lr\.scan"),
        (lambda: nn.Residual(nn.Linear(3, 2), 3), SpecError, "neutral layers"),
        (lambda: nn.ForEach(3), SpecError, "neutral layers"),
        (lambda: nn.MaxPool2d(2, 0), SpecError, "stride .* at least 1"),
        (lambda: nn.MaxPool2d(3, 1, 2), SpecError, r"at most half of kernel.*\(1, 1\)"),
        (lambda: nn.AvgPool2d((2, 3), 1, (2, 1)), SpecError, "at most half of kernel"),
        (lambda: nn.Attention(0, 1), SpecError, "dim"),
        (lambda: nn.Attention(6, 4), SpecError, "must divide dim.*one of 1, 2, 3, 6"),
        (lambda: nn.Attention(6, 2, causal=1), SpecError, "causal must be True or False"),
        (lambda: nn.Attention(6, 2, mask=()), SpecError, "square table of booleans"),
        (lambda: nn.Attention(6, 2, mask=((True, False),)), SpecError, "square table"),
        (lambda: nn.Attention(6, 2, mask=((1, 0), (1, 1))), SpecError, "square table"),
        (lambda: nn.Attention(6, 2, mask=((True,), (True, True))), SpecError, "square table"),
        (lambda: nn.Attention(6, 2, mask=3), SpecError, "square table"),
        (lambda: nn.PrependToken(0), SpecError, "dim"),
        (lambda: nn.Positions(0, 3), SpecError, "count"),
        (lambda: nn.Take(-1), SpecError, "at least 0"),
        (lambda: nn.mlp(3, 2, hidden=(0,)), SpecError, "hidden"),
        (lambda: nn.mlp(3, 2, activation="gelu"), SpecError, "gelu_exact, gelu_tanh"),
        (lambda: nn.conv_encoder((3, 8), 2), ShapeError, r"\(channels, height, width\)"),
        (lambda: nn.conv_encoder((3, 8, 14), 2), ShapeError, "a side of 14"),
        (lambda: nn.conv_encoder((3, 8, 8), 2, factors=(3, 2)), ShapeError, "must divide"),
        (lambda: nn.conv_encoder((3, 8, 8), 2, factors=(2,)), SpecError, "one patch size for each"),
        (lambda: nn.conv_encoder((3, 8, 8), 2, channels=()), SpecError, "at least one width"),
        (lambda: nn.conv_decoder(0, (3, 8, 8)), SpecError, "dim"),
        (lambda: nn.from_json({"layer": "Linaer"}), SpecError, "Did you mean 'Linear'"),
        (lambda: nn.from_json({"layer": "Linear", "input": 3}), SpecError, "Did you mean 'inputs'"),
        (lambda: nn.from_json({"layer": "Linear", "inputs": 3}), SpecError, "add outputs"),
        (lambda: nn.from_json([3]), SpecError, "key 'layer'"),
        (lambda: nn.initial_weights("m", nn.Linear(1, 1), "0"), SpecError, "seed is an integer"),
        (lambda: nn.Linear(3, 2).out_shape((2, 3)), ShapeError, r"received \(2, 3\).*Flatten"),
        (lambda: nn.Conv2d(3, 2, 2).out_shape((1, 4, 4)), ShapeError, "channels first"),
        (lambda: nn.Conv2d(3, 2, 5).out_shape((3, 4, 5)), ShapeError, "smaller kernel"),
        (
            lambda: nn.ConvTranspose2d(3, 2, 2, 1, 1).out_shape((3, 1, 4)),
            ShapeError,
            "less padding",
        ),
        (lambda: nn.LayerNorm(3).out_shape((2, 3)), ShapeError, r"pass shape=\(2, 3\)"),
        (lambda: nn.GroupNorm(1, 3).out_shape((3,)), ShapeError, "use LayerNorm"),
        (lambda: nn.Embedding(3, 2).out_shape((3,)), ShapeError, "one integer per event"),
        (lambda: nn.Flatten(2).out_shape((3,)), ShapeError, "pass rank=1"),
        (lambda: nn.Rearrange("(c d) -> c d", {"c": 2}).out_shape((5,)), ShapeError, "divide"),
        (
            lambda: nn.Residual(nn.Linear(3, 2)).out_shape((3,)),
            ShapeError,
            "keep the event's shape",
        ),
        (
            lambda: nn.Residual(nn.Linear(3, 2), nn.Linear(3, 4)).out_shape((3,)),
            ShapeError,
            r"one shape; received \(4,\) -> \(2,\)",
        ),
        (lambda: nn.ForEach(nn.Linear(3, 2)).out_shape((3,)), ShapeError, r"\(3,\); received \(\)"),
        (lambda: nn.ForEach(nn.Embedding(3, 2)).out_shape(()), ShapeError, "body by itself"),
        (lambda: nn.MaxPool2d(3, 1).out_shape((1, 2, 3)), ShapeError, "smaller kernel"),
        (lambda: nn.AvgPool2d(1, 1).out_shape((2, 3)), ShapeError, "channels first"),
        (lambda: nn.Attention(6, 2).out_shape((6,)), ShapeError, r"\(tokens, 6\)"),
        (lambda: nn.Attention(6, 2).out_shape((3, 4)), ShapeError, r"\(tokens, 6\)"),
        (lambda: nn.Attention(2, 1, mask=((True,),)).out_shape((2, 2)), ShapeError, r"\(1, 2\)"),
        (lambda: nn.Positions(2, 3).out_shape((3, 3)), ShapeError, r"\(2, 3\)"),
        (lambda: nn.PrependToken(3).out_shape((3,)), ShapeError, r"\(tokens, 3\)"),
        (lambda: nn.Take(2).out_shape((2, 3)), ShapeError, "n of at least 3"),
        (lambda: nn.GRU(3, 2).out_shape((2,)), ShapeError, r"received \(2,\)"),
        (lambda: nn.GRU(3, 2).step_shape((2,), (2,)), ShapeError, "steps a carry"),
    ],
)
def test_bad_arguments_are_refused(make, error, words):
    with pytest.raises(error, match=words) as caught:
        make()
    assert str(caught.value).startswith("test_neutral_layers.py:"), (
        "the user's own line comes first"
    )
