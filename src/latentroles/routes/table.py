"""The route table: for each loss and module, whether gradient flows, and if not why.

A spec, an audit of PyTorch code and an audit of JAX code all give one, and they compare.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ..errors import SpecError, nearest
from ..files import replace_files

STATUSES = ("live", "stopped", "frozen", "masked", "target", "unconnected")
FORMAT = "latentroles-routes/1"


@dataclass(frozen=True)
class Cell:
    """One route.

    Args:
        status: one of `STATUSES`. An audit that reads a program's autograd graph cannot tell
            "stopped" from "unconnected", and says the latter.
        where: for a stopped route, the stops and gates that end it.
        parameters: for a live route into a module, how many of its parameters are reached and how
            many it has; None where that is not known, as in a spec, or no question.
    """

    status: str
    where: tuple[str, ...] = ()
    parameters: tuple[int, int] | None = None

    @property
    def part(self) -> str:
        """Such as "6 of 8 parameters"; "" where all of them are reached, or nobody counted."""
        if self.parameters is None or self.parameters[0] == self.parameters[1]:
            return ""
        return "{} of {} parameters".format(*self.parameters)

    def differs(self, other: Cell) -> bool:
        """Whether gradient flows into another part; an unknown part is no difference."""
        counted = self.parameters is not None and other.parameters is not None
        return self.status != other.status or (counted and self.part != other.part)

    def __str__(self) -> str:
        said = "; ".join(filter(None, (*self.where, self.part)))
        return f"{self.status} ({said})" if said else self.status


UNCONNECTED = Cell("unconnected")


class Row(Protocol):
    """The routes of one loss.

    Attributes:
        loss: its name.
        modules: the modules that it updates.
        latents: the latents that its gradient flows into.
    """

    @property
    def loss(self) -> str: ...
    @property
    def modules(self) -> frozenset[str]: ...
    @property
    def latents(self) -> frozenset[str]: ...
    def __getitem__(self, name: str) -> Cell:
        """The route into a module, target or latent; a SpecError for any other name."""
        ...

    def path(self, name: str) -> tuple[str, ...]:
        """What a live route passes, from the loss to `name`, both included; () without one."""
        ...


def require_column(name: str, columns: Iterable[str], owner: str) -> None:
    """Refuses a name that is none of the columns.

    Raises:
        SpecError: with the nearest column. owner: what has the columns.
    """
    known = tuple(columns)
    if name not in known:
        raise SpecError(f"no module or latent {name!r} in {owner!r}.{nearest(name, known)}")


class KnownRow:
    """A row whose cells are known: of an audit, or read from a file.

    Args:
        cells: name -> Cell; a column that is left out is unconnected.
        modules, targets, latents: the columns.
        paths: name -> what its live route passes, from the loss to the name.
    """

    def __init__(
        self,
        loss: str,
        cells: Mapping[str, Cell],
        *,
        modules: Iterable[str],
        targets: Iterable[str] = (),
        latents: Iterable[str] = (),
        paths: Mapping[str, Sequence[str]] | None = None,
    ):
        self.loss, self._cells, self._paths = loss, dict(cells), dict(paths or {})
        live = frozenset(name for name, cell in cells.items() if cell.status == "live")
        modules, latents = tuple(modules), tuple(latents)
        self._columns = (*modules, *targets, *latents)
        self.modules, self.latents = live & frozenset(modules), live & frozenset(latents)

    def __getitem__(self, name: str) -> Cell:
        require_column(name, self._columns, self.loss)
        return self._cells.get(name, UNCONNECTED)

    def path(self, name: str) -> tuple[str, ...]:
        require_column(name, self._columns, self.loss)
        return tuple(self._paths.get(name, ()))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as lines in columns, with a rule under the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * w for w in widths), *lines[1:]]


class RouteTable:
    """The routes of a model; prints as a table.

    `table["jepa"].modules` is what the loss updates, `table["jepa"]["encoder"]` one cell, and
    `table["jepa"].path("encoder")` the way there.

    Two tables are equal where each loss updates the same modules.

    Args:
        rows: one per loss.
        modules, targets, latents: the columns.
        name: of the model.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        modules: Iterable[str],
        targets: Iterable[str] = (),
        latents: Iterable[str] = (),
        name: str = "model",
    ):
        self.name = name
        self.modules, self.targets = tuple(modules), tuple(targets)
        self.latents = tuple(latents)
        self._rows = {row.loss: row for row in rows}

    def __getitem__(self, loss: str) -> Row:
        if loss not in self._rows:
            raise SpecError(f"no loss {loss!r} in {self.name!r}.{nearest(loss, self._rows)}")
        return self._rows[loss]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RouteTable) and self.live == other.live

    __hash__ = None  # type: ignore[assignment]

    @property
    def columns(self) -> tuple[str, ...]:
        """Modules, targets and latents, in this order."""
        return (*self.modules, *self.targets, *self.latents)

    @cached_property
    def live(self) -> dict[str, frozenset[str]]:
        """The modules that each loss updates."""
        return {name: row.modules for name, row in self._rows.items()}

    @cached_property
    def reached(self) -> frozenset[str]:
        """The modules that any loss updates."""
        return frozenset().union(*self.live.values())

    def differences(self, other: RouteTable) -> tuple[str, ...]:
        """What changes from this table to `other`, one line for each route, loss and module."""
        lines = [f"loss {loss} is gone" for loss in self if loss not in other]
        lines += [f"loss {loss} is new" for loss in other if loss not in self]
        for word, own, others in (
            ("module", self.modules, other.modules),
            ("latent", self.latents, other.latents),
        ):
            lines += [f"{word} {name} is gone" for name in own if name not in others]
            lines += [f"{word} {name} is new" for name in others if name not in own]
        shared = [name for name in self.columns if name in other.columns]
        for loss in self:
            if loss not in other:
                continue
            for name in shared:
                before, after = self[loss][name], other[loss][name]
                if before.differs(after):
                    lines.append(f"{loss} -> {name}: {before} -> {after}")
        return tuple(lines)

    def __contains__(self, loss: object) -> bool:
        return loss in self._rows

    def __str__(self) -> str:
        """One line per loss: what it updates, and the latents its gradient flows into."""
        rows = [("loss", "updates", "gradient flows into")]
        for name, row in self._rows.items():
            updates = ", ".join(m for m in self.modules if m in row.modules) or "nothing"
            latents = ", ".join(z for z in self.latents if z in row.latents) or "no latent"
            rows.append((name, updates, latents))
        if not self.latents:
            rows = [row[:2] for row in rows]
        return "\n".join(aligned(rows))

    def markdown(self) -> str:
        """Loss by module and latent, every cell spelled out, as a Markdown table."""
        lines = [
            f"| loss | {' | '.join(self.columns)} |",
            "|" + " --- |" * (len(self.columns) + 1),
        ]
        for loss, row in self._rows.items():
            cells = [row[name] for name in self.columns]
            said = ["" if cell.status == "unconnected" else str(cell) for cell in cells]
            lines.append(f"| {loss} | {' | '.join(said)} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The table as plain data; cells that are not there are unconnected."""
        routes: dict[str, dict[str, Any]] = {}
        for loss, row in self._rows.items():
            cells = {name: row[name] for name in self.columns}
            routes[loss] = {
                name: _written(cell) for name, cell in cells.items() if cell.status != "unconnected"
            }
        return {
            "format": FORMAT,
            "name": self.name,
            "modules": list(self.modules),
            "targets": list(self.targets),
            "latents": list(self.latents),
            "routes": routes,
        }

    @staticmethod
    def from_json(data: Any) -> RouteTable:
        """Reads what `to_json` wrote.

        Raises:
            SpecError: the data is no route table.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
            raise SpecError(f"a route table has the format {FORMAT!r}, got {got!r}.")
        try:
            columns = {key: tuple(data[key]) for key in ("modules", "targets", "latents")}
            rows = [
                KnownRow(
                    loss,
                    {name: _read(cell) for name, cell in cells.items()},
                    modules=columns["modules"],
                    targets=columns["targets"],
                    latents=columns["latents"],
                )
                for loss, cells in data["routes"].items()
            ]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SpecError(
                f"the route table is damaged ({type(error).__name__}: {error}). Write it again "
                "with `table.save(...)`."
            ) from error
        return RouteTable(rows, name=data.get("name", "model"), **columns)

    def save(self, path: str | Path) -> None:
        """Writes the table as a golden file: JSON whose lines change where routes do."""
        text = json.dumps(self.to_json(), indent=2) + "\n"
        replace_files({Path(path): text.encode()})

    @staticmethod
    def load(path: str | Path) -> RouteTable:
        """Reads a golden file.

        Raises:
            SpecError: there is no such file, or it is no route table.
        """
        file = Path(path)
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise SpecError(
                f"the route table {str(file)!r} cannot be read: {error.strerror}. Write it once "
                f"with `table.save({str(path)!r})`, where `table` is right, and keep the file in "
                "version control."
            ) from error
        except ValueError as error:
            raise SpecError(f"{str(file)!r} is not JSON: {error}.") from error
        return RouteTable.from_json(data)


def _written(cell: Cell) -> dict[str, Any]:
    written: dict[str, Any] = {"status": cell.status}
    if cell.where:
        written["where"] = list(cell.where)
    if cell.parameters is not None:
        written["parameters"] = "{} of {}".format(*cell.parameters)
    return written


def _read(cell: Mapping[str, Any]) -> Cell:
    if cell["status"] not in STATUSES:
        raise ValueError(f"{cell['status']!r} is none of {', '.join(STATUSES)}")
    parameters = None
    if "parameters" in cell:
        part, whole = map(int, cell["parameters"].split(" of "))
        parameters = part, whole
    return Cell(cell["status"], tuple(cell.get("where", ())), parameters)
