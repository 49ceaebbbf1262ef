"""Every loss of the note of `hzp`, each alone: what it updates, and what the checker says of it."""

from collections.abc import Iterable
from typing import Any

import pytest

import latentroles as lr
from hzp_alone import OFF, ON, alone
from latentroles.errors import SpecError
from latentroles_specs.hzp import hzp

# The note's list of what is disabled, with both forms of sigreg, the measurement of the pose, and
# what the note on z refuses beside.
NOTE_OFF = {
    *("sigreg", "sliced_normal", "recon", "recon_patch", "recon_multi_gauss", "pixel_delta"),
    *("inverse_dynamics_z", "inverse_dynamics_p", "inverse_dynamics_dp"),
    *("action_delta_z", "additivity_h", "z_smooth"),
    *("rollout_kstep_z", "rollout_recon_z", "rollout_recon_multi_box_z", "rollout_recon_delta_z"),
    *("rollout_recon_multi_box_delta_z", "rollout_project_z", "pose_measure"),
}

P = "p_action_delta_projector"
DRAWN = {"encoder", "decoder", "predictor", "h_to_z"}
UPDATES = {
    "jepa": {"predictor", "h_to_z"},
    "recon": {"encoder", "decoder"},
    "recon_patch": {"encoder", "decoder"},
    "recon_multi_gauss": {"encoder", "decoder"},
    "recon_multi_box": {"encoder", "decoder"},
    "pixel_delta": {"encoder", "decoder"},
    "pixel_delta_multi_box": {"encoder", "decoder"},
    "sigreg": {"encoder"},
    "sliced_normal": {"encoder"},
    "h2z": {"predictor", "h_to_z"},
    "z2h": {"z_to_h"},
    "action_delta_h": {"predictor", "h_action_delta_projector"},
    "additivity_h": {"h_action_delta_projector"},
    "rollout_kstep_h": {"predictor", "h_to_z"},
    "rollout_kstep_delta_h": {"predictor", "h_to_z"},
    "rollout_kstep_z": {"encoder", "predictor", "h_to_z"},
    "rollout_recon_z": DRAWN,
    "rollout_recon_multi_box_z": DRAWN,
    "rollout_recon_delta_z": DRAWN,
    "rollout_recon_multi_box_delta_z": DRAWN,
    "rollout_project_z": DRAWN,
    "action_delta_dp": {P, "dp_action_delta_projector"},
    "additivity_dp": {P, "pose_jump"},
    "pose_measure": {"pose_measure"},
    "rollout_kstep_p": {P},
    "scale_dp": {P},
    "geometry_rank_p": {P},
    "inverse_dynamics_h": {"predictor", "inverse_dynamics_h"},
    "inverse_dynamics_z": {"encoder", "inverse_dynamics_z"},
    "inverse_dynamics_p": {P, "inverse_dynamics_p"},
    "inverse_dynamics_dp": {P, "inverse_dynamics_dp"},
    "action_delta_z": {"encoder", "z_action_delta_projector"},
    "z_smooth": {"encoder"},
}
ON_PIXELS = {n for n, modules in UPDATES.items() if modules == {"encoder", "decoder"}}
IN_Z = {n for n in UPDATES if n.startswith("rollout") and n.endswith("_z")}
ON_H = {n for n, modules in UPDATES.items() if "predictor" in modules}
ON_P = {n for n, modules in UPDATES.items() if P in modules}


def added(losses: Iterable[str], *modules: str) -> dict[str, set[str]]:
    return {loss: set(modules) for loss in losses}


Z_OPEN, P_OPEN = {"detach_z_from_h_and_p": False}, {"pose_delta_detach_h": False}
# Arguments, and which modules they add to which losses.
GATES = {
    "z_to_hp": (Z_OPEN, added(ON_H, "encoder")),
    "h_to_p": (P_OPEN, added(ON_P, "predictor")),
    "both": (Z_OPEN | P_OPEN, added(ON_H, "encoder") | added(ON_P, "predictor", "encoder")),
    "z2h_init": ({"use_z2h_init": True}, added(ON_H, "z_to_h")),
}

