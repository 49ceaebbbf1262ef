"""The names of a trainer's snapshot: "weights/MODULE/PATH", "optimiser/NAME/KEY", "state/NAME"."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import CheckpointError


def nested(own: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A snapshot by part, after comparing its names and shapes with the trainer's own.

    Raises:
        CheckpointError: it belongs to another model.
    """
    for name in sorted(set(own) ^ set(arrays)):
        raise CheckpointError(
            f"the snapshot {'lacks' if name in own else 'has'} {name!r}, which this model "
            f"{'has' if name in own else 'lacks'}: it belongs to another model."
        )
    result: dict[str, Any] = {"weights": {}, "optimiser": {}, "state": {}}
    for name, array in arrays.items():
        if array.shape != own[name].shape:
            raise CheckpointError(
                f"{name!r} has shape {array.shape} in the snapshot and {own[name].shape} in this "
                "model: it belongs to another model."
            )
        part, key = name.split("/", 1)
        if part == "state":
            result[part][key] = array
        else:
            owner, path = key.split("/", 1)
            result[part].setdefault(owner, {})[path] = array
    return result
