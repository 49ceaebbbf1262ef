"""Array functions: each one's declared algebra, definition, kinks and parity, all as properties.

A check takes the name of a registered function and has to reject the planted wrong ones below.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

import latentroles as lr
from latentroles.errors import LatentrolesError, ShapeError, SpecError
from latentroles.spec import array_functions, array_losses, array_pieces, losses, pixel_losses
from latentroles.spec.array_functions import (
    all_array_functions,
    array_function,
    array_function_of,
    class_indices,
)
from latentroles.spec.types import Type
from latentroles.spec.walk import postorder
from latentroles.testing.laws import Case, compiled, inputs
from latentroles.testing.laws.checks import same_results
from latentroles.testing.laws.values import follows_reference
from latentroles.testing.reference import Results
from latentroles_jax.precision import x64

Arrays = tuple[np.ndarray, ...]
N = 4


# By how much equal numbers may differ.
VALUE, GRADIENT = 1e-10, 1e-8


@dataclass(frozen=True)
class Example:
    """How a function is called, and what it should give.

    Args:
        operands: a word for each: "z" (batch, time, n), "view" of the operand before it, "frames";
            or what is no latent: "classes", "buttons", "slices", and "samples" along them.
        definition: the operands and arguments -> the value, in numpy alone.
    """

    operands: str
    definition: Callable[..., Any]
    arguments: dict[str, Any] = field(default_factory=dict)


def cross_entropy(logits: np.ndarray, classes: np.ndarray) -> float:
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return float(-np.mean([np.log(p[i][classes[i]]) for i in np.ndindex(classes.shape)]))


def binary_cross_entropy(logits: np.ndarray, buttons: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-logits))
    return float(-np.mean(buttons * np.log(p) + (1 - buttons) * np.log(1 - p)))


def cosine(p: np.ndarray, t: np.ndarray) -> float:
    lengths = np.linalg.norm(p, axis=-1) * np.linalg.norm(t, axis=-1)
    return np.mean(1 - np.einsum("bti,bti->bt", p, t) / lengths)


def goal_ranking(position: np.ndarray, margin: float, pairs: int) -> float:
    d = np.linalg.norm(position - position[:, -1:], axis=-1)
    frames = range(position.shape[1])
    found = [margin - (d[:, i] - d[:, j]) for j in frames for i in range(j)]
    assert len(found) <= pairs
    return float(np.mean(np.maximum(found, 0)))


def box_means(maps: np.ndarray, size: int, step: int) -> np.ndarray:
    """(..., H, W) -> the means of size x size boxes, the last of a row or column at the border."""

    def starts(length: int) -> list[int]:
        regular = [i for i in range(length) if i % step == 0 and i + size <= length]
        return regular + [length - size] * (regular[-1] + size < length)

    height, width = maps.shape[-2:]
    rows = [
        [np.mean(maps[..., i : i + size, j : j + size], axis=(-2, -1)) for j in starts(width)]
        for i in starts(height)
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def patch_mse(p: np.ndarray, t: np.ndarray, size: int) -> float:
    return float(np.mean(box_means((p - t) ** 2, size, size // 2)))


def trimmed_scale(delta: np.ndarray, target: float, trim: float) -> float:
    left = sorted(np.linalg.norm(delta, axis=-1).ravel().tolist())
    for _ in range(int(trim * len(left))):
        left = left[1:-1]
    return float((np.mean(left) - target) ** 2)


def gaussian_kl(mean_p: Any, log_std_p: Any, mean_q: Any, log_std_q: Any) -> float:
    """The expectation of log p - log q under p, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    std_p, std_q = np.exp(log_std_p), np.exp(log_std_q)
    x = mean_p[..., None] + std_p[..., None] * nodes
    log_p = -((x - mean_p[..., None]) ** 2) / 2 / std_p[..., None] ** 2 - log_std_p[..., None]
    log_q = -((x - mean_q[..., None]) ** 2) / 2 / std_q[..., None] ** 2 - log_std_q[..., None]
    return np.mean(((log_p - log_q) @ (weights / weights.sum())).sum(-1))


def categorical_kl(p: np.ndarray, q: np.ndarray) -> float:
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (p, q))
    return np.mean((p * np.log(p / q)).sum(-1))


def flat(z: np.ndarray) -> np.ndarray:
    return z.reshape(-1, z.shape[-1])


def vicreg_variance(z: np.ndarray, target: float, eps: float) -> float:
    return np.mean(np.maximum(0, target - np.sqrt(np.var(flat(z), axis=0, ddof=1) + eps)))


def off_diagonal(c: np.ndarray) -> float:
    return sum(c[i, j] ** 2 for i in range(N) for j in range(N) if i != j)


def vicreg_covariance(z: np.ndarray) -> float:
    return off_diagonal(np.cov(flat(z).T)) / N


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = flat(a), flat(b)
    sizes = [np.sqrt(np.var(v, axis=0) + 1e-5) for v in (a, b)]
    both = np.cov(a.T, b.T, ddof=0)[:N, N:]
    return both / np.outer(*sizes)


def barlow(a: np.ndarray, b: np.ndarray, redundancy: float) -> float:
    c = correlation(a, b)
    return sum((1 - c[i, i]) ** 2 for i in range(N)) + redundancy * off_diagonal(c)


def coding_rate(z: np.ndarray, alpha: float) -> float:
    u = flat(z) / np.linalg.norm(flat(z), axis=-1, keepdims=True)
    return -np.log(np.linalg.det(np.eye(N) + alpha * np.cov(u.T, ddof=0)))


def sigreg(z: np.ndarray, slices: np.ndarray) -> float:
    t = np.linspace(-3, 3, 33)  # symmetric: what the function takes twice
    found = []
    for direction in slices.T:
        projected = flat(z) @ direction / np.linalg.norm(direction)
        phi = np.mean(np.exp(1j * np.outer(projected, t)), axis=0)
        normal = np.exp(-(t**2) / 2)
        found.append(np.trapezoid(np.abs(phi - normal) ** 2 * normal, t))
    return len(flat(z)) * float(np.mean(found))


