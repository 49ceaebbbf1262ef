"""Directional derivatives: the currency that every backend has, whichever way it differentiates."""

import hashlib
import json

import numpy as np

from ...spec.spec import Spec

ALONG = "along"
COUNT = 3

Arrays = dict[str, np.ndarray]


def directions(spec: Spec) -> dict[str, Arrays]:
    """{module: {path: array (COUNT, *shape)}}: random directions in each module's parameters.

    They depend on the names and the shapes alone, so that all backends take the same.
    """
    return {
        name: {path: _direction(name, path, p.shape) for path, p in m.layer.parameters().items()}
        for name, m in spec.modules.items()
    }


def along(module: str, gradient: Arrays) -> Arrays:
    """The derivatives {ALONG: array (COUNT,)} of a loss, from its gradient in a module."""
    if ALONG in gradient:
        return gradient
    total = np.zeros(COUNT)
    for path, array in gradient.items():
        total += np.tensordot(_direction(module, path, array.shape), array, axes=array.ndim)
    return {ALONG: total}


def comparable(module: str, got: Arrays, want: Arrays) -> tuple[Arrays, Arrays]:
    """Two gradients in a module as they are, or both along the directions if one is already."""
    if ALONG in got or ALONG in want:
        return along(module, got), along(module, want)
    return got, want


def _direction(module: str, path: str, shape: tuple[int, ...]) -> np.ndarray:
    key = hashlib.blake2b(json.dumps([module, path]).encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return generator.standard_normal((COUNT, *shape))
