"""The responsibility table: its lines say what the check says, and its pages are current."""

from pathlib import Path

import numpy as np
import pytest

import latentroles as lr
from hzp_alone import OFF, ON
from latentroles import roles
from latentroles.cli import main
from latentroles.rules import responsibility
from latentroles.rules.catalogue import CATALOGUE
from latentroles.rules.responsibility import catalogue, of_spec
from latentroles.rules.tiny import ROLES, Tiny
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


def test_every_role_is_a_column_by_itself_or_by_its_contract():
    def contract(role: lr.Role) -> tuple:
        return role.forbids, role.cautions, role.requires

    shipped = [role for role in vars(roles).values() if isinstance(role, lr.Role)]
    assert set(ROLES) <= set(shipped)
    assert {contract(role) for role in shipped} == {contract(role) for role in ROLES}
    assert {role.name for role in shipped} - {role.name for role in ROLES} == {"DESCRIPTOR"}
    assert all(list(line.rewards) == [role.name for role in ROLES] for line in LINES.values())


@pytest.mark.parametrize(
    ("role", "reads", "actions"),
    [
        ("PLACE", {"x[t]"}, set()),
        ("EQUIVARIANT", {"x[t]"}, set()),
        ("AGGREGATE", {"x[t-1]", "x[t]"}, {"a[t-1]"}),
    ],
)
def test_what_the_latent_of_a_role_is_made_of(role, reads, actions):
    tiny = Tiny(getattr(lr, role))
    tiny.s.loss("recon", CATALOGUE["recon"](tiny))
    report = lr.check(tiny.s)
    assert report.routes["recon"].modules >= tiny.makers
    found = {f"{name}[t{shift or ''}]" for name, shift in read_at(tiny, frame=3)}
    assert found == reads | actions


def read_at(tiny: Tiny, frame: int) -> set[tuple[str, int]]:
    """The inputs whose entries change u at a frame, relative to it."""
    model = lr.compile(tiny.s, backend="torch", dtype="float64")
    rng = np.random.default_rng(0)
    batch = {"x": rng.normal(size=(1, 6, 3, 8, 8)), "a": np.zeros((1, 5), int)}
    before = np.asarray(model(model.inputs(batch)).latents["u"].detach())[0, frame]
    found = set()
    for name, count in (("x", 6), ("a", 5)):
        for t in range(count):
            other = {n: column.copy() for n, column in batch.items()}
            other[name][0, t] += 1
            after = np.asarray(model(model.inputs(other)).latents["u"].detach())[0, frame]
            if not np.array_equal(before, after):
                found.add((name, t - frame))
    return found


def test_a_target_that_follows_is_to_the_latent_what_a_stop_is():
    assert LINES["jepa_ema_target"].rewards == LINES["jepa"].rewards
    assert LINES["jepa_ema_target"].updates == LINES["jepa"].updates == ("latent", "predictor")
    assert LINES["jepa_ema_both"].updates == ("predictor",)
    assert set(LINES["jepa_ema_both"].rewards.values()) == {"isolated"}


def test_the_prediction_from_a_summary_and_the_measured_pose_are_there():
    said = LINES["seqjepa"]
    assert said.updates == ("latent", "predictor")
    assert said.algebra == LINES["jepa_cosine"].algebra
    assert (said.rewards["AGGREGATE"], said.rewards["EQUIVARIANT"]) == (
        "live",
        "conditioned-prediction",
    )
    assert LINES["pose_measure"].updates == ("head",)
    assert set(LINES["pose_measure"].rewards.values()) == {"isolated"}


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
