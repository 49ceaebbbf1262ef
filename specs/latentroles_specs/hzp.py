"""`hzp`: a world model with a place latent z, a dynamics latent h and a pose latent p.

z_t = encoder(x_t) describes the place, h_{t+1} = predictor(z_t, h_t, a_t) carries the dynamics and
the history of actions, p_{t+1} = p_t + dp_t is a pose that composes under actions. Three gates
decide who shapes whom: by default z is shaped by pixels alone, h by dynamics, p by odometry.

Source: the note "Current Loss + Gradient Flow Overview", with the corrections that
docs/systems/hzp.md lists (two of its pose losses, taken literally, are identically zero).
"""

import latentroles as lr


@lr.recipe(
    environment="minigrid-fourrooms",
    episodes=48,
    episode_steps=128,
    frames=12,
    batch=16,
    steps=600,
    optimisers={"default": lr.adamw(1e-3, weight_decay=1e-4, clip_norm=10.0)},
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
) -> lr.Spec:
    """Declares the model. Each loss has a keyword argument of its own: its weight, 0 for absent.

    Args:
        frame: channels, height, width of an observation.
        actions: how many discrete actions there are.
        dim: width of z and of h.
        pose_dim: width of p; the `pose` label has the same width.
        horizon: K, the number of open-loop steps of the rollout losses.
        start_frame: the first frame that `h2z` and `z2h` read.
        detach_z_from_h_and_p: closes the gate from z into the predictor.
        detach_decoder: closes the gate from z into the decoder.
        pose_delta_detach_h: closes the gate from h into the pose.
        use_z2h_init: h_0 = z_to_h(stop z_0) instead of zeros.
    """
    s = lr.Spec("hzp")
    x = s.observation("x", frame)
    a = s.action("a", lr.Discrete(actions))
    m = s.label("pose", (pose_dim,))

    encoder = s.module("encoder", lr.nn.conv_encoder(frame, dim))
    decoder = s.module("decoder", lr.nn.conv_decoder(dim, frame))
    predictor = s.module("predictor", lr.nn.gru(dim + actions, dim))
    h_to_z = s.module("h_to_z", lr.nn.mlp(dim, dim))
    z_to_h = s.module("z_to_h", lr.nn.mlp(dim, dim))
    h_action_delta = s.module("h_action_delta_projector", lr.nn.mlp(dim + actions, dim))
    p_action_delta = s.module(
        "p_action_delta_projector", lr.nn.mlp(pose_dim + dim + actions, pose_dim)
    )
    dp_action_delta = s.module("dp_action_delta_projector", lr.nn.linear(actions, pose_dim))
    pose_jump = s.module("pose_jump", lr.nn.mlp(pose_dim + dim + 2 * actions, pose_dim))
    inverse_head = s.module("inverse_dynamics_h", lr.nn.mlp(2 * dim, actions))

    z_to_hp = s.gate("z_to_hp", open=not detach_z_from_h_and_p)
    z_to_decoder = s.gate("z_to_decoder", open=not detach_decoder)
    h_to_p = s.gate("h_to_p", open=not pose_delta_detach_h)

    # z: the place. h: what the predictor remembers of places and actions.
    action = a.one_hot()
    z = s.latent("z", encoder(x), role=lr.PLACE)
    h_start = z_to_h(z.t[0].stop()) if use_z2h_init else lr.zeros(dim)
    u = lr.concat(z.through(z_to_hp).t[:-1], action)
    h = s.latent("h", lr.scan(predictor, init=h_start, xs=u), role=lr.DYNAMICS)
    z_hat = h_to_z(h)

    # p: dp_t is read from the pose, the dynamics and the action, and p adds it up.
    h_in = h.through(h_to_p)

    def move(p, now):
        h_t, a_t = now
        dp_t = p_action_delta(lr.concat(p, h_t, a_t))
        return p + dp_t, dp_t

    path, dp = lr.scan(move, init=lr.zeros(pose_dim), xs=(h_in.t[:-1], action))
    p = s.latent("p", path, role=lr.POSE)
    jump = pose_jump(lr.concat(p.t[:-2], h_in.t[:-2], action.t[:-1], action.t[1:]))

    # Open loop: from every h_t, K steps in which the predictor sees its own z only.
    def imagine(h_t, a_t):
        return predictor(h_t, lr.concat(h_to_z(h_t), a_t))

    imagined = lr.rollout(imagine, start=h.t[:-horizon], xs=action, horizon=horizon)
    imagined_delta = imagined - lr.prepend(h.t[:-horizon], imagined.k[:-1])
    h_delta = h.t[1:] - h.t[:-1]

    x_hat = decoder(z.through(z_to_decoder))
    residual = x_hat - x
    mse = lr.losses.mse

    s.loss("jepa", mse(z_hat.t[1:], z.t[1:].stop()), weight=jepa)
    s.loss("recon_multi_box", lr.losses.multi_box(x_hat, x), weight=recon_multi_box)
    s.loss(
        "pixel_delta_multi_box",
        # (x_hat' - x_hat) - (x' - x), with the residuals that recon_multi_box has already.
        lr.losses.multi_box(residual.t[1:], residual.t[:-1]),
        weight=pixel_delta_multi_box,
    )
    s.loss("h2z", mse(z_hat.t[start_frame:], z.t[start_frame:].stop()), weight=h2z)
    s.loss(
        "z2h",
        mse(h_to_z.frozen(z_to_h(z.t[start_frame:].stop())), z.t[start_frame:].stop()),
        weight=z2h,
    )
    s.loss(
        "action_delta_h",
        mse(h_action_delta(lr.concat(h.t[:-1], action)), h_delta),
        weight=action_delta_h,
    )
    s.loss(
        "rollout_kstep_h",
        mse(imagined, h.t[1:].windows(horizon).stop()),
        weight=rollout_kstep_h,
    )
    s.loss(
        "rollout_kstep_delta_h",
        mse(imagined_delta, h_delta.windows(horizon).stop()),
        weight=rollout_kstep_delta_h,
    )
    s.loss("action_delta_dp", mse(dp, dp_action_delta(action)), weight=action_delta_dp)
    s.loss("additivity_dp", mse(dp.t[:-1] + dp.t[1:], jump), weight=additivity_dp)
    s.loss("rollout_kstep_p", lr.losses.kstep(p, m, horizon), weight=rollout_kstep_p)
    s.loss("scale_dp", lr.losses.scale(dp, target=1.0), weight=scale_dp)
    s.loss("geometry_rank_p", lr.losses.geometry_rank(p, margin=0.1), weight=geometry_rank_p)
    s.loss(
        "inverse_dynamics_h",
        lr.losses.cross_entropy(inverse_head(lr.concat(h.t[:-1], h.t[1:])), a),
        weight=inverse_dynamics_h,
    )
    s.allow(
        "action-leak",
        loss="inverse_dynamics_h",
        latent="h",
        because="h is to carry the actions; the note reads it after the action",
    )
    s.allow(
        "action-leak",
        loss="action_delta_dp",
        latent="p",
        because="a move is computed from its action; the loss ties it to one vector per action",
    )
    s.allow(
        "observation-sufficiency",
        loss="recon_multi_box",
        latent="z",
        because="the note shapes z by reconstruction alone",
    )
    s.allow(
        "observation-sufficiency",
        loss="pixel_delta_multi_box",
        latent="z",
        because="the note shapes z by reconstruction alone",
    )
    return s
