"""An empty figure, and the PNG of a drawn one. No pyplot: no window, no global state."""

import io
from pathlib import Path
from typing import Any

from latentroles.errors import PluginError, TrainingError
from latentroles.files import replace_files

INK = "#222222"


def figure(width: float, height: float, **options: Any) -> Any:
    """Returns an empty matplotlib figure of a size in inches.

    Raises:
        PluginError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PluginError(
            f"Charts need matplotlib, which cannot be imported ({error}). "
            "Install it: pip install 'latentroles[plots]'"
        ) from error
    made = Figure(figsize=(width, height), **options)
    FigureCanvasAgg(made)
    return made


def save(drawn: Any, path: Path) -> None:
    """Writes a figure as a PNG, replaced whole. Raises TrainingError if it cannot."""
    image = io.BytesIO()
    drawn.savefig(image, format="png", dpi=200)
    try:
        replace_files({path: image.getvalue()})
    except OSError as error:
        raise TrainingError(f"{path} could not be written: {error.strerror or error}.") from error
