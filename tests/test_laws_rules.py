"""Laws of the checker: properties of `check`, `enforce` and the graph with time written out."""

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import latentroles as lr
from latentroles.routes.graph import Graph
from latentroles.rules.enforce import count_broken
from latentroles.rules.facts import Table
from latentroles.rules.unrolled import Unrolled
from latentroles.spec.expr import Expr
from latentroles.spec.rewrite import Stop, with_stops
from latentroles.spec.walk import postorder
from latentroles.testing.strategies import programs, write

seeds = st.integers(0, 2**16)


def pressures(spec: lr.Spec) -> dict[tuple[str, str], set[str]]:
    """(loss, latent) -> its pressures, whichever way the gradient points; a far one is a near."""
    found = {}
    for loss, row in lr.check(spec).verdicts.items():
        for latent, slugs in row.items():
            plain = {slug.removeprefix("anti:") for slug in slugs}
            if "open-loop-rollout" in plain:
                plain.add("conditioned-prediction")
            found[loss, latent] = plain - {"isolated"}
    return found


def somewhere(spec: lr.Spec, seed: int, *, each: bool) -> list[Stop]:
    """Random places for stops, in one loss or in all of them."""
    rng = random.Random(seed)
    places = []
    for loss in spec.losses.values():
        for e in postorder(loss.expr):
            if e.inputs and e.kind not in ("scan", "tap") and rng.random() < 0.1:
                position = rng.randrange(len(e.inputs))
                if e.inputs[position].type.dtype == "float":
                    places.append(Stop(loss.name if each else None, e, position))
    return places[:3]


@given(programs())
def test_the_graph_over_time_has_the_routes_of_the_graph_with_loops(program):
    """Never more; the same where no loop's first frame, which a loss may leave out, is at issue."""
    spec = program.spec
    routes, unrolled = lr.routes(spec), Unrolled(spec)
    table = Table(unrolled)
    for name, loss in spec.losses.items():
        reached = set(table.modules(table[unrolled.at(loss.expr, None)].live))
        if loss.updates is not None:
            reached &= set(loss.updates)
        assert reached <= routes[name].modules
        if not unrolled.graph.loops:
            assert reached == routes[name].modules


@given(programs())
def test_s13_checking_twice_says_the_same(program):
    assert str(lr.check(program.spec)) == str(lr.check(program.spec))


@given(programs())
def test_a_report_is_the_same_for_a_spec_read_from_its_json(program):
    read = lr.Spec.from_json(program.spec.to_json())
    first, second = ([f.message for f in lr.check(s)] for s in (program.spec, read))
    assert first == second


@given(programs(), seeds, st.booleans())
def test_s13_a_stop_adds_no_pressure_and_no_route(program, seed, each):
    spec = program.spec
    stopped = with_stops(spec, somewhere(spec, seed, each=each))
    before, after = pressures(spec), pressures(stopped)
    assert all(after[key] <= before[key] for key in before)
    first, second = lr.routes(spec), lr.routes(stopped)
    assert all(second[loss].modules <= first[loss].modules for loss in first)


@given(programs())
def test_s11_verdicts_do_not_depend_on_the_order_of_losses(program):
    data = program.spec.to_json()
    data["losses"] = data["losses"][::-1]
    data["latents"] = data["latents"][::-1]
    assert pressures(lr.Spec.from_json(data)) == pressures(program.spec)


@given(programs())
def test_s10_weights_do_not_change_verdicts(program):
    data = program.spec.to_json()
    for loss in data["losses"]:
        loss["weight"] = 3.0
    assert pressures(lr.Spec.from_json(data)) == pressures(program.spec)


@given(programs())
def test_s15_a_partial_route_is_a_route_of_which_some_paths_are_cut(program):
    """Counts paths, where there are no loops: some flow, and more would flow without stops."""
    spec = program.spec
    graph = Graph(spec, [loss.expr for loss in spec.losses.values()])
    assume(not graph.loops)
    noted = {f.loss: f.message for f in lr.check(spec).of("partial-route")}
    for loss in spec.losses.values():
        flowing, all_paths = (_paths(graph, loss.expr, stops) for stops in (True, False))
        row = lr.routes(spec)[loss.name]
        partial = {m for m in row.modules if flowing.get(m, 0) < all_paths[m]}
        for module in spec.modules:
            assert (f"`{module}`" in noted.get(loss.name, "")) == (module in partial)


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


# Enforce ----------------------------------------------------------------------------------------

