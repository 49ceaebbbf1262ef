"""The shipped losses, as Exprs: `lr.losses.mse(prediction, target.stop())`.

A loss is a scalar Expr. What it compares is built from Exprs, so that routes and rules see its
structure; only the last step is an array function. Stops are the caller's: none is hidden here.
Those that compare frames with frames stand in `pixel_losses`.
"""

from functools import reduce
from operator import add
from typing import Any

from ..arguments import NON_NEGATIVE, POSITIVE, Range, integer, real
from ..errors import ShapeError, SpecError, user_line
from .call import call as call
from .call import call_unaligned, require_logits
from .expr import Expr
from .ops import draw
from .pixel_losses import multi_box as multi_box
from .pixel_losses import multi_gauss as multi_gauss
from .pixel_losses import patch_mse as patch_mse

HALF = Range("a number of at least 0 and less than 1/2", lambda v: 0 <= v < 0.5)


def mse(prediction: Any, target: Any) -> Expr:
    """mean((prediction - target)^2) over batch, time, step and event."""
    return call("mse", prediction, target)


def cosine(prediction: Any, target: Any) -> Expr:
    """mean(1 - cos(prediction, target)), the cosine over the last event axis."""
    return call("cosine", prediction, target)


def cross_entropy(logits: Expr, classes: Expr) -> Expr:
    """Mean cross-entropy in nats; logits (..., n), classes (...) int, such as an action.

    Raises:
        ShapeError: `classes` has more classes than there are logits.
    """
    require_logits("cross_entropy", logits, classes)
    return call("cross_entropy", logits, classes)


def binary_cross_entropy(logits: Expr, buttons: Expr) -> Expr:
    """Mean binary cross-entropy in nats, over the buttons too: each is pressed or not.

    Args:
        logits, buttons: (..., n); buttons in [0, 1], such as an action `lr.Box(0, 1, (n,))` that
            holds several at once.
    """
    return call("binary_cross_entropy", logits, buttons)


def kstep(position: Expr, measured: Expr, horizon: int) -> Expr:
    """mean over k = 2..horizon of mse(p_{t+k}, stop m_{t+k}).

    p_{t+k} is p_t plus the sum of its k moves, by the definition of p, and is read there. m must
    be measured independently of p: a label, or a head with a loss of its own.

    Args:
        position, measured: (batch, time, n).
    """
    _exprs("kstep", position=position, measured=measured)
    horizon = integer("kstep", "horizon", horizon, "the largest number of moves", minimum=2)
    terms = [mse(position.t[k:], measured.t[k:].stop()) for k in range(2, horizon + 1)]
    return reduce(add, terms) * (1.0 / len(terms))


def scale(delta: Expr, *, target: float = 1.0) -> Expr:
    """(median ||delta|| - target)^2, the median over batch and time; delta (batch, time, n)."""
    return call("median_scale", delta, target=real("scale", "target", target))


def trimmed_scale(delta: Expr, *, target: float = 1.0, trim: float = 0.2) -> Expr:
    """(mean ||delta|| - target)^2, the mean without the shortest and the longest.

    Args:
        delta: (batch, time, n).
        trim: the share of lengths that is left out at either end, below 1/2.

    Source: `scale_dp` of the hzp note, in its second form.
    """
    trim = real("trimmed_scale", "trim", trim, HALF)
    return call("trimmed_scale", delta, target=real("trimmed_scale", "target", target), trim=trim)


def geometry_rank(position: Expr, *, margin: float = 0.1, pairs: int = 1024) -> Expr:
    """mean relu(margin - (d_i - d_j)) for i < j, with d_i the distance to the last position.

    Args:
        position: (batch, time, n).
        pairs: at most so many pairs of frames are used.
    """
    margin = real("geometry_rank", "margin", margin, NON_NEGATIVE)
    pairs = integer("geometry_rank", "pairs", pairs, "how many pairs are used at most")
    return call("goal_ranking", position, margin=margin, pairs=pairs)


def gaussian_kl(mean_p: Any, log_std_p: Any, mean_q: Any, log_std_q: Any) -> Expr:
    """KL(p || q) of diagonal Gaussians in nats: summed over the event, mean over the leading axes.

    sum_i [s_q - s_p + (e^(2 s_p) + (m_p - m_q)^2) / (2 e^(2 s_q)) - 1/2] with s = log std. Against
    N(0, I), q is `lr.zeros(n), lr.zeros(n)`.

    Args:
        mean_p, log_std_p, mean_q, log_std_q: (..., n).
    """
    return call("gaussian_kl", mean_p, log_std_p, mean_q, log_std_q)


