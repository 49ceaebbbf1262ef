"""Specs rewritten as data: edges cut, losses merged, masks written out; and routes by hand.

An edge is (reader, place): operand number `place` of node number `reader` in `spec.to_json()`.
"""

from collections.abc import Collection, Iterator
from copy import deepcopy
from typing import Any

from ...spec import nn
from ...spec.array_functions import array_function
from ...spec.ops import OPS

Edge = tuple[int, int]
Data = dict[str, Any]


def edges(data: Data) -> list[Edge]:
    """Every edge that a stop can cut; the edge from a tap to its loop is none."""
    return [
        (reader, place)
        for reader, (_, inputs, _) in enumerate(data["nodes"])
        for place, operand in enumerate(inputs)
        if data["nodes"][operand][0] != "scan"
    ]


def cut_edges(data: Data, chosen: Collection[Edge]) -> tuple[Data, list[int]]:
    """The declaration with a stop on each chosen edge, and the new number of each node."""
    nodes: list[Any] = []
    number: list[int] = []
    for reader, (kind, inputs, attrs) in enumerate(data["nodes"]):
        operands = []
        for place, operand in enumerate(inputs):
            operands.append(number[operand])
            if (reader, place) in chosen:
                nodes.append(["stop", [number[operand]], []])
                operands[-1] = len(nodes) - 1
        nodes.append([kind, operands, attrs])
        number.append(len(nodes) - 1)
    result = deepcopy({**data, "nodes": nodes})
    result["inputs"] = {n: number[i] for n, i in data["inputs"].items()}
    result["updates"] = {n: number[i] for n, i in data["updates"].items()}
    for what in ("latents", "losses"):
        for declared in result[what]:
            declared["node"] = number[declared["node"]]
    return result, number


def merge_losses(data: Data, first: int, second: int) -> Data:
    """The declaration with one more loss, "merged", the sum of two others, without a mask."""
    result = deepcopy(data)
    losses = result["losses"]
    nodes = [losses[first]["node"], losses[second]["node"]]
    result["nodes"].append(["op", nodes, ["add"]])
    node = len(result["nodes"]) - 1
    losses.append({"name": "merged", "node": node, "weight": 1.0, "updates": None})
    result["phases"] = []
    return result


def write_out_mask(data: Data, loss: int) -> Data:
    """The declaration with a loss's `updates=` replaced by frozen applications below it."""
    result = deepcopy(data)
    declared = result["losses"][loss]
    mask = declared["updates"]
    declared["updates"] = None
    copies: dict[int, int] = {}
    for i in sorted(_below(data, declared["node"])):
        kind, inputs, attrs = data["nodes"][i]
        if kind == "apply" and attrs[0] not in mask:
            attrs = [attrs[0], attrs[1], True]
        if kind in ("scan", "var"):  # loops of the copy have numbers of their own
            attrs = [attrs[0] + 1000, *attrs[1:]]
        result["nodes"].append([kind, [copies[o] for o in inputs], attrs])
        copies[i] = len(result["nodes"]) - 1
    declared["node"] = copies[declared["node"]]
    return result


def _below(data: Data, root: int) -> set[int]:
    found, stack = {root}, [root]
    while stack:
        for operand in data["nodes"][stack.pop()][1]:
            if operand not in found:
                found.add(operand)
                stack.append(operand)
    return found


def routes_by_hand(data: Data, cut: Collection[Edge] = ()) -> dict[str, frozenset[str]]:
    """The modules that each loss updates: a search along the uncut edges, one loss at a time."""
    gates = {g["name"]: g["open"] for g in data["gates"]}
    nodes = data["nodes"]
    loops = {attrs[0]: i for i, (kind, _, attrs) in enumerate(nodes) if kind == "scan"}
    trainable = set(_trainable(data))

    def follow(i: int) -> Iterator[Edge]:
        kind, inputs, attrs = nodes[i]
        if kind == "stop" or (kind == "gate" and not gates[attrs[0]]):
            return
        known = {"op": OPS.__getitem__, "call": array_function}.get(kind)
        if known is not None and not known(attrs[0]).differentiable:
            return
        if kind == "tap":
            yield i, 1
        elif kind == "var":
            loop, group, index = attrs[:3]
            carries = nodes[loops[loop]][2][3]
            yield loops[loop], index + (carries if group == "x" else 0)
            if group == "carry":
                yield loops[loop], len(nodes[loops[loop]][1]) - carries + index
        elif kind == "cut" and _skips_first(nodes, i):
            # The first entry of what is cut is never read.
            if (i, 0) not in cut:
                yield inputs[0], 1
        else:
            yield from ((i, place) for place in range(len(inputs)))

    found = {}
    for loss in data["losses"]:
        seen, stack = {loss["node"]}, [loss["node"]]
        modules = set()
        while stack:
            i = stack.pop()
            kind, _, attrs = nodes[i]
            if kind == "apply" and not attrs[2] and attrs[0] in trainable:
                modules.add(attrs[0])
            for reader, place in follow(i):
                operand = nodes[reader][1][place]
                if (reader, place) not in cut and operand not in seen:
                    seen.add(operand)
                    stack.append(operand)
        mask = loss["updates"]
        found[loss["name"]] = frozenset(modules if mask is None else modules & set(mask))
    return found


def _skips_first(nodes: list[Any], cut: int) -> bool:
    axis, lo, _ = nodes[cut][2]
    kind, _, attrs = nodes[nodes[cut][1][0]]
    return lo >= 1 and kind == "prepend" and attrs[0] == axis


def _trainable(data: Data) -> Iterator[str]:
    for module in data["modules"]:
        if nn.from_json(module["layer"]).parameters():
            yield module["name"]
