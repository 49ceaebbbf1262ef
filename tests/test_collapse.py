"""Collapse: how much of its space a latent fills, when that is too little, and why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
from latentroles.train import checkpoint, metrics
from latentroles.train.collapse import CollapseWatch, likely_causes, spread, trained_latents

BACKENDS = ("torch", "jax")

# The measure ---------------------------------------------------------------------------------


@given(
    n=st.integers(2, 40),
    d=st.integers(1, 40),
    seed=st.integers(0, 99),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    shift=st.sampled_from([0.0, -3.0]),
)
def test_the_spread_is_that_of_its_definition(
    n: int, d: int, seed: int, scale: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.random(d) + shift
    values = np.linalg.svd(x - x.mean(0), compute_uv=False)
    p = values / values.sum()
    p = p[p > 1e-12]
    found = spread(scale * x)
    assert found.rank == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)
    assert found.std == pytest.approx(scale * x.std(0).mean())
    assert found.size == pytest.approx(scale * np.sqrt((x**2).mean()))
    assert found.dimensions == min(d, n - 1)


@given(rank=st.integers(1, 8), seed=st.integers(0, 99))
def test_equal_directions_count_as_many_and_turning_changes_nothing(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    x = np.concatenate([np.eye(16)[:rank], -np.eye(16)[:rank]])
    assert spread(x).rank == pytest.approx(rank, rel=1e-4)
    assert spread(x @ turn).rank == pytest.approx(rank, rel=1e-4)


def test_a_constant_has_no_rank_and_many_samples_are_thinned() -> None:
    assert spread(np.full((5, 3), 2.0)).rank == 0.0
    many = np.random.default_rng(0).normal(size=(20_000, 4))
    assert spread(many).rank == pytest.approx(4.0, rel=0.02)


# What is watched -----------------------------------------------------------------------------


def jepa(live: bool = True, guard: bool = False, frozen: bool = False) -> lr.Spec:
    """z predicts itself at the next frame: without a stop it may become a constant."""
    s = lr.Spec("jepa")
    x = s.observation("x", (6,))
    encoder = s.module("encoder", lr.nn.linear(6, 8))
    reporter = s.module("reporter", lr.nn.linear(6, 6))
    predictor = s.module("predictor", lr.nn.linear(8, 8))
    z = s.latent("z", encoder.frozen(x) if frozen else encoder(x), role=lr.PLACE)
    w = s.latent("w", reporter(x), role=lr.DYNAMICS)
    later = z.t[1:] if live else z.t[1:].stop()
    s.loss("jepa", lr.losses.mse(predictor(z.t[:-1]), later))
    s.loss("report", lr.losses.mse(w, x))
    if guard:
        s.loss("guard", lr.losses.vicreg(z))
    s.phase("both", losses=["jepa", "report", *(["guard"] if guard else [])], steps=40)
    s.phase("report", losses=["report"], steps=2)
    return s


def test_only_latents_that_the_phase_trains_are_watched() -> None:
    assert trained_latents(jepa(), "both") == ("z", "w")
    assert trained_latents(jepa(), "report") == ("w",)
    assert trained_latents(jepa(frozen=True), "both") == ("w",)


def test_a_latent_behind_a_stop_is_not_trained_by_what_trains_what_it_reads() -> None:
    s = jepa()
    z = s.latents["z"].expr
    s.latent("v", s.module("idle", lr.nn.linear(8, 8))(z.stop()), role=lr.DYNAMICS)
    assert trained_latents(s, "both") == ("z", "w")


def varied(seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(size=(4, 5, 6))}


def measured(watch: CollapseWatch, z: np.ndarray, batch: Any = None) -> tuple[Any, list[str]]:
    """Measures z, with a healthy w beside it."""
    w = np.random.default_rng(1).normal(size=(4, 5, 6))
    rows, warnings = watch.measure({"z": z, "w": w}, batch or varied())
    return rows["z"], warnings


def test_a_latent_is_warned_of_once_until_it_recovers() -> None:
    watch = CollapseWatch(jepa(), "both")
    z = np.random.default_rng(0).normal(size=(4, 5, 8))
    row, warnings = measured(watch, z)
    assert warnings == []
    assert row == {
        "rank": pytest.approx(spread(z.reshape(20, 8)).rank, abs=1e-4),
        "std": pytest.approx(z.reshape(20, 8).std(0).mean(), rel=1e-3),
    }
    small = 0.018 * z
    assert len(measured(watch, small)[1]) == 1  # small beside what it was at first
    assert measured(watch, small)[1] == []
    again = CollapseWatch(jepa(), "both")
    again.restore(watch.to_json())
    assert measured(again, small)[1] == []
    assert measured(again, 0.5 * z)[1] == []
    assert f"({watch.first['z']:.2g} at first)" in measured(again, small)[1][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda z: z, None),
        (lambda z: 1e-4 * z, None),  # small, but as it began
        (lambda z: 1000.0 + z, "all but constant"),
        (lambda z: 0.0 * z, "all but constant"),
        (lambda z: z[..., :1] * np.ones(8), "effective rank is 1 of 8"),
        (lambda z: z[..., :2] @ np.eye(8)[:2], None),
    ],
)
def test_what_counts_as_collapse(change: Any, said: str | None) -> None:
    z = change(np.random.default_rng(0).normal(size=(4, 5, 8)))
    warnings = measured(CollapseWatch(jepa(), "both"), z)[1]
    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]


@given(part=st.floats(0.03, 1.0))
def test_a_latent_that_nothing_guards_may_not_lose_most_of_its_spread(part: float) -> None:
    z = np.random.default_rng(0).normal(size=(4, 5, 8))
    for guard in (False, True):
        watch = CollapseWatch(jepa(live=False, guard=guard), "both")
        assert measured(watch, z)[1] == []
        warnings = measured(watch, part * z)[1]
        assert len(warnings) == (not guard and part <= 1 / 3)
        for text in warnings:
            assert "z has lost most of its spread: it varies by " in text
            assert "no loss of phase both keeps it from collapsing" in text


WORSE = {
    "lost": (lambda z: 0.3 * z, ["has lost most of its spread: it varies by "]),
    "few": (
        lambda z: z[..., :1] * np.ones(8),
        ["keeps to few dimensions: its effective rank is 1 of 8. "],
    ),
    "both": (
        lambda z: 0.2 * z[..., :1] * np.ones(8),
        ["keeps to few dimensions: its effective rank is 1 of 8; it has lost most of its spread: "],
    ),
    "constant": (lambda z: 1e-9 * z, ["is all but constant: it varies by "]),
    "zero": (lambda z: 0.0 * z, ["is all but constant: it varies by 0 "]),
    "well": (lambda z: z, []),
}


@pytest.mark.parametrize(
    ("looks", "spoken"),
    [
        (["lost", "constant"], ["lost", "constant"]),
        (["lost", "lost", "few", "few"], ["lost", "few"]),
        (["few", "zero", "zero"], ["few", "zero"]),
        # What gets better is no news, and what has been well begins anew.
        (["both", "few", "lost", "constant"], ["both", "lost", "constant"]),
        (["constant", "lost", "both", "constant"], ["constant", "few", "constant"]),
        (["zero", "both", "well", "lost"], ["zero", "lost"]),
    ],
)
def test_a_latent_is_warned_of_again_when_it_gets_worse(
    looks: list[str], spoken: list[str]
) -> None:
    z = np.random.default_rng(0).normal(size=(4, 5, 8))
    watch = CollapseWatch(jepa(), "both")
    measured(watch, z)
    texts = []
    for look in looks:
        texts += measured(watch, WORSE[look][0](z))[1]
        again = CollapseWatch(jepa(), "both")
        again.restore(json.loads(json.dumps(watch.to_json())))
        watch = again
    assert len(texts) == len(spoken)
    for text, kind in zip(texts, spoken, strict=True):
        assert text.startswith(f"latent z {WORSE[kind][1][0]}")


@pytest.mark.parametrize(
    ("low", "high", "above"), [(0.33, 0.34, 0.51), (0.019, 0.021, 0.031), (0.1, 0.49, 0.51)]
)
def test_a_latent_at_the_bound_of_a_warning_is_warned_of_once(
    low: float, high: float, above: float
) -> None:
    z = np.random.default_rng(0).normal(size=(4, 5, 8))
    watch = CollapseWatch(jepa(), "both")
    measured(watch, z)
    parts = 5 * [low, high]
    assert sum(len(measured(watch, part * z)[1]) for part in parts) == 1
    measured(watch, above * z)
    assert len(measured(watch, low * z)[1]) == 1


def test_a_rank_at_its_bound_is_warned_of_once() -> None:
    z = np.random.default_rng(0).normal(size=(4, 5, 8))
    line = z[..., :1] * np.ones(8)
    watch = CollapseWatch(jepa(guard=True), "both")
    mixed = {part: line + part * z for part in (0.01, 0.08, 0.2, 1.0)}
    ranks = [spread(one.reshape(20, 8)).rank for one in mixed.values()]
    assert ranks[0] < 1.5 < ranks[1] < 2.25 < ranks[2]
    said = [len(measured(watch, mixed[part])[1]) for part in (1.0, 0.01, 0.08, 0.01, 0.2, 0.01)]
    assert said == [0, 1, 0, 0, 0, 1]


def test_what_an_earlier_version_remembered_goes_on() -> None:
    z = np.random.default_rng(0).normal(size=(4, 5, 8))
    for change, said in (("lost", 0), ("constant", 1)):
        watch = CollapseWatch(jepa(), "both")
        measured(watch, z)
        watch.restore({**watch.to_json(), "said": ["z"]})
        assert len(measured(watch, WORSE[change][0](z))[1]) == said


def test_a_guard_is_that_of_the_phase() -> None:
    s = jepa(live=False, guard=True)
    s.phase("bare", losses=["jepa"])
    z = np.random.default_rng(0).normal(size=(4, 5, 8))
    for phase, said in (("both", 0), ("bare", 1)):
        watch = CollapseWatch(s, phase)
        measured(watch, z)
        assert len(measured(watch, 0.2 * z)[1]) == said


def test_few_dimensions_are_no_collapse_of_a_small_latent() -> None:
    s = lr.Spec("small")
    x = s.observation("x", (6,))
    p = s.latent("p", s.module("m", lr.nn.linear(6, 3))(x), role=lr.POSE)
    s.loss("l", lr.losses.mse(p, p.t[0].stop()))
    line = np.random.default_rng(0).normal(size=(4, 5, 1)) * np.ones(3)
    assert CollapseWatch(s, "main").measure({"p": line}, {})[1] == []


# Why -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "batch", "said", "unsaid"),
    [
        (jepa(), varied(), ["target of jepa is live", "no loss of phase both keeps it"], ["input"]),
        (jepa(live=False), varied(), ["no loss of phase both keeps it"], ["live", "input"]),
        (jepa(live=False, guard=True), varied(), ["learning rate"], ["live", "keeps it", "input"]),
        (jepa(guard=True), {"x": np.ones((4, 5, 6))}, ["its input x is the same"], ["keeps it"]),
    ],
)
def test_the_likely_causes(spec: lr.Spec, batch: Any, said: list[str], unsaid: list[str]) -> None:
    causes = "; ".join(likely_causes(spec, "both", "z", batch))
    assert all(text in causes for text in said)
    assert not any(text in causes for text in unsaid)


def test_a_guard_of_another_phase_is_none() -> None:
    s = jepa(guard=True)
    s.phase("bare", losses=["jepa"])
    assert "no loss of phase bare keeps it" in "; ".join(likely_causes(s, "bare", "z", varied()))


# While a run goes on -------------------------------------------------------------------------


class Frames:
    def identity(self) -> dict[str, str]:
        return {"kind": "frames"}

    def batch(self, step: int) -> dict[str, np.ndarray]:
        return varied(step)


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lr.RunResult]:
    root = tmp_path_factory.mktemp("collapsed")
    return {
        backend: lr.train(
            jepa(),
            Frames(),
            backend=backend,
            out=root / backend,
            dtype="float64",
            optimisers=lr.sgd(1.0),
            collapse_every=10,
            display=False,
        )
        for backend in BACKENDS
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_collapses_says_so_while_it_runs(
    backend: str, collapsed: dict[str, lr.RunResult]
) -> None:
    result = collapsed[backend]
    rows = metrics.read(result.folder / metrics.METRICS)
    looked = [row["step"] for row in rows if "latents" in row]
    assert looked == [0, 9, 19, 29, 39, 40]
    warned = [row for row in rows if "warnings" in row]
    said = [(row["step"], text) for row in warned for text in row["warnings"]]
    assert [step for step, _ in said] == [9, 19]
    assert "latent z has lost most of its spread" in said[0][1]
    assert "latent z is all but constant" in said[1][1]
    assert all("target of jepa is live" in text for _, text in said)
    assert result.notes[:2] == tuple(f"Warning: after step {step}, {text}" for step, text in said)
    stds = [row["latents"]["z"]["std"] for row in rows if "z" in row.get("latents", {})]
    assert stds[-1] < 0.02 * stds[0]


def test_both_backends_measure_the_same(collapsed: dict[str, lr.RunResult]) -> None:
    ours, theirs = (
        [
            r["latents"]
            for r in metrics.read(collapsed[b].folder / metrics.METRICS)
            if "latents" in r
        ]
        for b in BACKENDS
    )
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=2e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_latents_are_those_of_the_model(backend: str, collapsed: dict[str, lr.RunResult]) -> None:
    """Both those that the step has at hand, and those that it has not."""
    from latentroles import plugins

    s = lr.Spec("cut")
    x, goal = s.observation("x", (6,)), s.observation("goal", (8,))
    z = s.latent("z", s.module("encoder", lr.nn.linear(6, 8))(x), role=lr.PLACE)
    other = s.module("other", lr.nn.linear(6, 8))
    s.latent("y", lr.prepend(lr.zeros(8), other(x)), role=lr.DYNAMICS)
    s.loss("a", lr.losses.mse(z, goal))
    s.loss("b", lr.losses.mse(other(x), goal))
    model = lr.compile(s, backend=backend, dtype="float64")
    assert set(model.plan.latents) == {"z"}
    trainer = plugins.backend(backend).trainer(model, {"default": lr.sgd(0.1)})
    trainer.evaluate({**varied(), "goal": np.ones((4, 5, 8))}, 0, 0)
    found = trainer.latents(("z", "y"))
    held = lr.weights(trainer.model)
    expected = {
        name: varied()["x"] @ held[module]["weight"].T + held[module]["bias"]
        for name, module in (("z", "encoder"), ("y", "other"))
    }
    np.testing.assert_allclose(found["z"], expected["z"])
    assert not found["y"][:, 0].any()
    np.testing.assert_allclose(found["y"][:, 1:], expected["y"])


def test_what_is_remembered_goes_into_the_checkpoint(collapsed: dict[str, lr.RunResult]) -> None:
    folder = collapsed["torch"].folder
    held = checkpoint.load(folder, "checkpoint_both").record["progress"]["collapse"]
    assert held["said"] == {"z": ["lost", "constant"]}
    assert set(held["first"]) == {"z", "w"}


def test_a_healthy_run_has_no_warning(tmp_path: Path) -> None:
    result = lr.train(
        jepa(live=False, guard=True),
        Frames(),
        out=tmp_path / "run",
        optimisers=lr.adam(0.01),
        collapse_every=10,
        display=False,
    )
    assert result.notes == ()
