"""`jepa`: a joint embedding predictive architecture on transitions (x_t, a_t, x_{t+1}).

z_t = encoder(x_t); a predictor reads an embedding of frame t and one of the action, and is to meet
the embedding of frame t + 1. No pixel is predicted. A target encoder follows the online encoder by
an exponential moving average; `mode` says which of the two embeds what:

    mode        the predictor reads    its target              the regulariser reads
    "default"   target(x_t)            target(x_{t+1})         z_t and z_{t+1}
    "vjepa2"    z_t                    target(x_{t+1})         z_t
    "none"      z_t                    stop(z_{t+1})           z_t and z_{t+1}

A state decoder, to look at, is trained afterwards on the embeddings as they are.

Source: the note "Joint Embedding Predictive Architecture (JEPA) Model"; docs/systems/jepa.md says
where this departs from it.
"""

import math
from collections.abc import Sequence
from functools import partial, reduce
from operator import add

import latentroles as lr
from latentroles.arguments import (
    DECAY,
    NON_NEGATIVE,
    POSITIVE,
    UNIT,
    choice,
    integer,
    integers,
    only_with,
    pair,
    real,
)
from latentroles.errors import SpecError, user_line
from latentroles.spec.schedules import Schedule, scheduled

MODES = ("default", "vjepa2", "none")
REGULARISERS = ("vicreg", "barlow", "dino", "sigreg", "coding_rate", "none")
ENCODERS = ("mlp", "cnn", "vit")
SOURCES = ("online", "target")


