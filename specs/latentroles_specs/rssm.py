"""`rssm`: a variational autoencoder and a recurrent model of its latents, trained apart.

The encoder gives q(z_t | x_t), and the decoder draws x_t from a sample of it. h_{t+1} = rssm(h_t,
mean of q(z_t | x_t), a_t) remembers, and rssm_prior reads p(z_{t+1} | h_{t+1}) from it. One gate
stands between the two halves: closed, the dynamics follow a latent that pixels alone have shaped;
open, they shape it too.

Source: the note "RSSM Latent Dynamics Refactoring"; docs/systems/rssm.md says where this departs.
"""

from collections.abc import Sequence
from functools import reduce
from math import prod
from operator import add
from typing import Any

import latentroles as lr
from latentroles import Expr
from latentroles.arguments import boolean, choice, integer, only_with, weighs
from latentroles.errors import SpecError, user_line

POSTERIORS = ("gaussian", "categorical")
MOST = 4.0  # of |log std|, so that no divergence overflows


@lr.recipe(
    environment="minigrid-fourrooms",
    episodes=48,
    episode_steps=128,
    frames=12,
    batch=16,
    steps=600,
    optimisers={
        # One each: clipping couples the modules of a group, and these are to be trained apart.
        "default": lr.adamw(1e-3, weight_decay=1e-4, clip_norm=100.0),
        "dynamics": lr.adamw(1e-3, weight_decay=1e-4, clip_norm=100.0),
    },
    groups={"rssm": "dynamics", "rssm_prior": "dynamics"},
    columns={"x": "frames", "a": "actions"},
    validation=0.125,
)
def rssm(
    frame: tuple[int, int, int] = (3, 56, 56),
    actions: int | lr.Box = 3,
    dim: int = 64,
    hidden: int = 128,
    *,
    posterior: str = "gaussian",
    classes: int = 8,
    isolated: bool = True,
    rec: float = 1.0,
    kld: float = 1.0,
    rssm: float = 1.0,
    one_step: float = 0.0,
) -> lr.Spec:
    """Declares the model. Each loss has a keyword argument of its own: its weight, 0 for absent.

    Args:
        frame: channels, height, width of an observation.
        actions: how many discrete actions there are, or the `lr.Box` of continuous ones, which is
            scaled to [-1, 1].
        dim: width of z.
        hidden: width of h.
        posterior: "gaussian", whose mean is z; or "categorical", whose logits are z.
        classes: of each categorical variable; there are `dim` / `classes` of them.
        isolated: closes the gate from the encoder into the dynamics.
        kld: the note's beta.
        one_step: weight of the loss that the note takes away: pixels of the next frame, decoded
            from the prior's mean. At 0 it is measured only.
    """
    choice("rssm", "posterior", posterior, POSTERIORS)
    dim = integer("rssm", "dim", dim, "the width of z")
    hidden = integer("rssm", "hidden", hidden, "the width of h")
    boolean("rssm", "isolated", isolated)
    classes = _entries(posterior, dim, classes)
    s = lr.Spec("rssm")
    x = s.observation("x", frame)
    action = _action(s, actions)

    width = dim if classes else 2 * dim
    encoder = s.module("encoder", lr.nn.conv_encoder(frame, width))
    decoder = s.module("decoder", lr.nn.conv_decoder(dim, frame))
    cell = s.module("rssm", lr.nn.gru(dim + action.shape[0], hidden))
    prior = s.module("rssm_prior", lr.nn.mlp(hidden, width))
    to_rssm = s.gate("encoder_to_rssm", open=not isolated)

    # q(z_t | x_t). What the dynamics read of it passes the gate.
    seen = encoder(x)
    s.latent("z", seen if classes else lr.split(seen, dim, dim)[0], role=lr.PLACE)
    q = _distribution(seen, classes)
    q_in = [part.through(to_rssm) for part in q]

    # p(z_{t+1} | z_0, a_0, ..., z_t, a_t): the mean is fed forward, not a sample.
    u = lr.concat(_mean(q_in, classes).t[:-1], action)
    h = s.latent("h", lr.scan(cell, init=lr.zeros(hidden), xs=u), role=lr.DYNAMICS)
    p = _distribution(prior(h.t[1:]), classes)

    standard = [lr.zeros(*part.shape) for part in q]  # N(0, I), or uniform
    x_hat = decoder(_sample(q, classes))
    x_next = decoder(_mean(p, classes))
    pixels = prod(frame)
    s.loss("rec", pixels * lr.losses.mse(x_hat, x), weight=rec)
    s.loss("kld", _divergence([part.t[0] for part in q], standard, classes), weight=kld)
    s.loss("rssm", _divergence([part.t[1:] for part in q_in], p, classes), weight=rssm)
    ahead = pixels * lr.losses.mse(x_next, x.t[1:])
    if weighs(one_step):
        s.loss("one_step", ahead, weight=one_step)
    else:
        s.measure("one_step", ahead)
    if frame[0] in (1, 3):
        s.picture("reconstruction", x_hat)
        s.picture("prediction", lr.prepend(lr.zeros(*frame), x_next))  # nothing predicts frame 0
    s.allow(
        "observation-sufficiency",
        loss="rec",
        latent="z",
        because="the note shapes z by reconstruction alone",
    )
    if classes:
        s.allow(
            "partial-route",
            loss="rec",
            because="a draw has no gradient: it passes on that of its mean, straight through",
        )
    return s


