"""Arguments of the systems: each is checked, and none is taken that nothing reads."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import latentroles as lr
from latentroles.arguments import integers, only_with
from latentroles_specs.hzp import hzp
from latentroles_specs.jepa import jepa
from latentroles_specs.place import place
from latentroles_specs.rssm import rssm
from latentroles_specs.seqjepa import seqjepa

SYSTEMS = {f.__name__: f for f in (hzp, jepa, place, rssm, seqjepa)}
WRONG = {
    "an object": object(),
    "an array": np.ones(2),
    "None": None,
    "False": False,
    "NaN": float("nan"),
    "-1": -1,
    "a text": "wrong",
}


def message(system, arguments) -> str:
    """What the refusal says, behind the line of the call."""
    with pytest.raises(lr.SpecError) as raised:
        system(**arguments)
    line = re.match(rf"{Path(__file__).name}:\d+: ", str(raised.value))
    assert line, f"the message does not start with the line of the call: {raised.value}"
    return str(raised.value)[line.end() :]


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("name", SYSTEMS)
def test_each_argument_is_checked_where_nothing_reads_it_too(name, what):
    """With the defaults of all others; what is said begins with the line of the call."""
    for argument, parameter in inspect.signature(SYSTEMS[name]).parameters.items():
        fits = what in ("None", "False") and type(WRONG[what]) is type(parameter.default)
        if not fits:
            assert message(SYSTEMS[name], {argument: WRONG[what]}), argument


# System, arguments, the one that nothing reads, and what would read it.
UNREAD = [
    (jepa, {"heads": 5}, "heads", "encoder='vit'"),
    (jepa, {"patch": 4}, "patch", "encoder='vit'"),
    (jepa, {"depth": 3}, "depth", "encoder='vit'"),
    (jepa, {"hidden": (12,)}, "hidden", "encoder='mlp'"),
    (jepa, {"encoder": "vit", "channels": (4, 4)}, "channels", "encoder='cnn'"),
    (jepa, {"mode": "none", "ema_decay": 0.5}, "ema_decay", "a mode that has a target encoder"),
    (jepa, {"sigreg_slices": 9}, "sigreg_slices", "regulariser='sigreg'"),
    (jepa, {"barlow_redundancy": 1.0}, "barlow_redundancy", "regulariser='barlow'"),
    (jepa, {"center_ema_decay": 0.5}, "center_ema_decay", "regulariser='dino'"),
    (jepa, {"coding_rate_alpha": 2.0}, "coding_rate_alpha", "regulariser='coding_rate'"),
    (
        jepa,
        {"regulariser": "dino", "vicreg_variance": 2.0},
        "vicreg_variance",
        "regulariser='vicreg'",
    ),
    (jepa, {"regulariser": "none", "auxiliary_weight": 2.0}, "auxiliary_weight", "a regulariser"),
    (rssm, {"classes": 64}, "classes", "posterior='categorical'"),
    (seqjepa, {"teacher": "none", "decay": 0.5}, "decay", "teacher='ema'"),
    (seqjepa, {"inverse": (0, 1, 2)}, "inverse", "symmetric=True"),
    (seqjepa, {"action_conditioning": False, "action_dim": 8}, "action_dim", "action_conditioning"),
    (
        seqjepa,
        {"symmetric": True, "action_conditioning": False, "inverse": (0, 1, 2)},
        "inverse",
        "symmetric=True and action_conditioning=True",
    ),
    (place, {"weight": 2.0}, "weight", "an objective beside the one-step prediction"),
    (place, {"into_encoder": 1.0}, "into_encoder", "'jepa_regularised'"),
    (place, {"horizon": 3}, "horizon", "a rollout"),
    (place, {"objective": "inverse_dynamics_h", "horizon": 3}, "horizon", "a rollout"),
    (place, {"objective": "augmentation_invariance", "jepa": 2.0}, "jepa", "an objective other"),
    (
        place,
        {"objective": "rollout_z", "weight": 0.0, "allow_because": "to see"},
        "allow_because",
        "an objective of a weight above 0",
    ),
    (
        place,
        {"objective": "jepa_regularised", "jepa": 0.0, "allow_because": "to see"},
        "allow_because",
        "an objective of a weight above 0",
    ),
]


@pytest.mark.parametrize(
    ("system", "arguments"),
    [
        (jepa, {"auxiliary_weight": 0, "vicreg_covariance": 2.0}),
        (seqjepa, {"coding_rate_z": 0, "alpha": 2.0}),
        (place, {"objective": "rollout_h", "weight": 0, "horizon": 3}),
        (place, {"invariance": 0, "crop": 2}),
        (hzp, {"h2z": 0, "z2h": 0, "start_frame": 1}),
        (hzp, {"scale_dp": 0, "scale_dp_by": "trimmed_mean"}),
    ],
)
def test_a_loss_that_is_taken_out_may_keep_its_settings(system, arguments):
    """An ablation changes one weight of a file of arguments, and no other line."""
    system(**arguments)


@pytest.mark.parametrize(("system", "arguments", "argument", "needed"), UNREAD)
def test_what_nothing_reads_is_refused_and_said_what_would_read_it(
    system, arguments, argument, needed
):
    said = message(system, arguments)
    assert said.startswith(f"{system.__name__}: {argument} has an effect only with ")
    rule, _, fix = said.partition("; received ")
    assert needed in rule
    assert f"Fix: leave {argument} away, or pass " in fix
    assert needed in fix
    # And without it the others are taken.
    system(**{name: value for name, value in arguments.items() if name != argument})


@pytest.mark.parametrize(
    ("system", "arguments"),
    [
        (jepa, {"encoder": "vit", "patch": 14, "depth": 1, "heads": 2}),
        (jepa, {"encoder": "mlp", "hidden": [12]}),
        (jepa, {"channels": (4, 4), "ema_decay": 0.5}),
        (jepa, {"regulariser": "barlow", "barlow_redundancy": 1.0}),
        (jepa, {"regulariser": "dino", "center_ema_decay": 0.5}),
        (jepa, {"regulariser": "sigreg", "sigreg_slices": 9, "auxiliary_weight": lr.warmup(1, 5)}),
        (jepa, {"regulariser": "coding_rate", "coding_rate_alpha": 2.0}),
        (jepa, {"regulariser": "dino", "vicreg_variance": 25}),  # its default
        (rssm, {"posterior": "categorical", "classes": 4}),
        (seqjepa, {"teacher": "ema", "decay": lr.cosine(0.9, 10, final=1.0)}),
        (seqjepa, {"symmetric": True, "inverse": [0, 2, 1]}),
        # Of other actions than three, and no order of them is asked for.
        (seqjepa, {"symmetric": True, "action_conditioning": False, "actions": 4}),
        (place, {"objective": "rollout_h", "horizon": 3, "weight": lr.warmup(1, 5)}),
        (place, {"objective": "jepa_regularised", "into_encoder": 1.0, "allow_because": "why"}),
        (hzp, {"h2z": 0, "start_frame": 1}),
        (hzp, {"action_delta_h": 0, "additivity_h": 1, "action_delta_h_by": "prototype"}),
        (hzp, {"rollout_kstep_h": 0, "rollout_kstep_delta_h": 0, "horizon": 3}),
    ],
)
def test_what_is_read_is_taken(system, arguments):
    system(**arguments)


def test_a_system_says_its_own_name():
    for system, wrong in (
        (jepa, {"mode": "none", "decoder_source": "target"}),
        (rssm, {"posterior": "categorical", "classes": 3}),
        (place, {"allow_because": "why not"}),
        (place, {"allow_because": 3}),
        (seqjepa, {"symmetric": True, "inverse": (1, 2, 0)}),
    ):
        assert message(system, wrong).startswith(f"{system.__name__}: ")


def test_a_copy_of_a_system_is_the_user_s_own(tmp_path, monkeypatch):
    """Where its lines can be changed, the message points at the line that checks."""
    (tmp_path / "my_place.py").write_text(Path(inspect.getfile(place)).read_text())
    monkeypatch.syspath_prepend(tmp_path)
    import my_place  # type: ignore[import-not-found]

    with pytest.raises(lr.SpecError, match=r"^my_place\.py:\d+: place: horizon"):
        my_place.place(horizon=1)


def test_integers_are_a_tuple_of_plain_ones():
    assert integers("owner", "n", [1, 2], "widths") == (1, 2)
    assert integers("owner", "n", (), "widths") == ()
    assert integers("owner", "n", (0,), "widths", minimum=0) == (0,)
    for wrong in (3, "12", None, (1, 2.0), (1, 0), (True,)):
        with pytest.raises(lr.SpecError, match=r"owner: n \(widths\) must be a"):
            integers("owner", "n", wrong, "widths")


def test_a_value_that_is_the_default_says_nothing():
    def system(n: int = 3) -> None:
        """Any function with a default."""

    only_with(False, "m=1", system, n=3)
    only_with(True, "m=1", system, n=4)
    with pytest.raises(lr.SpecError, match=r"system: n has an effect only with m=1; received n=4"):
        only_with(False, "m=1", system, n=4)
