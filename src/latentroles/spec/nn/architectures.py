"""Architectures, each composed once from the layers."""

from collections.abc import Sequence

from ... import arguments
from ...errors import ShapeError, SpecError, user_line
from .activations import activation as find_activation
from .containers import Sequential
from .frames import check_frame
from .layer import Layer
from .layers import Conv2d, ConvTranspose2d, Flatten, Linear, Rearrange
from .recurrent import GRU

Factors = Sequence[int | tuple[int, int]]


def linear(inputs: int, outputs: int, *, bias: bool = True) -> Linear:
    """Returns a linear map from (inputs,) to (outputs,)."""
    return Linear(inputs, outputs, bias)


def mlp(
    inputs: int,
    outputs: int,
    *,
    hidden: int | Sequence[int] = (128,),
    activation: str | Layer = "silu",
) -> Sequential:
    """Returns a perceptron from (inputs,) to (outputs,), activations between its linear maps.

    **Arguments:** `hidden` are the widths of the hidden layers, one integer for a single one,
    () for none; `activation` is a name such as "silu", or a layer.
    """
    widths = tuple(hidden) if isinstance(hidden, Sequence) else (hidden,)
    between = find_activation(activation)
    widths = tuple(arguments.integer("mlp", "hidden", n, "width of a hidden layer") for n in widths)
    layers: list[Layer] = []
    for width in widths:
        layers += [Linear(inputs, width), between]
        inputs = width
    return Sequential((*layers, Linear(inputs, outputs)))


def conv_encoder(
    frame: Sequence[int],
    dim: int,
    *,
    channels: Sequence[int] = (32, 64),
    factors: Factors | None = None,
    activation: str | Layer = "silu",
) -> Sequential:
    """Returns an encoder from a frame (channels, height, width) to a vector (dim,).

    Each convolution reads patches that neither overlap nor leave gaps (its kernel is its stride),
    which is a matrix product, and as fast in both backends; a linear map reads what is left:
    56 x 56 becomes 14 x 14, then 7 x 7, then (dim,).

    **Arguments:** `channels` are the widths of the convolutions, from the frame inwards;
    `factors` are their patch sizes, one integer or (height, width) each. When `factors` is not
    given, the first is 4 where that divides, and the others 2; else 2, 3 or 5.

    Raises ShapeError when a side of the frame cannot be divided so.
    """
    stages, between, grid = _stages("conv_encoder", frame, channels, factors, activation)
    layers: list[Layer] = []
    for inputs, outputs, factor in stages:
        layers += [Conv2d(inputs, outputs, factor, factor), between]
    dim = arguments.integer("conv_encoder", "dim", dim, "the vector it returns")
    width = stages[-1][1] * grid[0] * grid[1]
    return Sequential((*layers, Flatten(3), Linear(width, dim)))


def conv_decoder(
    dim: int,
    frame: Sequence[int],
    *,
    channels: Sequence[int] = (32, 64),
    factors: Factors | None = None,
    activation: str | Layer = "silu",
) -> Sequential:
    """Returns a decoder from a vector (dim,) to a frame, the mirror of `conv_encoder`.

    Its output is linear: no sigmoid bounds it. **Arguments** are those of `conv_encoder`, in the
    same order: `channels` and `factors` run from the frame inwards here too.
    """
    stages, between, grid = _stages("conv_decoder", frame, channels, factors, activation)
    dim = arguments.integer("conv_decoder", "dim", dim, "the vector it reads")
    innermost = stages[-1][1]
    axes = {"h": grid[0], "w": grid[1]}
    layers: list[Layer] = [
        Linear(dim, innermost * grid[0] * grid[1]),
        Rearrange("(c h w) -> c h w", axes),
    ]
    for inputs, outputs, factor in reversed(stages):
        layers += [between, ConvTranspose2d(outputs, inputs, factor, factor)]
    return Sequential(tuple(layers))


def gru(inputs: int, hidden: int) -> GRU:
    """Returns a one-bias gated recurrent unit, for `lr.scan`."""
    return GRU(inputs, hidden)


def _stages(
    owner: str,
    frame: Sequence[int],
    channels: Sequence[int],
    factors: Factors | None,
    activation: str | Layer,
) -> tuple[list[tuple[int, int, tuple[int, int]]], Layer, tuple[int, int]]:
    """Returns ((channels outside, inside, factor) of each stage, activation, innermost grid)."""
    outer, *sides = check_frame(owner, frame)
    if not isinstance(channels, (tuple, list)) or not channels:
        raise SpecError(
            f"{user_line()}{owner}: channels must be a list of at least one width; received "
            f"{channels!r}. Fix: pass, say, channels=(32, 64)."
        )
    widths = [outer] + [arguments.integer(owner, "channels", n, "width") for n in channels]
    if factors is None:
        heights, columns = (_factors(owner, side, len(channels)) for side in sides)
        pairs = list(zip(heights, columns, strict=True))
    else:
        pairs = [arguments.pair(owner, "factors", f, "patch size", minimum=1) for f in factors]
        if len(pairs) != len(channels):
            raise SpecError(
                f"{user_line()}{owner}: factors must be one patch size for each of "
                f"channels; received {factors!r} for {channels!r}. Fix: pass {len(channels)} of "
                "them."
            )
    grid = sides
    for pair in pairs:
        if any(n % f for n, f in zip(grid, pair, strict=True)):
            raise ShapeError(
                f"{user_line()}{owner}: each of factors must divide what is left of the frame; "
                f"received {pair} on {grid[0]} x {grid[1]}. Fix: pass factors whose product "
                f"divides {sides[0]} x {sides[1]}."
            )
        grid = [n // f for n, f in zip(grid, pair, strict=True)]
    stages = list(zip(widths, widths[1:], pairs, strict=False))
    return stages, find_activation(activation), (grid[0], grid[1])


def _factors(owner: str, side: int, count: int) -> tuple[int, ...]:
    """Returns the first `count` factors, in order of preference, whose product divides `side`."""
    found = _divide(side, count, (4, 2, 3, 5))
    if found is None:
        raise ShapeError(
            f"{user_line()}{owner}: each side of the frame must be divisible by {count} factors "
            f"out of 2, 3, 4 and 5, one for each of channels; received a side of {side}. Fix: "
            "resize the frame, pass fewer channels, or pass factors."
        )
    return found


def _divide(side: int, count: int, preferred: tuple[int, ...]) -> tuple[int, ...] | None:
    if count == 0:
        return ()
    for factor in preferred:
        if side % factor == 0:
            rest = _divide(side // factor, count - 1, (2, 3, 5))
            if rest is not None:
                return (factor, *rest)
    return None
