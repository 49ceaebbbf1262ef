"""`routes` and `check`: what the losses of one training step reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from latentroles.audit import Expected, Observed, judge
from latentroles.audit.names import targets_of
from latentroles.routes.table import RouteTable
from latentroles.rules.finding import Finding, Report, find

from . import witness
from .arguments import Optimizers, optimisers_of
from .program import LossFunction, Program, identities_of
from .structure import Structure, structure


def routes(loss_fn: LossFunction, modules: Any, *args: Any) -> RouteTable:
    """Which loss updates which module, read off the program of a loss function.

    The function is traced (`jax.make_jaxpr`), never run, and no gradient is taken.

    Args:
        loss_fn: `loss_fn(modules, *args)` returns a dict of scalar losses, or (anything, the
            dict), as functions for `jax.value_and_grad(..., has_aux=True)` do.
        modules: {name: pytree}: parameter dicts, `eqx.Module`s, anything whose leaves are arrays;
            or one `eqx.Module`, dataclass or named tuple, whose fields that hold arrays are then
            the modules: `loss_fn` is given it as it is. They are what the step differentiates. A
            target network that it hands to `jax.grad` as another argument belongs in `args`: no
            gradient is taken there, stopped or not.
        args: the rest, such as a batch and a key. Arrays, or `jax.ShapeDtypeStruct`s in their
            place, here and in modules; whatever is no array stays as it is.

    Returns:
        A table: `table["actor"].modules`, `table["actor"].path("encoder")`; prints as a table. A
        route that is not live is "stopped", with the stops that end it, where the loss depends on
        the module in value, and "unconnected" where it does not. A module whose parameters go
        into `stop_gradient` and nowhere else is "frozen".

    Raises:
        AuditError: modules are no pytrees with arrays, or the function takes other arguments,
            returns no dict of floating point scalars, or cannot be traced.
    """
    return structure(Program(loss_fn, modules, args)).table


def check(
    loss_fn: LossFunction,
    modules: Any,
    *args: Any,
    optimizers: Optimizers | None = None,
    targets: Mapping[str, str] | None = None,
    expected: Expected | None = None,
    numeric: bool = True,
) -> Report:
    """Judges the routes of a loss function, and who moves the parameters at their ends.

    One array in two modules is no finding here: arrays do not change in place, and a target
    network that starts as `teacher = student` is right. `watch` sees the pairs that stay one.

    Args:
        loss_fn, modules, args: as of `routes`. Return every loss that is stepped.
        optimizers: what each optax transformation is initialised with, {name: modules}. The
            modules are a list of their names, {module: mask} with masks as `optax.masked` has
            them, or any pytree of the very arrays that `modules` holds, such as the result of
            `eqx.filter`. One that is named like a loss applies that loss's gradient, a single one
            applies all, and a pair lists them:

                adam = optax.adam(3e-4)
                state = adam.init(eqx.filter(model, eqx.is_inexact_array))
                audit.check(..., optimizers={"adam": eqx.filter(model, eqx.is_inexact_array)})
                audit.check(..., optimizers={
                    "actor": ["actor"],
                    "critics": (["q1", "q2"], ["td1", "td2"]),
                })

            Where losses are summed before `jax.grad`, each optimiser applies the gradient of all
            of them to what it holds, and is listed with all.

        targets: {"teacher": "student"}: modules that move only as copies of another; or
            {"goal": "z"}: marked latents that another is drawn to. No gradient may reach them.
        expected: {loss: the modules that it should update}, a RouteTable, or the path of one. With
            `optimizers=`, what a loss updates is what the optimisers of its own hold: a route into
            a module that others hold is no unexpected-route but a stray-gradient.
        numeric: whether to look at gradients in numbers as well. The gradient of each loss alone
            is compiled, and evaluated at the given parameters and at random ones; `args` stay as
            they are. One that the program has no path for is a hidden-route; a path on which none
            arrived in any draw, as through `x * 0`, a silent-route; a loss that is 0, or whose
            gradient is, in every draw, a flat-loss.

    Returns:
        A Report: `.findings`, `.clean`, `.ok`, `.routes`; prints every finding.

    Raises:
        AuditError: as in `routes`, for names that do not exist, and where JAX cannot differentiate
            the function.
    """
    program = Program(loss_fn, modules, args)
    found = structure(program)
    goals = targets_of(targets, dict.fromkeys(found.table.columns))
    seen = Observed(
        found.table,
        identities_of(program.parameters),
        found.reached,
        frozen=found.frozen,
        optimisers=optimisers_of(optimizers, program.modules, list(found.table)),
        targets={copy: source for copy, source in goals.items() if copy in program.parameters},
    )
    findings = [*judge(seen, expected), *_live_goals(found, goals)]
    if numeric:
        findings += witness.compared(found.table, witness.draws(program))
    return Report(found.table.name, findings, found.table)


def _live_goals(found: Structure, goals: Mapping[str, str]) -> Iterator[Finding]:
    """Latents that are declared as targets and trained by a loss."""
    for goal in sorted(found.trained & goals.keys()):
        for loss in found.table:
            if goal in found.table[loss].latents:
                path = " <- ".join(found.table[loss].path(goal))
                detail = f"its gradient flows into `{goal}`, the target of `{goals[goal]}`"
                yield find(
                    "target-live",
                    severity="error",
                    code=True,
                    loss=loss,
                    subject=goal,
                    path=path,
                    detail=detail,
                )
