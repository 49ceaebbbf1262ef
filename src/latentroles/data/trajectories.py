"""Trajectories, in memory and on disk.

The file is HDF5, version 1 of the format `latentroles-trajectories`. With N frames in E episodes:

    /frames           (N, *frame) uint8 or float, channels first, in gzipped chunks of whole frames
    /actions          (N - E,) int64; the action that leads from frame t to t+1 of an episode
    /pose             (N, 3) float64: x, y in cells and heading in radians (`words.environment`)
    /offsets          (E + 1,) int64; episode e is frames offsets[e] .. offsets[e + 1] - 1
    /labels/<name>    (N, ...) numbers; further columns, such as `place`; `group`: see `split`
    attributes        format, version, header (JSON), header_sha256, complete (written last)

The header says which environment and collection the file is from, and holds a SHA-256 for each
dataset. HDF5's own structures are written in its version that has checksums, too. So a damaged
file is noticed when it is opened, and nothing is ever trained on it.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from latentroles.errors import DataError, PluginError

FORMAT = "latentroles-trajectories"
VERSION = 1
GROUP = "group"  # the label by which `split` keeps episodes together

_CHUNK = 64  # frames
_FRESH = "The file is left as it is; delete it or pass another path to get a fresh one."
# What HDF5, JSON and the code below raise on bytes that mean something else.
_DAMAGE = (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError)


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Episodes of one environment, end to end in N frames. Raises DataError where they do not fit.

    Attributes:
        frames: (N, *frame), uint8 or float.
        actions: (N - E,) int64, each an index into `action_names`; n - 1 for n frames.
        pose: (N, 3) float64: x, y in cells and heading in radians, right-handed (y up).
        offsets: (E + 1,) int64, from 0 to N; episode e is frames offsets[e] .. offsets[e + 1] - 1.
        environment, parameters, action_names: which environment they are from.
        collection: how they were collected (seed, episodes, steps, policy), as JSON values.
        labels: further columns, name -> (N, ...) numbers.
    """

    frames: np.ndarray
    actions: np.ndarray
    pose: np.ndarray
    offsets: np.ndarray
    environment: str
    action_names: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    collection: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        frames, pose = np.asarray(self.frames), np.asarray(self.pose)
        actions, offsets = np.asarray(self.actions), np.asarray(self.offsets)
        labels = {str(name): np.asarray(label) for name, label in self.labels.items()}
        names = tuple(self.action_names)
        _require(frames.ndim >= 2, f"frames are (N, *frame); got shape {frames.shape}")
        _require(
            frames.dtype == np.uint8 or frames.dtype.kind == "f",
            f"frames are uint8 or float; got {frames.dtype}",
        )
        _require(
            offsets.ndim == 1 and offsets.dtype.kind in "iu" and offsets.size >= 2,
            f"offsets are (E + 1,) integers; got {offsets.dtype} {offsets.shape}",
        )
        offsets = offsets.astype(np.int64)
        total, episodes = len(frames), len(offsets) - 1
        _require(
            offsets[0] == 0 and offsets[-1] == total and bool((np.diff(offsets) > 0).all()),
            f"offsets rise from 0 to the number of frames, {total}; got {_short(offsets)}",
        )
        _require(
            actions.shape == (total - episodes,) and actions.dtype.kind in "iu",
            f"{total} frames in {episodes} episodes have ({total - episodes},) integer actions; "
            f"got {actions.dtype} {actions.shape}",
        )
        actions = actions.astype(np.int64)
        _require(
            actions.size == 0 or (actions.min() >= 0 and actions.max() < len(names)),
            f"actions are 0 to {len(names) - 1} ({', '.join(names)}); got {_short(actions)}",
        )
        _require(
            pose.shape == (total, 3) and pose.dtype.kind in "fiu",
            f"pose is ({total}, 3) numbers; got {pose.dtype} {pose.shape}",
        )
        _require(bool(np.isfinite(pose).all()), "pose is finite; got NaN or infinity")
        _require(
            frames.dtype == np.uint8 or bool(np.isfinite(frames).all()),
            "frames are finite; got NaN or infinity",
        )
        for name, label in labels.items():
            _require(
                name.isidentifier() and name not in _COLUMNS,
                f"a label's name is an identifier other than {', '.join(_COLUMNS)}; got {name!r}",
            )
            _require(
                label.ndim >= 1 and len(label) == total and label.dtype.kind in "fiub",
                f"label {name!r} is ({total}, ...) numbers; got {label.dtype} {label.shape}",
            )
            finite = bool(np.isfinite(label).all())
            _require(finite, f"label {name!r} is finite; got NaN or infinity")
        for name, value in {
            "frames": frames,
            "actions": actions,
            "pose": pose.astype(np.float64),
            "offsets": offsets,
            "action_names": names,
            "labels": labels,
        }.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """The number of episodes, E."""
        return len(self.offsets) - 1

    @property
    def episodes(self) -> tuple[slice, ...]:
        """One slice of the frames for each episode."""
        bounds = self.offsets.tolist()
        return tuple(slice(a, b) for a, b in itertools.pairwise(bounds))

    def actions_of(self, episode: int) -> np.ndarray:
        """The actions of an episode: (n - 1,) for n frames."""
        start, stop = self.offsets[episode], self.offsets[episode + 1]
        return self.actions[start - episode : stop - episode - 1]

    def subset(self, episodes: Sequence[int]) -> "Trajectories":
        """The episodes with these numbers, in that order, as trajectories of their own."""
        chosen = list(episodes)
        _require(
            chosen and all(e in range(len(self)) for e in chosen),
            f"a subset is one or more of the episodes 0 to {len(self) - 1}; got {chosen}",
        )
        kept = np.concatenate([np.arange(*self.offsets[e : e + 2]) for e in chosen])
        return replace(
            self,
            frames=self.frames[kept],
            actions=np.concatenate([self.actions_of(e) for e in chosen]),
            pose=self.pose[kept],
            offsets=np.cumsum([0, *(self.offsets[e + 1] - self.offsets[e] for e in chosen)]),
            labels={name: label[kept] for name, label in self.labels.items()},
        )

    def split(self, fraction: float, seed: int = 0) -> tuple["Trajectories", "Trajectories"]:
        """Two parts by whole episodes, (train, validation); the same ones for the same seed.

        Where there is a label `group`, episodes of one group stay together: episodes that show one
        picture, say, so that validation sees pictures that training has not seen.

        Arguments: the `fraction` of the episodes (of the groups) that go to validation, between 0
        and 1. Each part has at least one. Raises DataError where there are fewer than two, or an
        episode belongs to several groups.
        """
        if not isinstance(fraction, Real) or not 0 < fraction < 1:
            raise DataError(
                f"split: fraction is between 0 and 1, both excluded; got {fraction!r}. Fix: pass "
                "0.1 for a tenth."
            )
        groups = self._groups()
        if len(groups) < 2:
            what = "groups of episodes" if GROUP in self.labels else "episodes"
            raise DataError(f"split needs at least 2 {what}; there is 1. Collect more episodes.")
        held = min(max(round(fraction * len(groups)), 1), len(groups) - 1)
        rng = np.random.default_rng(whole("seed", seed, least=0))
        order = [groups[i] for i in rng.permutation(len(groups))]
        train, validation = (
            sorted(itertools.chain(*part)) for part in (order[held:], order[:held])
        )
        return self.subset(train), self.subset(validation)

    def _groups(self) -> list[list[int]]:
        """The episodes that a split keeps together."""
        if GROUP not in self.labels:
            return [[episode] for episode in range(len(self))]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for episode, rows in enumerate(self.episodes):
            found = {tuple(np.ravel(value).tolist()) for value in self.labels[GROUP][rows]}
            if len(found) > 1:
                raise DataError(
                    f"split: an episode belongs to one group; episode {episode} has the labels "
                    f"{GROUP!r} {sorted(found)}. Give all of its frames one group, or no label "
                    f"{GROUP!r}."
                )
            groups.setdefault(found.pop(), []).append(episode)
        return list(groups.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file in one piece: it is there whole, or what was there before still is.

        It replaces a trajectory file that is whole, nothing else. Raises DataError where something
        else is at `path`, or the file cannot be written (a full disk).
        """
        target = replaceable(path)
        _write(target, self._image(target))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Trajectories":
        """Reads a file into memory. Raises DataError, naming the file, unless it is whole."""
        source = Path(path)
        h5py = _h5py()
        if not os.path.lexists(source):
            raise DataError(
                f"{source}: there is no such file. "
                "latentroles.data.collect(environment, path, ...) makes one."
            )
        if not source.is_file():
            raise DataError(
                f"{source}: this is a folder, a broken link or a device, not a file. "
                "Pass another path."
            )
        try:
            if not h5py.is_hdf5(source):
                raise DataError("this is not an HDF5 file, or its first bytes are lost.")
            with h5py.File(source, "r") as file:
                return cls(**_read(file))
        except DataError as error:
            raise DataError(f"{source}: {error} {_FRESH}") from error.__cause__
        except _DAMAGE as error:
            raise DataError(
                f"{source}: the file is damaged or cannot be read ({_reason(error)}). {_FRESH}"
            ) from error

    def _image(self, path: Path) -> bytes:
        """The file's bytes. They are made in memory: HDF5 does not recover from a full disk."""
        datasets = {name: getattr(self, name) for name in ("frames", "actions", "pose", "offsets")}
        datasets |= {f"labels/{name}": label for name, label in self.labels.items()}
        header = {
            "environment": self.environment,
            "parameters": dict(self.parameters),
            "actions": self.action_names,
            "collection": dict(self.collection),
            "sha256": {name: _digest(value) for name, value in datasets.items()},
        }
        try:
            text = json.dumps(header, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path}: parameters and collection are stored as JSON, and these cannot be "
                f"({error}). Use numbers, strings, lists and dictionaries."
            ) from error
        image = io.BytesIO()
        # The "v110" structures carry checksums; the default ones can be damaged unnoticed.
        with _h5py().File(image, "w", libver=("v110", "v110")) as file:
            for name, value in datasets.items():
                chunks = (min(_CHUNK, len(value)), *value.shape[1:]) if value.size else None
                options = {"chunks": chunks, "compression": "gzip", "compression_opts": 6}
                file.create_dataset(name, data=value, **(options if name == "frames" else {}))
            file.attrs["format"] = np.bytes_(FORMAT)
            file.attrs["version"] = VERSION
            file.attrs["header"] = np.void(text)
            file.attrs["header_sha256"] = np.bytes_(hashlib.sha256(text).hexdigest())
            file.attrs["complete"] = True
        return image.getvalue()


