"""`seqjepa`: views of one picture and the actions between them, summed up and predicted.

z_t = encoder(x_t) is a code of one view, and is to change with the action. An [AGG] token attends
to the first M codes, each with the action that led to it, and gives z_agg, a summary that is to
stay the same whatever views were taken. From z_agg and the next action a predictor tells the next
code. What each latent came to hold is read by probes on stopped latents, which shape neither.

Source: the note "seq-JEPA Implementation", of the method of Ghaemi, Muller and Bakhtiari,
"seq-JEPA: Autoregressive Predictive Learning of Invariant-Equivariant World Models" (2025), with
the departures that docs/systems/seqjepa.md lists.
"""

from collections.abc import Sequence

import latentroles as lr
from latentroles.arguments import (
    POSITIVE,
    UNIT,
    boolean,
    choice,
    integer,
    integers,
    only_with,
    real,
)
from latentroles.errors import SpecError, user_line
from latentroles.spec.schedules import Schedule, scheduled


@lr.recipe(
    environment="rotations-digits",
    episodes=1600,
    episode_steps=8,
    frames=5,
    batch=32,
    steps=400,
    # Not clipped: clipping couples the modules of an optimiser, and probes are to shape nothing.
    optimisers={"default": lr.adamw(1e-3, weight_decay=1e-4)},
    columns={"x": "frames", "a": "actions", "category": "category"},
    validation=0.2,
)
def seqjepa(
    frame: tuple[int, int, int] = (3, 8, 8),
    actions: int = 3,
    classes: int = 10,
    tokens: int = 4,
    *,
    width: int = 8,
    stem: str = "small",
    action_dim: int = 16,
    depth: int = 2,
    heads: int = 4,
    hidden: int = 128,
    probe_hidden: int = 64,
    teacher: str = "ema",
    decay: float | Schedule = 0.98,
    action_conditioning: bool = True,
    symmetric: bool = False,
    inverse: Sequence[int] = (1, 0, 2),
    coding_rate: float = 0.0,
    coding_rate_z: float = 0.01,
    alpha: float | None = None,
) -> lr.Spec:
    """Declares the model. A window has one frame more than there are tokens.

    Args:
        frame: channels, height, width of a view.
        actions: how many discrete actions lead from view to view.
        classes: how many the label `category` has; 0 leaves out the probes of it.
        tokens: M, the views that are summed up before the next one is predicted.
        width: channels of the first stage of ResNet-18; z has 8 times as many entries. The note
            has 64, and so 512.
        stem: of ResNet-18: "small" for frames of up to about 64 pixels, "large" as in the paper.
        action_dim: width of an action's embedding; the note has 128.
        depth, heads: of the transformer, over tokens of 8 width + action_dim entries.
        hidden: width of the predictor's hidden layer; the note has 1024.
        probe_hidden: the same of the two probes of actions.
        teacher: what gives the code to predict: "ema", a copy of the encoder that follows it, or
            "none", the encoder itself. Either is stopped.
        decay: of the EMA, or a schedule of it; the note has 0.996, for runs far longer than the
            recipe's.
        action_conditioning: whether tokens and predictor are told the actions.
        symmetric: adds the same loss backwards in time: the first view from all later ones.
        inverse: for each action the one that takes it back, and leads from view to view backwards.
        coding_rate, coding_rate_z: weights of the coding rates of z_agg (the note's) and of z.
        alpha: of the coding rates; None is as many as z has entries.
    """
    actions = integer("seqjepa", "actions", actions, "how many there are")
    classes = integer("seqjepa", "classes", classes, "classes of a picture", minimum=0)
    tokens = integer("seqjepa", "tokens", tokens, "views that are summed up", minimum=2)
    width = integer("seqjepa", "width", width, "channels of the first stage")
    action_dim = integer("seqjepa", "action_dim", action_dim, "width of an action's embedding")
    hidden = integer("seqjepa", "hidden", hidden, "width of the predictor's layer")
    probe_hidden = integer("seqjepa", "probe_hidden", probe_hidden, "width of the probes' layer")
    choice("seqjepa", "teacher", teacher, ("ema", "none"))
    decay = scheduled("seqjepa", "decay", decay, UNIT)
    boolean("seqjepa", "action_conditioning", action_conditioning)
    boolean("seqjepa", "symmetric", symmetric)
    only_with(teacher == "ema", "teacher='ema'", seqjepa, decay=decay)
    only_with(action_conditioning, "action_conditioning=True", seqjepa, action_dim=action_dim)
    inverse = integers("seqjepa", "inverse", inverse, "what takes an action back", minimum=0)
    played_back = symmetric and action_conditioning
    needed = "symmetric=True and action_conditioning=True"
    only_with(played_back, needed, seqjepa, inverse=inverse)
    if played_back:
        _check_inverse(inverse, actions)
    if alpha is not None:
        alpha = real("seqjepa", "alpha", alpha, POSITIVE)

    s = lr.Spec("seqjepa")
    x = s.observation("x", frame)
    a = s.action("a", lr.Discrete(actions))

    dim, told = 8 * width, action_dim if action_conditioning else 0
    # The features of ResNet-18: all but the linear map to classes, which ends it.
    features = lr.nn.resnet18(frame, 1, width=width, stem=stem).layers[:-1]
    encoder = s.module("encoder", lr.nn.Sequential(features))
    aggregator = s.module(
        "aggregator", lr.nn.transformer(dim + told, depth, heads, tokens=tokens, pool="token")
    )
    predictor = s.module("predictor", lr.nn.mlp(dim + 2 * told, dim, hidden=hidden))
    embed = s.module("action_embedding", lr.nn.linear(actions, told)) if told else None
    target = s.target(encoder, decay=decay) if teacher == "ema" else encoder

    def tell(code: lr.Expr, action: lr.Expr | None) -> lr.Expr:
        """A code beside the embedding of an action, or beside zeros where none led to it."""
        if embed is None:
            return code
        return lr.concat(code, lr.zeros(told) if action is None else embed(action))

    def summary(codes: Sequence[lr.Expr], between: Sequence[lr.Expr]) -> lr.Expr:
        """M codes and the M - 1 actions between them, summed up by the [AGG] token."""
        led = (None, *between)
        return aggregator(lr.stack([tell(*pair) for pair in zip(codes, led, strict=True)]))

    # z: a code of each view. z_agg: of the picture that the first M views show.
    z = s.latent("z", encoder(x), role=lr.EQUIVARIANT)
    codes = [z.t[i] for i in range(tokens + 1)]
    moves = [a.t[i].one_hot() for i in range(tokens)]
    z_agg = s.latent("z_agg", summary(codes[:-1], moves[:-1]), role=lr.AGGREGATE)

    predicted = predictor(tell(z_agg, moves[-1]))
    s.loss("predict", lr.losses.cosine(predicted, target(x.t[tokens]).stop()))
    if symmetric:
        back = [_permuted(move, inverse) if told else move for move in reversed(moves)]
        z_back = summary(codes[:0:-1], back[:-1])
        first = predictor(tell(z_back, back[-1]))
        s.loss("predict_back", lr.losses.cosine(first, target(x.t[0]).stop()))

    alpha = float(dim) if alpha is None else alpha
    s.loss("coding_rate", lr.losses.coding_rate(z_agg, alpha=alpha), weight=coding_rate)
    s.loss("coding_rate_z", lr.losses.coding_rate(z, alpha=alpha), weight=coding_rate_z)
    s.allow(
        "ungated-edge",
        latent="z_agg",
        because="that the next view can be told from z_agg is what shapes z",
    )

    # Probes. An action is no linear function of the pair of codes, even where each code tells how
    # its view is turned: these two have a hidden layer.
    action, seen = a.one_hot(), lr.concat(moves[:-1])
    pair_probe = s.module("action_from_pair", lr.nn.mlp(2 * dim, actions, hidden=probe_hidden))
    agg_probe = s.module(
        "actions_from_agg", lr.nn.mlp(dim + told, (tokens - 1) * actions, hidden=probe_hidden)
    )
    from_pair = pair_probe(lr.concat(z.t[:-1], z.t[1:]).stop())
    from_agg = agg_probe(z_agg.stop())
    s.loss("probe_action_pair", lr.losses.mse(from_pair, action))
    s.loss("probe_action_agg", lr.losses.mse(from_agg, seen))
    s.measure("r2_action_pair", lr.measures.r2(from_pair, action))
    s.measure("r2_action_agg", lr.measures.r2(from_agg, seen))
    if classes:
        category = s.label("category", classes=classes)
        picture = category.t[0]  # all views of a window are of one picture
        of_view = s.module("picture_from_z", lr.nn.linear(dim, classes))(z.stop())
        of_agg = s.module("picture_from_agg", lr.nn.linear(dim + told, classes))(z_agg.stop())
        s.loss("probe_picture_z", lr.losses.cross_entropy(of_view, category))
        s.loss("probe_picture_agg", lr.losses.cross_entropy(of_agg, picture))
        s.measure("accuracy_z", lr.measures.accuracy(of_view, category))
        s.measure("accuracy_agg", lr.measures.accuracy(of_agg, picture))
    s.measure("mean_cosine_z", _mean_cosine(z.t[0]))
    s.measure("mean_cosine_agg", _mean_cosine(z_agg))
    return s


def _mean_cosine(codes: lr.Expr) -> lr.Expr:
    """The mean cosine of two codes of a batch, which may be one and the same: 1 for a constant."""
    return (lr.normalise(codes).mean(over="batch") ** 2).sum()


def _permuted(one_hot: lr.Expr, inverse: Sequence[int]) -> lr.Expr:
    """The one-hot code of an action's inverse."""
    entries = lr.split(one_hot, *[1] * len(inverse))
    return lr.concat([entries[i] for i in inverse])


def _check_inverse(inverse: Sequence[int], actions: int) -> None:
    known = len(inverse) == actions and max(inverse) < actions
    if not known or [inverse[i] for i in inverse] != list(range(actions)):
        raise SpecError(
            f"{user_line()}seqjepa: inverse names for each of the {actions} actions the one that "
            f"takes it back, and is taken back by it; received {inverse!r}. Fix: pass one action "
            "for each, such as (1, 0, 2), or symmetric=False."
        )