FREE, SEEN = set(), {"observation-sufficiency"}
CONDITIONED, ROLLED = {"conditioned-prediction"}, {"open-loop-rollout"}
LIVE, LEAK, RENDERED = {"target-live"}, {"action-leak"}, {"rendered-prediction"}
ON_THE_MANIFOLD = {"off-manifold-encoder"} | LIVE
# On z itself, at the default gates.
Z = {
    **dict.fromkeys(ON_PIXELS, SEEN),
    **dict.fromkeys(IN_Z, RENDERED),
    "sigreg": FREE,
    "sliced_normal": FREE,
    "rollout_kstep_z": ROLLED,
    "rollout_project_z": ON_THE_MANIFOLD,
    "inverse_dynamics_z": {"action-identity"},
    "action_delta_z": {"action-identity", "action-additivity"},
    "z_smooth": {"temporal-adjacency"},
}
# On z, through h, once the gate from z into the predictor is open.
Z_THROUGH_H = {
    "jepa": CONDITIONED,
    "h2z": CONDITIONED,
    "action_delta_h": CONDITIONED | LIVE,
    "rollout_kstep_h": ROLLED,
    "rollout_kstep_delta_h": ROLLED,
    "inverse_dynamics_h": LEAK,
}
H = {
    "jepa": FREE,
    "h2z": FREE,
    "action_delta_h": CONDITIONED | LIVE,
    "rollout_kstep_h": ROLLED,
    "rollout_kstep_delta_h": ROLLED,
    "rollout_kstep_z": FREE,
    **dict.fromkeys(IN_Z - {"rollout_kstep_z", "rollout_project_z"}, RENDERED),
    "rollout_project_z": ON_THE_MANIFOLD,
    "inverse_dynamics_h": LEAK,
}
POSE = {
    "action_delta_dp": LEAK,
    "additivity_dp": CONDITIONED | LIVE,
    "rollout_kstep_p": FREE,
    "scale_dp": FREE,
    "geometry_rank_p": FREE,
    "inverse_dynamics_p": LEAK,
    "inverse_dynamics_dp": LEAK,
}
ISOLATED = {"isolated"}

every_loss = pytest.mark.parametrize("loss", UPDATES)


def test_every_loss_of_the_note_has_a_weight_that_is_off_where_the_note_says():
    assert OFF == NOTE_OFF
    assert UPDATES.keys() == ON | OFF


@every_loss
def test_a_loss_alone_updates_what_the_design_says(loss):
    assert lr.routes(alone(loss))[loss].modules == UPDATES[loss]


@every_loss
@pytest.mark.parametrize("gate", GATES)
def test_a_gate_adds_what_stands_behind_it(loss, gate):
    arguments, more = GATES[gate]
    found = lr.routes(alone(loss, **arguments))[loss].modules
    assert found == UPDATES[loss] | more.get(loss, set())


@every_loss
def test_closing_the_decoder_keeps_pixels_from_the_encoder(loss):
    expected = UPDATES[loss] - ({"encoder"} if loss in ON_PIXELS else set())
    assert lr.routes(alone(loss, detach_decoder=True))[loss].modules == expected


@every_loss
def test_nothing_is_declared_for_a_loss_that_is_off(loss):
    spec = alone(loss)
    model = {"encoder", "decoder", "predictor", "h_to_z", "z_to_h", P}
    assert spec.modules.keys() - model <= UPDATES[loss]
    assert not spec.noises or loss in ("sigreg", "sliced_normal")


# What the checker says --------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("z_open", [False, True])
@pytest.mark.parametrize("h_to_p", [False, True])
def test_the_verdicts_of_a_loss_alone(loss, z_open, h_to_p):
    spec = alone(loss, detach_z_from_h_and_p=not z_open, pose_delta_detach_h=not h_to_p)
    verdict = lr.check(spec).verdicts[loss]
    on_z = Z | (Z_THROUGH_H if z_open else {}) | (POSE if z_open and h_to_p else {})
    on_h = H | (POSE if h_to_p else {})
    assert verdict["z"] == on_z.get(loss, ISOLATED)
    assert verdict["h"] == on_h.get(loss, ISOLATED)
    if loss != "rollout_project_z":  # its encoder makes what p is computed from
        assert verdict["p"] == POSE.get(loss, ISOLATED)


