"""Which losses of a spec the ladder knows, how it stands to the rules, and the page of it."""

import json
import math
import re
import runpy
from pathlib import Path

import pytest

import latentroles as lr
from latentroles.cli import main
from latentroles.evaluate import ladder
from latentroles.evaluate.ladder_kinds import Kinds
from latentroles.evaluate.ladder_optima import LadderLoss
from latentroles.words.corridor import corridor
from latentroles.words.minigrid import four_rooms
from latentroles_specs.place import place
from test_docs import run_blocks
from test_ladder import Aliased
from verdicts import K, jepa, model

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/ladder.md"


ON_Z = {
    "recon": LadderLoss("reconstruction"),
    "recon_multi_box": LadderLoss("reconstruction"),
    "inverse_dynamics_z": LadderLoss("inverse dynamics"),
    "action_delta_z": LadderLoss("action delta"),
    "z_smooth": LadderLoss("adjacency"),
    "z_smooth_cosine": LadderLoss("adjacency"),
    "rollout_kstep_z": LadderLoss("prediction", K),
    "jepa": LadderLoss("prediction", memory=True),
}
UNKNOWN = (
    "pixel_delta", "recon_h", "h_smooth", "z2h", "rollout_recon_z", "rollout_project_z",
    "inverse_dynamics_h", "action_delta_h", "action_delta_h_prototype", "additivity_h",
    "rollout_kstep_h", "vicreg", "sigreg", "additivity_dp", "scale_dp",
)  # fmt: skip


@pytest.mark.parametrize("opened", [True, False])
def test_which_loss_of_the_ladder_a_loss_is(opened):
    """Stops and gates are looked through."""
    gates = {"z_to_head": opened, "z_to_h": opened}
    for loss, kind in ON_Z.items():
        assert Kinds(model(loss, **gates)).of(loss, "z") == kind, loss
    for loss in UNKNOWN:
        assert Kinds(model(loss, **gates)).of(loss, "z") is None, loss


@pytest.mark.parametrize("mode", ["vjepa2", "none"])
def test_a_predictor_of_one_frame_has_no_memory(mode):
    assert Kinds(jepa(mode)).of("prediction", "z") == LadderLoss("prediction")


def two_steps(kind: str) -> lr.Spec:
    s = lr.Spec("two")
    x, a = s.observation("x", (4,)), s.action("a", lr.Discrete(3))
    z = s.latent("z", s.module("encoder", lr.nn.mlp(4, 4))(x), role=lr.PLACE)
    head = s.module("head", lr.nn.mlp(8, 3))
    act = a.one_hot()
    losses = {
        "adjacency": lambda: lr.losses.mse(z.t[2:], z.t[:-2]),
        "projected": lambda: lr.losses.mse(head(z.t[1:]), head(z.t[:-1])),
        "action two back": lambda: lr.losses.cross_entropy(
            head(lr.concat(z.t[1:-1], z.t[2:])), a.t[:-1]
        ),
        "off by one": lambda: lr.losses.mse(
            s.module("step", lr.nn.mlp(7, 4))(lr.concat(z.t[:-2], act.t[1:])), z.t[1:-1].stop()
        ),
        "reversed": lambda: -1.0 * lr.losses.mse(z.t[1:], z.t[:-1]),
        "another frame": lambda: lr.losses.mse(
            s.module("draw", lr.nn.mlp(4, 4))(z.t[1:]), x.t[:-1]
        ),
    }
    if kind == "projected":
        head = s.module("small", lr.nn.mlp(4, 2))
    s.loss("loss", losses[kind]())
    return s


def test_forms_that_are_near_a_loss_of_the_ladder():
    assert Kinds(two_steps("adjacency")).of("loss", "z") == LadderLoss("adjacency", 2)
    for kind in ("projected", "action two back", "off by one", "reversed", "another frame"):
        assert Kinds(two_steps(kind)).of("loss", "z") is None, kind