def sliced_normal(z: np.ndarray, slices: np.ndarray, samples: np.ndarray) -> float:
    """The cheapest way to carry each set of projections to its set of draws, pair by pair."""
    found = []
    for direction, draws in zip(slices.T, flat(samples).T, strict=True):
        projected = flat(z) @ direction / np.linalg.norm(direction)
        costs = (projected[:, None] - draws) ** 2
        found.append(costs[linear_sum_assignment(costs)].mean())
    return float(np.mean(found))


def info_nce(queries: np.ndarray, keys: np.ndarray, temperature: float) -> float:
    q, k = (flat(v) / np.linalg.norm(flat(v), axis=-1, keepdims=True) for v in (queries, keys))
    return cross_entropy(q @ k.T / temperature, np.arange(len(q)))


EXAMPLES: dict[str, Example] = {
    "mse": Example("z z", lambda p, t: np.linalg.norm(p - t) ** 2 / p.size),
    "cosine": Example("z z", cosine),
    "cross_entropy": Example("z classes", cross_entropy),
    "binary_cross_entropy": Example("z buttons", binary_cross_entropy),
    "patch_mse": Example("frames frames", patch_mse, {"size": 2}),
    "pixel_square": Example("frames", lambda r: np.linalg.norm(r, axis=-3) ** 2 / 2),
    "pixel_error": Example("frames", lambda r: np.linalg.norm(r, ord=1, axis=-3) / 2),
    "median_scale": Example(
        "z",
        lambda d, target: (np.median(np.linalg.norm(d, axis=-1)) - target) ** 2,
        {"target": 1.0},
    ),
    "trimmed_scale": Example("z", trimmed_scale, {"target": 1.0, "trim": 0.2}),
    "goal_ranking": Example("z", goal_ranking, {"margin": 0.1, "pairs": 1024}),
    "gaussian_kl": Example("z z z z", gaussian_kl),
    "categorical_kl": Example("z z", categorical_kl),
    "vicreg_variance": Example("z", vicreg_variance, {"target": 1.0, "eps": 1e-4}),
    "vicreg_covariance": Example("z", vicreg_covariance),
    "barlow": Example("z view", barlow, {"redundancy": 5e-3}),
    "barlow_decorrelation": Example(
        "z", lambda z, redundancy: redundancy * off_diagonal(correlation(z, z)), {"redundancy": 0.5}
    ),
    "coding_rate": Example("z", coding_rate, {"alpha": 1.0}),
    "sigreg": Example("z slices", sigreg),
    "sliced_normal": Example("z slices samples", sliced_normal),
    "info_nce": Example("z view", info_nce, {"temperature": 0.1}),
}


def test_every_loss_has_an_example():
    assert set(EXAMPLES) == {n for n, f in all_array_functions().items() if f.kind != "array"}


@pytest.fixture(autouse=True)
def strict_jax():
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


# Operands -----------------------------------------------------------------------------------


SHAPES = {"z": (N,), "buttons": (N,), "frames": (2, 4, 4), "slices": (N, 8), "samples": (8,)}


def generic(name: str, seed: int = 0, batch: int = 6) -> list[np.ndarray]:
    """Standard normal operands, away from every kink."""
    rng = np.random.default_rng(seed)
    made: list[np.ndarray] = []
    for word in EXAMPLES[name].operands.split():
        if word == "classes":
            made.append(rng.integers(0, N, (batch, 3)))
        elif word == "view":
            made.append(made[-1] + 0.1 * rng.standard_normal(made[-1].shape))
        else:
            shape = SHAPES[word] if word == "slices" else (batch, 3, *SHAPES[word])
            normal = rng.standard_normal(shape)
            made.append((normal > 0).astype(float) if word == "buttons" else normal)
    return made


def latents(name: str) -> list[int]:
    """The places of the operands that are latents."""
    words = EXAMPLES[name].operands.split()
    return [i for i, word in enumerate(words) if word in ("z", "view", "frames")]


def part(name: str, operands: Any, *index: slice) -> list[np.ndarray]:
    """The operands with a range of the batch, and of time; slices have neither."""
    words = EXAMPLES[name].operands.split()
    return [o if w == "slices" else o[index] for o, w in zip(operands, words, strict=True)]


def with_latents(name: str, change: Callable[[np.ndarray], np.ndarray], **size: int) -> list[Any]:
    """Generic operands whose latents are all `change` of the first one."""
    operands = generic(name, **size)
    changed = change(operands[0])
    for place in latents(name):
        operands[place] = changed
    return operands


def alternating(z: np.ndarray, even: float, odd: float) -> np.ndarray:
    """The first entry, times one of two numbers by turns along the batch."""
    turns = np.resize([even, odd], len(z)).reshape(-1, *(1 for _ in z.shape[1:]))
    return turns * z[:1, :1] + np.zeros_like(z)


KINKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "zero": np.zeros_like,
    "constant": lambda z: np.broadcast_to(z[:1, :1], z.shape),
    "equal operands": lambda z: z,
    "ties": lambda z: alternating(z, 1, 2),
    "zero vectors": lambda z: alternating(z, 0, 1),
}


def at_kinks(name: str) -> dict[str, list[np.ndarray]]:
    found = {kink: with_latents(name, change) for kink, change in KINKS.items()}
    for operands in found.values():
        if "slices" in EXAMPLES[name].operands:
            operands[1][:, 0] = 0.0
    return found


# Values and gradients -----------------------------------------------------------------------


def value(name: str, operands: Any) -> float:
    """The function in numpy; the mean of a result that is no scalar."""
    found = array_function(name).function(*operands, **EXAMPLES[name].arguments)
    return float(np.mean(found))


def places(operands: Any) -> tuple[int, ...]:
    """The places of the operands that can be differentiated."""
    return tuple(i for i, o in enumerate(operands) if o.dtype == np.float64)


def in_torch(name: str, operands: Any) -> tuple[float, Arrays]:
    given = [torch.tensor(np.ascontiguousarray(o)) for o in operands]
    wanted = [given[i].requires_grad_() for i in places(operands)]
    result = array_function(name).function(*given, **EXAMPLES[name].arguments).mean()
    gradients: Any = [None] * len(wanted)
    if result.requires_grad:
        gradients = torch.autograd.grad(result, wanted, allow_unused=True)
    return float(result.detach()), tuple(
        (torch.zeros_like(x) if g is None else g).numpy()
        for x, g in zip(wanted, gradients, strict=True)
    )


