"""What every moment depends on, by value and by gradient, as sets of bits.

One pass over the moments, operands first. An *occurrence* is a moment that is a latent at some
time; a target's copy of an encoder gives occurrences too, and so does an encoder that is applied to
another view of the frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from ..roles import Role
from .unrolled import Moment, Unrolled

LEAVES = ("observation", "action", "label", "noise", "state")


@dataclass(frozen=True)
class Occurrence:
    """A latent at a time.

    Args:
        frame, step: where it stands; None where the latent has no such axis.
        clock: the latest time that it depends on.
    """

    latent: str
    frame: int | None
    step: int | None
    clock: int


@dataclass(frozen=True, slots=True)
class Source:
    """What one moment is computed from.

    Args:
        leaves: the columns, draws and states, each at its time, as bits.
        modules: the modules and targets applied, as bits.
        clock: the latest time of any leaf; -1 without one.
    """

    leaves: int
    modules: int
    clock: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What one moment has to do with modules and latents; every number is a set of bits.

    Args:
        live: the modules that a gradient reaches. occurrences: the latents, by value.
        shaped: the occurrences that a gradient reaches with modules below them; `reversed` where
            the gradient is turned round on the way.
        frontier: per role, the first occurrences met going down. actions: per role, the actions
            above them.
    """

    live: int
    occurrences: int
    shaped: int
    reversed: int
    frontier: tuple[int, ...]
    actions: tuple[int, ...]


