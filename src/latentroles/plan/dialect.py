"""What a backend says about source text: how each node of a plan is spelled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ..spec.spec import Spec
from .build import Node

if TYPE_CHECKING:
    from .loops import LoopBody
    from .writer import Writer

# How tightly an expression holds together: sums, products and signs, calls and names, numbers.
SUM, PRODUCT, ATOM, LITERAL = 1, 2, 3, 4


class Code(str):
    """Source text of an expression, with how tightly it binds."""

    binding: int

    def __new__(cls, text: str, binding: int = ATOM) -> Code:
        code = super().__new__(cls, text)
        code.binding = binding
        return code

    def atom(self) -> str:
        """The text, in parentheses where an index or a call may not follow it directly."""
        return str(self) if self.binding >= ATOM else f"({self})"


class Dialect(ABC):
    """How a backend spells each node kind. Operands are Code; results are Code."""

    reserved: frozenset[str]

    @abstractmethod
    def header(self, spec: Spec, class_name: str) -> list[str]:
        """The module docstring and the imports."""

    @abstractmethod
    def class_lines(self, spec: Spec, class_name: str) -> list[str]:
        """The class statement with its attributes, at no indentation."""

    @abstractmethod
    def forward(self) -> str:
        """The signature of the step."""

    @abstractmethod
    def stop(self, operand: Code) -> Code: ...

    @abstractmethod
    def frozen(self, module: str) -> Code: ...

    @abstractmethod
    def constant(self, value: float, sizes: list[str]) -> Code: ...

    @abstractmethod
    def op(self, node: Node, operands: list[Code]) -> Code: ...

    @abstractmethod
    def apply(self, spec: Spec, node: Node, module: str, operands: list[Code]) -> Code: ...

    @abstractmethod
    def pick(self, operand: Code, position: int, index: int) -> Code: ...

    @abstractmethod
    def window(self, operand: Code, size: int) -> Code: ...

    @abstractmethod
    def prepend(self, first: Code, sequence: Code, position: int) -> Code: ...

    @abstractmethod
    def expand(self, operand: Code, new: list[int], sizes: list[str]) -> Code: ...

    @abstractmethod
    def scale(self, operand: Code, factor: float) -> Code: ...

    @abstractmethod
    def loop(self, writer: Writer, body: LoopBody) -> None:
        """Writes the statements of a loop that fill the variables `body.taps`."""

    def cut(self, operand: Code, position: int, lo: int, hi: int) -> Code:
        """A range of a leading axis, spelled alike in every array library."""
        return Code(f"{operand.atom()}[{':, ' * position}{lo or ''}:{-hi if hi else ''}]")

    def call(self, function: str, operands: list[Code], arguments: tuple[Any, ...]) -> Code:
        """An array function, called the same way everywhere."""
        text = [*operands, *(f"{k}={v!r}" for k, v in arguments)]
        return Code(f"losses.{function}({', '.join(text)})")

    def arithmetic(self, name: str, node: Node, operands: list[Code]) -> Code | None:
        """Sums, products and signs; None for every other operation."""
        if name == "neg":
            return Code(f"-{operands[0].atom()}", PRODUCT)
        sign = {"add": "+", "sub": "-", "mul": "*", "div": "/"}.get(name)
        if sign is None:
            return None
        binding = SUM if sign in "+-" else PRODUCT
        left, right = self._ranks(node, operands)
        first = str(left) if left.binding >= binding else f"({left})"
        # a + (b - c) keeps its brackets: without them it is rounded otherwise.
        second = str(right) if right.binding > binding else f"({right})"
        return Code(f"{first} {sign} {second}", binding)

    def _ranks(self, node: Node, operands: list[Code]) -> list[Code]:
        """Gives a scalar per event the trailing axes of the other operand."""
        result = []
        for code, ref in zip(operands, node.inputs, strict=True):
            t = ref.node.type
            if t.axes and not t.shape and node.type.shape:
                code = Code(f"{code.atom()}[..., {', '.join(['None'] * len(node.type.shape))}]")
            result.append(code)
        return result
