"""Leaf layers with parameters, and the einops layers. The parameter layout is PyTorch's."""

import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import einops
import numpy as np

from ... import arguments
from ...errors import ShapeError, SpecError, user_line
from .initial import Filled, Normal, Parameter, fan_in
from .layer import Layer, Shape, register


@register
@dataclass(frozen=True)
class Linear(Layer):
    """y = W x + b on an event of shape (inputs,).

    Parameters: weight (outputs, inputs) and bias (outputs,), both uniform within
    1 / sqrt(inputs).
    """

    inputs: int
    outputs: int
    bias: bool = True

    def __post_init__(self):
        self._set(
            inputs=arguments.integer("Linear", "inputs", self.inputs, "the event it reads"),
            outputs=arguments.integer("Linear", "outputs", self.outputs, "the event it returns"),
            bias=arguments.boolean("Linear", "bias", self.bias),
        )

    def out_shape(self, shape: Sequence[int]) -> Shape:
        if tuple(shape) != (self.inputs,):
            fix = f"Flatten(rank={len(shape)}) first, or " if len(shape) > 1 else ""
            raise self._refuse(shape, f"({self.inputs},)", f"{fix}change inputs.")
        return (self.outputs,)

    def parameters(self) -> dict[str, Parameter]:
        init = fan_in(self.inputs)
        parameters = {"weight": Parameter((self.outputs, self.inputs), init)}
        if self.bias:
            parameters["bias"] = Parameter((self.outputs,), init)
        return parameters


class _Convolution(Layer):
    """What Conv2d and ConvTranspose2d share: their arguments, and that they read images."""

    inputs: int
    outputs: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: int | tuple[int, int]
    bias: bool

    def __post_init__(self):
        name = type(self).__name__
        self._set(
            inputs=arguments.integer(name, "inputs", self.inputs, "channels read"),
            outputs=arguments.integer(name, "outputs", self.outputs, "channels returned"),
            kernel=arguments.pair(name, "kernel", self.kernel, "pixels", minimum=1),
            stride=arguments.pair(name, "stride", self.stride, "pixels", minimum=1),
            padding=arguments.pair(name, "padding", self.padding, "pixels", minimum=0),
            bias=arguments.boolean(name, "bias", self.bias),
        )

    @property
    def axes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """(kernel, stride, padding) of the height, and of the width."""
        return tuple(zip(self.kernel, self.stride, self.padding, strict=True))  # type: ignore

    def _image(self, shape: Sequence[int]) -> tuple[int, int]:
        if len(shape) != 3 or shape[0] != self.inputs:
            raise self._refuse(
                shape, f"({self.inputs}, height, width)", "change inputs, or put channels first."
            )
        return shape[1], shape[2]


