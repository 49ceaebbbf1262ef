"""A table beside the routes that were expected of it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import AuditError, nearest, user_line
from ..routes.table import RouteTable
from ..rules.finding import Finding, find

Expected: TypeAlias = RouteTable | Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Surprise:
    """One route that is found and not expected (`found`), or expected and not found."""

    loss: str
    name: str
    found: bool


def expected_modules(table: RouteTable, expected: Expected) -> dict[str, frozenset[str]]:
    """What each loss should update; a loss that is left out should update nothing.

    Raises:
        AuditError: expected is neither a table nor a dict, or names what the table does not have.
    """
    if isinstance(expected, RouteTable):
        return {
            loss: expected.live.get(loss, frozenset()) for loss in {**expected.live, **table.live}
        }
    return expected_names(table, expected, table.modules, "module")


def expected_names(
    table: RouteTable, expected: object, columns: Collection[str], kind: str
) -> dict[str, frozenset[str]]:
    """{loss: names of columns} of a user, checked; the same errors as `expected_modules`."""
    if not isinstance(expected, Mapping):
        raise AuditError(
            f"{user_line()}expected routes are a RouteTable or a dict such as "
            f"{{'loss': {{'{kind}'}}}}, received {type(expected).__name__}."
        )
    for loss, names in expected.items():
        if loss not in table:
            raise AuditError(
                f"{user_line()}the expected routes name a loss {loss!r} that {table.name!r} does "
                f"not have.{nearest(str(loss), table)}"
            )
        if isinstance(names, str) or not isinstance(names, Collection):
            raise AuditError(
                f"{user_line()}the expected routes of loss {loss!r} are a set of names such as "
                f"{{{names!r}}}, received {names!r}."
            )
        for name in names:
            if name not in columns:
                raise AuditError(
                    f"{user_line()}the expected routes of loss {loss!r} name a {kind} {name!r} "
                    f"that {table.name!r} does not have.{nearest(str(name), columns)}"
                )
    return {loss: frozenset(expected.get(loss, ())) for loss in table}


def surprises(
    expected: Mapping[str, frozenset[str]], found: Mapping[str, frozenset[str]]
) -> tuple[Surprise, ...]:
    """Every difference between two {loss: names}, unexpected routes of a loss first."""
    nothing: frozenset[str] = frozenset()
    out = []
    for loss in dict.fromkeys([*found, *expected]):
        want, have = expected.get(loss, nothing), found.get(loss, nothing)
        out += [Surprise(loss, name, True) for name in sorted(have - want)]
        out += [Surprise(loss, name, False) for name in sorted(want - have)]
    return tuple(out)


def against(table: RouteTable, expected: Expected) -> Iterator[Finding]:
    """The findings unexpected-route and missing-route."""
    for s in surprises(expected_modules(table, expected), table.live):
        if s.found:
            path = " <- ".join(table[s.loss].path(s.name))
            yield find("unexpected-route", loss=s.loss, subject=s.name, path=path)
        else:
            gone = "" if s.loss in table else ": there is no such loss"
            yield find("missing-route", loss=s.loss, subject=s.name, detail=gone)
