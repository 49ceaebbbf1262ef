"""The verdict table of the design comes out, row by row, with the gates in each position."""

import pytest

import latentroles as lr
from verdicts import K, jepa, model, rssm

ISOLATED = {"isolated"}
CONDITIONED, ROLLED = {"conditioned-prediction"}, {"open-loop-rollout"}
SEEN, RENDERED = {"observation-sufficiency"}, {"rendered-prediction"}
H_LOSSES_ON_H = {
    "jepa": set(),
    "recon_h": SEEN,
    "h_smooth": {"temporal-adjacency"},
    "inverse_dynamics_h": {"action-leak"},
    "action_delta_h": {"conditioned-prediction", "target-live"},
    "action_delta_h_prototype": {"action-additivity", "action-leak"},
    "rollout_kstep_h": ROLLED,
    "rollout_kstep_delta_h": ROLLED,
}
# What the losses on h put on z when the gate from z into the predictor is open.
H_LOSSES_ON_Z = {
    "jepa": CONDITIONED,
    "recon_h": RENDERED,  # z_t is asked for the frame at t + 1
    "h_smooth": CONDITIONED,  # the action stands between the two
    "inverse_dynamics_h": {"action-leak"},
    "action_delta_h": {"conditioned-prediction", "target-live"},
    "action_delta_h_prototype": {"action-leak"},
    "rollout_kstep_h": ROLLED,
    "rollout_kstep_delta_h": ROLLED,
}
# What the losses that read z itself put on it when their gate is open.
Z_LOSSES = {
    "recon": SEEN,
    "recon_patch": SEEN,
    "recon_multi_gauss": SEEN,
    "recon_multi_box": SEEN,
    "pixel_delta": SEEN,
    "pixel_delta_multi_box": SEEN,
    "inverse_dynamics_z": {"action-identity"},
    "inverse_dynamics_buttons_z": {"action-identity"},
    "action_delta_z": {"action-identity", "action-additivity"},
    "z_smooth": {"temporal-adjacency"},
    "z_smooth_cosine": {"temporal-adjacency"},
    "rollout_kstep_z": ROLLED,
    "rollout_recon_z": RENDERED,
    "rollout_recon_multi_box_z": RENDERED,
    "rollout_recon_delta_z": RENDERED,
    "rollout_recon_multi_box_delta_z": RENDERED,
}
P_LOSSES = {
    "inverse_dynamics_p": {"action-leak"},
    "inverse_dynamics_dp": {"action-leak"},
    "action_delta_dp": {"action-leak"},
    "additivity_dp": {"conditioned-prediction", "target-live"},
    "rollout_kstep_p": set(),
    "rollout_kstep_p_measured": set(),
    "scale_dp": set(),
    "scale_dp_trimmed": set(),
    "geometry_rank_p": set(),
}


def verdict(loss: str, latent: str, **gates: bool) -> set[str]:
    return set(lr.check(model(loss, **gates)).verdicts[loss][latent])


def levels(loss: str, latent: str, **gates: bool) -> dict[str, str]:
    """The severity of each finding on a latent."""
    report = lr.check(model(loss, **gates))
    wanted = (loss, latent)
    return {f.rule: f.severity for f in report if (f.loss, f.subject) == wanted and f.code > "LR2"}


@pytest.mark.parametrize("loss", Z_LOSSES)
def test_a_loss_on_z(loss):
    assert verdict(loss, "z", z_to_head=True) == Z_LOSSES[loss]
    assert verdict(loss, "z", z_to_head=False) == ISOLATED
    assert verdict(loss, "h", z_to_head=True) == ISOLATED


@pytest.mark.parametrize("loss", Z_LOSSES)
def test_what_the_contract_makes_of_it(loss):
    expected = {
        slug: "warning" if slug == "observation-sufficiency" else "error" for slug in Z_LOSSES[loss]
    }
    assert levels(loss, "z", z_to_head=True) == expected
    assert levels(loss, "z", z_to_head=False) == {}


@pytest.mark.parametrize("loss", H_LOSSES_ON_H)
@pytest.mark.parametrize("live", [True, False])
def test_a_loss_on_h(loss, live):
    assert verdict(loss, "h", z_to_h=live) == H_LOSSES_ON_H[loss]
    assert verdict(loss, "z", z_to_h=live) == (H_LOSSES_ON_Z[loss] if live else ISOLATED)
    assert verdict(loss, "p", z_to_h=live) == ISOLATED


def test_the_contracts_of_h_and_z_differ():
    assert levels("rollout_kstep_h", "h", z_to_h=True) == {}
    assert levels("rollout_kstep_h", "z", z_to_h=True) == {"open-loop-rollout": "error"}
    assert levels("inverse_dynamics_h", "h", z_to_h=True) == {"action-leak": "warning"}
    assert levels("inverse_dynamics_h", "z", z_to_h=True) == {"action-leak": "error"}
    assert levels("action_delta_h", "h") == {}


def test_jepa_with_a_live_target_moves_it():
    both = CONDITIONED | {"target-live"}
    assert verdict("jepa", "z", z_to_h=True, live_target=True) == both
    assert set(levels("jepa", "z", z_to_h=True, live_target=True).values()) == {"warning"}


@pytest.mark.parametrize("loss", P_LOSSES)
@pytest.mark.parametrize("h_to_p", [True, False])
def test_a_loss_on_p(loss, h_to_p):
    assert verdict(loss, "p", h_to_p=h_to_p) == P_LOSSES[loss]
    assert (verdict(loss, "h", h_to_p=h_to_p) == ISOLATED) is not h_to_p
    assert verdict(loss, "z", h_to_p=h_to_p) == ISOLATED
    leaks = {"action-leak": "warning"} if "action-leak" in P_LOSSES[loss] else {}
    assert levels(loss, "p", h_to_p=h_to_p) == leaks


