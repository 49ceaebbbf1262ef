"""`watch`: runs a few of the user's own training steps, and says what moved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from itertools import combinations
from typing import Any, TypeAlias

import jax
import numpy as np

from latentroles.arguments import integer
from latentroles.audit import Observed, StepRecord, WatchReport, judge_steps
from latentroles.audit.names import received, require_call, targets_of
from latentroles.errors import AuditError, user_line
from latentroles.routes.table import KnownRow, RouteTable

from .program import (
    Parameter,
    identities_of,
    is_array,
    is_parameter,
    parameters_of,
    parts_of,
    trainable,
)

Modules: TypeAlias = Mapping[str, Any]
Routes: TypeAlias = RouteTable | Callable[[Any, int], RouteTable]

# {module: {path: (whether it can be trained, a copy of it)}}
_Snapshot: TypeAlias = dict[str, dict[str, tuple[bool, np.ndarray]]]


def watch(
    step: Callable[[Any, int], Any],
    modules: Any,
    *,
    steps: int = 5,
    targets: Mapping[str, str] | None = None,
    routes: Routes | None = None,
) -> WatchReport:
    """Runs `step(modules, i)` a few times as it is, and compares what moved with the routes.

    Arrays are compared bit by bit before and after each step. What the step carries beside the
    modules, such as the state of an optimiser, it keeps itself:

        state = adam.init(modules)

        def step(modules, i):
            nonlocal state
            modules, state, losses = train_step(modules, state, batches[i])
            return modules, losses

        audit.watch(step, modules, routes=audit.routes(loss_fn, modules, batches[0]))

    Two modules that are equal in every bit after every step are one module under two names, such
    as a teacher that is always set to its student. Before the first step every copy is equal.

    Args:
        step: one whole training step: gradients, optimisers, targets. It returns the new modules,
            or (new modules, {loss: value}).
        modules: as in `routes`, whatever should move or should not, teachers as well.
        steps: how many steps to run. A loss is called flat where all of them were zero.
        targets: {"teacher": "student"}: modules that move only as copies of another.
        routes: what the movement is compared with: the table of every loss that is stepped, or
            `lambda modules, i: audit.routes(loss_fn, modules, batches[i])`, to read it before each
            step and to be told where it differs. A module that is not in the table is one that the
            step does not differentiate. None compares with nothing, and a warning says so.

    Returns:
        A WatchReport: a Report with `.moved`, {module: in how many steps it moved}.

    Raises:
        AuditError: an argument or what `step` returned is of another kind. What `step` itself
            raises is passed on.
    """
    if not callable(step):
        raise AuditError(
            f"{user_line()}watch() takes a function that runs one training step, received "
            f"{type(step).__name__}. Fix: audit.watch(step, modules), where step(modules, i) "
            "returns the new modules."
        )
    require_call(step, modules, 0, call="step(modules, i)")
    count = integer("watch()", "steps", steps, "training steps to run")
    own = parameters_of(modules)
    copies = targets_of(targets, own)
    current = dict(modules) if isinstance(modules, Mapping) else modules
    before = _snapshot(parts_of(current))
    records, tables = [], []
    one = _pairs(own, copies)
    for i in range(count):
        tables += _tables(routes, current, i)
        current, values = _returned(step(current, i), current, own)
        after = _snapshot(parts_of(current))
        moved = _moved(before, after)
        one = {pair for pair in one if moved.keys() >= set(pair) and _equal(after, *pair)}
        reached = tables[-1].live if tables else {}
        unread = () if tables else tuple(values)
        records.append(StepRecord(moved, reached, bool(tables), unread, values))
        before = after
    table = _union(tables, own)
    parameters = identities_of(own)
    seen = Observed(
        table,
        parameters,
        reached={},
        frozen=frozenset(
            identity
            for module in own
            if not _differentiated(tables, module)
            for identity in parameters[module].values()
        ),
        targets=copies,
        memory=_memory(one, parameters),
    )
    return judge_steps(seen, records)


# The routes beside the steps --------------------------------------------------------------------


def _tables(routes: Any, modules: Any, i: int) -> list[RouteTable]:
    """The table before step `i`, if there is one."""
    if routes is None:
        return []
    table = routes(modules, i) if callable(routes) else routes
    if not isinstance(table, RouteTable):
        raise AuditError(
            f"{user_line()}routes= is a RouteTable, or routes(modules, i) that returns one, "
            f"received {received(table)}. Fix: routes=audit.routes(loss_fn, modules, batch)."
        )
    return [table]


def _differentiated(tables: Iterable[RouteTable], module: str) -> bool:
    """Whether the losses could reach a module: it is in a table, and not frozen there."""
    return any(
        module in table.modules and any(table[loss][module].status != "frozen" for loss in table)
        for table in tables
    )


def _union(tables: Collection[RouteTable], modules: Collection[str]) -> RouteTable:
    """Every route that any of the tables has."""
    losses = dict.fromkeys(loss for table in tables for loss in table)
    rows = []
    for loss in losses:
        having = [table[loss] for table in tables if loss in table]
        live = {name: row for row in reversed(having) for name in row.modules}
        cells = {name: row[name] for name, row in live.items()}
        paths = {name: row.path(name) for name, row in live.items()}
        rows.append(KnownRow(loss, cells, modules=modules, paths=paths))
    return RouteTable(rows, modules=modules, name="training step")


# Movement ---------------------------------------------------------------------------------------


def _snapshot(modules: Modules) -> _Snapshot:
    """Copies, because a step may donate its arguments."""
    return {
        name: {
            jax.tree_util.keystr(path): (is_parameter(leaf), _copy(name, leaf))
            for path, leaf in jax.tree_util.tree_leaves_with_path(module)
            if is_array(leaf)
        }
        for name, module in modules.items()
    }


def _copy(module: str, leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise AuditError(
            f"{user_line()}watch() runs steps on numbers, and {module!r} holds a "
            "jax.ShapeDtypeStruct. Fix: pass arrays."
        )
    if isinstance(leaf, jax.Array) and leaf.is_deleted():
        raise AuditError(
            f"{user_line()}{module!r} holds an array that is gone: a step that donates its "
            "arguments was given it before. Fix: pass the modules that this step returned."
        )
    is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.array(jax.random.key_data(leaf) if is_key else leaf)


def _bits(array: np.ndarray) -> tuple[Any, ...]:
    return array.shape, array.dtype, array.tobytes()


def _moved(before: _Snapshot, after: _Snapshot) -> dict[str, tuple[str, ...]]:
    moved = {}
    for name, old in before.items():
        new = after[name]
        changed = [
            trained
            for path, (trained, array) in old.items()
            if path not in new or _bits(array) != _bits(new[path][1])
        ]
        kinds = (("parameters", True), ("buffers", False))
        if changed or old.keys() != new.keys():
            moved[name] = tuple(kind for kind, trained in kinds if trained in changed)
    return moved


def _pairs(
    parameters: Mapping[str, Mapping[str, Any]], targets: Mapping[str, str]
) -> set[tuple[str, str]]:
    """The modules that may be one. Two single numbers that agree by chance are not."""
    copies = [{copy, source} for copy, source in targets.items()]
    large = {name for name, own in parameters.items() if sum(p.size for p in own.values()) > 1}
    return {
        pair for pair in combinations(parameters, 2) if large >= set(pair) or set(pair) in copies
    }


def _equal(snapshot: _Snapshot, module: str, other: str) -> bool:
    own, others = snapshot[module], snapshot[other]
    return own.keys() == others.keys() and all(
        _bits(array) == _bits(others[path][1]) for path, (_, array) in own.items()
    )


def _memory(
    pairs: Iterable[tuple[str, str]], parameters: Mapping[str, Mapping[str, Parameter]]
) -> dict[Hashable, Hashable]:
    """The same place for the parameters of two modules that are one."""
    places: dict[Hashable, Hashable] = {}
    for module, other in sorted(pairs):
        for path, identity in parameters[module].items():
            places[parameters[other][path]] = places.get(identity, identity)
    return places


def _returned(result: Any, given: Any, names: Collection[str]) -> tuple[Any, dict[str, float]]:
    """The new modules, of the kind that was given, and the losses if the step gave any."""
    values: Any = {}
    if type(result) is tuple and len(result) == 2:
        result, values = result
    fix = (
        "Fix: end it with `return modules` or `return modules, losses`; JAX arrays do not change "
        "in place."
    )
    if not _same_kind(result, given) or set(parts_of(result)) != set(names):
        got = type(result).__name__
        if isinstance(result, Mapping):
            got = ", ".join(map(str, result)) or "an empty dict"
        raise AuditError(
            f"{user_line()}the watched step must return the modules that it was given "
            f"({', '.join(names)}), received {got}. {fix}"
        )
    try:
        found = {name: float(value) for name, value in dict(values).items()}
        return dict(result) if isinstance(result, Mapping) else result, found
    except (TypeError, ValueError) as error:
        raise AuditError(
            f"{user_line()}the watched step must return its losses as a dict of numbers, received "
            f"{type(values).__name__} ({error}). {fix}"
        ) from error


def _same_kind(result: Any, given: Any) -> bool:
    if isinstance(given, Mapping):
        return isinstance(result, Mapping) and bool(result)
    return type(result) is type(given) and bool(trainable(result))
