"""A spec's routes and numbers on a backend, as reports and assertions for a test suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import integer
from ..routes import routes
from ..spec.spec import Spec, require_spec


@dataclass(frozen=True)
class StopReport:
    """The largest gradient of each loss in each module, beside the declared route.

    Args:
        declared: {loss: the modules that it updates}.
        largest: {loss: {module: the largest entry of its gradient in any draw}}.
        draws: how many weights and batches were drawn.
    """

    backend: str
    declared: Mapping[str, frozenset[str]]
    largest: Mapping[str, Mapping[str, float]]
    draws: int

    @property
    def leaks(self) -> tuple[tuple[str, str], ...]:
        """(loss, module) with a gradient and no route."""
        return tuple(
            (loss, module)
            for loss, row in self.largest.items()
            for module, size in row.items()
            if size and module not in self.declared[loss]
        )

    @property
    def silent(self) -> tuple[tuple[str, str], ...]:
        """(loss, module) with a route and a gradient of exactly zero in every draw."""
        return tuple(
            (loss, module)
            for loss, row in self.largest.items()
            for module, size in row.items()
            if not size and module in self.declared[loss]
        )

    def __str__(self) -> str:
        lines = [f"stop-gradients on {self.backend}, {self.draws} draws"]
        for loss, module in self.leaks:
            lines.append(
                f"  {loss} has no route into {module}, and a gradient there of up to "
                f"{self.largest[loss][module]:.3g}"
            )
        for loss, module in self.silent:
            lines.append(f"  {loss} has a route into {module}, and no gradient there in any draw")
        return "\n".join(lines if len(lines) > 1 else [*lines, "  every route and no other"])


def stop_gradient_report(spec: Spec, backend: str = "torch", *, draws: int = 2) -> StopReport:
    """Compiles a spec and compares the gradient of every loss with the declared routes.

    Args:
        draws: how many weights and batches are drawn. A dead unit may hide a route in one draw.
    """
    from .laws.case import Case, step_of

    require_spec("stop_gradient_report", spec)
    integer("stop_gradient_report()", "draws", draws, "weights and batches to draw")
    trainable = [name for name, m in spec.modules.items() if m.layer.parameters()]
    largest: dict[str, dict[str, float]] = {}
    for seed in range(draws):
        for case in Case.all_of(spec, seed):
            for loss, found in step_of(case, backend).gradients.items():
                row = largest.setdefault(loss, dict.fromkeys(trainable, 0.0))
                for module in trainable:
                    sizes = [float(np.abs(g).max()) for g in found[module].values() if g.size]
                    row[module] = max(row[module], *sizes)
    table = routes(spec)
    return StopReport(backend, {loss: table[loss].modules for loss in largest}, largest, draws)


def assert_stop_gradients(spec: Spec, backend: str = "torch", **arguments: Any) -> None:
    """Asserts that a compiled spec has a gradient just where it declares a route.

    Args:
        arguments: of `stop_gradient_report`.

    Raises:
        AssertionError: with every gradient that has no route, and every route without gradient.
    """
    __tracebackhide__ = True
    report = stop_gradient_report(spec, backend, **arguments)
    if report.leaks or report.silent:
        raise AssertionError(str(report))


def assert_backends_agree(
    spec: Spec, first: str = "torch", second: str = "jax", *, seed: int = 0
) -> None:
    """Asserts that two backends give a spec the same losses, latents, states and gradients.

    In float64; values to 1e-10 and gradients to 1e-8, relative to the largest entry.

    Raises:
        AssertionError: what differs, and by how much; with a script that repeats it.
    """
    __tracebackhide__ = True
    from .laws import B1, B2

    require_spec("assert_backends_agree", spec)
    B1(spec, first, seed, second)
    B2(spec, first, seed, second)
