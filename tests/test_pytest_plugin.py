"""The pytest plugin, run on small suites of its own; each check rejects a plugin that is broken."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
import latentroles_pytest as plugin
from latentroles import plugins
from latentroles.testing import laws, policy
from latentroles.testing.case_script import CaseScript, reproducible
from latentroles.testing.strategies import programs

pytest_plugins = ["pytester"]

Check = Callable[[pytest.Pytester], None]
BACKENDS = ("jax", "torch")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this suite is asked for, or registers, does not reach the suites inside it."""
    monkeypatch.setattr(policy.POLICY, "examples", None)
    monkeypatch.setattr(policy.POLICY, "update_routes", False)
    monkeypatch.setattr(plugins, "_OWN_BACKENDS", {})
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)


def install(pytester: pytest.Pytester, name: str, *needs: str) -> None:
    """A package that registers a backend, with an extra of the backend's name."""
    info = pytester.path / f"{name}_pack-3.1.dist-info"
    info.mkdir()
    lines = [f"Requires-Dist: {need}; extra == '{name}'" for need in needs]
    text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}-pack", "Version: 3.1", *lines])
    (info / "METADATA").write_text(text + "\n")
    (info / "entry_points.txt").write_text(f"[latentroles.backends]\n{name} = {name}_pack:B\n")
    pytester.syspathinsert()


# Which backends ------------------------------------------------------------------------------

NAMED = """
    def test_on(latentroles_backend):
        print("ran on", latentroles_backend)
"""


def ran_on(result: pytest.RunResult) -> list[str]:
    return [line.split()[-1] for line in result.outlines if "ran on" in line]


def check_the_chosen_are_tested(pytester: pytest.Pytester) -> None:
    """Any choice of backends, by option and by ini, is what is tested, in the order chosen."""
    install(pytester, "third")
    pytester.makepyfile(NAMED)
    known = (*BACKENDS, "third")
    for count in range(1, 4):
        for names in combinations(known[::-1], count):
            options = [f"--latentroles-backend={name}" for name in names]
            assert ran_on(run(pytester, "-s", *options)) == list(names)
            ini = f"latentroles_backends={' '.join(names)}"
            assert ran_on(run(pytester, "-s", "-o", ini)) == list(names)
            # The option goes before the ini setting.
            option = "--latentroles-backend=jax"
            assert ran_on(run(pytester, "-s", "-o", ini, option)) == ["jax"]


def check_the_installed_are_tested_by_default(pytester: pytest.Pytester) -> None:
    install(pytester, "absent", "nonesuch>=3", "pytest")
    install(pytester, "present", "pytest")
    pytester.makepyfile(NAMED)
    result = run(pytester, "-s")
    assert ran_on(result) == ["jax", "present", "torch"]
    version = plugin.version("latentroles")
    result.stdout.fnmatch_lines(
        [f"latentroles: {version}, backends: jax (*jax *), *torch (torch *"]
    )
    header = " ".join(result.outlines)
    assert f"present (present-pack 3.1, pytest {pytest.__version__})" in header
    assert "absent (absent-pack 3.1, nonesuch is not installed, pytest" in header
    assert "not tested)" in header.partition("absent (")[2]


