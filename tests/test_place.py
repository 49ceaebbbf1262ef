"""`place`: every objective of its note has its verdict, its routes, and gradients to match."""

import functools
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import latentroles as lr
from latentroles import plugins
from latentroles.cli import main
from latentroles.rulebook import RULES
from latentroles.words import run, word
from latentroles.words.minigrid import four_rooms
from latentroles_specs.place import OBJECTIVES, place
from latentroles_torch.layers import build

DESCRIPTOR = ("invariance", "variance", "covariance")
SMALL = {"frame": (3, 8, 8), "dim": 8}
SEES_ALL = {"encoder", "decoder", "predictor", "h_to_z"}

# Objective -> the note's verdict on z, the rules that say it, and what its own loss updates.
NOTE = {
    "augmentation_invariance": ("accepted", set(), {"encoder"}),
    "jepa_input_stopped": ("accepted", set(), {"predictor", "h_to_z"}),
    "jepa_projected": ("accepted", set(), {"predictor", "h_to_z", "projector"}),
    "jepa_regularised": (
        "fragile",
        {"conditioned-prediction"},
        {"encoder", "predictor", "h_to_z"},
    ),
    "inverse_dynamics_z": ("refused", {"action-identity"}, {"encoder", "inverse_dynamics"}),
    "action_delta_z": (
        "refused",
        {"action-identity", "action-additivity"},
        {"encoder", "action_delta"},
    ),
    "temporal_adjacency_z": ("refused", {"temporal-adjacency"}, {"encoder"}),
    "rollout_z": ("refused", {"open-loop-rollout"}, {"encoder", "predictor", "h_to_z"}),
    "rollout_recon_z": ("refused", {"rendered-prediction"}, SEES_ALL),
    "rollout_project_z": ("refused", {"off-manifold-encoder"}, SEES_ALL),
    "inverse_dynamics_h": ("accepted", set(), {"predictor", "inverse_dynamics"}),
    "action_delta_h": ("accepted", set(), {"predictor", "action_delta"}),
    "temporal_adjacency_h": ("accepted", set(), {"predictor"}),
    "rollout_h": ("accepted", set(), {"predictor", "h_to_z"}),
    "rollout_recon_h": ("accepted", set(), SEES_ALL - {"encoder"}),
    "rollout_project_h": ("accepted", set(), SEES_ALL - {"encoder"}),
}
# What its loss is, as the page writes it; v is the z or the h of its name.
DEFINED = {
    "augmentation_invariance": "mse(encoder(view), z)",
    "jepa_input_stopped": "mse(ẑ_{t+1}, sg z_{t+1}), h of sg z",
    "jepa_projected": "mse(ẑ_{t+1}, sg zt_{t+1}), h of zt = projector(sg z)",
    "jepa_regularised": "mse(ẑ_{t+1}, sg z_{t+1}), h of z with a part of its gradient",
    "inverse_dynamics": "cross entropy of head(v_t, v_{t+1}) and a_t",
    "action_delta": "mse(v_{t+1} - v_t, W a_t + b)",
    "temporal_adjacency": "mse(v_{t+1}, v_t)",
    "rollout": "mse(v̂_{t+k}, sg v_{t+k})",
    "rollout_recon": "mse(decoder(v̂_{t+k}), x_{t+k})",
    "rollout_project": "mse(encoder(decoder(ẑ_{t+k})), sg ẑ_{t+k})",
}
# The losses beside it and the descriptor's, where that is not `jepa` alone.
BESIDE = {
    "augmentation_invariance": set(),
    "jepa_projected": {"variance_zt", "covariance_zt"},
    "rollout_project_z": {"jepa", "recon"},
    "rollout_project_h": {"jepa", "recon"},
}
# What an objective of h puts on z once its gate into h is open.
H_ON_Z = {
    "inverse_dynamics_h": {"action-leak"},
    "action_delta_h": {"action-leak"},
    "temporal_adjacency_h": {"conditioned-prediction"},
    "rollout_h": {"open-loop-rollout"},
    "rollout_recon_h": {"rendered-prediction"},
    "rollout_project_h": set(),
}
# JAX takes seconds to compile each: one of most kinds of objective, on z or on h.
ON_JAX = (
    "augmentation_invariance",
    "jepa_projected",
    "jepa_regularised",
    "inverse_dynamics_z",
    "action_delta_h",
    "rollout_recon_h",
    "rollout_project_h",
)
REFUSED = [name for name, (verdict, *_) in NOTE.items() if verdict == "refused"]
STRAINED = [name for name, (_, rules, _) in NOTE.items() if rules]