@pytest.mark.parametrize("loss", ["inverse_dynamics_p", "inverse_dynamics_dp", "action_delta_dp"])
def test_with_both_gates_open_a_leak_into_p_reaches_z(loss):
    assert verdict(loss, "z", h_to_p=True, z_to_h=True) == {"action-leak"}
    assert levels(loss, "z", h_to_p=True, z_to_h=True) == {"action-leak": "error"}


@pytest.mark.parametrize("live", [True, False])
def test_moves_of_a_head_add_up_without_h(live):
    report = lr.check(model("additivity_h_head", z_to_h=live))
    assert not report.of("vacuous-loss")
    assert report.routes["additivity_h_head"].modules == {"effect"}
    assert all(slugs == ISOLATED for slugs in report.verdicts["additivity_h_head"].values())


@pytest.mark.parametrize("live", [True, False])
def test_z2h_leaves_z_alone(live):
    spec = model("z2h", z_to_h=live, z_to_head=live)
    report = lr.check(spec)
    assert set(report.verdicts["z2h"]["z"]) == ISOLATED
    assert report.routes["z2h"].modules == {"z_to_hidden"}
    assert report.routes["z2h"]["h_to_z"].status == "frozen"


@pytest.mark.parametrize("live", [True, False])
def test_h2z_is_jepa_again_but_for_the_first_frame(live):
    report = lr.check(model("jepa", z_to_h=live))
    (found,) = report.of("duplicate-loss")
    assert (found.loss, found.severity) == ("h2z", "note")
    assert "but for the frames" in found.message
    assert set(report.verdicts["h2z"]["z"]) == (CONDITIONED if live else ISOLATED)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("live_target", [True, False])
def test_projecting_a_rollout_bends_the_encoder_wherever_z_is_stopped(live, live_target):
    """The note compares with the imagined z; whether that is stopped, it leaves open."""
    gates = {"z_to_head": live, "live_target": live_target}
    moved = {"target-live": "warning"} if live and live_target else {}
    found = {"off-manifold-encoder": "error", **moved}
    assert levels("rollout_project_z", "z", **gates) == found
    assert verdict("rollout_project_z", "z", **gates) == set(found)


@pytest.mark.parametrize(
    "loss", ["additivity_h", "additivity_dp_literal", "rollout_kstep_p_of_itself"]
)
@pytest.mark.parametrize("live", [True, False])
def test_what_telescopes_is_vacuous(loss, live):
    (found,) = lr.check(model(loss, z_to_h=live, h_to_p=live)).of("vacuous-loss")
    assert (found.loss, found.severity) == (loss, "error")


@pytest.mark.parametrize("loss", [*Z_LOSSES, *H_LOSSES_ON_H, *P_LOSSES, "z2h"])
def test_nothing_else_is_vacuous(loss):
    report = lr.check(model(loss, z_to_h=True, z_to_head=True, h_to_p=True))
    assert not report.of("vacuous-loss")
    assert not report.of("under-conditioned")


def test_the_longest_step_is_reported():
    (found,) = lr.check(model("rollout_kstep_z", z_to_head=True)).of("open-loop-rollout")
    assert f"{K} steps ahead" in found.message
    assert "target: z[t+4]" in found.path


STATISTICS = [
    *("vicreg", "barlow_decorrelation", "center", "sigreg", "sliced_normal", "coding_rate"),
]


@pytest.mark.parametrize("loss", ["scale_dp", "scale_dp_trimmed", *STATISTICS])
def test_a_statistic_of_the_batch_is_noted(loss):
    (found,) = lr.check(model(loss)).of("batch-statistic")
    assert (found.loss, found.severity) == (loss, "note")


@pytest.mark.parametrize("loss", STATISTICS)
@pytest.mark.parametrize("live", [True, False])
def test_a_statistic_of_z_puts_no_pressure_on_it(loss, live):
    assert verdict(loss, "z", z_to_head=live) == (set() if live else ISOLATED)


@pytest.mark.parametrize("loss", STATISTICS)
def test_what_keeps_z_from_collapsing(loss):
    """The centre alone admits collapse, and so does decorrelation on one batch."""
    unmet = lr.check(model(loss, z_to_head=True)).of("requirement-unmet")
    met = loss in ("vicreg", "sigreg", "sliced_normal", "coding_rate")
    assert ([f.subject for f in unmet if f.severity == "warning"] == []) is met


def test_an_rssm_with_its_posterior_stopped_leaves_the_encoder_alone():
    report = lr.check(rssm())
    assert set(report.verdicts["consistency"]["z"]) == ISOLATED
    assert report.routes["consistency"].modules == {"prior"}
    assert report.clean is False  # recon: observation-sufficiency, which no allowance covers
    assert [f.rule for f in report.warnings] == ["observation-sufficiency"]


@pytest.mark.parametrize(
    ("opened", "slugs"),
    [
        ({"input_live": True}, CONDITIONED),
        ({"posterior_live": True}, CONDITIONED),
        ({"input_live": True, "posterior_live": True}, CONDITIONED | {"target-live"}),
    ],
)
def test_an_rssm_that_shapes_its_posterior(opened, slugs):
    assert set(lr.check(rssm(**opened)).verdicts["consistency"]["z"]) == slugs


@pytest.mark.parametrize(
    ("mode", "slugs"), [("default", ISOLATED), ("vjepa2", CONDITIONED), ("none", CONDITIONED)]
)
def test_the_target_encoders_of_jepa(mode, slugs):
    report = lr.check(jepa(mode))
    assert set(report.verdicts["prediction"]["z"]) == slugs
    assert set(report.verdicts["vicreg"]["z"]) == set()
    assert report.ok
