"""The responsibility table: its lines say what the check says, and its pages are current."""

from pathlib import Path

import pytest

import latentroles as lr
from hzp_alone import OFF, ON
from latentroles.cli import main
from latentroles.rules import responsibility
from latentroles.rules.catalogue import CATALOGUE
from latentroles.rules.responsibility import catalogue, of_spec
from latentroles.spec.array_functions import all_array_functions
from latentroles_specs.hzp import hzp

DOCS = Path(__file__).parents[1] / "docs"
LINES = {found.loss: found for found in catalogue()}
HZP = {found.loss: found for found in of_spec(lambda given: hzp(**given), {}, sorted(OFF))}


def test_the_page_of_losses_is_the_catalogue():
    """`latentroles losses --markdown > docs/losses.md` writes it anew."""
    assert (DOCS / "losses.md").read_text() == f"{responsibility.page()}\n"


def test_the_page_of_hzp_has_its_table(capsys):
    assert main(["losses", "hzp", "--markdown"]) == 0
    page = (DOCS / "systems/hzp.md").read_text()
    assert page.partition("<!-- losses -->")[2].partition("<!-- end -->")[0] == (
        f"\n{capsys.readouterr().out}"
    )


def test_the_page_of_hzp_has_its_findings_and_every_loss():
    report = lr.check(hzp())
    page = (DOCS / "systems/hzp.md").read_text()
    for finding in (*report.findings, *report.allowed):
        assert f"- {finding.code} {finding.rule}: {finding.message}\n" in page
    defined = page.partition("| loss | definition |")[2].partition("<!-- losses -->")[0]
    short = {"inverse_dynamics_h", "inverse_dynamics_p"}  # "`_h`, `_p`"
    assert [n for n in (ON | OFF) - short if f"`{n}`" not in defined] == []


def test_every_array_function_of_a_loss_is_in_the_catalogue():
    ours = {
        name
        for name, f in all_array_functions().items()
        if f.kind != "array" and f.function.__module__.startswith("latentroles.spec.array_")
    }
    found = {part.partition(":")[0] for n in LINES.values() for part in n.algebra.split("; ")}
    assert found == ours


def test_every_line_has_a_definition_of_one_line():
    assert [n for n in LINES.values() if not n.definition or "\n" in n.definition] == []


SAID = {
    "recon": ("observation-sufficiency (warning)", "observation-sufficiency"),
    "jepa_stopped_input": ("isolated", "isolated"),
    "inverse_dynamics": ("action-identity (error)", "action-leak (warning)"),
    "sigreg": ("live", "live"),
    "invariance": ("requirement-unmet (warning)", "live"),
    "additivity": (
        "target-live (warning), vacuous-loss (error), requirement-unmet (warning)",
        "target-live, vacuous-loss (error)",
    ),
}


@pytest.mark.parametrize("loss", SAID)
def test_what_a_line_says(loss):
    on = LINES[loss].rewards
    assert (on["PLACE"], on["DYNAMICS"]) == SAID[loss]


def test_a_line_names_the_latent_for_what_makes_it():
    assert LINES["recon"].updates == ("latent", "decoder")
    assert LINES["z2h"].updates == ("f",)
    assert LINES["sigreg"].algebra == "sigreg: statistic, couples, prevents collapse"


def test_the_losses_of_hzp_are_there_on_and_off():
    assert HZP.keys() == ON | OFF
    assert {n for n, found in HZP.items() if found.weight == "0"} == OFF
    assert HZP["rollout_kstep_z"].updates == ("encoder", "predictor", "h_to_z")
    assert HZP["inverse_dynamics_h"].rewards["h"] == "action-leak (allowed)"
    assert HZP["inverse_dynamics_p"].rewards["p"] == "action-leak (warning)"


def test_what_is_no_weight_is_passed_over_and_what_cannot_be_declared_says_why(tmp_path, capsys):
    file = tmp_path / "small.py"
    file.write_text(
        "import latentroles as lr\n"
        "def small(rate: float = 0.0, noise: float = 0.0, torn: float = 0.0, copy: float = 0.0):\n"
        "    s = lr.Spec('small')\n"
        "    x = s.observation('x', (3,))\n"
        "    z = s.latent('z', s.module('e', lr.nn.linear(3, 3))(x), role=lr.DYNAMICS)\n"
        "    s.loss('show', lr.losses.mse(lr.dropout(z, rate, label='d') + noise, x))\n"
        "    if torn:\n"
        "        s.loss('torn', lr.losses.mse(z, lr.zeros(2)), weight=torn)\n"
        "    s.loss('copy', lr.losses.mse(z, x), weight=copy)\n"
        "    return s\n"
    )
    assert main(["losses", f"{file}:small"]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["loss", "weight", "declared", "updates", "on", "z"]
    assert [row.split()[:2] for row in rows] == [["show", "1"], ["torn", "0"], ["copy", "0"]]
    assert "cannot be declared: small.py:8: " in rows[1]


def test_the_command_lists_the_catalogue(capsys):
    assert main(["losses"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{name} " in said for name in CATALOGUE)
    assert main(["losses", "-p", "dim=8"]) == 2
    assert "name SPEC" in capsys.readouterr().err
    assert main(["losses", "hzp", "-p", "recon=0.5"]) == 0
    assert "recon                            0.5 " in capsys.readouterr().out


def test_another_line_is_another_page(monkeypatch):
    page = responsibility.page()
    monkeypatch.setitem(CATALOGUE, "more", CATALOGUE["recon"])
    assert responsibility.page() != page
