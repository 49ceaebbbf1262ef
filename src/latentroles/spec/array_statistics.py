"""Array functions: statistics of a batch, which judge how latents are spread or how long they are.

Each takes latents (batch, time, n) or (batch, n); the leading axes are flattened to N entries.
"""

import math
from collections.abc import Sequence
from typing import Any

from array_api_compat import array_namespace, device

from ..errors import ShapeError, user_line
from .array_functions import along_event, array_function_of, batch_of_vectors
from .array_pieces import hinge, length, log_softmax, unit
from .types import Type


def _projections(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of latents (..., n) and directions (n, slices)."""
    latents, slices = types
    if slices.dtype != "float" or slices.axes or slices.shape[:-1] != latents.shape:
        raise ShapeError(
            f"{user_line()}projecting needs latents (..., n) and slices (n, slices) without "
            f"leading axes, got {latents} and {slices}. Fix: declare them as "
            f"`s.noise(name, (n, slices))`, n the width of the latents."
        )
    return batch_of_vectors([latents], arguments)


def _sampled(types: Sequence[Type], arguments: dict[str, Any]) -> Type:
    """A scalar of latents (..., n), directions (n, slices) and samples (..., slices)."""
    latents, slices, samples = types
    result = _projections([latents, slices], arguments)
    if samples.dtype != "float" or samples != latents.with_shape(slices.shape[1:]):
        raise ShapeError(
            f"{user_line()}sliced_normal needs one sample for each entry and slice, got latents "
            f"{latents}, slices {slices} and samples {samples}. Fix: give it latents (batch, n) or "
            "(batch, time, n), or one step of a rollout, `.k[0]`."
        )
    return result


@array_function_of("statistic", couples=True, infer=along_event)
def median_scale(delta: Any, *, target: float) -> Any:
    """(median ||delta|| - target)^2 over all leading axes; delta (..., n).

    The median of an even number of lengths is the mean of the middle two.
    """
    xp = array_namespace(delta)
    lengths = xp.sort(xp.reshape(length(delta), (-1,)))
    n = lengths.shape[0]
    return ((lengths[(n - 1) // 2] + lengths[n // 2]) / 2 - target) ** 2


@array_function_of("statistic", couples=True, infer=along_event)
def trimmed_scale(delta: Any, *, target: float, trim: float) -> Any:
    """(trimmed mean ||delta|| - target)^2 over all leading axes; delta (..., n).

    Of N lengths the floor(trim * N) shortest and as many of the longest are left out.
    """
    xp = array_namespace(delta)
    lengths = xp.sort(xp.reshape(length(delta), (-1,)))
    n = lengths.shape[0]
    out = math.floor(trim * n)
    return (xp.mean(lengths[out : n - out]) - target) ** 2


@array_function_of("statistic", couples=True, prevents_collapse=True, infer=batch_of_vectors)
def vicreg_variance(z: Any, *, target: float, eps: float) -> Any:
    """mean_i max(0, target - sqrt(var_i + eps)), var_i the unbiased variance of dimension i."""
    xp = array_namespace(z)
    centred = _centred(_entries(z))
    variance = xp.sum(centred**2, axis=0) / _freedom(centred)
    return xp.mean(hinge(target - xp.sqrt(variance + eps)))


@array_function_of("statistic", couples=True, infer=batch_of_vectors)
def vicreg_covariance(z: Any) -> Any:
    """1/n sum_(i != j) C_ij^2, C the unbiased covariance."""
    xp = array_namespace(z)
    centred = _centred(_entries(z))
    covariance = xp.matmul(centred.T, centred) / _freedom(centred)
    return xp.sum(_off_diagonal(covariance) ** 2) / z.shape[-1]


@array_function_of("contrastive", couples=True, prevents_collapse=True, infer=batch_of_vectors)
def barlow(first: Any, second: Any, *, redundancy: float) -> Any:
    """sum_i (1 - C_ii)^2 + redundancy sum_(i != j) C_ij^2, C the cross-correlation."""
    xp = array_namespace(first)
    correlation = _correlation(_entries(first), _entries(second))
    diagonal = xp.linalg.diagonal(correlation)
    return xp.sum((1 - diagonal) ** 2) + redundancy * xp.sum(_off_diagonal(correlation) ** 2)


@array_function_of("statistic", couples=True, infer=batch_of_vectors)
def barlow_decorrelation(z: Any, *, redundancy: float) -> Any:
    """redundancy sum_(i != j) C_ij^2, C the correlation of z with itself."""
    xp = array_namespace(z)
    entries = _entries(z)
    return redundancy * xp.sum(_off_diagonal(_correlation(entries, entries)) ** 2)


@array_function_of("contrastive", couples=True, prevents_collapse=True, infer=batch_of_vectors)
def info_nce(queries: Any, keys: Any, *, temperature: float) -> Any:
    """-mean_i log softmax_j(cos(q_i, k_j) / temperature) at j = i; a zero vector has cosine 0."""
    xp = array_namespace(queries)
    cosines = xp.matmul(unit(_entries(queries)), unit(_entries(keys)).T)
    return -xp.mean(xp.linalg.diagonal(log_softmax(cosines / temperature)))


@array_function_of("statistic", couples=True, prevents_collapse=True, infer=batch_of_vectors)
def coding_rate(z: Any, *, alpha: float) -> Any:
    """-log det(I + alpha C), C = 1/N sum (u - mean u)(u - mean u)^T with u = z / ||z||."""
    xp = array_namespace(z)
    centred = _centred(unit(_entries(z)))
    # No library factorises half precision.
    wide = xp.float32 if xp.finfo(z.dtype).bits < 32 else z.dtype
    covariance = xp.astype(xp.matmul(centred.T, centred) / centred.shape[0], wide)
    factor = xp.linalg.cholesky(_identity(covariance) + alpha * covariance)
    return xp.astype(-2 * xp.sum(xp.log(xp.linalg.diagonal(factor))), z.dtype)


@array_function_of("statistic", couples=True, prevents_collapse=True, infer=_projections)
def sigreg(z: Any, slices: Any) -> Any:
    """N mean_s 2 int_0^3 |phi_s(t) - e^(-t^2/2)|^2 e^(-t^2/2) dt, by the trapezoid rule, 17 points.

    phi_s is the empirical characteristic function of z a_s, with a_s = slices[:, s] / its length.
    """
    xp = array_namespace(z)
    points, end = 17, 3.0
    entries = _entries(z)
    projected = xp.matmul(entries, unit(slices.T).T)[:, :, None]
    t = xp.linspace(0.0, end, points, dtype=z.dtype, device=device(z))[None, None, :]
    normal = xp.exp(-(t**2) / 2)[0]
    real = xp.mean(xp.cos(projected * t), axis=0)
    imaginary = xp.mean(xp.sin(projected * t), axis=0)
    integrand = ((real - normal) ** 2 + imaginary**2) * normal
    step = end / (points - 1)
    area = (xp.sum(integrand, axis=-1) - (integrand[:, 0] + integrand[:, -1]) / 2) * step
    return entries.shape[0] * 2 * xp.mean(area)


@array_function_of("statistic", couples=True, prevents_collapse=True, infer=_sampled)
def sliced_normal(z: Any, slices: Any, samples: Any) -> Any:
    """mean_s mean_i (i-th of the sorted z a_s - i-th of the sorted samples_s)^2.

    a_s = slices[:, s] / its length; samples (..., slices) are as many draws as z has entries. Equal
    entries keep their order, so that every backend pairs them with the same draws.
    """
    xp = array_namespace(z)
    projected = xp.matmul(_entries(z), unit(slices.T).T)
    return xp.mean((xp.sort(projected, axis=0) - xp.sort(_entries(samples), axis=0)) ** 2)


def _entries(z: Any) -> Any:
    """(..., n) -> (N, n)."""
    return array_namespace(z).reshape(z, (-1, z.shape[-1]))


def _centred(entries: Any) -> Any:
    return entries - array_namespace(entries).mean(entries, axis=0, keepdims=True)


def _freedom(entries: Any) -> int:
    """N - 1; a single entry has variance 0."""
    return max(entries.shape[0] - 1, 1)


def _correlation(first: Any, second: Any) -> Any:
    """(N, n), (N, n) -> (n, n). The variances are biased, and 1e-5 is added, as in a batch norm."""
    xp = array_namespace(first)
    a, b = (
        c / xp.sqrt(xp.mean(c**2, axis=0, keepdims=True) + 1e-5)
        for c in (_centred(first), _centred(second))
    )
    return xp.matmul(a.T, b) / a.shape[0]


def _identity(matrix: Any) -> Any:
    xp = array_namespace(matrix)
    return xp.eye(matrix.shape[0], dtype=matrix.dtype, device=device(matrix))


def _off_diagonal(matrix: Any) -> Any:
    return matrix * (1 - _identity(matrix))
