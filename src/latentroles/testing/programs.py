"""Random declarations, written as Python text and run as they are written.

An `Author` asks for small numbers and turns each into a line that type-checks: what a later line
may read follows from the Exprs that the earlier ones made. Every value has the event shape (2,),
so that nearly everything can be combined with nearly everything.

What is hard for the compiler is written often: values that one loss reads live and another
stopped, loops that are read twice, carries that stop one another, overlapping cuts under one
module.
"""

from collections.abc import Callable, Sequence
from typing import Any

import latentroles as lr

from ..spec.expr import Expr
from ..spec.types import Type

WIDTH = 2
# Frames in a batch, and by how many a sequence may be shorter.
FRAMES, SHORTEST = 6, 4

_MODULES = {
    "f": "lr.nn.linear(2, 2)",
    "m": 'lr.nn.mlp(2, 2, hidden=3, activation="tanh")',
    "j": "lr.nn.linear(4, 2)",
    "g": "lr.nn.gru(2, 2)",
    "r": "lr.nn.Residual(lr.nn.linear(2, 2))",
}
_UNARY = (
    "lr.tanh({0})",
    "lr.exp(lr.tanh({0}))",
    "lr.sigmoid({0})",
    "lr.normalise({0})",
    "lr.square(lr.tanh({0}))",
    "-{0}",
    "lr.absolute({0})",
    "lr.relu({0} + 0.5)",
    "0.5 - {0}",
    "lr.reshape(lr.tanh(lr.reshape({0}, 2, 1)), 2)",
    "lr.concat(*reversed(lr.split({0}, 1, 1)))",
)
_BINARY = (
    "{0} + {1}",
    "{0} - {1}",
    "lr.tanh({0} * {1})",
    "{0} / (lr.square({1}) + 1.0)",
    "{0} * {1}.mean()",
    "{0} * 0.5 + {1}",
)


