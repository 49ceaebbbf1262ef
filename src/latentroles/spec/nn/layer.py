"""What every layer is, and how a new one is added.

A layer is neutral: a frozen dataclass that says what it computes, on which shapes, with which
parameters. Each backend builds it natively. A new layer is

1. a frozen dataclass here in core, `@register`ed, whose arguments are checked in `__post_init__`;
2. one function in `BUILDERS` of each backend's `layers.py`, that makes the native module with
   attributes named as the parameters are;
3. one row in the table of examples of `tests/test_layers.py`, which the parity tests run over.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from ...errors import ShapeError, user_line
from ...registry import Registry
from .initial import Parameter

Shape = tuple[int, ...]

LAYERS = Registry("layer")
register = LAYERS.register


class Layer(ABC):
    """A function of one event (and of its parameters): no leading axis is known to it."""

    @abstractmethod
    def out_shape(self, shape: Sequence[int]) -> Shape:
        """Returns the event shape that comes out for `shape`; raises ShapeError when it cannot."""

    def children(self) -> "dict[str, Layer]":
        """Returns the layers that this one contains, by name; a leaf has none."""
        return {}

    def parameters(self) -> dict[str, Parameter]:
        """Returns {path: Parameter} in the neutral layout; a child's paths start with its name."""
        return {
            f"{name}.{path}": parameter
            for name, child in self.children().items()
            for path, parameter in child.parameters().items()
        }

    @property
    def mixes_time(self) -> bool:
        """Whether the output for one frame depends on other frames."""
        return any(child.mixes_time for child in self.children().values())

    @property
    def mixes_batch(self) -> bool:
        """Whether the output for one example depends on other examples."""
        return any(child.mixes_batch for child in self.children().values())

    @property
    def reads_integers(self) -> bool:
        """Whether the input is an array of integers, as an embedding's is."""
        return False

    def to_json(self) -> dict[str, Any]:
        """Returns {"layer": name, ...fields}; `from_json` is the inverse."""
        return LAYERS.encode(self)

    def _set(self, **values: object) -> None:
        # Frozen dataclasses normalise their arguments this way, in __post_init__ only.
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _refuse(self, shape: Sequence[int], reads: str, fix: str) -> ShapeError:
        return ShapeError(
            f"{user_line()}{self} reads an event of shape {reads}; received {tuple(shape)}. "
            f"Fix: {fix}"
        )


def from_json(data: object) -> Layer:
    """Returns the layer whose `to_json` gave `data`. An unknown name gets the nearest suggested."""
    return LAYERS.decode(data)
