"""Writes the values of one method: which get a variable, what it is called, in which order."""

import keyword
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..spec.spec import Spec
from ..spec.types import Type
from .build import Loop, Node, Plan, Ref, order
from .dialect import LITERAL, Code, Dialect
from .loops import LoopBody

WIDTH = 96
# An operand longer than this gets a line of its own.
INLINE = 44


# What every method uses for itself.
_RESERVED = frozenset("self batch noise state step B T total range zip".split())


def column_variables(spec: Spec, dialect: Dialect) -> dict[str, str]:
    """Column -> its variable: its own name, with `_` behind it where that stands for another thing.

    The parameters of an emitted `encode_NAME` are such variables.
    """
    names = [n for n, e in spec.inputs.items() if e.attrs[0] != "noise"]
    taken = {*dialect.reserved, *_RESERVED}
    result = {}
    for name in names:
        variable = name
        while variable in taken or (variable != name and variable in names):
            variable += "_"
        result[name] = variable
    return result


class Writer:
    """Writes the values of one method, each once, in the order in which they are needed."""

    def __init__(self, dialect: Dialect, plan: Plan):
        self.dialect, self.plan = dialect, plan
        self.columns = column_variables(plan.spec, dialect)
        self.lines: list[str] = []
        self.indent = 2
        self.frozen: dict[str, str] = {}
        self.sizes: set[str] = set()
        self._names: dict[Node, str] = {}
        self._code: dict[Node, Code] = {}
        self._taken = {*self.columns.values(), *dialect.reserved, *_RESERVED}
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
        self.write(f"{name} = {self._array(self._spell(ref.node))}")
        self.bind(ref.node, name)

    def size(self, type: Type, axis: str) -> str:
        """The extent of a leading axis in source text."""
        if axis == "step":
            return str(type.step)
        self.sizes.add("B" if axis == "batch" else "T")
        return "B" if axis == "batch" else type.extent("time")

    def array(self, ref: Ref) -> Code:
        """The text of a use that must be an array, even where the value is a plain number."""
        return self._array(self.use(ref))

    def _array(self, code: Code) -> Code:
        return Code(f"self.full((), {code})") if code.binding == LITERAL else code

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
            return Code(f'{group}["{name}"]' if group in ("noise", "state") else self.columns[name])
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
            first, sequence = operands
            return d.prepend(first, sequence, node.type.position(node.attrs[0]))
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
            # A comma behind its one entry would make a tuple of a parenthesis.
            called = i > 0 and (text[i - 1].isalnum() or text[i - 1] in "_)]")
            return (text[: i + 1], arguments, ")" + colon) if called and any(arguments) else None
    return None


# What a value is called after the name of its operand, or else by itself.
_SUFFIXES = {
    "one_hot": "one_hot",
    "window": "windows",
    "avg_pool2d": "half",
    "random_crop": "moved",
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
