"""Layers over an event of tokens, (tokens, dim): attention, and what goes with it.

Tokens are an axis of the event, so that none of these mixes time. Frames become tokens where they
are joined by name, `z.t[0], z.t[1], ...` or the steps of `z.windows(n)`: the rules then know which
token is which frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ... import arguments
from ...errors import SpecError, user_line
from .initial import Normal, Parameter
from .layer import Layer, Shape, register
from .layers import Linear

Mask = tuple[tuple[bool, ...], ...]


@register
@dataclass(frozen=True)
class Attention(Layer):
    """Multi-head self-attention over the tokens of an event (Vaswani et al., 2017).

    With (q, k, v) = W_qkv x + b_qkv, each cut into `heads` of dim / heads entries, and for each
    head y_i = sum_j softmax_j(q_i . k_j / sqrt(dim / heads)) v_j, over the j that i may read:
    out = W_output concat(y) + b_output. A token that may read none has y_i = 0.

    Parameters: those of Linear(dim, 3 dim) under "qkv.", in the order query, key, value, each
    head by head, and of Linear(dim, dim) under "output.". There is no dropout.

    **Arguments:** with `causal`, token i reads the tokens j <= i only. `mask`, a square table of
    booleans, is True at [i][j] where i may read j; with both, both must hold.
    """

    dim: int
    heads: int
    causal: bool = False
    mask: Mask | None = None

    def __post_init__(self):
        dim = arguments.integer("Attention", "dim", self.dim, "length of a token")
        heads = arguments.integer("Attention", "heads", self.heads, "heads")
        if dim % heads:
            raise SpecError(
                f"{user_line()}Attention: heads must divide dim; received {heads} heads for dim "
                f"{dim}. Fix: pass one of {', '.join(map(str, divisors(dim)))}."
            )
        causal = arguments.boolean("Attention", "causal", self.causal)
        mask = None if self.mask is None else _table(self.mask)
        if mask and causal:
            mask = tuple(
                (*row[: i + 1], *(False,) * len(row[i + 1 :])) for i, row in enumerate(mask)
            )
        # A mask holds the causal one, so that equal attentions are equal data.
        self._set(dim=dim, heads=heads, causal=causal and mask is None, mask=mask)

    def children(self) -> dict[str, Layer]:
        return {"qkv": Linear(self.dim, 3 * self.dim), "output": Linear(self.dim, self.dim)}

    def out_shape(self, shape: Sequence[int]) -> Shape:
        return _tokens(self, shape, self.dim, len(self.mask) if self.mask else None)


@register
@dataclass(frozen=True)
class PrependToken(Layer):
    """A learned token in front of the others, ([AGG] or [CLS]): (n, dim) -> (n + 1, dim).

    Parameters: token (dim,), normal with deviation 0.02 (Dosovitskiy et al., 2021).
    """

    dim: int

    def __post_init__(self):
        self._set(dim=arguments.integer("PrependToken", "dim", self.dim, "length of a token"))

    def out_shape(self, shape: Sequence[int]) -> Shape:
        count, dim = _tokens(self, shape, self.dim, None)
        return (count + 1, dim)

    def parameters(self) -> dict[str, Parameter]:
        return {"token": Parameter((self.dim,), Normal(0.02))}


@register
@dataclass(frozen=True)
class Positions(Layer):
    """Adds a learned vector to each of `count` tokens, by its position.

    Parameters: weight (count, dim), normal with deviation 0.02 (Dosovitskiy et al., 2021).
    """

    count: int
    dim: int

    def __post_init__(self):
        self._set(
            count=arguments.integer("Positions", "count", self.count, "tokens"),
            dim=arguments.integer("Positions", "dim", self.dim, "length of a token"),
        )

    def out_shape(self, shape: Sequence[int]) -> Shape:
        return _tokens(self, shape, self.dim, self.count)

    def parameters(self) -> dict[str, Parameter]:
        return {"weight": Parameter((self.count, self.dim), Normal(0.02))}


@register
@dataclass(frozen=True)
class Take(Layer):
    """Entry `index`, counted from 0, of the event's first axis: (n, ...) -> (...)."""

    index: int

    def __post_init__(self):
        index = arguments.integer("Take", "index", self.index, "entry of the first axis", minimum=0)
        self._set(index=index)

    def out_shape(self, shape: Sequence[int]) -> Shape:
        if not shape or shape[0] <= self.index:
            raise self._refuse(
                shape, f"(n, ...) with n of at least {self.index + 1}", "pass a smaller index."
            )
        return tuple(shape[1:])


def divisors(n: int) -> list[int]:
    """Returns the divisors of n, rising."""
    return [d for d in range(1, n + 1) if n % d == 0]


def _tokens(layer: Layer, shape: Sequence[int], dim: int, count: int | None) -> tuple[int, int]:
    """Returns (tokens, dim); raises ShapeError where the event is another."""
    if len(shape) != 2 or shape[0] < 1 or shape[1] != dim or count not in (None, shape[0]):
        fix = (
            "change the layer's sizes, or make the event (tokens, dim) by lr.reshape or Rearrange."
        )
        raise layer._refuse(shape, f"({'tokens' if count is None else count}, {dim})", fix)
    return shape[0], shape[1]


def _table(mask: object) -> Mask:
    """Returns the mask as tuples of bool; raises SpecError unless it is a square of booleans."""
    rows = mask.tolist() if isinstance(mask, np.ndarray) else mask
    if isinstance(rows, (tuple, list)) and rows and all(isinstance(r, (tuple, list)) for r in rows):
        table = tuple(tuple(row) for row in rows)
        whole = all(len(row) == len(table) for row in table)
        if whole and all(isinstance(entry, bool) for row in table for entry in row):
            return table
    raise SpecError(
        f"{user_line()}Attention: mask must be a square table of booleans, one row for each token "
        f"that reads, True where it may read; received {mask!r}. Fix: pass, say, "
        "((True, False), (True, True))."
    )
