"""Dual numbers: arrays with tangents, and the part of the array API that losses are written in.

A Dual is a value and, for each of K directions, a tangent of the value's shape; None is zero in
all of them. A stop drops the tangents: this is all that a stop is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Dual:
    """A value (*shape) with tangents (K, *shape), or None where they are zero."""

    __array_ufunc__ = None  # numpy leaves arithmetic with its arrays to us

    def __init__(self, value: Any, tangent: np.ndarray | None = None):
        self.value, self.tangent = np.asarray(value), tangent

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    dtype = property(lambda self: self.value.dtype)
    device = "cpu"

    @property
    def T(self) -> Dual:
        return linear(np.transpose)(self)

    def __array_namespace__(self, api_version: str | None = None) -> type:
        return Namespace

    def __getitem__(self, index: Any) -> Dual:
        return linear(lambda x: x[index])(self)

    def __neg__(self) -> Dual:
        return linear(np.negative)(self)

    def __add__(self, other: Any) -> Dual:
        return _sum(self, dual(other))

    def __mul__(self, other: Any) -> Dual:
        return product(np.multiply)(self, other)

    def __sub__(self, other: Any) -> Dual:
        return self + -dual(other)

    def __rsub__(self, other: Any) -> Dual:
        return dual(other) + -self

    def __truediv__(self, other: Any) -> Dual:
        return self * power(dual(other), -1)

    def __rtruediv__(self, other: Any) -> Dual:
        return dual(other) / self

    def __pow__(self, exponent: float) -> Dual:
        return power(self, exponent)

    def __eq__(self, other: Any) -> Dual:  # type: ignore[override]
        return Dual(self.value == dual(other).value)

    def __gt__(self, other: Any) -> Dual:
        return Dual(self.value > dual(other).value)

    __radd__, __rmul__ = __add__, __mul__
    __hash__ = None  # type: ignore[assignment]


def dual(x: Any) -> Dual:
    """Anything as a Dual; a number or an array has no tangent."""
    return x if isinstance(x, Dual) else Dual(x)


def stop(x: Any) -> Dual:
    """The value without its tangents."""
    return Dual(dual(x).value)


def _each(function: Callable[..., Any], tangent: np.ndarray | None) -> np.ndarray | None:
    return None if tangent is None else np.stack([function(t) for t in tangent])


def linear(function: Callable[..., Any]) -> Callable[..., Dual]:
    """A linear function of one array, on its value and on each tangent."""

    def lifted(x: Any, /, *args: Any, **kwargs: Any) -> Dual:
        x = dual(x)

        def plain(a: np.ndarray) -> Any:
            return function(a, *args, **kwargs)

        return Dual(plain(x.value), _each(plain, x.tangent))

    return lifted


def _added(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return b if a is None else a if b is None else a + b


def product(function: Callable[..., Any]) -> Callable[[Any, Any], Dual]:
    """A function that is linear in each of two arrays: the product rule."""

    def lifted(a: Any, b: Any) -> Dual:
        a, b = dual(a), dual(b)
        left = _each(lambda t: function(t, b.value), a.tangent)
        right = _each(lambda t: function(a.value, t), b.tangent)
        return Dual(function(a.value, b.value), _added(left, right))

    return lifted


def pointwise(
    function: Callable[..., Any], slope: Callable[[np.ndarray, np.ndarray], Any]
) -> Callable[[Any], Dual]:
    """A function of each entry, with its derivative as a function of (x, y)."""

    def lifted(x: Any) -> Dual:
        x = dual(x)
        y = function(x.value)
        return Dual(y, None if x.tangent is None else x.tangent * slope(x.value, y))

    return lifted


def _sum(a: Dual, b: Dual) -> Dual:
    value = a.value + b.value
    spread = [_each(lambda t: np.broadcast_to(t, value.shape), d.tangent) for d in (a, b)]
    return Dual(value, _added(*spread))


def power(x: Dual, exponent: float) -> Dual:
    """x ** exponent, the exponent being a number."""
    e = float(exponent)  # numpy has no negative powers of integers
    return pointwise(lambda v: v**e, lambda v, y: e * v ** (e - 1.0))(x)


def joined(function: Callable[..., Any], xs: list[Any], axis: int) -> Dual:
    """np.stack or np.concatenate of Duals."""
    duals = [dual(x) for x in xs]
    value = function([d.value for d in duals], axis=axis)
    count = next((len(d.tangent) for d in duals if d.tangent is not None), 0)
    if not count:
        return Dual(value)
    parts = [np.zeros((count, *d.shape)) if d.tangent is None else d.tangent for d in duals]
    return Dual(value, np.stack([function([p[k] for p in parts], axis=axis) for k in range(count)]))


def _where(condition: Any, a: Any, b: Any) -> Dual:
    chosen, a, b = dual(condition).value, dual(a), dual(b)
    first = None if a.tangent is None else np.where(chosen, a.tangent, 0.0)
    second = None if b.tangent is None else np.where(chosen, 0.0, b.tangent)
    return Dual(np.where(chosen, a.value, b.value), _added(first, second))


def _max(x: Any, axis: int, keepdims: bool = False) -> Dual:
    x = dual(x)
    index = np.expand_dims(np.argmax(x.value, axis=axis), axis)
    best = linear(np.take_along_axis)(x, index, axis)
    return best if keepdims else linear(np.squeeze)(best, axis)


def _sort(x: Any) -> Dual:
    return linear(np.take_along_axis)(x, np.argsort(dual(x).value, axis=-1), -1)


def _clip(x: Any, low: float, high: float) -> Dual:
    return pointwise(lambda v: np.clip(v, low, high), lambda v, y: (v > low) & (v < high))(x)


exp = pointwise(np.exp, lambda x, y: y)
tanh = pointwise(np.tanh, lambda x, y: 1.0 - y**2)
magnitude = pointwise(np.abs, lambda x, y: np.sign(x))
sigmoid = pointwise(lambda x: 1.0 / (1.0 + np.exp(-x)), lambda x, y: y * (1.0 - y))
relu = pointwise(lambda x: np.maximum(x, 0.0), lambda x, y: x > 0)
matmul = product(np.matmul)


class Namespace:
    """What losses ask of an array library, for Duals."""

    mean, sum, reshape, take = (linear(f) for f in (np.mean, np.sum, np.reshape, np.take))
    abs, exp, tanh, matmul = magnitude, exp, tanh, matmul
    sqrt = pointwise(np.sqrt, lambda x, y: 0.5 / y)
    log = pointwise(np.log, lambda x, y: 1.0 / x)
    sign = pointwise(np.sign, lambda x, y: 0.0 * x)
    where, max, sort, clip = _where, _max, _sort, _clip

    @staticmethod
    def asarray(x: Any, *, dtype: Any = None, device: Any = None) -> Any:
        return np.asarray(x, dtype)

    @staticmethod
    def arange(n: int, *, dtype: Any = None, device: Any = None) -> Dual:
        return Dual(np.arange(n, dtype=dtype))

    @staticmethod
    def astype(x: Dual, dtype: Any) -> Dual:
        return Dual(x.value.astype(dtype), x.tangent)

    @staticmethod
    def zeros_like(x: Dual) -> Dual:
        return Dual(np.zeros_like(x.value))

    @staticmethod
    def ones_like(x: Dual) -> Dual:
        return Dual(np.ones_like(x.value))
