"""A backend without a framework, for tests of the loop: numpy, two modules, momentum.

The model fits `near` to the mean of column "x" and `far` to `near`. Its losses, its noise and its
momentum depend on the batch, the seed and the step, so that a resumed run which gets any of them
wrong ends elsewhere.
"""

import contextlib
import json
import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentroles import plugins
from latentroles.errors import CheckpointError, SpecError
from latentroles.evaluate import curves
from latentroles.spec import Discrete, Spec, losses, nn
from latentroles.train import RunResult, checkpoint, metrics, phases, train
from latentroles.train.loop import Batch, Losses
from latentroles.train.optimisers import sgd

WIDTH = 3


def quadratic(name: str = "quadratic", weight: float = 1.0, two_phases: bool = False) -> Spec:
    """A real spec; the backend below does not look into its losses, only at their names."""
    s = Spec(name)
    x = s.observation("x", (WIDTH,))
    a = s.action("a", Discrete(4))
    near = s.module("near", nn.mlp(WIDTH, WIDTH))
    far = s.module("far", nn.mlp(WIDTH, 4))
    s.loss("pull", losses.mse(near(x), x), weight=weight)
    s.loss("push", losses.cross_entropy(far(near(x).t[1:]), a))
    if two_phases:
        s.phase("pretrain", losses=["pull"], steps=4)
        s.phase("decode", losses=["pull", "push"], steps=3)
    return s


@dataclass
class Draws:
    """Data that is a function of the step."""

    seed: int = 0
    before: Callable[[int], None] = lambda step: None
    frames: int = 5

    def batch(self, step: int) -> Batch:
        self.before(step)
        rng = np.random.default_rng([self.seed, step])
        x = rng.normal(size=(2, self.frames, WIDTH)).astype(np.float32)
        return {"x": x, "a": rng.integers(0, 4, size=(2, self.frames - 1))}

    def identity(self) -> dict[str, Any]:
        return {"kind": "draws", "seed": self.seed}


@dataclass
class Model:
    weights: dict[str, np.ndarray]
    losses: tuple[str, ...]
    source: str


@dataclass
class QuadraticTrainer:
    """Momentum on sum((near - mean x - noise)^2) and sum((far - near)^2)."""

    model: Model
    seed: int
    rate: float
    after: Callable[["QuadraticTrainer", int, Losses], Losses]
    evaluated: Callable[["QuadraticTrainer", int, Losses], Losses]
    momentum: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.momentum = {name: np.zeros_like(w) for name, w in self.model.weights.items()}

    def step(self, batch: Batch, step: int) -> Losses:
        weights = self.model.weights
        noise = 0.1 * np.random.default_rng([self.seed, step]).normal(size=WIDTH)
        goals = {"near": batch["x"].mean((0, 1)) + noise, "far": weights["near"].copy()}
        found: Losses = {}
        for loss, module in zip(("pull", "push"), goals, strict=True):
            if loss in self.model.losses:
                residual = weights[module] - goals[module]
                found[loss] = float((residual**2).sum())
                self.momentum[module] = 0.9 * self.momentum[module] + residual
                weights[module] = weights[module] - self.rate * self.momentum[module]
        found["total"] = math.fsum(found.values())
        return self.after(self, step, found)

    def evaluate(self, batch: Batch, step: int, draw: int) -> Losses:
        """The distances without noise; the draw tells validation batches apart."""
        weights = self.model.weights
        goals = {"near": batch["x"].mean((0, 1)) + draw, "far": weights["near"]}
        found = {
            loss: float(((weights[module] - goals[module]) ** 2).sum())
            for loss, module in zip(("pull", "push"), goals, strict=True)
            if loss in self.model.losses
        }
        found["total"] = math.fsum(found.values())
        return self.evaluated(self, step, found)

    def latents(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """None: the spec declares none."""
        return {name: np.zeros((2, 1)) for name in names}

    def snapshot(self) -> dict[str, np.ndarray]:
        return {f"weights/{n}": w for n, w in self.model.weights.items()} | {
            f"optimiser/default/momentum/{n}": m for n, m in self.momentum.items()
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        if arrays.keys() != self.snapshot().keys():
            raise CheckpointError(f"other arrays: {sorted(arrays)}")
        for name in self.momentum:
            self.model.weights[name] = arrays[f"weights/{name}"].copy()
            self.momentum[name] = arrays[f"optimiser/default/momentum/{name}"].copy()


def _leave(trainer: QuadraticTrainer, step: int, losses: Losses) -> Losses:
    return losses


@dataclass
class QuadraticBackend:
    """What `plugins.backend` returns, and the functions of `compile` that the loop calls.

    Args:
        after: is called as after(trainer, step, losses) at the end of each step; gives the losses.
        evaluated: the same, at the end of each evaluation.
        devices: those that it has.
    """

    after: Callable[[QuadraticTrainer, int, Losses], Losses] = _leave
    evaluated: Callable[[QuadraticTrainer, int, Losses], Losses] = _leave
    devices: tuple[str | None, ...] = (None, "cpu")
    name: str = "quadratic"

    def compile(
        self, spec: Spec, *, backend: str, phase: str, seed: int, dtype: str, device: Any
    ) -> Model:
        rng = np.random.default_rng(seed)
        weights = {name: rng.normal(size=WIDTH) for name in ("near", "far")}
        return Model(weights, spec.phase_of(phase).losses, f"# {spec.name}, phase {phase}\n")

    def trainer(
        self, model: Model, optimisers: Mapping[str, Any], groups: Any, seed: int
    ) -> QuadraticTrainer:
        rate = optimisers["default"].learning_rate
        return QuadraticTrainer(model, seed, rate, self.after, self.evaluated)

    def device_of(self, name: str | None) -> str | None:
        if name not in self.devices:
            raise SpecError(f"no device {name!r}")
        return name


@contextlib.contextmanager
def hearing_ctrl_c() -> Iterator[None]:
    """Ctrl-C is heard inside, also where a shell started the suite in the background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def install(monkeypatch: pytest.MonkeyPatch, charts: bool = False) -> QuadraticBackend:
    """Puts a `QuadraticBackend` where the loop looks for one, and returns it.

    Args:
        charts: whether a run draws its curves, which takes longer than the training.
    """
    made = QuadraticBackend()
    if not charts:
        monkeypatch.setattr(curves, "draw", lambda *args, **kwargs: None)
    monkeypatch.setattr(plugins, "backend", lambda name: made)
    monkeypatch.setattr(phases, "compile_spec", made.compile)
    return made


def trained(out: Path | None = None, **options: Any) -> RunResult:
    """`train` with the tests' defaults."""
    spec = options.pop("spec", None) or quadratic()
    data = options.pop("data", None) or Draws()
    settings = {
        "backend": "quadratic",
        "optimisers": {"default": sgd(0.05)},
        "display": False,
        "steps": 8,
    }
    return train(spec, data, out=out, **{**settings, **options})


def status_of(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text())["status"]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The metrics without the times, which differ from run to run."""
    rows = metrics.read(folder / metrics.METRICS)
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_run(a: Path, b: Path) -> None:
    left, right = checkpoint.load(a), checkpoint.load(b)
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        assert array.tobytes() == right.arrays[name].tobytes(), name
    timeless = [{**c.record, "seconds": None} for c in (left, right)]
    assert timeless[0] == timeless[1]
    assert lines_of(a) == lines_of(b)
