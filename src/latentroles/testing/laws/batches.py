"""B12-B14, B16: what a step does when its batch is permuted, split, shifted, or rounded."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import plugins
from ...roles import DESCRIPTOR
from ...spec.expr import Expr
from ...spec.ops import square
from ...spec.spec import Spec
from ...spec.walk import postorder
from ..reference import Results
from .case import Case, compiled, inputs
from .checks import equal, holds, same_gradients, same_values
from .law import law, spec_of
from .meeting import averages_over_the_batch, is_per_frame

Chosen = Any  # a slice or an array of indices


def _drawn(model: Any, case: Case) -> dict[str, np.ndarray]:
    return {n: np.asarray(a) for n, a in model.noise(case.step, like=case.batch).items()}


def _taken(spec: Spec, arrays: Mapping[str, np.ndarray], axis: str, chosen: Chosen) -> dict:
    """Columns or noise, of which some entries along an axis are taken."""
    found = {}
    for name, array in arrays.items():
        axes = spec.inputs[name].axes
        index = (*(slice(None) for _ in axes[: axes.index(axis)]), chosen) if axis in axes else ()
        found[name] = array[index]
    return found


def _step(model: Any, case: Case, columns: Mapping, noise: Mapping) -> Results:
    """A step on some of a case's columns and noise."""
    backend = plugins.backend(model.backend)
    native = backend.arrays(model, noise)
    state = backend.arrays(model, case.state())
    return backend.loss_gradients(model, model.inputs(columns), native, state, case.step)


@law(
    "the order of a batch means nothing",
    "a permuted batch gives the same losses and gradients, and the latents permuted",
)
def B12(spec: Any, backend: str, seed: int = 0) -> None:
    case = Case.one_of(spec, seed, batch=3)
    model = compiled(case, backend)
    noise = _drawn(model, case)
    order = np.array([[1, 2, 0], [2, 1, 0], [0, 2, 1]][seed % 3])
    want = _step(model, case, case.batch, noise)
    columns, draws = (_taken(case.spec, a, "batch", order) for a in (case.batch, noise))
    got = _step(model, case, columns, draws)
    same_values(got.losses, want.losses)
    same_values(got.state, want.state)
    for loss in case.losses:
        same_gradients(got.gradients[loss], want.gradients[loss], f"of {loss}")
    for name in got.latents.keys() & want.latents.keys():
        batched = "batch" in case.spec.latents[name].expr.axes
        permuted = want.latents[name][order] if batched else want.latents[name]
        same_values({name: got.latents[name]}, {name: permuted})


@law(
    "losses of single examples average",
    "a loss in which examples meet only in its mean is the average of that loss over parts of the "
    "batch; a statistic of the batch is not",
)
def B13(spec: Any, backend: str, seed: int = 0) -> None:
    extended = Spec.from_json(spec_of(spec).to_json())
    # A statistic that every spec has: the square of a column's mean over the batch.
    column = next(e for e in extended.inputs.values() if _is_column(e))
    extended.loss("law_statistic", _mean(square(column.mean(over="batch"))))
    extended.phases = {}
    case = Case.of(extended, seed, batch=3)
    model = compiled(case, backend)
    noise = _drawn(model, case)
    whole = _step(model, case, case.batch, noise)
    first = 1 + seed % 2
    parts = [
        _step(model, case, *(_taken(case.spec, a, "batch", half) for a in (case.batch, noise)))
        for half in (slice(0, first), slice(first, 3))
    ]
    share = {0: first / 3, 1: 1 - first / 3}
    for name in case.losses:
        mean = sum(share[i] * part.losses[name] for i, part in enumerate(parts))
        if averages_over_the_batch(extended.losses[name].expr):
            same_values({name: np.asarray(mean, whole.total.dtype)}, {name: whole.losses[name]})
    got = sum(share[i] * part.losses["law_statistic"] for i, part in enumerate(parts))
    away = abs(float(got - whole.losses["law_statistic"]))
    holds(away > 1e-6, "a batch's statistic: expected another value than the parts', got the same")


def _is_column(e: Expr) -> bool:
    return e.type.dtype == "float" and e.attrs[0] != "noise" and e.axes == ("batch", "time")


def _mean(e: Expr) -> Expr:
    e = e.mean() if e.shape else e
    for axis in e.axes:
        e = e.mean(over=axis)
    return e


@law(
    "time has no origin",
    "what is computed frame by frame, on a batch without its first frame, is that without its "
    "first frame",
)
def B14(spec: Any, backend: str, seed: int = 0) -> None:
    declared = Spec.from_json(spec_of(spec).to_json())
    values = [loss.expr for loss in declared.losses.values()]
    found = [e for root in values for e in postorder(root) if _may_shift(e)]
    if not found:
        return
    declared.latents = {}
    deep = found[-1 - seed % min(len(found), 3)]  # operands come first
    declared.latent("law_shifted", deep, role=DESCRIPTOR)
    case = Case.of(declared, seed)
    model = compiled(case, backend)
    noise = _drawn(model, case)
    native, state = (plugins.backend(backend).arrays(model, a) for a in (noise, case.state()))
    whole = np.asarray(model.encode(case.batch, "law_shifted", native, state))
    later = slice(1, None)
    columns, draws = (_taken(declared, a, "time", later) for a in (case.batch, noise))
    native = plugins.backend(backend).arrays(model, draws)
    got = np.asarray(model.encode(columns, "law_shifted", native, state))
    same_values({"the latent": got}, {"the latent": whole[:, 1:]})


def _may_shift(e: Expr) -> bool:
    return (
        e.axes[:2] == ("batch", "time")
        and e.type.dtype == "float"
        and not e.loops()
        and is_per_frame(e)
        and not any(i.kind == "leaf" and i.attrs[0] == "label" for i in postorder(e))
        and any(i.kind == "leaf" and i.axes[:2] == ("batch", "time") for i in postorder(e))
    )


@law(
    "precision costs what it should",
    "against float64, losses err by little in float32, and in bfloat16 stay finite and in range",
    needs=("float64", "bfloat16"),
    share=0.5,
)
def B16(spec: Any, backend: str, seed: int = 0) -> None:
    case = Case.one_of(spec, seed)
    found = {}
    for dtype in ("float64", "float32", "bfloat16"):
        model = compiled(case, backend, dtype)
        out = plugins.backend(backend).loss_gradients(model, *inputs(model, case), case.step)
        found[dtype] = {n: np.asarray(v, np.float64) for n, v in out.losses.items()}
    exact = found["float64"]
    same_values(found["float32"], exact, 1e-3)
    for name, value in found["bfloat16"].items():
        away = abs(value - exact[name]) / (1.0 + abs(exact[name]))
        holds(
            np.isfinite(value) and away < 0.5,
            f"{name} in bfloat16: expected near {exact[name]}, got {value}",
        )
    equal(sorted(found["bfloat16"]), sorted(exact), "the losses in bfloat16")