SHOWN = corridor(noop=True, last_action=True)


def judged(loss: str, environment=SHOWN, **gates: bool):
    found = ladder(model(loss, **gates), environment)
    (row,) = (row for row in found.rows if row.loss == loss)
    return row


def test_rule_and_ladder_side_by_side():
    agreed = judged("inverse_dynamics_z", z_to_head=True)
    assert (agreed.level, agreed.judgement) == ("error", "agree")
    assert agreed.optima.gap == pytest.approx(4 / 27)
    stopped = judged("inverse_dynamics_z")
    assert stopped.judgement == "isolated; live, it would gain 0.148"
    nothing = judged("rollout_kstep_z", z_to_head=True)
    assert nothing.judgement == "disagree: error, yet nothing to gain here"
    assert nothing.disagrees
    assert judged("z_smooth", corridor(), z_to_head=True).judgement == "vacuous here"
    assert judged("vicreg", z_to_head=True).judgement == "not a loss of the ladder"


def test_a_latent_that_remembers_is_judged_by_what_memory_gains():
    """In a corridor whose frame is its place, a z of two frames can show the action."""
    s = lr.Spec("stacked")
    x = s.observation("x", (9,))
    a = s.action("a", lr.Discrete(3))
    encoder = s.module("encoder", lr.nn.linear(18, 4))
    head = s.module("head", lr.nn.linear(8, 3))
    z = s.latent("z", encoder(lr.concat(x.t[:-1], x.t[1:])), role=lr.PLACE)
    guess = head(lr.concat(z.t[:-1], z.t[1:]))
    s.loss("inverse", lr.losses.cross_entropy(guess, a.t[1:]))
    (row,) = ladder(s, corridor(noop=True)).rows
    assert row.optima.gap == pytest.approx(0.0, abs=1e-12)
    assert row.optima.memory_gap == pytest.approx(4 / 27)
    assert (row.level, row.judgement) == ("error", "agree")


@pytest.mark.parametrize("policy", [3, None])
def test_a_policy_that_is_none_is_refused(policy):
    with pytest.raises(lr.SpecError, match=f"policy must be one of .* received {policy}"):
        ladder(model("z_smooth"), corridor(), policy=policy)


def test_a_role_that_has_no_word_on_a_loss():
    lenient = lr.Role("LENIENT", "a place that may follow time", forbids={"action-identity"})
    s = lr.Spec("lenient")
    x = s.observation("x", (4,))
    z = s.latent("z", s.module("encoder", lr.nn.mlp(4, 4))(x), role=lenient)
    s.loss("smooth", lr.losses.mse(z.t[1:], z.t[:-1]))
    (row,) = ladder(s, SHOWN).rows
    assert row.judgement == "disagree: no objection, yet 0.0398 to gain"
    assert ladder(s, SHOWN).disagreements == (row,)


def test_what_is_allowed_is_said():
    s = lr.Spec("allowed")
    x = s.observation("x", (4,))
    z = s.latent("z", s.module("encoder", lr.nn.mlp(4, 4))(x), role=lr.PLACE)
    s.loss("recon", lr.losses.mse(s.module("decoder", lr.nn.mlp(4, 4))(z), x))
    s.allow("observation-sufficiency", loss="recon", latent="z", because="frames are needed")
    (row,) = ladder(s, SHOWN).rows
    assert (row.level, row.judgement) == ("allowed", "agree")


def test_a_spec_without_a_place():
    s = lr.Spec("dynamics")
    x = s.observation("x", (4,))
    z = s.latent("z", s.module("encoder", lr.nn.mlp(4, 4))(x), role=lr.DYNAMICS)
    s.loss("smooth", lr.losses.mse(z.t[1:], z.t[:-1]))
    found = ladder(s, SHOWN)
    assert not found.rows
    assert "no loss with a latent that is to be a place" in str(found)


