"""B11, B17, B20: a step passed through what its framework does to functions is the same step."""

from typing import Any

import numpy as np

from ... import plugins
from .case import Case, Gradients, compiled, inputs
from .checks import same_gradients, same_values
from .law import law

STACKED = 2


def _transformed(model: Any, how: str, given: Any, step: int) -> tuple[dict, Gradients]:
    return plugins.backend(model.backend).transformed(model, how, *given, step)


def _same_under(how: str, against: str, spec: Any, backend: str, seed: int) -> None:
    case = Case.one_of(spec, seed)
    model = compiled(case, backend)
    given = inputs(model, case)
    want, gradients = _transformed(model, against, given, case.step)
    got, found = _transformed(model, how, given, case.step)
    same_values(got, want)
    same_gradients(found, gradients, f"of the total under {how}")


@law(
    "compiling changes nothing",
    "a step through the framework's compiler has the losses and the gradient of the eager step",
    needs=("gradients", "compile"),
    share=0.04,
)
def B11(spec: Any, backend: str, seed: int = 0) -> None:
    _same_under("compile", "eager", spec, backend, seed)


@law(
    "vmap is a loop",
    "a step vectorised over several batches has the losses of each, and the sum of their gradients",
    needs=("gradients", "vmap"),
)
def B17(spec: Any, backend: str, seed: int = 0) -> None:
    cases = [Case.one_of(spec, seed)]
    cases += [Case.of(spec, seed + i, cases[0].phase) for i in range(1, STACKED)]
    model = compiled(cases[0], backend)
    chosen = plugins.backend(backend)
    numpy = [
        (c.batch, {n: np.asarray(a) for n, a in inputs(model, c)[1].items()}, c.state())
        for c in cases
    ]
    batch, *others = (
        {n: np.stack([arrays[i][n] for arrays in numpy]) for n in numpy[0][i]} for i in range(3)
    )
    given = (batch, *(chosen.arrays(model, named) for named in others))
    got, found = _transformed(model, "vmap", given, cases[0].step)
    apart = [_transformed(model, "eager", inputs(model, c), c.step) for c in cases]
    same_values(got, {n: np.stack([values[n] for values, _ in apart]) for n in got})
    summed = {
        m: {path: np.sum([gradients[m][path] for _, gradients in apart], axis=0) for path in arrays}
        for m, arrays in found.items()
    }
    same_gradients(found, summed, "of the sum of the totals")


@law(
    "stops survive rematerialisation",
    "a compiled step whose values are computed again in its backward pass has the same gradient",
    needs=("gradients", "remat"),
    share=0.04,
)
def B20(spec: Any, backend: str, seed: int = 0) -> None:
    _same_under("remat", "eager", spec, backend, seed)