def categorical_kl(logits_p: Any, logits_q: Any) -> Expr:
    """KL(p || q) in nats, p = softmax(logits_p), q = softmax(logits_q); mean over the leading axes.

    Args:
        logits_p, logits_q: (..., n).
    """
    return call("categorical_kl", logits_p, logits_q)


def vicreg_variance(z: Expr, *, target: float = 1.0, eps: float = 1e-4) -> Expr:
    """mean_i max(0, target - sqrt(var_i + eps)): every dimension of the batch has some spread.

    Args:
        z: (batch, time, n) or (batch, n).

    Source: Bardes, Ponce and LeCun, "VICReg" (2022), eq. 1 and 2; the variance is unbiased.
    """
    target = real("vicreg_variance", "target", target, POSITIVE)
    eps = real("vicreg_variance", "eps", eps, POSITIVE)
    return call("vicreg_variance", z, target=target, eps=eps)


def vicreg_covariance(z: Expr) -> Expr:
    """1/n sum_(i != j) C_ij^2, C the unbiased covariance. A constant z is at its minimum.

    Args:
        z: (batch, time, n) or (batch, n).

    Source: Bardes, Ponce and LeCun, "VICReg" (2022), eq. 3 and 4.
    """
    return call("vicreg_covariance", z)


def vicreg(z: Expr, *, variance: float = 25.0, covariance: float = 1.0) -> Expr:
    """variance * vicreg_variance(z) + covariance * vicreg_covariance(z), both weights positive.

    The third term, invariance, compares two views of one frame: add `25 * mse(view, other)`.

    Args:
        z: (batch, time, n) or (batch, n).

    Source: Bardes, Ponce and LeCun, "VICReg" (2022), eq. 6.
    """
    variance = real("vicreg", "variance", variance, POSITIVE)
    covariance = real("vicreg", "covariance", covariance, POSITIVE)
    return variance * vicreg_variance(z) + covariance * vicreg_covariance(z)


def barlow(first: Expr, second: Expr, *, redundancy: float = 5e-3) -> Expr:
    """sum_i (1 - C_ii)^2 + redundancy sum_(i != j) C_ij^2, C the cross-correlation of two views.

    C is taken over batch and time; 1e-5 is added to the variances.

    Args:
        first, second: (batch, time, n) or (batch, n), alike; entry i of both shows one thing.

    Source: Zbontar et al., "Barlow Twins" (2021), eq. 1 and 2; redundancy is its lambda.
    """
    _paired("barlow", first, second)
    redundancy = real("barlow", "redundancy", redundancy, POSITIVE)
    return call("barlow", first, second, redundancy=redundancy)


def barlow_decorrelation(z: Expr, *, redundancy: float = 5e-3) -> Expr:
    """redundancy sum_(i != j) C_ij^2, C the correlation of z with itself.

    This is what is left of `barlow` on one batch: its diagonal term is constant there, so that
    nothing keeps a constant z away.

    Args:
        z: (batch, time, n) or (batch, n).
    """
    redundancy = real("barlow_decorrelation", "redundancy", redundancy, POSITIVE)
    return call("barlow_decorrelation", z, redundancy=redundancy)


def center(z: Expr, c: Expr) -> Expr:
    """||mean(z) - c||^2, the mean over batch and time: DINO's centring. It admits collapse.

    `c = s.state("c", (n,))` reads as the value before the step; its update is the caller's:
    `s.update(c, 0.9 * c + 0.1 * z.mean(over="time").mean(over="batch"))`.

    Args:
        z: (batch, time, n) or (batch, n).
        c: (n,).

    Source: Caron et al., "DINO" (2021), section 3.1, the centre; the penalty is the note's.
    """
    _exprs("center", z=z, c=c)
    if len(z.shape) != 1 or not z.axes or c.axes or c.shape != z.shape:
        raise ShapeError(
            f"{user_line()}center needs z (batch, time, n) or (batch, n) and c (n,), got {z.type} "
            f'and {c.type}. Fix: `c = s.state("c", z.shape)`.'
        )
    mean = reduce(lambda e, axis: e.mean(over=axis), reversed(z.axes), z)
    return z.shape[0] * mse(mean, c)