@cache
def _jitted(function: Any, arguments: tuple[Any, ...], argnums: tuple[int, ...]) -> Any:
    mean = lambda *xs: jnp.mean(function(*xs, **dict(arguments)))  # noqa: E731
    return jax.jit(jax.value_and_grad(mean, argnums))


def in_jax(name: str, operands: Any) -> tuple[float, Arrays]:
    arguments = tuple(EXAMPLES[name].arguments.items())
    function = _jitted(array_function(name).function, arguments, places(operands))
    with x64():
        result, gradients = function(*map(jnp.asarray, operands))
        return float(result), tuple(map(np.asarray, gradients))


def close(got: Any, want: Any, tolerance: float, what: str) -> None:
    largest = max(float(np.max(np.abs(want), initial=0.0)), 1.0)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * largest, err_msg=what)


# The checks ---------------------------------------------------------------------------------


def check_couples(name: str) -> None:
    """A batch is worth the mean of its halves, unless its entries meet."""
    operands = generic(name)
    halves = part(name, operands, slice(0, 3)), part(name, operands, slice(3, 6))
    apart = np.mean([value(name, half) for half in halves])
    meets = not np.isclose(value(name, operands), apart, rtol=1e-10, atol=1e-12)
    assert array_function(name).couples == meets


def check_collapse(name: str) -> None:
    """Every constant latent is worse than a standard normal one, exactly where that is declared."""
    spread = value(name, generic(name, batch=64))

    def constant(length: float) -> Callable[[np.ndarray], np.ndarray]:
        def change(z: np.ndarray) -> np.ndarray:
            return np.broadcast_to(length * z[:1, :1] / np.linalg.norm(z[0, 0]), z.shape)

        return change

    collapsed = [
        value(name, with_latents(name, constant(length), batch=64)) for length in (0, 0.5, 1, 2)
    ]
    assert array_function(name).prevents_collapse == (min(collapsed) > spread)


def check_distance(name: str) -> None:
    """Zero where both sides are equal and nowhere else; a distance is symmetric.

    The cosine counts directions as equal: no perturbation here keeps a direction.
    """
    operands = generic(name)
    one = len(operands) == 1
    sides = len(operands) // 2
    near = [np.zeros_like(operands[0])] if one else operands[:sides] * 2
    close(value(name, near), 0.0, 1e-12, "where both sides are equal")
    assert value(name, operands) > 1e-6
    rng = np.random.default_rng(1)
    for place in range(len(operands)):
        for _ in range(8):
            moved = [o.copy() for o in near]
            moved[place][tuple(rng.integers(moved[place].shape))] += 0.5
            assert value(name, moved) > 1e-6, "one entry differs"
    if array_function(name).kind == "distance":
        swapped = [-operands[0]] if one else operands[::-1]
        close(value(name, swapped), value(name, operands), 1e-12, "symmetric")


def check_differentiable(name: str) -> None:
    """Gradient reaches every latent, exactly where that is declared."""
    operands = generic(name)
    _, gradients = in_torch(name, operands)
    reached = [gradients[places(operands).index(i)].any() for i in latents(name)]
    assert array_function(name).differentiable == all(reached)
    assert any(reached) == all(reached)


def check_kinks(name: str) -> None:
    """Value and gradient are finite, and the same on both backends."""
    for kink, operands in at_kinks(name).items():
        results = in_torch(name, operands), in_jax(name, operands)
        for result, gradients in results:
            assert np.isfinite(result), kink
            assert all(np.isfinite(g).all() for g in gradients), kink
        agree(value(name, operands), *results, kink)


def check_parity(name: str) -> None:
    """numpy, torch and JAX agree, and the gradient is the value's derivative."""
    for seed in range(2):
        operands = generic(name, seed)
        found = in_torch(name, operands)
        agree(value(name, operands), found, in_jax(name, operands), f"seed {seed}")
        rng, h = np.random.default_rng(seed), 1e-6
        ways = [rng.standard_normal(operands[i].shape) for i in places(operands)]
        ends = [list(operands), list(operands)]
        for i, way in zip(places(operands), ways, strict=True):
            ends[0][i], ends[1][i] = operands[i] + h * way, operands[i] - h * way
        slope = (value(name, ends[0]) - value(name, ends[1])) / (2 * h)
        along = sum(float(np.sum(g * w)) for g, w in zip(found[1], ways, strict=True))
        close(along, slope, 1e-6, "the derivative along a line")


def agree(in_numpy: float, torchs: Any, jaxs: Any, what: str) -> None:
    close(torchs[0], in_numpy, VALUE, f"torch and numpy, {what}")
    close(jaxs[0], in_numpy, VALUE, f"JAX and numpy, {what}")
    for one, other in zip(torchs[1], jaxs[1], strict=True):
        close(one, other, GRADIENT, f"the gradients of torch and JAX, {what}")


def check_definition(name: str) -> None:
    """The value is that of the definition, written another way."""
    example = EXAMPLES[name]
    for seed in range(3):
        operands = generic(name, seed)
        want = example.definition(*operands, **example.arguments)
        got = array_function(name).function(*operands, **example.arguments)
        assert np.shape(got) == np.shape(want)
        close(got, want, VALUE, "the definition")


each_loss = pytest.mark.parametrize("name", EXAMPLES)


@each_loss
@pytest.mark.parametrize(
    "check",
    [check_couples, check_collapse, check_differentiable, check_definition],
    ids=lambda check: check.__name__,
)
def test_the_algebra_is_as_declared(name, check):
    check(name)


@pytest.mark.parametrize(
    "name", [n for n in EXAMPLES if array_function(n).kind in ("distance", "divergence")]
)
def test_a_distance_is_one(name):
    check_distance(name)


@each_loss
def test_the_backends_agree(name):
    check_parity(name)


@each_loss
def test_kinks_are_safe(name):
    check_kinks(name)


@each_loss
def test_a_single_entry_is_enough(name):
    one = slice(0, 1)
    result, gradients = in_torch(name, part(name, generic(name), one, one))
    assert np.isfinite(result)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("piece", ["magnitude", "length", "unit", "hinge"])
