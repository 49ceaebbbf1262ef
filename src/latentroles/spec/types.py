"""What an expression is worth: leading axes by name, time extent, event shape, dtype."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import ShapeError, user_line

AXES = ("batch", "time", "step")
DTYPES = ("float", "int", "bool")


@dataclass(frozen=True, slots=True)
class Type:
    """The static type of an expression.

    Args:
        axes: the leading axes, a subset of ("batch", "time", "step") in this order.
        shape: the event shape that stands behind them.
        dtype: "float", "int" or "bool"; the width of floats is chosen when compiling.
        time: d, where the time extent is T - d; None without a time axis.
        step: K, the extent of the step axis; None without one.
    """

    axes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float"
    time: int | None = None
    step: int | None = None

    def __str__(self) -> str:
        leading = [self.extent(axis) for axis in self.axes]
        return f"({', '.join([*leading, *map(str, self.shape)])}) {self.dtype}"

    def extent(self, axis: str) -> str:
        """The extent of an axis in words: "batch", "T - 2" or "4"."""
        if axis == "batch":
            return "batch"
        if axis == "time":
            away = self.time or 0
            return f"T {'-' if away > 0 else '+'} {abs(away)}" if away else "T"
        return str(self.step)

    def position(self, axis: str) -> int:
        """The index of a leading axis in the array."""
        return self.axes.index(axis)

    def with_shape(self, shape: Iterable[int], dtype: str | None = None) -> "Type":
        return replace(self, shape=tuple(shape), dtype=dtype or self.dtype)

    def without(self, axis: str) -> "Type":
        """The type of one entry along `axis`."""
        axes = tuple(a for a in self.axes if a != axis)
        extent = {} if axis == "batch" else {axis: None}
        return replace(self, axes=axes, **extent)

    def with_axis(self, axis: str, extent: int) -> "Type":
        """The type of a sequence of such entries; `extent` is d for time, K for step."""
        axes = tuple(a for a in AXES if a in self.axes or a == axis)
        return replace(self, axes=axes, **{axis: extent})

    def lead(self) -> tuple[object, ...]:
        return (self.axes, self.time, self.step)


def join_leads(what: str, types: Sequence[Type]) -> Type:
    """Returns a type whose leading axes hold those of all `types`; extents must agree."""
    axes: set[str] = set()
    extents: dict[str, int] = {}
    for t in types:
        axes |= set(t.axes)
        for axis, extent in (("time", t.time), ("step", t.step)):
            if extent is None:
                continue
            if extents.setdefault(axis, extent) != extent:
                letter = "t" if axis == "time" else "k"
                raise ShapeError(
                    f"{user_line()}{what} combines unequal {axis} extents: "
                    f"{' and '.join(str(u) for u in types)}. Cut them to the same range, for "
                    f"example with `.{letter}[1:]` or `.{letter}[:-1]`."
                )
    return Type(
        tuple(a for a in AXES if a in axes), time=extents.get("time"), step=extents.get("step")
    )