def coding_rate(z: Expr, *, alpha: float = 1.0) -> Expr:
    """-log det(I + alpha C), C the covariance of z / ||z|| over batch and time.

    C is centred: without that a constant z would score well.

    Args:
        z: (batch, time, n) or (batch, n).

    Source: Wu et al., "Simplifying DINO via Coding Rate Regularization" (2025).
    """
    return call("coding_rate", z, alpha=real("coding_rate", "alpha", alpha, POSITIVE))


def sigreg(z: Expr, *, label: str, slices: int = 1024) -> Expr:
    """N times the mean Epps-Pulley distance of random projections of z from N(0, 1).

    Per direction: 2 int_0^3 |phi(t) - e^(-t^2/2)|^2 e^(-t^2/2) dt with phi the empirical
    characteristic function of the N projected entries, by the trapezoid rule with 17 points.

    Args:
        z: (batch, time, n) or (batch, n); N = batch * time.
        label: names the directions, which are Noise: equal labels share a draw.
        slices: the number of directions.

    Source: Balestriero and LeCun, "LeJEPA" (2025).
    """
    slices = integer("sigreg", "slices", slices, "the number of directions")
    z = _vectors("sigreg", z)
    directions = z.spec.noise(label, (z.shape[0], slices))
    return call_unaligned("sigreg", (z, directions), {})


def sliced_normal(z: Expr, *, label: str, slices: int = 64) -> Expr:
    """Mean squared distance of the sorted random projections of z from sorted draws of N(0, 1).

    In each direction this is the squared Wasserstein-2 distance of the N projected entries from N
    draws. The draws differ as well, so that it is not 0 for normal entries.

    Args:
        z: (batch, time, n) or (batch, n); N = batch * time.
        label: names the directions and the draws, which are Noise: equal labels share them.
        slices: the number of directions.

    Source: `sigreg` in the code behind the hzp note; for sliced Wasserstein distances, Bonneel et
    al., "Sliced and Radon Wasserstein Barycenters of Measures" (2015).
    """
    slices = integer("sliced_normal", "slices", slices, "the number of directions")
    z = _vectors("sliced_normal", z)
    directions = z.spec.noise(f"{label}_directions", (z.shape[0], slices))
    samples = draw("sliced_normal", z, f"{label}_samples", (slices,), "normal")
    return call_unaligned("sliced_normal", (z, directions, samples), {})


def info_nce(queries: Expr, keys: Expr, *, temperature: float = 0.1) -> Expr:
    """-mean_i log softmax_j(cos(q_i, k_j) / temperature) at j = i, over all entries of the batch.

    Entry i of the queries belongs to entry i of the keys; every other key is a negative.

    Args:
        queries, keys: (batch, time, n) or (batch, n), alike.

    Source: van den Oord et al., "Contrastive Predictive Coding" (2018), with the cosines and the
    temperature of Chen et al., "SimCLR" (2020); from queries to keys only.
    """
    _paired("info_nce", queries, keys)
    temperature = real("info_nce", "temperature", temperature, POSITIVE)
    return call("info_nce", queries, keys, temperature=temperature)


def _exprs(what: str, **operands: Any) -> None:
    """Raises where an operand is a number or nothing."""
    for name, operand in operands.items():
        if not isinstance(operand, Expr):
            raise SpecError(
                f"{user_line()}{what} compares Exprs, got {name} = {operand!r}. Fix: pass what the "
                "Spec declares: a latent, a label, a module's output."
            )


def _vectors(what: str, z: Any) -> Expr:
    """Raises where there is no vector to project."""
    if not isinstance(z, Expr) or len(z.shape) != 1:
        got = z.type if isinstance(z, Expr) else repr(z)
        raise ShapeError(
            f"{user_line()}{what} needs z (batch, time, n) or (batch, n), got {got}. Fix: pass an "
            "Expr whose event is a vector; `lr.reshape(e, n)` makes one."
        )
    return z


def _paired(what: str, first: Any, second: Any) -> None:
    """Raises where entries would be repeated: a copy of the positive is no negative."""
    exprs = isinstance(first, Expr) and isinstance(second, Expr)
    if not exprs or first.type != second.type:
        types = [e.type if isinstance(e, Expr) else e for e in (first, second)]
        raise ShapeError(
            f"{user_line()}{what} pairs entry i of one with entry i of the other and needs equal "
            f"leading axes and shapes, got {types[0]} and {types[1]}. Fix: cut both alike, for "
            "example with `.t[1:]`, or repeat nothing."
        )
