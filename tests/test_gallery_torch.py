"""The torch audit on training programs: the correct ones are clean, and every bug is found."""

import pytest
import torch

from gallery.torch_programs import PROGRAMS, Program
from latentroles.routes import RouteTable
from latentroles.rules import Finding, Report
from latentroles_torch import audit

WRONG = [(name, bug) for name, entry in PROGRAMS.items() for bug in entry.wrong]


def built(name: str, bug: str = "") -> Program:
    torch.manual_seed(0)
    return PROGRAMS[name].build(bug)


def checked(p: Program) -> Report:
    return audit.check(
        p.step(), p.modules, optimizers=p.optimizers, targets=p.targets, expected=p.expected
    )


def routed(p: Program) -> Report:
    return audit.check(p.step(), p.modules, targets=p.targets, expected=p.expected)


def watched(p: Program) -> Report:
    return audit.watch(p.step, p.modules, optimizers=p.optimizers, targets=p.targets)


def alarms(report: Report) -> tuple[Finding, ...]:
    return (*report.errors, *report.warnings)


def found(name: str, bug: str) -> tuple[bool, Report]:
    """Whether the right rule spoke of the right thing, and all that was said."""
    by, rule, about = PROGRAMS[name].wrong[bug]
    report = {"check": checked, "watch": watched, "routes": routed}[by](built(name, bug))
    return any(f.rule == rule and about in (f.subject, f.loss) for f in alarms(report)), report


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_correct_program_is_clean(name):
    for report in (checked(built(name)), watched(built(name))):
        assert report.clean, report


def in_numbers(p: Program, routes: RouteTable | None = None) -> Report:
    return audit.watch(
        lambda: {name: loss.item() for name, loss in p.step().items()},
        p.modules,
        optimizers=p.optimizers,
        targets=p.targets,
        routes=routes,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_correct_program_that_returns_numbers_is_clean_with_its_routes_alone(name):
    assert [f.rule for f in alarms(in_numbers(built(name)))] == ["routes-unknown"]
    p = built(name)
    report = in_numbers(p, audit.routes(p.step(), p.modules))
    assert report.clean, report


STRAY = [(name, bug) for name, bug in WRONG if PROGRAMS[name].wrong[bug][1] == "stray-gradient"]


@pytest.mark.parametrize(("name", "bug"), STRAY, ids=[f"{n}-{b}" for n, b in STRAY])
def test_a_stray_gradient_is_found_where_numbers_are_returned(name, bug):
    p = built(name, bug)
    report = in_numbers(p, audit.routes(p.step(), p.modules))
    assert any(f.subject == PROGRAMS[name].wrong[bug][2] for f in report.of("stray-gradient"))


@pytest.mark.parametrize(("name", "bug"), WRONG, ids=[f"{n}-{b}" for n, b in WRONG])
def test_a_bug_is_found(name, bug):
    right, report = found(name, bug)
    assert right, report


def test_the_counts(capsys):
    clean = [n for n in PROGRAMS if checked(built(n)).clean and watched(built(n)).clean]
    right = [(name, bug) for name, bug in WRONG if found(name, bug)[0]]
    with capsys.disabled():
        print(
            f"\ntorch gallery: {len(clean)} of {len(PROGRAMS)} correct programs are clean, "
            f"{len(right)} of {len(WRONG)} wrong forms are found, "
            f"{len(PROGRAMS) - len(clean)} false alarms"
        )
    assert len(clean) == len(PROGRAMS) >= 15
    assert len(right) == len(WRONG) >= len(PROGRAMS)
