"""Batches of windows: T consecutive frames of one episode, with what happened between them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from latentroles.data.trajectories import Trajectories, whole
from latentroles.errors import DataError

DEFAULT_COLUMNS = {"x": "frames", "a": "actions", "pose": "relative_pose"}

_STREAM = 0x77696E64  # keeps these draws apart from others that use the same seed


def relative_pose(pose: np.ndarray) -> np.ndarray:
    """Poses as seen from the first one of a window: (..., T, 3) -> (..., T, 4) float64.

    With (x, y, th) in cells and radians and d the differences from the window's first frame,

        forward =  cos(th_0) dx + sin(th_0) dy        cells, along the first frame's heading
        left    = -sin(th_0) dx + cos(th_0) dy        cells, to its left
        c       =  cos(dth) - 1
        s       =  sin(dth)

    so it is zero at the first frame, and the same wherever the window lies and points. It composes
    like SE(2): with p = (forward, left) and R the rotation by dth = atan2(s, 1 + c), the way from
    frame i to frame k by frame j has p_ik = p_ij + R_ij p_jk and R_ik = R_ij R_jk.
    """
    pose = np.asarray(pose, np.float64)
    dx, dy, turn = np.moveaxis(pose - pose[..., :1, :], -1, 0)
    cos, sin = np.cos(pose[..., :1, 2]), np.sin(pose[..., :1, 2])
    # cos(dth) - 1 written without the cancellation near 0
    return np.stack(
        [cos * dx + sin * dy, cos * dy - sin * dx, -2 * np.sin(turn / 2) ** 2, np.sin(turn)], -1
    )


class Windows:
    """Random batches of windows, a function of (seed, step) alone: a resumed run sees the same.

    A batch is a dictionary with one array for each entry of `columns`, name -> column:

        frames           (B, T, *frame), the dtype of the trajectories (uint8)
        actions          (B, T - 1) int64; a_t leads from frame t to t+1
        pose             (B, T, 3) float32: x, y, heading in the world
        relative_pose    (B, T, 4) float32: see `relative_pose`
        <label>          (B, T, ...): a label of the trajectories, such as `place`; int64 where it
                         holds integers or truth values, float32 otherwise

    Every window lies in one episode; each of the possible ones is equally likely. Episodes of fewer
    than T frames have none: `skipped` counts them.
    """

    def __init__(
        self,
        trajectories: Trajectories,
        *,
        frames: int,
        batch: int,
        seed: int = 0,
        columns: Mapping[str, str] | None = None,
    ):
        """Arguments: T `frames` to a window, B windows to a `batch`; `columns` defaults to
        x, a and the relative pose. Raises DataError for a column that is not there, or if no
        episode has T frames."""
        self.trajectories = trajectories
        self.frames = whole("frames", frames, least=1)
        self.size = whole("batch", batch, least=1)
        self.seed = whole("seed", seed, least=0)
        self.columns = dict(DEFAULT_COLUMNS if columns is None else columns)
        available = ["frames", "actions", "pose", "relative_pose", *trajectories.labels]
        for name, column in self.columns.items():
            if column not in available:
                raise DataError(
                    f"{name!r} asks for the column {column!r}, which these trajectories do not "
                    f"have. Available: {', '.join(available)}."
                )
        lengths = np.diff(trajectories.offsets)
        room = np.maximum(lengths - self.frames + 1, 0)
        if not room.any():
            raise DataError(
                f"a window has {self.frames} frames, and none of the {len(lengths)} episodes is "
                f"that long: the longest has {lengths.max()} frames. Take shorter windows "
                "(--frames, frames=) or collect longer episodes."
            )
        self.skipped = int((room == 0).sum())
        self._episode = np.repeat(np.arange(len(lengths)), room)
        first = np.repeat(np.cumsum(room) - room, room)
        self._start = trajectories.offsets[self._episode] + np.arange(room.sum()) - first

    def __len__(self) -> int:
        """The number of different windows."""
        return len(self._start)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step >= 0."""
        key = np.random.SeedSequence(
            [self.seed, whole("step", step, least=0)], spawn_key=(_STREAM,)
        )
        drawn = np.random.default_rng(key).integers(len(self), size=self.size)
        return self.at(drawn)

    def at(self, windows: Any) -> dict[str, np.ndarray]:
        """The windows with these numbers, each from 0 to len(self) - 1, as a batch."""
        start, episode = self._start[windows], self._episode[windows]
        rows = start[:, None] + np.arange(self.frames)
        # Each episode before this one has one action fewer than it has frames.
        edges = rows[:, :-1] - episode[:, None]
        return {name: self._column(column, rows, edges) for name, column in self.columns.items()}

    def _column(self, column: str, rows: np.ndarray, edges: np.ndarray) -> np.ndarray:
        source = self.trajectories
        match column:
            case "frames":
                return source.frames[rows]
            case "actions":
                return source.actions[edges]
            case "pose":
                return source.pose[rows].astype(np.float32)
            case "relative_pose":
                return relative_pose(source.pose[rows]).astype(np.float32)
        label = source.labels[column]
        return label[rows].astype(np.float32 if label.dtype.kind == "f" else np.int64)
