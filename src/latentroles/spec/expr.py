"""Expressions: immutable, hash-consed nodes of one Spec, typed as they are declared.

An `Expr` names what flows between modules: it has leading axes (batch, time, step), an event
shape and a dtype. Two equal declarations in one Spec are the same object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ShapeError, SpecError, user_line
from .describe import describe
from .types import Type, join_leads

if TYPE_CHECKING:
    from .declarations import Gate
    from .spec import Spec

Operand = "Expr | Constant | float | int"

# What users of the frameworks reach for, and where it is here.
_ELSEWHERE = {
    "detach": " A stop is `.stop()`.",
    "stop_gradient": " A stop is `.stop()`.",
    "requires_grad_": " Freeze a module with `module.frozen(x)`.",
    "view": " Use `lr.reshape`.",
    "reshape": " Use `lr.reshape`.",
    "flatten": " Use `lr.reshape`.",
    "cat": " Use `lr.concat`.",
    "pow": " Use `** 2`, the only power.",
    "backward": " It is a declaration: compile it with `lr.compile`.",
}


class Constant:
    """A constant array that belongs to no Spec yet: `lr.zeros(8)`, `lr.constant(1.0, 3)`."""

    def __init__(self, value: float, shape: tuple[int, ...]):
        self.value = float(value)
        self.shape = shape

    def __repr__(self) -> str:
        return f"constant({self.value}, {self.shape})"


class Expr:
    """A node of a Spec. Build it with modules, operators and the functions of `latentroles`.

    Attributes:
        kind: the node kind; see `spec.kinds`.
        inputs: the operands.
        attrs: static arguments of the node, hashable.
        type: leading axes, event shape and dtype.
    """

    __slots__ = ("spec", "id", "kind", "inputs", "attrs", "type", "_loops")

    def __init__(
        self,
        spec: Spec,
        id: int,
        kind: str,
        inputs: tuple[Expr, ...],
        attrs: tuple[Any, ...],
        type: Type,
    ):
        self.spec, self.id, self.kind = spec, id, kind
        self.inputs, self.attrs, self.type = inputs, attrs, type
        if kind == "var":
            self._loops = frozenset({attrs[0]})
        elif kind in ("scan", "tap"):
            scan = attrs[0] if kind == "scan" else inputs[0].attrs[0]
            self._loops = frozenset().union(*(i._loops for i in inputs)) - {scan}
        else:
            self._loops = frozenset().union(*(i._loops for i in inputs))

    def __repr__(self) -> str:
        return f"{describe(self)}: {self.type}"

    def loops(self) -> frozenset[int]:
        """The loops whose variables occur below: such an Expr has a value inside a step only."""
        return self._loops

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape, leading axes not counted."""
        return self.type.shape

    @property
    def axes(self) -> tuple[str, ...]:
        """The leading axes: a subset of ("batch", "time", "step")."""
        return self.type.axes

    def __iter__(self) -> Iterator[Expr]:
        raise SpecError(
            f"{user_line()}an Expr stands for a whole array and cannot be iterated over: {self!r}. "
            "Take it apart with `lr.split`."
        )

    def __bool__(self) -> bool:
        raise SpecError(
            f"{user_line()}an Expr has no truth value: a spec is static. "
            "Choose with a keyword argument of the spec's function, or with a gate."
        )

    def __getattr__(self, name: str) -> Any:
        # An AttributeError, so that hasattr and copying work.
        raise AttributeError(
            f"an Expr has no attribute {name!r}.{_ELSEWHERE.get(name, '')}", name=name, obj=self
        )

    def __matmul__(self, other: Any) -> Expr:
        raise SpecError(
            f"{user_line()}products of matrices are layers: apply a module such as "
            "`s.module(name, lr.nn.linear(m, n))`."
        )

    # numpy leaves `array * expr` to us, where it is an error with a name.
    __array_ufunc__ = None

    def __getitem__(self, index: Any) -> Expr:
        raise SpecError(
            f"{user_line()}an Expr is sliced by the axis's name, time as `.t[1:]` and the steps of "
            f"a rollout as `.k[0]`, and its event with `lr.split`; got `[{index!r}]` on {self!r}."
        )

    # Time and step -------------------------------------------------------------------------

    @property
    def t(self) -> AxisView:
        """Slices time: `z.t[1:]`, `z.t[:-1]`, `z.t[0]`."""
        return AxisView(self, "time")

    @property
    def k(self) -> AxisView:
        """Slices the steps of a rollout: `imagined.k[1:]`, `imagined.k[0]`."""
        return AxisView(self, "step")

    def windows(self, size: int) -> Expr:
        """Returns every window of `size` successive frames.

        Shapes: (batch, time) -> (batch, time - size + 1, step = size); entry [t, j] is [t + j].
        """
        if "time" not in self.axes or "step" in self.axes:
            raise ShapeError(
                f"{user_line()}windows needs a time axis and no step axis, got {self.type}."
            )
        if not isinstance(size, int) or size < 1:
            raise ShapeError(f"{user_line()}windows needs a size of at least 1, got {size!r}.")
        return self.spec._node("window", (self,), (size,))

    # Gradient ------------------------------------------------------------------------------

    def stop(self) -> Expr:
        """Identity in value, zero in derivative."""
        return self.spec._node("stop", (self,), ())

    def scale_gradient(self, factor: float) -> Expr:
        """Identity in value, derivative times `factor`; -1 reverses it. 0 is `stop()`."""
        if float(factor) == 0.0:
            return self.stop()
        return self.spec._node("scale", (self,), (float(factor),))

    def live(self) -> Expr:
        """Identity in value and derivative; says that gradient is meant to pass here."""
        return self.spec._node("scale", (self,), (1.0,))

    def through(self, gate: Gate) -> Expr:
        """The expression itself where the gate is open, `stop()` where it is closed."""
        self.spec._own(gate, "gate")
        return self.spec._node("gate", (self,), (gate.name,))

    # Arithmetic ----------------------------------------------------------------------------

    def __add__(self, other: Any) -> Expr:
        return elementwise("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return elementwise("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return elementwise("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return elementwise("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return elementwise("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return elementwise("mul", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return elementwise("div", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return elementwise("div", other, self)

    def __neg__(self) -> Expr:
        return unary("neg", self)

    def __abs__(self) -> Expr:
        return unary("abs", self)

    def __pow__(self, exponent: Any) -> Expr:
        if exponent != 2:
            raise SpecError(f"{user_line()}the only power is `** 2`, got `** {exponent!r}`.")
        return unary("square", self)

    def one_hot(self) -> Expr:
        """One-hot codes of a discrete action or label: (...,) int -> (..., n) float."""
        n = self.spec._classes(self)
        if n is None:
            raise ShapeError(
                f"{user_line()}one_hot needs a discrete action or label, got {self!r}."
            )
        return self.spec._node("op", (self,), ("one_hot", n))

    def mean(self, *, over: str = "event") -> Expr:
        """The mean over the event ("event") or over one leading axis ("batch", "time", "step")."""
        return reduce("mean", self, over)

    def sum(self, *, over: str = "event") -> Expr:
        """The sum over the event ("event") or over one leading axis ("batch", "time", "step")."""
        return reduce("sum", self, over)


class AxisView:
    """`e.t` or `e.k`: slices one leading axis, so that nobody mistakes time for the batch."""

    def __init__(self, expr: Expr, axis: str):
        letter = "t" if axis == "time" else "k"
        if axis not in expr.axes:
            raise ShapeError(
                f"{user_line()}`.{letter}` slices the {axis} axis, and {expr!r} has none."
            )
        self._expr, self._axis, self._letter = expr, axis, letter

    def __getitem__(self, index: int | slice) -> Expr:
        expr, axis = self._expr, self._axis
        if isinstance(index, int):
            return _pick(expr, axis, index)
        if not isinstance(index, slice) or index.step not in (None, 1):
            raise ShapeError(
                f"{user_line()}`.{self._letter}[...]` takes an integer or a slice of step 1, "
                f"got {index!r}."
            )
        lo, hi = index.start or 0, index.stop
        if axis == "step":
            assert expr.type.step is not None
            lo, hi, _ = slice(lo, hi).indices(expr.type.step)
            hi = expr.type.step - hi
        else:
            hi = 0 if hi is None else -hi
        if lo < 0 or hi < 0 or (hi == 0 and index.stop is not None and axis == "time"):
            raise ShapeError(
                f"{user_line()}time is sliced as `.t[lo:-hi]` with lo >= 0 and hi >= 1, because "
                f"the number of frames T is not known here; got `.t[{index.start}:{index.stop}]`."
            )
        if lo == 0 and hi == 0:
            return expr
        return expr.spec._node("cut", (expr,), (axis, lo, hi))


def _pick(expr: Expr, axis: str, index: int) -> Expr:
    """One entry; the first entry of a prepended sequence is what was prepended."""
    if expr.kind == "prepend" and expr.attrs[0] == axis and index >= 0:
        first, rest = expr.inputs
        return first if index == 0 else _pick(rest, axis, index - 1)
    return expr.spec._node("pick", (expr,), (axis, index))


# Building -----------------------------------------------------------------------------------


def spec_of(what: str, operands: Sequence[Any]) -> Spec:
    """The one Spec that the operands belong to."""
    specs = {id(o.spec): o.spec for o in operands if isinstance(o, Expr)}
    if len(specs) != 1:
        held = "none of them is an Expr" if not specs else "they belong to different Specs"
        raise SpecError(
            f"{user_line()}{what} needs operands of one Spec: {held}. Got "
            f"{', '.join(repr(o) for o in operands)}."
        )
    return next(iter(specs.values()))


def as_expr(spec: Spec, value: Any, what: str) -> Expr:
    """Adopts a number or a Constant into `spec`."""
    if isinstance(value, Expr):
        if value.spec is not spec:
            raise SpecError(
                f"{user_line()}{what} mixes Exprs of two Specs: {value!r} belongs to "
                f"{value.spec.name!r}, not to {spec.name!r}."
            )
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Constant):
        raise SpecError(
            f"{user_line()}{what} takes Exprs, numbers and lr.zeros / lr.constant, got {value!r}. "
            "Arrays are not part of a declaration: declare a label, a state or an observation."
        )
    constant = value if isinstance(value, Constant) else Constant(value, ())
    return spec._node("constant", (), (constant.value, Type(shape=constant.shape)))


def expand(expr: Expr, lead: Type) -> Expr:
    """Repeats `expr` along the leading axes of `lead` that it lacks."""
    if expr.type.lead() == lead.lead():
        return expr
    if join_leads("repeating", [expr.type, lead]).lead() != lead.lead():
        raise ShapeError(
            f"{user_line()}{expr.type} has leading axes that its place does not: "
            f"({', '.join(lead.extent(a) for a in lead.axes)})."
        )
    target = lead.with_shape(expr.shape, expr.type.dtype)
    if expr.kind == "constant":
        return expr.spec._node("constant", (), (expr.attrs[0], target))
    return expr.spec._node("expand", (expr,), (target,))


def align(what: str, exprs: Sequence[Expr]) -> tuple[Expr, ...]:
    """Gives all operands the same leading axes."""
    lead = join_leads(what, [e.type for e in exprs])
    return tuple(expand(e, lead) for e in exprs)


def elementwise(name: str, left: Any, right: Any) -> Expr:
    spec = spec_of(name, (left, right))
    a, b = as_expr(spec, left, name), as_expr(spec, right, name)
    scalar = [e for e in (a, b) if e.kind == "constant" and e.shape == ()]
    if not scalar:
        a, b = align(name, (a, b))
    if a.shape != b.shape and a.shape != () and b.shape != ():
        raise ShapeError(
            f"{user_line()}{name} needs equal event shapes (or a scalar on one side): "
            f"left is {a.type}, right is {b.type}."
        )
    return spec._node("op", (a, b), (name,))


def unary(name: str, operand: Any) -> Expr:
    spec = spec_of(name, (operand,))
    return spec._node("op", (operand,), (name,))


def reduce(name: str, operand: Expr, over: str) -> Expr:
    if over not in ("event", *operand.axes):
        raise ShapeError(
            f"{user_line()}{name}(over=...) takes 'event' or a leading axis of {operand.type}, "
            f"got {over!r}."
        )
    return operand.spec._node("op", (operand,), (name, over))
