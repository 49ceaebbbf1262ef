"""B6-B10 of the laws: what an optimiser step moves, and what it leaves alone, on both backends."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import latentroles as lr
from latentroles import plugins
from latentroles.spec.schedules import value as schedule_value
from latentroles.testing.strategies import batch_for, programs
from latentroles_specs.hzp import hzp
from laws.case import Case, compiled

Snapshot = dict[str, np.ndarray]

# Decay and momentum would move whatever an optimiser holds, with a gradient or without.
OPTIMISERS = {
    "default": lr.adamw(1e-2, weight_decay=0.1, clip_norm=1.0),
    "other": lr.sgd(1e-2, momentum=0.9),
}
GROUPS = {"f1": "other", "g1": "other"}
seeds = st.integers(0, 3)
many = settings(max_examples=2 * settings.default.max_examples)
fewest = settings(max_examples=settings.default.max_examples // 6)


def case_of(spec: lr.Spec, seed: int) -> Case:
    """One of the phases, with something to train."""
    case = Case.all_of(spec, seed)[seed % len(spec.all_phases())]
    assume(reached(case))
    return case


def reached(case: Case) -> frozenset[str]:
    """The modules that the phase updates."""
    table = lr.routes(case.spec)
    losses = case.spec.phase_of(case.phase).losses
    return frozenset().union(*(table[name].modules for name in losses))


def trainer_of(case: Case, backend: str, seed: int = 7) -> Any:
    model = compiled(case, backend)
    groups = {m: g for m, g in GROUPS.items() if m in case.spec.modules}
    optimisers = {n: o for n, o in OPTIMISERS.items() if n in {"default", *groups.values()}}
    return plugins.backend(backend).trainer(model, optimisers, groups, seed=seed)


def trained(trainer: Any, spec: lr.Spec, first: int, last: int) -> list[Snapshot]:
    """Takes the steps first..last-1, each on a batch of its own; the snapshots on the way."""
    snapshots = [trainer.snapshot()]
    for step in range(first, last):
        trainer.step(batch_for(spec, 100 + step), step)
        snapshots.append(trainer.snapshot())
    return snapshots


def moves_just_what_it_may(case: Case, snapshots: list[Snapshot]) -> None:
    """B7, B8: a module moves only by a route, a target only by its average, after the step."""
    spec, moving = case.spec, reached(case)
    for step, (before, after) in enumerate(pairwise(snapshots)):
        for key, array in after.items():
            part, *names = key.split("/", 2)
            if part == "weights" and names[0] in spec.targets:
                target = spec.targets[names[0]]
                decay = schedule_value(target.decay, step)
                online = after[f"weights/{target.of}/{names[1]}"]
                want = decay * before[key] + (1.0 - decay) * online
                np.testing.assert_allclose(array, want, rtol=1e-12, atol=1e-15, err_msg=key)
            elif part == "weights" and names[0] not in moving:
                np.testing.assert_array_equal(array, before[key], err_msg=key)
    held = {key.split("/")[3] for key in snapshots[0] if key.startswith("optimiser") and
            not key.endswith("/count")}  # fmt: skip
    assert held == moving


def same_snapshots(got: Snapshot, want: Snapshot, tolerance: float) -> None:
    assert set(got) == set(want)
    for key in want:
        scale = max(1.0, np.abs(want[key]).max(initial=0.0))
        np.testing.assert_allclose(got[key], want[key], rtol=0, atol=tolerance * scale, err_msg=key)


@many
@given(programs(), seeds)
def test_b7_b8_a_step_on_torch_moves_just_what_it_may(program, seed):
    case = case_of(program.spec, seed)
    moves_just_what_it_may(case, trained(trainer_of(case, "torch"), case.spec, 0, 3))


@given(programs(), seeds)
def test_states_and_losses_of_a_step_are_those_before_it(program, seed):
    case = case_of(program.spec, seed)
    trainer = trainer_of(case, "torch")
    for step in range(3):
        batch = batch_for(case.spec, 100 + step)
        model = trainer.model
        noise = model.noise(step, batch, seed=trainer.seed)
        out = model(model.inputs(batch), noise, trainer.state, step)
        values = trainer.step(batch, step)
        assert list(values) == [*out.losses, "total"]
        for name, value in {**out.losses, "total": out.total}.items():
            assert values[name] == float(value.detach())
        for name, value in out.state.items():
            np.testing.assert_array_equal(trainer.state[name], value.detach())


@many
@given(programs(), seeds)
def test_b10_resuming_on_torch_is_bitwise_going_on(program, seed):
    resumes_bitwise(case_of(program.spec, seed), "torch")


def resumes_bitwise(case: Case, backend: str) -> list[Snapshot]:
    through = trained(trainer_of(case, backend), case.spec, 0, 4)
    again = trainer_of(Case(case.spec, case.batch, case.phase, seed=case.seed + 1), backend)
    again.restore(through[2])
    resumed = trained(again, case.spec, 2, 4)
    for want, got in zip(through[2:], resumed, strict=True):
        for key, array in want.items():
            np.testing.assert_array_equal(got[key], array, err_msg=key)
    return through


@fewest
@given(programs(calls=5, losses=3), seeds)
def test_b7_b8_b9_b10_training_on_jax_is_training_on_torch(program, seed):
    case = case_of(program.spec, seed)
    jax = resumes_bitwise(case, "jax")
    moves_just_what_it_may(case, jax)
    torch = trained(trainer_of(case, "torch"), case.spec, 0, 4)
    for got, want in zip(jax, torch, strict=True):
        same_snapshots(got, want, 1e-7)


def test_b9_ten_adamw_steps_on_hzp_are_the_same_on_both_backends():
    case = Case.of(hzp(frame=(3, 8, 8), dim=6, horizon=3))
    optimisers = {"default": lr.adamw(1e-2, weight_decay=1e-2, clip_norm=1.0)}
    ends = []
    for backend in ("torch", "jax"):
        trainer = plugins.backend(backend).trainer(
            compiled(case, backend), optimisers, None, seed=0
        )
        losses = [trainer.step(batch_for(case.spec, step), step) for step in range(10)]
        ends.append((losses, trainer.snapshot()))
    (torch_losses, torch), (jax_losses, jax) = ends
    for a, b in zip(torch_losses, jax_losses, strict=True):
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-7)
    same_snapshots(jax, torch, 1e-7)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_noise_follows_the_seed_of_the_trainer_and_the_step(backend):
    s = lr.Spec("noisy")
    x = s.observation("x", (2,))
    f = s.module("f", lr.nn.linear(2, 2))
    eps = s.noise("eps", (2,), axes=("batch", "time"))
    s.loss("l", lr.losses.mse(f(x + eps), x))
    case = Case.of(s)

    def losses(seed: int) -> list[float]:
        trainer = trainer_of(case, backend, seed)
        return [trainer.step(case.batch, step)["l"] for step in (0, 0, 1)]

    assert losses(1) == losses(1)
    assert losses(1)[0] != losses(2)[0]