class Author:
    """Writes one declaration.

    Args:
        below: n -> a number in 0..n-1; it decides everything.

    Attributes:
        lines: the text so far. names: what it has bound, the Spec as `s`.
        values: the names of the vectors.
        calls: the calls so far, as (pattern, how many values it binds, operands).
    """

    def __init__(self, below: Callable[[int], int]):
        self.below = below
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"lr": lr, "__name__": "declared"}
        self.values: list[str] = []
        self.calls: list[tuple[str, int, tuple[str, ...]]] = []
        self.modules: list[str] = []
        self.gates: list[str] = []
        self.targets: list[str] = []
        self.states: list[str] = []
        self._numbers: dict[str, int] = {}

    # Text ----------------------------------------------------------------------------------

    def run(self, text: str) -> None:
        """Writes a statement and executes it."""
        self.lines.append(text)
        exec(compile(text, "<declared>", "exec"), self.names)

    def expr(self, text: str) -> Expr:
        return eval(text, self.names)

    def type(self, text: str) -> Type:
        return self.expr(text).type

    def new(self, letter: str) -> str:
        """A name that is not taken."""
        self._numbers[letter] = self._numbers.get(letter, 0) + 1
        return f"{letter}{self._numbers[letter]}"

    def choose(self, options: Sequence[Any]) -> Any:
        return options[self.below(len(options))]

    def rarely(self, one_in: int) -> bool:
        return self.below(one_in) == one_in - 1

    def let(self, pattern: str, *operands: str, count: int = 1) -> str:
        """Binds the results of a call to new names, as values; returns the first."""
        names = [self.new("v") for _ in range(count)]
        text = pattern.format(*operands)
        self.run(f"{self._left(names, pattern)} = {text}")
        self.calls.append((pattern, count, operands))
        self.values += names
        return names[0]

    def _left(self, names: list[str], pattern: str) -> str:
        # A loop with outputs gives (carries, outputs), each alone or a tuple.
        if "lr.scan" not in pattern and "lr.rollout" not in pattern:
            return names[0]
        carries = pattern.count("#") or 1
        head = f"({', '.join(names[:carries])})" if carries > 1 else names[0]
        return f"{head}, ({', '.join(names[carries:])},)" if names[carries:] else head

    # Declarations --------------------------------------------------------------------------

    def module(self, kind: str) -> str:
        """A module of a kind, one of at most two."""
        known = [name for name in self.modules if name[0] == kind]
        if known and (len(known) == 2 or not self.rarely(3)):
            return self.choose(known)
        name = self.new(kind)
        self.run(f'{name} = s.module("{name}", {_MODULES[kind]})')
        self.modules.append(name)
        return name

    def one_to_one(self) -> str:
        return self.module(self.choose("ffmmr"))

    def gate(self) -> str:
        if len(self.gates) < 2 and not (self.gates and self.below(2)):
            name = self.new("gate")
            self.run(f'{name} = s.gate("{name}", open={bool(self.below(2))})')
            self.gates.append(name)
        return self.choose(self.gates)

    def target(self) -> str:
        of = self.one_to_one()
        name = f"{of}_target"
        if name not in self.targets:
            decay = self.choose(("0.9", "0.0", "1.0", "lr.warmup(0.9, 3)"))
            self.run(f"{name} = s.target({of}, decay={decay})")
            self.targets.append(name)
        return name

    def called(self) -> str:
        """A module, frozen or not, or a target, ready to be called."""
        form = self.below(6)
        if form == 5:
            return self.target()
        return self.one_to_one() + (".frozen" if form == 4 else "")

    # Operands ------------------------------------------------------------------------------

    def operand(self, wanted: Callable[[Type], bool] = lambda t: True) -> str:
        """A value, or the first sequence where none is as wanted."""
        fitting = [v for v in self.values if wanted(self.type(v))]
        return self.choose(fitting) if fitting else self.values[0]

    def sequence(self, *, step: bool = False) -> str:
        return self.operand(lambda t: "time" in t.axes and (step or "step" not in t.axes))

    def variant(self, text: str) -> str:
        """The same value, perhaps with another gradient."""
        form = self.below(7)
        if form < 3:
            return text
        if form < 5:
            return f"{text}.stop()"
        return f"{text}.through({self.gate()})" if form == 5 else f"{text}.scale_gradient(-0.5)"

    def fit(self, *texts: str) -> list[str]:
        """Cuts sequences to one length."""
        for axis in ("time", "step"):
            extents = [getattr(self.type(text), axis) for text in texts]
            given = [n for n in extents if n is not None]
            if given:
                goal = max(given) if axis == "time" else min(given)
                texts = tuple(
                    text if n is None or n == goal else self.cut(text, axis, abs(goal - n))
                    for text, n in zip(texts, extents, strict=True)
                )
        return list(texts)

    def cut(self, text: str, axis: str, away: int) -> str:
        lo = self.below(away + 1)
        hi = away - lo
        return f"{text}.{'t' if axis == 'time' else 'k'}[{lo or ''}:{-hi if hi else ''}]"

    def shortened(self, text: str, time: int) -> str:
        """The text cut to a time extent of T - time, where it is longer."""
        away = time - (self.type(text).time or 0)
        return self.cut(text, "time", away) if away > 0 else text

    # Loops ---------------------------------------------------------------------------------

    def body(self, carries: int, xs: int, entry: Type) -> tuple[str, int]:
        """Writes a step; returns its name and how many outputs it has."""
        name = self.new("step")
        atoms = [f"c{i}" for i in range(carries)] + [f"u{i}" for i in range(xs)]
        lines = [f"    {_form('c', carries)} = c"] + ([f"    {_form('u', xs)} = u"] if xs else [])
        outer = [v for v in self.values if self._enters(self.type(v), entry)]
        for i in range(1 + self.below(4)):
            lines.append(f"    n{i} = {self._body_line(atoms, outer)}")
            atoms.append(f"n{i}")
        latest = atoms[::-1]
        nexts = [self.variant(self.choose(latest)) for _ in range(carries)]
        if self.rarely(12):
            nexts[-1] = "lr.constant(0.3, 2)"
        outputs = [self.variant(self.choose(latest)) for _ in range(max(0, self.below(4) - 1))]
        result = f"({', '.join(nexts)})" if carries > 1 else nexts[0]
        result += f", ({', '.join(outputs)},)" if outputs else ""
        head = f"def {name}(c, u):" if xs else f"def {name}(c):"
        self.run("\n".join([head, *lines, f"    return {result}"]))
        return name, len(outputs)

    def _enters(self, t: Type, entry: Type) -> bool:
        return set(t.axes) <= set(entry.axes) and t.time in (None, entry.time) and t.step is None

    def _body_line(self, atoms: list[str], outer: list[str]) -> str:
        def atom() -> str:
            if outer and self.rarely(8):
                return self.variant(self.choose(outer))
            return self.variant(self.choose(atoms[::-1]))

        form = self.below(6)
        if form == 0:
            return f"{atom()} * 0.5 + {atom()}"
        if form == 1:
            return f"lr.tanh({atom()} * {atom()})"
        if form == 2:
            return f"{self.called()}({atom()})"
        if form == 3:
            return f"{self.module('g')}({atom()}, {atom()})"
        if form == 4:
            return f"{self.module('j')}(lr.concat({atom()}, {atom()}))"
        return f"lr.tanh({atom()})"

    def text(self) -> str:
        return "\n".join(self.lines)


def _form(letter: str, count: int) -> str:
    return ", ".join(f"{letter}{i}" for i in range(count))


def unary(a: Author) -> None:
    a.let(a.choose(_UNARY), a.operand())


def binary(a: Author) -> None:
    a.let(a.choose(_BINARY), *a.fit(a.variant(a.operand()), a.operand()))


def apply(a: Author) -> None:
    a.let(f"{a.called()}({{0}})", a.variant(a.operand()))


