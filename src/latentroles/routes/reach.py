"""Reachability: which modules and latents the gradient of an expression flows into.

One pass over the dependence graph with a bit per module and per latent; with loops, passes until
nothing changes. The cost is linear in the size of the spec.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..spec.expr import Expr
from ..spec.spec import Spec
from .graph import Graph


@dataclass(frozen=True)
class Bits:
    """What one expression depends on, as sets of bits.

    Args:
        live: reached by gradient. frozen: applied with stopped parameters on a live path.
        value: reached by value, through stops as well. behind: what the stops and gates cut off,
            which would be live without them.
    """

    live: int = 0
    frozen: int = 0
    value: int = 0
    behind: int = 0


class Reach:
    """The reach of every expression below `roots`."""

    def __init__(self, spec: Spec, roots: Iterable[Expr]):
        self.spec = spec
        self.graph = Graph(spec, roots)
        self._names = [*spec.modules, *spec.targets, *spec.latents]
        self._bit = {name: 1 << i for i, name in enumerate(self._names)}
        self._trainable = {n for n, m in spec.modules.items() if m.layer.parameters()}
        self._latents: dict[Expr, int] = {}
        for latent in spec.latents.values():
            for e in (latent.expr, *_entries(spec, latent.expr)):
                self._latents[e] = self._latents.get(e, 0) | self._bit[latent.name]
        self._bits: dict[Expr, Bits] = {}
        while self._sweep() and self.graph.loops:
            pass

    def modules(self, bits: int) -> frozenset[str]:
        """The modules among `bits`."""
        return frozenset(n for n in self._named(bits) if n in self.spec.modules)

    def targets(self, bits: int) -> frozenset[str]:
        """The targets among `bits`."""
        return frozenset(n for n in self._named(bits) if n in self.spec.targets)

    def latents(self, bits: int) -> frozenset[str]:
        """The latents among `bits`."""
        return frozenset(n for n in self._named(bits) if n in self.spec.latents)

    def known(self, e: Expr) -> bool:
        """Whether `e` lies below the roots."""
        return e in self._bits

    def latents_at(self, e: Expr) -> frozenset[str]:
        """The latents whose value `e` is."""
        return self.latents(self._latents.get(e, 0))

    def holds(self, bits: int, name: str) -> bool:
        """Whether a module, target or latent is among `bits`."""
        return bool(bits & self._bit[name])

    def _named(self, bits: int) -> Iterator[str]:
        while bits:
            lowest = bits & -bits
            yield self._names[lowest.bit_length() - 1]
            bits ^= lowest

    def __getitem__(self, e: Expr) -> Bits:
        return self._bits[e]

    def _sweep(self) -> bool:
        changed = False
        for e in self.graph.order:
            bits = self._of(e)
            if bits != self._bits.get(e):
                self._bits[e] = bits
                changed = True
        return changed

    def _of(self, e: Expr) -> Bits:
        live = frozen = value = behind = 0
        for edge in self.graph.edges(e):
            below = self._bits.get(edge.operand, _NOTHING)
            value |= below.value
            if edge.cut is None:
                live |= below.live
                frozen |= below.frozen
                behind |= below.behind
            elif e.kind in ("stop", "gate"):
                behind |= below.live | below.behind
        if e.kind == "apply":
            name, _, is_frozen = e.attrs
            value |= self._bit[name]
            if name in self._trainable:
                if is_frozen:
                    frozen |= self._bit[name]
                else:
                    live |= self._bit[name]
        latent = self._latents.get(e, 0)
        return Bits(live | latent, frozen, value | latent, behind)


_NOTHING = Bits()


def _entries(spec: Spec, latent: Expr) -> Iterator[Expr]:
    """Where entries of a latent are read past it: behind its first one, and in its loop."""
    rest = latent.inputs[1] if latent.kind == "prepend" else latent
    if rest is not latent:
        yield rest
    if rest.kind == "tap":
        scan, body = rest.inputs
        trace, _, _, carries, _ = scan.attrs
        for i, after in enumerate(scan.inputs[-carries:]):
            if after is body:
                yield spec._node("var", (), (trace, "carry", i, scan.inputs[i].type))


def reached_unmasked(spec: Spec, loss: str) -> frozenset[str]:
    """The modules that the gradient of a loss reaches when its `updates=` is left aside."""
    expr = spec.losses[loss].expr
    reach = Reach(spec, [expr])
    return reach.modules(reach[expr].live)
