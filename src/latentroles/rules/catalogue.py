"""The catalogue of losses: each in the smallest model in which it says something of a latent.

A line is a function of a `Tiny` model, whose docstring is the loss's definition: u is the latent,
sg a stop, D the mean squared error, K the horizon. Whatever the latent's role, the loss is the same
expression; what it rewards follows from what the latent is made of, and the check finds that.
"""

from collections.abc import Callable
from typing import Any

from ..spec import losses, nn
from ..spec.expr import Expr
from ..spec.ops import concat, prepend, split, zeros
from .tiny import ACTIONS, DIM, FRAME, K, Tiny

BOXES: Any = {"kernels": (4, 2), "strides": (2, 1)}

Line = Callable[[Tiny], Expr]
CATALOGUE: dict[str, Line] = {}


def line(function: Line) -> Line:
    CATALOGUE[function.__name__] = function
    return function


# What the latent shows --------------------------------------------------------------------------


@line
def recon(m: Tiny) -> Expr:
    """D(decoder(u_t), x_t)"""
    return losses.mse(m.decoder(m.u), m.x)


@line
def recon_patch(m: Tiny) -> Expr:
    """the mean of D over patches of decoder(u_t) and x_t that overlap by half"""
    return losses.patch_mse(m.decoder(m.u), m.x, size=4)


@line
def recon_multi_box(m: Tiny) -> Expr:
    """multi_box of decoder(u_t) and x_t: L1 over a pyramid, weighted by error above surroundings"""
    return losses.multi_box(m.decoder(m.u), m.x, **BOXES)


@line
def recon_multi_gauss(m: Tiny) -> Expr:
    """multi_gauss of decoder(u_t) and x_t: squares over a pyramid, weighted by blurred error"""
    return losses.multi_gauss(m.decoder(m.u), m.x, sigmas=(2.0, 1.0))


@line
def pixel_delta(m: Tiny) -> Expr:
    """D(decoder(u_{t+1}) - decoder(u_t), x_{t+1} - x_t)"""
    frames = m.decoder(m.u)
    return losses.mse(frames.t[1:] - frames.t[:-1], m.x.t[1:] - m.x.t[:-1])


@line
def pixel_delta_multi_box(m: Tiny) -> Expr:
    """multi_box of the same differences"""
    residual = m.decoder(m.u) - m.x
    return losses.multi_box(residual.t[1:], residual.t[:-1], **BOXES)


@line
def kld(m: Tiny) -> Expr:
    """KL(N(u_t, s_t) || N(0, I)), s_t from x_t, at every t; the system rssm takes t = 0 alone"""
    log_std = m.head("log_std", nn.conv_encoder(FRAME, DIM, channels=(4,)))(m.x)
    return losses.gaussian_kl(m.u, log_std, zeros(DIM), zeros(DIM))


# The next one -----------------------------------------------------------------------------------


@line
def jepa(m: Tiny) -> Expr:
    """D(predictor(u_t, a_t), sg u_{t+1})"""
    return losses.mse(m.guess, m.u.t[1:].stop())


@line
def jepa_cosine(m: Tiny) -> Expr:
    """1 - cos(predictor(u_t, a_t), sg u_{t+1})"""
    return losses.cosine(m.guess, m.u.t[1:].stop())


@line
def jepa_live_target(m: Tiny) -> Expr:
    """D(predictor(u_t, a_t), u_{t+1})"""
    return losses.mse(m.guess, m.u.t[1:])


@line
def jepa_stopped_input(m: Tiny) -> Expr:
    """D(predictor(sg u_t, a_t), sg u_{t+1})"""
    return losses.mse(m.predicted(m.u.stop()), m.u.t[1:].stop())


@line
def jepa_ema_target(m: Tiny) -> Expr:
    """D(predictor(u_t, a_t), u'_{t+1}), u' by EMA targets of what makes u"""
    return losses.mse(m.guess, m.kept.t[1:])


@line
def jepa_ema_both(m: Tiny) -> Expr:
    """D(predictor(u'_t, a_t), u'_{t+1}): the mode "default" of the system jepa"""
    return losses.mse(m.predicted(m.kept), m.kept.t[1:])


@line
def seqjepa(m: Tiny) -> Expr:
    """1 - cos(predictor(u_t, a_t), target(x_{t+1})), the target an EMA of the encoder"""
    return losses.cosine(m.guess, m.target("encoder")(m.x).t[1:])