_COLUMNS = ("frames", "actions", "pose", "relative_pose", "offsets")


def replaceable(path: str | os.PathLike[str]) -> Path:
    """The file that `path` leads to, links followed, where a trajectory file may be written.

    Raises DataError if its folder is missing, or if anything but a whole trajectory file is there,
    and PluginError where h5py is missing.
    """
    _h5py()
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise DataError(f"{target}: the folder {target.parent} does not exist. Make it first.")
    if os.path.lexists(target):
        try:
            Trajectories.open(target)
        except DataError as error:
            raise DataError(
                f"Nothing is written: only a whole trajectory file may be replaced. {error}"
            ) from error
    return target


def whole(name: str, value: Any, *, least: int) -> int:
    """`value` as an int of at least `least`, or DataError."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise DataError(f"{name} is an integer of at least {least}; got {value!r}.")


def _read(file: Any) -> dict[str, Any]:
    """The constructor's arguments, from an open file. Raises DataError and anything in _DAMAGE."""
    attributes = file.attrs
    if not np.array_equal(attributes.get("format"), FORMAT.encode()):
        raise DataError(f"this HDF5 file does not hold {FORMAT}.")
    if int(attributes["version"]) != VERSION:
        raise DataError(
            f"this file has version {attributes['version']} of the format; "
            f"this latentroles reads version {VERSION}."
        )
    if not attributes.get("complete", False):
        raise DataError("this file was not finished: it has no mark of completeness.")
    text = bytes(attributes["header"])
    if hashlib.sha256(text).hexdigest().encode() != bytes(attributes["header_sha256"]):
        raise DataError("the header does not match its checksum: the file is damaged.")
    header = json.loads(text)
    datasets: dict[str, np.ndarray] = {}
    for name in ["frames", "actions", "pose", "offsets", *header["sha256"]]:
        if name not in file or name not in header["sha256"]:
            raise DataError(f"the dataset {name!r} is missing.")
        if name not in datasets:
            datasets[name] = file[name][()]
            if _digest(datasets[name]) != header["sha256"][name]:
                raise DataError(f"{name!r} does not match its checksum: the file is damaged.")
    labels = {n.removeprefix("labels/"): v for n, v in datasets.items() if n.startswith("labels/")}
    return {
        **{name: datasets[name] for name in ("frames", "actions", "pose", "offsets")},
        "labels": labels,
        "environment": header["environment"],
        "parameters": header["parameters"],
        "action_names": tuple(header["actions"]),
        "collection": header["collection"],
    }


