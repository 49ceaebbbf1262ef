"""`place`: a place latent z, and each objective that its note accepts, cautions against or refuses.

z_t = encoder(x_t) is to be the same whenever the agent is back. A descriptor objective shapes it:
invariance under augmentation, with a spread that keeps it from collapsing. Beside that stands one
objective, chosen by name. Whatever is about actions or time reads z through one gate, which stands
open for the objectives that the note does not accept as they are: `latentroles check place -p
objective=NAME` says why. docs/systems/place.md has all verdicts.

Source: the note "What (z) is and is not allowed to encode".
"""

import latentroles as lr
from latentroles.arguments import (
    DECAY,
    NON_NEGATIVE,
    Range,
    choice,
    integer,
    only_with,
    real,
    weighs,
)
from latentroles.errors import SpecError, user_line
from latentroles.spec.schedules import scheduled

PART = Range("a number greater than 0 and at most 1", lambda v: 0 < v <= 1)
# Objective -> the rules by which it strains the contract of z: what `allow_because` allows.
OBJECTIVES: dict[str, tuple[str, ...]] = {
    # The note accepts these: its descriptor alone, and JEPA by its options A and C.
    "augmentation_invariance": (),
    "jepa_input_stopped": (),
    "jepa_projected": (),
    # It calls this one fragile: JEPA by its option B.
    "jepa_regularised": ("conditioned-prediction",),
    # It refuses these,
    "inverse_dynamics_z": ("action-identity",),
    "action_delta_z": ("action-identity", "action-additivity"),
    "temporal_adjacency_z": ("temporal-adjacency",),
    "rollout_z": ("open-loop-rollout",),
    "rollout_recon_z": ("rendered-prediction",),
    "rollout_project_z": ("off-manifold-encoder",),
    # and offers h for what they are after, beside option A.
    "inverse_dynamics_h": (),
    "action_delta_h": (),
    "temporal_adjacency_h": (),
    "rollout_h": (),
    "rollout_recon_h": (),
    "rollout_project_h": (),
}


