"""The JAX audit on training programs: the correct ones are clean, and every bug is found."""

import pytest

from gallery.jax_programs import PROGRAMS, Program
from latentroles.rules import Report
from latentroles_jax import audit

WRONG = [(name, bug) for name, entry in PROGRAMS.items() for bug in entry.wrong]


def given(p: Program) -> tuple:
    return ((p.others,) if p.others else ()) + p.batch(0)


def copies(p: Program, modules: dict) -> dict | None:
    """The targets that are modules, and among these."""
    return {t: s for t, s in (p.targets or {}).items() if t in modules} or None


def checked(p: Program, numeric: bool = True) -> Report:
    return audit.check(
        p.losses,
        p.params,
        *given(p),
        optimizers=p.optimizers,
        # latents among them; not what is an argument of its own
        targets={t: s for t, s in (p.targets or {}).items() if t not in p.others} or None,
        expected=p.expected,
        numeric=numeric,
    )


def watched(p: Program) -> Report:
    modules = {**p.params, **p.others}
    table = audit.routes(p.losses, p.params, *given(p))
    return audit.watch(p.step, modules, steps=3, targets=copies(p, modules), routes=table)


def alarms(report: Report) -> list[str]:
    return [f.rule for f in (*report.errors, *report.warnings)]


FALSE_ALARMS: dict[str, list[str]] = {}
FOUND: set[tuple[str, str]] = set()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_correct_program_is_clean(name):
    reports = [checked(PROGRAMS[name].build("")), watched(PROGRAMS[name].build(""))]
    FALSE_ALARMS[name] = [rule for report in reports for rule in alarms(report)]
    for report in reports:
        assert report.clean, report
        assert not report.of("silent-route"), report


@pytest.mark.parametrize(("name", "bug"), WRONG, ids=[f"{n}-{b}" for n, b in WRONG])
def test_a_bug_is_found(name, bug):
    by, rule = PROGRAMS[name].wrong[bug]
    wrong = PROGRAMS[name].build(bug)
    report = watched(wrong) if by == "watch" else checked(wrong, numeric=rule == "flat-loss")
    assert rule in alarms(report), report
    FOUND.add((name, bug))


def test_the_counts(capsys):
    assert len(PROGRAMS) >= 15
    assert all(entry.wrong for entry in PROGRAMS.values())
    if len(FALSE_ALARMS) < len(PROGRAMS):
        return  # other processes ran the rest
    alarmed = [name for name, rules in FALSE_ALARMS.items() if rules]
    with capsys.disabled():
        print(
            f"\njax gallery: {len(PROGRAMS) - len(alarmed)} of {len(PROGRAMS)} correct programs "
            f"clean, {len(FOUND)} of {len(WRONG)} wrong forms found, {len(alarmed)} false alarms"
        )
    assert not alarmed
