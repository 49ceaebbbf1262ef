"""Activations: one function applied to each entry of an event of any shape."""

from collections.abc import Sequence
from dataclasses import dataclass

from ... import arguments
from ...errors import SpecError, user_line
from .layer import Layer, Shape, register


class _Pointwise(Layer):
    def out_shape(self, shape: Sequence[int]) -> Shape:
        return tuple(shape)


@register
@dataclass(frozen=True)
class Relu(_Pointwise):
    """max(x, 0); the derivative at 0 is 0."""


@register
@dataclass(frozen=True)
class Gelu(_Pointwise):
    """x Phi(x), Phi being the normal distribution function (Hendrycks and Gimpel, 2016).

    **Arguments:** `form` is "exact" (by erf), or "tanh", the approximation
    x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, which differs by up to 5e-4. There is no
    default: the frameworks disagree about it.
    """

    form: str

    def __post_init__(self):
        arguments.choice("Gelu", "form", self.form, ("exact", "tanh"))


@register
@dataclass(frozen=True)
class Silu(_Pointwise):
    """x sigmoid(x)."""


@register
@dataclass(frozen=True)
class Tanh(_Pointwise):
    """tanh(x)."""


@register
@dataclass(frozen=True)
class Sigmoid(_Pointwise):
    """1 / (1 + exp(-x))."""


ACTIVATIONS: dict[str, Layer] = {
    "relu": Relu(),
    "gelu_exact": Gelu("exact"),
    "gelu_tanh": Gelu("tanh"),
    "silu": Silu(),
    "tanh": Tanh(),
    "sigmoid": Sigmoid(),
}


def activation(value: str | Layer) -> Layer:
    """Returns the activation called `value`; a layer is returned as it is."""
    if isinstance(value, Layer):
        return value
    if value not in ACTIVATIONS:
        raise SpecError(
            f"{user_line()}An activation is a layer or one of {', '.join(ACTIVATIONS)}; received "
            f"{value!r}. Fix: pass one of these names."
        )
    return ACTIVATIONS[value]
