"""S13, S15, S18-S20: what is checked, and what `enforce` mends."""

from dataclasses import replace
from random import Random
from typing import Any

from ...roles import DYNAMICS, PLACE, Role
from ...routes import routes
from ...routes.graph import Graph
from ...rules import check, enforce
from ...rules.enforce import count_broken
from ...spec import losses, nn
from ...spec.declarations import Discrete
from ...spec.expr import Expr
from ...spec.ops import concat, square, zeros
from ...spec.rewrite import Stop, with_stops
from ...spec.scan import scan
from ...spec.spec import Spec
from ...spec.walk import postorder
from .case import Case, step_of
from .checks import equal, holds, same_results
from .law import law, spec_of
from .rewrites import write_out_mask


@law(
    "stops add no pressure",
    "checking twice says the same; with more stops, no latent is under a pressure more",
)
def S13(spec: Any, seed: int = 0) -> None:
    declared = spec_of(spec)
    equal(str(check(declared)), str(check(declared)), "the report")
    before = pressures(declared)
    after = pressures(with_stops(declared, _some_stops(declared, Random(seed))))
    for (loss, latent), found in after.items():
        more = found - before[loss, latent]
        holds(not more, f"{loss} on {latent}: expected no pressure more, got {sorted(more)}")


def pressures(spec: Spec) -> dict[tuple[str, str], set[str]]:
    """(loss, latent) -> its pressures, whichever way the gradient points; a far one is a near."""
    found = {}
    for loss, row in check(spec).verdicts.items():
        for latent, slugs in row.items():
            plain = {slug.removeprefix("anti:") for slug in slugs}
            if "open-loop-rollout" in plain:
                plain.add("conditioned-prediction")
            found[loss, latent] = plain - {"isolated"}
    return found


def _some_stops(spec: Spec, random: Random) -> list[Stop]:
    """Up to three places for stops, each in one loss or all of them in every loss."""
    each = random.random() < 0.5
    places = []
    for loss in spec.losses.values():
        for e in postorder(loss.expr):
            if e.inputs and e.kind not in ("scan", "tap") and random.random() < 0.1:
                position = random.randrange(len(e.inputs))
                if e.inputs[position].type.dtype == "float":
                    places.append(Stop(loss.name if each else None, e, position))
    return places[:3]


@law(
    "a mask freezes",
    "a loss with `updates=` is the loss with all other modules frozen; `partial-route` stands just "
    "where some of a loss's paths to a module are cut and some are not",
    share=2,
)
def S15(spec: Any, backend: str, seed: int = 0) -> None:
    declared = spec_of(spec)
    data = declared.to_json()
    masked = [i for i, loss in enumerate(data["losses"]) if loss["updates"] is not None]
    if masked:
        written = Spec.from_json(write_out_mask(data, masked[seed % len(masked)]))
        equal(routes(written).live, routes(declared).live, "the routes with the mask written out")
        case = Case.one_of(declared, seed)
        same_results(step_of(case.but(written), backend), step_of(case, backend))
    _notes_partial_routes(declared)


def _notes_partial_routes(spec: Spec) -> None:
    graph = Graph(spec, [loss.expr for loss in spec.losses.values()])
    if graph.loops:  # there paths are without number
        return
    noted = {f.loss: f.message for f in check(spec).of("partial-route")}
    for loss in spec.losses.values():
        flowing, every = (_paths(graph, loss.expr, stops) for stops in (True, False))
        row = routes(spec)[loss.name]
        partial = {m for m in row.modules if flowing.get(m, 0) < every[m]}
        got = {m for m in spec.modules if f"`{m}`" in noted.get(loss.name, "")}
        equal(got, partial, f"the modules of which some paths from {loss.name} are cut")


def _paths(graph: Graph, root: Expr, stops: bool) -> dict[str, int]:
    """Module -> the number of paths from `root` to its live applications."""
    below: dict[Expr, dict[str, int]] = {}
    for e in graph.order:
        total: dict[str, int] = {}
        if e.kind == "apply" and not e.attrs[2] and graph.spec._layer(e.attrs[0]).parameters():
            total[e.attrs[0]] = 1
        for edge in graph.edges(e):
            cut = edge.cut is not None and (stops or edge.cut == "not differentiable")
            for module, n in {} if cut else below[edge.operand].items():
                total[module] = total.get(module, 0) + n
        below[e] = total
    return below[root]


