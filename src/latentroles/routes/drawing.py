"""The model as a drawing: inputs, modules, latents and losses, with every stop on its edge.

Data flows along the arrows, gradient against them. A dashed arrow is stopped. With one loss chosen,
its route is drawn thick; or that loss is drawn alone, with what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import SpecError, nearest
from ..spec.expr import Expr
from ..spec.spec import Spec, require_spec
from .reach import Reach

Link = tuple[str, str, str | None]  # from, to, and what cuts it


@dataclass(frozen=True)
class Drawing:
    """The model's parts and how they read one another.

    Args:
        parts: name -> "input", "module", "target", "latent" or "loss". A loss has the name
            "loss NAME", so that it may be named like a module.
        links: (from, to, cut): the part that is read, its reader, and the stop or gate between.
        route: the links that the gradient of the chosen loss takes.
    """

    parts: dict[str, str]
    links: tuple[Link, ...]
    route: frozenset[Link]

    def mermaid(self) -> str:
        """As a Mermaid flowchart, which GitHub draws in Markdown."""
        shapes = {
            "input": ("[/", "/]"),
            "module": ("[", "]"),
            "target": ("[[", "]]"),
            "latent": ("([", "])"),
            "loss": ("{{", "}}"),
        }
        # By name, so that a drawing that is kept in a repository changes where the model does.
        ids = {n: f"{kind}_{n.removeprefix('loss ')}" for n, kind in self.parts.items()}
        lines = ["flowchart LR"]
        for name, kind in self.parts.items():
            opens, closes = shapes[kind]
            lines.append(f'    {ids[name]}{opens}"{name.removeprefix("loss ")}"{closes}')
        for i, (read, reader, cut) in enumerate(self.links):
            arrow = f'-. "{cut}" .->' if cut else "-->"
            lines.append(f"    {ids[read]} {arrow} {ids[reader]}")
            if (read, reader, cut) in self.route:
                lines.append(f"    linkStyle {i} stroke-width:4px")
        return "\n".join(lines)

    def dot(self) -> str:
        """As Graphviz DOT."""
        shapes = {
            "input": "parallelogram",
            "module": "box",
            "target": "box3d",
            "latent": "ellipse",
            "loss": "hexagon",
        }
        lines = ["digraph routes {", "    rankdir=LR;"]
        for name, kind in self.parts.items():
            label = name.removeprefix("loss ")
            lines.append(f'    "{name}" [label="{label}", shape={shapes[kind]}];')
        for link in self.links:
            read, reader, cut = link
            style = [f'style=dashed, label="{cut}"'] if cut else []
            style += ["penwidth=4"] * (link in self.route)
            lines.append(f'    "{read}" -> "{reader}" [{", ".join(style)}];')
        return "\n".join([*lines, "}"])


def draw(spec: Spec, loss: str | None = None, *, alone: bool = False) -> Drawing:
    """Draws a spec; with `loss`, the route of that loss stands out.

    Args:
        alone: draws nothing but what the loss reads.

    Raises:
        SpecError: the spec has no such loss; `alone` without a loss.
    """
    require_spec("draw", spec)
    if alone and loss is None:
        raise SpecError("draw(alone=True) draws what one loss reads: name it, loss=...")
    if loss is not None and loss not in spec.losses:
        raise SpecError(f"no loss {loss!r} in {spec.name!r}.{nearest(loss, spec.losses)}")
    return _Draughtsman(spec, loss).drawing(alone)


class _Draughtsman:
    def __init__(self, spec: Spec, loss: str | None):
        self.spec, self.loss = spec, loss
        roots = [d.expr for d in (*spec.losses.values(), *spec.latents.values())]
        self.reach = Reach(spec, roots)
        self.parts: dict[str, str] = {}
        self.links: dict[Link, None] = {}

    def drawing(self, alone: bool) -> Drawing:
        for name, declared in self.spec.losses.items():
            if not alone or name == self.loss:
                self._follow(self._part(f"loss {name}", "loss"), declared.expr, self.links)
        for latent in () if alone else self.spec.latents.values():
            self._follow("", latent.expr, self.links)
        route: dict[Link, None] = {}
        if self.loss is not None:
            self._follow(f"loss {self.loss}", self.spec.losses[self.loss].expr, route, live=True)
        kinds = ("input", "module", "target", "latent", "loss")
        parts = dict(sorted(self.parts.items(), key=lambda part: kinds.index(part[1])))
        return Drawing(parts, tuple(self.links), frozenset(route))

    def _follow(
        self, reader: str, root: Expr, links: dict[Link, None], *, live: bool = False
    ) -> None:
        """Notes which named parts are read below `root`, and by whom.

        Args:
            live: whether to go where the gradient goes only.
        """
        seen: set[tuple[str, Expr, str | None]] = set()
        stack: list[tuple[str, Expr, str | None]] = [(reader, root, None)]
        while stack:
            state = stack.pop()
            reader, e, cut = state
            if state in seen or (live and not self.reach[e].live):
                continue
            seen.add(state)
            for name, kind in self._named(e):
                if reader and name != reader:
                    links[self._part(name, kind), reader, cut] = None
                reader, cut = self._part(name, kind), None
            for edge in self.reach.graph.edges(e):
                if live and edge.cut is not None:
                    continue
                stack.append((reader, edge.operand, cut or _short(edge.cut)))

    def _part(self, name: str, kind: str) -> str:
        self.parts.setdefault(name, kind)
        return name

    def _named(self, e: Expr) -> Iterator[tuple[str, str]]:
        """The parts that an expression is, those nearer to the losses first."""
        for latent in sorted(self.reach.latents_at(e)):
            yield latent, "latent"
        if e.kind == "apply":
            yield e.attrs[0], "target" if e.attrs[0] in self.spec.targets else "module"
        elif e.kind == "leaf" and e.attrs[0] in ("observation", "action", "label"):
            yield e.attrs[1], "input"


def _short(cut: str | None) -> str | None:
    """What stands on an edge. That integers carry no gradient needs no saying."""
    return None if cut == "not differentiable" else cut