def test_a_piece_has_derivative_zero_at_its_kink(piece):
    function = getattr(array_pieces, piece)
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(zero).sum(), zero)
    with x64():
        other = jax.grad(lambda x: jnp.sum(function(x)))(jnp.zeros(3))
    assert not gradient.any()
    assert not other.any()


HALF = {
    "torch": lambda z: torch.asarray(z).to(torch.bfloat16),
    "jax": lambda z: jnp.asarray(z, jnp.bfloat16),
}


@pytest.mark.parametrize("backend", HALF)
def test_the_coding_rate_takes_half_precision(backend):
    (z,) = generic("coding_rate")
    half = HALF[backend](z)
    got = array_function("coding_rate").function(half, alpha=1.0)
    assert got.dtype == half.dtype
    np.testing.assert_allclose(float(got), coding_rate(z, 1.0), rtol=0.05)


# Boxes ------------------------------------------------------------------------------------------


def box_weight(error: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    function = array_function("box_weight").function
    return function(error, kernel=kernel, stride=stride, beta=1.0, limit=100.0)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 3), (3, 2), (6, 4)])
def test_every_pixel_is_in_the_surroundings_of_others(kernel, stride):
    """A greater error anywhere makes less of another one, at the border too."""
    even = np.ones((7, 10))
    np.testing.assert_allclose(box_weight(even, kernel, stride), 1.0)
    for pixel in np.ndindex(even.shape):
        error = even.copy()
        error[pixel] = 5.0
        weights = box_weight(error, kernel, stride)
        weights[pixel] = np.inf
        assert weights.min() < 1, f"no other pixel is near {pixel}"


def test_boxes_that_fill_a_line_are_the_pools_of_the_frameworks():
    """Those of the default multi_box on frames of 56 pixels: 56, 28 and 14."""
    for size, kernel in ((56, 8), (28, 8), (14, 6)):
        error = torch.rand(2, 1, size, size, dtype=torch.float64)
        means = F.avg_pool2d(error, kernel, 4)
        local = F.interpolate(means, size=(size, size), mode="bilinear", align_corners=False)
        wanted = ((error + 1e-6) / (local + 1e-6)).numpy()
        close(box_weight(error.numpy(), kernel, 4), wanted, VALUE, f"{size} pixels")


# What is accepted ---------------------------------------------------------------------------


EXTENTS = {"batch": 3, "time": 4, "step": 2}
LEADS = [(), ("batch",), ("time",), ("batch", "time"), ("batch", "time", "step")]
EVENTS = [(), (N,), (N, N), (2, N, N)]
HELPERS: dict[str, tuple[int, dict[str, Any]]] = {
    "accuracy": (2, {}),
    "r2": (2, {"event": 0}),
    "box_weight": (1, {"kernel": 2, "stride": 2, "beta": 2.0, "limit": 3.0}),
    "gauss_weight": (1, {"sigma": 1.0, "beta": 2.0, "limit": 3.0}),
    "weighted_mean": (2, {}),
    "softmax": (1, {}),
    "categorical_draw": (2, {}),
}
IN_TIME = {"goal_ranking"}  # where the leading axes are more than a list of entries


def type_of(lead: tuple[str, ...], event: tuple[int, ...], dtype: str) -> Type:
    extents = {"time": 0 if "time" in lead else None, "step": 2 if "step" in lead else None}
    return Type(lead, event, dtype, **extents)


def accepted(name: str) -> Iterator[tuple[list[Type], Type]]:
    """Every choice of operand types that the function says it takes, and what it says it gives."""
    function = array_function(name)
    count, arguments = HELPERS.get(name) or (
        len(EXAMPLES[name].operands.split()),
        EXAMPLES[name].arguments,
    )
    alike = count > 3  # so many operands are of one type
    for lead in LEADS:
        types = [type_of(lead, event, dtype) for event in EVENTS for dtype in ("float", "int")]
        types += [type_of((), event, "float") for event in EVENTS if lead]  # what noise may be
        for chosen in [(t,) * count for t in types] if alike else product(types, repeat=count):
            with suppress(ShapeError):
                yield list(chosen), function.infer(chosen, arguments)


def check_accepted(name: str) -> None:
    """What is accepted can be computed, has the shape that is promised, and reads events alone.

    The last is so where the entries in one list give what they give along batch, time and step.
    """
    function = array_function(name).function
    arguments = HELPERS[name][1] if name in HELPERS else EXAMPLES[name].arguments
    rng, tried = np.random.default_rng(0), 0
    for types, result in accepted(name):
        shapes = [tuple(EXTENTS[a] for a in t.axes) + t.shape for t in types]
        operands = [
            rng.integers(0, 2, s) if t.dtype == "int" else rng.uniform(0.1, 0.9, s)
            for s, t in zip(shapes, types, strict=True)
        ]
        try:
            got = np.asarray(function(*operands, **arguments))
        except (IndexError, TypeError, ValueError) as error:
            raise AssertionError(f"{types} are accepted, and cannot be computed") from error
        promised = tuple(EXTENTS[axis] for axis in result.axes) + result.shape
        assert got.shape == promised, f"{types} give {got.shape}, and not {promised}"
        tried += 1
        if name not in IN_TIME and types[0].axes:
            listed = [
                o.reshape(-1, *t.shape) if t.axes else o
                for o, t in zip(operands, types, strict=True)
            ]
            again = np.asarray(function(*listed, **arguments))
            close(again.reshape(promised), got, 1e-10, f"{types}, as one list")
    assert tried, "nothing is accepted"


@pytest.mark.parametrize("name", all_array_functions())
def test_what_is_accepted_can_be_computed(name):
    check_accepted(name)


# What the checks reject ---------------------------------------------------------------------


def squares(p: Any, t: Any) -> Any:
    return array_namespace(p).mean((p - t) ** 2)


def mean_square(z: Any) -> Any:
    xp = array_namespace(z)
    return xp.mean(xp.mean(z, axis=0) ** 2)


def narrow(z: Any) -> Any:
    xp = array_namespace(z)
    return xp.mean((1 - xp.mean((z - xp.mean(z, axis=(0, 1), keepdims=True)) ** 2)) ** 2)