def loss_of(objective: str) -> str:
    """The loss that an objective is named for."""
    if objective == "augmentation_invariance":
        return "invariance"
    return "jepa" if objective.startswith("jepa") else objective


def small(objective: str, **arguments) -> lr.Spec:
    rolls = {"horizon": 3} if objective.startswith("rollout") else {}
    views = {"crop": 1} if arguments.get("invariance") != 0 else {}
    return place(objective, **{**SMALL, **rolls, **views, **arguments})


def judged(report: lr.Report) -> set[tuple[str, str | None, str | None]]:
    """(severity, loss, subject and rule) of everything but notes."""
    return {(f.severity, f.loss, f.subject, f.rule) for f in report if f.severity != "note"}


# The note's verdicts ------------------------------------------------------------------------------


def test_every_objective_is_judged():
    assert set(NOTE) == set(OBJECTIVES)


@pytest.mark.parametrize("objective", NOTE)
def test_the_verdict_is_the_notes(objective):
    verdict, rules, _ = NOTE[objective]
    level = {"accepted": None, "fragile": "warning", "refused": "error"}[verdict]
    report = lr.check(small(objective))
    assert judged(report) == {(level, loss_of(objective), "z", rule) for rule in rules}
    assert report.verdicts[loss_of(objective)]["z"] >= rules
    assert (report.ok, report.clean) == (verdict != "refused", verdict == "accepted")


def test_the_default_is_what_the_note_recommends():
    assert place().hash == place("jepa_input_stopped").hash
    report = lr.check(place())
    assert report.clean
    assert not report.allowed
    assert report.verdicts["jepa"]["z"] == {"isolated"}


@pytest.mark.parametrize("objective", STRAINED)
def test_an_allowance_covers_what_the_objective_strains_and_no_more(objective):
    report = lr.check(small(objective, allow_because="to see what it does"))
    assert report.clean
    assert {(f.rule, f.subject) for f in report.allowed} == {
        (rule, "z") for rule in NOTE[objective][1]
    }
    assert not report.of("unused-allowance")


@pytest.mark.parametrize("objective", sorted(set(NOTE) - set(STRAINED)))
def test_what_strains_nothing_takes_no_allowance(objective):
    with pytest.raises(lr.SpecError, match=f"allow_because .*{objective!r} does not"):
        small(objective, allow_because="why not")


@pytest.mark.parametrize("objective", sorted(set(NOTE) - {"inverse_dynamics_z", "rollout_recon_z"}))
def test_without_its_spread_z_may_collapse(objective):
    """Of the three losses of the descriptor it is the variance that keeps z from a constant."""
    (unmet,) = lr.check(small(objective, variance=0.0)).of("requirement-unmet")
    assert (unmet.subject, unmet.severity) == ("z", "warning")


@pytest.mark.parametrize("objective", ["inverse_dynamics_z", "rollout_recon_z"])
def test_two_refused_objectives_would_keep_z_from_collapsing(objective):
    """A constant z tells neither the actions nor the frames."""
    assert not lr.check(small(objective, variance=0.0)).of("requirement-unmet")


def test_each_weight_is_that_of_its_loss():
    names = (*DESCRIPTOR, "jepa")
    weights = {name: float(i) for i, name in enumerate(names, start=2)}
    losses = small("rollout_z", weight=9.0, **weights).losses
    assert {name: loss.weight for name, loss in losses.items()} == {**weights, "rollout_z": 9.0}
    projected = small("jepa_projected", variance=7.0, covariance=8.0).losses
    assert projected["variance_zt"].weight == projected["variance"].weight == 7.0
    assert projected["covariance_zt"].weight == projected["covariance"].weight == 8.0


def test_the_notes_own_snippet_is_jepa_with_its_whole_gradient_and_no_descriptor():
    bare = dict.fromkeys(DESCRIPTOR, 0.0)
    report = lr.check(small("jepa_regularised", into_encoder=1.0, **bare))
    assert report.ok
    assert {f.rule for f in report.warnings} == {"conditioned-prediction", "requirement-unmet"}