@law(
    "a leak is an ancestor",
    "a loss that asks a latent for an action leaks iff the latent has read this action",
)
def S18(seed: int = 0) -> None:
    random = Random(seed)
    read, asked, recurrent = random.randrange(4), random.randrange(4), random.random() < 0.5
    s = Spec("leak")
    x = s.observation("x", (2,))
    a = s.action("a", Discrete(2))
    encoder = s.module("encoder", nn.linear(2, 2))
    memory, head = s.module("memory", nn.gru(4, 2)), s.module("head", nn.linear(2, 2))
    z = s.latent("z", encoder(x), role=PLACE)
    u = concat(z.t[:-1], a.one_hot())
    h = s.latent("h", scan(memory, init=zeros(2), xs=u), role=DYNAMICS)
    # Both have T - 4 entries: entry t reads the latent at t + read, which has seen a_0 ..
    # a_{t+read-1} or nothing, and asks for a_{t+asked}.
    here = (h if recurrent else z).t[read : -(4 - read)]
    aim = a.t[asked : -(3 - asked)] if asked < 3 else a.t[3:]
    s.loss("inverse", losses.cross_entropy(head(here), aim))
    got = check(s).verdicts["inverse"]["h" if recurrent else "z"]
    want = {"action-leak" if recurrent and asked < read else "action-identity"}
    equal(set(got), want, f"the pressure to give a_(t+{asked}) from the latent at t + {read}")


@law(
    "a telescope is vacuous",
    "a loss whose two sides are one sum of differences and its ends is vacuous, and nothing near "
    "it is",
)
def S19(seed: int = 0) -> None:
    random = Random(seed)
    steps = [random.randrange(1, 4) for _ in range(random.randrange(1, 5))]
    total = sum(steps)
    s = Spec("sum")
    x = s.observation("x", (2,))
    z = s.latent("z", s.module("encoder", nn.linear(2, 2))(x), role=DYNAMICS)

    def at(k: int) -> Expr:
        return z.t[k : -(total - k)] if k < total else z.t[k:]

    position, pieces = 0, []
    for n in steps:
        pieces.append(at(position + n) - at(position))
        position += n
    whole, ends = sum(pieces[1:], start=pieces[0]), at(total) - at(0)
    form = random.choice(["plain", "mean", "scaled"])
    if form == "scaled":
        whole, ends = whole * 0.5, ends / 2.0
    if form == "mean":
        whole, ends = whole.mean(), ends.mean()
    s.loss("exact", losses.mse(whole, ends))
    s.loss("by_hand", square(whole - ends).mean(over="time").mean(over="batch").mean())
    s.loss("doubled", losses.mse(whole, ends * 2.0))
    s.loss("shifted", losses.mse(whole.t[1:], ends.t[:-1]))
    got = [f.loss for f in check(s).of("vacuous-loss")]
    equal(got, ["exact", "by_hand"], f"the vacuous losses, {form}, in steps of {steps}")


# What random losses often do to a latent.
STRICT = Role(
    "STRICT",
    "is to be left alone",
    forbids=frozenset(
        {
            "action-identity",
            "action-leak",
            "conditioned-prediction",
            "target-live",
            "temporal-adjacency",
            "open-loop-rollout",
            "observation-sufficiency",
            "off-manifold-encoder",
        }
    ),
)
# What no stop mends.
BEYOND_STOPS = {"vacuous-loss", "under-conditioned", "history-admitting", "dead-route"}


def strict(spec: Spec) -> Spec:
    """The spec with the role STRICT on every latent."""
    copy = Spec.from_json(spec.to_json())
    copy.latents = {name: replace(z, role=STRICT) for name, z in copy.latents.items()}
    return copy


@law(
    "enforce is enough and no more",
    "what `enforce` leaves no stop can mend; without any one of its stops something is left; a "
    "second time it adds none",
)
def S20(spec: Any) -> None:
    declared = strict(spec_of(spec))
    done = enforce(declared)
    left = {f.rule for f in done.remaining}
    holds(left <= BEYOND_STOPS, f"what is left: expected of {sorted(BEYOND_STOPS)}, got {left}")
    least = count_broken(declared, done.places)
    for place in done.places:
        fewer = [other for other in done.places if other != place]
        holds(count_broken(declared, fewer) > least, f"the stop at {place} could be spared")
    equal(enforce(done.spec).stops, (), "the stops of a second time")
