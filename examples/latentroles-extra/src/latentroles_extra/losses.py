"""A loss of our own: its array function, with the algebra it declares, and its expression."""

from typing import Any

from array_api_compat import array_namespace

import latentroles as lr
from latentroles.spec.array_functions import array_function_of, batch_of_vectors


# A statistic: the rules then know that it compares a latent with nothing but itself. That it
# prevents collapse is what the role LANDMARK asks of some loss on its latent.
@array_function_of(
    "statistic", couples=True, prevents_collapse=True, infer=batch_of_vectors, name="uniformity"
)
def gathering(z: Any, *, sharpness: float) -> Any:
    """log mean_ij exp(-sharpness |z_i - z_j|^2) over all entries of (batch, [time,] n)."""
    xp = array_namespace(z)
    entries = xp.reshape(z, (-1, z.shape[-1]))
    apart = xp.sum((entries[:, None, :] - entries[None, :, :]) ** 2, axis=-1)
    return xp.log(xp.mean(xp.exp(-sharpness * apart)))


def uniformity(z: lr.Expr, *, sharpness: float = 2.0) -> lr.Expr:
    """How far the directions of z (batch, [time,] n) are from being spread over the sphere.

    0 where all are the same, and less the more evenly they are spread. Pairs of an entry with
    itself are counted, so that one entry alone has a value.

    Source: Wang and Isola, "Understanding contrastive representation learning through alignment and
    uniformity on the hypersphere" (2020).
    """
    return lr.losses.call("uniformity", lr.normalise(z), sharpness=sharpness)
