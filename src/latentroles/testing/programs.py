"""Random declarations, written as Python text and run as they are written.

An `Author` turns small numbers into lines that type-check: what a line may read follows from the
Exprs that the earlier lines made. Every value has the event shape (2,), so that nearly
everything can be combined with nearly everything.

What is hard to compile is written often: values that one loss reads live and another stopped,
loops that are read twice, carries that stop one another, overlapping cuts under one module.
"""

from collections.abc import Callable, Sequence
from typing import Any

import latentroles as lr

from ..spec.types import Type

# The frames of a batch, and by how many a sequence may be shorter.
FRAMES, SHORTEST = 6, 4

MODULES = {
    "f": "lr.nn.linear(2, 2)",
    "m": 'lr.nn.mlp(2, 2, hidden=3, activation="tanh")',
    "r": "lr.nn.Residual(lr.nn.linear(2, 2))",
    "j": "lr.nn.linear(4, 2)",
    "g": "lr.nn.gru(2, 2)",
}


class Author:
    """Writes one declaration.

    Args:
        below: n -> a number in 0..n-1. It decides everything; smaller is simpler.

    Attributes:
        lines: the text so far. names: what it has bound, the Spec as `s`.
        values: the texts of the vectors that later lines may read. data: those of the batch.
        calls: the calls so far: (pattern, numbers of carries and outputs, operands, family).
        families: for each call the values that it gave, and those of the same call with other
            stops.
    """

    def __init__(self, below: Callable[[int], int]):
        self.below = below
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"lr": lr, "__name__": "declared"}
        self.values: list[str] = []
        self.data: list[str] = []
        self.calls: list[tuple[str, tuple[int, int], tuple[str, ...], list[str]]] = []
        self.families: list[list[str]] = []
        self.modules: list[str] = []
        self.gates: list[str] = []
        self.targets: list[str] = []
        self.states: list[str] = []
        self._numbers: dict[str, int] = {}

    def run(self, text: str) -> None:
        """Writes a statement and executes it."""
        self.lines.append(text)
        exec(compile(text, "<declared>", "exec"), self.names)

    def type(self, text: str) -> Type:
        return eval(text, self.names).type

    def new(self, letter: str) -> str:
        """A name that is not taken."""
        self._numbers[letter] = self._numbers.get(letter, 0) + 1
        return f"{letter}{self._numbers[letter]}"

    def choose(self, options: Sequence[Any]) -> Any:
        return options[self.below(len(options))]

    def rarely(self, one_in: int) -> bool:
        return self.below(one_in) == one_in - 1

    def let(
        self,
        pattern: str,
        *operands: str,
        loop: tuple[int, int] = (1, 0),
        family: list[str] | None = None,
    ) -> None:
        """Binds what a call gives to new names, which become values.

        Args:
            loop: for a loop, how many carries and how many outputs it gives.
            family: where it is an earlier call with other stops, that call's family.
        """
        carries, outputs = loop
        names = [self.new("v") for _ in range(carries + outputs)]
        left = in_form(names[:carries])
        if outputs:
            left = f"{left}, ({', '.join(names[carries:])},)"
        self.run(f"{left} = {pattern.format(*operands)}")
        if family is None:
            self.families.append(family := [])
        family += names
        self.calls.append((pattern, loop, operands, family))
        self.values += names

    # Declarations --------------------------------------------------------------------------

    def module(self, kind: str) -> str:
        """A module of a kind; there are at most two of each."""
        known = [name for name in self.modules if name[0] == kind]
        if known and (len(known) == 2 or not self.rarely(3)):
            return self.choose(known)
        name = self.new(kind)
        self.run(f'{name} = s.module("{name}", {MODULES[kind]})')
        self.modules.append(name)
        return name

    def gate(self) -> str:
        if not self.gates or (len(self.gates) < 2 and self.rarely(3)):
            name = self.new("gate")
            self.run(f'{name} = s.gate("{name}", open={bool(self.below(2))})')
            self.gates.append(name)
        return self.choose(self.gates)

    def target(self, of: str) -> str:
        name = f"{of}_target"
        if name not in self.targets:
            decay = self.choose(("0.9", "0.0", "1.0", "lr.warmup(0.9, 3)"))
            self.run(f"{name} = s.target({of}, decay={decay})")
            self.targets.append(name)
        return name

    def called(self) -> str:
        """A module from two numbers to two, frozen or not, or its target: ready to be called."""
        name, form = self.module(self.choose("ffmmr")), self.below(6)
        return self.target(name) if form == 5 else name + (".frozen" if form == 4 else "")

    # Operands ------------------------------------------------------------------------------

    def operand(self, wanted: Callable[[Type], bool] = lambda t: True) -> str:
        """A value of a wanted type; the first, which is a sequence, where there is none."""
        values = self.data if self.rarely(6) else self.values
        return self.choose([v for v in values if wanted(self.type(v))] or self.values[:1])

    def sequence(self) -> str:
        """A value (batch, time, 2)."""
        return self.operand(lambda t: t.axes == ("batch", "time"))

    def long(self) -> str:
        """A value with a time axis, perhaps with a step axis."""
        return self.operand(lambda t: "time" in t.axes)

    def variant(self, text: str, plain: int = 14) -> str:
        """The same value, perhaps with another gradient; as it is in `plain` cases of plain + 4."""
        form = self.below(plain + 4) - plain
        if form < 0 or text.startswith("lr."):
            return text
        if form < 2:
            return f"{text}.stop()"
        if form == 2:
            return f"{text}.through({self.gate()})"
        return f"{text}.live()" if self.rarely(4) else f"{text}.scale_gradient(-0.5)"

    def fit(self, *texts: str) -> list[str]:
        """Cuts sequences to one length."""
        for axis, shortest in (("time", max), ("step", min)):
            extents = [getattr(self.type(text), axis) for text in texts]
            goal = shortest((n for n in extents if n is not None), default=None)
            texts = tuple(
                text if n is None else self.cut(text, axis, abs(goal - n))
                for text, n in zip(texts, extents, strict=True)
            )
        return list(texts)

    def cut(self, text: str, axis: str, away: int) -> str:
        """The text with `away` entries less."""
        if not away:
            return text
        lo = self.below(away + 1)
        return f"{text}.{axis[0] if axis == 'time' else 'k'}[{lo or ''}:{lo - away or ''}]"

    # The step of a loop --------------------------------------------------------------------

    def step(self, carries: int, xs: int, entry: Type, dead: int) -> tuple[str, int]:
        """Writes a step function; returns its name and how many outputs it has.

        Args:
            entry: the leading axes of a carry.
            dead: the carry whose next value is stopped, if there are so many.
        """
        name = self.new("step")
        c, u = ([f"{letter}{i}" for i in range(n)] for letter, n in (("c", carries), ("u", xs)))
        lines = [f"    {in_form(names)} = {names[0][0]}" for names in (c, u) if names]
        atoms = c + u
        outer = [v for v in self.values if _stands_in(self.type(v), entry)]
        for i in range(self.below(3)):
            mean = self.rarely(3)
            lines.append(
                f"    n{i} = {self._mean(atoms, entry) if mean else self._inside(atoms, outer)}"
            )
            atoms.append(f"n{i}")
        nexts = []
        for i in range(carries):
            if i != dead and self.rarely(6):
                nexts.append(self.variant(self.choose([*atoms, "lr.constant(0.3, 2)"])))
                continue
            # Most carries read another one, so that one loop holds several.
            other = self.variant((c[i + 1 :] + c[: i + 1])[0])
            lines.append(f"    w{i} = {self._inside(atoms, outer, other)}")
            nexts.append(f"w{i}.stop()" if i == dead else self.variant(f"w{i}"))
            atoms.append(f"w{i}")
        early = [atom for atom in atoms if atom[0] == "n"] or atoms
        outputs = [
            self.variant(self.choose(early if self.below(2) else atoms[::-1]))
            for _ in range(self.below(3))
        ]
        end = f"    return {in_form(nexts)}" + (f", ({', '.join(outputs)},)" if outputs else "")
        self.run("\n".join([f"def {name}({'c, u' if xs else 'c'}):", *lines, end]))
        return name, len(outputs)

    def _mean(self, atoms: list[str], entry: Type) -> str:
        """A value without one of the axes of a carry. Means have the axes of no carry any more."""
        atom, axis = self.choose([a for a in atoms if a[0] != "n"]), self.choose(entry.axes)
        shorter = ".t[1:]" if axis == "time" and entry.time != SHORTEST and self.below(2) else ""
        return f'{atom}{shorter}.mean(over="{axis}")'

    def _inside(self, atoms: list[str], outer: list[str], first: str | None = None) -> str:
        def atom() -> str:
            values = outer if outer and self.rarely(8) else atoms[::-1]
            return self.variant(self.choose(values), plain=9)

        form, first = self.below(7), first or atom()
        if form == 0:
            return f"lr.tanh({first})"
        if form < 3:
            return f"{first} * 0.5 + {atom()}"
        if form == 3:
            return f"{self.called()}({first}) + {atom()}"
        if form == 4:
            return f"{self.module('g')}({first}, {atom()})"
        if form == 5:
            return f"{self.module('j')}(lr.concat({first}, {atom()}))"
        return f"lr.tanh({first} * {atom()})"


def in_form(names: Sequence[str]) -> str:
    """One name by itself, several as a tuple: the form in which loops take and give carries."""
    return f"({', '.join(names)})" if len(names) > 1 else names[0]


def _stands_in(t: Type, entry: Type) -> bool:
    return set(t.axes) <= set(entry.axes) and t.time in (None, entry.time)
