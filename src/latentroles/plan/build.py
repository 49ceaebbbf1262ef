"""From terms to a Plan: which values are computed, in which order, and where a stop stands.

Every live term is computed once. A dead term is served by a live term of the same primal, behind
a stop, when there is one; else it is computed once, with a single stop where a live value reads
it. A loop that several readers need in different ways is still one loop with several taps.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..routes import routes
from ..spec.declarations import Target
from ..spec.expr import Expr
from ..spec.spec import Phase, Spec
from ..spec.types import Type
from .share import share_cuts, walk
from .terms import Term, Terms


@dataclass(eq=False)
class Node:
    """A value that is computed.

    Args:
        kind, attrs, type: as in the Expr; besides, `loop` is a scan with its body, and a `tap`
            holds its place among the loop's taps.
        inputs: what it reads, each with or without a stop.
        carries: whether gradient would flow out of it if nobody stopped it.
        loop: the body of a `loop`.
    """

    kind: str
    inputs: list["Ref"]
    attrs: tuple[Any, ...]
    type: Type
    carries: bool
    term: Term | None = None
    loop: "Loop | None" = None

    @property
    def inside(self) -> bool:
        """Whether the value exists within a step of a loop only."""
        return self.kind == "var" or (self.term is not None and bool(self.term.loops))


@dataclass(eq=False)
class Ref:
    """A use of a node; with `stop`, its value without its gradient."""

    node: Node
    stop: bool = False


@dataclass(eq=False)
class Loop:
    """A recurrence along `axis`, `extent` as in Type; nodes of the body in order of need.

    Args:
        carries: per carry its variable, and what it becomes.
        xs: the variables that the inputs run through.
        taps: the body values that are collected.
    """

    axis: str
    extent: int
    carries: list[tuple[Node, Ref]] = field(default_factory=list)
    xs: list[Node] = field(default_factory=list)
    taps: list[Ref] = field(default_factory=list)


@dataclass(eq=False)
class Plan:
    """What one phase computes.

    Attributes:
        losses: name -> its value. updates: state name -> its next value.
        latents: the latents that come as by-products, name -> value; or all that is planned,
            where that is no step.
        twins: module -> how many applications beyond one per primal the routes force.
    """

    spec: Spec
    phase: Phase
    losses: dict[str, Ref]
    updates: dict[str, Ref]
    latents: dict[str, Ref]
    twins: dict[str, int]
    roots: list[Ref]

    @cached_property
    def frames(self) -> int:
        """The smallest T: one more than the frames that any value leaves out or counts past."""
        return 1 + max((_left_out(node) for node in self.nodes()), default=0)

    @cached_property
    def reached(self) -> frozenset[str]:
        """The modules that the phase trains."""
        table = routes(self.spec)
        return frozenset().union(*(table[name].modules for name in self.losses))

    @property
    def followers(self) -> tuple[Target, ...]:
        """The targets that move: those of a module that stands still do so, too."""
        return tuple(t for t in self.spec.targets.values() if t.of in self.reached)

    def nodes(self) -> list[Node]:
        """Every node, operands first; the bodies of loops are in their loops."""
        return order(self.roots)

    def applications(self) -> dict[str, int]:
        """Module -> how often it is applied in the emitted source, loops counted once."""
        return dict(Counter(node.attrs[0] for node in _applied(self.roots)))


def _left_out(node: Node) -> int:
    """How many frames more than its own least one a value asks for."""
    if node.kind == "pick" and node.attrs[0] == "time":
        index = node.attrs[1]
        return (node.inputs[0].node.type.time or 0) + (index if index >= 0 else -1 - index)
    return node.type.time or 0


def _applied(roots: Iterable["Ref"]) -> Iterator[Node]:
    """The nodes that apply a module, those in the bodies of loops among them."""
    for node in order(roots):
        inner = order([n for _, n in node.loop.carries] + node.loop.taps) if node.loop else []
        for applied in (node, *(n for n in inner if n.inside)):
            if applied.kind == "apply" and applied.attrs[1] != "project":
                yield applied


def order(roots: Iterable[Ref]) -> list[Node]:
    """The nodes below the roots, operands first. A body's variables are leaves."""
    done: dict[Node, None] = {}
    stack = [(r.node, False) for r in reversed(list(roots))]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if ready:
            done[node] = None
            continue
        stack.append((node, True))
        below = [r.node for r in node.inputs]
        if node.loop is not None:
            # What a body reads from outside must be ready before the loop runs.
            body = [n for _, n in node.loop.carries] + node.loop.taps
            below += [r.node for n in order(body) for r in n.inputs if not r.node.inside]
            below += [r.node for r in body if not r.node.inside]
        stack.extend((n, False) for n in reversed(below) if n not in done)
    return list(done)


