"""A Spec with arrays for one step, and what the step gives on a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import plugins
from ...compile import compile
from ...routes import routes
from ...spec.spec import Spec
from ...spec.walk import postorder
from ..programs import FRAMES
from ..reference import Results, evaluate
from ..strategies import BATCH, batch_for
from .law import spec_of

Gradients = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """A Spec with everything that one step of one phase reads."""

    spec: Spec
    batch: Mapping[str, np.ndarray]
    phase: str | None = None
    seed: int = 0
    step: int = 1

    @staticmethod
    def of(subject: Any, seed: int = 0, phase: str | None = None, *, batch: int = BATCH) -> Case:
        spec = spec_of(subject)
        columns = batch_for(spec, seed, batch=batch, frames=frames_of(spec))
        return Case(spec, columns, phase, seed)

    @staticmethod
    def all_of(subject: Any, seed: int = 0) -> list[Case]:
        """A case for each phase."""
        return [Case.of(subject, seed, phase.name) for phase in spec_of(subject).all_phases()]

    @staticmethod
    def one_of(subject: Any, seed: int, *, batch: int = BATCH) -> Case:
        """A case for one of the phases, which the seed chooses."""
        phases = spec_of(subject).all_phases()
        return Case.of(subject, seed, phases[seed % len(phases)].name, batch=batch)

    def but(self, spec: Any) -> Case:
        """The same for another spec that reads the same."""
        return Case(spec_of(spec), self.batch, self.phase, self.seed, self.step)

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses of its phase."""
        return tuple(n for n in self.spec.phase_of(self.phase).losses if n in self.spec.losses)

    @property
    def reached(self) -> frozenset[str]:
        """The modules that its phase updates."""
        table = routes(self.spec)
        return frozenset().union(*(table[name].modules for name in self.losses))

    def state(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.seed + 1)
        return {s.name: rng.standard_normal(s.shape) for s in self.spec.states.values()}


def frames_of(spec: Spec) -> int:
    """How many frames a batch for the spec has: as many as random specs read, or what it needs."""
    values = [loss.expr for loss in spec.losses.values()]
    values += [z.expr for z in spec.latents.values()]
    away = max((e.type.time or 0 for root in values for e in postorder(root)), default=0)
    return max(FRAMES, away + 1)


def compiled(case: Case, backend: str, dtype: str | None = None) -> Any:
    """The model of a case, by default in the widest type of the backend."""
    if dtype is None:
        wide = "float64" in plugins.backend(backend).capabilities
        dtype = "float64" if wide else "float32"
    return compile(case.spec, backend=backend, seed=case.seed, phase=case.phase, dtype=dtype)


def inputs(model: Any, case: Case) -> tuple[Any, Any, Any]:
    """The batch, the noise and the state of a case, as its model takes them."""
    state = plugins.backend(model.backend).arrays(model, case.state())
    return model.inputs(case.batch), model.noise(case.step, like=case.batch), state


def results(model: Any, case: Case) -> Results:
    """One step of a model on a case."""
    backend = plugins.backend(model.backend)
    return backend.loss_gradients(model, *inputs(model, case), case.step)


def step_of(case: Case, backend: str) -> Results:
    """One step of a case on a backend."""
    return results(compiled(case, backend), case)


def reference(
    model: Any, case: Case, evaluate: Callable[..., Any] = evaluate
) -> tuple[dict[str, Any], dict[str, Gradients]]:
    """The masked per-loss reference: the value and the gradient of each loss by itself."""
    backend = plugins.backend(model.backend)
    return backend.reference(model, *inputs(model, case), case.step, evaluate)