def _entries(posterior: str, dim: int, classes: int) -> int:
    """How many entries a variable of z has; 0 where it is no categorical one."""
    classes = integer("rssm", "classes", classes, "of each categorical variable", minimum=2)
    categorical = posterior == "categorical"
    only_with(categorical, "posterior='categorical'", rssm, classes=classes)
    if categorical and dim % classes:
        raise SpecError(
            f"{user_line()}rssm: a categorical z is made of variables of `classes` entries; "
            f"received dim={dim} and classes={classes}. Fix: pass a dim that {classes} divides."
        )
    return classes if categorical else 0


def _action(s: lr.Spec, actions: int | lr.Box) -> Expr:
    """One-hot codes of discrete actions, or continuous ones scaled to [-1, 1]: (..., n)."""
    if not isinstance(actions, lr.Box):
        actions = integer("rssm", "actions", actions, "how many there are, or an lr.Box")
        return s.action("a", lr.Discrete(actions)).one_hot()
    a = lr.reshape(s.action("a", actions), prod(actions.shape))
    middle, reach = (actions.high + actions.low) / 2, (actions.high - actions.low) / 2
    return (a - middle) / reach


# A distribution is a list of its parameters: [mean, log std], or the logits of each variable.


def _distribution(parameters: Expr, classes: int) -> list[Expr]:
    if classes:
        return list(lr.split(parameters, *[classes] * (parameters.shape[0] // classes)))
    mean, wide = lr.split(parameters, *[parameters.shape[0] // 2] * 2)
    return [mean, MOST * lr.tanh(wide / MOST)]


def _mean(parts: list[Expr], classes: int) -> Expr:
    return lr.concat([lr.softmax(logits) for logits in parts]) if classes else parts[0]


def _sample(parts: list[Expr], classes: int) -> Expr:
    if classes:
        draws = [lr.categorical_sample(e, label=f"z_{i}") for i, e in enumerate(parts)]
        return lr.concat(draws)
    return lr.gaussian_sample(*parts, label="z_noise")


def _divergence(q: Sequence[Expr], p: Sequence[Any], classes: int) -> Expr:
    """KL(q || p), summed over the variables."""
    if classes:
        return reduce(add, map(lr.losses.categorical_kl, q, p))
    return lr.losses.gaussian_kl(*q, *p)