def count(z: Any) -> Any:
    return array_namespace(z).mean(array_namespace(z).sign(z))


def norm(z: Any) -> Any:
    xp = array_namespace(z)
    return xp.mean(xp.sqrt(xp.sum(z**2, axis=-1)))


def detached(p: Any, t: Any) -> Any:
    return squares(p, t.detach() if isinstance(t, torch.Tensor) else t)


def stopped(p: Any, t: Any) -> Any:
    t = t.detach() if isinstance(t, torch.Tensor) else t
    return squares(p, jax.lax.stop_gradient(t) if isinstance(t, jax.Array) else t)


def off_in_jax(p: Any, t: Any) -> Any:
    return squares(p, t) + (1e-9 if isinstance(p, jax.Array) else 0.0)


def any_logits(types: Any, arguments: Any) -> Type:
    """What cross_entropy takes, and logits that are one number each."""
    logits, classes = types
    if logits.shape or classes.shape:
        return class_indices(types, arguments)
    return Type()


Z = Example("z", lambda z: 0.0)
ZZ = Example("z z", lambda p, t: np.mean((p - t) ** 2))

PLANTED: dict[str, tuple[Any, Any, Example, dict[str, Any]]] = {
    "a mean that claims to couple": (check_couples, squares, ZZ, {"couples": True}),
    "a statistic that claims not to": (check_couples, mean_square, Z, {}),
    "a distance against collapse": (check_collapse, squares, ZZ, {"prevents_collapse": True}),
    "a silent guard": (check_collapse, narrow, Z, {}),
    "not zero where equal": (check_distance, lambda p, t: squares(p, 2 * t), ZZ, {}),
    "blind to most entries": (check_distance, lambda p, t: squares(p[..., 0], t[..., 0]), ZZ, {}),
    "one-sided": (
        check_distance,
        lambda p, t: array_namespace(p).mean((p - t) ** 2 * array_namespace(p).exp(p)),
        ZZ,
        {},
    ),
    "a residual of one sign": (check_distance, lambda r: array_pieces.hinge(r).mean(), Z, {}),
    "a count with a gradient": (check_differentiable, count, Z, {}),
    "a hidden stop": (check_differentiable, stopped, ZZ, {}),
    "a gradient denied": (check_differentiable, squares, ZZ, {"differentiable": False}),
    "a plain norm": (check_kinks, norm, Z, {}),
    "a stop on torch alone": (check_parity, detached, ZZ, {}),
    "a stop on both": (check_parity, stopped, ZZ, {}),
    "another value on JAX": (check_parity, off_in_jax, ZZ, {}),
    "half of its definition": (check_definition, lambda p, t: squares(p, t) / 2, ZZ, {}),
    "time for an event": (check_accepted, norm, Z, {}),
    "logits without classes": (
        check_accepted,
        array_function("cross_entropy").function,
        Example("z classes", cross_entropy),
        {"infer": any_logits},
    ),
    "another shape than promised": (check_accepted, lambda p, t: p - t, ZZ, {}),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_check_rejects(what, monkeypatch):
    check, function, example, declared = PLANTED[what]
    monkeypatch.setattr(array_functions, "_FUNCTIONS", all_array_functions())
    monkeypatch.setitem(EXAMPLES, "planted", example)
    array_function_of("distance", name="planted", **declared)(function)
    with pytest.raises(AssertionError):
        check("planted")


FLAGS = {
    "couples": check_couples,
    "prevents_collapse": check_collapse,
    "differentiable": check_differentiable,
}


@each_loss
@pytest.mark.parametrize("flag", FLAGS)
def test_a_flipped_declaration_is_rejected(name, flag, monkeypatch):
    known = array_function(name)
    flipped = replace(known, **{flag: not getattr(known, flag)})
    monkeypatch.setitem(array_functions._FUNCTIONS, name, flipped)
    with pytest.raises(AssertionError):
        FLAGS[flag](name)


def test_a_planted_function_does_not_stay():
    assert "planted" not in all_array_functions()


# Every loss in a compiled step --------------------------------------------------------------

FRAME = (2, 16, 12)
BOXES: dict[str, Any] = {"kernels": (4, 3), "strides": (2, 2), "beta": 2.0, "limit": 3.0}
BLURS: dict[str, Any] = {"sigmas": (2.0, 1.0), "beta": 2.0, "limit": 3.0}


def pyramid(residual: np.ndarray, levels: int) -> list[np.ndarray]:
    found = [residual]
    for _ in range(levels - 1):
        r = found[-1]
        found.append((r[..., ::2, :] + r[..., 1::2, :])[..., ::2] / 4)
        found[-1] += (r[..., ::2, :] + r[..., 1::2, :])[..., 1::2] / 4
    return found


def multi_box(p: np.ndarray, t: np.ndarray, kernels: Any, strides: Any, **power: float) -> float:
    """The resizing is torch's."""
    levels = []
    for residual, kernel, stride in zip(
        pyramid(p - t, len(kernels)), kernels, strides, strict=True
    ):
        error = np.abs(residual).mean(axis=-3).reshape(-1, 1, *residual.shape[-2:])
        means = torch.tensor(box_means(error, kernel, stride))
        local = F.interpolate(means, size=error.shape[-2:], mode="bilinear", align_corners=False)
        weight = ((error + 1e-6) / (local.numpy() + 1e-6)) ** power["beta"]
        levels.append(np.mean(np.minimum(weight, power["limit"]) * error))
    return float(np.mean(levels))


def multi_gauss(p: np.ndarray, t: np.ndarray, sigmas: Any, **power: float) -> float:
    levels = []
    for residual, sigma in zip(pyramid(p - t, len(sigmas)), sigmas, strict=True):
        error = (residual**2).mean(axis=-3)
        rows, columns = np.mgrid[: error.shape[-2], : error.shape[-1]]
        weighted = np.zeros_like(error)
        for i, j in np.ndindex(error.shape[-2:]):
            window = np.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * sigma**2))
            blurred = np.sum(error * window, axis=(-2, -1)) / window.sum()
            weight = np.minimum((blurred + 1e-6) ** power["beta"], power["limit"])
            weighted[..., i, j] = weight * error[..., i, j]
        levels.append(weighted.mean())
    return float(np.mean(levels))