@lr.recipe(
    environment="minigrid-fourrooms",
    episodes=48,
    episode_steps=128,
    frames=12,
    batch=16,
    steps=400,
    validation=0.1,
    optimisers={
        # Clipping couples the modules of an optimiser: what is stopped before z is to stay out.
        "default": lr.adamw(1e-3, weight_decay=1e-4, clip_norm=10.0),
        "place": lr.adamw(1e-3, weight_decay=1e-4, clip_norm=10.0),
    },
    groups={"encoder": "place"},
    columns={"x": "frames", "a": "actions"},
)
def place(
    objective: str = "jepa_input_stopped",
    frame: tuple[int, int, int] = (3, 56, 56),
    actions: int = 3,
    dim: int = 64,
    horizon: int = 4,
    *,
    into_encoder: float = 0.1,
    crop: int = 4,
    noise: float = 0.05,
    brightness: float = 0.2,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    jepa: float = 1.0,
    weight: float = 1.0,
    allow_because: str = "",
) -> lr.Spec:
    """Declares z, the losses of its descriptor, and one objective.

    Args:
        objective: one of `OBJECTIVES`.
        frame: channels, height, width of an observation.
        actions: how many discrete actions there are.
        dim: width of z, of h and of the projection of z.
        horizon: K, the number of open-loop steps of the rollouts.
        into_encoder: the part of its gradient that `jepa_regularised` sends into z, at most 1.
        crop, noise, brightness: how far a view may differ from its frame; see `lr.augment`.
        invariance, variance, covariance: the weights of the descriptor's losses, 0 for absent.
        jepa: the weight of the one-step prediction.
        weight: that of an objective beside it.
        allow_because: why an objective that strains the contract of z is trained all the same.

    Raises:
        SpecError: no such objective, a number out of its range, a reason to allow what needs none,
            or an argument that nothing reads with this objective.
    """
    choice("place", "objective", objective, OBJECTIVES)
    actions = integer("place", "actions", actions, "how many there are")
    dim = integer("place", "dim", dim, "the width of z, of h and of the projection of z")
    horizon = integer("place", "horizon", horizon, "steps; a single one is jepa", minimum=2)
    into_encoder = real("place", "into_encoder", into_encoder, PART)
    crop = integer("place", "crop", crop, "pixels", minimum=0)
    noise = real("place", "noise", noise, NON_NEGATIVE)
    brightness = real("place", "brightness", brightness, DECAY)
    for name, number in {"invariance": invariance, "jepa": jepa, "weight": weight}.items():
        scheduled("place", name, number, NON_NEGATIVE)
    _check_reason(objective, allow_because)

    # What nothing reads with this objective. A weight of 0 takes a loss out; its settings may stay.
    predicts = objective != "augmentation_invariance"
    beside = predicts and not objective.startswith("jepa")
    rolls, regularised = objective.startswith("rollout"), objective == "jepa_regularised"
    only_with(predicts, "an objective other than augmentation_invariance", place, jepa=jepa)
    only_with(beside, "an objective beside the one-step prediction", place, weight=weight)
    only_with(rolls, "a rollout", place, horizon=horizon)
    only_with(regularised, "objective='jepa_regularised'", place, into_encoder=into_encoder)
    present = weighs(weight if beside else jepa)
    only_with(present, "an objective of a weight above 0", place, allow_because=allow_because)

    s = lr.Spec("place")
    x = s.observation("x", frame)
    a = s.action("a", lr.Discrete(actions))
    encoder = s.module("encoder", lr.nn.conv_encoder(frame, dim))
    z = s.latent("z", encoder(x), role=lr.PLACE)
    mse = lr.losses.mse

    # The descriptor: a frame and another view of it are one place, and places are spread out.
    view = lr.augment(x, crop=crop, noise=noise, brightness=brightness, label="view")
    s.loss("invariance", mse(encoder(view), z), weight=invariance)
    s.loss("variance", lr.losses.vicreg_variance(z), weight=variance)
    s.loss("covariance", lr.losses.vicreg_covariance(z), weight=covariance)
    if objective == "augmentation_invariance":
        return s

    # JEPA, teacher-forced: h remembers places and actions, and predicts the next place.
    z_to_h = s.gate("z_to_h", open=objective == "jepa_regularised")
    read, aim = z.through(z_to_h), z
    if objective == "jepa_regularised":
        read = z.scale_gradient(into_encoder).through(z_to_h)
    if objective == "jepa_projected":
        projector = s.module("projector", lr.nn.mlp(dim, dim))
        read = aim = s.latent("zt", projector(read), role=lr.DYNAMICS)
        s.loss("variance_zt", lr.losses.vicreg_variance(aim), weight=variance)
        s.loss("covariance_zt", lr.losses.vicreg_covariance(aim), weight=covariance)
    action = a.one_hot()
    predictor = s.module("predictor", lr.nn.gru(dim + actions, dim))
    h_to_z = s.module("h_to_z", lr.nn.mlp(dim, dim))
    u = lr.concat(read.t[:-1], action)
    h = s.latent("h", lr.scan(predictor, init=lr.zeros(dim), xs=u), role=lr.DYNAMICS)
    guess = h_to_z(h.t[1:])
    s.loss("jepa", mse(guess, aim.t[1:].stop()), weight=jepa)
    s.measure("jepa_r2", lr.measures.r2(guess, aim.t[1:]))

    # What the note refuses on z, or the same on h.
    kind, _, on = objective.rpartition("_")
    v = z.through(s.gate("z_to_objective", open=True)) if on == "z" else h
    now, later = v.t[:-1], v.t[1:]
    match kind:
        case "inverse_dynamics":
            head = s.module("inverse_dynamics", lr.nn.mlp(2 * dim, actions))
            logits = head(lr.concat(now, later))
            s.loss(objective, lr.losses.cross_entropy(logits, a), weight=weight)
            s.measure("inverse_dynamics_accuracy", lr.measures.accuracy(logits, a))
        case "action_delta":
            delta = s.module("action_delta", lr.nn.linear(actions, dim))
            s.loss(objective, mse(later - now, delta(action)), weight=weight)
        case "temporal_adjacency":
            s.loss(objective, mse(later, now), weight=weight)

    if kind.startswith("rollout"):
        # Open loop: after the first step the predictor sees its own z only.
        def imagine(carry, a_t):
            h_t, z_t = carry
            h_next = predictor(h_t, lr.concat(z_t, a_t))
            return h_next, h_to_z(h_next)

        k = horizon
        first = (h.t[:-k], (v if on == "z" else read).t[:-k])
        h_hat, z_hat = lr.rollout(imagine, start=first, xs=action, horizon=k)
        v_hat, encode = (z_hat, encoder) if on == "z" else (h_hat, encoder.frozen)
        if kind == "rollout":
            loss = mse(v_hat, v.t[1:].windows(k).stop())
        elif kind == "rollout_recon":
            decoder = s.module("decoder", lr.nn.conv_decoder(dim, frame))
            loss = mse(decoder(v_hat), x.t[1:].windows(k))
            s.picture("imagined", decoder(v_hat).k[-1])
        else:
            decoder = s.module("decoder", lr.nn.conv_decoder(dim, frame))
            s.loss("recon", mse(decoder(z.stop()), x))
            loss = mse(encode(decoder(z_hat)), z_hat.stop())
        s.loss(objective, loss, weight=weight)

    if objective in ("inverse_dynamics_h", "action_delta_h"):
        s.allow(
            "action-leak",
            loss=objective,
            latent="h",
            because="h is to carry the actions: this is where the note sends the loss",
        )
    for rule in OBJECTIVES[objective] if allow_because else ():
        loss = "jepa" if objective.startswith("jepa") else objective
        s.allow(rule, loss=loss, latent="z", because=allow_because)
    return s


def _check_reason(objective: str, allow_because: str) -> None:
    if not isinstance(allow_because, str):
        raise SpecError(
            f"{user_line()}place: allow_because must be a string, the reason; received "
            f"{allow_because!r}. Fix: pass a reason in words, or leave it away."
        )
    if allow_because and not OBJECTIVES[objective]:
        raise SpecError(
            f"{user_line()}place: allow_because is for an objective that strains the contract of "
            f"z; {objective!r} does not. Fix: leave it away."
        )
