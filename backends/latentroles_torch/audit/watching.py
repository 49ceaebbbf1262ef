"""`watch`: runs a few of the user's own training steps, and says what moved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

import torch
from torch import Tensor

from latentroles.arguments import integer
from latentroles.audit import StepRecord, WatchReport, judge_steps
from latentroles.audit.names import received, require_call, targets_of
from latentroles.errors import AuditError, user_line
from latentroles.routes.table import Cell, KnownRow, RouteTable, Row

from .arguments import (
    Members,
    buffers_of,
    members_of,
    optimisers_given,
    optimisers_of,
    parameters_held,
    parameters_of,
    require_content,
    require_loss,
)
from .gradients import Gradients
from .step import NAME, Modules, Optimizers, Traced, TracedRow, observed, owners_of

Routes: TypeAlias = RouteTable | Callable[[], RouteTable]


def watch(
    step: Callable[[], Any],
    modules: Modules,
    *,
    steps: int = 5,
    optimizers: Optimizers | None = None,
    targets: Mapping[str, str] | None = None,
    routes: Routes | None = None,
) -> WatchReport:
    """Runs `step()` a few times as it is, and compares what moved with what the losses reach.

    Parameters and buffers are compared bit by bit before and after each step. What the steps do to
    weights, optimisers and generators stays done. Hooks on parameters and optimisers see the
    gradients that arrive and are applied, and are gone afterwards.

    Args:
        step: one whole training step: forward, backward, optimisers, targets. It returns
            {name: loss tensor}, every loss that it stepped, or one loss tensor; the graph is read
            after `backward()`. Of numbers or None no route is known: a warning says so, unless
            `routes=` gives them.
        modules: as in `routes`.
        steps: how many steps to run. A loss is called flat where all of them were zero.
        optimizers: as in `check`: finds steps that apply the gradient of another one's loss.
        targets: {"teacher": "student"}: modules that move only as copies of another.
        routes: for steps that return numbers: the table of every loss that is stepped, or a
            function without arguments that reads it before each step. A module that is not in the
            table is one that the step does not differentiate. Which optimiser applied whose
            gradient needs a table of `audit.routes` itself: one from a file knows no parameters.

    Returns:
        A WatchReport: a Report with `.moved`, {module: in how many steps it moved}.

    Raises:
        AuditError: an argument or what `step` returned is of another kind. What `step` itself
            raises is passed on.
    """
    if not callable(step):
        raise AuditError(
            f"{user_line()}watch() takes a function that runs one training step, received "
            f"{type(step).__name__}. Fix: `audit.watch(lambda: train_step(batch), modules)`."
        )
    require_call(step, call="step()")
    count = integer("watch()", "steps", steps, "training steps to run")
    members = members_of(modules)
    contents = {name: parameters_of(own) | buffers_of(own) for name, own in members.items()}
    require_content(contents, "parameters and no buffers")
    copies = targets_of(targets, members)
    given = optimisers_given(optimizers)
    known, gradients = _Routes(members), Gradients({name: own for name, (own, _) in given.items()})
    records = [_watched(step, members, routes, known, gradients) for _ in range(count)]
    seen = observed(
        known.table(),
        {name: parameters_of(own) for name, own in members.items()},
        parameters_held(given),
        known.outside,
        reached={},
        optimisers=optimisers_of(given, known.losses),
        targets=copies,
    )
    return judge_steps(seen, records)


class _Routes:
    """Every route that any of the steps had; keeps no graph.

    Attributes:
        losses: those that an optimiser may be named like.
        outside: the modules that no table of the user has.
    """

    def __init__(self, modules: Collection[str]) -> None:
        self._modules = tuple(modules)
        self._cells: dict[str, dict[str, Cell]] = {}
        self._paths: dict[str, dict[str, tuple[str, ...]]] = {}
        self.losses: dict[str, None] = {}
        self.outside: set[str] = set()

    def add(self, row: Row) -> frozenset[str]:
        """Adds one loss of a step; returns the modules that it reaches, of those watched."""
        cells = self._cells.setdefault(row.loss, {})
        paths = self._paths.setdefault(row.loss, {})
        modules = row.modules & frozenset(self._modules)
        for module in modules - cells.keys():
            cells[module], paths[module] = row[module], row.path(module)
        self.losses[row.loss] = None
        return modules

    def table(self) -> RouteTable:
        rows = [
            KnownRow(loss, cells, modules=self._modules, paths=self._paths[loss])
            for loss, cells in self._cells.items()
        ]
        return RouteTable(rows, modules=self._modules, name=NAME)


def _watched(
    step: Callable[[], Any],
    members: Mapping[str, Members],
    routes: object,
    known: _Routes,
    gradients: Gradients,
) -> StepRecord:
    given = _given(routes)
    before = _snapshot(members)
    parameters = {name: parameters_of(own) for name, own in members.items()}
    with gradients.watching([p for own in parameters.values() for p in own.values()]):
        found = _returned(step())
    moved = _moved(before, _snapshot(members))
    parameters = {name: parameters_of(own) for name, own in members.items()}
    traced = Traced(found.losses, parameters, {})
    rows: dict[str, Row] = {row.loss: row for row in traced.rows}
    if given is not None:
        rows = {loss: given[loss] for loss in given} | rows
        known.outside = set(members) - {*given.modules, *traced.table.reached}
    elif found.named:
        known.losses |= dict.fromkeys(found.numbers)
    reached = {loss: row.reached for loss, row in rows.items() if isinstance(row, TracedRow)}
    owners = owners_of(parameters)
    return StepRecord(
        moved,
        {loss: known.add(row) for loss, row in rows.items()},
        given is not None or (bool(found.losses) and not found.numbers),
        tuple(found.numbers),
        found.values,
        gradients.zero_in(reached),
        frozenset(
            (loss, optimiser, module)
            for loss, optimiser, parameter in gradients.applied_of(reached)
            for module in owners.get(parameter, ())
        ),
    )


def _given(routes: object) -> RouteTable | None:
    """The user's table before a step."""
    table = routes() if callable(routes) else routes
    if table is not None and not isinstance(table, RouteTable):
        raise AuditError(
            f"{user_line()}routes= is a RouteTable, or a function without arguments that returns "
            f"one, received {received(table)}. Fix: routes=audit.routes(losses, modules)."
        )
    return table