def kstep(position: np.ndarray, measured: np.ndarray, horizon: int) -> float:
    """p_(t+k) as p_t plus the sum of its k moves."""
    dp, errors = np.diff(position, axis=1), []
    for k in range(2, horizon + 1):
        starts = range(position.shape[1] - k)
        reached = [position[:, t] + dp[:, t : t + k].sum(axis=1) for t in starts]
        errors.append(np.mean((np.stack(reached, axis=1) - measured[:, k:]) ** 2))
    return float(np.mean(errors))


def ours(name: str) -> Callable[..., Any]:
    """The array function's definition, with the arguments of its example."""
    example = EXAMPLES[name]
    return lambda *operands: example.definition(*operands, **example.arguments)


@dataclass(frozen=True)
class Declared:
    """A public loss on the latents of `every_loss`, and its definition.

    Args:
        operands: names of latents and columns, "|" before what is no operand of the declaration.
        declare: those operands -> Expr; of `losses`, where it is None.
        definition: the same arrays, and those behind "|" -> the value.
    """

    operands: str
    definition: Callable[..., Any]
    declare: Callable[..., lr.Expr] | None = None


DECLARED: dict[str, Declared] = {
    "mse": Declared("z view", ours("mse")),
    "cosine": Declared("z view", ours("cosine")),
    "cross_entropy": Declared("early a", cross_entropy),
    "binary_cross_entropy": Declared("early buttons", binary_cross_entropy),
    "patch_mse": Declared(
        "drawn frames",
        lambda p, t: patch_mse(p, t, 6),
        lambda p, t: losses.patch_mse(p, t, size=6),
    ),
    "multi_box": Declared(
        "drawn frames",
        lambda p, t: multi_box(p, t, **BOXES),
        lambda p, t: losses.multi_box(p, t, **BOXES),
    ),
    "multi_gauss": Declared(
        "drawn frames",
        lambda p, t: multi_gauss(p, t, **BLURS),
        lambda p, t: losses.multi_gauss(p, t, **BLURS),
    ),
    "kstep": Declared(
        "z pose", lambda p, m: kstep(p, m, 3), lambda p, m: losses.kstep(p, m, horizon=3)
    ),
    "scale": Declared("z", ours("median_scale")),
    "trimmed_scale": Declared("z", ours("trimmed_scale")),
    "geometry_rank": Declared("z", ours("goal_ranking")),
    "gaussian_kl": Declared("z wide view other", gaussian_kl),
    "categorical_kl": Declared("z view", categorical_kl),
    "vicreg_variance": Declared("z", ours("vicreg_variance")),
    "vicreg_covariance": Declared("z", vicreg_covariance),
    "vicreg": Declared("z", lambda z: 25 * vicreg_variance(z, 1.0, 1e-4) + vicreg_covariance(z)),
    "barlow": Declared("z view", ours("barlow")),
    "barlow_decorrelation": Declared("z", lambda z: 5e-3 * off_diagonal(correlation(z, z))),
    "center": Declared("z c", lambda z, c: np.sum((flat(z).mean(axis=0) - c) ** 2)),
    "coding_rate": Declared("z", ours("coding_rate")),
    "sigreg": Declared("z | d", sigreg, lambda z: losses.sigreg(z, label="d", slices=8)),
    "sliced_normal": Declared(
        "z | s_directions s_samples",
        sliced_normal,
        lambda z: losses.sliced_normal(z, label="s", slices=8),
    ),
    "info_nce": Declared("z view", ours("info_nce")),
}


def every_loss() -> lr.Spec:
    s = lr.Spec("losses")
    x, frames = s.observation("x", (3,)), s.observation("frames", FRAME)
    named = {"frames": frames, "a": s.action("a", lr.Discrete(N)), "pose": s.label("pose", (N,))}
    named["buttons"] = s.action("buttons", lr.Box(0.0, 1.0, (N,)))
    named["c"] = c = s.state("c", (N,))
    for name in ("z", "view", "wide", "other"):
        e = s.module(f"to_{name}", lr.nn.linear(3, N))(x)
        named[name] = s.latent(name, e, role=lr.DYNAMICS)
    named["early"] = s.latent("early", named["z"].t[:-1], role=lr.DYNAMICS)
    drawn = lr.reshape(s.module("draw", lr.nn.linear(3, math.prod(FRAME)))(x), *FRAME)
    named["drawn"] = s.latent("drawn", drawn, role=lr.DYNAMICS)
    s.update(c, 0.9 * c + 0.1 * named["z"].mean(over="time").mean(over="batch"))
    for name, loss in DECLARED.items():
        operands = [named[word] for word in loss.operands.partition("|")[0].split()]
        s.loss(name, (loss.declare or getattr(losses, name))(*operands))
    return s


def test_every_public_loss_is_declared():
    functions = inspect.getmembers(losses, inspect.isfunction)
    ours = {losses.__name__, pixel_losses.__name__}
    assert set(DECLARED) == {n for n, f in functions if f.__module__ in ours and n[0] != "_"}
    shown = {n for n, f in vars(pixel_losses).items() if f in vars(losses).values()}
    assert shown >= {"patch_mse", "multi_box", "multi_gauss"}


def test_every_array_function_of_a_loss_is_reached():
    calls = {
        e.attrs[0]
        for loss in every_loss().losses.values()
        for e in postorder(loss.expr)
        if e.kind == "call"
    }
    assert set(EXAMPLES) <= calls


@pytest.fixture(scope="module")
def models():
    """The step with every loss on both backends, and the case that it was compiled for."""
    case = Case.of(every_loss())
    return {name: compiled(case, name) for name in ("torch", "jax")}, case


def agreed(models: Any, case: Case) -> Results:
    """One step, on which torch, JAX and a masked backward per loss agree."""
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        got = follows_reference(models["torch"], case)
        same_results(follows_reference(models["jax"], case), got)
    return got


@pytest.fixture(scope="module")
def step(models):
    """The losses of one step, and what they read."""
    compiled_models, case = models
    got = agreed(compiled_models, case)
    _, noise, _ = inputs(compiled_models["torch"], case)
    columns = {**case.batch, **case.state(), **got.latents}
    return got.losses, columns | {name: draw.numpy() for name, draw in noise.items()}


