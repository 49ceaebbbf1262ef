"""A Spec with arrays for one step, and what the step gives on a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import latentroles as lr
from latentroles import plugins
from latentroles.compile import draw_weights, emit, load_class
from latentroles.plan.build import Plan, plan_phase
from latentroles.testing.strategies import batch_for

Gradients = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """A Spec with everything that one step of one phase reads."""

    spec: lr.Spec
    batch: Mapping[str, np.ndarray]
    phase: str | None = None
    seed: int = 0
    step: int = 1

    @staticmethod
    def of(spec: lr.Spec, seed: int = 0, phase: str | None = None) -> Case:
        return Case(spec, batch_for(spec, seed), phase, seed)

    @staticmethod
    def all_of(spec: lr.Spec, seed: int = 0) -> list[Case]:
        """A case for each phase."""
        return [Case.of(spec, seed, phase.name) for phase in spec.all_phases()]

    def state(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.seed + 1)
        return {s.name: rng.standard_normal(s.shape) for s in self.spec.states.values()}


@dataclass(frozen=True)
class Results:
    """What a step gives, as numpy arrays; `gradients` are those of the unweighted losses."""

    losses: dict[str, float]
    total: float
    latents: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    gradients: dict[str, Gradients]


def compiled(
    case: Case,
    backend: str = "torch",
    *,
    plan: Callable[[Plan], Plan] = lambda plan: plan,
    source: Callable[[str], str] = lambda source: source,
) -> Any:
    """The model of a case, as `lr.compile` makes it; a mutant changes its plan or its source."""
    chosen = plugins.backend(backend)
    spec = lr.Spec.from_json(case.spec.to_json())
    planned = plan(plan_phase(spec, spec.phase_of(case.phase), targets_flow=chosen.targets_flow))
    text = source(emit(spec, chosen, planned))
    cls = load_class(text, spec, backend, planned.phase.name)
    weights = draw_weights(spec, case.seed)
    return chosen.build(cls, planned, text, weights, case.seed, "float64", None)


def steps(model: Any) -> Any:
    """The module that takes steps on the model's backend."""
    if model.backend == "torch":
        from laws import torch_steps

        return torch_steps
    from laws import jax_steps

    return jax_steps


def results(model: Any, case: Case) -> Results:
    """One step of a model on a case."""
    return steps(model).step(model, case)


def reference(model: Any, case: Case) -> tuple[dict[str, float], dict[str, Gradients]]:
    """The masked per-loss reference: the value and the gradient of each loss by itself."""
    given = steps(model).inputs(model, case)
    return plugins.backend(model.backend).reference(model, *given, case.step)
