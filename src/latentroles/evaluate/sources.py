"""What an encoder is measured on: frames with their visits, from a file or from an environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..data import Trajectories
from ..data.collect import choose
from ..errors import DataError, user_line
from ..words.environment import Described, Environment
from . import asked, distances
from .controls import views_of
from .leakage import LAGS
from .visits import TAU, Visits, past_actions

_TURN = 2**22
_SAME = 2 * np.pi / _TURN  # radians


@dataclass(frozen=True, eq=False)
class Source:
    """Episodes one after the other, with what the measures need to know of each frame.

    Attributes:
        name: of the environment.
        frames: (N, *frame).
        actions: (N - E,) int64.
        offsets: (E + 1,): episode e is frames offsets[e] .. offsets[e + 1] - 1.
        visits: of the frames, in their order.
        periods: nuisance -> after how much it is the same again.
    """

    name: str
    frames: np.ndarray
    actions: np.ndarray
    offsets: np.ndarray
    visits: Visits
    periods: Mapping[str, float]

    @property
    def episodes(self) -> list[slice]:
        """The frames of each episode."""
        return [slice(a, b) for a, b in pairwise(self.offsets.tolist())]

    def actions_of(self, episode: int) -> np.ndarray:
        """The actions of an episode, one fewer than its frames."""
        start, stop = self.offsets[episode], self.offsets[episode + 1]
        return self.actions[start - episode : stop - episode - 1]


def read(
    data: Any,
    *,
    reads: str = "frame",
    nuisance: Iterable[str] | None = None,
    lags: Iterable[int] = LAGS,
    episodes: int = 64,
    steps: int = 100,
    seed: int = 0,
    tau: int = TAU,
    distance: Any = None,
    tolerance: float = 0.0,
    say: Callable[[str], None] = lambda what: None,
) -> Source:
    """Opens a trajectory file, or walks through an environment.

    Args:
        data: the path of a trajectory file with a label `place`, a `Trajectories`, or an
            environment of `latentroles.words`, in which walks are then collected.
        reads: as for `evaluate`; for "history" frames that look alike are told apart by the past.
        nuisance: which labels of a file are; by default every label of one number that varies
            within a place, and the heading where that does.
        lags: how many steps back the actions lie that will be asked for; so many are kept.
        episodes, steps, seed: of the walks.
        tau, tolerance: as for `Visits`.
        distance: places (P, k) -> (P, P); "grid" for the sum of the differences of coordinates; or
            "steps" for the fewest actions from one to the other, in the walks that are measured.
        say: is told which walk is walked.

    Raises:
        SpecError: an argument means nothing.
        DataError: there is nothing to compare in it, or all of its episodes are shorter than a lag.
    """
    nuisance, lags = asked.nuisance("evaluate()", nuisance), asked.lags("evaluate()", lags)
    distances.refuse_other(distance)
    tolerance = asked.tolerance("evaluate()", tolerance, distance)
    if isinstance(data, (str, Path)):
        _refuse_name(data)
        data = Trajectories.open(data)
    if isinstance(data, Trajectories):
        columns = _labels(data, nuisance)
        found, periods = data, {"heading": 2 * np.pi}
    elif all(hasattr(data, name) for name in ("reset", "step", "place", "frame", "actions")):
        _refuse_far(lags, steps)
        found, columns = _walked(data, episodes, steps, seed, say)
        periods = {"direction": 4.0, "turns": 4.0, "phase": float(data.parameters.get("phases", 0))}
        if nuisance is not None:
            columns = {name: columns[name] for name in _known(nuisance, columns)}
    else:
        raise DataError(
            f"{user_line()}an encoder is measured on the path of a trajectory file, a "
            "latentroles.data.Trajectories, or an environment of latentroles.words; got "
            f"{type(data).__name__}."
        )
    place = found.labels["place"].astype(np.int64)
    lengths = np.diff(found.offsets)
    _refuse_far(lags, int(lengths.max()) - 1)
    episode = np.repeat(np.arange(len(lengths)), lengths)
    visits = Visits(
        place=place,
        episode=episode,
        time=np.concatenate([np.arange(n) for n in lengths]),
        nuisance=columns,
        actions=past_actions(found.actions, found.offsets, max((1, *lags))),
        view=views_of(found.frames) if reads == "frame" else None,
        pose=found.pose,
        distance=distances.between(place, episode, distance),
        tolerance=tolerance,
        tau=tau,
    )
    known = {name: period for name, period in periods.items() if period and name in columns}
    return Source(found.environment, found.frames, found.actions, found.offsets, visits, known)


def _refuse_far(lags: Sequence[int], longest: int) -> None:
    """Raises DataError if an action further back than an episode's first is asked for."""
    far = [k for k in lags if k > longest and k not in LAGS]  # the defaults were not asked for
    if far:
        raise DataError(
            f"{user_line()}lags: no action lies {far[0]} steps back, where the longest episode has "
            f"{longest}. Fix: lags of at most {longest}, or longer walks."
        )


