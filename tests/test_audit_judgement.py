"""The judgement of the audits on what was observed, whatever the framework."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentroles.audit import Observed, Optimiser, StepRecord, judge, judge_steps, own_losses
from latentroles.audit.names import require_call
from latentroles.errors import AuditError, SpecError
from latentroles.routes.table import Cell, KnownRow, RouteTable
from latentroles.rulebook import RULES
from latentroles.rules.finding import find
from latentroles.testing import assert_routes

MODULES = {m: {f"{m}{i}": f"{m}{i}" for i in range(2)} for m in ("a", "b", "copy")}
PARAMETERS = [p for own in MODULES.values() for p in own]
LOSSES = ("one", "two")


def table_of(reached: dict[str, frozenset[str]], name: str = "step") -> RouteTable:
    """The table of what losses reach, parameter by parameter."""
    rows = []
    for loss, there in reached.items():
        counts = {m: len(there & own.keys()) for m, own in MODULES.items()}
        cells = {m: Cell("live", parameters=(n, 2)) for m, n in counts.items() if n}
        paths = {m: (loss, m) for m in cells}
        rows.append(KnownRow(loss, cells, modules=MODULES, paths=paths))
    return RouteTable(rows, modules=MODULES, name=name)


def seen(reached: dict[str, frozenset[str]], holds: dict[str, frozenset[str]], **more) -> Observed:
    return Observed(
        table_of(reached),
        MODULES,
        reached,
        optimisers={name: Optimiser(frozenset({name}), held) for name, held in holds.items()},
        targets={"copy": "a"},
        **more,
    )


some = st.frozensets(st.sampled_from(PARAMETERS))
reaches = st.fixed_dictionaries(dict.fromkeys(LOSSES, some))
with_others = st.frozensets(st.sampled_from([*PARAMETERS, "elsewhere0", "elsewhere1"]))
holding = st.one_of(st.just({}), st.fixed_dictionaries(dict.fromkeys(LOSSES, with_others)))
expecting = st.fixed_dictionaries(dict.fromkeys(LOSSES, st.frozensets(st.sampled_from([*MODULES]))))


@given(reaches, holding, expecting)
def test_who_holds_what_decides(reached, holds, expected):
    report = judge(seen(reached, holds), expected)
    held = frozenset().union(*holds.values())
    unexpected, missing, live = set(), set(), set()
    for loss, there in reached.items():
        own = there & holds[loss] if holds else there
        for module, parameters in MODULES.items():
            if module not in expected[loss] and own & parameters.keys():
                unexpected.add((loss, module))
            if module in expected[loss] and not there & parameters.keys():
                missing.add((loss, module))
        if there & MODULES["copy"].keys():
            moves = "error" if held & MODULES["copy"].keys() else "note"
            live.add((loss, moves if holds else "warning"))
    assert {(f.loss, f.subject) for f in report.of("unexpected-route")} == unexpected
    assert {(f.loss, f.subject) for f in report.of("missing-route")} == missing
    assert {(f.loss, f.severity) for f in report.of("target-live")} == live
    blind = {name: len(o - set(PARAMETERS)) for name, o in holds.items()}
    assert [f.message.split("`")[1:] for f in report.of("unnamed-parameters")] == [
        [name, f" holds {n} parameter{'s that are' if n > 1 else ' that is'} in none of the named "
        "modules"]
        for name, n in blind.items()
        if n
    ]  # fmt: skip


WHOLE, PART = frozenset({"a0", "a1"}), frozenset({"a0"})


def test_the_three_ways_of_a_live_target_are_told_apart():
    reached = {"one": frozenset({"copy0"})}
    (by,) = judge(seen(reached, {"one": frozenset({"copy0"})})).of("target-live")
    assert "into `copy`, a copy of `a`, and optimiser `one` holds it" in by.message
    (unknown,) = judge(seen(reached, {})).of("target-live")
    assert "and no optimizers= say whether anything moves it" in unknown.message
    (unmoved,) = judge(seen(reached, {"one": WHOLE})).of("target-live")
    says = "and no optimiser holds it: no gradient moves it; `copy.requires_grad_(False)` in torch"
    assert says in str(unmoved)
    assert "requires_grad_(False)" in unmoved.fix
    assert "moves its own target" not in unmoved.message


def test_frozen_parameters_that_nobody_named_are_no_matter():
    report = judge(seen({"one": WHOLE}, {"one": WHOLE | {"x"}}, frozen=frozenset({"x"})))
    assert not report.of("unnamed-parameters")


def test_unnamed_parameters_are_found_in_watched_steps_too():
    watched = judge_steps(seen({"one": WHOLE}, {"one": WHOLE | {"x"}}), [StepRecord({}, {}, True)])
    assert watched.of("unnamed-parameters")


# Watched steps -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([StepRecord({})], "the step returned no loss: what moved was not compared"),
        ([StepRecord({}), StepRecord({}, {}, True)], "no loss in 1 of 2 steps"),
        ([StepRecord({}, unread=["one"])] * 2, "`one` was a number: what moved"),
        ([StepRecord({}, unread=["one", "two"])], "`one`, `two` were numbers"),
    ],
)
def test_steps_without_routes_are_not_clean(steps, says):
    report = judge_steps(seen({}, {}), steps)
    assert not report.clean
    assert says in report.of("routes-unknown")[0].message


def test_steps_with_routes_are():
    given = StepRecord({}, {}, True, ["one"])
    assert not judge_steps(seen({}, {}), [given]).of("routes-unknown")


# Whose loss ----------------------------------------------------------------------------------


def test_the_suggestion_lists_the_losses_that_are_nobodys():
    listed = {"opt_wm": None, "actor": None, "critic": None, "head": ["reward"]}
    with pytest.raises(AuditError, match=r"'opt_wm': \(optimizer, \['recon', 'kl'\]\)"):
        own_losses(listed, ["recon", "kl", "actor", "critic", "reward"])
    with pytest.raises(AuditError, match=r"'extra': \(optimizer, \[\.\.\.\]\)"):
        own_losses({"actor": None, "extra": None}, ["actor"])


# Golden files --------------------------------------------------------------------------------


def test_a_part_of_a_module_is_compared_where_both_tables_know_it(tmp_path):
    whole, part = table_of({"one": WHOLE}), table_of({"one": PART})
    by_name = {"one": {"a"}}
    for table in (whole, part):
        assert_routes(table, by_name)
        table.save(tmp_path / "routes.json")
        assert_routes(table, tmp_path / "routes.json")
        assert_routes(table, str(tmp_path / "routes.json"))
    for found, expected, says in (
        (part, whole, "another part: one <- a: 1 of 2 parameters, and all parameters expected"),
        (whole, part, "another part: one <- a: all parameters, and 1 of 2 parameters expected"),
    ):
        with pytest.raises(AssertionError, match=says):
            assert_routes(found, expected)
        assert found.differences(expected)
    with pytest.raises(AssertionError, match=r"one +a +a \(1 of 2 parameters\)"):
        assert_routes(part, whole)
    uncounted = KnownRow("one", {"a": Cell("live")}, modules=MODULES)
    assert_routes(part, RouteTable([uncounted], modules=MODULES))


def test_a_golden_file_edited_by_hand_is_noticed(tmp_path):
    data = table_of({"one": PART}).to_json()
    assert data["routes"]["one"]["a"] == {"status": "live", "parameters": "1 of 2"}
    file = tmp_path / "routes.json"
    file.write_text(json.dumps(data).replace("1 of 2", "2 of 2"))
    report = judge(seen({"one": PART}, {}), file)
    (finding,) = report.of("missing-route")
    said = "does not update all parameters of `a`, which is expected: 1 of 2 parameters are reached"
    assert said in finding.message
    (finding,) = judge(seen({"one": WHOLE}, {}), table_of({"one": PART})).of("unexpected-route")
    said = "updates all parameters of `a`, which is not expected: 1 of 2 parameters were"
    assert said in finding.message
    file.write_text(json.dumps(data).replace("1 of 2", "one half"))
    with pytest.raises(SpecError, match="damaged"):
        RouteTable.load(file)


def test_a_module_that_grows_is_the_same_route():
    assert not Cell("live", parameters=(2, 2)).differs(Cell("live", parameters=(4, 4)))
    assert Cell("live", parameters=(2, 2)).differs(Cell("live", parameters=(2, 4)))


def test_a_golden_file_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match=r"cannot be read.*table\.save\('.*none\.json'\)"):
        assert_routes(table_of({"one": WHOLE}), str(tmp_path / "none.json"))


# Reports -------------------------------------------------------------------------------------


def test_assert_clean():
    judge(seen({"one": frozenset({"a0", "a1", "b0"})}, {})).assert_clean()
    wrong = judge(seen({"one": WHOLE}, {}))  # `b` is starved
    with pytest.raises(AssertionError) as caught:
        wrong.assert_clean()
    assert str(caught.value) == str(wrong)


def test_the_fix_for_code_is_another_one():
    of_spec, of_code = (
        find("starved-module", subject="m", detail="", code=code) for code in (False, True)
    )
    assert "m.frozen(...)" in of_spec.fix
    assert 'targets={"m": ...}' in of_code.fix
    assert (
        find("flat-loss", loss="l", detail="", steps="1", code=True).fix == RULES["flat-loss"].fix
    )
    said = RULES["starved-module"]
    for page in (said.explain(), said.markdown()):
        assert said._spoken(said.fix) in page
        assert said._spoken(said.in_code) in page


def test_a_call_that_cannot_be():
    def losses(modules, x, action):
        raise TypeError("of the function itself")

    require_call(losses, 1, 2, 3, call="")
    require_call(print, 1, call="")
    says = r"calls `loss_fn\(m\)`, here with \(dict, int\), and the function is `losses\(modules, "
    with pytest.raises(AuditError, match=says + r".*missing a required argument: 'action'"):
        require_call(losses, {}, 1, call="loss_fn(m)")