# Routes and gates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", NOTE)
def test_the_routes_of_an_objective(objective):
    routes, own = lr.routes(small(objective)), loss_of(objective)
    assert routes[own].modules == NOTE[objective][2]
    for loss in DESCRIPTOR:
        assert routes[loss].modules == {"encoder"}
    others = set(routes) - {own, *DESCRIPTOR}
    assert others == BESIDE.get(objective, set() if own == "jepa" else {"jepa"})
    assert not any("encoder" in routes[loss].modules for loss in others)


@pytest.mark.parametrize("objective", REFUSED)
def test_closing_the_gate_takes_the_objective_off_z(objective):
    """But for an encoder that it applies to what it imagined, and a loss that is left with nothing
    to train."""
    left = {
        "rollout_project_z": {("error", "rollout_project_z", "z", "off-manifold-encoder")},
        "temporal_adjacency_z": {("error", "temporal_adjacency_z", None, "dead-route")},
    }
    report = lr.check(small(objective).with_gates(z_to_objective=False))
    assert judged(report) == left.get(objective, set())
    isolated = report.verdicts[objective]["z"] == {"isolated"}
    assert isolated is (objective != "rollout_project_z")


@pytest.mark.parametrize("objective", H_ON_Z)
def test_an_objective_of_h_is_a_repair_while_the_gate_into_h_is_closed(objective):
    report = lr.check(small(objective).with_gates(z_to_h=True))
    assert report.verdicts[objective]["z"] == H_ON_Z[objective]
    assert lr.check(small(objective)).verdicts[objective]["z"] == {"isolated"}


def test_a_projection_keeps_z_clean_only_behind_a_stop():
    """The note's option C names no stop; without one its loss shapes z as option B does."""
    opened = lr.check(small("jepa_projected").with_gates(z_to_h=True))
    assert opened.verdicts["jepa"]["z"] == {"conditioned-prediction"}
    assert lr.check(small("jepa_projected")).verdicts["jepa"]["z"] == {"isolated"}


@pytest.mark.parametrize("objective", sorted(set(REFUSED) - {"temporal_adjacency_z"}))
def test_stops_mend_what_is_refused(objective):
    mended = lr.enforce(small(objective))
    assert mended.report.ok
    assert mended.stops


# What each loss is --------------------------------------------------------------------------------


class Parts:
    """A model's latents, and its modules as functions of arrays, built by torch alone."""

    def __init__(self, spec: lr.Spec):
        self.spec = spec
        self.model = lr.compile(spec, backend="torch", dtype="float64")
        rng = np.random.default_rng(0)
        self.batch = {"x": rng.random((3, 6, 3, 8, 8)), "a": rng.integers(0, 3, (3, 5))}
        self.noise = self.model.noise(0, self.batch)

    def __getitem__(self, latent: str) -> np.ndarray:
        return self.model.encode(self.batch, latent).detach().numpy()

    def __call__(self, module: str, *arrays: np.ndarray) -> np.ndarray:
        events = 3 if module == "encoder" else 1
        lead = arrays[0].shape[: arrays[0].ndim - events]
        flat = [torch.tensor(a.reshape(-1, *a.shape[len(lead) :])) for a in arrays]
        layer = self.spec.modules[module].layer
        with torch.no_grad():
            found = build(layer, lr.weights(self.model)[module], "float64")(*flat).numpy()
        return found.reshape(*lead, *found.shape[1:])

    def losses(self) -> dict[str, float]:
        found = self.model(self.model.inputs(self.batch), self.noise).losses
        return {name: float(value.detach()) for name, value in found.items()}


def squared(prediction: np.ndarray, target: np.ndarray) -> float:
    assert prediction.shape == target.shape
    return np.square(prediction - target).mean()


def predicted(parts: Parts, objective: str) -> tuple[np.ndarray, np.ndarray]:
    """What h predicts of places, and those places: (B, T - 1, dim) each."""
    v = parts["zt" if objective == "jepa_projected" else "z"]
    return parts("h_to_z", parts["h"][:, 1:]), v[:, 1:]


