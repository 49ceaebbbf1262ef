"""`lr.evaluate`: does z close loops? Every metric of any encoder, with every control beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import boolean, choice
from ..data import Trajectories
from ..errors import SpecError, user_line
from . import asked, sources
from . import controls as known
from .encoders import READS, Encode, encoded, repeats
from .evaluation import Evaluation
from .leakage import LAGS
from .measured import FAMILIES, Measured, measure
from .progress import line
from .settings import MARGIN, SEPARATION, Settings
from .sources import Source
from .spreads import unlike_share
from .visits import TAU

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
    nuisance: Iterable[str] | None = None,
    only: Iterable[str] = FAMILIES,
    lags: Iterable[int] = LAGS,
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
        lags: how many steps back the actions lie whose leakage is measured, [] for none; each is
            at most the actions of the longest episode.
        margin: the LCR up to which a revisit counts as the same; declare it before you look.
        separation: the share of revisits, from 0 to 1, that are to be nearer than every wrong
            place for z to pass; declare it, too.
        episodes, steps, seed: of the walks; `seed` of all that is drawn, too.
        tau: steps; nearer visits of an episode are not compared.
        distance, tolerance: as for `sources.read`.
        display: whether to show at a terminal what is being walked, encoded and measured.

    Raises:
        SpecError: an argument means nothing; said before anything is walked.
        EncoderError: an encoder fails, or does not give one finite vector for each frame.
        DataError: one place only, no revisits, a lag beyond all episodes, or data that cannot be
            read.
        PluginError: scikit-learn or scipy is not installed.
    """
    choice("evaluate()", "reads", reads, READS)
    settings = Settings(
        nuisance=nuisance,
        only=only,
        lags=lags,
        margin=margin,
        separation=separation,
        episodes=episodes,
        steps=steps,
        seed=seed,
        tau=tau,
        distance=distance,
        tolerance=tolerance,
    )
    standard = STANDARD if boolean("evaluate()", "standard_controls", standard_controls) else {}
    encoders, controls = asked.encoders(encode), asked.controls(controls, tuple(standard))
    if not isinstance(name, str):
        raise SpecError(f"{user_line()}evaluate(): name is text, for the table; received {name!r}.")
    found, *_ = evaluated(
        encoders,
        env_or_data,
        settings,
        reads=reads,
        controls=controls,
        standard=standard,
        name=name,
        display=boolean("evaluate()", "display", display),
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
    encoders: Sequence[Encode],
    env_or_data: Any,
    settings: Settings,
    *,
    reads: str,
    controls: Mapping[str, Encode],
    name: str,
    standard: Mapping[str, Callable[[Source, np.ndarray, int], np.ndarray]] = STANDARD,
    display: bool = True,
) -> tuple[Evaluation, Source, list[np.ndarray]]:
    """What `evaluate` does with what it has checked; and the frames, and z, (N, D), of each."""
    with line(display) as say:
        source = sources.read(
            env_or_data,
            reads=reads,
            nuisance=settings.nuisance,
            lags=settings.lags if "leakage" in settings.only else (),
            episodes=settings.episodes,
            steps=settings.steps,
            seed=settings.seed,
            tau=settings.tau,
            distance=settings.distance,
            tolerance=settings.tolerance,
            say=say,
        )
        total, number = 2 * (len(encoders) + len(controls)) + len(standard), count(1)

        def encoding(encode: Encode, what: str) -> np.ndarray:
            say(f"encoding {what}, {next(number)} of {total}")
            return encoded(encode, source, reads)

        def measuring(z: np.ndarray, what: str, whose: str, exact: int | None = None) -> Measured:
            say(f"measuring {what}, {next(number)} of {total}")
            return measure(
                source.visits,
                z,
                only=settings.only,
                lags=settings.lags,
                periods=source.periods,
                seed=settings.seed,
                what=whose,
                exact=exact,
            )

        many = len(encoders) > 1
        names = [f"{name} of seed {i + 1}" if many else name for i in range(len(encoders))]
        found, still = [], True
        for encode, what in zip(encoders, names, strict=True):
            found.append(encoding(encode, what))
            still = repeats(encode, source, reads, found[-1]) and still
        seeds = [measuring(z, w, "the encoder") for z, w in zip(found, names, strict=True)]
        beside = {}
        for label, control in controls.items():
            beside[label] = measuring(encoding(control, label), label, f"the control {label!r}")
        for label, make in standard.items():
            exact = known.MOST_FRAMES if label == "raw frame" else None
            z = make(source, found[0], settings.seed)
            beside[label] = measuring(z, label, f"the control {label!r}", exact)
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
        margin=settings.margin,
        separation=settings.separation,
        remarks=() if still else (_MOVES,),
        settings=_used(settings, env_or_data),
    )
    return evaluation, source, found


def _used(settings: Settings, env_or_data: Any) -> dict[str, Any]:
    """The settings that an evaluation has no other place for; trajectories have their own walks."""
    unused = {"margin", "separation"}
    if isinstance(env_or_data, (str, Path, Trajectories)):
        unused |= {"episodes", "steps"}
    return {name: value for name, value in settings.to_json().items() if name not in unused}
