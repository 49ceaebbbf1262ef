"""The names and the body of one loop in source text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .build import Node, Ref

if TYPE_CHECKING:
    from .writer import Writer


class LoopBody:
    """The names and the body of one loop, spelled alike on every backend.

    Attributes:
        taps: the variables that hold the collected sequences; "" for one that nobody reads.
        carries, inits: the names of the carries and what they start from.
        xs, sequences: the names of one entry, and what it runs through.
        positions: the index of the loop's axis in each of `sequences`.
        collected: the taps that somebody reads, each with that index in what it collects.
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
        self.positions = [r.node.type.position(loop.axis) for r in sources]
        self.collected = [
            (tap, ref.node.type.with_axis(loop.axis, loop.extent).position(loop.axis))
            for tap, ref in zip(taps, loop.taps, strict=True)
            if tap
        ]
        # Asked for only where nothing runs through the loop: it may bring T into the method.
        self.steps = "" if sources else writer.size(whole, loop.axis)

    def _collected(self) -> list[str]:
        """For each carry the name of the tap that collects it, or a name of its own."""
        names = []
        for i, (_, ref) in enumerate(self.loop.carries):
            found = [
                t for t, r in zip(self.taps, self.loop.taps, strict=True) if r.node is ref.node
            ]
            names.append(found[0].removesuffix("_steps") if found and found[0] else f"carry_{i}")
        return names

    def write(self, writer: Writer) -> list[str]:
        """Writes one step: the next carries under the carries' names. Returns what is tapped."""
        # What is collected is never stopped here, even where the carry is: a reader may need it.
        nexts = {ref.node for _, ref in self.loop.carries if not ref.stop}
        values: dict[Node, str] = {}
        ends = {ref.node for ref in [*self.loop.taps, *(r for _, r in self.loop.carries)]}
        for node in writer.body(self.loop):
            # Operands first, so that recursion stays shallow.
            if node not in ends:
                writer.value(node)
        for tap, ref in zip(self.taps, self.loop.taps, strict=True):
            if tap and ref.node not in nexts:
                values[ref.node] = self._keep(writer, ref, tap)
        if len(self.carries) == 1:
            (_, ref), name = self.loop.carries[0], self.carries[0]
            writer.assign(name, ref)
            if not ref.stop:
                values[ref.node] = name
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
