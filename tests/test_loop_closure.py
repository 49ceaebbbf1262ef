"""`loop_report` and `assert_loop_invariant` on encoders whose answer is known."""

import numpy as np
import pytest

from latentroles.testing.closure import EncoderError, assert_loop_invariant, loop_report
from latentroles.words.corridor import corridor
from latentroles.words.gridworld import gridworld
from latentroles.words.minigrid import dynamic_obstacles, four_rooms
from latentroles.words.plane import plane
from latentroles.words.rotations import rotations
from latentroles.words.rubik import rubik

ENVIRONMENTS = {
    "corridor": lambda: corridor(cells=5),
    "corridor, last action": lambda: corridor(cells=5, last_action=True),
    "corridor, phase": lambda: corridor(cells=5, phases=3, noop=True),
    "corridor, momentum": lambda: corridor(cells=5, momentum=True, noop=True),
    "gridworld": gridworld,
    "plane": plane,
    "rotations": lambda: rotations(jitter=2, light=True),
    "rubik": rubik,
    "four rooms": four_rooms,
    "obstacles": dynamic_obstacles,
}
NUISANCES = {  # those in which a frame shows more than its place
    "corridor, last action": "G2",
    "corridor, phase": "G2",
    "corridor, momentum": "G2",
    "rotations": "G1",
    "four rooms": "G2",
    "obstacles": "G1",
}


def cells(frames):
    """An oracle for corridors of five cells: what of the frame shows the cell."""
    return frames[:, :5]


def stacked(frames, actions):
    """This frame's cell and the one before."""
    now = frames[:, :5]
    return np.concatenate([now, np.concatenate([now[:1], now[:-1]])], axis=-1)


def reckoned(frames, actions):
    """The sum of the actions, and nothing that is seen."""
    return np.concatenate([[0.0], np.cumsum(np.where(actions == 0, -1.0, 1.0))])[:, None]


def hashed(frames):
    """A number for each frame that is drawn from its bytes: two frames are as far as any two."""
    seeds = [int.from_bytes(f.tobytes()[:64], "little") + int(f.sum() * 1000) for f in frames]
    return np.stack([np.random.default_rng(seed).standard_normal(8) for seed in seeds])


def oracle(environment):
    """Each place its own random vector, read off the state."""
    return lambda states: np.stack(
        [
            np.random.default_rng(abs(hash(environment.place(s))) % 2**32).standard_normal(8)
            for s in states
        ]
    )


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_oracle_passes_everywhere(name):
    environment = ENVIRONMENTS[name]()
    report = loop_report(oracle(environment), environment, reads="state", loops=60)
    assert not report.degenerate
    assert {g.verdict for g in report.grades.values()} <= {"pass", "vacuous here"}
    assert all(g.distance in (None, 0.0) for g in report.grades.values())


@pytest.mark.parametrize("name", NUISANCES)
def test_a_number_for_each_frame_fails_where_a_frame_shows_more_than_its_place(name):
    environment = ENVIRONMENTS[name]()
    report = loop_report(hashed, environment, loops=60)
    failed = [g.name for g in report.grades.values() if g.verdict == "fail"]
    assert NUISANCES[name] in failed
    assert report.grades["G0"].verdict == "pass"
    assert report.grades["G2"].worst


@pytest.mark.parametrize("name", ["corridor", "gridworld", "rubik"])
def test_it_is_vacuous_where_the_frame_is_the_place(name):
    environment = ENVIRONMENTS[name]()
    report = loop_report(hashed, environment, loops=60)
    assert report.grades["G2"].verdict == "vacuous here"
    with pytest.raises(AssertionError, match="G2 is vacuous here: every frame of a place"):
        assert_loop_invariant(hashed, environment, loops=60)


@pytest.mark.parametrize("name", ["corridor", "corridor, last action"])
def test_a_memory_of_the_frame_before_is_no_determinism_failure_and_breaks_g3(name):
    environment = ENVIRONMENTS[name]()
    report = loop_report(stacked, environment, reads="history")
    assert report.grades["G0"].verdict == "pass"
    assert report.grades["G3"].verdict == "fail"
    assert len(report.grades["G3"].worst.split(" from ")[0].split(",")) <= 2


