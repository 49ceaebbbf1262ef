"""The second witness: gradients in numbers, which must lie within the routes of the program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentroles.errors import AuditError, user_line
from latentroles.routes.table import RouteTable
from latentroles.rules.finding import Finding, find

from .program import Parameter, Program

# How far each draw moves the parameters, in their own standard deviations. The first draw is what
# the user passed; the last moves far enough to leave the flat part of a clip or of free bits.
SPREADS = (0.0, 0.3, 1.0, 3.0)
_LEAST = 0.1  # of parameters that are all equal, such as zeros


@dataclass(frozen=True)
class Draw:
    """One evaluation.

    Args:
        values: {loss: its value}.
        reached: {loss: the parameters where its gradient is not exactly 0}.
    """

    values: Mapping[str, float]
    reached: Mapping[str, frozenset[Parameter]]


def draws(program: Program) -> list[Draw]:
    """The gradient of each loss alone, at the given parameters and at random ones.

    Raises:
        AuditError: there are shapes in place of arrays, or JAX cannot differentiate the function.
    """
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in program.leaves):
        raise AuditError(
            f"{user_line()}gradients in numbers need arrays, received jax.ShapeDtypeStruct. Fix: "
            "pass arrays, or numeric=False."
        )
    trained = {i: p for i, p in enumerate(program.inputs()) if p is not None}

    @jax.jit
    def evaluate(parameters: list[Any], leaves: list[Any]) -> tuple[list[Any], list[Any]]:
        def losses(parameters: list[Any]) -> list[Any]:
            given = list(leaves)
            for i, value in zip(trained, parameters, strict=True):
                given[i] = value
            return program(*given)

        values, pullback = jax.vjp(losses, parameters)

        def arrives(one: Any) -> list[Any]:
            (gradient,) = pullback([one[i].astype(v.dtype) for i, v in enumerate(values)])
            return [jnp.any(g != 0) for g in gradient]

        arrived = jax.lax.map(arrives, jnp.eye(len(values)))  # one program for all the losses
        return values, arrived

    random = np.random.default_rng(0)
    found = []
    for spread in SPREADS:
        try:
            parameters = [_moved(program.leaves[i], spread, random) for i in trained]
            values, arrived = jax.device_get(evaluate(parameters, program.leaves))
        except Exception as error:
            said = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise AuditError(
                f"{user_line()}JAX cannot differentiate the loss function "
                f"({type(error).__name__}: {said}). Fix: what it says, or numeric=False to read "
                "the routes alone."
            ) from error
        reached = {
            loss: frozenset(p for p, there in zip(trained.values(), row, strict=True) if there)
            for loss, row in zip(program.losses, zip(*arrived, strict=True), strict=True)
        }
        found.append(Draw(dict(zip(program.losses, map(float, values), strict=True)), reached))
    return found


def _moved(leaf: Any, spread: float, random: np.random.Generator) -> Any:
    if not spread:
        return leaf
    array = np.asarray(leaf)
    size = max(float(np.std(array.astype(np.complex128))), _LEAST)
    return (array + spread * size * random.standard_normal(array.shape)).astype(array.dtype)


def compared(table: RouteTable, found: Sequence[Draw]) -> Iterator[Finding]:
    """Where the two witnesses differ, and the losses that are flat in every draw."""
    for loss in table:
        structural = table[loss].modules
        numeric = {p.module for draw in found for p in draw.reached[loss]}
        for module in sorted(numeric - structural):
            yield find("hidden-route", loss=loss, subject=module)
        if not any(draw.values[loss] for draw in found):
            yield find("flat-loss", loss=loss, detail="was exactly 0", steps=str(len(found)))
        elif structural and not numeric:
            detail = "had a gradient of exactly 0"
            yield find("flat-loss", loss=loss, detail=detail, steps=str(len(found)))
        else:
            for module in (m for m in table.modules if m in structural - numeric):
                path = " <- ".join(table[loss].path(module))
                yield find("silent-route", loss=loss, subject=module, path=path)