STRICT = lr.Role(
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


def strict(spec: lr.Spec) -> lr.Spec:
    """The spec with a role on every latent that forbids what random losses often do."""
    data = spec.to_json()
    for latent in data["latents"]:
        latent["role"] = {
            "name": STRICT.name,
            "purpose": STRICT.purpose,
            **{k: sorted(getattr(STRICT, k)) for k in ("forbids", "cautions", "requires")},
        }
    return lr.Spec.from_json(data)


@given(programs())
def test_s20_enforce_mends_all_that_a_stop_can_and_no_stop_is_too_many(program):
    spec = strict(program.spec)
    done = lr.enforce(spec)
    kinds = {f.rule for f in done.remaining}
    assert kinds <= {"vacuous-loss", "under-conditioned", "history-admitting", "dead-route"}
    for place in done.places:
        assert count_broken(spec, [p for p in done.places if p != place]) > 0
    assert lr.enforce(done.spec).stops == ()


def test_s20_is_not_idle():
    """Among the first random specs, many need stops, some of them several."""
    counts = [len(lr.enforce(strict(drawn(seed))).stops) for seed in range(150)]
    assert sum(n > 0 for n in counts) >= 15
    assert max(counts) >= 2


def drawn(seed: int) -> lr.Spec:
    rng = random.Random(seed)
    return write(rng.randrange).spec


@pytest.mark.parametrize("seed", range(12))
def test_enforce_keeps_what_other_losses_do(seed):
    """A stop stands in one loss; the rows of losses without one stay as they were."""
    spec = strict(drawn(seed))
    done = lr.enforce(spec)
    touched = {place.loss for place in done.places}
    before, after = lr.routes(spec), lr.routes(done.spec)
    assert all(
        before[name].modules == after[name].modules for name in before if name not in touched
    )


# Leaks and telescopes ---------------------------------------------------------------------------


@given(st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_s18_a_leak_is_an_action_among_the_ancestors_of_what_is_read(read, asked, recurrent):
    """The latent at t + read has seen a_0 .. a_{t+read-1}, or nothing; a_{t+asked} is asked for."""
    s = lr.Spec("leak")
    x = s.observation("x", (2,))
    a = s.action("a", lr.Discrete(2))
    encoder = s.module("encoder", lr.nn.linear(2, 2))
    memory = s.module("memory", lr.nn.gru(4, 2))
    head = s.module("head", lr.nn.linear(2, 2))
    z = s.latent("z", encoder(x), role=lr.PLACE)
    u = lr.concat(z.t[:-1], a.one_hot())
    h = s.latent("h", lr.scan(memory, init=lr.zeros(2), xs=u), role=lr.DYNAMICS)
    source = h if recurrent else z
    # Both have T - 4 entries: entry t reads the latent at t + read and asks for a_{t+asked}.
    here = source.t[read : -(4 - read)]
    aim = a.t[asked : -(3 - asked)] if asked < 3 else a.t[3:]
    s.loss("inverse", lr.losses.cross_entropy(head(here), aim))
    slugs = lr.check(s).verdicts["inverse"]["h" if recurrent else "z"]
    leaks = recurrent and asked < read
    assert slugs == {"action-leak" if leaks else "action-identity"}


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.sampled_from(["plain", "mean", "scaled"]),
)
def test_s19_a_sum_that_telescopes_is_vacuous_and_nothing_near_it_is(steps, form):
    total = sum(steps)
    s = lr.Spec("sum")
    x = s.observation("x", (2,))
    z = s.latent("z", s.module("encoder", lr.nn.linear(2, 2))(x), role=lr.DYNAMICS)

    def at(k: int) -> lr.Expr:
        return z.t[k : -(total - k)] if k < total else z.t[k:]

    position, pieces = 0, []
    for n in steps:
        pieces.append(at(position + n) - at(position))
        position += n
    whole = sum(pieces[1:], start=pieces[0])
    other = at(total) - at(0)
    if form == "scaled":
        whole, other = whole * 0.5, other / 2.0
    if form == "mean":
        whole, other = whole.mean(), other.mean()
    s.loss("exact", lr.losses.mse(whole, other))
    s.loss("by_hand", lr.square(whole - other).mean(over="time").mean(over="batch").mean())
    s.loss("doubled", lr.losses.mse(whole, other * 2.0))
    s.loss("shifted", lr.losses.mse(whole.t[1:], other.t[:-1]))
    assert [f.loss for f in lr.check(s).of("vacuous-loss")] == ["exact", "by_hand"]