def test_dead_reckoning_is_found_with_a_shortest_word():
    environment = corridor(cells=5)
    with pytest.raises(AssertionError, match="z does not return: G3") as caught:
        assert_loop_invariant(reckoned, environment, grade="G3", reads="history")
    assert "left from State(cell=0" in str(caught.value)  # one letter, into the wall


def test_a_history_that_only_looks_at_its_last_frame_passes_g3():
    assert_loop_invariant(
        lambda frames, actions: cells(frames),
        corridor(cells=5, last_action=True),
        grade="G3",
        reads="history",
    )


def test_a_constant_certifies_nothing():
    environment = ENVIRONMENTS["corridor, last action"]()
    constant = lambda frames: np.ones((len(frames), 3))  # noqa: E731
    assert loop_report(constant, environment).degenerate
    with pytest.raises(AssertionError, match="does not tell places apart"):
        assert_loop_invariant(constant, environment)


def test_an_encoder_that_draws_is_not_deterministic():
    rng = np.random.default_rng(0)
    noisy = lambda frames: cells(frames) + 0.01 * rng.standard_normal((len(frames), 5))  # noqa: E731
    report = loop_report(noisy, corridor(cells=5, last_action=True))
    assert report.grades["G0"].verdict == "fail"
    assert report.grades["G2"].verdict == "pass"


def test_a_coarser_place_makes_a_cell_a_nuisance():
    environment = corridor(cells=5)
    half = lambda state: state.cell // 2  # noqa: E731
    assert loop_report(cells, environment).grades["G2"].verdict == "vacuous here"
    assert loop_report(cells, environment, place=half).grades["G2"].verdict == "fail"


def test_a_margin_is_a_choice():
    environment = corridor(cells=5, last_action=True)
    faint = lambda frames: np.concatenate([frames[:, :5], 0.1 * frames[:, 5:]], axis=-1)  # noqa: E731
    assert loop_report(faint, environment, margin=0.2).grades["G2"].verdict == "pass"
    assert loop_report(faint, environment, margin=0.02).grades["G2"].verdict == "fail"


def test_rotating_or_scaling_z_changes_nothing():
    environment = corridor(cells=5, last_action=True)
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))
    plain = loop_report(lambda f: f, environment)
    turned = loop_report(lambda f: 7.0 * f @ turn + 3.0, environment)
    for name, grade in plain.grades.items():
        other = turned.grades[name].distance
        assert (other is None) == (grade.distance is None)
        assert other is None or other == pytest.approx(grade.distance, abs=1e-9)


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda f: f[0], r"\(\d+, d\); got an array of shape"),
        (lambda f: f[:, 0], "one vector for each"),
        (lambda f: np.full((len(f), 2), np.nan), "not finite"),
    ],
)
def test_an_encoder_that_cannot_be_measured_is_told(encode, message):
    with pytest.raises(EncoderError, match=message):
        loop_report(encode, corridor(cells=5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reads": "pixels"}, "reads= is one of frame, history, state"),
        ({"place": lambda state: 0}, "visit one place only"),
    ],
)
def test_a_measurement_that_means_nothing_is_refused(arguments, message):
    with pytest.raises(EncoderError, match=message):
        loop_report(cells, corridor(cells=5), **arguments)
    with pytest.raises(EncoderError, match="grade= is one of G0"):
        assert_loop_invariant(cells, corridor(cells=5), grade="G4")


def test_a_tensor_of_either_framework_will_do():
    import jax.numpy as jnp
    import torch

    environment = corridor(cells=5, last_action=True)
    plain = loop_report(lambda f: f, environment)
    for convert in (lambda f: torch.tensor(f, requires_grad=True), jnp.asarray):
        assert str(loop_report(convert, environment)) == str(plain)
