"""B6-B10, B21: what an optimiser step moves, and what it leaves alone."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np

from ... import plugins
from ...compile import weights
from ...routes import routes
from ...spec.schedules import value as schedule_value
from ...spec.spec import Spec
from ...train.optimisers import adam, adamw, sgd
from ..strategies import batch_for
from .case import Case, compiled, frames_of
from .checks import equal, holds, same_bits
from .influence import NUDGE, influence, nudged
from .law import law
from .values import other_than

Snapshot = dict[str, np.ndarray]

# Decay and momentum would move whatever an optimiser holds, with a gradient or without.
OPTIMISERS = {
    "default": adamw(1e-2, weight_decay=0.1, clip_norm=1.0),
    "other": sgd(1e-2, momentum=0.9),
}
# Norm clipping couples the modules of an optimiser: without it they are apart.
UNCLIPPED = {"default": adamw(1e-2, weight_decay=0.1), "other": sgd(1e-2, momentum=0.9)}
TEN_STEPS = (sgd(1e-2), adam(1e-2), adamw(1e-2, weight_decay=0.1, clip_norm=1.0))


def trainer_of(
    case: Case, backend: str, optimisers: Mapping[str, Any] = OPTIMISERS, seed: int = 7
) -> Any:
    """A trainer of a case's model; every second module is moved by the optimiser "other"."""
    groups = (
        dict.fromkeys(sorted(case.spec.modules)[1::2], "other") if "other" in optimisers else {}
    )
    known = {n: o for n, o in optimisers.items() if n == "default" or n in groups.values()}
    return plugins.backend(backend).trainer(compiled(case, backend), known, groups, seed=seed)


def batch_of(case: Case, step: int) -> dict[str, np.ndarray]:
    """The batch of a step of training."""
    return batch_for(case.spec, 100 + step, frames=frames_of(case.spec))


def trained(trainer: Any, case: Case, first: int, last: int) -> list[Snapshot]:
    """Takes the steps first..last-1, each on a batch of its own; the snapshots on the way."""
    snapshots = [trainer.snapshot()]
    for step in range(first, last):
        trainer.step(batch_of(case, step), step)
        snapshots.append(trainer.snapshot())
    return snapshots


def _to_train(spec: Any, seed: int) -> Case | None:
    """A case for one of the phases, if it trains anything."""
    case = Case.one_of(spec, seed)
    return case if case.reached else None


def _of_module(snapshot: Snapshot, module: str) -> Snapshot:
    """The weights and the optimiser's arrays of a module."""
    own = {}
    for key, array in snapshot.items():
        names = key.split("/")
        at = {"weights": 1, "optimiser": 3}.get(names[0])
        if at is not None and len(names) > at and names[at] == module:
            own[key] = array
    return own


@law(
    "a loss moves what it reaches alone",
    "a change of a loss leaves every module without a route from it the same to the last bit after "
    "one optimiser step, and after three those that nothing it moves can reach",
    needs=("training",),
    share=2,
)
def B6(spec: Any, backend: str, seed: int = 0) -> None:
    drawn = _to_train(spec, seed)
    if drawn is None:
        return
    loss = Random(seed).choice(drawn.losses)
    case = Case.of(nudged(drawn.spec, loss), seed, drawn.phase)
    before, after = (_trained_under(case, backend, nudge) for nudge in (1.0, 3.0))
    reached = routes(case.spec)[loss].modules
    closed = influence(case.spec, loss, case.losses)
    for step, touched in ((1, reached), (3, closed)):
        for name in [*case.spec.modules, *case.spec.targets]:
            target = case.spec.targets.get(name)
            if (target.of if target else name) not in touched:
                want, got = (_of_module(s[step], name) for s in (before, after))
                same_bits(got, want, f"after {step} steps with another {loss}:")


def _trained_under(case: Case, backend: str, nudge: float) -> list[Snapshot]:
    trainer = trainer_of(case, backend, UNCLIPPED)
    snapshots = [trainer.snapshot()]
    for step in range(3):
        batch = batch_of(case, step)
        trainer.step({**batch, NUDGE: np.full_like(batch[NUDGE], nudge)}, step)
        snapshots.append(trainer.snapshot())
    return snapshots


@law(
    "what no loss reaches stays",
    "a module without a route in the phase is the same to the last bit, and no optimiser holds it",
    needs=("training",),
    share=2,
)
def B7(spec: Any, backend: str, seed: int = 0) -> None:
    case = _to_train(spec, seed)
    if case is not None:
        moves_what_is_reached(case, trained(trainer_of(case, backend), case, 0, 3))


def moves_what_is_reached(case: Case, snapshots: Sequence[Snapshot]) -> None:
    """B7 of the snapshots of training."""
    reached = case.reached
    for name in case.spec.modules.keys() - reached:
        for before, after in pairwise(snapshots):
            same_bits(_of_module(after, name), _of_module(before, name), "what no loss reaches:")
    arrays = [k.split("/") for k in snapshots[0] if k.startswith("optimiser/")]
    held = {(key[1], key[3]) for key in arrays if key[-1] != "count"}  # (optimiser, module)
    equal(sorted(m for _, m in held), sorted(reached), "the modules that optimisers hold")


