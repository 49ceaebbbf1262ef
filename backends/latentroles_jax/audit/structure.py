"""The routes of a program, from the loss function to the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from latentroles.audit.names import named_apart
from latentroles.routes.table import Cell, KnownRow, RouteTable

from .graph import STOP_GRADIENT, Graph, Readers
from .jaxpr import Walk, is_differentiable
from .program import Parameter, Program


@dataclass(frozen=True)
class Structure:
    """What the program of a loss function says.

    Args:
        table: its routes.
        reached: {loss: the parameters that its gradient flows into}.
        frozen: the parameters that go into a `stop_gradient` and nowhere else.
        trained: the latents whose gradient goes on into parameters. One that was marked behind its
            stop is read by the losses, and moves nothing.
    """

    table: RouteTable
    reached: Mapping[str, frozenset[Parameter]]
    frozen: frozenset[Parameter]
    trained: frozenset[str]


def structure(program: Program) -> Structure:
    """The routes of a program, into modules, latents, and each of the modules' parameters."""
    traced = program.traced()
    graph, leaves, inputs = Graph(), {}, []
    numbers = {name: i for i, name in enumerate(program.parameters, start=1)}
    for parameter, variable in zip(program.inputs(), traced.jaxpr.invars, strict=True):
        differentiable = is_differentiable(variable.aval)
        if parameter is None:
            inputs.append(graph.node(differentiable))
        else:
            inputs.append(graph.node(differentiable, owner=numbers[parameter.module]))
            leaves[inputs[-1]] = parameter
    outputs = Walk(graph).program(traced, inputs)
    reader = Reader(graph, list(program.parameters), leaves, outputs)
    rows, reached = [], {}
    for loss, node in zip(program.losses, outputs, strict=True):
        before = graph.reach(node)
        rows.append(reader.row(loss, node, before))
        reached[loss] = frozenset(leaves[n] for n in before if n in leaves)
    table = RouteTable(
        rows, modules=reader.modules, latents=reader.latents, name=_name(program.loss_fn)
    )
    trained = frozenset(
        name
        for name, nodes in reader.latents.items()
        if any(not leaves.keys().isdisjoint(graph.reach(node)) for node in nodes)
    )
    return Structure(table, reached, reader.frozen, trained)


class Reader:
    """Reads the rows of a table off a graph.

    Args:
        modules: their names; the owner 1 of the graph is the first.
        leaves: the parameter that each input node is.
        results: the nodes of the losses.
    """

    def __init__(
        self,
        graph: Graph,
        modules: list[str],
        leaves: Mapping[int, Parameter],
        results: Iterable[int],
    ):
        self.graph, self.modules = graph, modules
        own: dict[str, list[int]] = {name: [] for name in modules}
        for node, parameter in leaves.items():
            own[parameter.module].append(node)
        self.latents: dict[str, list[int]] = {}
        for node, name in graph.names.items():
            self.latents.setdefault(name, []).append(node)
        named_apart(modules=own, latents=self.latents)
        self._nodes = {**own, **self.latents}
        readers = Readers(graph, results)
        self._exits = {name: readers.exits(nodes) for name, nodes in self._nodes.items()}
        self.frozen = frozenset(leaf for node, leaf in leaves.items() if readers.frozen(node))
        self._frozen = {
            name for name, nodes in own.items() if all(readers.frozen(n) for n in nodes)
        }

    def row(self, loss: str, output: int, before: Mapping[int, int]) -> KnownRow:
        """The routes of a loss.

        Args:
            output: its node. before: what its gradient flows into, as of `Graph.reach`.
        """
        below = self.graph.depends(output)
        cells, paths = {}, {}
        for name, nodes in self._nodes.items():
            there = [node for node in nodes if node in before]
            if there:
                counted = (len(there), len(nodes)) if name in self.modules else None
                cells[name] = Cell("live", parameters=counted)
                paths[name] = self._path(loss, name, there[0], before)
            elif name in self._frozen:
                cells[name] = Cell("frozen")
            elif not below.isdisjoint(nodes):
                ends = [(node, stop) for behind, node, stop in self._exits[name] if behind in below]
                written = [(node, stop) for node, stop in ends if not stop.by_nature]
                if not any(stop.what == STOP_GRADIENT for _, stop in written):
                    written = ends
                said = [stop.said(self._name_near(node)) for node, stop in written]
                cells[name] = Cell("stopped", _once(said))
        return KnownRow(loss, cells, modules=self.modules, latents=self.latents, paths=paths)

    def _path(self, loss: str, name: str, node: int, before: Mapping[int, int]) -> tuple[str, ...]:
        """From the loss to a node: the latents and modules that are passed, and its name."""
        passed = [name]
        while (following := before[node]) != node:
            node = following
            passed += self._names_at(node)
        return (loss, *reversed(_once(passed)))

    def _names_at(self, node: int) -> list[str]:
        """The latent that a node is, and the modules whose parameters it meets."""
        latent = [self.graph.names[node]] if node in self.graph.names else []
        return latent + [self.modules[owner - 1] for owner in self.graph.applied(node)]

    def _name_near(self, start: int) -> str:
        """The first name on the way from a node into what its gradient flows into, or ""."""
        for node, _ in self.graph.nearest(start):
            owner = self.graph.owner[node]
            names = self._names_at(node) + ([self.modules[owner - 1]] if owner > 0 else [])
            if names:
                return names[0]
        return ""


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _name(loss_fn: Any) -> str:
    name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    return "loss function" if name == "<lambda>" else name