def of_objective(parts: Parts, objective: str, horizon: int) -> float:
    """The loss of an objective, from latents and modules."""
    z, h, x = parts["z"], parts["h"], parts.batch["x"]
    a = np.eye(3)[parts.batch["a"]]
    kind, _, on = objective.rpartition("_")
    v = z if on == "z" else h
    now, later = v[:, :-1], v[:, 1:]
    if kind == "inverse_dynamics":
        logits = parts("inverse_dynamics", np.concatenate([now, later], -1))
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return -np.log((shares * a).sum(-1)).mean()
    if kind == "action_delta":
        return squared(later - now, parts("action_delta", a))
    if kind == "temporal_adjacency":
        return squared(later, now)
    errors = []
    for t in range(6 - horizon):
        h_t, z_t = h[:, t], z[:, t]
        for k in range(t, t + horizon):
            h_t = parts("predictor", h_t, np.concatenate([z_t, a[:, k]], -1))
            z_t = parts("h_to_z", h_t)
            v_t = z_t if on == "z" else h_t
            if kind == "rollout":
                errors.append(squared(v_t, v[:, k + 1]))
            elif kind == "rollout_recon":
                errors.append(squared(parts("decoder", v_t), x[:, k + 1]))
            else:  # on h, too, it is an imagined place that is drawn and encoded again
                errors.append(squared(parts("encoder", parts("decoder", z_t)), z_t))
    return float(np.mean(errors))


@pytest.mark.parametrize("objective", [o for o in NOTE if not o.startswith(("jepa", "augment"))])
def test_the_loss_of_an_objective_is_its_definition(objective):
    rolls = objective.startswith("rollout")
    for horizon in (2, 3) if rolls else (3,):
        parts = Parts(small(objective, **{"horizon": horizon} if rolls else {}))
        wanted = of_objective(parts, objective, horizon)
        assert wanted > 0
        assert parts.losses()[objective] == pytest.approx(wanted, rel=1e-10)
    if objective.startswith("rollout_project"):
        drawn = parts("decoder", parts["z"])
        wanted = squared(drawn, parts.batch["x"])
        assert parts.losses()["recon"] == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("objective", ["jepa_input_stopped", "jepa_regularised", "jepa_projected"])
def test_h_predicts_the_next_place_and_the_measure_says_how_much_of_it(objective):
    parts = Parts(small(objective))
    guess, aim = predicted(parts, objective)
    assert parts.losses()["jepa"] == pytest.approx(squared(guess, aim), rel=1e-10)
    error = np.square(guess - aim).sum((0, 1))
    wanted = 1 - error / np.square(aim - aim.mean((0, 1))).sum((0, 1))
    found = parts.model.measure(parts.model.inputs(parts.batch), parts.noise)["jepa_r2"]
    assert float(found) == pytest.approx(wanted.mean(), rel=1e-8)


@pytest.mark.parametrize("latent", ["z", "zt"])
def test_places_are_spread_out_and_so_is_their_projection(latent):
    parts = Parts(small("jepa_projected"))
    ending = "" if latent == "z" else "_zt"
    c = np.cov(parts[latent].reshape(-1, 8).T)
    found = parts.losses()
    wanted = np.maximum(0.0, 1.0 - np.sqrt(np.diag(c) + 1e-4)).mean()
    assert found[f"variance{ending}"] == pytest.approx(wanted, rel=1e-10)
    wanted = np.square(c - np.diag(np.diag(c))).sum() / 8
    assert found[f"covariance{ending}"] == pytest.approx(wanted, rel=1e-10)


def test_how_far_a_view_may_differ_is_said_by_three_arguments():
    """A view that hardly differs has hardly another z; each argument makes it differ more."""
    off = {"crop": 0, "noise": 0.0, "brightness": 0.0}
    still = Parts(small("augmentation_invariance", **{**off, "noise": 1e-9})).losses()["invariance"]
    assert still < 1e-15
    for name, values in {"crop": (1, 3), "noise": (0.1, 0.3), "brightness": (0.2, 0.6)}.items():
        near, far = (
            Parts(small("augmentation_invariance", **{**off, name: v})).losses()["invariance"]
            for v in values
        )
        assert 1e-10 < near < far, name


def test_sizes_are_those_of_the_latents_and_their_modules():
    spec = small("jepa_projected", dim=6, actions=5, frame=(1, 8, 16))
    assert {name: latent.expr.shape for name, latent in spec.latents.items()} == {
        "z": (6,),
        "zt": (6,),
        "h": (6,),
    }
    assert spec.inputs["x"].shape == (1, 8, 16)
    assert spec.actions["a"].n == 5


