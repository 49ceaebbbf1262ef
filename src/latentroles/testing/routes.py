"""`assert_routes`: the test that keeps a gradient leak out."""

from collections.abc import Collection, Mapping

from ..audit.expected import Expected, expected_modules, expected_names, surprises
from ..errors import AuditError, user_line
from ..routes.table import RouteTable


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
            the table that is right, such as `RouteTable.load("routes.json")`.
        latents: {loss: the latents that its gradient flows into}; None asserts nothing of them.

    Raises:
        AssertionError: with expected and found side by side, and the path of each route that is
            not expected.
        AuditError: an argument is of the wrong kind, or names what the table does not have.
    """
    __tracebackhide__ = True
    if not isinstance(table, RouteTable):
        raise AuditError(
            f"{user_line()}assert_routes takes a RouteTable first, received "
            f"{type(table).__name__}. Fix: `assert_routes(audit.routes(...), expected)`."
        )
    problems = _problems(table, expected_modules(table, expected), table.live, "updates")
    if latents is not None:
        wanted = expected_names(table, latents, table.latents, "latent")
        found = {loss: table[loss].latents for loss in table}
        problems += _problems(table, wanted, found, "gradient flows into")
    if problems:
        raise AssertionError("\n".join([f"the routes of {table.name!r} changed", *problems]))


def _problems(
    table: RouteTable,
    expected: Mapping[str, frozenset[str]],
    found: Mapping[str, frozenset[str]],
    verb: str,
) -> list[str]:
    surprising = surprises(expected, found)
    if not surprising:
        return []
    nothing: frozenset[str] = frozenset()
    rows = [("loss", f"{verb} (expected)", f"{verb} (found)")]
    for loss in dict.fromkeys(s.loss for s in surprising):
        said = _spoken(found[loss]) if loss in found else "there is no such loss"
        rows.append((loss, _spoken(expected.get(loss, nothing)), said))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    for s in surprising:
        if s.found:
            path = " <- ".join(table[s.loss].path(s.name)) or f"{s.loss} <- {s.name}"
            lines.append(f"  not expected: {path}")
        else:
            lines.append(f"  expected, and not there: {s.loss} <- {s.name}")
    return lines


def _spoken(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
