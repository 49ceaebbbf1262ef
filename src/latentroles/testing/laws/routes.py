"""S1-S9, S14, S16, S17: what routes are, and what stops, merges, loops and targets do to them."""

from random import Random
from typing import Any

import numpy as np

from ... import plugins
from ...compile import emit, load_weights, weights
from ...plan.build import Plan, least_applications, plan_phase
from ...routes import routes
from ...rules.facts import Table
from ...rules.unrolled import Unrolled
from ...spec.spec import Spec
from ..strategies import Program
from .case import Case, compiled, reference, results, step_of
from .checks import equal, holds, moved, same_gradients, same_values
from .generic import evaluate_generically
from .law import Inapplicable, law, spec_of
from .rewrites import Data, Edge, cut_edges, edges, merge_losses, routes_by_hand
from .unrolled import unrolled


def _live(data: Data) -> dict[str, frozenset[str]]:
    return routes(Spec.from_json(data)).live


def _generic_moves(spec: Any, backend: str, seed: int) -> dict[str, set[str]]:
    """The modules in which each loss of a phase has a gradient at a generic point."""
    case = Case.one_of(spec, seed)
    _, gradients = reference(compiled(case, backend), case, evaluate_generically)
    return {loss: moved(found) for loss, found in gradients.items()}


@law(
    "a gradient implies a route",
    "at a generic point, a module with a gradient that is not zero has a route from the loss",
    share=2,
)
def S1(spec: Any, backend: str, seed: int = 0) -> None:
    table = routes(spec_of(spec))
    for loss, found in _generic_moves(spec, backend, seed).items():
        unknown = found - table[loss].modules
        holds(not unknown, f"gradients of {loss}: expected none in {sorted(unknown)}, got one")


@law(
    "a route implies a gradient",
    "at a generic point, a module with a route, followed through time, has a gradient that is not "
    "zero",
    share=2,
)
def S2(spec: Any, backend: str, seed: int = 0) -> None:
    declared = spec_of(spec)
    over_time = Unrolled(declared)
    facts = Table(over_time)
    for loss, found in _generic_moves(spec, backend, seed).items():
        value, mask = declared.losses[loss].expr, declared.losses[loss].updates
        shown = set(facts.modules(facts[over_time.at(value, None)].live))
        lost = (shown if mask is None else shown & set(mask)) - found
        holds(not lost, f"gradients of {loss}: expected some in {sorted(lost)}, got exactly zero")


def _some_edges(data: Data, seed: int) -> list[Edge]:
    """Up to three places for a stop."""
    random, known = Random(seed), edges(data)
    return random.sample(known, min(len(known), random.randrange(1, 4)))


@law("a stop never adds a route", "with stops on any edges, no loss updates a module more", share=2)
def S3(spec: Any, seed: int = 0) -> None:
    data = spec_of(spec).to_json()
    before, after = _live(data), _live(cut_edges(data, _some_edges(data, seed))[0])
    for loss, modules in after.items():
        more = modules - before[loss]
        holds(not more, f"routes of {loss}: expected none into {sorted(more)} after stops")


@law(
    "a stop cuts just the paths through it",
    "a route is gone iff all of its paths lead over a cut edge, as a search by hand finds",
    share=2,
)
def S4(spec: Any, seed: int = 0) -> None:
    data = spec_of(spec).to_json()
    equal(_live(data), routes_by_hand(data), "the routes")
    chosen = _some_edges(data, seed)
    stopped, _ = cut_edges(data, chosen)
    equal(_live(stopped), routes_by_hand(data, chosen), f"the routes with {chosen} cut")


@law("stops commute", "stops put in one after the other, in either order, give the same routes")
def S5(spec: Any, seed: int = 0) -> None:
    data = spec_of(spec).to_json()
    chosen = _some_edges(data, seed)
    want = _live(cut_edges(data, chosen)[0])
    for first in (chosen[:1], chosen[1:]):
        once, number = cut_edges(data, first)
        rest = [(number[reader], place) for reader, place in chosen if (reader, place) not in first]
        equal(_live(cut_edges(once, rest)[0]), want, f"the routes with {first} cut first")


@law("a stop twice is a stop", "a second stop on an edge changes nothing that is run", share=2)
def S6(spec: Any, backend: str, seed: int = 0) -> None:
    data = spec_of(spec).to_json()
    chosen = _some_edges(data, seed)
    once, number = cut_edges(data, chosen)
    twice, _ = cut_edges(once, [(number[reader], place) for reader, place in chosen])
    if "source" in plugins.backend(backend).capabilities:
        got, want = (_source(Spec.from_json(d), backend) for d in (twice, once))
        equal(got, want, "the source")
        return
    case = Case.one_of(Spec.from_json(once), seed)
    again = case.but(Spec.from_json(twice))
    want, got = step_of(case, backend), step_of(again, backend)
    for loss in case.losses:
        same_gradients(got.gradients[loss], want.gradients[loss], f"of {loss}", 1e-15)


def _source(spec: Spec, backend: str) -> str:
    """The emitted text without its first lines, which hold the Spec's hash."""
    chosen = plugins.backend(backend)
    plan = plan_phase(spec, spec.phase_of(None), targets_flow=chosen.targets_flow)
    return emit(spec, chosen, plan).replace(spec.hash, "")


