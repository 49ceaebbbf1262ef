"""Names for values inside a loss function."""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from latentroles.audit.names import received
from latentroles.errors import AuditError, user_line

T = TypeVar("T")

# Other users of `checkpoint_name` (policies of `jax.checkpoint`) name values as well: not latents.
_PREFIX = "latentroles.latent:"


def mark(name: str, value: T) -> T:
    """Names a value inside a loss function; the audit then has a column for it.

    The identity, at every shape and under jit, vmap, scan and grad: it may stay in the code.
    Several values under one name are one latent, live where any of them is.

    Args:
        name: of the latent.
        value: an array, or a pytree of arrays.

    Returns:
        The value.

    Raises:
        AuditError: the name is no text, or the value holds something that is no array.
    """
    if not isinstance(name, str) or not name:
        raise AuditError(
            f"{user_line()}mark(name, value) names a value by a text, received {received(name)}. "
            'Fix: mark("z", z).'
        )
    leaves = jax.tree.leaves(value)
    wrong = [leaf for leaf in leaves if not isinstance(leaf, (jax.Array, np.ndarray, np.generic))]
    if wrong or not leaves:
        got = type(wrong[0]).__name__ if wrong else type(value).__name__
        raise AuditError(
            f"{user_line()}mark({name!r}, ...) names an array or a pytree of arrays, received "
            f"{got}. Fix: mark the array itself, where it is computed."
        )
    return checkpoint_name(value, _PREFIX + name)


def marked(params: dict[str, object]) -> str | None:
    """The latent that an equation with these parameters names, if it is one of `mark`."""
    name = params.get("name")
    if isinstance(name, str) and name.startswith(_PREFIX):
        return name.removeprefix(_PREFIX)
    return None
