"""The recurrent cell."""

from collections.abc import Sequence
from dataclasses import dataclass

from ... import arguments
from ...errors import ShapeError, user_line
from .initial import Parameter, fan_in
from .layer import Layer, Shape, register


@register
@dataclass(frozen=True)
class GRU(Layer):
    """A gated recurrent unit with one bias per gate, in two parts (Cho et al., 2014).

    - project(x) = W x + b, of shape (3 hidden,): it reads no carry, so it leaves the loop.
    - step(h, p), with (p_r, p_u, p_n) = p and (q_r, q_u, q_n) = U h:

        r = sigmoid(p_r + q_r),  u = sigmoid(p_u + q_u),  n = tanh(p_n + r q_n),
        h' = (1 - u) n + u h.

    Parameters, all uniform within 1 / sqrt(hidden): weight_input W (3 hidden, inputs),
    weight_hidden U (3 hidden, hidden), bias b (3 hidden,), gates in the order reset, update, new.
    A second bias, which the frameworks' own cells have, would double the steps of the first.

    The cell reads one frame and one carry; what mixes time is the scan around it.
    """

    inputs: int
    hidden: int

    def __post_init__(self):
        self._set(
            inputs=arguments.integer("GRU", "inputs", self.inputs, "the event it reads"),
            hidden=arguments.integer("GRU", "hidden", self.hidden, "the carry"),
        )

    def project_shape(self, shape: Sequence[int]) -> Shape:
        """Returns (3 hidden,), the shape of project(x) for an event x of shape (inputs,)."""
        if tuple(shape) != (self.inputs,):
            raise self._refuse(shape, f"({self.inputs},)", "change inputs.")
        return (3 * self.hidden,)

    def step_shape(self, carry: Sequence[int], projected: Sequence[int]) -> Shape:
        """Returns (hidden,), the shape of step(h, project(x))."""
        if tuple(carry) != (self.hidden,) or tuple(projected) != (3 * self.hidden,):
            raise ShapeError(
                f"{user_line()}{self} steps a carry of shape ({self.hidden},) by a projection of "
                f"shape ({3 * self.hidden},); received {tuple(carry)} and {tuple(projected)}. "
                "Fix: change hidden, or the carry's first value."
            )
        return (self.hidden,)

    def out_shape(self, shape: Sequence[int]) -> Shape:
        return self.step_shape((self.hidden,), self.project_shape(shape))

    def parameters(self) -> dict[str, Parameter]:
        init = fan_in(self.hidden)
        return {
            "weight_input": Parameter((3 * self.hidden, self.inputs), init),
            "weight_hidden": Parameter((3 * self.hidden, self.hidden), init),
            "bias": Parameter((3 * self.hidden,), init),
        }