def plan_phase(spec: Spec, phase: Phase, *, targets_flow: bool) -> Plan:
    """The plan of a training step: the losses of a phase and the updates of the states.

    Args:
        targets_flow: whether the backend differentiates a target's parameters unless they are
            stopped, as JAX does, which takes gradients over all leaves of the model.
    """
    terms = Terms(spec)
    names = [name for name in phase.losses if name in spec.losses]
    roots = [terms.normalise(spec.losses[n].expr, spec.losses[n].updates) for n in names]
    roots += [terms.normalise(e).primal for e in spec.updates.values()]
    roots = share_cuts(terms, roots)
    resolver = _Resolver(spec, roots, targets_flow)
    for root in roots:
        resolver.prepare(root)
    refs = [resolver.use(True, root) for root in roots]
    losses = dict(zip(names, refs, strict=False))
    updates = dict(zip(spec.updates, refs[len(names) :], strict=True))
    computed = set(order(refs))
    latents = {}
    for latent in spec.latents.values():
        node = resolver.found(terms.normalise(latent.expr).primal)
        if node in computed:
            latents[latent.name] = Ref(node)
    return Plan(spec, phase, losses, updates, latents, _twins(refs), refs)


def plan_latent(spec: Spec, name: str) -> Plan:
    """The plan of one latent alone, for encoding; nothing in it is stopped."""
    return plan_values(spec, name, {name: spec.latents[name].expr})


def plan_values(spec: Spec, what: str, values: Mapping[str, Expr]) -> Plan:
    """The plan of named values by themselves, such as measures; nothing in it is stopped."""
    terms = Terms(spec)
    roots = share_cuts(terms, [terms.normalise(e).primal for e in values.values()])
    resolver = _Resolver(spec, roots, targets_flow=False)
    for root in roots:
        resolver.prepare(root)
    refs = [resolver.use(False, root) for root in roots]
    named = dict(zip(values, refs, strict=True))
    return Plan(spec, Phase(what, ()), {}, {}, named, {}, refs)


def least_applications(spec: Spec, phase: Phase) -> dict[str, int]:
    """Module -> how many different values it gives in a phase: no step can apply it less often."""
    terms = Terms(spec)
    names = [name for name in phase.losses if name in spec.losses]
    roots = [terms.normalise(spec.losses[n].expr).primal for n in names]
    roots += [terms.normalise(e).primal for e in spec.updates.values()]
    count: Counter[str] = Counter()
    for term in walk(share_cuts(terms, roots)):
        if term.kind == "apply" and term.attrs[1] != "project":
            count[term.attrs[0]] += 1
    return dict(count)


def _twins(roots: list[Ref]) -> dict[str, int]:
    """Module -> its applications beyond one per value. A loop with a twin has a body of its own."""
    versions: Counter[Term] = Counter()
    for node in _applied(roots):
        if node.term is not None and (node.term.live or node.inside):
            versions[node.term.primal] += 1
    extra: Counter[str] = Counter()
    for primal, count in versions.items():
        extra[primal.attrs[0]] += count - 1
    return {name: n for name, n in extra.items() if n}