@law(
    "a target follows its module",
    "after each step a target is decay * itself + (1 - decay) * its module as the step left it; "
    "that of a module which the phase does not train stands still",
    needs=("training",),
    share=2,
)
def B8(spec: Any, backend: str, seed: int = 0) -> None:
    case = _to_train(spec, seed)
    if case is not None:
        targets_follow(case, trained(trainer_of(case, backend), case, 0, 3))


def targets_follow(case: Case, snapshots: Sequence[Snapshot]) -> None:
    """B8 of the snapshots of training."""
    for step, (before, after) in enumerate(pairwise(snapshots)):
        for name, target in case.spec.targets.items():
            decay = schedule_value(target.decay, step) if target.of in case.reached else 1.0
            for key, array in _of_module(after, name).items():
                online = after[key.replace(f"weights/{name}/", f"weights/{target.of}/", 1)]
                want = decay * before[key] + (1.0 - decay) * online
                near = 1e-12 if array.dtype == np.float64 else 1e-5
                np.testing.assert_allclose(array, want, rtol=near, atol=near / 1e3, err_msg=key)


@law(
    "optimisers agree",
    "ten steps of SGD, Adam or AdamW give the same losses and weights on two backends",
    needs=("training", "float64"),
)
def B9(spec: Any, backend: str, seed: int = 0, other: str | None = None) -> None:
    case = _to_train(spec, seed)
    if case is None:
        return
    ends = []
    for name in (backend, other or other_than(backend)):
        trainer = trainer_of(case, name, {"default": TEN_STEPS[seed % 3]})
        losses = [trainer.step(batch_of(case, step), step) for step in range(10)]
        ends.append((losses, trainer.snapshot()))
    (got, end), (want, other_end) = ends
    for step, (mine, theirs) in enumerate(zip(got, want, strict=True)):
        equal(list(mine), list(theirs), "the names of the losses")
        np.testing.assert_allclose(
            list(mine.values()), list(theirs.values()), rtol=1e-6, atol=1e-7, err_msg=f"step {step}"
        )
    same_snapshots(end, other_end, 1e-6)


def same_snapshots(got: Snapshot, want: Snapshot, tolerance: float) -> None:
    """Equal arrays, relative to the largest entry of each and to 1."""
    equal(sorted(got), sorted(want), "the names of what is saved")
    for key in want:
        scale = max(1.0, np.abs(want[key]).max(initial=0.0))
        np.testing.assert_allclose(got[key], want[key], rtol=0, atol=tolerance * scale, err_msg=key)


@law(
    "resuming is going on",
    "k steps, save, load into a model of other weights, k steps: 2k steps to the last bit",
    needs=("training",),
    share=2,
)
def B10(spec: Any, backend: str, seed: int = 0) -> None:
    case = _to_train(spec, seed)
    if case is None:
        return
    through = trained(trainer_of(case, backend), case, 0, 4)
    again = trainer_of(Case(case.spec, case.batch, case.phase, seed=seed + 1), backend)
    again.restore(through[2])
    for want, got in zip(through[2:], trained(again, case, 2, 4), strict=True):
        same_bits(got, want, "what is saved:")


@law(
    "a seed repeats",
    "equal seeds give the same weights, noise and trained weights to the last bit; other seeds and "
    "other steps draw anew",
    needs=("training",),
)
def B21(spec: Any, backend: str, seed: int = 0) -> None:
    case = Case.one_of(spec, seed)
    first, second = (compiled(case, backend) for _ in range(2))
    another = compiled(Case(case.spec, case.batch, case.phase, seed + 1), backend)
    for name, arrays in weights(first).items():
        same_bits(weights(second)[name], arrays, f"the weights of {name}")
    drawn, again, later = (
        {n: np.asarray(a) for n, a in m.noise(step, like=case.batch).items()}
        for m, step in ((first, 1), (second, 1), (first, 2))
    )
    same_bits(again, drawn, "noise")
    anew = [(f"noise {n} of another step", drawn[n], later[n]) for n in _wide(case.spec)]
    for name, arrays in weights(first).items():
        drawn_anew = weights(another)[name]
        anew += [(f"{name}/{p}", a, drawn_anew[p]) for p, a in arrays.items() if np.ptp(a) > 0]
    for what, one, two in anew:
        holds(not np.array_equal(one, two), f"{what}: expected another draw, got the same")
    if case.reached:
        ends = [trained(trainer_of(case, backend), case, 0, 2)[-1] for _ in range(2)]
        same_bits(ends[1], ends[0], "after training:")


def _wide(spec: Spec) -> list[str]:
    """The noises in which two draws differ for sure; bernoulli masks may be alike."""
    return [n for n, declared in spec.noises.items() if declared.kind != "bernoulli"]