def join(a: Author) -> None:
    a.let(f"{a.module('j')}(lr.concat({{0}}, {{1}}))", *a.fit(a.variant(a.operand()), a.operand()))


def again(a: Author) -> None:
    """An earlier call with other stops: the same value with another gradient."""
    pattern, count, operands = a.choose(a.calls)
    if pattern[:1] in _MODULES and pattern[1:2].isdigit() and a.below(2):
        pattern = pattern.replace("(", ".frozen(", 1).replace(".frozen.frozen", "")
    a.let(pattern, *map(a.variant, operands), count=count)


def cut(a: Author) -> None:
    x = a.sequence(step=True)
    t = a.type(x)
    assert t.time is not None
    if t.step is not None and t.step > 1 and a.below(2):
        a.let(a.cut("{0}", "step", 1 + a.below(t.step - 1)), x)
    elif t.time < SHORTEST:
        a.let(a.cut("{0}", "time", 1 + a.below(min(2, SHORTEST - t.time))), x)


def applied_cuts(a: Author) -> None:
    """One module on two ranges of one sequence."""
    x, f = a.sequence(step=True), a.called()
    for _ in range(2):
        time = a.type(x).time
        assert time is not None
        away = min(a.below(3), SHORTEST - time)
        a.let(f"{f}({{0}})", a.variant(a.cut(x, "time", away) if away > 0 else x))


def pick(a: Author) -> None:
    x = a.sequence(step=True)
    stepped = a.type(x).step is not None and a.below(2)
    a.let(f"{{0}}.{'k' if stepped else 't'}[{a.choose((0, -1) if stepped else (0, -1, 1))}]", x)


def window(a: Author) -> None:
    x = a.sequence()
    size = 1 + a.below(3)
    a.let(f"{{0}}.windows({size})", a.shortened(x, 0) if size == 1 else x) if _room(a, x, size) else unary(a)


def _room(a: Author, x: str, size: int) -> bool:
    time = a.type(x).time
    return time is not None and time + size - 1 <= SHORTEST


def prepend(a: Author) -> None:
    x = a.sequence(step=True)
    t = a.type(x)
    axis = "step" if t.step is not None else "time"
    first = a.operand(lambda u: u.axes == () or u.lead() == t.without(axis).lead())
    if "time" in a.type(first).axes and a.type(first).lead() != t.without(axis).lead():
        first = "lr.zeros(2)"
    if t.step == 3 or (axis == "time" and t.time == -1):
        return
    a.let("lr.prepend({0}, {1})" if first[0] == "v" else f"lr.prepend({first}, {{0}})",
          *([a.variant(first)] if first[0] == "v" else []), x)


def reduce(a: Author) -> None:
    x = a.sequence(step=True)
    a.let(f'{{0}}.{a.choose(("mean", "mean", "sum"))}(over="{a.choose(a.type(x).axes)}")', x)


def noise(a: Author) -> None:
    name = a.new("v")
    axes = a.choose(('("batch", "time")', '("batch",)', "()"))
    kind = a.choose(("normal", "uniform", "bernoulli"))
    rate = ", rate=0.7" if kind == "bernoulli" else ""
    a.run(f'{name} = s.noise("{name}", (2,), axes={axes}, kind="{kind}"{rate})')
    a.values.append(name)


def state(a: Author) -> None:
    name = a.new("v")
    a.run(f'{name} = s.state("{name}", (2,), init=0.4)')
    a.states.append(name)
    a.values.append(name)


def scan(a: Author) -> None:
    xs = [a.variant(a.sequence())]
    if a.rarely(3):
        xs = a.fit(xs[0], a.variant(a.operand(lambda t: "step" not in t.axes)))
    if a.rarely(3):
        a.let(f"lr.scan({a.module('g')}, init={{0}}, xs={{1}})", _start(a), xs[0])
        return
    carries = a.choose((1, 1, 2, 2, 3))
    inits = [_start(a) for _ in range(carries)]
    entry = Type(("batch",))
    step, outputs = a.body(carries, len(xs), entry)
    slots = [f"{{{i}}}" for i in range(carries + len(xs))]
    a.let(
        f"lr.scan({step}, init={_tuple(slots[:carries])}, xs={_tuple(slots[carries:])})",
        *inits, *xs, count=carries + outputs,
    )  # fmt: skip


def _start(a: Author) -> str:
    """What a loop over time starts from."""
    form = a.below(4)
    if form == 0:
        return "lr.zeros(2)"
    if form == 1:
        return f"{a.sequence()}.t[0]"
    return a.variant(a.operand(lambda t: set(t.axes) <= {"batch"}) if form == 3 else f"{a.sequence()}.t[{a.choose((0, -1))}]")


def _tuple(texts: list[str]) -> str:
    return f"({', '.join(texts)})" if len(texts) > 1 else texts[0]


def rollout(a: Author) -> None:
    horizon = 1 + a.below(3)
    x = a.sequence()
    ...
