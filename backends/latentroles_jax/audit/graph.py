"""A program as a graph of dependence: what each value is computed from, and where gradient ends."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

CONSTANT, MIXED = 0, -1
STOP_GRADIENT, NOT_DIFFERENTIABLE = "stop_gradient", "not differentiable"
_LIBRARIES = ("jax", "jaxlib", "equinox", "optax", "flax", "haiku", "latentroles_jax")


@dataclass(frozen=True, eq=False)
class Stop:
    """Why gradient does not pass an edge.

    Args:
        what: such as "stop_gradient", or "not differentiable: floor".
        traceback: of the operation, with `frames`; None where JAX kept none.
    """

    what: str
    traceback: Any = None

    @property
    def by_nature(self) -> bool:
        """Whether nobody wrote it: an operation has no derivative, such as a comparison."""
        return self.what.startswith(NOT_DIFFERENTIABLE)

    def said(self, value: str) -> str:
        """Where it stands: on which value, by the nearest name, and in which of the functions."""
        function = users_function(self.traceback)
        places = (f" on {value}" if value else "", f" in {function}" if function else "")
        return self.what + "".join(places)


def is_library(file: str) -> bool:
    """Whether a file belongs to a library below the user's code, or to this package."""
    return file.startswith(_library_folders())


@cache
def _library_folders() -> tuple[str, ...]:
    files = [getattr(sys.modules.get(name), "__file__", None) for name in _LIBRARIES]
    return tuple(f"{Path(file).parent}{os.sep}" for file in files if file)


def users_function(traceback: Any) -> str:
    """The innermost function of a traceback that belongs to no library, or ""."""
    for frame in getattr(traceback, "frames", ()):
        if not is_library(frame.file_name):
            names = [part for part in frame.function_name.split(".") if part != "<locals>"]
            return "" if names[-1] == "<module>" else names[-1]
    return ""


@dataclass
class Graph:
    """Nodes are numbers; edges lead from a value to what it is computed from.

    Attributes:
        differentiable: of each node, whether its values can carry gradient.
        owner: of each node, the number of the module of whose parameters alone it is computed
            (counted from 1), `CONSTANT` for none at all, `MIXED` for anything else.
        live: of each node, the nodes that its gradient flows into.
        dead: of each node, what it depends on in value only, and the stop; None where there was no
            gradient to stop, as for an index.
        names: what a path calls a node: a marked latent.
    """

    differentiable: list[bool] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    live: list[list[int]] = field(default_factory=list)
    dead: list[list[tuple[int, Stop | None]]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def node(self, differentiable: bool, owner: int = MIXED) -> int:
        self.differentiable.append(differentiable)
        self.owner.append(owner)
        self.live.append([])
        self.dead.append([])
        return len(self.owner) - 1

    def join(self, sources: Iterable[int]) -> int:
        """The owner of what is computed from all of `sources`."""
        joined = CONSTANT
        for owner in (self.owner[s] for s in sources):
            if owner == MIXED or (joined not in (CONSTANT, owner) and owner != CONSTANT):
                return MIXED
            joined = owner or joined
        return joined

    def edge(self, node: int, source: int, stop: Stop | None = None) -> None:
        """An edge that gradient passes, unless a stop stands on it or `source` has no gradient."""
        if not self.differentiable[source]:
            self.dead[node].append((source, None))
        elif stop is not None:
            self.dead[node].append((source, stop))
        else:
            self.live[node].append(source)

    def nearest(self, start: int) -> Iterator[tuple[int, int]]:
        """What gradient from `start` flows into, nearest first: (node, the node before it)."""
        seen = {start}
        queue = deque([(start, start)])
        while queue:
            node, before = queue.popleft()
            yield node, before
            for source in self.live[node]:
                if source not in seen:
                    seen.add(source)
                    queue.append((source, node))

    def reach(self, start: int) -> dict[int, int]:
        """The same as a dict: node -> the node before it on a shortest path."""
        return dict(self.nearest(start))

    def depends(self, start: int) -> set[int]:
        """What the value of `start` is computed from, stops or not."""
        seen, stack = {start}, [start]
        while stack:
            node = stack.pop()
            for source in (*self.live[node], *(s for s, _ in self.dead[node])):
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        return seen

    def applied(self, node: int) -> Iterator[int]:
        """The modules whose parameters meet something else in this node."""
        if self.owner[node] == MIXED:
            met = (self.owner[s] for s in self.live[node])
            yield from dict.fromkeys(owner for owner in met if owner > 0)


class Readers:
    """The edges of a graph the other way round.

    Attributes:
        live: of each node, the nodes whose gradient flows into it.
        dead: of each node, those that read its value alone, and the stop or None.

    Args:
        results: the nodes that the program is for.
    """

    def __init__(self, graph: Graph, results: Iterable[int]):
        self._results = frozenset(results)
        self.live: list[list[int]] = [[] for _ in graph.live]
        self.dead: list[list[tuple[int, Stop | None]]] = [[] for _ in graph.live]
        for node, sources in enumerate(graph.live):
            for source in sources:
                self.live[source].append(node)
        for node, edges in enumerate(graph.dead):
            for source, stop in edges:
                self.dead[source].append((node, stop))

    def frozen(self, node: int) -> bool:
        """Whether a node goes into stops that somebody wrote, and nowhere else."""
        stops = [stop for _, stop in self.dead[node]]
        written = all(stop is not None and stop.what == STOP_GRADIENT for stop in stops)
        return bool(stops) and written and not self.live[node]

    def exits(self, starts: Iterable[int]) -> list[tuple[int, int, Stop]]:
        """Where the ways from `starts` end for gradient: (the node behind, the one before, stop).

        A comparison whose result only chooses between values that gradient passes ends no way, as
        in a `where`, nor does a maximum that is stopped and taken away again, as in a softmax.
        """
        passed = set(starts)
        stack = list(passed)
        while stack:
            for reader in self.live[stack.pop()]:
                if reader not in passed:
                    passed.add(reader)
                    stack.append(reader)
        return [
            (behind, node, stop)
            for node in sorted(passed)
            for behind, stop in self.dead[node]
            if stop is not None and self._goes_on(behind, passed)
        ]

    def _goes_on(self, start: int, passed: set[int]) -> bool:
        """Whether a value gets to a result by a way that gradient does not pass as well."""
        seen, stack = {start}, [start]
        while stack:
            node = stack.pop()
            if node in self._results:
                return True
            for reader in (*self.live[node], *(reader for reader, _ in self.dead[node])):
                if reader not in passed and reader not in seen:
                    seen.add(reader)
                    stack.append(reader)
        return False
