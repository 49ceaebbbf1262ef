"""From a Plan to source text: one class that reads top to bottom like a model written by hand.

This file decides names, order and what is written inline; how each node is spelled is the
backend's `Dialect`.
"""

import keyword
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..routes import routes
from ..spec.spec import Spec
from ..spec.types import Type
from .build import Loop, Node, Plan, Ref, order

WIDTH = 96
# An operand longer than this gets a line of its own.
INLINE = 44
# How tightly an expression holds together: sums, products and signs, calls and names.
SUM, PRODUCT, ATOM, LITERAL = 1, 2, 3, 4


class Code(str):
    """Source text of an expression, with how tightly it binds."""

    binding: int

    def __new__(cls, text: str, binding: int = ATOM) -> "Code":
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
    def loop(self, writer: "Writer", body: "LoopBody") -> None:
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
        tight = right.binding > binding or (right.binding == binding and sign in "+*")
        return Code(f"{first} {sign} {right if tight else f'({right})'}", binding)

    def _ranks(self, node: Node, operands: list[Code]) -> list[Code]:
        """Gives a scalar per event the trailing axes of the other operand."""
        result = []
        for code, ref in zip(operands, node.inputs, strict=True):
            t = ref.node.type
            if t.axes and not t.shape and node.type.shape:
                code = Code(f"{code.atom()}[..., {', '.join(['None'] * len(node.type.shape))}]")
            result.append(code)
        return result


