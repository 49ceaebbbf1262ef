"""What a Spec declares beside expressions: modules, targets, gates, latents, losses, measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from ..errors import SpecError, user_line
from ..roles import Role
from .expr import Expr, align, as_expr, spec_of

if TYPE_CHECKING:
    from .spec import Spec


# The file and line of a declaration; None where it was read from JSON.
Place = tuple[str, int] | None


@dataclass(frozen=True)
class Discrete:
    """An action that is one of n, given as an integer 0..n-1."""

    n: int

    def __post_init__(self) -> None:
        whole = isinstance(self.n, Integral) and not isinstance(self.n, bool)
        if not whole or self.n < 1:
            raise SpecError(
                f"{user_line()}Discrete needs a positive number of classes, got {self.n!r}. Fix: "
                "pass how many there are, an integer such as Discrete(4)."
            )
        object.__setattr__(self, "n", int(self.n))


@dataclass(frozen=True)
class Box:
    """A continuous action with entries between `low` and `high`."""

    low: float
    high: float
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        bounds = (self.low, self.high)
        numbers = all(isinstance(b, Real) and isfinite(b) for b in bounds)
        if not numbers or not self.low < self.high:
            raise SpecError(
                f"{user_line()}Box needs two finite numbers low < high, one pair for all entries, "
                f"got {self.low!r} and {self.high!r}. Scale the entries of an action alike."
            )
        sizes = self.shape if isinstance(self.shape, Sequence) else (self.shape,)
        if not all(isinstance(n, Integral) and n > 0 for n in sizes):
            raise SpecError(
                f"{user_line()}Box needs the sizes of its entries, got {self.shape!r}. Fix: pass "
                "positive integers such as (2,), or () for one number."
            )
        # Equal boxes are equal data, however they were written.
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        object.__setattr__(self, "shape", tuple(int(n) for n in sizes))


@dataclass(frozen=True, eq=False)
class Module:
    """A named parameter group with a neutral architecture. Call it on Exprs.

    A module with a recurrent layer is called as `module(h, u)` and is a step for `lr.scan`.
    """

    spec: Spec = field(repr=False)
    name: str
    layer: Any
    place: Place = field(default=None, repr=False)

    def __call__(self, *inputs: Any) -> Expr:
        return self._apply(inputs, frozen=False)

    def frozen(self, *inputs: Any) -> Expr:
        """Applies the module with its parameters stopped; the gradient to the inputs flows."""
        return self._apply(inputs, frozen=True)

    def _apply(self, inputs: tuple[Any, ...], *, frozen: bool) -> Expr:
        spec_of(f"module {self.name!r}", inputs)
        exprs = [as_expr(self.spec, i, f"module {self.name!r}") for i in inputs]
        return _apply(self.spec, self.name, self.layer, exprs, frozen)


@dataclass(frozen=True, eq=False)
class Target:
    """An EMA copy of a module, moved only by its EMA after the optimiser. Call it on Exprs.

    Its output is stopped. It starts as an exact copy, buffers included.
    """

    spec: Spec = field(repr=False)
    name: str
    of: str
    decay: Any
    place: Place = field(default=None, repr=False)

    def __call__(self, *inputs: Any) -> Expr:
        spec_of(f"target {self.name!r}", inputs)
        exprs = [as_expr(self.spec, i, f"target {self.name!r}") for i in inputs]
        return _apply(self.spec, self.name, self.spec._layer(self.name), exprs, True).stop()


def _apply(spec: Spec, name: str, layer: Any, inputs: list[Expr], frozen: bool) -> Expr:
    if spec._tracing and (layer.mixes_batch or layer.mixes_time):
        raise SpecError(
            f"{user_line()}module {name!r} mixes the batch or time and cannot stand in the step of "
            "a loop: apply it outside and pass its result as xs."
        )
    recurrent = hasattr(layer, "project_shape")
    if len(inputs) != (2 if recurrent else 1):
        form = "two inputs, (h, u)" if recurrent else "one input"
        raise SpecError(
            f"{user_line()}module {name!r} takes {form}, got {len(inputs)}. "
            "Join several inputs with `lr.concat`."
        )
    if not recurrent:
        return spec._node("apply", tuple(inputs), (name, None, frozen))
    h, u = inputs
    projected = spec._node("apply", (u,), (name, "project", frozen))
    return spec._node("apply", align(name, (h, projected)), (name, "step", frozen))


@dataclass(frozen=True)
class Gate:
    """A named stop that is open or closed for the whole model: `z.through(gate)`."""

    name: str
    open: bool

    def __post_init__(self) -> None:
        if not isinstance(self.open, bool):
            raise SpecError(
                f"{user_line()}gate {self.name!r}: open must be True or False; received "
                f"{self.open!r}. A gate is static, a part of the hash and of the route table: a "
                "route that depends on the step or on data cannot be checked before it is taken. "
                "Fix: schedule the weight of the loss, `weight=lr.warmup(...)`, or declare the "
                "loss twice, with and without a stop, for two phases."
            )


@dataclass(frozen=True)
class Latent:
    """A named Expr with a role."""

    name: str
    expr: Expr
    role: Role
    place: Place = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Loss:
    """A named scalar Expr with a positive weight.

    Args:
        weight: a number, or a schedule of the step.
        updates: names of the only modules that it may update, or None for all it reaches.
    """

    name: str
    expr: Expr
    weight: Any
    updates: tuple[str, ...] | None
    place: Place = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Measure:
    """A named scalar Expr that is looked at: logged, never differentiated."""

    name: str
    expr: Expr
    place: Place = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Picture:
    """A named Expr of frames, (batch, time) + (C, H, W), that is drawn."""

    name: str
    expr: Expr
    place: Place = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class State:
    """A named array that is carried from step to step and moves only by its declared update."""

    name: str
    shape: tuple[int, ...]
    init: float


@dataclass(frozen=True)
class Noise:
    """A random input of the step. Equal (name, label) share a draw.

    Args:
        kind: "normal" (mean 0, variance 1), "uniform" in [0, 1), or "bernoulli" of `rate`,
            scaled by 1 / rate so that its mean is 1.
    """

    name: str
    kind: str
    rate: float = 1.0


@dataclass(frozen=True)
class Phase:
    """A stage of training with losses of its own.

    Args:
        losses: the names of its losses.
        steps: how many steps it takes, or None for what the trainer is told.
    """

    name: str
    losses: tuple[str, ...]
    steps: int | None = None


@dataclass(frozen=True)
class Allowance:
    """One finding that this spec accepts in one place, with its reason."""

    rule: str
    loss: str | None
    latent: str | None
    because: str
    module: str | None = None
