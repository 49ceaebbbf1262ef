"""Transformers over the tokens of an event, and over the patches of a frame."""

from collections.abc import Sequence
from math import gcd

from ... import arguments
from ...errors import ShapeError, SpecError, user_line
from .activations import activation as find_activation
from .attention import Attention, Positions, PrependToken, Take, divisors
from .containers import ForEach, Residual, Sequential
from .frames import check_frame
from .layer import Layer
from .layers import LayerNorm, Linear, Rearrange, Reduce


def transformer_block(
    dim: int,
    heads: int,
    *,
    expansion: int = 4,
    causal: bool = False,
    activation: str | Layer = "gelu_exact",
) -> Sequential:
    """Returns a pre-norm block from tokens (n, dim) to tokens (n, dim) (Xiong et al., 2020).

    x + attention(norm(x)), then x + mlp(norm(x)), the perceptron with one hidden layer of
    `expansion` dim units.
    """
    attention = Attention(dim, heads, causal)
    width = dim * arguments.integer("transformer_block", "expansion", expansion, "times dim")
    perceptron = (LayerNorm(dim), Linear(dim, width), find_activation(activation))
    return Sequential(
        (
            Residual(Sequential((ForEach(LayerNorm(dim)), attention))),
            Residual(ForEach(Sequential((*perceptron, Linear(width, dim))))),
        )
    )


def transformer(
    dim: int,
    depth: int,
    heads: int,
    *,
    tokens: int | None = None,
    pool: str = "none",
    expansion: int = 4,
    causal: bool = False,
    activation: str | Layer = "gelu_exact",
) -> Sequential:
    """Returns `depth` pre-norm blocks over an event of tokens (n, dim), and a last LayerNorm.

    **Arguments:** `tokens` is n where each position has a learned vector, None where order means
    nothing. `pool` is "none" for tokens (n, dim), "token" for the outcome (dim,) of a learned
    token in front of the others ([AGG], [CLS]), or "mean" for their mean (dim,). `expansion`,
    `causal` and `activation` are those of `transformer_block`.
    """
    depth = arguments.integer("transformer", "depth", depth, "blocks")
    arguments.choice("transformer", "pool", pool, ("none", "token", "mean"))
    if pool == "token" and arguments.boolean("transformer", "causal", causal):
        raise SpecError(
            f"{user_line()}transformer: the token of pool='token' stands first, and a causal first "
            "token reads itself only; received causal=True. Fix: pass causal=False or pool='mean'."
        )
    block = transformer_block(dim, heads, expansion=expansion, causal=causal, activation=activation)
    layers: list[Layer] = [PrependToken(dim)] if pool == "token" else []
    if tokens is not None:
        tokens = arguments.integer("transformer", "tokens", tokens, "tokens with a position")
        layers.append(Positions(tokens + len(layers), dim))
    layers += [block] * depth
    if pool == "token":
        return Sequential((*layers, Take(0), LayerNorm(dim)))
    layers.append(ForEach(LayerNorm(dim)))
    return Sequential((*layers, Reduce("n d -> d", "mean")) if pool == "mean" else tuple(layers))


def vit(
    frame: Sequence[int],
    dim: int,
    *,
    patch: int | tuple[int, int] = 8,
    depth: int = 4,
    heads: int = 4,
    pool: str = "token",
    expansion: int = 4,
    activation: str | Layer = "gelu_exact",
) -> Sequential:
    """Returns a Vision Transformer from a frame (channels, height, width) to a vector (dim,).

    Patches that neither overlap nor leave gaps become tokens by one linear map, with a learned
    vector for each position (Dosovitskiy et al., 2021).

    **Arguments:** `patch` is one integer or (height, width), and divides the frame; `pool` is
    "token" or "mean"; the others are those of `transformer`.
    """
    channels, *sides = check_frame("vit", frame)
    rows, columns = patch = arguments.pair("vit", "patch", patch, "pixels", minimum=1)
    arguments.choice("vit", "pool", pool, ("token", "mean"))
    if sides[0] % rows or sides[1] % columns:
        squares = ", ".join(map(str, divisors(gcd(*sides))))
        raise ShapeError(
            f"{user_line()}vit: patch must divide the frame; received {patch} for "
            f"{sides[0]} x {sides[1]}. Fix: pass one of {squares}, or (height, width)."
        )
    count = (sides[0] // rows) * (sides[1] // columns)
    patches = Rearrange("c (h p) (w q) -> (h w) (c p q)", {"p": rows, "q": columns})
    blocks = transformer(
        dim,
        depth,
        heads,
        tokens=count,
        pool=pool,
        expansion=expansion,
        activation=activation,
    )
    return Sequential((patches, ForEach(Linear(channels * rows * columns, dim)), *blocks.layers))
