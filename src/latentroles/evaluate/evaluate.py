"""`lr.evaluate`: does z close loops? Every metric of any encoder, with every control beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..arguments import POSITIVE, UNIT, boolean, choice, integer, real
from ..errors import SpecError, user_line
from . import asked
from . import controls as known
from .encoders import READS, Encode, encoded, repeats
from .evaluation import Evaluation
from .leakage import LAGS
from .measured import FAMILIES, Measured, families, measure
from .progress import counted
from .sources import Source, read
from .spreads import unlike_share
from .visits import TAU

MARGIN, SEPARATION = 0.1, 0.9
_MOVES = (
    "the encoder gives the same frames other vectors in another batch, or the second time (G0): "
    "dropout, samples or statistics of a batch are part of every number"
)


def evaluate(
    encode: Encode | Sequence[Encode],
    env_or_data: Any,
    *,
    reads: str = "frame",
    controls: Mapping[str, Encode] | None = None,
    standard_controls: bool = True,
    name: str = "encoder",
    nuisance: Sequence[str] | None = None,
    only: Sequence[str] = FAMILIES,
    lags: Sequence[int] = LAGS,
    margin: float = MARGIN,
    separation: float = SEPARATION,
    episodes: int = 64,
    steps: int = 100,
    seed: int = 0,
    tau: int = TAU,
    distance: str | Callable[[np.ndarray], np.ndarray] | None = None,
    tolerance: float = 0.0,
    display: bool = True,
) -> Evaluation:
    """Measures whether an encoder's z is the same where the place is.

    Args:
        encode: frames (n, *frame) -> z (n, D), of any array library; or several, one per seed of
            training, for intervals. With `reads="history"`, the frames (T, *frame) and actions
            (T - 1,) of one episode -> z (T, D). Frames are numpy as the data stores them, channels
            first: those of minigrid are uint8 (n, 3, height, width) from 0 to 255, at most 256 at
            a time. A `torch.nn.Module` gets them as float tensors on its device, bytes divided by
            255, in eval mode and without gradients.
        env_or_data: the path of a trajectory file with a label `place`, a `Trajectories`, or an
            environment of `latentroles.words`, in which walks are then collected.
        controls: further encoders of the same kind, by name: "untrained" (the same network at its
            initial weights) and "regulariser only" (trained without the loss in question) are the
            fair nulls, and only the caller has them.
        standard_controls: whether oracle place, raw frame, constant, time index, dead-reckoned sum
            of actions, and shuffled places are measured, too.
        nuisance: which labels are nuisance; by default what the environment says is, or every
            label of one number, and the heading, that varies within a place.
        only: which of "retrieval", "spreads", "leakage" and "collapse".
        lags: how many steps back the actions lie whose leakage is measured.
        margin: the LCR up to which a revisit counts as the same; declare it before you look.
        separation: the share of revisits, from 0 to 1, that are to be nearer than every wrong
            place for z to pass; declare it, too.
        episodes, steps, seed: of the walks; `seed` of all that is drawn, too.
        tau: steps; nearer visits of an episode are not compared.
        distance, tolerance: as for `sources.read`.
        display: whether to show at a terminal what is being measured.

    Raises:
        SpecError: an argument means nothing; said before anything is walked.
        EncoderError: an encoder fails, or does not give one finite vector for each frame.
        DataError: one place only, no revisits, or data that cannot be read.
        PluginError: scikit-learn or scipy is not installed.
    """
    choice("evaluate()", "reads", reads, READS)
    margin, only = real("evaluate()", "margin", margin, POSITIVE), families("evaluate()", only)
    separation = real("evaluate()", "separation", separation, UNIT)
    lags = asked.lags("evaluate()", lags)
    standard = STANDARD if boolean("evaluate()", "standard_controls", standard_controls) else {}
    encoders, controls = asked.encoders(encode), asked.controls(controls, tuple(standard))
    if not isinstance(name, str):
        raise SpecError(f"{user_line()}evaluate(): name is text, for the table; received {name!r}.")
    display = boolean("evaluate()", "display", display)
    source = read(
        env_or_data,
        reads=reads,
        nuisance=nuisance,
        episodes=integer("evaluate()", "episodes", episodes, "walks to collect"),
        steps=integer("evaluate()", "steps", steps, "actions of a walk"),
        seed=integer("evaluate()", "seed", seed, "of all that is drawn", minimum=0),
        tau=integer("evaluate()", "tau", tau, "steps", minimum=0),
        distance=distance,
        tolerance=tolerance,
    )
    found, _ = evaluated(
        source,
        encoders,
        reads=reads,
        controls=controls,
        standard=standard,
        name=name,
        only=only,
        lags=lags,
        margin=margin,
        separation=separation,
        seed=seed,
        display=display,
    )
    return found


STANDARD: dict[str, Callable[[Source, np.ndarray, int], np.ndarray]] = {
    "oracle place": lambda source, z, seed: known.oracle(source.visits),
    "raw frame": lambda source, z, seed: known.raw_frames(source.frames),
    "constant": lambda source, z, seed: known.constant(source.visits),
    "time index": lambda source, z, seed: known.time_index(source.visits),
    "dead-reckoned": lambda source, z, seed: known.dead_reckoned(source.visits),
    "shuffled places": lambda source, z, seed: known.shuffled(z, seed),
}


def evaluated(
    source: Source,
    encoders: Sequence[Encode],
    *,
    reads: str,
    controls: Mapping[str, Encode],
    name: str,
    standard: Mapping[str, Callable[[Source, np.ndarray, int], np.ndarray]] = STANDARD,
    only: Sequence[str] = FAMILIES,
    lags: Sequence[int] = LAGS,
    margin: float = MARGIN,
    separation: float = SEPARATION,
    seed: int = 0,
    display: bool = True,
) -> tuple[Evaluation, list[np.ndarray]]:
    """What `evaluate` does once there are frames; and z, (N, D), of each encoder."""

    def measured(z: np.ndarray, what: str, exact: int | None = None) -> Measured:
        return measure(
            source.visits,
            z,
            only=only,
            lags=lags,
            periods=source.periods,
            seed=seed,
            what=what,
            exact=exact,
        )

    with counted(len(encoders) + len(controls) + len(standard), display) as say:
        found = [encoded(each, source, reads) for each in encoders]
        still = [repeats(e, source, reads, z) for e, z in zip(encoders, found, strict=True)]
        seeds, beside = [], {}
        for z in found:
            say(name)
            seeds.append(measured(z, "the encoder"))
        for label, control in controls.items():
            say(label)
            beside[label] = measured(encoded(control, source, reads), f"the control {label!r}")
        for label, make in standard.items():
            say(label)
            exact = known.MOST_FRAMES if label == "raw frame" else None
            z = make(source, found[0], seed)
            beside[label] = measured(z, f"the control {label!r}", exact)
    visits = source.visits
    evaluation = Evaluation(
        name=name,
        environment=source.name,
        reads=reads,
        visits=len(visits),
        places=visits.count,
        episodes=len(source.episodes),
        unlike=unlike_share(visits),
        aliased=float((visits.alias >= 0).mean()),
        nuisances=tuple(visits.codes),
        seeds=tuple(seeds),
        controls=beside,
        margin=margin,
        separation=separation,
        remarks=() if all(still) else (_MOVES,),
    )
    return evaluation, found
