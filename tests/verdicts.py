"""A world model with every loss of the design's verdict table, each alone, with gates to turn."""

import latentroles as lr

K = 4
FRAME, DIM, POSE, ACTIONS = (3, 8, 8), 4, 2, 3


def model(
    loss: str,
    *,
    z_to_h: bool = False,
    z_to_head: bool = False,
    h_to_p: bool = False,
    live_target: bool = False,
) -> lr.Spec:
    """The model with one loss.

    Args:
        z_to_h: opens the gate from z into the predictor.
        z_to_head: opens the gate from z into the heads and losses that read z itself.
        h_to_p: opens the gate from h into the pose.
        live_target: leaves the target of `jepa` or `rollout_project_z` unstopped.
    """
    s = lr.Spec("verdicts")
    x = s.observation("x", FRAME)
    a = s.action("a", lr.Discrete(ACTIONS))
    m = s.label("pose", (POSE,))
    act = a.one_hot()
    encoder = s.module("encoder", lr.nn.conv_encoder(FRAME, DIM, channels=(4,)))
    decoder = s.module("decoder", lr.nn.conv_decoder(DIM, FRAME, channels=(4,)))
    predictor = s.module("predictor", lr.nn.gru(DIM + ACTIONS, DIM))
    h_to_z = s.module("h_to_z", lr.nn.mlp(DIM, DIM))
    z_to_hidden = s.module("z_to_hidden", lr.nn.mlp(DIM, DIM))
    inverse = s.module("inverse", lr.nn.mlp(2 * DIM, ACTIONS))
    inverse_p = s.module("inverse_p", lr.nn.mlp(2 * POSE, ACTIONS))
    inverse_dp = s.module("inverse_dp", lr.nn.mlp(POSE, ACTIONS))
    effect = s.module("effect", lr.nn.mlp(DIM + ACTIONS, DIM))
    prototype = s.module("prototype", lr.nn.linear(ACTIONS, DIM))
    prototype_dp = s.module("prototype_dp", lr.nn.linear(ACTIONS, POSE))
    move = s.module("move", lr.nn.mlp(POSE + DIM + ACTIONS, POSE))
    jump = s.module("jump", lr.nn.mlp(POSE + DIM + 2 * ACTIONS, POSE))
    step = s.module("step", lr.nn.mlp(DIM + ACTIONS, DIM))

    into_h = s.gate("z_to_h", open=z_to_h)
    into_head = s.gate("z_to_head", open=z_to_head)
    into_p = s.gate("h_to_p", open=h_to_p)

    z = s.latent("z", encoder(x), role=lr.PLACE)
    h = lr.scan(predictor, init=lr.zeros(DIM), xs=lr.concat(z.through(into_h).t[:-1], act))
    h = s.latent("h", h, role=lr.DYNAMICS)
    read = z.through(into_head)
    h_in = h.through(into_p)

    def pose_step(p, now):
        dp = move(lr.concat(p, *now))
        return p + dp, dp

    p, dp = lr.scan(pose_step, init=lr.zeros(POSE), xs=(h_in.t[:-1], act))
    p = s.latent("p", p, role=lr.POSE)

    imagined = lr.rollout(
        lambda c, u: predictor(c, lr.concat(h_to_z(c), u)), start=h.t[:-K], xs=act, horizon=K
    )
    imagined_delta = imagined - lr.prepend(h.t[:-K], imagined.k[:-1])
    z_hat = lr.rollout(lambda c, u: step(lr.concat(c, u)), start=read.t[:-K], xs=act, horizon=K)
    z_delta = decoder(z_hat) - decoder(lr.prepend(read.t[:-K], z_hat.k[:-1]))
    x_delta = (x.t[1:] - x.t[:-1]).windows(K)
    dh, residual = h.t[1:] - h.t[:-1], decoder(read) - x
    mse, ce, boxes = lr.losses.mse, lr.losses.cross_entropy, {"kernels": (4, 2), "strides": (2, 1)}
    z_next = z.t[1:] if live_target else z.t[1:].stop()

    losses = {
        "jepa": lambda: mse(h_to_z(h.t[1:]), z_next),
        "recon": lambda: mse(decoder(read), x),
        "pixel_delta": lambda: mse(decoder(read.t[1:]) - decoder(read.t[:-1]), x.t[1:] - x.t[:-1]),
        "recon_patch": lambda: lr.losses.patch_mse(decoder(read), x, size=4),
        "recon_multi_gauss": lambda: lr.losses.multi_gauss(decoder(read), x, sigmas=(2.0, 1.0)),
        "recon_multi_box": lambda: lr.losses.multi_box(decoder(read), x, **boxes),
        "pixel_delta_multi_box": lambda: lr.losses.multi_box(
            residual.t[1:], residual.t[:-1], **boxes
        ),
        "recon_h": lambda: mse(decoder(h.t[1:]), x.t[1:]),
        "h_smooth": lambda: mse(h.t[1:], h.t[:-1]),
        "z2h": lambda: mse(h_to_z.frozen(z_to_hidden(z.stop())), z.stop()),
        "inverse_dynamics_z": lambda: ce(inverse(lr.concat(read.t[:-1], read.t[1:])), a),
        "action_delta_z": lambda: mse(prototype(act), read.t[1:] - read.t[:-1]),
        "z_smooth": lambda: mse(read.t[1:], read.t[:-1]),
        "z_smooth_cosine": lambda: lr.losses.cosine(read.t[1:], read.t[:-1].stop()),
        "rollout_kstep_z": lambda: mse(z_hat, z.t[1:].windows(K).stop()),
        "rollout_recon_z": lambda: mse(decoder(z_hat), x.t[1:].windows(K)),
        "rollout_recon_multi_box_z": lambda: lr.losses.multi_box(
            decoder(z_hat), x.t[1:].windows(K), **boxes
        ),
        "rollout_recon_delta_z": lambda: mse(z_delta, x_delta),
        "rollout_recon_multi_box_delta_z": lambda: lr.losses.multi_box(z_delta, x_delta, **boxes),
        "rollout_project_z": lambda: mse(
            encoder(decoder(z_hat)), z_hat if live_target else z_hat.stop()
        ),
        "inverse_dynamics_buttons_z": lambda: lr.losses.binary_cross_entropy(
            inverse(lr.concat(read.t[:-1], read.t[1:])), act
        ),
        "inverse_dynamics_h": lambda: ce(inverse(lr.concat(h.t[:-1], h.t[1:])), a),
        "inverse_dynamics_p": lambda: ce(inverse_p(lr.concat(p.t[:-1], p.t[1:])), a),
        "inverse_dynamics_dp": lambda: ce(inverse_dp(dp), a),
        "action_delta_dp": lambda: mse(dp, prototype_dp(act)),
        "action_delta_h": lambda: mse(effect(lr.concat(h.t[:-1], act)), dh),
        "action_delta_h_prototype": lambda: mse(prototype(act), dh),
        "additivity_h": lambda: mse(dh.t[:-1] + dh.t[1:], h.t[2:] - h.t[:-2]),
        "additivity_h_head": lambda: mse(
            effect(lr.concat(h.t[:-2].stop(), act.t[:-1]))
            + effect(lr.concat(h.t[1:-1].stop(), act.t[1:])),
            (h.t[2:] - h.t[:-2]).stop(),
        ),
        "rollout_kstep_h": lambda: mse(imagined, h.t[1:].windows(K).stop()),
        "rollout_kstep_delta_h": lambda: mse(imagined_delta, dh.windows(K).stop()),
        "additivity_dp": lambda: mse(
            dp.t[:-1] + dp.t[1:],
            jump(lr.concat(p.t[:-2], h_in.t[:-2], act.t[:-1], act.t[1:])),
        ),
        "vicreg": lambda: lr.losses.vicreg(read),
        "barlow_decorrelation": lambda: lr.losses.barlow_decorrelation(read),
        "center": lambda: lr.losses.center(read, s.state("centre", (DIM,))),
        "sigreg": lambda: lr.losses.sigreg(read, label="slices"),
        "sliced_normal": lambda: lr.losses.sliced_normal(read, label="slices"),
        "coding_rate": lambda: lr.losses.coding_rate(read),
        "rollout_kstep_p": lambda: lr.losses.kstep(p, m, K),
        "rollout_kstep_p_measured": lambda: lr.losses.kstep(
            p, s.module("measure", lr.nn.mlp(DIM, POSE))(z.stop()), K
        ),
        "rollout_kstep_p_of_itself": lambda: lr.losses.kstep(p, p, K),
        "additivity_dp_literal": lambda: mse(dp.t[:-1] + dp.t[1:], p.t[2:] - p.t[:-2]),
        "scale_dp": lambda: lr.losses.scale(dp),
        "scale_dp_trimmed": lambda: lr.losses.trimmed_scale(dp),
        "geometry_rank_p": lambda: lr.losses.geometry_rank(p),
    }
    s.loss(loss, losses[loss]())
    if loss == "jepa":
        s.loss("h2z", mse(h_to_z(h), z if live_target else z.stop()))
    return s