class Writer:
    """Writes the values of one method, each once, in the order in which they are needed."""

    def __init__(self, dialect: Dialect, plan: Plan, taken: Iterable[str] = ()):
        self.dialect, self.plan = dialect, plan
        self.lines: list[str] = []
        self.indent = 2
        self.frozen: dict[str, str] = {}
        self.sizes: set[str] = set()
        self._names: dict[Node, str] = {}
        self._code: dict[Node, Code] = {}
        self._taken = {*taken, *dialect.reserved, "self", "batch", "noise", "state", "step", "B", "T"}
        self._latents = {r.node: n for n, r in plan.latents.items()}
        self._uses: Counter[Node] = Counter()
        self._stops: Counter[Node] = Counter()
        self._stopped: dict[Node, Code] = {}
        for node in plan.nodes():
            self._count(node)
        for ref in [*plan.roots, *plan.latents.values()]:
            self._uses[ref.node] += 1

    def _count(self, node: Node) -> None:
        for ref in node.inputs:
            self._uses[ref.node] += 1
            self._stops[ref.node] += ref.stop and not ref.node.inside
        if node.loop is not None:
            for inner in self.body(node.loop):
                self._count(inner)
            for ref in [*node.loop.taps, *(n for _, n in node.loop.carries)]:
                self._uses[ref.node] += 1

    @staticmethod
    def body(loop: Loop) -> list[Node]:
        """The nodes that are computed inside a loop, operands first."""
        nodes = order([*loop.taps, *(n for _, n in loop.carries)])
        return [n for n in nodes if n.kind != "var" and n.inside]

    # Text ----------------------------------------------------------------------------------

    def write(self, line: str = "") -> None:
        """Writes a statement; a call that does not fit the line gets one argument a line."""
        indent = "    " * self.indent
        inside = _last_call(line) if len(indent + line) > WIDTH + 4 else None
        if inside is None:
            self.lines.append(indent + line if line else "")
            return
        head, arguments, tail = inside
        self.lines.append(indent + head)
        self.lines += [f"{indent}    {argument}," for argument in arguments]
        self.lines.append(indent + tail)

    def block(self, head: str, left: str, items: list[str], right: str, space: str) -> None:
        """Writes `head` and the items on one line where they fit, else one item a line."""
        inner = space.join(items).removesuffix(",")
        bare = left == "(" and not right.endswith(",")
        line = f"{head}{inner}" if bare else f"{head}{left}{inner}{right}"
        if len(line) + 4 * self.indent <= WIDTH:
            self.write(line)
            return
        self.write(head + left)
        with self.indented():
            for item in items:
                self.write(item)
        self.write(right)

    @contextmanager
    def indented(self) -> Iterator[None]:
        self.indent += 1
        yield
        self.indent -= 1

    def free(self, wanted: str) -> str:
        """A variable name that nothing else has, as near to `wanted` as possible."""
        base = "".join(c if c.isalnum() else "_" for c in wanted) or "value"
        name, suffix = base, 2
        while name in self._taken or keyword.iskeyword(name):
            name, suffix = f"{base}_{suffix}", suffix + 1
        self._taken.add(name)
        return name

    def name_of(self, node: Node) -> str | None:
        return self._names.get(node)

    def bind(self, node: Node, name: str) -> None:
        """Makes a variable stand for a node."""
        self._names[node] = name
        self._code[node] = Code(name)

    def assign(self, name: str, ref: Ref) -> None:
        """Gives a variable the value of a use; where nothing is stopped it stands for the node."""
        if ref.node in self._code or ref.stop:
            self.write(f"{name} = {self.use(ref)}")
            return
        self.write(f"{name} = {self._spell(ref.node)}")
        self.bind(ref.node, name)

    def size(self, type: Type, axis: str) -> str:
        """The extent of a leading axis in source text."""
        if axis == "step":
            return str(type.step)
        self.sizes.add("B" if axis == "batch" else "T")
        return "B" if axis == "batch" else (f"T - {type.time}" if type.time else "T")

    # Values --------------------------------------------------------------------------------

    def use(self, ref: Ref) -> Code:
        """The text of a use; writes what it needs first."""
        code = self.value(ref.node)
        if not ref.stop:
            return code
        if ref.node not in self._stopped:
            stopped = self.dialect.stop(code)
            if self._stops[ref.node] > 1:
                name = self.free(f"{code}_stop" if code.isidentifier() else "stopped")
                self.write(f"{name} = {stopped}")
                stopped = Code(name)
            self._stopped[ref.node] = stopped
        return self._stopped[ref.node]

    def ready(self, node: Node) -> None:
        """Writes what a node reads, operands first, so that recursion stays shallow."""
        for below in order([Ref(node)])[:-1]:
            if below.kind not in ("var", "loop") and not below.inside:
                self.value(below)

    def value(self, node: Node) -> Code:
        if node not in self._code:
            code = self._spell(node)
            if node in self._code:  # a loop has named it meanwhile
                return self._code[node]
            named = self._uses[node] > 1 or node in self._latents or len(code) > INLINE
            if named and not code.isidentifier() and code.binding != LITERAL:
                name = self.free(self.wanted(node))
                self.write(f"{name} = {code}")
                self.bind(node, name)
            else:
                self._code[node] = code
        return self._code[node]

    def _spell(self, node: Node) -> Code:
        d, spec = self.dialect, self.plan.spec
        if node.kind == "leaf":
            group, name = node.attrs[:2]
            return Code(f'{group}["{name}"]' if group in ("noise", "state") else name)
        if node.kind == "constant":
            return d.constant(node.attrs[0], self._sizes(node.type, node.type.axes))
        if node.kind == "tap":
            self._write_loop(node.inputs[0].node)
            return self._code[node]
        operands = [self.use(r) for r in node.inputs]
        if node.kind == "op":
            return d.arithmetic(node.attrs[0], node, operands) or d.op(node, operands)
        if node.kind == "apply":
            return d.apply(spec, node, self._module(node), operands)
        if node.kind == "call":
            return d.call(node.attrs[0], operands, node.attrs[1])
        t = node.inputs[0].node.type
        if node.kind == "cut":
            axis, lo, hi = node.attrs
            return d.cut(operands[0], t.position(axis), lo, hi)
        if node.kind == "pick":
            return d.pick(operands[0], t.position(node.attrs[0]), node.attrs[1])
        if node.kind == "window":
            return d.window(operands[0], node.attrs[0])
        if node.kind == "prepend":
            return d.prepend(*operands, node.type.position(node.attrs[0]))
        if node.kind == "expand":
            new = [node.type.position(a) for a in node.type.axes if a not in t.axes]
            return d.expand(operands[0], new, self._sizes(node.type, node.type.axes))
        if node.kind == "scale":
            return d.scale(operands[0], node.attrs[0])
        raise AssertionError(node.kind)

    def _sizes(self, type: Type, axes: Iterable[str]) -> list[str]:
        return [*(self.size(type, a) for a in axes), *map(str, type.shape)]

    def _module(self, node: Node) -> str:
        name, part, frozen = node.attrs
        owner = f"self.{name}"
        if frozen:
            if name not in self.frozen:
                self.frozen[name] = self.free(f"{name}_frozen")
            owner = self.frozen[name]
        return f"{owner}.{part}" if part else owner

    def wanted(self, node: Node) -> str:
        """What a variable for the node should be called."""
        if node in self._latents:
            return self._latents[node]
        if node.kind == "constant":
            return "zeros" if node.attrs[0] == 0.0 else "constant"
        if node.kind == "leaf":
            return node.attrs[1]
        below = next((n for r in node.inputs if (n := self._names.get(r.node))), None)
        if below is None and node.inputs and node.inputs[0].node.kind == "leaf":
            below = node.inputs[0].node.attrs[1]
        if node.kind == "apply":
            name, part, _ = node.attrs
            read = node.inputs[0].node
            known = read in self._latents or read.kind == "leaf"
            return f"{name}_{part or (below if known else 'out')}"
        if node.kind == "cut":
            _, lo, hi = node.attrs
            ends = (f"_from_{lo}" if lo else "") + (f"_until_{hi}" if hi else "")
            return f"{below or 'part'}{ends}"
        what = node.attrs[0] if node.kind in ("op", "call") else node.kind
        suffix = _SUFFIXES.get(what)
        return f"{below}_{suffix}" if below and suffix else _NAMES.get(what, what)

    # Loops ---------------------------------------------------------------------------------

    def _write_loop(self, node: Node) -> None:
        loop = node.loop
        assert loop is not None
        for inner in self.body(loop):
            for ref in inner.inputs:
                if not ref.node.inside:
                    self.ready(ref.node)
                    self.use(ref)
        readers = [n for n in self.plan.nodes() if n.kind == "tap" and n.inputs[0].node is node]
        whole = {r.node: name for latent, name in self._latents.items() for r in latent.inputs}
        taps = [""] * len(loop.taps)
        for reader in sorted(readers, key=lambda r: r.attrs[0]):
            inner = loop.taps[reader.attrs[0]].node
            of = self._latents.get(reader) or whole.get(reader)
            of = of or (inner.attrs[0] if inner.kind == "apply" else "carry")
            taps[reader.attrs[0]] = self.free(f"{of}_steps")
        self.dialect.loop(self, LoopBody(self, node, taps))
        for reader in readers:
            self.bind(reader, taps[reader.attrs[0]])


