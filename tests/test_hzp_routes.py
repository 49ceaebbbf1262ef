"""The routes of `hzp` are the gradient-flow table of its note, row for row."""

import pytest

import latentroles as lr
from latentroles_specs.hzp import hzp

# The note's "Primary parameters updated"; its inverse_dynamics_h head has the name of its loss.
P = "p_action_delta_projector"
NOTE = {
    "jepa": {"predictor", "h_to_z"},
    "recon_multi_box": {"encoder", "decoder"},
    "pixel_delta_multi_box": {"encoder", "decoder"},
    "h2z": {"h_to_z", "predictor"},
    "z2h": {"z_to_h"},
    "inverse_dynamics_h": {"inverse_dynamics_h", "predictor"},
    "action_delta_h": {"h_action_delta_projector", "predictor"},
    "rollout_kstep_h": {"predictor", "h_to_z"},
    "rollout_kstep_delta_h": {"predictor", "h_to_z"},
    "action_delta_dp": {"dp_action_delta_projector", P},
    "additivity_dp": {P},
    "rollout_kstep_p": {P},
    "scale_dp": {P},
    "geometry_rank_p": {P},
}
NOTE_MODULES = set().union(*NOTE.values())
ON_H = {"jepa", "h2z", "inverse_dynamics_h", "action_delta_h"} | {
    "rollout_kstep_h",
    "rollout_kstep_delta_h",
}
ON_P = {"action_delta_dp", "additivity_dp", "rollout_kstep_p", "scale_dp", "geometry_rank_p"}
ON_PIXELS = {"recon_multi_box", "pixel_delta_multi_box"}


def table(**arguments) -> dict[str, set[str]]:
    """Loss -> the note's modules that it updates."""
    routes = lr.routes(hzp(**arguments))
    return {loss: set(routes[loss].modules & NOTE_MODULES) for loss in routes}


def also(losses: set[str], module: str) -> dict[str, set[str]]:
    return {loss: row | ({module} if loss in losses else set()) for loss, row in NOTE.items()}


def test_the_default_gates_give_the_note():
    assert table() == NOTE


def test_the_learned_jump_is_the_one_module_that_the_note_lacks():
    routes = lr.routes(hzp())
    assert routes.reached - NOTE_MODULES == {"pose_jump"}
    assert [loss for loss in routes if "pose_jump" in routes[loss].modules] == ["additivity_dp"]


def test_opening_z_to_the_predictor_lets_its_losses_reach_the_encoder():
    assert table(detach_z_from_h_and_p=False) == also(ON_H, "encoder")


def test_closing_z_to_the_decoder_leaves_the_decoder_alone():
    expected = {
        loss: row - ({"encoder"} if loss in ON_PIXELS else set()) for loss, row in NOTE.items()
    }
    assert table(detach_decoder=True) == expected


def test_opening_h_to_the_pose_lets_pose_losses_shape_the_predictor():
    assert table(pose_delta_detach_h=False) == also(ON_P, "predictor")


def test_opening_both_lets_pose_losses_reach_the_encoder():
    expected = also(ON_H | ON_P, "encoder")
    expected = {k: v | ({"predictor"} if k in ON_P else set()) for k, v in expected.items()}
    assert table(detach_z_from_h_and_p=False, pose_delta_detach_h=False) == expected


def test_starting_h_from_z_lets_the_losses_on_h_update_z_to_h():
    assert table(use_z2h_init=True) == also(ON_H, "z_to_h")


@pytest.mark.parametrize("loss", NOTE)
def test_a_loss_of_weight_zero_is_absent(loss):
    assert set(table(**{loss: 0.0})) == set(NOTE) - {loss}


def test_why_jepa_does_not_reach_the_encoder():
    cell = lr.routes(hzp())["jepa"]["encoder"]
    assert str(cell) == "stopped (stop on z.t[1:]; gate z_to_hp)"
    assert str(lr.routes(hzp())["z2h"]["h_to_z"]) == "frozen"
    assert str(lr.routes(hzp())["z2h"]["decoder"]) == "unconnected"


def test_gates_flip_on_a_declared_spec_too():
    opened = hzp().with_gates(z_to_hp=True)
    assert opened.hash == hzp(detach_z_from_h_and_p=False).hash != hzp().hash
