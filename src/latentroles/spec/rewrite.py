"""A copy of a Spec with stops added at single places of its graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .declarations import Module, Target
from .expr import Expr
from .spec import Spec
from .walk import postorder


@dataclass(frozen=True)
class Stop:
    """A place for a stop, as one loss sees it.

    Args:
        loss: the loss; None for every reader.
        reader: an expression.
        position: of the operand that is stopped there; None for the parameters of the module that
            the reader applies, which is then frozen.
    """

    loss: str | None
    reader: Expr
    position: int | None


def with_stops(spec: Spec, stops: Iterable[Stop]) -> Spec:
    """A copy of `spec` in which the stops stand; the computation is the same, in value.

    A loop that one loss reads stopped and another does not becomes two loops.
    """
    return _Copy(spec, frozenset(stops)).spec


class _Copy:
    def __init__(self, old: Spec, stops: frozenset[Stop]):
        self.stops = stops
        self.spec = new = Spec(old.name)
        new._next_scan = old._next_scan
        new.modules = {n: Module(new, n, m.layer, m.place) for n, m in old.modules.items()}
        new.targets = {n: Target(new, n, t.of, t.decay, t.place) for n, t in old.targets.items()}
        for held in ("gates", "states", "noises", "actions", "phases"):
            getattr(new, held).update(getattr(old, held))
        new.allowances, new.absent = list(old.allowances), old.absent
        self._loops: dict[tuple[int, frozenset[Stop]], int] = {}
        whole = {None: {}} | {loss: {} for loss in old.losses}
        self._known: dict[str | None, dict[Expr, Expr]] = whole
        self._changed: dict[str | None, dict[Expr, frozenset[Stop]]] = {s: {} for s in whole}
        new.inputs = {n: self._copied(e, None) for n, e in old.inputs.items()}
        new.latents = {
            n: replace(z, expr=self._copied(z.expr, None)) for n, z in old.latents.items()
        }
        new.losses = {
            n: replace(loss, expr=self._copied(loss.expr, n)) for n, loss in old.losses.items()
        }
        new.updates = {n: self._copied(e, None) for n, e in old.updates.items()}
        new.measures = {
            n: replace(m, expr=self._copied(m.expr, None)) for n, m in old.measures.items()
        }
        new.pictures = {
            n: replace(p, expr=self._copied(p.expr, None)) for n, p in old.pictures.items()
        }

    def _copied(self, root: Expr, scope: str | None) -> Expr:
        known, changed = self._known[scope], self._changed[scope]
        stops = {(s.reader, s.position): s for s in self.stops if s.loss in (scope, None)}
        loops: dict[int, int] = {}
        order = list(postorder(root, known))
        for e in order:
            places = [(e, position) for position in (*range(len(e.inputs)), None)]
            own = frozenset(stops[place] for place in places if place in stops)
            changed[e] = own.union(*(changed[i] for i in e.inputs))
            if e.kind == "scan" and changed[e]:
                loops[e.attrs[0]] = self._loop(e.attrs[0], changed[e])
        for e in order:
            inputs = [
                known[i].stop() if (e, n) in stops else known[i] for n, i in enumerate(e.inputs)
            ]
            attrs = e.attrs
            if e.kind in ("var", "scan"):
                attrs = (loops.get(e.attrs[0], e.attrs[0]), *e.attrs[1:])
            elif (e, None) in stops:
                attrs = (*e.attrs[:2], True)
            known[e] = self.spec._node(e.kind, tuple(inputs), attrs)
        return known[root]

    def _loop(self, trace: int, stops: frozenset[Stop]) -> int:
        """The number of a loop with these stops: a new one, the same for equal stops."""
        # What differs is which operands are stopped, not on whose behalf.
        key = (trace, frozenset(replace(stop, loss=None) for stop in stops))
        if key not in self._loops:
            self._loops[key] = self.spec._new_scan_id()
        return self._loops[key]
