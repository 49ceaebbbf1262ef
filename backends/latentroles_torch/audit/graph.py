"""The autograd graph behind a few losses, read once and kept as integers.

No backward pass is run, no hook is set, and no tensor is kept: a graph whose buffers were freed by
`backward()` is read like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from latentroles.errors import AuditError, user_line

DEEP = 10_000  # operations one after the other, below which recursion does no harm
_PIECE = 100
_TOP = -1  # above a loss


class GradientGraph:
    """Who depends on whom below the losses. Linear in the number of nodes, without recursion.

    Args:
        losses: {name: scalar that needs a gradient}.
        latents: {name: tensor}; one that needs no gradient is reached by nothing.

    Attributes:
        leaves: {node: the `id` of the tensor that accumulates its gradient there}.

    Raises:
        AuditError: a reentrant checkpoint hides part of the graph.
    """

    def __init__(self, losses: Mapping[str, Tensor], latents: Mapping[str, Tensor]):
        marked: dict[Any, dict[int, list[str]]] = {}
        for name, latent in latents.items():
            if latent.requires_grad:
                edge = get_gradient_edge(latent)
                marked.setdefault(edge.node, {}).setdefault(edge.output_nr, []).append(name)
        self._roots: dict[str, int] = {}
        self._are: dict[str, list[str]] = {}  # the latents that a loss itself is
        self._marks: dict[tuple[int, int], list[str]] = {}  # the latents on an edge
        self._edges: list[list[int]] = []

        nodes: list[Any] = []  # held here, so that each keeps its one Python object
        index: dict[Any, int] = {}

        def number(node: Any) -> int:
            i = index.get(node)
            if i is None:
                i = index[node] = len(nodes)
                nodes.append(node)
            return i

        for name, loss in losses.items():
            root = get_gradient_edge(loss)
            self._roots[name] = number(root.node)
            self._are[name] = marked.get(root.node, {}).get(root.output_nr, [])
        for at, node in enumerate(nodes):  # which grows while it is read
            below = []
            for child, output in node.next_functions:
                if child is None:
                    continue
                i = number(child)
                below.append(i)
                if child in marked and output in marked[child]:
                    self._marks.setdefault((at, i), []).extend(marked[child][output])
            self._edges.append(below)
        _require_no_reentrant_checkpoint(nodes)
        self.leaves: dict[int, int] = {
            i: id(nodes[i].variable)
            for i, below in enumerate(self._edges)
            if not below and type(nodes[i]).__name__ == "AccumulateGrad"
        }
        order = self._order()
        self._reached = self._spread(order)
        if len(nodes) > DEEP:
            _free_in_pieces(nodes, self._edges, order)

    def _order(self) -> list[int]:
        """Every node after all that depend on it."""
        waiting = [0] * len(self._edges)
        for below in self._edges:
            for i in below:
                waiting[i] += 1
        order = [i for i, count in enumerate(waiting) if not count]
        for at in order:  # which grows while it is read
            for i in self._edges[at]:
                waiting[i] -= 1
                if not waiting[i]:
                    order.append(i)
        return order

    def _spread(self, order: list[int]) -> list[int]:
        """For each node the losses that reach it, as bits: all losses in one pass."""
        bits = [0] * len(order)
        for n, root in enumerate(self._roots.values()):
            bits[root] |= 1 << n
        for at in order:
            for i in self._edges[at]:
                bits[i] |= bits[at]
        return bits

    def reached(self, loss: str) -> frozenset[int]:
        """The `id` of every tensor that accumulates gradient of the loss."""
        bit = 1 << list(self._roots).index(loss)
        return frozenset(leaf for i, leaf in self.leaves.items() if self._reached[i] & bit)

    def latents(self, loss: str) -> frozenset[str]:
        """The latents that the gradient of the loss flows into."""
        bit = 1 << list(self._roots).index(loss)
        found = set(self._are[loss])
        for (above, _), names in self._marks.items():
            if self._reached[above] & bit:
                found.update(names)
        return frozenset(found)

    def path(self, loss: str, name: str, owners: Mapping[int, list[str]]) -> tuple[str, ...]:
        """The shortest route from a loss into a module or a latent, in the user's names.

        Args:
            owners: {`id` of a parameter: the modules that have it}.
        """
        root = self._roots[loss]
        if name in self._are[loss] or name in owners.get(self.leaves.get(root, 0), ()):
            return (loss, name)
        above: dict[int, int] = {root: _TOP}
        queue = [root]
        for at in queue:
            for i in self._edges[at]:
                leaf = owners.get(self.leaves[i], ()) if i in self.leaves else ()
                if name in leaf or name in self._marks.get((at, i), ()):
                    return (loss, *self._passed(loss, at, above, owners, name), name)
                if i not in above:
                    above[i] = at
                    queue.append(i)
        return ()

    def _passed(
        self,
        loss: str,
        at: int,
        above: Mapping[int, int],
        owners: Mapping[int, list[str]],
        name: str,
    ) -> list[str]:
        """What lies on the way from a loss down to a node, but for `name`."""
        names: list[str] = []  # from the end of the route upwards
        while at != _TOP:
            names += self._consumed(at, owners)
            names += self._marks.get((above[at], at), [])
            at = above[at]
        names += self._are[loss]
        return [n for n in dict.fromkeys(reversed(names)) if n != name]

    def _consumed(self, at: int, owners: Mapping[int, list[str]]) -> list[str]:
        """The modules whose parameters a node reads, plain or through a view or two."""
        found: dict[str, None] = {}
        for i in self._edges[at]:
            for _ in range(3):
                if i in self.leaves:
                    found |= dict.fromkeys(owners.get(self.leaves[i], ()))
                    break
                if len(self._edges[i]) != 1:
                    break
                i = self._edges[i][0]
        return list(found)


def _free_in_pieces(nodes: list[Any], edges: list[list[int]], order: list[int]) -> None:
    """Keeps PyTorch from freeing a deep graph by recursion, which overflows the stack.

    PyTorch frees a graph in a loop, but for nodes that Python has seen: these free each other,
    one inside the other. Where a tuple holds the next one, Python's own guard for nested
    containers cuts the recursion; so one such tuple stands every few steps along every path. It
    lies in the metadata of a node, and goes with it.
    """
    depth = [0] * len(nodes)
    for at in order:
        for i in edges[at]:
            depth[i] = max(depth[i], depth[at] + 1)
    if max(depth) < DEEP:
        return
    for at, below in enumerate(edges):
        held = tuple(nodes[i] for i in below if depth[i] // _PIECE != depth[at] // _PIECE)
        if held:
            nodes[at].metadata["latentroles"] = held


def _require_no_reentrant_checkpoint(nodes: list[Any]) -> None:
    if any(kind.__name__ == "CheckpointFunctionBackward" for kind in {type(n) for n in nodes}):
        raise AuditError(
            f"{user_line()}a loss passes a reentrant checkpoint, whose node hides the parameters "
            "inside it. Fix: `torch.utils.checkpoint.checkpoint(..., use_reentrant=False)`, which "
            "computes the same and leaves the graph readable."
        )
