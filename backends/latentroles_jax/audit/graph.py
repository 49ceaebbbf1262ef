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
STOP_GRADIENT = "stop_gradient"
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

    def __str__(self) -> str:
        function = users_function(self.traceback)
        return f"{self.what} in {function}" if function else self.what


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

    def reach(self, start: int) -> dict[int, int]:
        """What gradient from `start` flows into: node -> the node before it on a shortest path."""
        before = {start: start}
        queue = deque([start])
        while queue:
            node = queue.popleft()
            for source in self.live[node]:
                if source not in before:
                    before[source] = node
                    queue.append(source)
        return before

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

    def exits(self, starts: Iterable[int], readers: Readers) -> list[tuple[int, Stop]]:
        """Where gradient into `starts` is cut: (the node behind the stop, the stop)."""
        seen = set(starts)
        stack = list(seen)
        found = []
        while stack:
            node = stack.pop()
            found += readers.stops.get(node, ())
            for reader in readers.live.get(node, ()):
                if reader not in seen:
                    seen.add(reader)
                    stack.append(reader)
        return found

    def applied(self, node: int) -> Iterator[int]:
        """The modules whose parameters meet something else in this node."""
        if self.owner[node] == MIXED:
            met = (self.owner[s] for s in self.live[node])
            yield from dict.fromkeys(owner for owner in met if owner > 0)


class Readers:
    """The edges of a graph the other way round: who reads a node, live and behind a stop."""

    def __init__(self, graph: Graph):
        self.live: dict[int, list[int]] = {}
        self.stops: dict[int, list[tuple[int, Stop]]] = {}
        for node, sources in enumerate(graph.live):
            for source in sources:
                self.live.setdefault(source, []).append(node)
        for node, edges in enumerate(graph.dead):
            for source, stop in edges:
                if stop is not None:
                    self.stops.setdefault(source, []).append((node, stop))

    def frozen(self, node: int) -> bool:
        """Whether a node goes into stops that somebody wrote, and nowhere else."""
        stops = self.stops.get(node, ())
        written = all(stop.what == STOP_GRADIENT for _, stop in stops)
        return bool(stops) and written and node not in self.live
