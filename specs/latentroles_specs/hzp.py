"""`hzp`: a world model with a place latent z, a dynamics latent h and a pose latent p.

z_t = encoder(x_t) describes the place, h_{t+1} = predictor(z_t, h_t, a_t) carries the dynamics and
the history of actions, p_{t+1} = p_t + dp_t is a pose that composes under actions. Three gates
decide who shapes whom: by default z is shaped by pixels alone, h by dynamics, p by odometry.

Every loss of the note is here. Those that it leaves off have weight 0, and what they alone need is
not declared; several of them are refused when they are turned on, which is what they are here for.

Source: the note "Current Loss + Gradient Flow Overview", with the corrections that
docs/systems/hzp.md lists (two of its pose losses, taken literally, are identically zero).
"""

import latentroles as lr
from latentroles.arguments import boolean, choice, integer, weighs


@lr.recipe(
    environment="minigrid-fourrooms",
    episodes=48,
    episode_steps=128,
    frames=12,
    batch=16,
    steps=600,
    optimisers={
        # Clipping couples the modules of an optimiser: z is to be shaped by pixels alone.
        "default": lr.adamw(1e-3, weight_decay=1e-4, clip_norm=10.0),
        "pixels": lr.adamw(1e-3, weight_decay=1e-4, clip_norm=10.0),
    },
    groups={"encoder": "pixels", "decoder": "pixels"},
    columns={"x": "frames", "a": "actions", "pose": "relative_pose"},
)
def hzp(
    frame: tuple[int, int, int] = (3, 56, 56),
    actions: int = 3,
    dim: int = 64,
    pose_dim: int = 4,
    horizon: int = 4,
    start_frame: int = 0,
    *,
    detach_z_from_h_and_p: bool = True,
    detach_decoder: bool = False,
    pose_delta_detach_h: bool = True,
    use_z2h_init: bool = False,
    action_delta_h_by: str = "state",
    additivity_h_of: str = "head",
    scale_dp_by: str = "median",
    jepa: float = 1.0,
    recon_multi_box: float = 1.0,
    pixel_delta_multi_box: float = 1.0,
    h2z: float = 1.0,
    z2h: float = 1.0,
    action_delta_h: float = 1.0,
    rollout_kstep_h: float = 1.0,
    rollout_kstep_delta_h: float = 1.0,
    action_delta_dp: float = 1.0,
    additivity_dp: float = 1.0,
    rollout_kstep_p: float = 1.0,
    scale_dp: float = 1.0,
    geometry_rank_p: float = 1.0,
    inverse_dynamics_h: float = 1.0,
    sigreg: float = 0.0,
    sliced_normal: float = 0.0,
    recon: float = 0.0,
    recon_patch: float = 0.0,
    recon_multi_gauss: float = 0.0,
    pixel_delta: float = 0.0,
    inverse_dynamics_z: float = 0.0,
    action_delta_z: float = 0.0,
    z_smooth: float = 0.0,
    rollout_kstep_z: float = 0.0,
    rollout_recon_z: float = 0.0,
    rollout_recon_multi_box_z: float = 0.0,
    rollout_recon_delta_z: float = 0.0,
    rollout_recon_multi_box_delta_z: float = 0.0,
    rollout_project_z: float = 0.0,
    additivity_h: float = 0.0,
    inverse_dynamics_p: float = 0.0,
    inverse_dynamics_dp: float = 0.0,
    pose_measure: float = 0.0,
) -> lr.Spec:
    """Declares the model. Each loss has a keyword argument of its own: its weight, 0 for absent.

    Args:
        frame: channels, height, width of an observation.
        actions: how many discrete actions there are.
        dim: width of z and of h.
        pose_dim: width of p; the `pose` label has the same width.
        horizon: K, the number of open-loop steps of the rollout losses, at least 2.
        start_frame: the first frame that `h2z` and `z2h` read.
        detach_z_from_h_and_p: closes the gate from z into the predictor.
        detach_decoder: closes the gate from z into the decoder.
        pose_delta_detach_h: closes the gate from h into the pose.
        use_z2h_init: h_0 = z_to_h(stop z_0) instead of zeros.
        action_delta_h_by: "state", a head of h_t and a_t; or "prototype", of a_t alone, which asks
            one and the same move of every state.
        additivity_h_of: "head" adds up two moves of `h_action_delta_projector`, on h as it is;
            "differences" those of h itself, which is 0 = 0 and refused as vacuous.
        scale_dp_by: the length of a typical move, "median" or "trimmed_mean".
        pose_measure: its weight; when on, `rollout_kstep_p` compares with a head on stopped z that
            this loss teaches the `pose` label, and not with the label itself.
    """
    actions = integer("hzp", "actions", actions, "how many there are")
    dim = integer("hzp", "dim", dim, "the width of z and of h")
    pose_dim = integer("hzp", "pose_dim", pose_dim, "the width of p")
    horizon = integer("hzp", "horizon", horizon, "open-loop steps", minimum=2)
    start_frame = integer("hzp", "start_frame", start_frame, "the first of h2z, z2h", minimum=0)
    boolean("hzp", "detach_z_from_h_and_p", detach_z_from_h_and_p)
    boolean("hzp", "detach_decoder", detach_decoder)
    boolean("hzp", "pose_delta_detach_h", pose_delta_detach_h)
    boolean("hzp", "use_z2h_init", use_z2h_init)
    choice("hzp", "action_delta_h_by", action_delta_h_by, ("state", "prototype"))
    choice("hzp", "additivity_h_of", additivity_h_of, ("head", "differences"))
    choice("hzp", "scale_dp_by", scale_dp_by, ("median", "trimmed_mean"))

    s = lr.Spec("hzp")
    x = s.observation("x", frame)
    a = s.action("a", lr.Discrete(actions))
    m = s.label("pose", (pose_dim,))

    encoder = s.module("encoder", lr.nn.conv_encoder(frame, dim))
    decoder = s.module("decoder", lr.nn.conv_decoder(dim, frame))
    predictor = s.module("predictor", lr.nn.gru(dim + actions, dim))
    h_to_z = s.module("h_to_z", lr.nn.mlp(dim, dim))
    z_to_h = s.module("z_to_h", lr.nn.mlp(dim, dim))

    z_to_hp = s.gate("z_to_hp", open=not detach_z_from_h_and_p)
    z_to_decoder = s.gate("z_to_decoder", open=not detach_decoder)
    h_to_p = s.gate("h_to_p", open=not pose_delta_detach_h)

    # z: the place. h: what the predictor remembers of places and actions.
    action = a.one_hot()
    z = s.latent("z", encoder(x), role=lr.PLACE)
    h_start = z_to_h(z.t[0].stop()) if use_z2h_init else lr.zeros(dim)
    u = lr.concat(z.through(z_to_hp).t[:-1], action)
    h = s.latent("h", lr.scan(predictor, init=h_start, xs=u), role=lr.DYNAMICS)

    mse, cross_entropy, multi_box = lr.losses.mse, lr.losses.cross_entropy, lr.losses.multi_box
    z_hat = h_to_z(h)
    s.loss("jepa", mse(z_hat.t[1:], z.t[1:].stop()), weight=jepa)

    # On z: its frames, their changes, and how it is spread.
    x_hat = decoder(z.through(z_to_decoder))
    x_delta = x.t[1:] - x.t[:-1]
    residual = x_hat - x
    s.loss("recon", mse(x_hat, x), weight=recon)
    s.loss("recon_patch", lr.losses.patch_mse(x_hat, x), weight=recon_patch)
    s.loss("recon_multi_gauss", lr.losses.multi_gauss(x_hat, x), weight=recon_multi_gauss)
    s.loss("recon_multi_box", multi_box(x_hat, x), weight=recon_multi_box)
    s.loss("pixel_delta", mse(x_hat.t[1:] - x_hat.t[:-1], x_delta), weight=pixel_delta)
    s.loss(
        "pixel_delta_multi_box",
        # (x_hat' - x_hat) - (x' - x), with the residuals that recon_multi_box has already.
        multi_box(residual.t[1:], residual.t[:-1]),
        weight=pixel_delta_multi_box,
    )
    if weighs(sigreg):
        s.loss("sigreg", lr.losses.sigreg(z, label="sigreg"), weight=sigreg)
    if weighs(sliced_normal):
        spread = lr.losses.sliced_normal(z, label="sliced_normal")
        s.loss("sliced_normal", spread, weight=sliced_normal)

    # On h: z can be told from it, it moves as its head says, and it can be rolled out.
    s.loss("h2z", mse(z_hat.t[start_frame:], z.t[start_frame:].stop()), weight=h2z)
    s.loss(
        "z2h",
        mse(h_to_z.frozen(z_to_h(z.t[start_frame:].stop())), z.t[start_frame:].stop()),
        weight=z2h,
    )
    h_delta = h.t[1:] - h.t[:-1]
    if weighs(action_delta_h) or weighs(additivity_h):
        by_state = action_delta_h_by == "state"
        layer = lr.nn.mlp(dim + actions, dim) if by_state else lr.nn.linear(actions, dim)
        effect = s.module("h_action_delta_projector", layer)

        def move(h_t):
            return effect(lr.concat(h_t, action) if by_state else action)

        s.loss("action_delta_h", mse(move(h.t[:-1]), h_delta), weight=action_delta_h)
        # Two moves in a row make the move over both.
        moves, over_both = h_delta, h.t[2:] - h.t[:-2]
        if additivity_h_of == "head":
            moves, over_both = move(h.t[:-1].stop()), over_both.stop()
        s.loss("additivity_h", mse(moves.t[:-1] + moves.t[1:], over_both), weight=additivity_h)

    # Open loop: from every h_t, K steps in which the predictor sees its own z only.
    def imagine(h_t, a_t):
        return predictor(h_t, lr.concat(h_to_z(h_t), a_t))

    imagined = lr.rollout(imagine, start=h.t[:-horizon], xs=action, horizon=horizon)
    imagined_delta = imagined - lr.prepend(h.t[:-horizon], imagined.k[:-1])
    s.loss(
        "rollout_kstep_h", mse(imagined, h.t[1:].windows(horizon).stop()), weight=rollout_kstep_h
    )
    s.loss(
        "rollout_kstep_delta_h",
        mse(imagined_delta, h_delta.windows(horizon).stop()),
        weight=rollout_kstep_delta_h,
    )

    # Open loop in z: from z_t and h_t, both live; what is imagined is drawn, and encoded again.
    def imagine_z(now, a_t):
        h_next = predictor(now[0], lr.concat(now[1], a_t))
        return h_next, h_to_z(h_next)

    start = (h.t[:-horizon], z.t[:-horizon])
    _, z_ahead = lr.rollout(imagine_z, start=start, xs=action, horizon=horizon)
    x_ahead, seen = decoder(z_ahead), x.t[1:].windows(horizon)
    x_ahead_delta = x_ahead - lr.prepend(decoder(z.t[:-horizon]), x_ahead.k[:-1])
    seen_delta = x_delta.windows(horizon)
    s.loss("rollout_kstep_z", mse(z_ahead, z.t[1:].windows(horizon).stop()), weight=rollout_kstep_z)
    s.loss("rollout_recon_z", mse(x_ahead, seen), weight=rollout_recon_z)
    s.loss("rollout_recon_multi_box_z", multi_box(x_ahead, seen), weight=rollout_recon_multi_box_z)
    s.loss("rollout_recon_delta_z", mse(x_ahead_delta, seen_delta), weight=rollout_recon_delta_z)
    s.loss(
        "rollout_recon_multi_box_delta_z",
        multi_box(x_ahead_delta, seen_delta),
        weight=rollout_recon_multi_box_delta_z,
    )
    s.loss("rollout_project_z", mse(encoder(x_ahead), z_ahead), weight=rollout_project_z)

    # p: dp_t is read from the pose, the dynamics and the action, and p adds it up.
    p_action_delta = s.module(
        "p_action_delta_projector", lr.nn.mlp(pose_dim + dim + actions, pose_dim)
    )
    h_in = h.through(h_to_p)

    def move_pose(p, now):
        h_t, a_t = now
        dp_t = p_action_delta(lr.concat(p, h_t, a_t))
        return p + dp_t, dp_t

    path, dp = lr.scan(move_pose, init=lr.zeros(pose_dim), xs=(h_in.t[:-1], action))
    p = s.latent("p", path, role=lr.POSE)

    # On p: one move for each action, moves that add up, lengths, and an order towards the goal.
    if weighs(action_delta_dp):
        prototype = s.module("dp_action_delta_projector", lr.nn.linear(actions, pose_dim))
        s.loss("action_delta_dp", mse(dp, prototype(action)), weight=action_delta_dp)
    if weighs(additivity_dp):
        pose_jump = s.module("pose_jump", lr.nn.mlp(pose_dim + dim + 2 * actions, pose_dim))
        jump = pose_jump(lr.concat(p.t[:-2], h_in.t[:-2], action.t[:-1], action.t[1:]))
        s.loss("additivity_dp", mse(dp.t[:-1] + dp.t[1:], jump), weight=additivity_dp)
    measured = m
    if weighs(pose_measure):
        # The label is relative to the first frame of the window, so that the head reads it too.
        head = s.module("pose_measure", lr.nn.mlp(2 * dim, pose_dim))
        measured = head(lr.concat(z.t[0].stop(), z.stop()))
        s.loss("pose_measure", mse(measured, m), weight=pose_measure)
    s.loss("rollout_kstep_p", lr.losses.kstep(p, measured, horizon), weight=rollout_kstep_p)
    typical = {"median": lr.losses.scale, "trimmed_mean": lr.losses.trimmed_scale}[scale_dp_by]
    s.loss("scale_dp", typical(dp, target=1.0), weight=scale_dp)
    s.loss("geometry_rank_p", lr.losses.geometry_rank(p, margin=0.1), weight=geometry_rank_p)

    # On each of them: which action was it? On z alone: one move for each action, and a small one.
    for name, u, width, weight in (
        ("inverse_dynamics_h", h, dim, inverse_dynamics_h),
        ("inverse_dynamics_z", z, dim, inverse_dynamics_z),
        ("inverse_dynamics_p", p, pose_dim, inverse_dynamics_p),
    ):
        if weighs(weight):
            head = s.module(name, lr.nn.mlp(2 * width, actions))
            s.loss(name, cross_entropy(head(lr.concat(u.t[:-1], u.t[1:])), a), weight=weight)
    if weighs(inverse_dynamics_dp):
        guess = s.module("inverse_dynamics_dp", lr.nn.mlp(pose_dim, actions))(dp)
        s.loss("inverse_dynamics_dp", cross_entropy(guess, a), weight=inverse_dynamics_dp)
    if weighs(action_delta_z):
        prototype = s.module("z_action_delta_projector", lr.nn.linear(actions, dim))
        s.loss("action_delta_z", mse(z.t[1:] - z.t[:-1], prototype(action)), weight=action_delta_z)
    s.loss("z_smooth", mse(z.t[1:], z.t[:-1]), weight=z_smooth)

    if weighs(inverse_dynamics_h):
        s.allow(
            "action-leak",
            loss="inverse_dynamics_h",
            latent="h",
            because="h is to carry the actions; the note reads it after the action",
        )
    if weighs(action_delta_dp):
        s.allow(
            "action-leak",
            loss="action_delta_dp",
            latent="p",
            because="a move is computed from its action; the loss ties it to one vector per action",
        )
    for loss in ("recon_multi_box", "pixel_delta_multi_box"):
        s.allow(
            "observation-sufficiency",
            loss=loss,
            latent="z",
            because="the note shapes z by reconstruction alone",
        )
    return s