class Table:
    """The facts of every moment of an unrolled Spec.

    Attributes:
        roles: the roles of the spec's latents; `frontier` and `actions` have one entry for each.
    """

    def __init__(self, unrolled: Unrolled):
        self.unrolled, self.spec = unrolled, unrolled.spec
        self.roles: tuple[Role, ...] = tuple({z.role: None for z in self.spec.latents.values()})
        self._module_names = [*self.spec.modules, *self.spec.targets]
        self._module_bits = {name: i for i, name in enumerate(self._module_names)}
        self._trainable = union(
            1 << self._module_bits[n] for n, m in self.spec.modules.items() if m.layer.parameters()
        )
        self.leaf_names: list[tuple[str, str, int | None]] = []
        self._leaf_bits: dict[tuple[str, str, int | None], int] = {}
        self.groups: dict[str, int] = dict.fromkeys(LEAVES, 0)
        self.occurrences: list[Occurrence] = []
        self._of_role = [0] * len(self.roles)
        self._of_latent = dict.fromkeys(self.spec.latents, 0)
        self._sources: list[Source] = []
        self._shapes: list[Moment] = []
        self._facts: list[Facts] = []
        self._at = self._latents()

    def __getitem__(self, m: Moment) -> Facts:
        while len(self._facts) <= m.id:
            self._facts.append(self._of(self.unrolled.moments[len(self._facts)]))
        return self._facts[m.id]

    def source(self, m: Moment) -> Source:
        """What `m` is computed from."""
        while len(self._sources) <= m.id:
            self._sources.append(self._source(self.unrolled.moments[len(self._sources)]))
        return self._sources[m.id]

    def shape(self, m: Moment) -> Moment:
        """The moment with targets read as their modules, frames as "some view at that time", and
        noise left out that is added or multiplied, such as the mask of a dropout.

        Two moments of one shape are the same function of the same times.
        """
        while len(self._shapes) <= m.id:
            self._shapes.append(self._shape(self.unrolled.moments[len(self._shapes)]))
        return self._shapes[m.id]

    def here(self, m: Moment) -> int:
        """The occurrences that `m` itself is."""
        return self._at.get(self.shape(m), 0)

    # Names ---------------------------------------------------------------------------------

    def modules(self, bits: int) -> list[str]:
        """The modules and targets among `bits`."""
        return [self._module_names[i] for i in ones(bits)]

    def module_bits(self, names: Iterable[str]) -> int:
        """The bits of modules and targets."""
        return union(1 << self._module_bits[name] for name in names)

    def leaves(self, bits: int) -> list[tuple[str, str, int | None]]:
        """The leaves among `bits`, as (group, name, frame)."""
        return [self.leaf_names[i] for i in ones(bits)]

    def latents(self, bits: int) -> list[Occurrence]:
        """The occurrences among `bits`."""
        return [self.occurrences[i] for i in ones(bits)]

    def of_role(self, role: Role) -> int:
        """The occurrences of the latents of a role."""
        return self._of_role[self.roles.index(role)]

    def of_latent(self, name: str) -> int:
        """The occurrences of one latent."""
        return self._of_latent[name]

    def moments_of(self, name: str) -> list[Moment]:
        """The moments of one latent, the first to the last."""
        e = self.spec.latents[name].expr
        return [self.unrolled.at(e, o.frame, o.step) for o in self.latents(self.of_latent(name))]

    def leaf_bits(self, leaves: Iterable[tuple[str, str, int | None]]) -> int:
        """The bits of the given leaves; one that nothing reads has a bit too."""
        return union(self._leaf(self.unrolled.make("leaf", key, (), None)) for key in leaves)

    # Building ------------------------------------------------------------------------------

    def _latents(self) -> dict[Moment, int]:
        """Where the latents occur: the shape of a moment -> its occurrences."""
        found: dict[Moment, int] = {}
        for latent in self.spec.latents.values():
            e = latent.expr
            frames = range(self.unrolled.last(e) + 1) if "time" in e.axes else [None]
            steps = range(e.type.step or 0) if "step" in e.axes else [None]
            for frame, step in product(frames, steps):
                shape = self.shape(self.unrolled.at(e, frame, step))
                source = self.source(shape)
                if not source.leaves and not source.modules:
                    continue  # a constant, such as the start of a loop, is no latent
                bit = 1 << len(self.occurrences)
                self.occurrences.append(Occurrence(latent.name, frame, step, source.clock))
                self._of_role[self.roles.index(latent.role)] |= bit
                self._of_latent[latent.name] |= bit
                found[shape] = found.get(shape, 0) | bit
        return found

    def _source(self, m: Moment) -> Source:
        leaves = modules = 0
        clock = -1
        for o in m.operands:
            below = self._sources[o.id]
            leaves |= below.leaves
            modules |= below.modules
            clock = max(clock, below.clock)
        if m.kind == "leaf":
            leaves, clock = self._leaf(m), _clock(m)
        elif m.kind == "apply":
            modules |= 1 << self._module_bits[m.attrs[0]]
        return Source(leaves, modules, clock)

    def _shape(self, m: Moment) -> Moment:
        if m.primal is not m:
            return self._shapes[m.primal.id]
        source = self.source(m)
        observed = source.leaves & self.groups["observation"]
        if observed and not source.modules and not source.leaves & self.groups["action"]:
            names = tuple(sorted({name for _, name, _ in self.leaves(observed)}))
            return self.unrolled.make("leaf", ("view", names, source.clock), (), None)
        if m.kind == "op" and m.attrs[0] in ("add", "sub", "mul"):
            kept = [o for o in m.operands if not self._is_noise(o)]
            if len(kept) == 1:
                return self._shapes[kept[0].id]
        operands = tuple(self._shapes[o.id] for o in m.operands)
        attrs = m.attrs
        if m.kind == "apply" and m.attrs[0] in self.spec.targets:
            attrs = (self.spec.targets[m.attrs[0]].of, *m.attrs[1:])
        return self.unrolled.make(m.kind, attrs, operands, m.cut)

    def _is_noise(self, m: Moment) -> bool:
        source = self.source(m)
        drawn = bool(source.leaves) and not source.leaves & ~self.groups["noise"]
        return drawn and not source.modules

    def _of(self, m: Moment) -> Facts:
        live = occurrences = shaped = turned = 0
        roles = range(len(self.roles))
        frontier, actions = [0 for _ in roles], [0 for _ in roles]
        for o in m.operands:
            below = self._facts[o.id]
            occurrences |= below.occurrences
            for r in roles:
                frontier[r] |= below.frontier[r]
                actions[r] |= below.actions[r]
            if m.cut is None:
                live |= below.live
                shaped |= below.shaped
                turned |= below.reversed
        if m.kind == "apply" and not m.attrs[2]:
            live |= 1 << self._module_bits[m.attrs[0]] & self._trainable
        elif m.kind == "scale" and m.attrs[0] < 0:
            shaped, turned = turned, shaped
        elif m.kind == "leaf" and m.attrs[0] == "action":
            actions = [self.source(m).leaves for _ in roles]
        here = self.here(m)
        if here:
            occurrences |= here
            if live and m.kind != "scale":
                shaped |= here
            for r in roles:
                if here & self._of_role[r]:
                    frontier[r], actions[r] = here & self._of_role[r], 0
        return Facts(live, occurrences, shaped, turned, tuple(frontier), tuple(actions))

    def _leaf(self, m: Moment) -> int:
        key = m.attrs
        if key not in self._leaf_bits:
            self._leaf_bits[key] = 1 << len(self.leaf_names)
            self.leaf_names.append(key)
            if key[0] in self.groups:
                self.groups[key[0]] |= self._leaf_bits[key]
        return self._leaf_bits[key]


def _clock(leaf: Moment) -> int:
    """x_t is known at t; a_t, which leads from t to t + 1, shows at t + 1."""
    group, _, frame = leaf.attrs
    if group not in ("observation", "action", "label", "view") or frame is None:
        return -1
    return frame + 1 if group == "action" else frame


def ones(bits: int) -> Iterator[int]:
    """The positions of the bits that are set."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def union(values: Iterable[int]) -> int:
    """The union of sets of bits."""
    result = 0
    for value in values:
        result |= value
    return result
