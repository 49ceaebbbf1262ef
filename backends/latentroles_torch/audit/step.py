"""`routes` and `check`: what the losses of one training step reach."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from latentroles.audit import Expected, Observed, judge
from latentroles.audit.names import named_apart, targets_of
from latentroles.routes.table import UNCONNECTED, Cell, RouteTable, require_column
from latentroles.rules import Report

from .arguments import (
    latents_of,
    losses_of,
    members_of,
    memory_of,
    optimisers_given,
    optimisers_of,
    parameters_held,
    parameters_of,
    require_content,
)
from .graph import GradientGraph

Module: TypeAlias = nn.Module | Tensor | Iterable[Any] | Mapping[str, Any]
Modules: TypeAlias = Mapping[str, Module] | nn.Module
Optimizers: TypeAlias = Mapping[
    str, torch.optim.Optimizer | tuple[torch.optim.Optimizer, Collection[str]]
]
NAME = "training step"


class TracedRow:
    """The routes of one loss, read off the autograd graph; a path is worked out when asked for.

    A module that is reached in part is live, and its cell says how many of its parameters are.

    Attributes:
        reached: the `id` of every tensor that accumulates gradient of the loss.
    """

    def __init__(self, loss: str, traced: Traced):
        self.loss, self._traced = loss, traced
        self.reached = traced.graph.reached(loss)
        self._counts = {
            module: sum(id(p) in self.reached for p in own.values())
            for module, own in traced.parameters.items()
        }
        self.modules = frozenset(module for module, count in self._counts.items() if count)
        self.latents = traced.graph.latents(loss)

    def __getitem__(self, name: str) -> Cell:
        if name in self.modules:
            whole = len(self._traced.parameters[name])
            return Cell("live", parameters=(self._counts[name], whole))
        if name in self.latents:
            return Cell("live")
        require_column(name, self._traced.columns, self.loss)
        return Cell("frozen") if name in self._traced.frozen_modules else UNCONNECTED

    def path(self, name: str) -> tuple[str, ...]:
        """What a live route passes: modules whose parameters it meets, and marked latents."""
        if name not in self.modules and name not in self.latents:
            require_column(name, self._traced.columns, self.loss)
            return ()
        return self._traced.graph.path(self.loss, name, self._traced.owners)


class Traced:
    """The losses of one step with the graph below them.

    Args:
        parameters: {module: {path: parameter}}.
    """

    def __init__(
        self,
        losses: Mapping[str, Tensor],
        parameters: Mapping[str, Mapping[str, Tensor]],
        latents: Mapping[str, Tensor],
    ):
        self.parameters = parameters
        self.columns = (*parameters, *latents)
        self.graph = GradientGraph(losses, latents)
        self.rows = [TracedRow(loss, self) for loss in losses]
        self.table = RouteTable(
            self.rows,
            modules=parameters,
            latents=latents,
            name=NAME,
        )

    @cached_property
    def owners(self) -> dict[int, list[str]]:
        """{`id` of a parameter: the modules that have it}."""
        return owners_of(self.parameters)

    @cached_property
    def frozen_modules(self) -> frozenset[str]:
        """The modules none of whose parameters takes a gradient."""
        return frozenset(
            module
            for module, own in self.parameters.items()
            if not any(p.requires_grad for p in own.values())
        )


def owners_of(parameters: Mapping[str, Mapping[str, Tensor]]) -> dict[int, list[str]]:
    """{`id` of a parameter: the modules that have it}."""
    owners: dict[int, list[str]] = {}
    for module, own in parameters.items():
        for parameter in own.values():
            owners.setdefault(id(parameter), []).append(module)
    return owners


def observed(
    table: RouteTable,
    parameters: Mapping[str, Mapping[str, Tensor]],
    held: Iterable[Tensor] = (),
    frozen: Collection[str] = (),
    **seen: Any,
) -> Observed:
    """What was seen of these parameters, in the terms of the judgement.

    Args:
        held: the parameters that optimisers hold.
        frozen: modules of which nothing is differentiated, beside those that say so themselves.
    """
    every = [p for own in parameters.values() for p in own.values()]
    return Observed(
        table,
        {module: {path: id(p) for path, p in own.items()} for module, own in parameters.items()},
        frozen=frozenset(id(p) for p in (*every, *held) if not p.requires_grad)
        | {id(p) for module in frozen for p in parameters[module].values()},
        memory={id(p): memory_of(p) for p in every},
        **seen,
    )


def routes(
    losses: Mapping[str, Tensor],
    modules: Modules,
    latents: Mapping[str, Tensor] | None = None,
) -> RouteTable:
    """Which loss updates which module, read off the autograd graph of the losses themselves.

    No backward pass is run and nothing is changed: call it before or after `backward()`, which
    frees buffers and leaves the graph. It costs less than a forward pass.

    Args:
        losses: {name: the scalar that is differentiated}.
        modules: {name: an `nn.Module`, a parameter, or an iterable or dict of these}; or one
            `nn.Module` (an `nn.ModuleDict` too), whose children and own parameters are then the
            modules, under the names that they have there. One whose parameters all have
            `requires_grad=False` when this is called reads "frozen".
        latents: {name: the very tensor that the losses read}: a copy of it is another tensor.

    Returns:
        A table: `table["actor"].modules`, `table["actor"].path("encoder")`; prints as a table.

    Raises:
        AuditError: a loss without a graph, a module without parameters, a latent that is no
            tensor, a reentrant checkpoint, or a name that stands twice.
    """
    return _traced(losses, modules, latents).table


def check(
    losses: Mapping[str, Tensor],
    modules: Modules,
    latents: Mapping[str, Tensor] | None = None,
    *,
    optimizers: Optimizers | None = None,
    targets: Mapping[str, str] | None = None,
    expected: Expected | None = None,
) -> Report:
    """Judges the routes of a training step, and who holds the parameters at their ends.

    Args:
        losses, modules, latents: as in `routes`. Name every loss that is stepped.
        optimizers: {name: optimiser}. One that is named like a loss applies that loss's gradient;
            `{"world": (optimizer, ["recon", "kl"])}` lists them; a single one applies all.
        targets: {"teacher": "student"}: modules that move only as copies of another.
        expected: {loss: the modules that it should update}, a RouteTable, or the path of one. With
            `optimizers=`, what a loss updates is what the optimisers of its own hold: a route into
            a module that others hold is no unexpected-route but a stray-gradient.

    Returns:
        A Report: `.findings`, `.clean`, `.ok`, `.routes`; prints every finding.

    Raises:
        AuditError: as in `routes`, and for names that do not exist.
    """
    traced, given = _traced(losses, modules, latents), optimisers_given(optimizers)
    seen = observed(
        traced.table,
        traced.parameters,
        parameters_held(given),
        reached={row.loss: row.reached for row in traced.rows},
        optimisers=optimisers_of(given, traced.table),
        targets=targets_of(targets, traced.parameters),
    )
    return judge(seen, expected)


def _traced(losses: object, modules: object, latents: object) -> Traced:
    found, marked = losses_of(losses), latents_of(latents)
    parameters = {name: parameters_of(members) for name, members in members_of(modules).items()}
    require_content(parameters, "parameters")
    named_apart(modules=parameters, latents=marked)
    return Traced(found, parameters, marked)
