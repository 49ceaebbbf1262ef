"""Strongly connected components of a graph in which every node has as many successors."""

import numpy as np


def components(after: np.ndarray) -> np.ndarray:
    """Which component each node is in, (nodes,) int; a component comes after those it leads to.

    Source: Tarjan, "Depth-first search and linear graph algorithms" (1972), without recursion.

    Args:
        after: (nodes, successors) int.
    """
    successors = after.tolist()
    order, low = [-1] * len(successors), [0] * len(successors)
    found = [-1] * len(successors)
    open_: list[int] = []
    visited = count = 0
    for root in range(len(successors)):
        if order[root] >= 0:
            continue
        walk = [(root, iter(successors[root]))]
        order[root] = low[root] = visited
        visited += 1
        open_.append(root)
        while walk:
            node, rest = walk[-1]
            following = next(rest, None)
            if following is None:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[node])
                if low[node] == order[node]:
                    member = -1
                    while member != node:
                        member = open_.pop()
                        found[member] = count
                    count += 1
            elif order[following] < 0:
                order[following] = low[following] = visited
                visited += 1
                open_.append(following)
                walk.append((following, iter(successors[following])))
            elif found[following] < 0:
                low[node] = min(low[node], order[following])
    return np.array(found)