class LoopBody:
    """The names and the body of one loop, spelled alike on every backend.

    Attributes:
        taps: the variables that hold the collected sequences; "" for one that nobody reads.
        carries, inits: the names of the carries and what they start from.
        xs, sequences: the names of one entry, and what it runs through.
        position: the index of the loop's axis in the sequences.
        steps: the number of steps, in source text.
    """

    def __init__(self, writer: Writer, node: Node, taps: list[str]):
        loop = node.loop
        assert loop is not None
        self.loop, self.taps = loop, taps
        count = len(loop.carries)
        self.inits = [writer.use(r) for r in node.inputs[:count]]
        sources = node.inputs[count:]
        self.sequences = [writer.use(r) for r in sources]
        self.carries = [writer.free(f"{name}_t") for name in self._collected()]
        self.xs = [
            writer.free(f"{writer.name_of(r.node) or writer.wanted(r.node)}_t") for r in sources
        ]
        for (var, _), name in zip(loop.carries, self.carries, strict=True):
            writer.bind(var, name)
        for var, name in zip(loop.xs, self.xs, strict=True):
            writer.bind(var, name)
        entry = loop.carries[0][0].type
        whole = entry.with_axis(loop.axis, loop.extent)
        self.position = whole.position(loop.axis)
        self.steps = writer.size(whole, loop.axis)

    def _collected(self) -> list[str]:
        """For each carry the name of the tap that collects it, or a name of its own."""
        names = []
        for i, (_, ref) in enumerate(self.loop.carries):
            found = [t for t, r in zip(self.taps, self.loop.taps, strict=True) if r.node is ref.node]
            names.append(found[0].removesuffix("_steps") if found and found[0] else f"carry_{i}")
        return names

    def write(self, writer: Writer) -> list[str]:
        """Writes one step: the next carries under the carries' names. Returns what is tapped."""
        nexts = {ref.node for _, ref in self.loop.carries}
        values: dict[Node, str] = {}
        for tap, ref in zip(self.taps, self.loop.taps, strict=True):
            if tap and ref.node not in nexts:
                values[ref.node] = self._keep(writer, ref, tap)
        if len(self.carries) == 1:
            (_, ref), name = self.loop.carries[0], self.carries[0]
            writer.assign(name, ref)
            values.setdefault(ref.node, name)
        else:
            for (_, ref), name in zip(self.loop.carries, self.carries, strict=True):
                values[ref.node] = self._keep(writer, ref, f"{name}_next")
            codes = [writer.use(ref) for _, ref in self.loop.carries]
            writer.write(f"{', '.join(self.carries)} = {', '.join(codes)}")
        return [values[r.node] for t, r in zip(self.taps, self.loop.taps, strict=True) if t]

    def _keep(self, writer: Writer, ref: Ref, name: str) -> str:
        """A tapped value under a name that outlives the update of the carries."""
        code = writer.value(ref.node)
        if code.isidentifier() and code not in self.carries:
            return str(code)
        kept = writer.free(name.removesuffix("_steps") + ("" if name.endswith("_next") else "_t"))
        writer.write(f"{kept} = {code}")
        if ref.node.kind != "var":
            writer.bind(ref.node, kept)
        return kept