# Both backends ------------------------------------------------------------------------------------


class Trained(NamedTuple):
    losses: list[dict[str, float]]
    weights: dict[str, dict[str, np.ndarray]]


@functools.cache
def trained(objective: str, backend: str) -> Trained:
    """Three steps on noise, in float64; an optimiser that couples no modules."""
    model = lr.compile(small(objective), backend=backend, dtype="float64")
    trainer = plugins.backend(backend).trainer(model, {"default": lr.adam(0.01)})
    rng = np.random.default_rng(0)
    losses = []
    for step in range(3):
        batch = {"x": rng.random((3, 5, 3, 8, 8)), "a": rng.integers(0, 3, (3, 4))}
        losses.append(trainer.step(batch, step))
    return Trained(losses, lr.weights(trainer.model))


def encoder_moved_by(objective: str, backend: str) -> float:
    """How far the objective takes the encoder from where the descriptor alone takes it."""
    alone = trained("augmentation_invariance", backend).weights["encoder"]
    own = trained(objective, backend).weights["encoder"]
    return max(float(np.abs(own[path] - alone[path]).max()) for path in own)


def test_the_descriptor_moves_the_encoder():
    start = lr.weights(lr.compile(small("augmentation_invariance"), backend="torch"))["encoder"]
    for backend in ("torch", "jax"):
        end = trained("augmentation_invariance", backend).weights["encoder"]
        assert max(np.abs(end[path] - start[path]).max() for path in start) > 1e-3


@pytest.mark.parametrize("objective", [o for o in NOTE if o != "augmentation_invariance"])
def test_an_accepted_objective_leaves_the_encoder_where_the_descriptor_takes_it(objective):
    losses = trained(objective, "torch").losses
    assert np.isfinite([list(step.values()) for step in losses]).all()
    moved = encoder_moved_by(objective, "torch")
    assert moved > 1e-6 if objective in STRAINED else moved == 0.0


@pytest.mark.parametrize("objective", ON_JAX)
def test_jax_takes_the_steps_that_torch_takes(objective):
    torch, jax = (trained(objective, backend) for backend in ("torch", "jax"))
    for ours, theirs in zip(torch.losses, jax.losses, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-8)
    if objective != "augmentation_invariance":
        moved = encoder_moved_by(objective, "jax")
        assert moved > 1e-6 if objective in STRAINED else moved <= 1e-12


def test_option_b_sends_a_part_of_its_gradient_into_z():
    """The gradient of the encoder is affine in `into_encoder`, and at 0 the descriptor's alone."""
    rng = np.random.default_rng(0)
    batch = {"x": rng.random((3, 5, 3, 8, 8)), "a": rng.integers(0, 3, (3, 4))}

    def gradient(objective: str, **arguments: float) -> np.ndarray:
        model = lr.compile(small(objective, **arguments), backend="torch", dtype="float64")
        found = lr.gradients(model, batch, model.noise(0, batch))["encoder"]
        return np.concatenate([g.ravel() for g in found.values()])

    alone = gradient("augmentation_invariance")
    whole = gradient("jepa_regularised", into_encoder=1.0) - alone
    part = gradient("jepa_regularised", into_encoder=0.25) - alone
    assert np.abs(whole).max() > 1e-6
    np.testing.assert_allclose(part, 0.25 * whole, rtol=0, atol=1e-12)


def test_z_of_a_frame_returns_with_the_frame_whatever_it_was_trained_for():
    """The note says that z does not; z of a frame cannot but return with the frame."""
    spec = place("inverse_dynamics_z", dim=8)
    model = lr.compile(spec, backend="torch")
    maze = four_rooms()
    states = run(maze, maze.reset(seed=0), word(maze, "left, right"))
    frames = np.stack([frame_of(maze, state) for state in states])
    z = model.encode(frames[None], "z")[0]
    assert (z[0] == z[2]).all()
    assert (z[0] != z[1]).any()


def frame_of(maze, state) -> np.ndarray:
    maze.restore(state)
    return maze.frame()


# The command line, and bad input -----------------------------------------------------------------


