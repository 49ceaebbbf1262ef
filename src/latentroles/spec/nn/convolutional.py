"""Convolutional encoders with overlapping windows: a plain one, and ResNet-18."""

from collections.abc import Sequence

from ... import arguments
from ...errors import SpecError, user_line
from .activations import Relu
from .activations import activation as find_activation
from .containers import Residual, Sequential
from .frames import check_frame
from .layer import Layer
from .layers import Conv2d, Flatten, GroupNorm, Linear, Reduce
from .pooling import MaxPool2d


def cnn(
    frame: Sequence[int],
    dim: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    kernel: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 2,
    padding: int | tuple[int, int] = 1,
    activation: str | Layer = "relu",
) -> Sequential:
    """Returns a plain encoder from a frame (channels, height, width) to a vector (dim,).

    One convolution for each of `channels`, each followed by the activation; a linear map reads
    what is left. Its windows may overlap, and it reads frames of any size: with the defaults a
    side of n pixels becomes ceil(n / 2). Where the frame divides into patches, `conv_encoder` is
    faster.
    """
    inputs, *_ = check_frame("cnn", frame)
    dim = arguments.integer("cnn", "dim", dim, "the vector it returns")
    if not isinstance(channels, Sequence) or not channels:
        raise SpecError(
            f"{user_line()}cnn: channels must be a sequence of at least one width; received "
            f"{channels!r}. Fix: pass, say, channels=(32, 64, 128)."
        )
    between = find_activation(activation)
    layers: list[Layer] = []
    for outputs in channels:
        layers += [Conv2d(inputs, outputs, kernel, stride, padding), between]
        inputs = outputs
    layers.append(Flatten(3))
    (width,) = Sequential(tuple(layers)).out_shape(frame)
    return Sequential((*layers, Linear(width, dim)))


def resnet18(frame: Sequence[int], dim: int, *, width: int = 64, stem: str = "large") -> Sequential:
    """Returns ResNet-18 from a frame to a vector (dim,) (He et al., 2016).

    A stem, four stages of two basic blocks with `width`, 2, 4 and 8 times `width` channels, the
    last three halving the sides, the mean over what is left, and a linear map. A basic block is
    relu(shortcut(x) + norm(conv(relu(norm(conv(x)))))) with 3 x 3 convolutions; the shortcut is
    x, or norm(conv 1 x 1) where the shape changes.

    The norm is GroupNorm in groups of 16 channels (Wu and He, 2018) and not BatchNorm, so that no
    example depends on another one and there are no running statistics. A width that 16 does not
    divide has the most groups of at least 16 channels that do.

    **Arguments:** `width` is 64 in the paper, and less for a small variant. `stem` is "large"
    (7 x 7 convolution of stride 2, then 3 x 3 max-pooling of stride 2, as in the paper), or
    "small", for frames of up to about 64 pixels (3 x 3 convolution of stride 1, no pooling: the
    variant of Chen et al., 2020, for CIFAR-10).
    """
    inputs, *_ = check_frame("resnet18", frame)
    width = arguments.integer("resnet18", "width", width, "channels of the first stage")
    dim = arguments.integer("resnet18", "dim", dim, "the vector it returns")
    arguments.choice("resnet18", "stem", stem, ("large", "small"))
    if stem == "large":
        layers = [Conv2d(inputs, width, 7, 2, 3, bias=False), _norm(width), Relu()]
        layers.append(MaxPool2d(3, 2, 1))
    else:
        layers = [Conv2d(inputs, width, 3, 1, 1, bias=False), _norm(width), Relu()]
    inputs = width
    for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
        layers += [*_basic_block(inputs, outputs, stride), *_basic_block(outputs, outputs, 1)]
        inputs = outputs
    return Sequential((*layers, Reduce("c h w -> c", "mean"), Linear(inputs, dim)))


def _basic_block(inputs: int, outputs: int, stride: int) -> tuple[Layer, Layer]:
    body = Sequential(
        (
            Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            _norm(outputs),
            Relu(),
            Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            _norm(outputs),
        )
    )
    if inputs == outputs and stride == 1:
        return Residual(body), Relu()
    shortcut = Sequential((Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs)))
    return Residual(body, shortcut), Relu()


def _norm(channels: int) -> GroupNorm:
    groups = max(n for n in range(1, max(1, channels // 16) + 1) if channels % n == 0)
    return GroupNorm(groups, channels)