@law(
    "a stop changes no value",
    "stops before and behind what a module computes give its values; they differ in its gradient: "
    "behind it the module has none through this path",
)
def S7(spec: Any, backend: str, seed: int = 0) -> None:
    data = spec_of(spec).to_json()
    case = Case.one_of(spec, seed)
    want = step_of(case, backend)
    before, behind = _around_a_module(data, Random(seed))
    for chosen in (before, behind):
        stopped = Spec.from_json(cut_edges(data, chosen)[0])
        got = step_of(case.but(stopped), backend)
        same_values(got.losses, want.losses)
        same_values(got.state, want.state)
        table = routes_by_hand(data, chosen)
        for loss in case.losses:
            there = {m for m in moved(got.gradients[loss]) if m in stopped.modules}
            holds(
                there <= table[loss],
                f"gradients of {loss} with {chosen} cut: expected none but in "
                f"{sorted(table[loss])}, got some in {sorted(there)}",
            )


def _around_a_module(data: Data, random: Random) -> tuple[list[Edge], list[Edge]]:
    """The edges into one application of a module, and those out of it."""
    known = edges(data)
    applied = [i for i, (kind, _, _) in enumerate(data["nodes"]) if kind == "apply"]
    if not applied:
        return [], []
    chosen = random.choice(applied)
    into = [(reader, place) for reader, place in known if reader == chosen]
    out = [(reader, p) for reader, p in known if data["nodes"][reader][1][p] == chosen]
    return into, out


def _with_a_merged_loss(spec: Any, seed: int) -> tuple[Spec, Spec, list[str]]:
    """A spec without masks, the same with one more loss, "merged", and the two that it adds."""
    data = spec_of(spec).to_json()
    data["phases"] = []
    for loss in data["losses"]:
        loss["updates"] = None
    random = Random(seed)
    first, second = (random.randrange(len(data["losses"])) for _ in range(2))
    names = [data["losses"][i]["name"] for i in (first, second)]
    return Spec.from_json(data), Spec.from_json(merge_losses(data, first, second)), names


@law(
    "a sum has the routes of its terms",
    "the sum of two losses updates what either updates, by the sum of their gradients",
    share=2,
)
def S8(spec: Any, backend: str, seed: int = 0) -> None:
    _, more, (first, second) = _with_a_merged_loss(spec, seed)
    table = routes(more).live
    equal(table["merged"], table[first] | table[second], "the routes of the sum")
    got = step_of(Case.of(more, seed), backend).gradients
    for m, arrays in got["merged"].items():
        summed = {path: got[first][m][path] + got[second][m][path] for path in arrays}
        same_gradients({m: arrays}, {m: summed}, f"of {first} + {second}")


@law(
    "a loss changes no other",
    "one more loss leaves the routes and the gradients of the others as they are",
    share=2,
)
def S9(spec: Any, backend: str, seed: int = 0) -> None:
    plain, more, _ = _with_a_merged_loss(spec, seed)
    before, after = routes(plain).live, routes(more).live
    equal({n: after[n] for n in before}, before, "the routes of the others")
    case = Case.of(plain, seed)
    want, got = step_of(case, backend), step_of(case.but(more), backend)
    for name in case.losses:
        same_gradients(got.gradients[name], want.gradients[name], f"of {name}")


@law(
    "sharing keeps gradients apart",
    "each value is computed once, but for the twins that different gradients through it force",
    share=2,
)
def S14(spec: Any, seed: int = 0) -> None:
    declared = spec_of(spec)
    for phase in declared.all_phases():
        shares_what_it_computes(plan_phase(declared, phase, targets_flow=False))


def shares_what_it_computes(plan: Plan) -> None:
    """S14 of one plan."""
    least = least_applications(plan.spec, plan.phase)
    # Ranges of one sequence share an application, unless the gradient of one of them is scaled.
    scaled = [n for n in plan.nodes() if n.kind == "apply" and n.inputs[0].node.kind == "scale"]
    for name, count in plan.applications().items():
        apart = sum(node.attrs[0] == name for node in scaled)
        most = least[name] + plan.twins.get(name, 0) + apart
        holds(count <= most, f"{name} is applied too often: expected {most}, got {count}")
    # What nobody differentiates is computed by what somebody does, or else once.
    loops = [node.term for node in plan.nodes() if node.kind == "loop" and node.term is not None]
    for primal in {loop.primal for loop in loops}:
        versions = [loop for loop in loops if loop.primal is primal]
        holds(len(set(versions)) == len(versions), "a loop is run twice for one gradient")
        holds(len(versions) == 1 or primal not in versions, "a dead loop is run beside a live one")


@law(
    "a loop has the routes of its steps",
    "written out step by step, a loop has no route that it does not have as a loop",
    share=2,
)
def S16(spec: Any) -> None:
    shown = routes(spec_of(spec)).live
    plain = _written_out(spec)
    for loss, modules in routes(plain).live.items() if plain is not None else ():
        more = modules - shown[loss]
        holds(not more, f"routes of {loss}: expected {sorted(more)} in the loop too, got none")


def _written_out(spec: Any) -> Spec | None:
    if not isinstance(spec, Program):
        raise Inapplicable("loops are written out from the text of a Program, not from a Spec.")
    return unrolled(spec)


@law(
    "a target is a value",
    "a loss reads a target by value alone: a target that the table does not show changes no loss, "
    "and no gradient reaches any",
)
def S17(spec: Any, backend: str, seed: int = 0) -> None:
    case = Case.one_of(spec, seed)
    table = routes(case.spec)
    model = compiled(case, backend)
    before = results(model, case)
    for name in case.spec.targets:
        held = weights(model)[name]
        shifted = load_weights(model, {name: {path: a + 1.0 for path, a in held.items()}})
        after = results(shifted, case)
        model = load_weights(shifted, {name: held})
        for loss, found in before.gradients.items():
            status = table[loss][name].status
            holds(status in ("target", "unconnected"), f"{name} in {loss} is {status}")
            if status == "unconnected":
                np.testing.assert_array_equal(after.losses[loss], before.losses[loss])
            holds(name not in moved(found), f"{loss} has a gradient in the target {name}")
