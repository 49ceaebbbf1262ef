"""Every error a user can cause. All derive from `LatentrolesError`.

A message states the rule, what was received, and the fix; where the cause is a line of the
user's own code, it starts with that line.
"""

import os
import sys
from collections.abc import Collection
from pathlib import Path
from types import FrameType

_PACKAGE_ROOTS = ("latentroles", "latentroles_torch", "latentroles_jax")
_SYSTEMS = "latentroles_specs"
_STANDARD_LIBRARY = (os.path.dirname(os.__file__), "<frozen ")


class LatentrolesError(Exception):
    """The base of every error that latentroles raises on bad input."""


class SpecError(LatentrolesError):
    """A declaration that cannot mean anything: unknown names, conflicting roles, bad arguments."""


class ShapeError(SpecError):
    """Shapes, axes, time extents or dtypes that do not fit together."""


class RouteError(SpecError):
    """A declared gradient route that the model cannot have."""


class AuditError(LatentrolesError):
    """Training code, or arguments about it, that an audit cannot read."""


class PluginError(LatentrolesError):
    """A backend, environment, loss, role or spec that is not registered or not installed."""


class DataError(LatentrolesError):
    """A trajectory file or a batch that cannot be used."""


class EncoderError(LatentrolesError):
    """An encoder whose output cannot be measured."""


class CheckpointError(LatentrolesError):
    """A checkpoint that cannot be read, or that belongs to another model."""


class TrainingError(LatentrolesError):
    """Training stopped: a loss is not finite, or the run folder cannot be written."""


def user_line() -> str:
    """Returns "file.py:12: " for the innermost frame outside latentroles, or "" without one.

    Where a system that ships was called, that is the call, not the line of the system.
    """
    place = user_place(_SYSTEMS) or user_place()
    return f"{Path(place[0]).name}:{place[1]}: " if place else ""


def user_place(*beside: str) -> tuple[str, int] | None:
    """The file and line of the innermost frame of the user's code, or None without one.

    Args:
        beside: other packages whose frames are passed over too.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if not _passed_over(frame, beside):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None


def _passed_over(frame: FrameType, beside: Collection[str]) -> bool:
    """Whether a frame is latentroles' own, or of what Python put between it and the user."""
    module, file = frame.f_globals.get("__name__", ""), frame.f_code.co_filename
    root = module.split(".")[0]
    if root in (*_PACKAGE_ROOTS, *beside):
        return True
    if module == "__main__" and Path(file).stem == "latentroles":
        return True
    if file == "<string>" and "__file__" in frame.f_globals:  # a dataclass's written __init__
        return True
    # By the file as well: a user's own test.py has the name of a library.
    return root in sys.stdlib_module_names and file.startswith(_STANDARD_LIBRARY)


def closest(name: object, known: object) -> str:
    """Returns " Did you mean 'x'?" for the closest of `known`, or "" where none is close."""
    import difflib

    plain = {str(k).lower(): str(k) for k in known}  # type: ignore[attr-defined]  # EMA is near ema
    close = difflib.get_close_matches(str(name).lower(), sorted(plain), n=1, cutoff=0.5)
    return f" Did you mean {plain[close[0]]!r}?" if close else ""


def nearest(name: object, known: object) -> str:
    """Returns " Did you mean 'x'?" for the closest of `known`, or the list of all of them."""
    names = sorted(str(k) for k in known)  # type: ignore[attr-defined]
    listed = f" Known: {', '.join(names)}." if names else " None are registered."
    return closest(name, names) or listed