def test_the_printed_ladder_and_its_json():
    found = ladder(model("inverse_dynamics_z", z_to_head=True), SHOWN)
    lines = str(found).splitlines()
    assert lines[0].startswith("verdicts in corridor(cells=9, open=False, noop=True")
    assert lines[1].startswith("9 places, 25 frames; history: the last 1 step;")
    assert lines[-1].split()[:10] == [
        "inverse_dynamics_z", "z", "inverse", "dynamics", "(bits)", "0.148", "0", "0", "0", "0.148",
    ]  # fmt: skip
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["rows"][0]["optima"]["place"] == pytest.approx([4 / 27])
    assert plain["rows"][0]["level"] == "error"


def test_frames_that_alias_are_said():
    found = ladder(model("z_smooth", z_to_head=True), Aliased(2))
    assert not found.walk.nested
    assert "frames alias" in str(found)
    assert found.rows[0].optima.gap < 0
    assert found.rows[0].judgement == "vacuous here"  # parity follows from the cell
    blank = ladder(model("z_smooth", z_to_head=True), Aliased(1))
    assert blank.rows[0].optima.observation == (math.inf, math.inf)
    assert blank.to_json()["rows"][0]["optima"]["observation"] == [None, None]
    assert " - " in str(blank)


# The command ----------------------------------------------------------------------------------


def test_the_command(capsys, tmp_path):
    out = tmp_path / "ladder.json"
    arguments = ["ladder", "hzp", "--env", "corridor", "-e", "noop=True", "-e", "last_action=True"]
    assert main([*arguments, "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "observation-sufficiency (allowed)" in printed
    assert "not losses of the ladder: pixel_delta_multi_box" in printed
    rows = {row["loss"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows["recon_multi_box"]["gap"] == pytest.approx(50 / 81)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env", "corridoor"], "corridor"),
        (["--env", "corridor", "-e", "walls=True"], "--env corridor: corridor has no argument"),
        (["--env", "corridor", "-e", "noop"], "-e takes KEY=VALUE"),
        (["--env", "corridor", "-e", "cells=1"], "at least 2"),
        (["--env", "corridor", "--window", "9"], "--window"),
        (["--env", "corridor", "--json", "/nowhere/at/all"], "could not be written"),
        # Before anything is built, let alone computed.
        (["--env", "corridoor", "--json", "/nowhere/at/all"], "--json /nowhere/at/all could not"),
    ],
)
def test_the_command_refuses(arguments, said, capsys):
    assert main(["ladder", "hzp", *arguments]) == 2
    assert said in capsys.readouterr().err


# The page -------------------------------------------------------------------------------------


def test_the_tables_of_the_page_are_current():
    """`python docs/studies/ladder.py` writes them anew."""
    study = runpy.run_path(str(ROOT / "docs/studies/ladder.py"))
    assert study["page"]() == PAGE.read_text()
    assert "0.0378 → 0 → 0" in study["corridors"]()
    assert "| it reads z[t+1] alone | 1 | 0 |" in study["shortcut"]()


def test_the_example_of_the_page_is_what_is_printed(capsys):
    commands, printed, _ = re.findall(r"^```\w*\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert main(commands.split()[1:]) == 0
    assert capsys.readouterr().out == printed


def test_the_block_of_the_page_runs(capsys):
    assert run_blocks(PAGE) == 1
    assert "temporal_adjacency_z as adjacency 0.0123 agree" in capsys.readouterr().out


def test_where_frames_alias_a_gap_that_is_not_positive_tells_nothing():
    """FourRooms: heading varies, and views are shared by places."""
    spec = place("temporal_adjacency_z")
    rows = {row.loss: row for row in ladder(spec, four_rooms()).rows}
    row = rows["temporal_adjacency_z"]
    assert row.optima.gap < 0
    assert row.judgement == "frames alias: the gap does not tell"
    assert not row.disagrees