@register
@dataclass(frozen=True)
class Conv2d(_Convolution):
    """Cross-correlation over an event (inputs, height, width), zeros beyond its border.

    y[o, i, j] = b[o] + sum_{c, a, b} w[o, c, a, b] x[c, i s + a - p, j s + b - p]; a side of n
    pixels becomes floor((n + 2 padding - kernel) / stride) + 1.

    Parameters: weight (outputs, inputs, kernel height, kernel width) and bias (outputs,), both
    uniform within 1 / sqrt(inputs kernel^2).

    **Arguments:** `kernel`, `stride` and `padding` are one integer or (height, width).
    """

    inputs: int
    outputs: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    bias: bool = True

    def out_shape(self, shape: Sequence[int]) -> Shape:
        sides = self._image(shape)
        for side, (kernel, _, padding) in zip(sides, self.axes, strict=True):
            if side + 2 * padding < kernel:
                raise self._refuse(
                    shape,
                    f"({self.inputs}, height, width) at least as large as its kernel",
                    "use a smaller kernel, or more padding.",
                )
        spatial = ((n + 2 * p - k) // s + 1 for n, (k, s, p) in zip(sides, self.axes, strict=True))
        return (self.outputs, *spatial)

    def parameters(self) -> dict[str, Parameter]:
        kernel = tuple(k for k, _, _ in self.axes)
        init = fan_in(self.inputs * math.prod(kernel))
        parameters = {"weight": Parameter((self.outputs, self.inputs, *kernel), init)}
        if self.bias:
            parameters["bias"] = Parameter((self.outputs,), init)
        return parameters


@register
@dataclass(frozen=True)
class ConvTranspose2d(_Convolution):
    """The transpose of Conv2d in its input, over an event (inputs, height, width).

    y[o, i s + a - p, j s + b - p] += w[c, o, a, b] x[c, i, j]; a side of n pixels becomes
    (n - 1) stride - 2 padding + kernel.

    Parameters: weight (inputs, outputs, kernel height, kernel width) and bias (outputs,), both
    uniform within 1 / sqrt(fan-in). One output reads inputs kernel^2 / stride^2 entries, which is
    the fan-in; PyTorch's own default counts outputs instead of inputs, and no stride.

    **Arguments:** as of Conv2d.
    """

    inputs: int
    outputs: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    bias: bool = True

    def out_shape(self, shape: Sequence[int]) -> Shape:
        sides = self._image(shape)
        spatial = tuple(
            (n - 1) * s - 2 * p + k for n, (k, s, p) in zip(sides, self.axes, strict=True)
        )
        if min(spatial) < 1:
            raise self._refuse(
                shape,
                f"({self.inputs}, height, width) that leaves pixels after padding is cut off",
                "use less padding, or a larger kernel.",
            )
        return (self.outputs, *spatial)

    def parameters(self) -> dict[str, Parameter]:
        kernel = tuple(k for k, _, _ in self.axes)
        init = fan_in(self.inputs * math.prod(max(1.0, k / s) for k, s, _ in self.axes))
        parameters = {"weight": Parameter((self.inputs, self.outputs, *kernel), init)}
        if self.bias:
            parameters["bias"] = Parameter((self.outputs,), init)
        return parameters


def _affine(shape: Shape) -> dict[str, Parameter]:
    return {"weight": Parameter(shape, Filled(1.0)), "bias": Parameter(shape, Filled(0.0))}


@register
@dataclass(frozen=True)
class LayerNorm(Layer):
    """y = w (x - mean) / sqrt(variance + eps) + b over the whole event (Ba et al., 2016).

    The variance divides by the number of entries. Parameters, when `affine`: weight (ones) and
    bias (zeros), of the event's shape.
    """

    shape: int | tuple[int, ...]
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self):
        sides = self.shape if isinstance(self.shape, (tuple, list)) else (self.shape,)
        if not sides:
            raise SpecError(
                f"{user_line()}LayerNorm: shape must have at least one axis; received (). "
                "Fix: pass the event's shape."
            )
        self._set(
            shape=tuple(arguments.integer("LayerNorm", "shape", n, "event shape") for n in sides),
            eps=arguments.real("LayerNorm", "eps", self.eps, arguments.POSITIVE),
            affine=arguments.boolean("LayerNorm", "affine", self.affine),
        )

    def out_shape(self, shape: Sequence[int]) -> Shape:
        if tuple(shape) != self.shape:
            raise self._refuse(shape, str(self.shape), f"pass shape={tuple(shape)}.")
        return tuple(shape)

    def parameters(self) -> dict[str, Parameter]:
        return _affine(self.shape) if self.affine else {}  # type: ignore[arg-type]


@register
@dataclass(frozen=True)
class GroupNorm(Layer):
    """LayerNorm over each group of channels, then an affine map per channel (Wu and He, 2018).

    It reads (channels, *spatial) with one spatial axis or more. Parameters, when `affine`:
    weight (ones) and bias (zeros), of shape (channels,).
    """

    groups: int
    channels: int
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self):
        groups = arguments.integer("GroupNorm", "groups", self.groups, "groups of channels")
        channels = arguments.integer("GroupNorm", "channels", self.channels, "channels read")
        if channels % groups:
            raise SpecError(
                f"{user_line()}GroupNorm: groups must divide channels; received {groups} groups of "
                f"{channels} channels. Fix: pass a divisor of {channels}."
            )
        self._set(
            groups=groups,
            channels=channels,
            eps=arguments.real("GroupNorm", "eps", self.eps, arguments.POSITIVE),
            affine=arguments.boolean("GroupNorm", "affine", self.affine),
        )

    def out_shape(self, shape: Sequence[int]) -> Shape:
        if len(shape) < 2 or shape[0] != self.channels:
            fix = "change channels, or put channels first; for a vector, use LayerNorm."
            raise self._refuse(shape, f"({self.channels}, *spatial)", fix)
        return tuple(shape)

    def parameters(self) -> dict[str, Parameter]:
        return _affine((self.channels,)) if self.affine else {}


@register
@dataclass(frozen=True)
class Embedding(Layer):
    """Row x of a table, for an integer event of shape () in 0..count-1.

    Parameters: weight (count, dim), normal with deviation 1. An index beyond the table is an
    error in PyTorch and is clamped in JAX: check indices where data comes in.
    """

    count: int
    dim: int

    def __post_init__(self):
        self._set(
            count=arguments.integer("Embedding", "count", self.count, "rows of the table"),
            dim=arguments.integer("Embedding", "dim", self.dim, "length of a row"),
        )

    @property
    def reads_integers(self) -> bool:
        return True

    def out_shape(self, shape: Sequence[int]) -> Shape:
        if tuple(shape) != ():
            raise self._refuse(shape, "()", "pass one integer per event, not one-hot vectors.")
        return (self.dim,)

    def parameters(self) -> dict[str, Parameter]:
        return {"weight": Parameter((self.count, self.dim), Normal(1.0))}