def check_one_that_cannot_be_tested_ends_the_session(pytester: pytest.Pytester) -> None:
    install(pytester, "absent", "nonesuch>=3", "pytest")
    pytester.makepyfile(NAMED)
    for options, message in (
        (
            ["--latentroles-backend=torhc"],
            "*--latentroles-backend: no backend 'torhc' is registered. Did you mean 'torch'?",
        ),
        (
            ["--latentroles-backend=zzzz"],
            "*no backend 'zzzz' is registered. Known: absent, jax, torch*.",
        ),
        (
            ["-o", "latentroles_backends=absent torch"],
            "*latentroles_backends: the backend 'absent' needs nonesuch: "
            "pip install 'absent-pack[[]absent]'",
        ),
    ):
        result = run(pytester, "-q", *options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([message])
        assert ran_on(result) == []


def check_one_of_a_conftest_is_tested(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from latentroles import plugins
        plugins.register_backend("of_a_conftest", object())
        """
    )
    pytester.makepyfile(NAMED)
    assert ran_on(run(pytester, "-s")) == [*BACKENDS, "of_a_conftest"]
    result = run(pytester, "-s", "--latentroles-backend=of_a_conftest")
    assert ran_on(result) == ["of_a_conftest"]
    result.stdout.fnmatch_lines(["*of_a_conftest (registered by the tests)*"])


def check_without_any_backend_the_test_is_skipped(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(NAMED)
    pytester.makeconftest(
        """
        import pytest

        patch = pytest.MonkeyPatch()
        patch.setattr("latentroles_pytest._version", lambda name: "is not installed")

        def pytest_unconfigure():
            patch.undo()
        """
    )
    result = run(pytester, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no backend is installed: pip install 'latentroles[[]torch]'*"])


MARKED = """
    import pytest

    @pytest.mark.latentroles_backend("torch")
    def test_torch(): pass

    @pytest.mark.latentroles_backend("jax", "torch")
    def test_both(): pass

    @pytest.mark.latentroles_backend("absent")
    def test_absent(): assert False

    @pytest.mark.latentroles_backend("unheard")
    def test_unheard(): assert False

    @pytest.mark.parametrize("latentroles_backend", ["elsewhere"], indirect=True)
    def test_own(latentroles_backend):
        assert latentroles_backend == "elsewhere"

    @pytest.mark.parametrize(("n", "latentroles_backend"), [(1, "elsewhere")])
    def test_own_pair(n, latentroles_backend):
        assert latentroles_backend == "elsewhere"

    @pytest.mark.parametrize(argnames="n, latentroles_backend", argvalues=[(1, "elsewhere")])
    def test_own_by_keyword(n, latentroles_backend):
        assert latentroles_backend == "elsewhere"
"""


def check_the_marker_skips_with_the_reason(pytester: pytest.Pytester) -> None:
    install(pytester, "absent", "nonesuch")
    pytester.makepyfile(MARKED)
    result = run(pytester, "-rs", "--strict-markers")
    result.assert_outcomes(passed=5, skipped=2)
    result.stdout.fnmatch_lines_random(
        [
            "*the backend 'absent' needs nonesuch: pip install*",
            "*no backend 'unheard' is registered.*",
        ]
    )
    result = run(pytester, "-rs", "--latentroles-backend=jax")
    result.assert_outcomes(passed=3, skipped=4)
    result.stdout.fnmatch_lines(["*the backend 'torch' is not tested in this session*"])


@pytest.mark.parametrize("mark", ["", "()", "(3)", "(name='torch')"])
def test_a_marker_without_names_says_what_it_takes(pytester: pytest.Pytester, mark: str) -> None:
    pytester.makepyfile(f"import pytest\n@pytest.mark.latentroles_backend{mark}\ndef test(): pass")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*takes names of backends, such as latentroles_backend(*"])


# What is asked of the harness -----------------------------------------------------------------

ASKED = """
    from hypothesis import given, settings, strategies as st
    from latentroles.testing.policy import POLICY, examples

    def test_asked():
        print("asked", examples(), POLICY.update_routes, settings().max_examples)
"""


def asked(pytester: pytest.Pytester, *options: str) -> list[str]:
    pytester.makepyfile(ASKED)
    result = run(pytester, "-s", *options)
    (line,) = [line for line in result.outlines if "asked" in line]
    return line.partition("asked ")[2].split()[:3]


def check_what_is_asked_arrives_and_is_gone_afterwards(pytester: pytest.Pytester) -> None:
    usual = str(policy.examples())
    assert asked(pytester) == [usual, "False", usual]
    assert asked(pytester, "--latentroles-examples=7") == ["7", "False", usual]
    assert asked(pytester, "-o", "latentroles_examples=8") == ["8", "False", usual]
    both = ("-o", "latentroles_examples=8", "--latentroles-examples=9")
    assert asked(pytester, *both, "--latentroles-update-routes") == ["9", "True", usual]
    assert policy.POLICY == policy.Policy()


GOLDEN = """
    import pytest
    import latentroles as lr
    from latentroles.testing import assert_routes

    def table(stop):
        s = lr.Spec("golden")
        x = s.observation("x", (2,))
        below, head = (s.module(name, lr.nn.linear(2, 2)) for name in ("below", "head"))
        y = below(x)
        s.loss("l", lr.losses.mse(head(y.stop() if stop else y), x))
        return lr.routes(s)

    def test_golden(): assert_routes(table({stop}), "{path}")
    def test_said(): assert_routes(table(True), {{"l": {{"head"}}}})
"""


def check_golden_files_are_written_when_asked(pytester: pytest.Pytester) -> None:
    right = GOLDEN.format(stop=True, path="routes.json")
    file = pytester.path / "routes.json"
    pytester.makepyfile(right)
    run(pytester).assert_outcomes(passed=1, failed=1)
    assert not file.exists()
    run(pytester, "--latentroles-update-routes").assert_outcomes(passed=2)
    run(pytester).assert_outcomes(passed=2)

    written = file.read_text()
    pytester.makepyfile(right.replace("table(True)", "table(False)"))
    result = run(pytester)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*not expected: l <- head <- below"])
    assert file.read_text() == written
    # What a test says itself is compared all the same.
    run(pytester, "--latentroles-update-routes").assert_outcomes(passed=1, failed=1)
    assert file.read_text() != written


def test_a_golden_file_that_cannot_be_written_is_said(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(GOLDEN.format(stop=True, path="nowhere/routes.json"))
    result = run(pytester, "--latentroles-update-routes")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*'nowhere/routes.json' cannot be written: No such file*Fix:*"])


@pytest.mark.parametrize("given", ["0", "-3", "many", "2.5", ""])
def test_a_wrong_number_of_examples_is_refused(pytester: pytest.Pytester, given: str) -> None:
    result = run(pytester, f"--latentroles-examples={given}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"*--latentroles-examples is an integer of at least 1, received {given!r}"]
    )


# Failing cases -------------------------------------------------------------------------------

FAILING = """
    import pytest
    from hypothesis import Phase, given, settings
    from latentroles.testing.case_script import reproducible
    from latentroles.testing.strategies import programs, specs

    @settings(phases=[Phase.generate], database=None, deadline=None)
    @given({drawn}(calls=1, losses=1))
    def test_property(drawn):
        with reproducible("assert spec.hash == 'another'", drawn, "import math"):
            assert getattr(drawn, "spec", drawn).hash == "another"
"""


def repeats(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def section(result: pytest.RunResult, title: str) -> str:
    """What stands under a title, up to the next one."""
    lines = iter(result.outlines)
    for line in lines:
        if line.strip("- ") == title:
            break
    else:
        raise AssertionError(f"there is no section {title!r}")
    found = []
    for line in lines:
        if line.startswith(("---", "===")):
            break
        found.append(line)
    return "\n".join(found)


def check_a_failing_property_ends_with_its_script(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAILING.format(drawn="programs"))
    result = run(pytester)
    result.assert_outcomes(failed=1)
    script = section(result, "latentroles: this repeats it")
    assert 's = lr.Spec("random")' in script
    assert script.rstrip().endswith("assert spec.hash == 'another'")
    names: dict[str, Any] = {}
    with pytest.raises(AssertionError):
        exec(script, names)
    data = json.loads(section(result, "latentroles: the spec's JSON"))
    assert lr.Spec.from_json(data).hash == names["spec"].hash

    pytester.makepyfile(FAILING.format(drawn="specs"))
    result = run(pytester)
    script = section(result, "latentroles: this repeats it")
    assert "the spec's JSON" not in str(result.stdout)  # it is in the script
    with pytest.raises(AssertionError):
        exec(script, names := {})
    assert names["spec"].hash


def test_the_script_of_a_failing_property_is_a_program(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAILING.format(drawn="specs"))
    script = section(run(pytester), "latentroles: this repeats it")
    done = repeats(script)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("AssertionError")
    assert repeats(script.replace("spec.hash ==", "spec.hash !=")).returncode == 0


BROKEN_LAWS = """
    import pytest
    from latentroles.testing import laws
    from latentroles.testing.laws import checker, checks, routes

    @pytest.fixture(autouse=True)
    def nothing_holds(monkeypatch):
        for module in (checker, routes):
            for name in ("holds", "equal"):
                fails = lambda *arguments: checks.holds(False, "nothing holds")
                monkeypatch.setattr(module, name, fails, raising=False)

    def test_of_a_spec(): laws.LAWS["S3"].run("torch", 1)
    def test_of_a_seed(): laws.LAWS["S18"].run("torch", 1)
"""


def check_a_failing_law_ends_with_its_script(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(BROKEN_LAWS)
    for test, law, arguments in (
        ("test_of_a_spec", laws.S3, "spec, seed=0"),
        ("test_of_a_seed", laws.S18, "seed=0"),
    ):
        script = section(run(pytester, "-k", test), "latentroles: this repeats it")
        assert script.splitlines()[-1] == f"laws.{law.__name__}({arguments})"
        exec(script, {})  # here the law holds


CARRIED = """
    import pytest

    class Case:
        def __init__(self, name): self.name = name
        def script(self): return f"script of {self.name}"
        def json(self): return f"data of {self.name}"

    class Broken:
        def script(self): raise OSError("no such thing")

    def carrying(name, kind=AssertionError):
        error = kind("away")
        error.latentroles_case = Case(name)
        return error

    def test_cause():
        try:
            raise carrying("a cause")
        except AssertionError as error:
            raise ValueError("with a cause") from error

    def test_group():
        raise ExceptionGroup("several", [carrying("one"), ValueError("none"), carrying("two")])

    def test_cycle():
        error = ValueError("its own context")
        error.__cause__ = error
        raise error

    def test_broken():
        error = AssertionError("away")
        error.latentroles_case = Broken()
        raise error

    @pytest.fixture
    def broken_fixture():
        raise carrying("a fixture")

    def test_fixture(broken_fixture): pass

    def test_passes(): pass

    @pytest.mark.xfail
    def test_expected(): raise carrying("nobody")
"""


def check_cases_are_found_where_they_are(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CARRIED)
    result = run(pytester)
    result.assert_outcomes(failed=4, errors=1, passed=1, xfailed=1)
    shown = [line for line in result.outlines if line.startswith(("script of", "data of"))]
    names = ("a fixture", "a cause", "one", "two")
    assert shown == [f"{what} of {name}" for name in names for what in ("script", "data")]
    result.stdout.fnmatch_lines(["*cannot be written as a script: OSError('no such thing')"])


@given(programs())
def test_a_script_declares_the_spec_that_failed(program: Any) -> None:
    for subject in (program, program.spec):
        with pytest.raises(KeyError) as caught, reproducible("found = spec.hash", subject):
            raise KeyError("any error")
        names: dict[str, Any] = {}
        exec(caught.value.latentroles_case.script(), names)  # type: ignore[attr-defined]
        assert names["found"] == program.spec.hash


@given(st.text(min_size=1))
def test_a_script_may_hold_any_text(reason: str) -> None:
    spec = lr.Spec("quoted")
    spec.allow("action-leak", because=f"{reason}!")
    names: dict[str, Any] = {}
    exec(CaseScript("found = spec.to_json()", spec).script(), names)
    assert names["found"] == spec.to_json()


def test_a_call_without_a_spec_is_its_own_script() -> None:
    case = CaseScript("found = math.pi", None, ("import math",))
    names: dict[str, Any] = {}
    exec(case.script(), names)
    assert (round(names["found"], 2), case.json()) == (3.14, "")


def test_what_is_no_spec_has_no_script() -> None:
    with pytest.raises(lr.SpecError) as caught:
        laws.S3("hzp")
    assert not hasattr(caught.value, "latentroles_case")


def test_the_innermost_call_is_the_one_that_is_shown() -> None:
    spec = lr.Spec("nested")
    with pytest.raises(ValueError, match="away") as caught, reproducible("outer(spec)", spec):
        with reproducible("inner(spec)", spec):
            raise ValueError("away")
    assert caught.value.latentroles_case.call == "inner(spec)"  # type: ignore[attr-defined]


# All of it together --------------------------------------------------------------------------


def test_a_process_of_xdist_sees_the_same(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one="""
        import latentroles as lr
        from latentroles.testing.case_script import reproducible

        def test_fails():
            with reproducible("assert not spec.losses", lr.Spec("plain")):
                raise AssertionError("away")
        """,
        test_two="""
        from latentroles.testing.policy import examples

        def test_on(latentroles_backend):
            assert examples() == 7
        """,
    )
    options = ("-n1", "--latentroles-examples=7", "--latentroles-backend=torch")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
    result.assert_outcomes(passed=1, failed=1)
    assert section(result, "latentroles: this repeats it").endswith("assert not spec.losses")


def test_nothing_is_autouse_and_everything_is_documented(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_plain(request): assert request.fixturenames == ['request']")
    run(
        pytester, "-p", "no:benchmark", "--strict-config", "-o", "latentroles_examples=3"
    ).assert_outcomes(passed=1)
    text = str(run(pytester, "--fixtures").stdout) + str(run(pytester, "--markers").stdout)
    assert "latentroles_backend [session scope]" in text
    assert "@pytest.mark.latentroles_backend(*names): skipped where" in text


LOADED = "import sys\n{first}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
HEAVY = {"torch", "jax", "hypothesis", "numpy", "latentroles", "latentroles_torch"}


def heavy(first: str) -> set[str]:
    done = repeats(LOADED.format(first=first))
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split()) & HEAVY


def test_the_plugin_loads_nothing_heavy() -> None:
    assert heavy("import latentroles_pytest") == set()


def test_something_heavy_would_be_seen() -> None:
    assert {"latentroles", "hypothesis", "numpy"} <= heavy(
        "import latentroles_pytest, latentroles, hypothesis"
    )


# Each check, and the plugins that it rejects -----------------------------------------------------


def _compares_all_the_same(config: pytest.Config) -> None:
    config.option.latentroles_update_routes = False


CHECKS: dict[Check, list[tuple[str, Any]]] = {
    check_the_chosen_are_tested: [
        ("_chosen", lambda config: ("torch",)),
        ("_chosen", lambda config: tuple(sorted(config.getoption("latentroles_backend") or ()))),
    ],
    check_the_installed_are_tested_by_default: [
        ("_frameworks", lambda point: []),
        ("_absent", lambda name: None),
        ("_parts", lambda point: []),
    ],
    check_one_that_cannot_be_tested_ends_the_session: [
        ("_absent", lambda name: None),
        ("pytest_sessionstart", lambda session: None),
    ],
    check_one_of_a_conftest_is_tested: [("_own", lambda: [])],
    check_without_any_backend_the_test_is_skipped: [("_absent", lambda name: None)],
    check_the_marker_skips_with_the_reason: [
        ("pytest_runtest_setup", lambda item: None),
        ("_chosen", lambda config: ("absent", "jax", "torch", "unheard")),
    ],
    check_what_is_asked_arrives_and_is_gone_afterwards: [
        ("_examples", lambda config: None),
        ("_examples", lambda config: 7),
    ],
    check_golden_files_are_written_when_asked: [("_examples", _compares_all_the_same)],
    check_a_failing_property_ends_with_its_script: [("_cases", lambda error: [])],
    check_a_failing_law_ends_with_its_script: [("_sections", lambda case: [("empty", "")])],
    check_cases_are_found_where_they_are: [
        ("_cases", lambda error: [c] if (c := getattr(error, "latentroles_case", None)) else []),
    ],
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_plugin(check: Check, pytester: pytest.Pytester) -> None:
    check(pytester)


@pytest.mark.parametrize(
    ("check", "name", "broken"),
    [(check, name, broken) for check, mutants in CHECKS.items() for name, broken in mutants],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_rejects(
    check: Check,
    name: str,
    broken: Any,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugin, name, broken)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(pytester)