@lr.recipe(
    environment="minigrid-fourrooms",
    episodes=48,
    episode_steps=128,
    frames=2,
    batch=64,
    steps=400,
    optimisers={"default": lr.adamw(1e-3, weight_decay=1e-4)},
    columns={"x": "frames", "a": "actions"},
    validation=0.125,
    early_stopping=lr.EarlyStopping(patience=5),
    phases={
        "decode": lr.PhaseSettings(
            optimisers={"default": lr.adamw(2e-3)},
            early_stopping=lr.EarlyStopping(patience=5, min_delta=1e-4),
            start="best",
        )
    },
)
def jepa(
    frame: tuple[int, int, int] = (3, 56, 56),
    actions: int = 3,
    latent_dim: int = 64,
    mode: str = "default",
    regulariser: str = "vicreg",
    encoder: str = "cnn",
    *,
    action_emb_dim: int = 16,
    predictor_hidden_dim: int = 128,
    predictor_dropout_rate: float = 0.0,
    ema_decay: float | Schedule = 0.996,
    decoder_source: str = "online",
    prediction_weight: float = 1.0,
    auxiliary_weight: float = 1.0,
    vicreg_variance: float = 25.0,
    vicreg_covariance: float = 1.0,
    barlow_redundancy: float = 5e-3,
    center_ema_decay: float = 0.9,
    sigreg_slices: int = 256,
    coding_rate_alpha: float = 1.0,
    hidden: tuple[int, ...] = (256,),
    channels: tuple[int, ...] = (16, 32, 64),
    patch: int = 8,
    depth: int = 2,
    heads: int = 4,
) -> lr.Spec:
    """Declares the model.

    Args:
        frame: channels, height, width of an observation.
        actions: how many discrete actions there are.
        latent_dim: width of an embedding.
        mode: "default", "vjepa2" or "none"; see above.
        regulariser: what keeps the embeddings from collapsing: "vicreg", "barlow" (on one batch),
            "dino" (centring alone), "sigreg", "coding_rate" or "none".
        encoder: "mlp" (of widths `hidden`), "cnn" (`channels`) or "vit" (`patch`, `depth`,
            `heads`); the target encoder is a copy of it.
        action_emb_dim: width of the embedding of an action.
        predictor_hidden_dim, predictor_dropout_rate: of the predictor's hidden layer.
        ema_decay: of the target encoder, in [0, 1], or a schedule of the step.
        decoder_source: the embeddings that the state decoder reads, "online" or "target".
        prediction_weight, auxiliary_weight: of the prediction loss and of the regulariser.
        vicreg_variance, vicreg_covariance, barlow_redundancy, sigreg_slices, coding_rate_alpha: of
            the regularisers of those names; see `lr.losses`.
        center_ema_decay: of the centre of "dino".

    Raises:
        SpecError: an unknown mode, regulariser, encoder or source; a number out of its range; an
            argument that nothing reads with the others as they are.
        ShapeError: sizes that do not fit, such as heads that do not divide `latent_dim`.
    """
    choice("jepa", "mode", mode, MODES)
    choice("jepa", "regulariser", regulariser, REGULARISERS)
    choice("jepa", "encoder", encoder, ENCODERS)
    choice("jepa", "decoder_source", decoder_source, SOURCES)
    actions = integer("jepa", "actions", actions, "how many there are")
    latent_dim = integer("jepa", "latent_dim", latent_dim, "width of an embedding")
    action_emb_dim = integer("jepa", "action_emb_dim", action_emb_dim, "width of an embedding")
    hidden_dim = integer("jepa", "predictor_hidden_dim", predictor_hidden_dim, "width of a layer")
    dropped = real("jepa", "predictor_dropout_rate", predictor_dropout_rate, DECAY)
    if mode == "none" and decoder_source == "target":
        raise SpecError(
            f"{user_line()}jepa: mode 'none' has no target encoder; received "
            "decoder_source='target'. Fix: pass decoder_source='online', or another mode."
        )
    ema_decay = scheduled("jepa", "ema_decay", ema_decay, UNIT)
    only_with(mode != "none", "a mode that has a target encoder", jepa, ema_decay=ema_decay)

    hidden = integers("jepa", "hidden", hidden, "widths of layers")
    channels = integers("jepa", "channels", channels, "widths of convolutions")
    pair("jepa", "patch", patch, "pixels", minimum=1)
    depth = integer("jepa", "depth", depth, "blocks")
    heads = integer("jepa", "heads", heads, "of a block's attention")
    only_with(encoder == "mlp", "encoder='mlp'", jepa, hidden=hidden)
    only_with(encoder == "cnn", "encoder='cnn'", jepa, channels=channels)
    only_with(encoder == "vit", "encoder='vit'", jepa, patch=patch, depth=depth, heads=heads)

    scheduled("jepa", "auxiliary_weight", auxiliary_weight, NON_NEGATIVE)
    only_with(regulariser != "none", "a regulariser", jepa, auxiliary_weight=auxiliary_weight)
    real("jepa", "vicreg_variance", vicreg_variance, POSITIVE)
    real("jepa", "vicreg_covariance", vicreg_covariance, POSITIVE)
    real("jepa", "barlow_redundancy", barlow_redundancy, POSITIVE)
    real("jepa", "center_ema_decay", center_ema_decay, DECAY)
    integer("jepa", "sigreg_slices", sigreg_slices, "the number of directions")
    real("jepa", "coding_rate_alpha", coding_rate_alpha, POSITIVE)
    for name, own in {
        "vicreg": {"vicreg_variance": vicreg_variance, "vicreg_covariance": vicreg_covariance},
        "barlow": {"barlow_redundancy": barlow_redundancy},
        "dino": {"center_ema_decay": center_ema_decay},
        "sigreg": {"sigreg_slices": sigreg_slices},
        "coding_rate": {"coding_rate_alpha": coding_rate_alpha},
    }.items():
        only_with(regulariser == name, f"regulariser={name!r}", jepa, **own)

    s = lr.Spec("jepa")
    x = s.observation("x", frame)
    a = s.action("a", lr.Discrete(actions))

    if encoder == "mlp":
        perceptron = lr.nn.mlp(math.prod(x.shape), latent_dim, hidden=hidden)
        embed = lr.nn.Sequential((lr.nn.Flatten(3), *perceptron.layers))
    elif encoder == "cnn":
        embed = lr.nn.cnn(frame, latent_dim, channels=channels)
    else:
        embed = lr.nn.vit(frame, latent_dim, patch=patch, depth=depth, heads=heads)
    online = s.module("encoder", embed)
    action_embedding = s.module("action_embedding", lr.nn.Embedding(actions, action_emb_dim))
    trunk = lr.nn.Linear(latent_dim + action_emb_dim, hidden_dim)
    predictor = s.module("predictor", lr.nn.Sequential((trunk, lr.nn.Silu())))
    predictor_output = s.module("predictor_output", lr.nn.linear(hidden_dim, latent_dim))
    decoder = s.module("decoder", lr.nn.conv_decoder(latent_dim, frame))

    z = s.latent("z", online(x), role=lr.PLACE)
    if mode == "none":
        z_target = z.stop()
    else:
        z_target = s.target(online, decay=ema_decay, name="target_encoder")(x)

    # The prediction, in embedding space.
    z_in = z_target if mode == "default" else z
    aim = z_target.t[1:]
    hidden_units = predictor(lr.concat(z_in.t[:-1], action_embedding(a)))
    z_hat = predictor_output(lr.dropout(hidden_units, dropped, label="dropout"))
    s.loss("prediction", lr.losses.mse(z_hat, aim), weight=prediction_weight)
    # In a space that may shrink, the loss says little by itself: here by its target's variance, and
    # without dropout. Less than 1 is better than the mean.
    variance = lr.losses.mse(aim, aim.mean(over="time").mean(over="batch"))
    undropped = lr.losses.mse(predictor_output(hidden_units), aim)
    s.measure("prediction_by_variance", undropped / variance)

    # The regulariser, on the online embeddings: of frames t and t + 1, or of frame t alone.
    read = [z.t[:-1]] if mode == "vjepa2" else [z.t[:-1], z.t[1:]]
    regularise = {
        "vicreg": partial(lr.losses.vicreg, variance=vicreg_variance, covariance=vicreg_covariance),
        "barlow": partial(lr.losses.barlow_decorrelation, redundancy=barlow_redundancy),
        "sigreg": partial(lr.losses.sigreg, label="directions", slices=sigreg_slices),
        "coding_rate": partial(lr.losses.coding_rate, alpha=coding_rate_alpha),
    }
    if regulariser == "dino":
        center = s.state("center", (latent_dim,))
        regularise["dino"] = partial(lr.losses.center, c=center)
        seen = _mean([e.mean(over="time").mean(over="batch") for e in read])
        s.update(center, center_ema_decay * center + (1.0 - center_ema_decay) * seen)
    if regulariser != "none":
        terms = [regularise[regulariser](e) for e in read]
        s.loss(regulariser, _mean(terms), weight=auxiliary_weight)

    # Afterwards: what can be seen in an embedding.
    decoded = decoder((z_target if decoder_source == "target" else z).stop())
    s.loss("reconstruction", lr.losses.mse(decoded, x))
    s.picture("decoded", decoded)

    s.phase("jepa", losses=[name for name in s.losses if name != "reconstruction"])
    s.phase("decode", losses=["reconstruction"])
    return s


def _mean(exprs: Sequence[lr.Expr]) -> lr.Expr:
    return reduce(add, exprs) * (1.0 / len(exprs))
