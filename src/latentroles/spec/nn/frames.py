"""The event that encoders of pictures read."""

from collections.abc import Sequence

from ... import arguments
from ...errors import ShapeError, user_line


def check_frame(owner: str, frame: Sequence[int]) -> tuple[int, int, int]:
    """Returns (channels, height, width); raises ShapeError where `frame` is no such shape."""
    if not isinstance(frame, (tuple, list)) or len(frame) != 3:
        raise ShapeError(
            f"{user_line()}{owner}: frame must be (channels, height, width); received {frame!r}. "
            "Fix: pass, say, frame=(3, 56, 56)."
        )
    channels, height, width = frame
    return (
        arguments.integer(owner, "frame", channels, "channels, then pixels"),
        arguments.integer(owner, "frame", height, "channels, then pixels"),
        arguments.integer(owner, "frame", width, "channels, then pixels"),
    )
