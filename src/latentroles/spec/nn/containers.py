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
    if hasattr(value, "project_shape"):
        raise SpecError(
            f"{user_line()}{owner} holds functions of one event, and a recurrent layer reads a "
            f"carry beside it; received {value}. Fix: declare it as a module of its own, for "
            "`lr.scan`."
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
    """y = shortcut(x) + body(x); without a shortcut, y = x + body(x) (He et al., 2016).

    Parameters: those of the body under the path "body.", of the shortcut under "shortcut.".
    """

    body: Layer
    shortcut: Layer | None = None

    def __post_init__(self):
        for layer in self.children().values():
            _layer("Residual", layer)

    def children(self) -> dict[str, Layer]:
        return {"body": self.body} | ({} if self.shortcut is None else {"shortcut": self.shortcut})

    def out_shape(self, shape: Sequence[int]) -> Shape:
        out = self.body.out_shape(shape)
        kept = tuple(shape) if self.shortcut is None else self.shortcut.out_shape(shape)
        if out != kept:
            rule = (
                "adds its body's output to its input, so the body must keep the event's shape"
                if self.shortcut is None
                else "adds its body's output to its shortcut's, so the two must have one shape"
            )
            raise ShapeError(
                f"{user_line()}Residual {rule}; received {kept} -> {out}. Fix: change the body's "
                "outputs, or pass a shortcut that gives the same shape."
            )
        return out


@register
@dataclass(frozen=True)
class ForEach(Layer):
    """Its body, applied to each entry of the event's first axis: (n, ...) -> (n, ...).

    So `ForEach(Linear(8, 16))` maps tokens (n, 8) to tokens (n, 16). Parameters: those of the body
    under the path "body.", one set for all entries.
    """

    body: Layer

    def __post_init__(self):
        _layer("ForEach", self.body)

    def children(self) -> dict[str, Layer]:
        return {"body": self.body}

    @property
    def reads_integers(self) -> bool:
        return self.body.reads_integers

    def out_shape(self, shape: Sequence[int]) -> Shape:
        if not shape:
            raise self._refuse(shape, "(n, ...)", "pass its body by itself.")
        return (shape[0], *self.body.out_shape(shape[1:]))