class _Resolver:
    """Decides for every needed term which node serves it. One for the step, one per loop body."""

    def __init__(
        self,
        spec: Spec,
        roots: list[Term],
        targets_flow: bool,
        outer: "_Resolver | None" = None,
        dead: bool = False,
    ):
        # dead: the body of a loop that is stopped as a whole, where it is read.
        self.spec, self.targets_flow, self.outer, self.dead = spec, targets_flow, outer, dead
        self._flowing = {n for n, m in spec.modules.items() if m.layer.parameters()}
        if targets_flow:
            self._flowing |= {t.name for t in spec.targets.values() if t.of in self._flowing}
        self._versions: dict[Term, Term] = {}
        self._nodes: dict[Term, Node] = {}
        self._bodies: dict[Term, _Body] = {}
        self._parametric: dict[Term, bool] = {}
        self.scans: dict[Term, list[Term]] = {}
        # By number, so that the choice among several live versions is stable.
        for term in sorted(walk(roots), key=lambda t: t.id):
            if outer is None and term.kind == "tap":
                self.scans.setdefault(term.inputs[0], []).append(term)
            mine = bool(term.loops) == (outer is not None)
            if term.live and mine and term.kind != "scale":
                self._versions.setdefault(term.primal, term)

    def use(self, stopped: bool, term: Term) -> Ref:
        """How a reader uses a term; `stopped` when no gradient may flow out of a dead one."""
        if term.live:
            return Ref(self._node(term))
        node = self._serve(term)
        return Ref(node, stop=stopped and node.carries)

    def found(self, term: Term) -> Node | None:
        """The node that already serves a dead term, if there is one."""
        return self._nodes.get(self._versions.get(term, term))

    def bind(self, variable: Term, node: Node) -> None:
        """Makes a loop's variable the node of its live and of its dead term."""
        self._nodes[variable] = self._nodes[variable.primal] = node

    def _serve(self, term: Term) -> Node:
        """The node that gives a dead term's value."""
        if self.outer is not None and not term.loops:
            return self.outer._serve(term)
        return self._node(self._versions.get(term, term))

    def _node(self, term: Term) -> Node:
        if self.outer is not None and not term.loops:
            return self.outer._node(term)
        if term not in self._nodes:
            self._nodes[term] = self._make(term)
        return self._nodes[term]

    def _make(self, term: Term) -> Node:
        if term.kind == "tap":
            return self._body(self._scan_of(term)).tap(term.inputs[1], term)
        # A dead value with parameters below it is stopped where a live value reads it, and then
        # its operands need no stop. Any other dead value stops its operands: nothing is recorded.
        parametric = not term.live and self._has_parameters(term)
        whole = parametric or (self.dead and not term.live)
        refs = [self.use(not whole, i) for i in term.inputs]
        carries = term.live or parametric or (whole and any(r.node.carries for r in refs))
        attrs = term.attrs
        if term.kind == "apply" and attrs[0] not in self._flowing:
            attrs = (*attrs[:2], False)  # nothing to freeze
        return Node(term.kind, refs, attrs, term.type, carries, term)

    def _has_parameters(self, dead: Term) -> bool:
        """Whether computing a dead term applies a module, other than through a live term."""
        known, stack = self._parametric, [dead]
        while stack:
            term = stack[-1]
            below = [i for i in term.inputs if i not in self._versions]
            waiting = [i for i in below if i not in known]
            if waiting:
                stack += waiting
                continue
            applies = term.kind == "apply" and term.attrs[0] in self._flowing
            known[term] = applies or any(known[i] for i in below)
            stack.pop()
        return known[dead]

    def _scan_of(self, tap: Term) -> Term:
        """The loop that a tap reads: for a dead one a live loop of the same values, if any."""
        scan = tap.inputs[0]
        versions = (s for s in self.scans if s.live and s.primal is scan)
        return scan if tap.live else next(versions, scan)

    def _body(self, scan: Term) -> "_Body":
        if scan not in self._bodies:
            self._bodies[scan] = _Body(self, scan)
        return self._bodies[scan]

    def prepare(self, root: Term) -> None:
        """Makes the nodes that a term needs, operands first, so that recursion stays shallow."""
        stack, done = [(root, False)], set()
        while stack:
            term, ready = stack.pop()
            term = term if term.live else self._versions.get(term, term)
            elsewhere = bool(term.loops) != (self.outer is not None)
            if elsewhere or term in self._nodes or term in done:
                continue
            if ready:
                self._node(term)
                done.add(term)
            else:
                stack.append((term, True))
                stack.extend((i, False) for i in reversed(self._operands(term)))

    def _operands(self, term: Term) -> list[Term]:
        """What must be ready before a term: for a tap, all that its loop reads."""
        if term.kind != "tap":
            return list(term.inputs)
        found: dict[Term, None] = {}
        stack = [*self._scan_of(term).inputs, term.inputs[1]]
        while stack:
            inner = stack.pop()
            if inner not in found:
                found[inner] = None
                stack += inner.inputs if inner.loops else ()
        return [i for i in found if not i.loops]


