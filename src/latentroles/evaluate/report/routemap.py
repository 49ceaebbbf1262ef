"""The route map of a report: the model drawn once, and what each loss does to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latentroles.routes import RouteTable, draw, routes
from latentroles.spec import Spec

from .layout import Entry, Lane, columns, passed

# Pixels: between columns, of a row and of a lane, of a part, around the drawing.
COLUMN, ROW, LANE, HEIGHT, MARGIN = 48, 34, 10, 24, 12
_CHARACTER = 6.4  # pixels of a letter at 12 px, more than most


Point = tuple[float, float]


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
    """An arrow along `points`; `cut` is the stop or gate on it, or "".

    `losses` read through it, and the gradient of `routes` flows back through it.
    """

    points: tuple[Point, ...]
    read: str
    reader: str
    cut: str
    losses: tuple[str, ...]
    routes: tuple[str, ...]

    @property
    def path(self) -> str:
        """As SVG has it: level where the points are, a curve where they are not."""
        (x, y), *rest = self.points
        said = [f"M{x:.0f},{y:.0f}"]
        for x2, y2 in rest:
            middle = (x + x2) / 2
            if y2 == y or x2 == x:
                said.append(f"L{x2:.0f},{y2:.0f}")
            else:
                said.append(f"C{middle:.0f},{y:.0f} {middle:.0f},{y2:.0f} {x2:.0f},{y2:.0f}")
            x, y = x2, y2
        return " ".join(said)


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
    plan = _Plan(columns(whole.parts, [(read, reader) for read, reader, _ in whole.links]))
    parts = [
        Part(
            _id(name),
            name.removeprefix("loss "),
            kind,
            *plan.boxes[name],
            _said(name, kind, table, spec),
        )
        for name, kind in whole.parts.items()
    ]
    links = [
        Link(
            plan.way(read, reader),
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
    return RouteMap(tuple(parts), tuple(links), plan.width, plan.height, updates)


def _id(name: str) -> str:
    """Losses may be named like modules: they have a space, which no name has."""
    return f"part-{name.replace(' ', '-')}"


def _wide(entry: Entry) -> float:
    return 0.0 if isinstance(entry, Lane) else len(entry.removeprefix("loss ")) * _CHARACTER + 16


class _Plan:
    """Places in pixels.

    Attributes:
        boxes: part -> (x, y, width).
        width, height: of the drawing.
    """

    def __init__(self, layers: list[list[Entry]]):
        self.boxes: dict[str, tuple[float, float, float]] = {}
        self._lanes: dict[Lane, float] = {}  # the height of each
        self._layer = {name: i for i, c in enumerate(layers) for name in c if isinstance(name, str)}
        self._spans: list[tuple[float, float]] = []  # of each column, left and right
        self._back = 0  # lanes under the drawing, for links that lead back
        needed = [sum(LANE if isinstance(e, Lane) else ROW for e in column) for column in layers]
        tallest, x = max(needed), float(MARGIN)
        for column, height in zip(layers, needed, strict=True):
            width = max(_wide(entry) for entry in column)
            self._spans.append((x, x + width))
            spread = min(1.6, tallest / height)
            y = MARGIN + (tallest - height * spread) / 2
            for entry in column:
                slot = (LANE if isinstance(entry, Lane) else ROW) * spread
                if isinstance(entry, Lane):
                    self._lanes[entry] = y + slot / 2
                else:
                    own = _wide(entry)
                    self.boxes[entry] = (x + (width - own) / 2, y + (slot - HEIGHT) / 2, own)
                y += slot
            x += width + COLUMN
        self.width, self._bottom = x - COLUMN + MARGIN, tallest + 2 * MARGIN

    @property
    def height(self) -> float:
        """Of the drawing, with the lanes under it."""
        return self._bottom + LANE * self._back

    def way(self, read: str, reader: str) -> tuple[Point, ...]:
        """The points of a link, between which it runs level or through the gap of two columns."""
        x, y, width = self.boxes[read]
        start = (x + width, y + HEIGHT / 2)
        end = (self.boxes[reader][0], self.boxes[reader][1] + HEIGHT / 2)
        if self._layer[reader] > self._layer[read]:
            points = [start, (self._spans[self._layer[read]][1], start[1])]
            for lane in passed(read, reader, self._layer)[1:-1]:
                assert isinstance(lane, Lane)
                left, right = self._spans[lane.column]
                points += [(left, self._lanes[lane]), (right, self._lanes[lane])]
            return (*points, (self._spans[self._layer[reader]][0], end[1]), end)
        low = self._bottom + LANE * self._back
        self._back += 1
        right = self._spans[self._layer[read]][1] + COLUMN / 3
        left = self._spans[self._layer[reader]][0] - COLUMN / 3
        down, up = (right, start[1]), (left, end[1])
        return start, down, (right, low), (left, low), up, end


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
