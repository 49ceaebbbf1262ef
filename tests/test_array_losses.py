"""Array functions: each one's declared algebra, definition, kinks and parity, all as properties.

A check takes the name of a registered function and has to reject the planted wrong ones below.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace

import latentroles as lr
from latentroles.errors import ShapeError, SpecError
from latentroles.spec import array_functions, array_pieces, losses
from latentroles.spec.array_functions import all_array_functions, array_function, array_function_of
from latentroles.spec.walk import postorder
from latentroles.testing.laws import Case, compiled, inputs
from latentroles.testing.laws.checks import same_results
from latentroles.testing.laws.values import follows_reference
from latentroles_jax.precision import x64

Arrays = tuple[np.ndarray, ...]
N = 4


# By how much equal numbers may differ.
VALUE, GRADIENT = 1e-10, 1e-8


@dataclass(frozen=True)
class Example:
    """How a function is called, and what it should give.

    Args:
        operands: a word for each: "z" (batch, time, n), "view" of the operand before it,
            "classes", "frames", or "slices", which are no latent.
        definition: the operands and arguments -> the value, in numpy alone.
    """

    operands: str
    definition: Callable[..., Any]
    arguments: dict[str, Any] = field(default_factory=dict)


def cross_entropy(logits: np.ndarray, classes: np.ndarray) -> float:
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return float(-np.mean([np.log(p[i][classes[i]]) for i in np.ndindex(classes.shape)]))


def cosine(p: np.ndarray, t: np.ndarray) -> float:
    lengths = np.linalg.norm(p, axis=-1) * np.linalg.norm(t, axis=-1)
    return np.mean(1 - np.einsum("bti,bti->bt", p, t) / lengths)


def goal_ranking(position: np.ndarray, margin: float, pairs: int) -> float:
    d = np.linalg.norm(position - position[:, -1:], axis=-1)
    frames = range(position.shape[1])
    found = [margin - (d[:, i] - d[:, j]) for j in frames for i in range(j)]
    assert len(found) <= pairs
    return float(np.mean(np.maximum(found, 0)))


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


def info_nce(queries: np.ndarray, keys: np.ndarray, temperature: float) -> float:
    q, k = (flat(v) / np.linalg.norm(flat(v), axis=-1, keepdims=True) for v in (queries, keys))
    return cross_entropy(q @ k.T / temperature, np.arange(len(q)))


EXAMPLES: dict[str, Example] = {
    "mse": Example("z z", lambda p, t: np.linalg.norm(p - t) ** 2 / p.size),
    "cosine": Example("z z", cosine),
    "cross_entropy": Example("z classes", cross_entropy),
    "pixel_error": Example("frames", lambda r: np.linalg.norm(r, ord=1, axis=-3) / 2),
    "median_scale": Example(
        "z",
        lambda d, target: (np.median(np.linalg.norm(d, axis=-1)) - target) ** 2,
        {"target": 1.0},
    ),
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
    "info_nce": Example("z view", info_nce, {"temperature": 0.1}),
}


def test_every_loss_has_an_example():
    assert set(EXAMPLES) == {n for n, f in all_array_functions().items() if f.kind != "array"}


@pytest.fixture(autouse=True)
def strict_jax():
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


# Operands -----------------------------------------------------------------------------------


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
            shape = {"z": (batch, 3, N), "frames": (batch, 3, 2, 4, 4), "slices": (N, 8)}[word]
            made.append(rng.standard_normal(shape))
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


# The same in a compiled step ----------------------------------------------------------------


def every_new_loss() -> lr.Spec:
    s = lr.Spec("losses")
    x = s.observation("x", (3,))
    z, view, wide, other = (s.module(m, lr.nn.linear(3, N))(x) for m in ("f", "g", "v", "w"))
    for name, e in (("z", z), ("view", view), ("wide", wide), ("other", other)):
        s.latent(name, e, role=lr.DYNAMICS)
    c = s.state("c", (N,))
    s.update(c, 0.9 * c + 0.1 * z.mean(over="time").mean(over="batch"))
    s.loss("vicreg", losses.vicreg(z))
    s.loss("barlow", losses.barlow(z, view))
    s.loss("barlow_decorrelation", losses.barlow_decorrelation(z))
    s.loss("center", losses.center(z, c))
    s.loss("coding_rate", losses.coding_rate(z))
    s.loss("sigreg", losses.sigreg(z, label="slices", slices=8))
    s.loss("gaussian_kl", losses.gaussian_kl(z, wide, view, other))
    s.loss("categorical_kl", losses.categorical_kl(z, view.stop()))
    s.loss("info_nce", losses.info_nce(z, view))
    return s


def test_a_compiled_step_gives_the_definitions_on_both_backends():
    case = Case.of(every_new_loss())
    model = compiled(case, "torch")
    got = follows_reference(model, case)
    same_results(follows_reference(compiled(case, "jax"), case), got)
    z, view, wide, other = (got.latents[n] for n in ("z", "view", "wide", "other"))
    _, noise, _ = inputs(model, case)
    want = {
        "vicreg": 25 * vicreg_variance(z, 1.0, 1e-4) + vicreg_covariance(z),
        "barlow": barlow(z, view, 5e-3),
        "barlow_decorrelation": 5e-3 * off_diagonal(correlation(z, z)),
        "center": np.sum((flat(z).mean(axis=0) - case.state()["c"]) ** 2),
        "coding_rate": coding_rate(z, 1.0),
        "sigreg": sigreg(z, noise["slices"].numpy()),
        "gaussian_kl": gaussian_kl(z, wide, view, other),
        "categorical_kl": categorical_kl(z, view),
        "info_nce": info_nce(z, view, 0.1),
    }
    for name in case.spec.losses:
        close(got.losses[name], want[name], VALUE, name)


def test_the_compiled_step_leaves_no_new_loss_out():
    spec = every_new_loss()
    called = {
        e.attrs[0]
        for loss in spec.losses.values()
        for e in postorder(loss.expr)
        if e.kind == "call"
    }
    older = {"cosine", "cross_entropy", "pixel_error", "median_scale", "goal_ranking"}
    assert called == set(EXAMPLES) - older


# Bad input ----------------------------------------------------------------------------------


NUMBER: Any = 1.0  # where an Expr belongs

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


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_said(what):
    declare, message = WRONG[what]
    s = lr.Spec("wrong")
    z = s.module("f", lr.nn.linear(3, 4))(s.observation("x", (3,)))
    with pytest.raises((ShapeError, SpecError), match=message) as raised:
        declare(s, z)
    assert str(raised.value).startswith("test_array_losses.py:")


def test_what_keeps_its_axes_may_stand_in_a_loop():
    s = lr.Spec("loop")
    x = s.observation("x", (1, 4, 4))
    h = lr.scan(lambda h, u: h + losses.call("pixel_error", u - 1.0), init=lr.zeros(4, 4), xs=x)
    assert h.type == x.type.with_shape((4, 4)).with_axis("time", -1)
