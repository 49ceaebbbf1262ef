"""The pytest plugin of latentroles: options, a fixture, a marker, and scripts of failing cases.

It is loaded in every pytest run of an environment that has latentroles, so that it imports pytest
and the standard library alone; nothing is autouse, and hypothesis's profiles are left alone.

- `--latentroles-backend NAME`, which may be repeated (ini: `latentroles_backends`): the backends to
  test. By default those whose framework is installed.
- `--latentroles-examples N` (ini: `latentroles_examples`): how many examples a property of ours
  takes.
- `--latentroles-update-routes`: `assert_routes(table, "routes.json")` writes the file.
- the fixture `latentroles_backend` runs a test on each of these backends, and the marker
  `latentroles_backend(name)` skips one where that backend is none of them.
- An error with a `latentroles_case` (see `latentroles.testing.case_script`) ends with a script that
  repeats it.
"""

import difflib
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any

import pytest

_CHOSEN: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("latentroles", "gradient routes of world models")
    group.addoption(
        "--latentroles-backend",
        action="append",
        metavar="NAME",
        help="a backend to test; may be repeated (default: those that are installed)",
    )
    group.addoption(
        "--latentroles-examples",
        metavar="N",
        help="how many examples a property of latentroles takes (default: hypothesis's profile)",
    )
    group.addoption(
        "--latentroles-update-routes",
        action="store_true",
        help="write the golden files of assert_routes instead of comparing them",
    )
    parser.addini("latentroles_backends", "as --latentroles-backend: a list of names", type="args")
    parser.addini("latentroles_examples", "as --latentroles-examples")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "latentroles_backend(*names): skipped where one of these backends is not tested: it is not "
        "installed, or --latentroles-backend names others",
    )
    examples = _examples(config)
    update = bool(config.getoption("latentroles_update_routes"))
    if examples is None and not update:
        return
    from latentroles.testing.policy import POLICY

    before = dict(vars(POLICY))
    config.add_cleanup(lambda: vars(POLICY).update(before))
    POLICY.examples, POLICY.update_routes = examples, update


@pytest.hookimpl(trylast=True)  # after the backends that a conftest registers
def pytest_sessionstart(session: pytest.Session) -> None:
    _chosen(session.config)  # a wrong name ends the session before it starts