def _last_call(line: str) -> tuple[str, list[str], str] | None:
    """Splits "name = f(a, b)" into "name = f(", ["a", "b"] and ")"; None for other statements."""
    colon = ":" if line.endswith("):") else ""
    text = line.removesuffix(":")
    if not text.endswith(")") or '"' in text:
        return None
    depth, end, arguments = 0, len(text) - 1, []
    for i in range(len(text) - 1, -1, -1):
        depth += (text[i] in ")]}") - (text[i] in "([{")
        if (text[i] == "," and depth == 1) or depth == 0:
            arguments.insert(0, text[i + 1 : end].strip())
            end = i
        if depth == 0:
            return text[: i + 1], arguments, ")" + colon
    return None


# What a value is called after the name of its operand, or else by itself.
_SUFFIXES = {
    "one_hot": "one_hot",
    "window": "windows",
    "avg_pool2d": "half",
    "expand": "repeated",
    "pick": "at",
    "normalise": "unit",
}
_NAMES = {
    "add": "added",
    "sub": "difference",
    "mul": "product",
    "div": "ratio",
    "neg": "negative",
    "concat": "joined",
    "slice": "piece",
    "prepend": "sequence",
    "scale": "scaled",
    "tap": "steps",
}


def class_name(name: str) -> str:
    """The emitted class of a spec: `hzp` becomes Hzp, `seq-jepa` becomes SeqJepa."""
    return "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))