@every_loss
def test_what_the_roles_make_of_a_loss_alone(loss):
    """Errors are for what z as a place forbids; a leak into h or p is a warning."""
    report = lr.check(alone(loss))
    forbidden = Z.get(loss, FREE) - SEEN - LIVE
    assert {f.rule for f in report.errors} == forbidden
    allowed = {"recon_multi_box", "pixel_delta_multi_box", "inverse_dynamics_h", "action_delta_dp"}
    warned = {f.rule for f in report.warnings if f.loss == loss}
    expected = (Z.get(loss, FREE) & (SEEN | LIVE)) | (POSE | H).get(loss, FREE) & LEAK
    assert warned == (set() if loss in allowed else expected)


def test_moves_of_h_itself_add_up_by_construction():
    report = lr.check(alone("additivity_h", additivity_h_of="differences"))
    assert [(f.rule, f.loss) for f in report.errors] == [("vacuous-loss", "additivity_h")]
    assert lr.check(hzp(frame=(3, 8, 8), dim=4, horizon=2, additivity_h=1.0)).clean


def test_one_move_of_h_for_each_action_is_a_leak():
    """The prototype's move knows the action alone, and h the action that it was computed from."""
    spec = alone("action_delta_h", action_delta_h_by="prototype", detach_z_from_h_and_p=False)
    report = lr.check(spec)
    assert spec.modules["h_action_delta_projector"].layer == lr.nn.linear(3, 4)
    assert report.verdicts["action_delta_h"]["h"] == {"action-additivity"} | LEAK
    assert report.verdicts["action_delta_h"]["z"] == LEAK
    assert [f.rule for f in report.warnings if f.subject == "h"] == ["action-leak"]
    both = lr.routes(alone("additivity_h", action_delta_h_by="prototype"))
    assert both["additivity_h"].modules == UPDATES["additivity_h"]


def test_the_default_has_nothing_but_notes():
    report = lr.check(hzp())
    assert report.clean
    assert [(f.rule, f.loss or f.subject) for f in report.findings if f not in report.allowed] == [
        ("requirement-unmet", "p"),
        ("duplicate-loss", "h2z"),
        ("batch-statistic", "scale_dp"),
        ("partial-route", "rollout_kstep_h"),
        ("partial-route", "rollout_kstep_delta_h"),
    ]


# The measured pose, the typical move ------------------------------------------------------------


def test_a_learned_measurement_takes_the_place_of_the_label():
    spec = hzp(frame=(3, 8, 8), dim=4, horizon=2, pose_measure=1.0)
    routes, verdicts = lr.routes(spec), lr.check(spec).verdicts
    assert routes["rollout_kstep_p"].modules == {P}
    assert str(routes["rollout_kstep_p"]["pose_measure"]).startswith("stopped")
    assert routes["pose_measure"].modules == {"pose_measure"}
    assert set(verdicts["pose_measure"].values()) == {frozenset({"isolated"})}
    assert verdicts["rollout_kstep_p"]["p"] == FREE


SWITCHES = ("detach_z_from_h_and_p", "detach_decoder", "pose_delta_detach_h", "use_z2h_init")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"additivity_h_of": "sums"}, "additivity_h_of must be one of 'head', 'differences'"),
        ({"scale_dp_by": "mean"}, "scale_dp_by must be one of 'median', 'trimmed_mean'"),
        ({"action_delta_h_by": "h"}, "action_delta_h_by must be one of 'state', 'prototype'"),
        *(({n: 0}, rf"{n} .* integer of at least 1") for n in ("actions", "dim", "pose_dim")),
        ({"actions": True}, r"actions .* integer of at least 1; received True"),
        ({"horizon": 1}, r"horizon .* integer of at least 2; received 1"),
        ({"start_frame": 1.5}, r"start_frame .* integer of at least 0; received 1.5"),
        *(
            ({gate: "false"}, f"{gate} must be True or False; received 'false'")
            for gate in SWITCHES
        ),
        ({"sliced_normal": -1.0}, "'sliced_normal' needs a positive, finite weight"),
        ({"inverse_dynamics_z": float("nan")}, "'inverse_dynamics_z' needs a positive, finite"),
    ],
)
def test_bad_arguments_are_said(arguments, message):
    with pytest.raises(SpecError, match=message):
        hzp(**{"frame": (3, 8, 8), "dim": 4, "horizon": 2, **arguments})


@every_loss
def test_no_weight_is_not_the_weight_zero(loss):
    weights: dict[str, Any] = {loss: None}
    with pytest.raises(SpecError, match=f"weight of loss '{loss}' is a number or .* got None"):
        hzp(frame=(3, 8, 8), dim=4, horizon=2, **weights)
