"""Comparisons, which raise AssertionError with what was expected and what came."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...spec.spec import Spec
from ..reference import Results
from .along import comparable
from .case import Gradients

# By how much equal numbers may differ: values relative to themselves and to 1, gradients relative
# to their largest entry in a module.
VALUE = {"float64": 1e-10, "float32": 1e-4}
GRADIENT = {"float64": 1e-8, "float32": 1e-3}


def holds(truth: object, message: str) -> None:
    """Raises AssertionError unless `truth`. An `assert` would vanish under `python -O`."""
    __tracebackhide__ = True
    if not truth:
        raise AssertionError(message)


def equal(got: Any, want: Any, what: str) -> None:
    """Two plain values are the same."""
    __tracebackhide__ = True
    holds(got == want, f"{what}: expected {want!r}, got {got!r}")


def same_bits(got: Mapping[str, Any], want: Mapping[str, Any], what: str = "") -> None:
    """Equal names, equal arrays to the last bit."""
    __tracebackhide__ = True
    equal(sorted(got), sorted(want), f"the names {what}")
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=f"{what} {name}")


def same_values(
    got: Mapping[str, Any], want: Mapping[str, Any], tolerance: float | None = None
) -> None:
    """B1: equal names, equal numbers."""
    __tracebackhide__ = True
    equal(sorted(got), sorted(want), "the names of the values")
    for name in want:
        near = tolerance or _tolerance(VALUE, got[name], want[name])
        np.testing.assert_allclose(
            got[name], want[name], rtol=near, atol=near, err_msg=f"the value of {name}"
        )


def same_gradients(
    got: Gradients, want: Gradients, what: str = "", tolerance: float | None = None
) -> None:
    """B2: equal gradients in the modules of `want`; along directions where one has only those."""
    __tracebackhide__ = True
    for name in want:
        mine, theirs = comparable(name, got[name], want[name])
        largest = max((np.abs(a).max(initial=0.0) for a in theirs.values()), default=0.0)
        for path, array in theirs.items():
            near = tolerance or _tolerance(GRADIENT, mine[path], array)
            np.testing.assert_allclose(
                mine[path],
                array,
                rtol=0,
                atol=near * max(largest, 1e-6),
                err_msg=f"the gradient {what} in {name}/{path}",
            )


def same_results(got: Results, want: Results) -> None:
    """B1, B2: two steps are the same; latents are compared where both give them."""
    __tracebackhide__ = True
    same_values(got.losses, want.losses)
    same_values({"total": got.total}, {"total": want.total})
    same_values(got.state, want.state)
    both = set(got.latents) & set(want.latents)
    same_values({n: got.latents[n] for n in both}, {n: want.latents[n] for n in both})
    for loss, gradients in want.gradients.items():
        known = {m: arrays for m, arrays in gradients.items() if m in got.gradients[loss]}
        same_gradients(got.gradients[loss], known, f"of {loss}")


def moved(gradients: Gradients) -> set[str]:
    """The modules in which a gradient is not exactly zero."""
    return {m for m, arrays in gradients.items() if any(np.any(a) for a in arrays.values())}


def only_declared_routes(gradients: Mapping[str, Gradients], spec: Spec) -> None:
    """S1, B3: where the table shows no route the gradient is exactly zero."""
    __tracebackhide__ = True
    from ...routes import routes

    table = routes(spec)
    for loss, found in gradients.items():
        for name in sorted(moved(found) - table[loss].modules):
            raise AssertionError(
                f"the table shows no route from {loss} to {name}: expected a gradient that is "
                f"exactly zero, got {found[name]}"
            )


def _tolerance(table: Mapping[str, float], *arrays: Any) -> float:
    """That of the coarser type; numbers of Python count as float64."""
    return max(table.get(str(np.asarray(a).dtype), table["float64"]) for a in arrays)
