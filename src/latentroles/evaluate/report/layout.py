"""Where the parts of a model stand in a drawing: columns from inputs to losses.

The usual way to draw a flow by layers (Sugiyama, Tagawa and Toda, 1981): links that close a cycle
are set aside, a part stands one column to the right of the last that it reads, a link that passes
columns has a lane of its own in each of them, and the order within a column follows the
neighbours' mean, swept to and fro. What one part is read by shares its lanes.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

_SWEEPS = 8


class Lane(NamedTuple):
    """Where the links of `source` pass the column number `column`."""

    source: str
    column: int


Entry = str | Lane


def columns(parts: Mapping[str, str], links: Iterable[tuple[str, str]]) -> list[list[Entry]]:
    """Parts and lanes from left to right, and within each column from top to bottom.

    Args:
        parts: name -> kind; those of kind "loss" all stand in the last column, in their own order.
        links: (read, reader). One that leads back, or stays in its column, has no lanes.
    """
    losses = [name for name, kind in parts.items() if kind == "loss"]
    inner = [name for name in parts if name not in set(losses)]
    known = dict.fromkeys((a, b) for a, b in links if a in parts and b in parts)
    forward = _acyclic(inner, [(a, b) for a, b in known if a in inner and b in inner])
    layer = _layers(inner, forward)
    count = max(layer.values(), default=-1) + 1
    layer |= dict.fromkeys(losses, count)
    found: list[list[Entry]] = [[] for _ in range(count + bool(losses))]
    for name in [*inner, *losses]:
        found[layer[name]].append(name)
    hops: dict[tuple[Entry, Entry], None] = {}
    for read, reader in known:
        way = passed(read, reader, layer)
        for entry in way[1:-1]:
            if isinstance(entry, Lane) and entry not in found[entry.column]:
                found[entry.column].append(entry)
        hops |= dict.fromkeys(pairwise(way))
    return _ordered(found, list(hops), fixed=losses)


def passed(read: str, reader: str, layer: Mapping[str, int]) -> list[Entry]:
    """What a link passes: both ends, and the lanes between them."""
    between = range(layer[read] + 1, layer[reader])
    return [read, *(Lane(read, column) for column in between), reader]


def _acyclic(parts: list[str], links: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The links without those that lead back, as a search from the first parts on meets them."""
    readers: dict[str, list[str]] = {name: [] for name in parts}
    for read, reader in links:
        readers[read].append(reader)
    state: dict[str, str] = {}
    kept: list[tuple[str, str]] = []
    for root in parts:
        if root in state:
            continue
        state[root] = "open"
        stack = [(root, iter(readers[root]))]
        while stack:
            name, rest = stack[-1]
            reader = next(rest, None)
            if reader is None:
                state[name] = "done"
                stack.pop()
            elif state.get(reader) != "open":
                kept.append((name, reader))
                if reader not in state:
                    state[reader] = "open"
                    stack.append((reader, iter(readers[reader])))
    return kept


def _layers(parts: list[str], links: list[tuple[str, str]]) -> dict[str, int]:
    """The length of the longest way to each part."""
    layer = dict.fromkeys(parts, 0)
    for _ in parts:
        changed = False
        for read, reader in links:
            if layer[reader] <= layer[read]:
                layer[reader], changed = layer[read] + 1, True
        if not changed:
            break
    return layer


def _ordered(
    layers: list[list[Entry]], hops: list[tuple[Entry, Entry]], fixed: Collection[Entry]
) -> list[list[Entry]]:
    neighbours: dict[Entry, list[Entry]] = {entry: [] for column in layers for entry in column}
    for left, right in hops:
        neighbours[left].append(right)
        neighbours[right].append(left)

    def middle(entry: Entry, place: Mapping[Entry, float]) -> float:
        near = [place[other] for other in neighbours[entry]]
        return sum(near) / len(near) if near else place[entry]

    for _ in range(_SWEEPS):
        for i, column in enumerate(layers):
            # In parts of the column's height: columns of different lengths are compared.
            place = {n: (k + 0.5) / len(c) for c in layers for k, n in enumerate(c)}
            if not set(column) <= set(fixed):
                layers[i] = sorted(column, key=lambda entry: middle(entry, place))
    return layers