@dataclass(frozen=True)
class _Returned:
    """What a step gave.

    Args:
        losses: those with a graph. numbers: the values of the others. named: by the user.
    """

    losses: dict[str, Tensor]
    numbers: dict[str, float]
    named: bool

    @property
    def values(self) -> dict[str, float]:
        return {**self.numbers, **{name: float(t.detach()) for name, t in self.losses.items()}}


def _returned(returned: object) -> _Returned:
    named = isinstance(returned, Mapping)
    found = returned if isinstance(returned, Mapping) else {"loss": returned}
    losses: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    if returned is None:
        found = {}
    for name, loss in found.items():
        if isinstance(loss, Tensor) and loss.requires_grad:
            require_loss(str(name), loss)
            losses[str(name)] = loss
        elif isinstance(loss, Real) or (isinstance(loss, Tensor) and loss.numel() == 1):
            numbers[str(name)] = float(loss)
        else:
            raise AuditError(
                f"{user_line()}the watched step must return {{name: loss}}, one loss, a number or "
                f"None, received {_described(loss)}. Fix: end it with "
                "`return {'actor': actor_loss, ...}`, the tensors that were differentiated."
            )
    return _Returned(losses, numbers, named)


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return type(value).__name__


_Snapshot: TypeAlias = dict[str, dict[str, dict[str, Tensor]]]


def _snapshot(members: Mapping[str, Members]) -> _Snapshot:
    """{module: {"parameters": {path: copy}, "buffers": {path: copy}}}."""
    return {
        name: {
            kind: {path: t.detach().clone() for path, t in tensors(own).items()}
            for kind, tensors in (("parameters", parameters_of), ("buffers", buffers_of))
        }
        for name, own in members.items()
    }


def _moved(before: _Snapshot, after: _Snapshot) -> dict[str, tuple[str, ...]]:
    moved = {}
    for name, kinds in before.items():
        changed = tuple(
            kind
            for kind, old in kinds.items()
            if old.keys() != after[name][kind].keys()
            or not all(_same_bits(t, after[name][kind][path]) for path, t in old.items())
        )
        if changed:
            moved[name] = changed
    return moved


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal in every bit: a NaN that stays is no movement."""
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
