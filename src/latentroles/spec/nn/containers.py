"""Layers made of layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ShapeError, SpecError, user_line
from .layer import Layer, Shape, register


def _layer(owner: str, value: object) -> Layer:
    if not isinstance(value, Layer):
        raise SpecError(
            f"{user_line()}{owner} holds neutral layers; received {value!r}. "
            "Fix: pass layers of latentroles.spec.nn, not modules of a framework."
        )
    return value


@register
@dataclass(frozen=True)
class Sequential(Layer):
    """Its layers, one after another. Parameters: those of layer i under the path "i."."""

    layers: tuple[Layer, ...]

    def __post_init__(self):
        if not isinstance(self.layers, (tuple, list)) or not self.layers:
            raise SpecError(
                f"{user_line()}Sequential: layers must be a list of at least one layer; received "
                f"{self.layers!r}. Fix: pass Sequential([first, second])."
            )
        self._set(layers=tuple(_layer("Sequential", layer) for layer in self.layers))

    def children(self) -> dict[str, Layer]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    @property
    def reads_integers(self) -> bool:
        return self.layers[0].reads_integers

    def out_shape(self, shape: Sequence[int]) -> Shape:
        for layer in self.layers:
            shape = layer.out_shape(shape)
        return tuple(shape)


@register
@dataclass(frozen=True)
class Residual(Layer):
    """y = x + body(x) (He et al., 2016). Parameters: those of the body under the path "body."."""

    body: Layer

    def __post_init__(self):
        _layer("Residual", self.body)

    def children(self) -> dict[str, Layer]:
        return {"body": self.body}

    def out_shape(self, shape: Sequence[int]) -> Shape:
        out = self.body.out_shape(shape)
        if out != tuple(shape):
            raise ShapeError(
                f"{user_line()}Residual adds its body's output to its input, so the body must keep "
                f"the event's shape; received {tuple(shape)} -> {out}. Fix: change the body's "
                "outputs."
            )
        return out
