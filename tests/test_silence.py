"""Losses at zero for many steps: which are spoken of, when, and with what cause."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
from latentroles.train import checkpoint, metrics
from latentroles.train.silence import FALLEN, STEPS, ZERO, SilenceWatch, has_margin
from latentroles_specs.rssm import rssm

BOX = lr.Box(-1.0, 1.0, (2,))


def moves(actions: Any = BOX, guard: bool = False) -> lr.Spec:
    """What actions do to z, without a bias: at zero where nothing is done and nothing seen."""
    s = lr.Spec("moves")
    x = s.observation("x", (3,))
    a = s.action("a", actions)
    encoder = s.module("encoder", lr.nn.linear(3, 4))
    coded = a if isinstance(actions, lr.Box) else a.one_hot()
    effect = s.module("effect", lr.nn.linear(coded.shape[0], 4, bias=False))
    cell = s.module("cell", lr.nn.linear(4, 4, bias=False))
    z = s.latent("z", encoder(x), role=lr.PLACE)
    h = lr.scan(lambda h, z_t: lr.tanh(cell(h + z_t)), init=lr.zeros(4), xs=z.stop().t[:-1])
    h = s.latent("h", h, role=lr.DYNAMICS)
    s.loss("effect", lr.losses.mse(effect(coded), z.t[1:] - z.t[:-1]))
    for rule in ("action-identity", "action-additivity"):
        s.allow(rule, loss="effect", latent="z", because="what actions do is not the subject here")
    s.loss("still", lr.losses.mse(h, lr.zeros(4)))
    s.loss("recon", lr.losses.mse(s.module("decoder", lr.nn.linear(4, 3))(z), x))
    if guard:
        s.loss("guard", lr.losses.vicreg_variance(z, target=1e-3))
        s.loss("apart", lr.relu(1e-6 - lr.square(z).mean()).mean(over="time").mean(over="batch"))
    return s


def a_batch(step: int = 0, frames: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    x, a = rng.normal(size=(2, frames, 3)), rng.uniform(-1, 1, (2, frames - 1, 2))
    return {"x": x, "a": a}


# When ---------------------------------------------------------------------------------------


VALUES = st.sampled_from([0.0, ZERO, -ZERO, 2 * ZERO, -1.0])
RUNS = st.lists(st.tuples(VALUES, st.integers(1, STEPS + 2)), max_size=5)


@given(RUNS)
def test_a_loss_is_named_each_time_that_it_has_been_at_zero_for_so_many_steps(runs):
    watch, run = SilenceWatch(moves(), "main"), 0
    for value in (value for value, steps in runs for _ in range(steps)):
        found = watch.see({"effect": value, "still": 1.0, "recon": 0.3, "total": 0.0}, a_batch())
        run = run + 1 if abs(value) <= ZERO else 0
        assert found == (["effect"] if run == STEPS else [])
        again = SilenceWatch(moves(), "main")
        again.restore(watch.to_json())
        assert again.to_json() == watch.to_json()
        assert watch.silent == ({"effect": run} if run else {})


def test_many_steps_in_a_row_are_one_warning():
    watch = SilenceWatch(moves(), "main")
    losses = {"effect": 0.0, "still": 0.0, "recon": 1.0}
    found = [watch.see(losses, a_batch()) for _ in range(3 * STEPS)]
    assert [f for f in found if f] == [["effect", "still"]]


STILL = {**a_batch(), "x": np.ones((2, 4, 3))}


@given(first=st.sampled_from([0.17, 400.0, -5.0]), part=st.floats(1e-5, 1.0), varied=st.booleans())
def test_a_loss_that_has_fallen_far_is_named_where_what_it_observes_stands_still(
    first, part, varied
):
    watch, batch = SilenceWatch(moves(), "main"), a_batch() if varied else STILL
    losses = {"effect": 1.0, "still": 1.0}
    assert watch.see({**losses, "recon": first}, batch) == []
    found = [watch.see({**losses, "recon": part * first}, batch) for _ in range(3 * STEPS)]
    named = not varied and abs(part * first) <= FALLEN * abs(first)
    assert found == [["recon"] if named and i == STEPS - 1 else [] for i in range(3 * STEPS)]


def test_it_is_named_once_on_its_way_to_zero():
    for batch, named in ((STILL, [STEPS]), (a_batch(), [2 * STEPS])):
        watch = SilenceWatch(moves(), "main")
        values = [1.0] + STEPS * [FALLEN / 2] + 2 * STEPS * [0.0]
        losses = ({"effect": 1.0, "still": 1.0, "recon": value} for value in values)
        found = [watch.see(held, batch) for held in losses]
        assert [step for step, names in enumerate(found) if names] == named


@pytest.mark.parametrize(
    ("low", "still", "named"),
    [
        # Low on what varies is no news; at zero it is, whatever stands still by then.
        (STEPS * [FALLEN / 2] + 40 * [0.0], lambda step: step > 25, [2 * STEPS]),
        (STEPS * [FALLEN / 2] + 40 * [0.0], lambda step: step > 39, [2 * STEPS]),
        # Every batch of a row counts, not the one that ends it.
        (60 * [FALLEN / 2], lambda step: step != STEPS, [2 * STEPS]),
        (60 * [FALLEN / 2], lambda step: step == STEPS, []),
        (60 * [FALLEN / 2], lambda step: step > 30, [30 + STEPS]),
        # What was said stands as long as it is low: a batch that varies does not end it.
        (90 * [FALLEN / 2], lambda step: step != 30, [STEPS]),
        (STEPS * [FALLEN / 2] + [1.0] + STEPS * [FALLEN / 2], lambda step: True, [STEPS, 41]),
        # At zero it is said while it is at zero.
        (STEPS * [0.0] + [FALLEN / 2] + STEPS * [0.0], lambda step: False, [STEPS, 41]),
        (STEPS * [0.0] + [FALLEN / 2] + STEPS * [0.0], lambda step: True, [STEPS]),
    ],
)
def test_whether_it_was_said_is_remembered(low, still, named):
    watch, found = SilenceWatch(moves(), "main"), []
    for step, value in enumerate([1.0, *low]):
        losses = {"effect": 1.0, "still": 1.0, "recon": value}
        if watch.see(losses, STILL if still(step) else a_batch(step)):
            found.append(step)
        again = SilenceWatch(moves(), "main")
        again.restore(json.loads(json.dumps(watch.to_json())))
        assert again.to_json() == watch.to_json()
        watch = again
    assert found == named


@pytest.mark.parametrize("name", ["silent", "idle", "first", "said", "effect"])
def test_what_an_earlier_version_remembered_is_let_go(name):
    watch = SilenceWatch(moves(), "main")
    watch.restore({name: 3})
    assert watch.to_json() == {"silent": {}, "idle": {}, "first": {}, "said": {}}


def test_what_was_said_before_it_was_remembered_is_not_said_again():
    watch = SilenceWatch(moves(), "main")
    watch.restore({"silent": {"effect": STEPS, "still": STEPS - 1}, "fallen": {}, "first": {}})
    assert watch.see({"effect": 0.0, "still": 0.0, "recon": 1.0}, a_batch()) == ["still"]


def test_what_a_loss_does_not_observe_may_vary():
    s = moves()
    s.observation("light", ())
    s.loss("seen", lr.losses.mse(s.inputs["light"], s.inputs["x"].mean(over="event")))
    watch = SilenceWatch(s, "main")
    light = np.arange(8.0).reshape(2, 4)
    losses = {"effect": 1.0, "still": 1.0, "recon": 1.0, "seen": 1.0}
    watch.see(losses, {**STILL, "light": light})
    losses |= {"recon": 1e-5, "seen": 1e-5}
    found = [watch.see(losses, {**STILL, "light": light}) for _ in range(STEPS)]
    assert found[-1] == ["recon"]


def test_a_loss_with_a_margin_may_be_at_zero():
    s = moves(guard=True)
    assert SilenceWatch(s, "main").losses == ("effect", "still", "recon")
    assert [has_margin(loss.expr) for loss in s.losses.values()] == [False] * 3 + [True] * 2
    # A hinge that a module reads is no margin of the loss.
    read = s.modules["decoder"](lr.relu(s.latents["z"].expr))
    assert not has_margin(lr.losses.mse(read, s.inputs["x"]))


# Why ----------------------------------------------------------------------------------------


def causes(loss: str, spec: lr.Spec | None = None, **changed: Any) -> str:
    latents = {"z": np.random.default_rng(1).normal(size=(2, 4, 4))}
    latents["h"] = latents["z"]
    batch = {**a_batch(), **{k: v for k, v in changed.items() if k not in latents}}
    latents |= {k: v for k, v in changed.items() if k in latents}
    return "; ".join(SilenceWatch(spec or moves(), "main").causes(loss, batch, latents))


def test_the_likely_causes():
    none = "none that the batch shows"
    assert causes("effect").startswith(none)
    assert causes("effect", a=np.zeros((2, 3, 2))) == "every action a of the batch is 0"
    for constant in ((0.5, 0.5), (0.5, 0.0)):
        said = causes("effect", a=np.tile(constant, (2, 3, 1)))
        assert said == "every action a of the batch is the same"
    # It reads no action: theirs is not the cause.
    assert causes("recon", a=np.zeros((2, 3, 2))).startswith(none)
    seen = causes("effect", x=np.ones((2, 4, 3)), z=np.ones((2, 4, 4)))
    assert "every observation x of the batch is the same" in seen
    assert "latent z is the same everywhere in the batch" in seen
    assert "action" not in seen
    steps = np.arange(32.0).reshape(2, 4, 4)
    assert "latent z" in causes("effect", z=1.0 + 1e-9 * steps)
    assert causes("effect", z=1.0 + 1e-6 * steps).startswith(none)
    assert "latent" not in causes("effect", z=np.ones((1, 1, 4)), h=np.ones((1, 1, 4)))
    assert "T = 1" in causes("still", x=a_batch(frames=1)["x"])
    assert "T = 1" not in causes("still")
    # Two frames have one action between them.
    assert causes("effect", **a_batch(frames=2)).startswith(none)
    a = np.random.default_rng(0).integers(0, 3, (2, 3))
    assert causes("effect", moves(lr.Discrete(3)), a=a).startswith(none)
    said = causes("effect", moves(lr.Discrete(3)), a=np.full((2, 3), 2))
    assert said == "every action a of the batch is the same"


def test_the_latents_that_a_loss_reads_are_those_of_samples():
    s = moves()
    z = s.latents["z"].expr
    middle = s.latent("middle", z.t[0].mean(over="batch"), role=lr.PLACE)
    s.loss("apart", lr.losses.mse(s.modules["cell"](middle), s.latents["h"].expr.t[-1]))
    watch = SilenceWatch(s, "main")
    read = {name: watch.read(name) for name in s.losses}
    assert read == {"effect": ("z",), "still": ("z", "h"), "recon": ("z",), "apart": ("z", "h")}


def test_a_loss_that_is_zero_by_construction_is_said_to_be():
    s = moves()
    z = s.latents["z"].expr
    s.loss("vacuous", lr.losses.mse(z.t[1:] - z.t[:-1] + z.t[:-1], z.t[1:].stop()))
    assert causes("vacuous", s).startswith("what it compares is equal by construction: ")


# While a run goes on ------------------------------------------------------------------------


class Walks:
    def __init__(self, **changed: np.ndarray):
        self.changed = changed

    def identity(self) -> dict[str, str]:
        return {"kind": "walks"}

    def batch(self, step: int) -> dict[str, np.ndarray]:
        return {**a_batch(step), **self.changed}


def trained(out: Path | None, backend: str, data: Walks, **options: Any) -> lr.RunResult:
    options = {"steps": STEPS + 5, "collapse_every": 1000, "log_every": 7, **options}
    return lr.train(
        moves(guard=True),
        data,
        backend=backend,
        out=out,
        optimisers=lr.adam(0.01),
        display=False,
        **options,
    )


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_silent_loss_is_spoken_of_once_while_the_run_goes_on(backend, tmp_path):
    data = Walks(x=np.ones((2, 4, 3)), a=np.zeros((2, 3, 2)))
    result = trained(tmp_path / "run", backend, data)
    said = [text for text in result.notes if "loss " in text]
    assert said == [
        f"Warning: after step {STEPS - 1}, loss effect has been 0 for {STEPS} steps, and moves "
        "nothing. Likely cause: every action a of the batch is 0; every observation x of the batch "
        "is the same; latent z is the same everywhere in the batch."
    ]
    rows = metrics.read(result.folder / metrics.METRICS)
    [row] = [r for r in rows if any("effect" in w for w in r.get("warnings", ()))]
    assert row["step"] == STEPS - 1
    held = checkpoint.load(result.folder).record["progress"]["silence"]
    assert held["silent"] == {"effect": STEPS + 5}
    assert held["first"]["effect"] == 0.0 < held["first"]["recon"]


def test_a_resumed_run_counts_on(tmp_path):
    data = Walks(x=np.ones((2, 4, 3)), a=np.zeros((2, 3, 2)))
    before = trained(tmp_path / "run", "torch", data, steps=STEPS - 2)
    after = trained(None, "torch", data, steps=STEPS, resume=tmp_path / "run")
    assert not [n for n in before.notes if "loss effect" in n]
    assert f"after step {STEPS - 1}, loss effect has been 0" in "".join(after.notes)


def test_a_healthy_run_has_no_such_warning(tmp_path):
    result = trained(tmp_path / "run", "torch", Walks())
    assert result.notes == ()
    rows = metrics.read(result.folder / metrics.METRICS)
    assert not any("warnings" in row for row in rows)
    assert checkpoint.load(result.folder).record["progress"]["silence"]["silent"] == {}
    assert rows[-1]["losses"]["guard"] == 0.0  # its margin is met


@pytest.mark.parametrize("still", [True, False])
def test_rssm_on_frames_that_stand_still_is_told_of_its_dynamics(still, tmp_path):
    """Its divergence is learned from nothing, and comes near zero without ever being there."""
    s = rssm(frame=(1, 8, 8), dim=4, hidden=8, actions=3)

    class Frames:
        def batch(self, step: int) -> dict[str, np.ndarray]:
            rng = np.random.default_rng(step)
            x = np.full((8, 5, 1, 8, 8), 0.5) if still else rng.uniform(size=(8, 5, 1, 8, 8))
            return {"x": x.astype(np.float32), "a": rng.integers(0, 3, (8, 4))}

    result = lr.train(
        s,
        Frames(),
        steps=160,
        out=tmp_path / "run",
        optimisers=lr.adamw(3e-3),
        display=False,
    )
    said = [text for text in result.notes if "loss rssm has been" in text]
    assert len(said) == still
    for text in said:
        assert "every observation x of the batch is the same" in text