@line
def rssm(m: Tiny) -> Expr:
    """KL(N(sg u_{t+1}, I) || prior(u_t, a_t))"""
    prior = m.mlp("prior", DIM + ACTIONS, 2 * DIM)(concat(m.u.t[:-1], m.act))
    return losses.gaussian_kl(m.u.t[1:].stop(), zeros(DIM), *split(prior, DIM, DIM))


@line
def rssm_categorical(m: Tiny) -> Expr:
    """KL(softmax(sg u_{t+1}) || softmax(prior(u_t, a_t)))"""
    return losses.categorical_kl(m.u.t[1:].stop(), m.guess)


@line
def h2z(m: Tiny) -> Expr:
    """D(head(u_t), sg encoder(x_t))"""
    return losses.mse(m.mlp("head", DIM)(m.u), m.encoder(m.x).stop())


@line
def z2h(m: Tiny) -> Expr:
    """D(head(f(sg u_t)), sg u_t), the head frozen: f learns to undo it"""
    undo, head = m.mlp("f", DIM), m.mlp("head", DIM)
    return losses.mse(head.frozen(undo(m.u.stop())), m.u.stop())


@line
def smooth(m: Tiny) -> Expr:
    """D(u_{t+1}, u_t)"""
    return losses.mse(m.u.t[1:], m.u.t[:-1])


@line
def rollout_kstep(m: Tiny) -> Expr:
    """the mean over j = 1..K of D(u^_{t+j}, sg u_{t+j}), open loop from u_t"""
    return losses.mse(m.ahead, m.u.t[1:].windows(K).stop())


@line
def rollout_kstep_delta(m: Tiny) -> Expr:
    """the same of u^_{t+j} - u^_{t+j-1} and sg(u_{t+j} - u_{t+j-1})"""
    delta = m.ahead - prepend(m.u.t[:-K], m.ahead.k[:-1])
    return losses.mse(delta, m.delta.windows(K).stop())


@line
def rollout_recon(m: Tiny) -> Expr:
    """the mean over j = 1..K of D(decoder(u^_{t+j}), x_{t+j})"""
    return losses.mse(m.decoder(m.ahead), m.x.t[1:].windows(K))


@line
def rollout_recon_delta(m: Tiny) -> Expr:
    """the same of decoder(u^_{t+j}) - decoder(u^_{t+j-1}) and x_{t+j} - x_{t+j-1}"""
    return losses.mse(m.drawn_delta, m.seen_delta)


@line
def rollout_recon_multi_box(m: Tiny) -> Expr:
    """multi_box of decoder(u^_{t+j}) and x_{t+j}, j = 1..K"""
    return losses.multi_box(m.decoder(m.ahead), m.x.t[1:].windows(K), **BOXES)


@line
def rollout_recon_multi_box_delta(m: Tiny) -> Expr:
    """multi_box of the differences in rollout_recon_delta"""
    return losses.multi_box(m.drawn_delta, m.seen_delta, **BOXES)


@line
def rollout_project(m: Tiny) -> Expr:
    """the mean over j = 1..K of D(encoder(decoder(u^_{t+j})), u^_{t+j})"""
    return losses.mse(m.encoder(m.decoder(m.ahead)), m.ahead)


# Actions ----------------------------------------------------------------------------------------


@line
def inverse_dynamics(m: Tiny) -> Expr:
    """cross-entropy of head(u_t, u_{t+1}) and a_t"""
    return losses.cross_entropy(m.mlp("head", 2 * DIM, ACTIONS)(m.pair), m.a)


@line
def inverse_dynamics_buttons(m: Tiny) -> Expr:
    """binary cross-entropy of head(u_t, u_{t+1}) and the buttons of a_t"""
    return losses.binary_cross_entropy(m.mlp("head", 2 * DIM, ACTIONS)(m.pair), m.act)


@line
def action_delta(m: Tiny) -> Expr:
    """D(u_{t+1} - u_t, V(a_t)), V a linear prototype"""
    return losses.mse(m.delta, m.head("prototype", nn.linear(ACTIONS, DIM))(m.act))


@line
def action_delta_conditioned(m: Tiny) -> Expr:
    """D(E(u_t, a_t), u_{t+1} - u_t)"""
    effect = m.mlp("effect", DIM + ACTIONS)
    return losses.mse(effect(concat(m.u.t[:-1], m.act)), m.delta)


@line
def additivity(m: Tiny) -> Expr:
    """D((u_{t+1} - u_t) + (u_{t+2} - u_{t+1}), u_{t+2} - u_t): 0 = 0"""
    return losses.mse(m.delta.t[:-1] + m.delta.t[1:], m.u.t[2:] - m.u.t[:-2])