@register
@dataclass(frozen=True)
class Flatten(Layer):
    """An event of `rank` axes as a vector, the last axis running fastest."""

    rank: int

    def __post_init__(self):
        self._set(rank=arguments.integer("Flatten", "rank", self.rank, "axes of the event"))

    def out_shape(self, shape: Sequence[int]) -> Shape:
        if len(shape) != self.rank:
            raise self._refuse(shape, f"with {self.rank} axes", f"pass rank={len(shape)}.")
        return (math.prod(shape),)


class _Einops(Layer):
    """What Rearrange and Reduce share: a pattern over the event's own axes."""

    pattern: str
    axes: Mapping[str, int] | tuple[tuple[str, int], ...]

    def __post_init__(self):
        name = type(self).__name__
        sides = self.pattern.split("->") if isinstance(self.pattern, str) else []
        if len(sides) != 2 or "..." in self.pattern:
            raise SpecError(
                f"{user_line()}{name}: pattern must be 'axes -> axes' over the event's axes, each "
                f"named; received {self.pattern!r}. Fix: write, say, 'c h w -> (c h w)': leading "
                "axes are never named."
            )
        try:
            lengths = dict(self.axes)
        except (TypeError, ValueError):
            raise SpecError(
                f"{user_line()}{name}: axes must map axis names to lengths; received "
                f"{self.axes!r}. Fix: pass, say, {{'h': 7, 'w': 7}}."
            ) from None
        self._set(
            pattern=" ".join(sides[0].split()) + " -> " + " ".join(sides[1].split()),
            axes=tuple(
                (str(axis), arguments.integer(name, "axes", n, f"length of {axis!r}"))
                for axis, n in sorted(lengths.items())
            ),
        )
        # The smallest event that the pattern could read shows whether it is well-formed.
        lengths = self.lengths
        groups = [group.strip("()").split() for group in re.findall(r"\([^)]*\)|\S+", sides[0])]
        self._apply(tuple(math.prod(lengths.get(axis, 1) for axis in group) for group in groups))

    @property
    def lengths(self) -> dict[str, int]:
        """The lengths of the axes that the event's shape does not give."""
        return dict(self.axes)

    def _apply(self, shape: Shape) -> Shape:
        try:
            return self._on(np.zeros(shape, dtype=np.float32)).shape
        except einops.EinopsError as error:
            reason = " ".join(str(error).split("\n")[-1].split())
            raise ShapeError(
                f"{user_line()}{type(self).__name__}({self.pattern!r}, {self.lengths}) must fit "
                f"its event; received one of shape {shape}: {reason} Fix: name every axis of the "
                "event, and give the lengths that its shape does not."
            ) from None

    @abstractmethod
    def _on(self, event: np.ndarray) -> np.ndarray:
        """Returns the operation's result on a numpy array, which shows its shape."""

    def out_shape(self, shape: Sequence[int]) -> Shape:
        return self._apply(tuple(shape))


@register
@dataclass(frozen=True)
class Rearrange(_Einops):
    """einops.rearrange on the event: `Rearrange("(c h w) -> c h w", {"h": 7, "w": 7})`.

    **Arguments:** `pattern` names the event's axes only, never a leading one; `axes` gives the
    lengths that the event's shape does not.
    """

    pattern: str
    axes: Mapping[str, int] | tuple[tuple[str, int], ...] = ()

    def _on(self, event: np.ndarray) -> np.ndarray:
        return einops.rearrange(event, self.pattern, **self.lengths)


@register
@dataclass(frozen=True)
class Reduce(_Einops):
    """einops.reduce on the event: `Reduce("c h w -> c", "mean")`.

    **Arguments:** `operation` is "mean", "sum", "max" or "min" (the last two share the gradient
    equally among ties); `pattern` and `axes` are as of Rearrange.
    """

    pattern: str
    operation: str
    axes: Mapping[str, int] | tuple[tuple[str, int], ...] = ()

    def __post_init__(self):
        arguments.choice("Reduce", "operation", self.operation, ("mean", "sum", "max", "min"))
        super().__post_init__()

    def _on(self, event: np.ndarray) -> np.ndarray:
        return einops.reduce(event, self.pattern, self.operation, **self.lengths)