class _Body:
    """One loop being resolved; taps are added as their readers are met."""

    def __init__(self, outer: _Resolver, scan: Term):
        trace, axis, extent, carries, _, live = scan.attrs
        readers = [t.inputs[1] for t in outer.scans.get(scan, [])]
        sources, nexts = scan.inputs[:-carries], scan.inputs[-carries:]
        # A loop that nobody differentiates is stopped as a whole, where it is read.
        dead = not scan.live and not any(r.live for r in readers)
        roots = [*nexts, *readers]
        self.resolver = _Resolver(outer.spec, roots, outer.targets_flow, outer, dead)
        self.loop = Loop(axis, extent)
        inputs = [outer.use(not dead, source) for source in sources]
        carried = dead and (
            any(r.node.carries for r in inputs) or any(map(self.resolver._has_parameters, nexts))
        )
        self.node = Node("loop", inputs, scan.attrs[:3], scan.type, False, scan, self.loop)
        self._taps: dict[Node, Node] = {}
        # The live term of a variable where there is one: binding it binds its dead one as well.
        found = [t for t in walk(roots) if t.kind == "var" and t.attrs[0] == trace]
        variables = {t.attrs[1:3]: t for t in sorted(found, key=lambda t: t.live)}
        for i, (ref, source) in enumerate(zip(inputs, sources, strict=True)):
            group, index = ("carry", i) if i < carries else ("x", i - carries)
            entry = source.type if group == "carry" else source.type.without(axis)
            if dead:
                flows = carried
            else:
                flows = live[i] if group == "carry" else ref.node.carries and not ref.stop
            var = Node(
                "var", [], (trace, group, index), entry, flows, variables.get((group, index))
            )
            if var.term is not None:
                self.resolver.bind(var.term, var)
            if group == "carry":
                self.loop.carries.append((var, Ref(var)))
            else:
                self.loop.xs.append(var)
        for n in nexts:
            self.resolver.prepare(n)
        self.loop.carries = [
            (var, self.resolver.use(not dead, n))
            for (var, _), n in zip(self.loop.carries, nexts, strict=True)
        ]

    def tap(self, body: Term, term: Term) -> Node:
        """The sequence of a body value; the same value is collected once."""
        self.resolver.prepare(body)
        inner = self.resolver.use(False, body).node
        if inner not in self._taps:
            index = len(self.loop.taps)
            self.loop.taps.append(Ref(inner))
            self._taps[inner] = Node(
                "tap", [Ref(self.node)], (index,), term.type, inner.carries, term
            )
        return self._taps[inner]