@pytest.mark.parametrize("objective", REFUSED)
def test_a_refused_objective_is_not_trained_and_the_findings_say_why(objective, capsys):
    assert main(["train", "place", "-p", f"objective={objective}"]) == 2
    said = capsys.readouterr().err
    for rule in NOTE[objective][1]:
        assert f"{RULES[rule].code} {rule}: loss `{objective}`" in said
    assert "s.allow(" in said


def test_the_default_is_clean_on_the_command_line(capsys):
    assert main(["check", "place", "--strict"]) == 0
    assert "isolated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "inverse_dynamic_z"}, r"objective must be one of .*'inverse_dynamics_z'\?"),
        ({"objective": None}, "objective must be one of"),
        ({"horizon": 1}, "horizon .* at least 2; received 1"),
        ({"horizon": 2.5}, "horizon .* integer"),
        ({"into_encoder": 0.0}, "into_encoder must be .* greater than 0 and at most 1; .* 0.0"),
        ({"into_encoder": 2.0}, "into_encoder must be .* greater than 0 and at most 1; .* 2.0"),
        ({"dim": 0}, r"dim \(.* of z\) must be an integer of at least 1; received 0"),
        ({"actions": 0}, r"actions \(how many there are\) must be an integer of at least 1; .* 0"),
        ({"frame": (3, 7, 8)}, "each side of the frame must be .*; received a side of 7"),
        ({"frame": (8, 8)}, r"frame must be \(channels, height, width\); received \(8, 8\)"),
        ({"frame": 8}, r"frame must be \(channels, height, width\); received 8"),
        ({"variance": -1.0}, "loss 'variance' needs a positive, finite weight, got -1.0"),
        ({"jepa": "much"}, "jepa must be a number of at least 0; received 'much'"),
        ({"crop": -1}, r"crop \(pixels\) must be an integer of at least 0; received -1"),
        ({"noise": -1.0}, "noise must be a number of at least 0; received -1.0"),
        ({"brightness": 1.0}, "brightness must be a number of at least 0 and less than 1; .* 1.0"),
        ({"crop": 0, "noise": 0.0, "brightness": 0.0}, "augment changes something"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(lr.SpecError, match=message):
        place(**{**SMALL, **arguments})


@pytest.mark.parametrize("objective", ["rollout_z", "rollout_h"])
def test_a_horizon_longer_than_the_window_is_refused(objective):
    model = lr.compile(place(objective, **{**SMALL, "horizon": 5}), backend="torch")
    batch = {"x": np.zeros((2, 5, 3, 8, 8)), "a": np.zeros((2, 4), int)}
    with pytest.raises(lr.LatentrolesError, match="at least 6 frames, 'x' has 5"):
        lr.gradients(model, batch)


# The page ----------------------------------------------------------------------------------------


def table() -> str:
    """The table of objectives in docs/systems/place.md."""
    lines = ["| objective | its loss | the note | `lr.check` on z | its loss updates |"]
    lines.append("|---|---|---|---|---|")
    for objective, (said, *_) in NOTE.items():
        spec, own = place(objective), loss_of(objective)
        report = lr.check(spec)
        levels = {f.rule: f.severity for f in report if (f.loss, f.subject) == (own, "z")}
        on_z = [f"{rule}: {levels[rule]}" for rule in sorted(levels)]
        on_z = on_z or [*report.verdicts[own]["z"]] or ["live"]
        updated = [m for m in spec.modules if m in report.routes[own].modules]
        updated = ", ".join(f"**{m}**" if m == "encoder" else m for m in updated)
        kind, _, on = objective.rpartition("_")
        loss = DEFINED.get(objective) or DEFINED[kind].replace("v", on)
        lines.append(f"| `{objective}` | {loss} | {said} | {', '.join(on_z)} | {updated} |")
    return "\n".join(lines)


def test_the_page_has_the_table_and_findings_that_the_checker_gives():
    """`python -c "import test_place; print(test_place.table())"` in tests/ writes the table."""
    page = (Path(__file__).parents[1] / "docs/systems/place.md").read_text()
    assert table() in page
    assert str(lr.routes(place())) in page
    found = {str(f) for o in STRAINED for f in lr.check(place(o)) if f.severity != "note"}
    quoted = re.findall(r"```\n(LR.*?)\n```", page, re.DOTALL)
    assert len(quoted) == 3
    assert set(quoted) <= found