@line
def additivity_head(m: Tiny) -> Expr:
    """D(E(sg u_t, a_t) + E(sg u_{t+1}, a_{t+1}), sg(u_{t+2} - u_t))"""
    move = m.mlp("effect", DIM + ACTIONS)(concat(m.u.t[:-1].stop(), m.act))
    return losses.mse(move.t[:-1] + move.t[1:], (m.u.t[2:] - m.u.t[:-2]).stop())


@line
def additivity_jump(m: Tiny) -> Expr:
    """D((u_{t+1} - u_t) + (u_{t+2} - u_{t+1}), J(u_t, a_t, a_{t+1})), J a learned jump"""
    jump = m.mlp("jump", DIM + 2 * ACTIONS)
    guess = jump(concat(m.u.t[:-2], m.act.t[:-1], m.act.t[1:]))
    return losses.mse(m.delta.t[:-1] + m.delta.t[1:], guess)


# Lengths and orders -----------------------------------------------------------------------------


@line
def kstep(m: Tiny) -> Expr:
    """the mean over k = 2..K of D(u_{t+k}, sg m_{t+k}), m a measurement of its own"""
    return losses.kstep(m.u, m.s.label("measured", (DIM,)), K)


@line
def pose_measure(m: Tiny) -> Expr:
    """D(head(sg u_0, sg u_t), a measured pose): the head that kstep may compare with"""
    head = m.mlp("head", 2 * DIM)
    return losses.mse(head(concat(m.u.t[0].stop(), m.u.stop())), m.s.label("measured", (DIM,)))


@line
def scale(m: Tiny) -> Expr:
    """(median ||u_{t+1} - u_t|| - 1)^2"""
    return losses.scale(m.delta)


@line
def trimmed_scale(m: Tiny) -> Expr:
    """(trimmed mean ||u_{t+1} - u_t|| - 1)^2, a fifth left out at either end"""
    return losses.trimmed_scale(m.delta)


@line
def geometry_rank(m: Tiny) -> Expr:
    """mean relu(0.1 - (d_i - d_j)), i < j, with d_i = ||u_i - u_{T-1}||"""
    return losses.geometry_rank(m.u)


# How it is spread -------------------------------------------------------------------------------


@line
def invariance(m: Tiny) -> Expr:
    """D(u_t, u_t of the augmented frame)"""
    return losses.mse(m.u, m.view)


@line
def info_nce(m: Tiny) -> Expr:
    """InfoNCE of u_t and u_t of the augmented frame, all others in the batch being negatives"""
    return losses.info_nce(m.u, m.view)


@line
def info_nce_in_time(m: Tiny) -> Expr:
    """InfoNCE of u_t and u_{t+1}"""
    return losses.info_nce(m.u.t[:-1], m.u.t[1:])


@line
def barlow(m: Tiny) -> Expr:
    """sum_i (1 - C_ii)^2 + 5e-3 sum_(i != j) C_ij^2, C the correlation of u with that of a view"""
    return losses.barlow(m.u, m.view)


@line
def barlow_decorrelation(m: Tiny) -> Expr:
    """5e-3 sum_(i != j) C_ij^2, C the correlation of u with itself"""
    return losses.barlow_decorrelation(m.u)


@line
def vicreg_variance(m: Tiny) -> Expr:
    """mean_i max(0, 1 - sqrt(var_i + 1e-4))"""
    return losses.vicreg_variance(m.u)


@line
def vicreg_covariance(m: Tiny) -> Expr:
    """1/n sum_(i != j) C_ij^2, C the covariance of u"""
    return losses.vicreg_covariance(m.u)


@line
def vicreg(m: Tiny) -> Expr:
    """25 vicreg_variance + vicreg_covariance"""
    return losses.vicreg(m.u)


@line
def dino_center(m: Tiny) -> Expr:
    """||mean(u) - sg c||^2, c a running mean of u"""
    centre = m.s.state("centre", (DIM,))
    m.s.update(centre, 0.9 * centre + 0.1 * m.u.mean(over="time").mean(over="batch").stop())
    return losses.center(m.u, centre)


@line
def sigreg(m: Tiny) -> Expr:
    """N times the mean Epps-Pulley distance of random projections of u from N(0, 1)"""
    return losses.sigreg(m.u, label="directions")


@line
def sliced_normal(m: Tiny) -> Expr:
    """D of sorted random projections of u and sorted draws of N(0, 1)"""
    return losses.sliced_normal(m.u, label="slices")


@line
def coding_rate(m: Tiny) -> Expr:
    """-log det(I + C), C the covariance of u / ||u||"""
    return losses.coding_rate(m.u)