def rssm(*, posterior_live: bool = False, input_live: bool = False) -> lr.Spec:
    """A Gaussian state-space model: the prior follows a posterior that it does not shape."""
    s = lr.Spec("rssm")
    x = s.observation("x", (4,))
    a = s.action("a", lr.Box(-1.0, 1.0, (2,)))
    encoder = s.module("encoder", lr.nn.mlp(4, 2 * DIM))
    decoder = s.module("decoder", lr.nn.mlp(DIM, 4))
    prior = s.module("prior", lr.nn.mlp(DIM + 2, 2 * DIM))
    mean, log_std = lr.split(encoder(x), DIM, DIM)
    z = s.latent("z", mean, role=lr.PLACE)
    s.loss("recon", lr.losses.mse(decoder(z), x))
    read = z if input_live else z.stop()
    next_mean, next_log_std = lr.split(prior(lr.concat(read.t[:-1], a)), DIM, DIM)
    q = [e.t[1:] if posterior_live else e.t[1:].stop() for e in (mean, log_std)]
    s.loss("consistency", lr.losses.gaussian_kl(*q, next_mean, next_log_std))
    return s


def jepa(mode: str) -> lr.Spec:
    """A joint-embedding predictive model with its three kinds of target encoder.

    Args:
        mode: "default" reads and predicts the EMA copy's embeddings, "vjepa2" predicts them from
            the online ones, "none" predicts the stopped online ones.
    """
    s = lr.Spec("jepa")
    x = s.observation("x", (4,))
    a = s.action("a", lr.Discrete(ACTIONS))
    encoder = s.module("encoder", lr.nn.mlp(4, DIM))
    teacher = s.target(encoder, decay=0.99)
    predictor = s.module("predictor", lr.nn.mlp(DIM + ACTIONS, DIM))
    z = s.latent("z", encoder(x), role=lr.PLACE)
    read = teacher(x) if mode == "default" else z
    aim = z.stop() if mode == "none" else teacher(x)
    guess = predictor(lr.concat(read.t[:-1], a.one_hot()))
    s.loss("prediction", lr.losses.mse(guess, aim.t[1:]))
    s.loss("vicreg", lr.losses.vicreg(z))
    return s
