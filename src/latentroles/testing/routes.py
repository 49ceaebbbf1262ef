"""`assert_routes`: the test that keeps a gradient leak out."""

from collections.abc import Collection, Mapping
from pathlib import Path

from ..audit.expected import (
    Expected,
    Live,
    counted,
    expected_modules,
    expected_names,
    live_modules,
    surprises,
)
from ..audit.names import received
from ..errors import AuditError, SpecError, user_line
from ..routes.table import Cell, RouteTable
from .policy import POLICY


def assert_routes(
    table: RouteTable,
    expected: Expected,
    *,
    latents: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Asserts which loss updates which module.

    Args:
        table: what was found: `lr.routes(spec)`, or an audit of a training step.
        expected: {loss: the modules that it updates}, a loss that is left out updates none; or
            the table that is right, or the path where `table.save("routes.json")` wrote it; with
            `pytest --latentroles-update-routes` the file at the path is written, not compared. Two
            tables that know it must agree on how many parameters of a module are reached.
        latents: {loss: the latents that its gradient flows into}; None asserts nothing of them.

    Raises:
        AssertionError: with expected and found side by side, and the path of each route that is
            not expected.
        AuditError: an argument is of the wrong kind, or names what the table does not have.
        SpecError: there is no table at the path.
    """
    __tracebackhide__ = True
    if not isinstance(table, RouteTable):
        raise AuditError(
            f"{user_line()}assert_routes takes a RouteTable first, received "
            f"{received(table)}. Fix: `assert_routes(audit.routes(...), expected)`."
        )
    if isinstance(expected, str | Path) and POLICY.update_routes:
        _update(table, expected)
    wanted = expected_modules(table, expected)
    problems = _problems(table, wanted, live_modules(table), "updates")
    if latents is not None:
        wanted = expected_names(table, latents, table.latents, "latent")
        found = {loss: dict.fromkeys(table[loss].latents, Cell("live")) for loss in table}
        problems += _problems(table, wanted, found, "gradient flows into")
    if problems:
        raise AssertionError("\n".join([f"the routes of {table.name!r} changed", *problems]))


def _update(table: RouteTable, path: str | Path) -> None:
    try:
        table.save(path)
    except OSError as error:
        raise SpecError(
            f"{user_line()}the golden file {str(path)!r} cannot be written: {error.strerror}. Fix: "
            "make its folder, or pass another path."
        ) from error


def _problems(
    table: RouteTable,
    expected: Live,
    found: Live,
    verb: str,
) -> list[str]:
    surprising = surprises(expected, found)
    if not surprising:
        return []
    rows = [("loss", f"{verb} (expected)", f"{verb} (found)")]
    for loss in dict.fromkeys(s.loss for s in surprising):
        said = _spoken(found[loss]) if loss in found else "there is no such loss"
        rows.append((loss, _spoken(expected.get(loss, {})), said))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    for s in surprising:
        if s.expected is not None and s.there is not None:
            said = f"{counted(s.there)}, and {counted(s.expected)} expected"
            lines.append(f"  another part: {s.loss} <- {s.name}: {said}")
        elif s.found:
            path = " <- ".join(table[s.loss].path(s.name)) or f"{s.loss} <- {s.name}"
            lines.append(f"  not expected: {path}")
        else:
            lines.append(f"  expected, and not there: {s.loss} <- {s.name}")
    return lines


def _spoken(cells: Mapping[str, Cell]) -> str:
    said = [f"{name} ({cell.part})" if cell.part else name for name, cell in cells.items()]
    return ", ".join(sorted(said)) or "nothing"