def check_declared(name: str, definition: Callable[..., Any], step: Any) -> None:
    values, columns = step
    words = DECLARED[name].operands.replace("|", " ").split()
    close(values[name], definition(*(columns[word] for word in words)), VALUE, name)


@pytest.mark.parametrize("name", DECLARED)
def test_a_compiled_loss_is_its_definition(name, step):
    check_declared(name, DECLARED[name].definition, step)


ANOTHER: dict[str, Callable[..., Any]] = {
    "patch_mse": lambda p, t: np.mean((p - t) ** 2),
    "multi_box": lambda p, t: multi_box(p, t, **BOXES | {"limit": 2.0}),
    "multi_gauss": lambda p, t: multi_gauss(p, t, (1.0, 2.0), beta=2.0, limit=3.0),
    "kstep": lambda p, m: kstep(p, m, 4),
    "trimmed_scale": lambda z: trimmed_scale(z, 1.0, 0.1),
    "sliced_normal": lambda z, slices, samples: sliced_normal(z, 2 * slices, samples + 0.01),
}


@pytest.mark.parametrize("name", ANOTHER)
def test_another_definition_is_rejected(name, step):
    with pytest.raises(AssertionError):
        check_declared(name, ANOTHER[name], step)


@pytest.mark.parametrize("rows", ["zero", "constant"])
def test_a_compiled_step_is_safe_on_constant_data(rows, models):
    compiled_models, case = models
    change = KINKS[rows]
    got = agreed(
        compiled_models, replace(case, batch={n: change(a).copy() for n, a in case.batch.items()})
    )
    assert all(np.isfinite(value).all() for value in got.losses.values())
    for modules in got.gradients.values():
        assert all(np.isfinite(a).all() for arrays in modules.values() for a in arrays.values())


# Bad input ----------------------------------------------------------------------------------


NUMBER: Any = 1.0  # where an Expr belongs
WORD: Any = "4"
NOTHING: Any = None

WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "a batch statistic of scalars": (
        lambda s, z: losses.vicreg_covariance(z.mean()),
        r"vectors \(\.\.\., n\), got \(batch, T\) float",
    ),
    "a batch statistic without a batch": (
        lambda s, z: losses.coding_rate(z.mean(over="batch")),
        r"statistic of a batch reads .* got \(T, 4\) float",
    ),
    "no temperature": (lambda s, z: losses.info_nce(z, z, temperature=0), "temperature must be"),
    "a weight of zero": (lambda s, z: losses.vicreg(z, covariance=0), "covariance must be"),
    "keys that repeat": (
        lambda s, z: losses.info_nce(z, z.t[0]),
        r"pairs entry i .* got \(batch, T, 4\) float and \(batch, 4\) float",
    ),
    "a view that is a number": (lambda s, z: losses.barlow(z, NUMBER), "pairs entry i"),
    "a centre of another size": (
        lambda s, z: losses.center(z, s.state("c", (3,))),
        r"c \(n,\), got .* and \(3\) float",
    ),
    "a centre that is a number": (lambda s, z: losses.center(z, NUMBER), r"c = 1\.0"),
    "no directions": (lambda s, z: losses.sigreg(z, label="a", slices=0), "slices"),
    "a latent that is a number": (lambda s, z: losses.sigreg(NUMBER, label="a"), r"got 1\.0"),
    "directions of another size": (
        lambda s, z: losses.call("sigreg", z, z),
        "slices .* without leading axes",
    ),
    "an operand too many": (lambda s, z: losses.call("mse", z, z, z), "'mse' takes"),
    "an unknown argument": (lambda s, z: losses.call("mse", z, z, beta=1.0), "'mse' takes"),
    "a vector of pixels": (lambda s, z: losses.multi_box(z, z), r"frames \(\.\.\., C, H, W\)"),
    "no patch": (lambda s, z: losses.patch_mse(z, z, size=0), "size .* at least 1"),
    "a patch of a vector": (lambda s, z: losses.patch_mse(z, z), r"frames \(\.\.\., C, H, W\)"),
    "patches of numbers": (
        lambda s, z: losses.patch_mse(NUMBER, NUMBER),
        "none of them is an Expr",
    ),
    "no level": (lambda s, z: losses.multi_gauss(z, z, sigmas=()), "one number per level"),
    "a number for a level": (
        lambda s, z: losses.multi_box(z, z, kernels=NUMBER),
        r"kernels has one number per level of the pyramid; received 1\.0",
    ),
    "levels that differ": (
        lambda s, z: losses.multi_box(z, z, strides=(1,)),
        "one kernel and one stride per level",
    ),
    "a box of nothing": (
        lambda s, z: losses.multi_box(z, z, kernels=(0, 1, 1)),
        "kernels .pixels. must be an integer of at least 1",
    ),
    "boxes with gaps": (
        lambda s, z: losses.multi_box(z, z, kernels=(4,), strides=(9,)),
        r"a stride is at most its kernel; received kernels \(4,\) and strides \(9,\).*"
        r"Fix: pass strides=\(4,\)",
    ),
    "a position that is a number": (
        lambda s, z: losses.kstep(NUMBER, z, 2),
        r"kstep compares Exprs, got position = 1\.0.*Fix",
    ),
    "no measurement": (lambda s, z: losses.kstep(z, NOTHING, 2), "got measured = None.*Fix"),
    "no power": (lambda s, z: losses.multi_box(z, z, beta=WORD), "beta must be a number greater"),
    "one move": (lambda s, z: losses.kstep(z, z, 1), "horizon .* at least 2"),
    "moves in words": (lambda s, z: losses.kstep(z, z, WORD), "horizon .* received '4'"),
    "no target": (lambda s, z: losses.scale(z, target=NOTHING), "target must be a finite number"),
    "no pairs": (lambda s, z: losses.geometry_rank(z, pairs=0), "pairs .* at least 1"),
    "a rank of numbers": (lambda s, z: losses.geometry_rank(NUMBER), r"Got 1\.0"),
    "a rank of one frame": (
        lambda s, z: losses.geometry_rank(z.t[0]),
        r"positions \(batch, time, n\), got \(batch, 4\) float.*Fix: apply it before",
    ),
    "a rank of scalars": (lambda s, z: losses.geometry_rank(z.mean()), r"Fix: `lr.reshape\(e, 1\)"),
    "the angle of scalars": (
        lambda s, z: losses.cosine(z.mean(), z.mean()),
        r"vectors \(\.\.\., n\), got \(batch, T\) float.*lr.reshape.*lr.losses.mse",
    ),
    "the length of scalars": (lambda s, z: losses.scale(z.mean()), "got .batch, T. float.*Fix"),
    "the lengths of scalars": (lambda s, z: losses.trimmed_scale(z.mean()), "one number for each"),
    "logits without classes": (
        lambda s, z: losses.cross_entropy(z.mean(), s.label("y", classes=2)),
        r"logits \(\.\.\., n\) .* got \(batch, T\) float and \(batch, T\) int.*Fix",
    ),
    "a blur of nothing": (lambda s, z: losses.multi_gauss(z, z, sigmas=(0,)), "greater than 0"),
    "half is left out": (lambda s, z: losses.trimmed_scale(z, trim=0.5), "less than 1/2"),
    "samples of steps": (
        lambda s, z: losses.sliced_normal(z.windows(2), label="d"),
        "one sample for each entry",
    ),
    "buttons of another number": (
        lambda s, z: losses.binary_cross_entropy(z, lr.split(z, 3, 1)[0]),
        "arrays of one shape",
    ),
    "divergence of scalars": (lambda s, z: losses.categorical_kl(z.mean(), z.mean()), "vectors"),
    "a helper that reduces, in a loop": (
        lambda s, z: lr.scan(
            lambda h, u: h + losses.call("weighted_mean", h, u), init=lr.zeros(4), xs=z
        ),
        "inside the step of a loop",
    ),
    "a loss without axes in a loop": (
        lambda s, z: lr.scan(
            lambda h, u: h + losses.mse(u.mean(over="batch"), lr.zeros(4)), init=lr.zeros(4), xs=z
        ),
        "inside the step of a loop",
    ),
}