def _write(path: Path, data: bytes) -> None:
    """Puts `data` at `path` in one piece, or leaves the folder as it was and raises DataError."""
    temporary = path.with_name(f".{path.name[:32]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # an interrupt leaves no temporary file either
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise DataError(
            f"{path}: the file cannot be written ({error.strerror or error}). What was at this "
            "path before is unchanged. Free some space or pass another path."
        ) from error


def _h5py() -> Any:
    """The module `h5py`, or PluginError naming the extra that brings it."""
    try:
        import h5py
    except ImportError as error:
        raise PluginError(
            f"Trajectory files need h5py, which cannot be imported ({error}). "
            "Install it: pip install 'latentroles[envs]'"
        ) from error
    return h5py


def _digest(value: np.ndarray) -> str:
    """SHA-256 over the dtype, the shape and the numbers of an array."""
    value = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{value.dtype.str}{value.shape}".encode())
    digest.update(value.data)
    return digest.hexdigest()


def _require(fact: Any, rule: str) -> None:
    if not fact:
        raise DataError(f"trajectories: {rule}.")


def _short(numbers: np.ndarray) -> str:
    return np.array2string(numbers, threshold=8, edgeitems=3)


def _reason(error: Exception) -> str:
    # str() of a KeyError is the repr of its message
    return str(error.args[0]) if error.args else type(error).__name__
