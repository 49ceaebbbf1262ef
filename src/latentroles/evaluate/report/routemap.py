"""The route map of a report: the model drawn once, and what each loss does to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latentroles.routes import RouteTable, draw, routes
from latentroles.spec import Spec

from .layout import columns

COLUMN, ROW, HEIGHT, MARGIN = 44, 34, 24, 12  # pixels: between columns, between rows, of a part
_CHARACTER = 6.4  # pixels of a letter at 12 px, more than most


@dataclass(frozen=True)
class Part:
    """A box: an input, module, target, latent or loss.

    Attributes:
        id: unique in the page; label: its name in the spec; x, y: of the left upper corner.
        text: what is said of it when it is chosen; "" where it cannot be.
    """

    id: str
    label: str
    kind: str
    x: float
    y: float
    width: float
    text: str


@dataclass(frozen=True)
class Link:
    """An arrow: `path` is SVG's; `cut` the stop or gate on it, or "".

    `losses` read through it, and the gradient of `routes` flows back through it.
    """

    path: str
    read: str
    reader: str
    cut: str
    losses: tuple[str, ...]
    routes: tuple[str, ...]


@dataclass(frozen=True)
class RouteMap:
    """Everything that the page draws and says about routes."""

    parts: tuple[Part, ...]
    links: tuple[Link, ...]
    width: float
    height: float
    updates: Mapping[str, tuple[str, ...]]


def route_map(spec: Spec) -> RouteMap:
    """Draws a spec with the routes of all its losses."""
    whole, table = draw(spec), routes(spec)
    alone = {name: draw(spec, name, alone=True) for name in spec.losses}
    boxes, width, height = _boxes(
        columns(whole.parts, [(read, reader) for read, reader, _ in whole.links])
    )
    parts = [
        Part(
            _id(name),
            name.removeprefix("loss "),
            kind,
            *boxes[name],
            _said(name, kind, table, spec),
        )
        for name, kind in whole.parts.items()
    ]
    links = [
        Link(
            _path(boxes[read], boxes[reader]),
            _id(read),
            _id(reader),
            cut or "",
            tuple(_id(f"loss {n}") for n, d in alone.items() if (read, reader, cut) in d.links),
            tuple(_id(f"loss {n}") for n, d in alone.items() if (read, reader, cut) in d.route),
        )
        for read, reader, cut in whole.links
    ]
    updates = {
        _id(f"loss {row.loss}"): tuple(_id(m) for m in sorted(row.modules)) for row in _rows(table)
    }
    return RouteMap(tuple(parts), tuple(links), width, height, updates)


def _id(name: str) -> str:
    """Losses may be named like modules: they have a space, which no name has."""
    return f"part-{name.replace(' ', '-')}"


def _boxes(
    layers: list[list[str]],
) -> tuple[dict[str, tuple[float, float, float]], float, float]:
    """Name -> (x, y, width), and the size of the drawing."""
    boxes, x = {}, float(MARGIN)
    height = max(len(column) for column in layers) * ROW
    for column in layers:
        width = max(len(name.removeprefix("loss ")) for name in column) * _CHARACTER + 16
        apart = min(2 * ROW, height / len(column))
        top = MARGIN + (height - len(column) * apart) / 2 + (apart - ROW) / 2
        for i, name in enumerate(column):
            own = len(name.removeprefix("loss ")) * _CHARACTER + 16
            boxes[name] = (x + (width - own) / 2, top + i * apart, own)
        x += width + COLUMN
    return boxes, x - COLUMN + MARGIN, height + 2 * MARGIN


def _path(read: tuple[float, float, float], reader: tuple[float, float, float]) -> str:
    """A curve from the right of one box to the left of another; under them where it leads back."""
    x1, y1 = read[0] + read[2], read[1] + HEIGHT / 2
    x2, y2 = reader[0], reader[1] + HEIGHT / 2
    forward = x2 > x1
    bend = max(20.0, (x2 - x1) / 2) if forward else 40.0
    low1, low2 = (y1, y2) if forward else (max(y1, y2) + ROW,) * 2
    points = ((x1, y1), (x1 + bend, low1), (x2 - bend, low2), (x2, y2))
    start, *curve = (f"{x:.0f},{y:.0f}" for x, y in points)
    return f"M{start} C{' '.join(curve)}"


def _said(name: str, kind: str, table: RouteTable, spec: Spec) -> str:
    if kind == "loss":
        return _said_of_loss(table[name.removeprefix("loss ")], table)
    if kind == "module":
        return _said_of_module(name, table)
    if kind == "target":
        of = spec.targets[name].of
        return f"{name} is a target: it follows {of} by EMA, and no loss updates it."
    if kind == "latent":
        role = spec.latents[name].role
        live = [row.loss for row in _rows(table) if name in row.latents]
        shaped = f"Gradient of {_listed(live)} flows into it." if live else "No gradient enters it."
        return f"{name} is a latent of the role {role}: {role.purpose}. {shaped}"
    return f"{name} is an input: data."


def _said_of_loss(row: Any, table: RouteTable) -> str:
    said = f"{row.loss} updates {_listed(sorted(row.modules)) if row.modules else 'no module'}."
    for status in ("stopped", "frozen", "masked", "target"):
        found = [c for c in (*table.modules, *table.targets) if row[c].status == status]
        for column in found:
            where = f" ({'; '.join(row[column].where)})" if row[column].where else ""
            verb = "is read as a target" if status == "target" else f"is {status}"
            said += f" {column} {verb}{where}."
    return said


def _said_of_module(name: str, table: RouteTable) -> str:
    live = [row.loss for row in _rows(table) if row[name].status == "live"]
    said = f"{name} is updated by {_listed(live) if live else 'no loss'}."
    kept: dict[str, list[str]] = {}
    for row in _rows(table):
        if row[name].status in ("stopped", "frozen", "masked"):
            kept.setdefault(str(row[name]), []).append(row.loss)
    for why, losses in kept.items():
        said += f" {why.capitalize()}: {_listed(losses)}."
    return said


def _rows(table: RouteTable) -> list[Any]:
    return [table[name] for name in table]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
