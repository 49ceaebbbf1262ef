"""Walking expressions without recursion, so that deep graphs are no trouble."""

from collections.abc import Iterator, Mapping
from typing import Any

from .expr import Expr


def postorder(root: Expr, seen: Mapping[Expr, Any] | None = None) -> Iterator[Expr]:
    """Walks below `root`, operands first, without recursion; skips what is in `seen`."""
    done: set[Expr] = set()
    stack = [(root, False)]
    while stack:
        e, ready = stack.pop()
        if e in done or (seen is not None and e in seen):
            continue
        if ready:
            done.add(e)
            yield e
        else:
            stack.append((e, True))
            stack.extend((i, False) for i in reversed(e.inputs) if i not in done)