@given(st.integers(1, 4), st.integers(1, 24), st.integers(1, 24), st.booleans())
def test_a_pyramid_names_the_frames_that_fit(levels, height, width, boxes):
    def declare(levels: int, *sides: int) -> None:
        x = lr.Spec("frames").observation("x", (2, *sides))
        if boxes:
            losses.multi_box(x, 2.0 * x, kernels=(3,) * levels, strides=(2,) * levels)
        else:
            losses.multi_gauss(x, 2.0 * x, sigmas=(1.0,) * levels)

    step = 2 ** (levels - 1)
    if height % step == width % step == 0:
        declare(levels, height, width)
        return
    with pytest.raises(lr.ShapeError) as caught:
        declare(levels, height, width)
    name = "multi_box" if boxes else "multi_gauss"
    said = str(caught.value)
    assert f": {name} halves its frames {levels - 1} times, so that height and width are" in said
    assert f"multiples of {step}; received (batch, T, 2, {height}, {width}) float. Fix:" in said
    rows, columns, fewer = re.search(r"frames of (.*) x (.*), or at most (\d) level", said).groups()
    for sides, side in ((rows, height), (columns, width)):
        named = {int(n) for n in re.findall(r"\d+", sides)}
        assert named == {n for n in (side // step * step, -(-side // step) * step) if n}
    declare(levels, int(re.findall(r"\d+", rows)[0]), int(re.findall(r"\d+", columns)[0]))
    declare(int(fewer), height, width)
    with pytest.raises(lr.ShapeError):
        declare(int(fewer) + 1, height, width)


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_said(what):
    declare, message = WRONG[what]
    s = lr.Spec("wrong")
    z = s.module("f", lr.nn.linear(3, 4))(s.observation("x", (3,)))
    with pytest.raises((ShapeError, SpecError), match=message) as raised:
        declare(s, z)
    assert str(raised.value).startswith("test_array_losses.py:")


def odd_operands(s: lr.Spec) -> list[Any]:
    x, frames = s.observation("x", (N,)), s.observation("frames", (2, 8, 8))
    exprs = [x, x.mean(), x.t[0], x.mean(over="batch"), x.windows(2), x.t[1:], frames]
    exprs += [s.action("a", lr.Discrete(N)), s.state("c", (N,)), lr.zeros(N)]
    return [*exprs, lr.Spec("other").observation("x", (N,)), 1.0, None, "z", np.ones(N)]


@pytest.mark.parametrize("name", DECLARED)
def test_whatever_it_is_given_a_loss_is_declared_or_refused(name):
    """Nothing else is raised, and what is declared is a float scalar that can be differentiated."""
    loss, s = getattr(losses, name), lr.Spec("odd")
    parameters = inspect.signature(loss).parameters.values()
    count = sum(p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "horizon" for p in parameters)
    given: dict[str, Any] = {"horizon": 2} if name == "kstep" else {}
    if name in ("sigreg", "sliced_normal"):
        given["label"] = "d"
    every = list(product(odd_operands(s), repeat=count))
    declared = 0
    for i in np.random.default_rng(0).permutation(len(every))[:225]:
        with suppress(LatentrolesError):
            assert loss(*every[i], **given).type == Type()
            declared += 1
    assert declared or count == 4


def test_what_keeps_its_axes_may_stand_in_a_loop():
    s = lr.Spec("loop")
    x = s.observation("x", (1, 4, 4))
    h = lr.scan(lambda h, u: h + losses.call("pixel_error", u - 1.0), init=lr.zeros(4, 4), xs=x)
    assert h.type == x.type.with_shape((4, 4)).with_axis("time", -1)


def test_one_process_may_trace_in_64_bits_and_then_in_32():
    """The indices of pairs are kept between calls, and JAX keeps what it made of them."""
    rank = partial(array_losses.goal_ranking, margin=0.1, pairs=1024)
    with x64():
        jax.make_jaxpr(rank)(np.zeros((2, 6, 4)))
    (out,) = jax.make_jaxpr(rank)(np.zeros((2, 6, 4), np.float32)).out_avals
    assert out.dtype == np.float32
