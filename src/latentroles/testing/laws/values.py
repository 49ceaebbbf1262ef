"""B1-B5, B18, B19: a compiled step has the values and the gradients that are declared."""

from typing import Any

import numpy as np

from ... import plugins
from ...compile import load_weights, weights
from ...errors import PluginError
from ...routes import routes
from ...spec import losses, nn
from ...spec.schedules import value as schedule_value
from ...spec.spec import Spec
from ..reference import Results
from ..strategies import Program
from .case import Case, compiled, reference, results, step_of
from .checks import (
    equal,
    holds,
    moved,
    only_declared_routes,
    same_bits,
    same_gradients,
    same_results,
    same_values,
)
from .law import Inapplicable, law
from .unrolled import unrolled


def other_than(backend: str) -> str:
    """Another installed backend, to compare with; one that runs emitted source if there is one.

    Raises:
        Inapplicable: there is none.
    """
    found = []
    for name in plugins.backends():
        if name != backend:
            try:
                found.append((0 if plugins.backend(name).dialect is not None else 1, name))
            except PluginError:
                continue
    if not found:
        raise Inapplicable(f"{backend} is the only backend that is installed.")
    # By speed where there is a choice: what compiles longest comes last.
    return min(found, key=lambda f: (f[0], -plugins.backend(f[1]).pace, f[1]))[1]


@law("values agree", "losses, latents and states are the same on two backends", share=6)
def B1(spec: Any, backend: str, seed: int = 0, other: str | None = None) -> None:
    case = Case.one_of(spec, seed)
    got, want = (step_of(case, name) for name in (backend, other or other_than(backend)))
    same_values(got.losses, want.losses)
    same_values({"total": got.total}, {"total": want.total})
    same_values(got.state, want.state)
    both = got.latents.keys() & want.latents.keys()
    same_values({n: got.latents[n] for n in both}, {n: want.latents[n] for n in both})


@law("gradients agree", "the gradient of each loss is the same on two backends", share=6)
def B2(spec: Any, backend: str, seed: int = 0, other: str | None = None) -> None:
    case = Case.one_of(spec, seed)
    got, want = (step_of(case, name) for name in (backend, other or other_than(backend)))
    for loss in case.losses:
        known = {m: want.gradients[loss][m] for m in case.spec.modules}
        same_gradients(got.gradients[loss], known, f"of {loss}")


@law(
    "no route, no gradient",
    "where the table shows no route, the gradient of the compiled step is exactly zero",
    share=4,
)
def B3(spec: Any, backend: str, seed: int = 0) -> None:
    case = Case.one_of(spec, seed)
    only_declared_routes(step_of(case, backend).gradients, case.spec)


@law(
    "gradients that flow are felt",
    "what has a gradient by the declaration, in one of two draws, has one in the compiled step",
)
def B4(spec: Any, backend: str, seed: int = 0) -> None:
    case = Case.one_of(spec, seed)
    model = compiled(case, backend)
    draws = (case, Case.of(spec, seed + 1, case.phase))
    want = [reference(model, draw)[1] for draw in draws]
    got = [results(model, draw).gradients for draw in draws]
    for loss in case.losses:
        felt, declared = (set().union(*(moved(g[loss]) for g in all_)) for all_ in (got, want))
        lost = declared - felt
        holds(not lost, f"gradients of {loss}: expected some in {sorted(lost)}, got exactly zero")


@law(
    "a step is the masked reference",
    "each loss of the compiled step has the value and the gradient that it has when it is "
    "evaluated alone, as declared, and differentiated alone",
    needs=("source",),
    share=8,
)
def B5(spec: Any, backend: str, seed: int = 0) -> None:
    case = Case.one_of(spec, seed)
    follows_reference(compiled(case, backend), case)


def follows_reference(model: Any, case: Case) -> Results:
    """B5 of one model."""
    got = results(model, case)
    values, gradients = reference(model, case)
    same_values(got.losses, values)
    for loss in values:
        same_gradients(got.gradients[loss], gradients[loss], f"of {loss}")
    scale = {n: schedule_value(case.spec.losses[n].weight, case.step) for n in values}
    total = np.asarray(sum(scale[n] * values[n] for n in values), got.total.dtype)
    same_values({"total": got.total}, {"total": total})
    return got


@law(
    "a loop is its steps written out",
    "a step of a spec with loops is that of the same spec without them",
    share=2,
)
def B18(spec: Any, backend: str, seed: int = 0) -> None:
    if not isinstance(spec, Program):
        raise Inapplicable("loops are written out from the text of a Program, not from a Spec.")
    plain = unrolled(spec)
    if plain is not None:
        case = Case.one_of(spec, seed)
        same_results(step_of(case, backend), step_of(case.but(plain), backend))


@law(
    "a frozen head passes gradients",
    "below a frozen module the gradient is that below a live one; in it, it is exactly zero",
    share=0.25,
)
def B19(backend: str, seed: int = 0) -> None:
    s = Spec("heads")
    x = s.observation("x", (2,))
    layers = [nn.linear(2, 2), nn.mlp(2, 2, hidden=3), nn.Residual(nn.linear(2, 2))]
    below = s.module("below", layers[seed % 3])
    head = s.module("head", layers[(seed // 3) % 3])
    s.loss("live", losses.mse(head(below(x)), x))
    s.loss("frozen", losses.mse(head.frozen(below(x)), x))
    equal(routes(s).live, {"live": {"below", "head"}, "frozen": {"below"}}, "the routes")
    got = step_of(Case.of(s, seed), backend).gradients
    equal(moved(got["frozen"]), {"below"}, "the modules with a gradient of the frozen loss")
    equal(moved(got["live"]), {"below", "head"}, "the modules with a gradient of the live loss")
    same_gradients({"below": got["frozen"]["below"]}, {"below": got["live"]["below"]})


@law(
    "weights travel",
    "weights that go to another backend and back are the same to the last bit",
)
def B25(spec: Any, backend: str, seed: int = 0, other: str | None = None) -> None:
    case = Case.one_of(spec, seed)
    held = weights(compiled(case, backend))
    away = compiled(Case(case.spec, case.batch, case.phase, seed + 1), other or other_than(backend))
    there = weights(load_weights(away, held))
    empty = compiled(Case(case.spec, case.batch, case.phase, seed + 2), backend)
    back = weights(load_weights(empty, there))
    for name, arrays in held.items():
        same_bits(there[name], arrays, f"the weights on the other backend, of {name}:")
        same_bits(back[name], arrays, f"the weights that came back, of {name}:")
