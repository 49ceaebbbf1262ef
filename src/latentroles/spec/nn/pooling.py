"""Pooling over windows of an image."""

from collections.abc import Sequence
from dataclasses import dataclass

from ... import arguments
from ...errors import SpecError, user_line
from .layer import Layer, Shape, register


class _Pool2d(Layer):
    """What MaxPool2d and AvgPool2d share: their arguments and their shapes."""

    kernel: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: int | tuple[int, int]

    def __post_init__(self):
        name = type(self).__name__
        kernel = arguments.pair(name, "kernel", self.kernel, "pixels", minimum=1)
        padding = arguments.pair(name, "padding", self.padding, "pixels", minimum=0)
        if any(2 * p > k for k, p in zip(kernel, padding, strict=True)):
            raise SpecError(
                f"{user_line()}{name}: padding must be at most half of kernel, so that no window "
                f"lies outside the image; received padding {padding} with kernel {kernel}. Fix: "
                f"pass at most {(kernel[0] // 2, kernel[1] // 2)}."
            )
        self._set(
            kernel=kernel,
            stride=arguments.pair(name, "stride", self.stride, "pixels", minimum=1),
            padding=padding,
        )

    @property
    def axes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """(kernel, stride, padding) of the height, and of the width."""
        return tuple(zip(self.kernel, self.stride, self.padding, strict=True))  # type: ignore

    def out_shape(self, shape: Sequence[int]) -> Shape:
        sides = zip(shape[1:], self.axes, strict=True) if len(shape) == 3 else ()
        pooled = tuple((n + 2 * p - k) // s + 1 for n, (k, s, p) in sides)
        if not pooled or min(pooled) < 1:
            raise self._refuse(
                shape,
                "(channels, height, width) at least as large as its kernel",
                "use a smaller kernel, or put channels first.",
            )
        return (shape[0], *pooled)


@register
@dataclass(frozen=True)
class MaxPool2d(_Pool2d):
    """The largest entry of each window of an event (channels, height, width).

    A side of n pixels becomes floor((n + 2 padding - kernel) / stride) + 1; pixels beyond the
    border are never the largest. Among equal entries the gradient goes to the first, row by row.

    **Arguments:** `kernel`, `stride` and `padding` are one integer or (height, width).
    """

    kernel: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: int | tuple[int, int] = 0


@register
@dataclass(frozen=True)
class AvgPool2d(_Pool2d):
    """The mean of each window of an event (channels, height, width).

    Shapes and arguments are those of MaxPool2d. Pixels beyond the border are not counted: the mean
    is over those inside.
    """

    kernel: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: int | tuple[int, int] = 0