def _refuse_name(path: str | Path) -> None:
    """Raises DataError if what should be a file is the name of an environment."""
    if str(path) in plugins.registered("environments") and not Path(path).exists():
        raise DataError(
            f"{user_line()}{str(path)!r} is no file but the name of an environment, which goes in "
            f"as an object. Fix: latentroles.plugins.environment({str(path)!r})()."
        )


def _labels(data: Trajectories, wanted: Sequence[str] | None) -> dict[str, np.ndarray]:
    """The nuisances of a trajectory file."""
    if "place" not in data.labels:
        raise DataError(
            f"{user_line()}these trajectories have no label `place`, so that nothing says what a "
            f"revisit is. Labels: {', '.join(data.labels) or 'none'}. Fix: collect them with "
            "latentroles.data.collect, or give an environment."
        )
    if data.labels["place"].dtype.kind == "f":
        raise DataError(f"{user_line()}the label `place` holds integers; got numbers with a point.")
    place = data.labels["place"].reshape(len(data.frames), -1)
    label = np.unique(place, axis=0, return_inverse=True)[1].reshape(-1)
    # In steps of 1.5e-6 radians, of which a whole number makes a turn: -0 and 2 pi are 0.
    heading = np.round(data.pose[:, 2] / _SAME) % _TURN * _SAME
    columns = {n: v for n, v in data.labels.items() if v.ndim == 1 and n != "place"}
    columns["heading"] = heading
    if wanted is not None:
        return {name: columns[name] for name in _known(wanted, columns)}
    return {name: values for name, values in columns.items() if _varies(label, values)}


def _known(wanted: Sequence[str], columns: Mapping[str, Any]) -> Sequence[str]:
    for name in wanted:
        if name not in columns:
            raise DataError(
                f"{user_line()}nuisance= lists some of {', '.join(columns) or 'none'}; got "
                f"{name!r}."
            )
    return wanted


def _varies(label: np.ndarray, values: np.ndarray) -> bool:
    number = np.unique(values, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([label, number]), axis=1)
    return bool((np.bincount(pairs[0]) > 1).any())


def _walked(
    environment: Environment, episodes: int, steps: int, seed: int, say: Callable[[str], None]
) -> tuple[Trajectories, dict[str, np.ndarray]]:
    """Walks of the policy that `collect` has, and what the environment says is nuisance."""
    frames, poses, places, actions = [], [], [], []
    nuisances: list[Mapping[str, Any]] = []

    def note(state: Any) -> None:
        frames.append(environment.frame())
        poses.append(environment.pose())
        places.append(environment.place(state))
        told = environment.nuisance(state) if isinstance(environment, Described) else {}
        nuisances.append(told)

    for episode in range(episodes):
        say(f"walking in {environment.name}, {episode + 1} of {episodes}")
        rng = np.random.default_rng([seed, episode])
        note(environment.reset(int(rng.integers(2**31))))
        blocked = False
        for _ in range(steps):
            actions.append(choose(rng, environment.actions, blocked))
            note(environment.step(actions[-1]))
            blocked = poses[-1] == poses[-2]
    columns = {name: _column([told[name] for told in nuisances]) for name in nuisances[0]}
    found = Trajectories(
        frames=np.stack(frames),
        actions=np.array(actions, np.int64),
        pose=np.array(poses, float),
        offsets=np.arange(0, len(frames) + 1, steps + 1),
        environment=environment.name,
        action_names=tuple(environment.actions),
        parameters=dict(environment.parameters),
        labels={"place": _whole(environment.name, places)},
    )
    return found, columns


def _column(values: list[Any]) -> np.ndarray:
    """(N,): numbers where they are, else the values themselves."""
    if all(np.ndim(value) == 0 and not isinstance(value, str) for value in values):
        return np.array(values)
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _whole(name: str, places: list[Any]) -> np.ndarray:
    """(N, ...) integers: the places that an environment gives."""
    try:
        found = np.array(places)
    except ValueError:  # not all of one length
        found = np.empty(0, object)
    if found.dtype.kind not in "iub" or found.ndim > 2:
        raise DataError(
            f"{user_line()}the place of an environment is an integer, or a tuple of as many "
            f"integers everywhere; {name!r} gives {places[0]!r} and the like. Fix: round it, or "
            "number the places."
        )
    return found.astype(np.int64)
