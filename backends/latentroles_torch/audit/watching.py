"""`watch`: runs a few of the user's own training steps, and says what moved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from numbers import Real
from typing import Any, TypeAlias

import torch
from torch import Tensor

from latentroles.arguments import integer
from latentroles.audit import StepRecord, WatchReport, judge_steps
from latentroles.audit.names import targets_of
from latentroles.errors import AuditError, user_line
from latentroles.routes.table import Cell, KnownRow, RouteTable

from .arguments import (
    Members,
    buffers_of,
    members_of,
    optimisers_given,
    optimisers_of,
    parameters_of,
    require_content,
    require_loss,
)
from .gradients import Gradients
from .step import NAME, Module, Optimizers, Traced, observed


def watch(
    step: Callable[[], Any],
    modules: Mapping[str, Module],
    *,
    steps: int = 5,
    optimizers: Optimizers | None = None,
    targets: Mapping[str, str] | None = None,
) -> WatchReport:
    """Runs `step()` a few times as it is, and compares what moved with what the losses reach.

    Parameters and buffers are compared bit by bit before and after each step. What the steps do to
    weights, optimisers and generators stays done. Hooks on parameters and optimisers see the
    gradients that arrive and are applied, and are gone afterwards.

    Args:
        step: one whole training step: forward, backward, optimisers, targets. It returns
            {name: loss tensor}, every loss that it stepped, or one loss tensor; the graph is read
            after `backward()`. Numbers or None are accepted, and no route is known of them.
        modules: {name: an `nn.Module`, a parameter, or an iterable or dict of these}.
        steps: how many steps to run. A loss is called flat where all of them were zero.
        optimizers: as in `check`: finds steps that apply the gradient of another one's loss.
        targets: {"teacher": "student"}: modules that move only as copies of another.

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
    count = integer("watch()", "steps", steps, "training steps to run")
    members = members_of(modules)
    contents = {name: parameters_of(own) | buffers_of(own) for name, own in members.items()}
    require_content(contents, "parameters and no buffers")
    copies = targets_of(targets, members)
    given = optimisers_given(optimizers)
    known, gradients = _Routes(), Gradients({name: own for name, (own, _) in given.items()})
    records = [_watched(step, members, known, gradients) for _ in range(count)]
    table = known.table(tuple(members))
    losses = dict.fromkeys(loss for record in records for loss in record.values)
    seen = observed(
        table,
        {name: parameters_of(own) for name, own in members.items()},
        reached={},
        optimisers=optimisers_of(given, losses) if losses else {},
        targets=copies,
    )
    return judge_steps(seen, records)


class _Routes:
    """Every route that any of the steps had; keeps no graph."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, Cell]] = {}
        self._paths: dict[str, dict[str, tuple[str, ...]]] = {}

    def add(self, table: RouteTable) -> None:
        for loss, modules in table.live.items():
            cells = self._cells.setdefault(loss, {})
            paths = self._paths.setdefault(loss, {})
            for module in modules - cells.keys():
                cells[module], paths[module] = table[loss][module], table[loss].path(module)

    def table(self, modules: Collection[str]) -> RouteTable:
        rows = [
            KnownRow(loss, cells, modules=modules, paths=self._paths[loss])
            for loss, cells in self._cells.items()
        ]
        return RouteTable(rows, modules=modules, name=NAME)


def _watched(
    step: Callable[[], Any],
    members: Mapping[str, Members],
    known: _Routes,
    gradients: Gradients,
) -> StepRecord:
    before = _snapshot(members)
    with gradients.watching(_parameters(members)):
        losses, numbers = _losses(step())
    moved = _moved(before, _snapshot(members))
    values = {**numbers, **{name: float(loss.detach()) for name, loss in losses.items()}}
    if not losses:
        return StepRecord(moved, values=values)
    traced = Traced(losses, {name: parameters_of(own) for name, own in members.items()}, {})
    known.add(traced.table)
    reached = {loss: traced.graph.reached(loss) for loss in losses}
    return StepRecord(
        moved,
        traced.table.live,
        not numbers,
        values,
        gradients.zero_in(reached),
        frozenset(
            (loss, optimiser, module)
            for loss, optimiser, parameter in gradients.applied_of(reached)
            for module in traced.owners.get(parameter, ())
        ),
    )


def _parameters(members: Mapping[str, Members]) -> list[Tensor]:
    return [p for own in members.values() for p in parameters_of(own).values()]


def _losses(returned: object) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The losses with a graph, and those of which only the value is known."""
    if returned is None:
        return {}, {}
    found = returned if isinstance(returned, Mapping) else {"loss": returned}
    losses: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
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
    return losses, numbers


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