def pytest_report_header(config: pytest.Config) -> str:
    points, chosen = _points(), _chosen(config)
    said = []
    for name in dict.fromkeys([*chosen, *points]):
        parts = _parts(points[name]) if name in points else ["registered by the tests"]
        left_out = [] if name in chosen else ["not tested"]
        said.append(f"{name} ({', '.join([*parts, *left_out])})")
    return f"latentroles: {_version('latentroles')}, backends: {', '.join(said) or 'none'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    fixture = "latentroles_backend"
    if fixture not in metafunc.fixturenames:
        return
    for mark in metafunc.definition.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
        names = names.split(",") if isinstance(names, str) else names
        if fixture in [name.strip() for name in names]:
            return  # the test names its own
    reason = "no backend is installed: pip install 'latentroles[torch]' or 'latentroles[jax]'"
    none = [pytest.param("none", marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize(fixture, _chosen(metafunc.config) or none, indirect=True, scope="session")


@pytest.fixture(scope="session")
def latentroles_backend(request: pytest.FixtureRequest) -> str:
    """The name of a backend, for `lr.compile(spec, backend=...)`: each that is tested, in turn."""
    return request.param


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("latentroles_backend"):
        if not mark.args or mark.kwargs or not all(isinstance(name, str) for name in mark.args):
            pytest.fail(
                "the marker latentroles_backend takes names of backends, such as "
                f'latentroles_backend("torch"); received {mark.args} {mark.kwargs or ""}'.strip(),
                pytrace=False,
            )
        for name in mark.args:
            if name not in _chosen(item.config):
                pytest.skip(_absent(name) or f"the backend {name!r} is not tested in this session")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    report = yield
    if report.failed and call.excinfo is not None:
        for case in _cases(call.excinfo.value):
            report.sections += _sections(case)
    return report


# Backends ------------------------------------------------------------------------------------


def _points() -> dict[str, EntryPoint]:
    found = entry_points(group="latentroles.backends")
    return {point.name: point for point in sorted(found, key=lambda point: point.name)}


def _own() -> list[str]:
    """The backends that the tests have registered in this process."""
    plugins = sys.modules.get("latentroles.plugins")
    return [] if plugins is None else [name for name in plugins.backends() if name not in _points()]


def _frameworks(point: EntryPoint) -> list[str]:
    """The distributions that a backend needs: those of the extra that is called like it."""
    from packaging.requirements import Requirement

    found = []
    for line in (point.dist.requires if point.dist else None) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker and marker.evaluate({"extra": point.name}) > marker.evaluate({"extra": ""}):
            found.append(requirement.name)
    return found


def _parts(point: EntryPoint) -> list[str]:
    """What a backend consists of, with versions."""
    own = [point.dist.name] if point.dist and point.dist.name != "latentroles" else []
    return [f"{name} {_version(name)}" for name in [*own, *_frameworks(point)]]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "is not installed"


def _absent(name: str) -> str | None:
    """Why a backend cannot be tested; None where it can."""
    points = _points()
    if name in points:
        lacking = [d for d in _frameworks(points[name]) if _version(d) == "is not installed"]
        if not lacking:
            return None
        dist = points[name].dist
        fix = f"pip install '{dist.name if dist else 'latentroles'}[{name}]'"
        return f"the backend {name!r} needs {', '.join(lacking)}: {fix}"
    known = [*points, *_own()]
    if name in known:
        return None
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known) or 'none'}."
    return f"no backend {name!r} is registered. {hint}"


def _chosen(config: pytest.Config) -> tuple[str, ...]:
    """The names of the backends that this session tests."""
    if _CHOSEN not in config.stash:
        option, ini = config.getoption("latentroles_backend"), config.getini("latentroles_backends")
        known = [*_points(), *_own()]
        names = option or ini or [name for name in known if _absent(name) is None]
        for name in names:
            if reason := _absent(name):
                raise pytest.UsageError(
                    f"{'--latentroles-backend' if option else 'latentroles_backends'}: {reason}"
                )
        config.stash[_CHOSEN] = tuple(dict.fromkeys(names))
    return config.stash[_CHOSEN]


def _examples(config: pytest.Config) -> int | None:
    option = config.getoption("latentroles_examples")
    given = option if option is not None else config.getini("latentroles_examples") or None
    if given is None:
        return None
    try:
        number = int(given)
    except ValueError:
        number = 0
    if number < 1:
        name = "latentroles_examples" if option is None else "--latentroles-examples"
        raise pytest.UsageError(f"{name} is an integer of at least 1, received {given!r}")
    return number


# Failing cases -------------------------------------------------------------------------------


def _cases(error: BaseException) -> list[Any]:
    """The cases that an error carries, in itself, in its group or in its causes."""
    found: list[Any] = []
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        at = left.pop(0)
        if at is None or id(at) in seen:
            continue
        seen.add(id(at))
        case = getattr(at, "latentroles_case", None)
        if case is not None and not any(case is known for known in found):
            found.append(case)
        left += getattr(at, "exceptions", ())
        # One case for one failure: what it was raised from may carry the same call once more.
        left += [at.__cause__, at.__context__] if case is None else []
    return found


def _sections(case: Any) -> list[tuple[str, str]]:
    try:
        script, data = case.script(), case.json()
    except Exception as error:
        return [("latentroles", f"the failing case cannot be written as a script: {error!r}")]
    sections = [("latentroles: this repeats it", script)]
    return sections if data in script else [*sections, ("latentroles: the spec's JSON", data)]
