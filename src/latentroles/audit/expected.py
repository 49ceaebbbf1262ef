"""A table beside the routes that were expected of it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..errors import AuditError, nearest, user_line
from ..routes.table import Cell, RouteTable
from ..rules.finding import Finding, find
from .names import received
from .observed import Observed

# A path is that of a golden file.
Expected: TypeAlias = RouteTable | Mapping[str, Collection[str]] | str | Path
Live: TypeAlias = Mapping[str, Mapping[str, Cell]]  # {loss: {name: a route that is live}}

_NAMED = Cell("live")  # by a user, who says nothing of how much of it


@dataclass(frozen=True)
class Surprise:
    """One route that is not as expected.

    Args:
        found: whether more is found than expected, or else less.
        expected, there: the cells; None where there is no route.
    """

    loss: str
    name: str
    found: bool
    expected: Cell | None
    there: Cell | None


def live_modules(table: RouteTable) -> Live:
    """The live routes of a table into modules."""
    return {loss: {name: table[loss][name] for name in live} for loss, live in table.live.items()}


def expected_modules(table: RouteTable, expected: Expected) -> Live:
    """What each loss should update; a loss that is left out should update nothing.

    Raises:
        AuditError: expected is neither a table nor a dict, or names what the table does not have.
        SpecError: it is a path, and no table is there.
    """
    if isinstance(expected, str | Path):
        expected = RouteTable.load(expected)
    if isinstance(expected, RouteTable):
        return live_modules(expected)
    return expected_names(table, expected, table.modules, "module")


def expected_names(
    table: RouteTable, expected: object, columns: Collection[str], kind: str
) -> Live:
    """{loss: names of columns} of a user, checked; the same errors as `expected_modules`."""
    if not isinstance(expected, Mapping):
        raise AuditError(
            f"{user_line()}expected routes are a RouteTable, the path of one, or a dict such as "
            f"{{'loss': {{'{kind}'}}}}, received {received(expected)}."
        )
    for loss, names in expected.items():
        if loss not in table:
            raise AuditError(
                f"{user_line()}the expected routes name a loss {received(loss)} that "
                f"{table.name!r} does not have.{nearest(str(loss), table)}"
            )
        if isinstance(names, str) or not isinstance(names, Collection):
            said = received(names)
            example = said if isinstance(names, str) else f"'{kind}'"
            raise AuditError(
                f"{user_line()}the expected routes of loss {loss!r} are a set of names such as "
                f"{{{example}}}, received {said}."
            )
        for name in names:
            if not isinstance(name, str) or name not in columns:
                raise AuditError(
                    f"{user_line()}the expected routes of loss {loss!r} name a {kind} "
                    f"{received(name)} that {table.name!r} does not have."
                    f"{nearest(received(name), columns)}"
                )
    return {loss: dict.fromkeys(expected.get(loss, ()), _NAMED) for loss in table}


def surprises(expected: Live, found: Live) -> tuple[Surprise, ...]:
    """Every difference, unexpected routes of a loss first."""
    out = []
    for loss in dict.fromkeys([*found, *expected]):
        want, have = expected.get(loss, {}), found.get(loss, {})
        out += [Surprise(loss, n, True, None, have[n]) for n in sorted(have.keys() - want.keys())]
        out += [Surprise(loss, n, False, want[n], None) for n in sorted(want.keys() - have.keys())]
        for name in sorted(want.keys() & have.keys()):
            before, after = want[name], have[name]
            if before.differs(after) and before.parameters and after.parameters:
                more = after.parameters[0] >= before.parameters[0]
                out.append(Surprise(loss, name, more, before, after))
    return tuple(out)


def against(seen: Observed, expected: Expected) -> Iterator[Finding]:
    """The findings unexpected-route and missing-route.

    Where optimisers are known, a route that is not expected counts in the modules that those of
    the loss hold: elsewhere its gradient moves nothing, unless another optimiser takes it along,
    which is a stray-gradient.
    """
    table = seen.table
    for s in surprises(expected_modules(table, expected), live_modules(table)):
        what, said = f"`{s.name}`", ""
        if s.expected is not None and s.there is not None:
            one, other = (s.there, s.expected) if s.found else (s.expected, s.there)
            what = f"{counted(one)} of `{s.name}`"
            said = f": {counted(other)} {'were' if s.found else 'are reached'}"
        elif s.loss not in table:
            said = ": there is no such loss"
        if not s.found:
            yield find("missing-route", loss=s.loss, subject=s.name, what=what, detail=said)
        elif _own(seen, s.loss, s.name):
            path = " <- ".join(table[s.loss].path(s.name))
            yield find(
                "unexpected-route", loss=s.loss, subject=s.name, path=path, what=what, detail=said
            )


def counted(cell: Cell) -> str:
    """Such as "all parameters" or "6 of 8 parameters"."""
    return cell.part or "all parameters"


def _own(seen: Observed, loss: str, module: str) -> bool:
    """Whether the optimisers of a loss hold what it reaches of a module."""
    if not seen.optimisers:
        return True
    reached = seen.reached[loss].intersection(seen.parameters[module].values())
    return any(loss in o.losses and reached & o.holds for o in seen.optimisers.values())