def generate(plan: Plan, latents: dict[str, Plan], dialect: Dialect) -> str:
    """The source of a phase's step and of one `encode_NAME` method per latent."""
    spec = plan.spec
    name = class_name(spec.name)
    lines = [*dialect.header(spec, name), "", ""]
    lines += dialect.class_lines(spec, name)
    lines += ["", f"    {dialect.forward()}", *_step(plan, dialect)]
    for latent, its_plan in latents.items():
        lines += ["", *_encode(latent, its_plan, dialect)]
    return "\n".join(lines) + "\n"


def _leaves(plan: Plan, *groups: str) -> list[str]:
    read = {n.attrs[1] for n in plan.nodes() if n.kind == "leaf" and n.attrs[0] in groups}
    return [n for n in [*plan.spec.inputs, *plan.spec.states] if n in read]


def columns(plan: Plan) -> list[str]:
    """The batch columns that a plan reads, in order of declaration."""
    return _leaves(plan, "observation", "action", "label")


def _step(plan: Plan, dialect: Dialect) -> list[str]:
    names, table = columns(plan), routes(plan.spec)
    writer = Writer(dialect, plan, [*names, *plan.losses])
    for name, ref in plan.losses.items():
        updated = ", ".join(m for m in plan.spec.modules if m in table[name].modules)
        writer.write(f"# {name} updates {updated or 'nothing'}")
        writer.ready(ref.node)
        writer.assign(name, ref)
        writer.write()
    for ref in plan.updates.values():
        writer.ready(ref.node)
    after = {name: str(writer.use(ref)) for name, ref in plan.updates.items()}
    latents = {name: str(writer.value(ref.node)) for name, ref in plan.latents.items()}
    terms = [_weighted(plan, name) for name in plan.losses]
    writer.block("total = ", "(", [*terms[:1], *(f"+ {t}" for t in terms[1:])] or ["0.0"], ")", " ")
    writer.write("return Outputs(")
    with writer.indented():
        for field, items in (
            ("losses", {n: n for n in plan.losses}),
            ("total", None),
            ("latents", latents),
            ("state", after),
        ):
            if items is None:
                writer.write("total=total,")
            else:
                pairs = [f'"{k}": {v},' for k, v in items.items()]
                writer.block(f"{field}=", "{", pairs, "},", " ")
    writer.write(")")
    return [*_prologue(writer, names, read=True), *writer.lines]


def _encode(latent: str, plan: Plan, dialect: Dialect) -> list[str]:
    names = columns(plan)
    writer = Writer(dialect, plan, names)
    ref = plan.roots[0]
    writer.ready(ref.node)
    writer.write(f"return {writer.use(ref)}")
    head = f"    def encode_{latent}({', '.join(['self', *names, 'noise=None', 'state=None'])}):"
    return [head, *_prologue(writer, names, read=False), *writer.lines]


def _prologue(writer: Writer, names: list[str], *, read: bool) -> list[str]:
    """What a method needs before the first value: its inputs, its sizes, its frozen modules."""
    plan, lines = writer.plan, []
    if read and names:
        asked = ", ".join(f'"{n}"' for n in names)
        lines.append(f"{', '.join(names)} = self.read(batch, {asked})")
    for what in ("noise", "state"):
        if _leaves(plan, what):
            lines.append(f'{what} = self.given({what}, "{what}")')
    if writer.sizes and names:
        frames = [n for n in names if not plan.spec.inputs[n].type.time]
        column = (frames or names)[0]
        missing = plan.spec.inputs[column].type.time or 0
        if "B" in writer.sizes:
            lines.append(f"B = {column}.shape[0]")
        if "T" in writer.sizes:
            lines.append(f"T = {column}.shape[1]" + (f" + {missing}" if missing else ""))
    lines += [f"{name} = {writer.dialect.frozen(m)}" for m, name in writer.frozen.items()]
    return ["        " + line for line in lines] + ([""] if read else [])


def _weighted(plan: Plan, name: str) -> str:
    weight = plan.spec.losses[name].weight
    if not isinstance(weight, float):
        return f'self.weight("{name}", step) * {name}'
    return name if weight == 1.0 else f"{weight!r} * {name}"
