"""JAX training programs: each in a correct form and in the wrong forms that one meets.

A program is a function of `bug`, the name of a wrong form, or "" for the correct one. It returns a
`Program`, whose `step` trains once. Parameters are dicts of arrays where they are not equinox
modules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.lax import stop_gradient

from latentroles_jax import audit

BATCH, DIM = 4, 5


@dataclass
class Program:
    """A training program, and what an audit is told of it.

    Args:
        losses: `losses(params, *batch)`, or `losses(params, others, *batch)` where there are any.
        step: `step(modules, i)` returns the new modules, others among them, and the losses.
        params: what the step differentiates.
        batch: the arguments of step i.
        others: what the losses read and the step does not differentiate, such as target networks
            that are an argument of their own.
    """

    losses: Callable[..., dict[str, Any]]
    step: Callable[[Any, int], Any]
    params: dict[str, Any]
    batch: Callable[[int], tuple[Any, ...]]
    optimizers: dict[str, Any]
    others: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, str] | None = None
    expected: dict[str, set[str]] | None = None


@dataclass(frozen=True)
class Entry:
    """A program of the gallery.

    Args:
        wrong: {wrong form: (the audit that finds it, "check" or "watch"; the rule it finds)}.
    """

    build: Callable[[str], Program]
    wrong: dict[str, tuple[str, str]] = field(default_factory=dict)


PROGRAMS: dict[str, Entry] = {}


def program(**wrong: tuple[str, str]) -> Callable[[Callable[[str], Program]], Any]:
    """Puts a program into the gallery, with its wrong forms."""

    def add(build: Callable[[str], Program]) -> Callable[[str], Program]:
        PROGRAMS[build.__name__] = Entry(build, wrong)
        return build

    return add


# What such programs share ------------------------------------------------------------------------


class Init:
    """Draws parameters; numpy, because an eager jax.random compiles for each shape."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)

    def array(self, *shape: int) -> jax.Array:
        drawn = self.random.normal(size=shape) / np.sqrt(shape[0])
        return jnp.asarray(drawn, jnp.float32)

    def mlp(self, *sizes: int) -> list[dict[str, jax.Array]]:
        pairs = pairwise(sizes)
        return [{"w": self.array(n, m), "b": jnp.zeros(m)} for n, m in pairs]


def mlp(layers: list[dict[str, jax.Array]], x: Any) -> jax.Array:
    for layer in layers[:-1]:
        x = jax.nn.silu(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def normal(i: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(i).normal(size=shape).astype(np.float32)


def frames(i: int) -> tuple[Any]:
    return (normal(i, BATCH, DIM),)


def mse(a: jax.Array, b: Any) -> jax.Array:
    return jnp.mean((a - b) ** 2)


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean(optax.cosine_similarity(a, b, epsilon=1e-6))


def ema(target: Any, source: Any, decay: float = 0.9) -> Any:
    return optax.incremental_update(source, target, 1 - decay)


def updating(losses: Callable[..., Any], tx: optax.GradientTransformation) -> Any:
    """The usual update: the gradient of the sum of the losses with respect to `params`."""

    def total(params: Any, *args: Any) -> tuple[Any, Any]:
        found = losses(params, *args)
        return sum(found.values()), found

    @jax.jit
    def update(params: Any, state: Any, *args: Any) -> Any:
        grads, found = jax.grad(total, has_aux=True)(params, *args)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, found

    return update


def pick(modules: Mapping[str, Any], names: Any) -> dict[str, Any]:
    return {name: modules[name] for name in names}


def plain_step(
    losses: Callable[..., Any],
    tx: optax.GradientTransformation,
    params: dict[str, Any],
    batch: Callable[[int], tuple[Any, ...]],
) -> Callable[[Any, int], Any]:
    """The step of a program with one optimiser and no target."""
    state, update = tx.init(params), updating(losses, tx)

    def step(modules: Any, i: int) -> Any:
        nonlocal state
        modules, state, found = update(modules, state, *batch(i))
        return modules, found

    return step


# World models ------------------------------------------------------------------------------------


@program(
    imagines_from_live_states=("check", "unexpected-route"),
    world_not_frozen=("check", "unexpected-route"),
    critic_learns_from_live_returns=("check", "unexpected-route"),
    encoder_forgotten=("check", "unowned-parameters"),
    posterior_starved=("check", "missing-route"),
    actor_update_thrown_away=("watch", "never-moved"),
)
def dreamer(bug: str) -> Program:
    """A recurrent state-space model, and an actor and a critic that learn in its imagination."""
    init = Init()
    world = {
        "encoder": init.mlp(DIM, 8, 4),
        "rssm": {"gru": init.mlp(4 + 4 + 2, 4), "prior": init.mlp(4, 8)},
        "posterior": init.mlp(4 + 4, 8),
        "decoder": init.mlp(4 + 4, 8, DIM),
        "reward": init.mlp(4 + 4, 1),
    }
    params = {**world, "actor": init.mlp(8, 8, 2), "critic": init.mlp(8, 8, 1)}

    def sample(stats: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        mean, std = jnp.split(stats, 2, -1)
        std = jax.nn.softplus(std) + 0.1
        return mean + std * jax.random.normal(key, mean.shape), (mean, std)

    def divergence(p: Any, q: Any) -> jax.Array:
        (mean, std), (other, spread) = p, q
        kl = jnp.log(spread / std) + (std**2 + (mean - other) ** 2) / (2 * spread**2) - 0.5
        return jnp.maximum(kl.sum(-1).mean(), 0.1)  # free bits

    def observe(p: Any, x: jax.Array, a: jax.Array, key: jax.Array) -> Any:
        embedded = mlp(p["encoder"], x)

        def step(carry: Any, inputs: Any) -> Any:
            h, z = carry
            e, action, key = inputs
            h = jnp.tanh(mlp(p["rssm"]["gru"], jnp.concatenate([h, z, action], -1)))
            stats = mlp(p["posterior"], jnp.concatenate([h, e], -1))
            if bug == "posterior_starved":
                stats = stop_gradient(stats)
            z, posterior = sample(stats, key)
            _, prior = sample(mlp(p["rssm"]["prior"], h), key)
            return (h, z), (jnp.concatenate([h, z], -1), posterior, prior)

        start = jnp.zeros((BATCH, 4)), jnp.zeros((BATCH, 4))
        keys = jax.random.split(key, x.shape[0])
        return jax.lax.scan(step, start, (embedded, a, keys))[1]

    def imagine(p: Any, start: jax.Array, key: jax.Array) -> jax.Array:
        def step(state: jax.Array, key: jax.Array) -> Any:
            action = jnp.tanh(mlp(p["actor"], stop_gradient(state)))
            gru = mlp(p["rssm"]["gru"], jnp.concatenate([state, action], -1))
            z, _ = sample(mlp(p["rssm"]["prior"], jnp.tanh(gru)), key)
            state = jnp.concatenate([jnp.tanh(gru), z], -1)
            return state, state

        return jax.lax.scan(step, start, jax.random.split(key, 3))[1]

    def losses(p: Any, x: jax.Array, a: jax.Array, r: jax.Array, key: jax.Array) -> Any:
        states, posterior, prior = observe(p, x, a, key)
        stopped = jax.tree.map(stop_gradient, (posterior, prior))
        kl = 0.5 * divergence(stopped[0], prior) + 0.1 * divergence(posterior, stopped[1])

        start = states.reshape(-1, 8)
        start = start if bug == "imagines_from_live_states" else stop_gradient(start)
        held = pick(p, ["rssm", "reward", "critic"])
        held = held if bug == "world_not_frozen" else stop_gradient(held)
        imagined = imagine({**p, **held}, start, key)
        rewards, values = mlp(held["reward"], imagined), mlp(held["critic"], imagined)
        returns = rewards[:-1] + 0.95 * values[1:]
        goal = returns if bug == "critic_learns_from_live_returns" else stop_gradient(returns)
        return {
            "reconstruction": mse(mlp(p["decoder"], states), x),
            "reward": mse(mlp(p["reward"], states)[..., 0], r),
            "kl": kl,
            "actor": -returns.mean(),
            "critic": mse(mlp(p["critic"], stop_gradient(imagined[:-1])), goal),
        }

    def batch(i: int) -> tuple[Any, ...]:
        key = jax.random.key(i)
        return normal(i, 3, BATCH, DIM), normal(i, 3, BATCH, 2), normal(i, 3, BATCH), key

    modelled = [name for name in world if not (bug == "encoder_forgotten" and name == "encoder")]
    names = {"world": modelled, "actor": ["actor"], "critic": ["critic"]}
    txs = {name: optax.adam(1e-3) for name in names}
    states = {name: tx.init(pick(params, names[name])) for name, tx in txs.items()}

    @jax.jit
    def update(p: Any, states: Any, *args: Any) -> Any:
        def total(p: Any) -> Any:
            found = losses(p, *args)
            return sum(found.values()), found

        grads, found = jax.grad(total, has_aux=True)(p)
        for name, tx in txs.items():
            own = pick(p, names[name])
            moves, state = tx.update(pick(grads, names[name]), states[name], own)
            states = {**states, name: state}
            moved: Any = optax.apply_updates(own, moves)
            if not (bug == "actor_update_thrown_away" and name == "actor"):
                p = {**p, **moved}
        return p, states, found

    def step(p: Any, i: int) -> Any:
        nonlocal states
        p, states, found = update(p, states, *batch(i))
        return p, found

    every = ["reconstruction", "reward", "kl", "actor", "critic"]  # which the update sums
    return Program(
        losses,
        step,
        params,
        batch,
        {name: (held, every) for name, held in names.items()},
        expected={
            "reconstruction": {"encoder", "rssm", "posterior", "decoder"},
            "reward": {"encoder", "rssm", "posterior", "reward"},
            "kl": {"encoder", "rssm", "posterior"},
            "actor": {"actor"},
            "critic": {"critic"},
        },
    )


@program(
    policy_into_the_model=("check", "unexpected-route"),
    target_value_live=("check", "target-live"),
    rollout_stopped_too_early=("check", "starved-module"),
    target_never_updated=("watch", "stale-target"),
)
def td_mpc(bug: str) -> Program:
    """Latent consistency, reward and value along a rollout; a policy on the stopped latents."""
    init = Init()
    q = init.mlp(4 + 2, 8, 1)
    params = {
        "encoder": init.mlp(DIM, 8, 4),
        "dynamics": init.mlp(4 + 2, 8, 4),
        "reward": init.mlp(4 + 2, 1),
        "q": q,
        "policy": init.mlp(4, 8, 2),
        "target_q": q,
    }

    def losses(p: Any, x: jax.Array, a: jax.Array, r: jax.Array) -> Any:
        ahead = stop_gradient(mlp(p["encoder"], x[1:]))
        acted = jnp.concatenate([ahead, jnp.tanh(mlp(p["policy"], ahead))], -1)
        bootstrap = r + 0.99 * mlp(p["target_q"], acted)[..., 0]
        if bug != "target_value_live":
            bootstrap = stop_gradient(bootstrap)
        start = mlp(p["encoder"], x[0])
        if bug == "rollout_stopped_too_early":
            start = stop_gradient(start)

        def step(z: jax.Array, action: jax.Array) -> Any:
            za = jnp.concatenate([z, action], -1)
            return mlp(p["dynamics"], za), (z, za)

        last, (zs, za) = jax.lax.scan(step, start, a)
        predicted = jnp.concatenate([zs[1:], last[None]])
        held = zs if bug == "policy_into_the_model" else stop_gradient(zs)
        action = jnp.tanh(mlp(p["policy"], held))
        return {
            "consistency": mse(predicted, ahead),
            "reward": mse(mlp(p["reward"], za)[..., 0], r),
            "value": mse(mlp(p["q"], za)[..., 0], bootstrap),
            "policy": -mlp(stop_gradient(p["q"]), jnp.concatenate([held, action], -1)).mean(),
        }

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, 4, BATCH, DIM), normal(i, 3, BATCH, 2), normal(i, 3, BATCH)

    trained = [name for name in params if name != "target_q"]
    # labels as optax.partition has them: two optimisers, and the target is left alone
    labels = {name: "policy" if name == "policy" else "model" for name in trained}
    labels["target_q"] = "model" if bug == "target_value_live" else "none"
    tx = optax.partition(
        {"policy": optax.adam(1e-3), "model": optax.adam(1e-3), "none": optax.set_to_zero()},
        labels,
    )
    state, update = tx.init(params), updating(losses, tx)

    def step(p: Any, i: int) -> Any:
        nonlocal state
        p, state, found = update(p, state, *batch(i))
        if bug != "target_never_updated":
            p = {**p, "target_q": ema(p["target_q"], p["q"])}
        return p, found

    every = ["consistency", "reward", "value", "policy"]  # which the update sums
    model = [name for name, label in labels.items() if label == "model"]
    return Program(
        losses,
        step,
        params,
        batch,
        {"model": (model, every), "policy": (["policy"], every)},
        targets={"target_q": "q"},
        expected={
            "consistency": {"encoder", "dynamics"},
            "reward": {"encoder", "dynamics", "reward"},
            "value": {"encoder", "dynamics", "q"},
            "policy": {"policy"},
        },
    )


@program(
    target_live=("check", "target-live"),
    target_in_the_optimiser=("check", "unexpected-route"),
    ema_thrown_away=("watch", "stale-target"),
    ema_the_wrong_way_round=("watch", "stale-target"),
    context_stopped=("check", "starved-module"),
)
def jepa(bug: str) -> Program:
    """A joint-embedding predictor in one tree of parameters, the EMA target among them."""
    init = Init()
    encoder = init.mlp(DIM, 8, 4)
    params = {"context": encoder, "predictor": init.mlp(4, 8, 4), "target": encoder}

    def losses(p: Any, x: jax.Array, mask: jax.Array) -> Any:
        goal = mlp(p["target"], x)
        if bug not in ("target_live", "target_in_the_optimiser"):
            goal = stop_gradient(goal)
        seen = mlp(p["context"], x * mask)
        seen = stop_gradient(seen) if bug == "context_stopped" else seen
        return {"jepa": optax.losses.huber_loss(mlp(p["predictor"], seen), goal).mean()}

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, BATCH, DIM), (normal(i + 99, BATCH, DIM) > 0).astype(np.float32)

    trained = ["context", "predictor", *(["target"] if bug == "target_live" else [])]
    masked = {name: name in trained for name in params}
    tx = optax.masked(optax.adamw(1e-3), masked)
    tx = optax.chain(tx, optax.masked(optax.set_to_zero(), {n: not m for n, m in masked.items()}))
    state, update = tx.init(params), updating(losses, tx)

    def step(p: Any, i: int) -> Any:
        nonlocal state
        p, state, found = update(p, state, *batch(i))
        if bug == "ema_thrown_away":
            ema(p["target"], p["context"])
        elif bug == "ema_the_wrong_way_round":
            p = {**p, "context": ema(p["context"], p["target"])}
        else:
            p = {**p, "target": ema(p["target"], p["context"])}
        return p, found

    held = [*trained, "target"] if bug == "target_in_the_optimiser" else trained
    swept = bug == "target_in_the_optimiser"
    return Program(
        losses,
        step,
        params,
        batch,
        {"adamw": held},
        targets=None if swept else {"target": "context"},
        expected={"jepa": {"context", "predictor"}},
    )


# Discrete and stochastic codes -------------------------------------------------------------------


@program(
    no_straight_through=("check", "missing-route"),
    stop_on_the_wrong_side=("check", "unexpected-route"),
    codebook_starved=("check", "starved-module"),
)
def vq_vae(bug: str) -> Program:
    """A codebook behind a straight-through estimator."""
    init = Init()
    params = {
        "encoder": init.mlp(DIM, 8, 4),
        "codebook": {"codes": init.array(6, 4)},
        "decoder": init.mlp(4, 8, DIM),
    }

    def losses(p: Any, x: jax.Array) -> Any:
        z, codes = mlp(p["encoder"], x), p["codebook"]["codes"]
        nearest = jnp.argmin(jnp.sum((z[:, None] - codes) ** 2, -1), -1)
        code = codes[nearest]
        straight = z + stop_gradient(code - z)
        if bug == "no_straight_through":
            straight = code
        if bug == "stop_on_the_wrong_side":
            straight = code + stop_gradient(z - code)
        kept = stop_gradient(code) if bug == "codebook_starved" else code
        return {
            "reconstruction": mse(mlp(p["decoder"], straight), x),
            "commitment": 0.25 * mse(z, stop_gradient(code)),
            "codebook": mse(kept, stop_gradient(z)),
        }

    step = plain_step(losses, optax.adam(1e-3), params, frames)
    return Program(
        losses,
        step,
        params,
        frames,
        {"adam": list(params)},
        expected={
            "reconstruction": {"encoder", "decoder"},
            "commitment": {"encoder"},
            "codebook": {"codebook"},
        },
    )


@jax.custom_vjp
def round_through(x: jax.Array) -> jax.Array:
    """Rounding with the derivative of the identity."""
    return jnp.round(x)


round_through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))


@jax.custom_vjp
def round_cut(x: jax.Array) -> jax.Array:
    """The same with the rule forgotten: it returns zeros."""
    return jnp.round(x)


round_cut.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (jnp.zeros_like(g),))


@program(
    rounds_without_a_rule=("check", "starved-module"),
    rule_returns_zeros=("check", "starved-module"),
    gate_never_open=("check", "flat-loss"),
)
def finite_scalar_quantisation(bug: str) -> Program:
    """Rounded latents with a custom derivative, in equinox modules."""
    one, two = jax.random.split(jax.random.key(0))
    params = {
        "encoder": eqx.nn.MLP(DIM, 3, 8, 1, key=one),
        "decoder": eqx.nn.MLP(3, DIM, 8, 1, key=two),
    }
    quantise = {"rounds_without_a_rule": jnp.round, "rule_returns_zeros": round_cut}.get(
        bug, round_through
    )

    def losses(p: Any, x: jax.Array) -> Any:
        z = jax.vmap(p["encoder"])(x)
        z = quantise(2 * jnp.tanh(z)) / 2
        loss = mse(jax.vmap(p["decoder"])(z), x)
        return {"reconstruction": loss * (x.shape[0] > BATCH) if bug == "gate_never_open" else loss}

    tx = optax.adam(1e-3)
    state = tx.init(eqx.filter(params, eqx.is_inexact_array))

    @eqx.filter_jit
    def update(p: Any, state: Any, x: jax.Array) -> Any:
        loss, grads = eqx.filter_value_and_grad(lambda p: losses(p, x)["reconstruction"])(p)
        moves, state = tx.update(grads, state, p)
        return eqx.apply_updates(p, moves), state, {"reconstruction": loss}

    def step(p: Any, i: int) -> Any:
        nonlocal state
        p, state, found = update(p, state, *frames(i))
        return p, found

    return Program(losses, step, params, frames, {"adam": ["encoder", "decoder"]})


@program(
    sample_stopped=("check", "missing-route"),
    kl_with_itself=("check", "flat-loss"),
    decoder_forgotten=("check", "unowned-parameters"),
)
def vae(bug: str) -> Program:
    """A Gaussian autoencoder with the reparameterisation trick."""
    init = Init()
    params = {"encoder": init.mlp(DIM, 8, 6), "decoder": init.mlp(3, 8, DIM)}

    def losses(p: Any, x: jax.Array, key: jax.Array) -> Any:
        mean, log_std = jnp.split(mlp(p["encoder"], x), 2, -1)
        z = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        z = stop_gradient(z) if bug == "sample_stopped" else z
        other, log_other = (mean, log_std) if bug == "kl_with_itself" else (0.0, 0.0)
        variances = jnp.exp(2 * log_std) + (mean - other) ** 2
        kl = log_other - log_std + variances / (2 * jnp.exp(2 * jnp.asarray(log_other))) - 0.5
        return {"reconstruction": mse(mlp(p["decoder"], z), x), "kl": kl.sum(-1).mean()}

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, BATCH, DIM), jax.random.key(i)

    trained = ["encoder"] if bug == "decoder_forgotten" else ["encoder", "decoder"]
    return Program(
        losses,
        plain_step(losses, optax.adam(1e-3), params, batch),
        params,
        batch,
        {"adam": trained},
        expected={"reconstruction": {"encoder", "decoder"}, "kl": {"encoder"}},
    )


# Joint-embedding representations -----------------------------------------------------------------


@program(
    differentiates_both=("check", "target-live"),
    teacher_is_the_student=("watch", "aliased-module"),
    ema_thrown_away=("watch", "stale-target"),
    predictor_forgotten=("check", "unowned-parameters"),
)
def byol(bug: str) -> Program:
    """The target is an argument of its own, so that jax.grad leaves it out: no stop is needed."""
    init = Init()
    online = {"encoder": init.mlp(DIM, 8, 4), "predictor": init.mlp(4, 8, 4)}
    target = {"target": online["encoder"]}

    def byol_loss(params: Any, target: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        def view(one: jax.Array, other: jax.Array) -> jax.Array:
            goal = mlp(target["target"], other)
            return 2 - 2 * cosine(mlp(params["predictor"], mlp(params["encoder"], one)), goal)

        return view(x, y) + view(y, x)

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, BATCH, DIM), normal(i + 50, BATCH, DIM)

    both = bug == "differentiates_both"

    def losses(params: Any, *args: Any) -> Any:
        given = (params, *args) if both else args
        return {"byol": byol_loss(params, *given)}

    tx = optax.sgd(0.05, momentum=0.9)
    state = tx.init(online)
    update = updating(lambda p, *args: {"byol": byol_loss(p, *args)}, tx)

    def step(modules: Any, i: int) -> Any:
        nonlocal state
        target = pick(modules, ["target"])
        params, state, found = update(pick(modules, online), state, target, *batch(i))
        if bug == "teacher_is_the_student":
            target = {"target": params["encoder"]}
        elif bug == "ema_thrown_away":
            jax.tree.map(lambda t, s: 0.9 * t + 0.1 * s, target["target"], params["encoder"])
        else:
            target = {"target": ema(target["target"], params["encoder"])}
        return {**params, **target}, found

    held = ["encoder"] if bug == "predictor_forgotten" else ["encoder", "predictor"]
    held += ["target"] if both else []
    return Program(
        losses,
        step,
        {**online, **target} if both else online,
        batch,
        {"sgd": held},
        others={} if both else target,
        targets={"target": "encoder"},
    )


@program(
    no_stop=("check", "target-live"),
    stop_on_the_prediction=("check", "starved-module"),
    stops_on_both_sides=("check", "starved-module"),
)
def simsiam(bug: str) -> Program:
    """One encoder for both views; the stop on one side keeps it from collapsing."""
    init = Init()
    params = {"encoder": init.mlp(DIM, 8, 4), "predictor": init.mlp(4, 4, 4)}

    def distance(p: Any, z: jax.Array, goal: jax.Array) -> jax.Array:
        if bug == "stops_on_both_sides":
            z = stop_gradient(z)
        predicted = mlp(p["predictor"], z)
        goal = audit.mark("goal", goal)
        if bug == "stop_on_the_prediction":
            return -cosine(stop_gradient(predicted), goal)
        return -cosine(predicted, goal if bug == "no_stop" else stop_gradient(goal))

    def losses(p: Any, x: jax.Array, y: jax.Array) -> Any:
        one, two = audit.mark("z", (mlp(p["encoder"], x), mlp(p["encoder"], y)))
        return {"simsiam": (distance(p, one, two) + distance(p, two, one)) / 2}

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, BATCH, DIM), normal(i + 50, BATCH, DIM)

    step = plain_step(losses, optax.sgd(0.05), params, batch)
    held = {"sgd": ["encoder", "predictor"]}
    return Program(losses, step, params, batch, held, targets={"goal": "z"})


@program(
    keys_live=("check", "target-live"),
    momentum_of_one=("watch", "stale-target"),
    momentum_of_zero=("watch", "aliased-module"),
    queries_stopped=("check", "dead-route"),
)
def moco(bug: str) -> Program:
    """A momentum encoder of keys, and a queue that the step carries."""
    init = Init()
    encoder = init.mlp(DIM, 8, 4)
    params = {"query": encoder, "key": encoder}

    def unit(x: jax.Array) -> jax.Array:
        return x / jnp.linalg.norm(x + 1e-6, axis=-1, keepdims=True)

    def losses(p: Any, x: jax.Array, y: jax.Array, queue: jax.Array) -> Any:
        q, k = unit(mlp(p["query"], x)), unit(mlp(p["key"], y))
        k = k if bug == "keys_live" else stop_gradient(k)
        q = stop_gradient(q) if bug == "queries_stopped" else q
        logits = jnp.concatenate([jnp.sum(q * k, -1, keepdims=True), q @ queue.T], -1) / 0.07
        labels = jnp.zeros(len(x), int)
        nce = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
        return {"moco": nce.mean()}

    queue = jnp.asarray(normal(7, 8, 4))

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, BATCH, DIM), normal(i + 50, BATCH, DIM), queue

    held = ["query", "key"] if bug == "keys_live" else ["query"]
    tx = optax.sgd(0.05, momentum=0.9)
    state = tx.init(pick(params, held))
    update = updating(lambda q, p, *args: losses({**p, **q}, *args), tx)
    decay = {"momentum_of_one": 1.0, "momentum_of_zero": 0.0}.get(bug, 0.9)

    def step(p: Any, i: int) -> Any:
        nonlocal state, queue
        own, state, found = update(pick(p, held), state, p, *batch(i))
        p = {**p, **own}
        key = jax.tree.map(lambda k, q: decay * k + (1 - decay) * q, p["key"], p["query"])
        queue = jnp.concatenate([unit(mlp(key, batch(i)[1])), queue])[:8]
        return {**p, "key": key}, found

    return Program(losses, step, params, batch, {"sgd": held}, targets={"key": "query"})


@program(
    teacher_live=("check", "target-live"),
    teacher_passed_as_student=("check", "starved-module"),
    teacher_in_adamw=("check", "idle-parameters"),
    ema_thrown_away=("watch", "stale-target"),
)
def dino(bug: str) -> Program:
    """Self-distillation with a centre that the step carries."""
    init = Init()
    student = init.mlp(DIM, 8, 4)
    params = {"student": student, "teacher": student}

    def distillation(student: Any, teacher: Any, x: jax.Array, centre: jax.Array) -> jax.Array:
        goal = jax.nn.softmax((teacher - centre) / 0.04)
        return -(goal * jax.nn.log_softmax(student / 0.1)).sum(-1).mean()

    def losses(p: Any, x: jax.Array, y: jax.Array, centre: jax.Array) -> Any:
        own = "teacher" if bug == "teacher_passed_as_student" else "student"
        student, teacher = mlp(p[own], x), mlp(p["teacher"], y)
        if bug == "teacher_live":
            return {"dino": distillation(student, teacher, x, centre)}
        return {"dino": distillation(student, stop_gradient(teacher), x, centre)}

    centre = jnp.zeros(4)

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, BATCH, DIM), normal(i + 50, BATCH, DIM), centre

    held = ["student", "teacher"] if bug in ("teacher_live", "teacher_in_adamw") else ["student"]
    tx = optax.adamw(1e-3, weight_decay=0.04)
    state = tx.init(pick(params, held))
    update = updating(lambda s, p, *args: losses({**p, **s}, *args), tx)

    def step(p: Any, i: int) -> Any:
        nonlocal state, centre
        own, state, found = update(pick(p, held), state, p, *batch(i))
        p = {**p, **own}
        centre = 0.9 * centre + 0.1 * mlp(p["teacher"], batch(i)[1]).mean(0)
        moved = ema(p["teacher"], p["student"])
        return {**p, "teacher": p["teacher"] if bug == "ema_thrown_away" else moved}, found

    return Program(losses, step, params, batch, {"adamw": held}, targets={"teacher": "student"})


@program(
    one_view_stopped=("check", "starved-module"),
    invariance_of_one_view=("check", "flat-loss"),
)
def vicreg(bug: str) -> Program:
    """Two branches with weights of their own: variance, invariance, covariance."""
    init = Init()
    params = {"left": init.mlp(DIM, 8, 4), "right": init.mlp(DIM, 8, 4)}

    def variance(z: jax.Array) -> jax.Array:
        return jnp.mean(jax.nn.relu(2 - jnp.sqrt(z.var(0) + 1e-4)))

    def covariance(z: jax.Array) -> jax.Array:
        z = z - z.mean(0)
        cov = z.T @ z / (len(z) - 1)
        return jnp.sum((cov * (1 - jnp.eye(4))) ** 2) / 4

    def losses(p: Any, x: jax.Array, y: jax.Array) -> Any:
        a, b = mlp(p["left"], x), mlp(p["right"], y)
        if bug == "one_view_stopped":
            b = stop_gradient(b)
        return {
            "invariance": mse(a, a if bug == "invariance_of_one_view" else b),
            "variance": variance(a) + variance(b),
            "covariance": covariance(a) + covariance(b),
        }

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, BATCH, DIM), normal(i + 50, BATCH, DIM)

    step = plain_step(losses, optax.adam(1e-3), params, batch)
    return Program(losses, step, params, batch, {"adam": ["left", "right"]})


@program(
    projector_of_another_tree=("check", "starved-module"),
    two_optimisers=("check", "two-optimisers"),
)
def barlow_twins(bug: str) -> Program:
    """The cross-correlation of two views, towards the identity."""
    init = Init()
    params = {"encoder": init.mlp(DIM, 8, 4), "projector": init.mlp(4, 6)}
    elsewhere = init.mlp(4, 6)

    def losses(p: Any, x: jax.Array, y: jax.Array) -> Any:
        projector = elsewhere if bug == "projector_of_another_tree" else p["projector"]
        a, b = (mlp(projector, mlp(p["encoder"], v)) for v in (x, y))
        a, b = ((v - v.mean(0)) / (v.std(0) + 1e-3) for v in (a, b))
        correlation = a.T @ b / len(a)
        return {"barlow": jnp.sum((correlation - jnp.eye(6)) ** 2)}

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, BATCH, DIM), normal(i + 50, BATCH, DIM)

    optimizers: dict[str, Any] = {"lars": ["encoder", "projector"]}
    if bug == "two_optimisers":
        optimizers = {"lars": (["encoder", "projector"], ["barlow"]), "barlow": ["projector"]}
    step = plain_step(losses, optax.lars(0.1), params, batch)
    return Program(losses, step, params, batch, optimizers)


@program(
    context_stopped=("check", "starved-module"),
    predicts_from_the_goal=("check", "starved-module"),
)
def cpc(bug: str) -> Program:
    """Contrastive prediction of later codes from a recurrent context."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "encoder": eqx.nn.Linear(DIM, 4, key=keys[0]),
        "context": eqx.nn.GRUCell(4, 4, key=keys[1]),
        "head": eqx.nn.Linear(4, 4, use_bias=False, key=keys[2]),
    }

    def losses(p: Any, x: jax.Array) -> Any:
        z = jax.vmap(jax.vmap(p["encoder"]))(x)

        def unroll(z: jax.Array) -> jax.Array:
            def step(h: jax.Array, u: jax.Array) -> Any:
                h = p["context"](u, h)
                return h, h

            return jax.lax.scan(step, jnp.zeros(4), z)[1]

        c = jax.vmap(unroll)(z)
        c = stop_gradient(c) if bug == "context_stopped" else c
        c = z if bug == "predicts_from_the_goal" else c
        predicted = jax.vmap(p["head"])(c[:, 1])
        logits = predicted @ z[:, -1].T
        return {"nce": -jnp.mean(jnp.diag(jax.nn.log_softmax(logits)))}

    def batch(i: int) -> tuple[Any, ...]:
        return (normal(i, BATCH, 3, DIM),)

    tx = optax.adam(1e-3)
    state = tx.init(eqx.filter(params, eqx.is_inexact_array))

    @eqx.filter_jit
    def update(p: Any, state: Any, x: jax.Array) -> Any:
        loss, grads = eqx.filter_value_and_grad(lambda p: losses(p, x)["nce"])(p)
        moves, state = tx.update(grads, state)
        return eqx.apply_updates(p, moves), state, {"nce": loss}

    def step(p: Any, i: int) -> Any:
        nonlocal state
        p, state, found = update(p, state, *batch(i))
        return p, found

    return Program(losses, step, params, batch, {"adam": ["encoder", "context", "head"]})


# Reinforcement learning --------------------------------------------------------------------------


def transitions(i: int) -> tuple[Any, ...]:
    action = np.random.default_rng(i).integers(0, 3, BATCH)
    done = np.zeros(BATCH, bool)
    return normal(i, BATCH, DIM), action, normal(i + 1, BATCH), normal(i + 2, BATCH, DIM), done


@program(
    bootstrap_live=("check", "target-live"),
    features_stopped=("check", "starved-module"),
    reward_of_another_task=("check", "flat-loss"),
)
def td_lambda(bug: str) -> Program:
    """TD(lambda) with one network for both sides: the stop alone makes one of them a target."""
    init = Init()
    params = {"features": init.mlp(DIM, 8, 4), "value": init.mlp(4, 1)}

    def losses(p: Any, x: jax.Array, r: jax.Array) -> Any:
        features = jnp.tanh(mlp(p["features"], x))
        features = stop_gradient(features) if bug == "features_stopped" else features
        values = audit.mark("v", mlp(p["value"], features)[..., 0])

        def back(following: jax.Array, inputs: Any) -> Any:
            reward, bootstrap = inputs
            gain = reward + 0.99 * (0.05 * bootstrap + 0.95 * following)
            return gain, gain

        gains = jax.lax.scan(back, values[-1], (r, values[1:]), reverse=True)[1]
        gains = audit.mark("lambda_return", gains)
        gains = gains if bug == "bootstrap_live" else stop_gradient(gains)
        task = jnp.zeros(()) if bug == "reward_of_another_task" else jnp.ones(())
        return {"td": mse(task * values[:-1], task * gains)}

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, 4, BATCH, DIM), normal(i, 3, BATCH)

    step = plain_step(losses, optax.adam(1e-3), params, batch)
    held = {"adam": ["features", "value"]}
    return Program(losses, step, params, batch, held, targets={"lambda_return": "v"})


@program(
    target_updated_every_step=("watch", "aliased-module"),
    target_never_updated=("watch", "stale-target"),
    networks_swapped=("watch", "never-moved"),
    greedy_action_in_place_of_its_value=("check", "dead-route"),
)
def dqn(bug: str) -> Program:
    """TD learning with a bootstrap target, double Q, and a hard update every other step."""
    q = Init().mlp(DIM, 8, 3)
    params, others = {"q": q}, {"target_q": q}

    def td(p: Any, others: Any, s: Any, a: Any, r: Any, s2: Any, done: Any) -> Any:
        best = jnp.argmax(mlp(p["q"], s2), -1)
        bootstrap = jnp.take_along_axis(mlp(others["target_q"], s2), best[:, None], 1)[:, 0]
        goal = stop_gradient(r + 0.99 * jnp.where(done, 0.0, bootstrap))
        values = mlp(p["q"], s)
        chosen = jnp.take_along_axis(values, a[:, None], 1)[:, 0]
        if bug == "greedy_action_in_place_of_its_value":
            chosen = jnp.argmax(values, -1).astype(jnp.float32)
        return {"td": optax.losses.huber_loss(chosen, goal).mean()}

    tx = optax.adam(1e-3)
    state, update = tx.init(params), updating(td, tx)
    period = {"target_updated_every_step": 1, "target_never_updated": 10**6}.get(bug, 2)

    def step(modules: Any, i: int) -> Any:
        nonlocal state
        p, t = {"q": modules["q"]}, {"target_q": modules["target_q"]}
        if bug == "networks_swapped":
            p, t = {"q": modules["target_q"]}, {"target_q": modules["q"]}
        p, state, found = update(p, state, t, *transitions(i))
        if bug == "networks_swapped":
            return {"q": modules["q"], "target_q": p["q"]}, found
        target = optax.periodic_update(p["q"], t["target_q"], jnp.asarray(i + 1), period)
        return {**p, "target_q": target}, found

    return Program(
        td,
        step,
        params,
        transitions,
        {"adam": ["q"]},
        others=others,
        targets={"target_q": "q"},
        expected={"td": {"q"}},
    )


@program(
    critic_with_a_live_target=("check", "target-live"),
    temperature_starved=("check", "starved-module"),
    twins_are_one=("watch", "aliased-module"),
    target_in_the_critics_optimiser=("check", "idle-parameters"),
    actor_in_no_optimiser=("check", "unowned-parameters"),
    critic_stopped_for_the_actor=("check", "missing-route"),
)
def sac(bug: str) -> Program:
    """Twin critics with targets, a stochastic actor, a temperature: one gradient for each loss."""
    keys = jax.random.split(jax.random.key(0), 3)
    q1 = eqx.nn.MLP(DIM + 2, "scalar", 8, 1, key=keys[0])
    q2 = eqx.nn.MLP(DIM + 2, "scalar", 8, 1, key=keys[0 if bug == "twins_are_one" else 1])
    params = {
        "actor": eqx.nn.MLP(DIM, 4, 8, 1, key=keys[2]),
        "q1": q1,
        "q2": q2,
        "target_q1": q1,
        "target_q2": q2,
        "log_alpha": jnp.zeros(()),
    }

    def act(actor: Any, s: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_std = jnp.split(jax.vmap(actor)(s), 2, -1)
        noise = jax.random.normal(key, mean.shape)
        action = jnp.tanh(mean + jnp.exp(log_std) * noise)
        log_prob = -log_std - noise**2 / 2 - jnp.log(1 - action**2 + 1e-6)
        return action, log_prob.sum(-1)

    def value(q: Any, s: jax.Array, a: jax.Array) -> jax.Array:
        return jax.vmap(q)(jnp.concatenate([s, a], -1))

    def critic_loss(p: Any, s: Any, a: Any, r: Any, s2: Any, key: Any) -> jax.Array:
        a2, log_prob = act(p["actor"], s2, key)
        q = jnp.minimum(value(p["target_q1"], s2, a2), value(p["target_q2"], s2, a2))
        goal = r + 0.99 * (q - jnp.exp(p["log_alpha"]) * log_prob)
        goal = goal if bug == "critic_with_a_live_target" else stop_gradient(goal)
        return mse(value(p["q1"], s, a), goal) + mse(value(p["q2"], s, a), goal)

    def actor_loss(p: Any, s: Any, key: Any) -> jax.Array:
        a, log_prob = act(p["actor"], s, key)
        q = jnp.minimum(value(p["q1"], s, a), value(p["q2"], s, a))
        if bug == "critic_stopped_for_the_actor":
            q, log_prob = stop_gradient(q), stop_gradient(log_prob)
        return jnp.mean(stop_gradient(jnp.exp(p["log_alpha"])) * log_prob - q)

    def alpha_loss(p: Any, s: Any, key: Any) -> jax.Array:
        _, log_prob = act(p["actor"], s, key)
        log_alpha = p["log_alpha"]
        if bug == "temperature_starved":
            return -jnp.mean(stop_gradient(jnp.exp(log_alpha)) * (log_prob - 2.0))
        return -jnp.mean(jnp.exp(log_alpha) * stop_gradient(log_prob - 2.0))

    def losses(p: Any, s: Any, a: Any, r: Any, s2: Any, key: Any) -> Any:
        return {
            "critic": critic_loss(p, s, a, r, s2, key),
            "actor": actor_loss({**p, **stop_gradient_of(p, "q1", "q2")}, s, key),
            "alpha": alpha_loss(p, s, key),
        }

    def batch(i: int) -> tuple[Any, ...]:
        key = jax.random.key(i)
        return normal(i, BATCH, DIM), normal(i, BATCH, 2), normal(i, BATCH), *frames(i + 1), key

    names = {"critic": ["q1", "q2"], "actor": ["actor"], "alpha": ["log_alpha"]}
    if bug == "critic_with_a_live_target":
        names["critic"] += ["target_q1", "target_q2"]
    tx = optax.adam(1e-3)
    states = {k: tx.init(eqx.filter(pick(params, n), eqx.is_array)) for k, n in names.items()}

    @eqx.filter_jit
    def update(p: Any, states: Any, *args: Any) -> Any:
        found = {}
        for name, own in names.items():

            def loss(mine: Any, p: Any = p, name: str = name) -> jax.Array:
                return losses({**p, **mine}, *args)[name]

            found[name], grads = eqx.filter_value_and_grad(loss)(pick(p, own))
            moves, state = tx.update(grads, states[name])
            p = {**p, **eqx.apply_updates(pick(p, own), moves)}
            states = {**states, name: state}
        for q in ("q1", "q2"):
            arrays, rest = eqx.partition(p[f"target_{q}"], eqx.is_array)
            moved = ema(arrays, eqx.filter(p[q], eqx.is_array))
            p = {**p, f"target_{q}": eqx.combine(moved, rest)}
        return p, states, found

    def step(p: Any, i: int) -> Any:
        nonlocal states
        p, states, found = update(p, states, *batch(i))
        return p, found

    optimizers = dict(names)
    if bug == "target_in_the_critics_optimiser":
        optimizers["critic"] = ["q1", "q2", "target_q1", "target_q2"]
    if bug == "actor_in_no_optimiser":
        optimizers = {"critic": ["q1", "q2"], "alpha": (["log_alpha"], ["alpha", "actor"])}
    return Program(
        losses,
        step,
        params,
        batch,
        optimizers,
        targets={"target_q1": "q1", "target_q2": "q2"},
        expected={"critic": {"q1", "q2"}, "actor": {"actor"}, "alpha": {"log_alpha"}},
    )


def stop_gradient_of(params: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those modules with every array stopped."""
    return {
        name: jax.tree.map(lambda x: stop_gradient(x) if eqx.is_array(x) else x, params[name])
        for name in names
    }


@program(
    forward_model_moves_the_features=("check", "unexpected-route"),
    features_of_argmax=("check", "missing-route"),
    policy_into_the_features=("check", "unexpected-route"),
)
def curiosity(bug: str) -> Program:
    """ICM: features learn from the inverse model; the forward model's error is a reward."""
    init = Init()
    params = {
        "features": init.mlp(DIM, 8, 4),
        "inverse": init.mlp(8, 8, 3),
        "forward": init.mlp(4 + 3, 8, 4),
        "policy": init.mlp(DIM, 8, 3),
    }

    def losses(p: Any, s: Any, a: Any, r: Any, s2: Any, done: Any) -> Any:
        f, f2 = mlp(p["features"], s), mlp(p["features"], s2)
        pair = jnp.concatenate([f, f2], -1)
        if bug == "features_of_argmax":
            pair = jax.nn.one_hot(jnp.argmax(pair, -1), 8)
        inverse = optax.losses.softmax_cross_entropy_with_integer_labels(mlp(p["inverse"], pair), a)
        if bug != "forward_model_moves_the_features":
            f, f2 = stop_gradient(f), stop_gradient(f2)
        guess = mlp(p["forward"], jnp.concatenate([f, jax.nn.one_hot(a, 3)], -1))
        error = jnp.mean((guess - f2) ** 2, -1)
        reward = error if bug == "policy_into_the_features" else stop_gradient(error)
        log_prob = jax.nn.log_softmax(mlp(p["policy"], s))
        chosen = jnp.take_along_axis(log_prob, a[:, None], 1)[:, 0]
        return {
            "inverse": inverse.mean(),
            "forward": error.mean(),
            "policy": -(chosen * (r + reward)).mean(),
        }

    step = plain_step(losses, optax.adam(1e-3), params, transitions)
    return Program(
        losses,
        step,
        params,
        transitions,
        {"adam": list(params)},
        expected={
            "inverse": {"features", "inverse"},
            "forward": {"forward"},
            "policy": {"policy"},
        },
    )


@program(
    goal_predicts_itself=("check", "dead-route"),
    random_network_is_trained=("check", "unexpected-route"),
    random_network_decays=("watch", "moved-without-route"),
)
def random_network_distillation(bug: str) -> Program:
    """A predictor of a random network, which is an argument of its own and stays as it is."""
    init = Init()
    params, others = {"predictor": init.mlp(DIM, 8, 4)}, {"random": init.mlp(DIM, 8, 4)}
    if bug == "random_network_is_trained":
        params, others = {**params, **others}, {}

    def losses(p: Any, *args: Any) -> Any:
        others, x = args if len(args) == 2 else (p, *args)
        goal = mlp(others["random"], x)
        predicted = goal if bug == "goal_predicts_itself" else mlp(p["predictor"], x)
        return {"novelty": mse(predicted, goal)}

    tx = optax.adamw(1e-3, weight_decay=0.1)
    # zero gradients, and weight decay all the same
    swept = {**params, **others} if bug == "random_network_decays" else params
    state = tx.init(swept)

    @jax.jit
    def update(modules: Any, state: Any, x: jax.Array) -> Any:
        own, rest = pick(modules, params), pick(modules, others)
        args = (rest, x) if others else (x,)
        loss, grads = jax.value_and_grad(lambda p: losses(p, *args)["novelty"])(own)
        if bug == "random_network_decays":
            grads = {**grads, **jax.tree.map(jnp.zeros_like, rest)}
        moves, state = tx.update(grads, state, pick(modules, swept))
        moved: Any = optax.apply_updates(pick(modules, swept), moves)
        return {**modules, **moved}, state, {"novelty": loss}

    def step(modules: Any, i: int) -> Any:
        nonlocal state
        modules, state, found = update(modules, state, *frames(i))
        return modules, found

    return Program(
        losses,
        step,
        params,
        frames,
        {"adamw": list(params)},
        others=others,
        expected={"novelty": {"predictor"}},
    )


# Others ------------------------------------------------------------------------------------------


@program(
    discriminator_loss_into_the_generator=("check", "unexpected-route"),
    generator_stopped=("check", "missing-route"),
    optimisers_swapped=("check", "idle-parameters"),
)
def gan(bug: str) -> Program:
    """Two players; each loss stops what belongs to the other."""
    init = Init()
    params = {"generator": init.mlp(3, 8, DIM), "discriminator": init.mlp(DIM, 8, 1)}

    def losses(p: Any, real: jax.Array, noise: jax.Array) -> Any:
        fake = mlp(p["generator"], noise)
        seen = fake if bug == "discriminator_loss_into_the_generator" else stop_gradient(fake)
        shown = stop_gradient(fake) if bug == "generator_stopped" else fake
        frozen = stop_gradient(p["discriminator"])
        on_real, on_fake = mlp(p["discriminator"], real), mlp(p["discriminator"], seen)
        return {
            "discriminator": jnp.mean(jax.nn.softplus(-on_real) + jax.nn.softplus(on_fake)),
            "generator": jnp.mean(jax.nn.softplus(-mlp(frozen, shown))),
        }

    def batch(i: int) -> tuple[Any, ...]:
        return normal(i, BATCH, DIM), normal(i, BATCH, 3)

    every = ["generator", "discriminator"]  # which the update sums
    held: dict[str, Any] = {name: ([name], every) for name in every}
    if bug == "optimisers_swapped":
        held = {"generator": ["discriminator"], "discriminator": ["generator"]}
    return Program(
        losses,
        plain_step(losses, optax.adam(1e-4, b1=0.5), params, batch),
        params,
        batch,
        held,
        expected={"discriminator": {"discriminator"}, "generator": {"generator"}},
    )


@program(
    backbone_in_adamw=("watch", "moved-without-route"),
    backbone_not_stopped=("check", "unowned-parameters"),
    labels_times_zero=("check", "flat-loss"),
)
def linear_probe(bug: str) -> Program:
    """A probe on a frozen backbone, rematerialised."""
    init = Init()
    params = {"backbone": init.mlp(DIM, 8, 4), "probe": init.mlp(4, 3)}

    def losses(p: Any, s: Any, label: Any, *rest: Any) -> Any:
        backbone = p["backbone"]
        if bug != "backbone_not_stopped":
            backbone = stop_gradient(backbone)
        logits = mlp(p["probe"], jax.checkpoint(mlp)(backbone, s))
        valid = jnp.zeros(BATCH) if bug == "labels_times_zero" else jnp.ones(BATCH)
        loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, label)
        return {"probe": jnp.mean(loss * valid)}

    tx = optax.adamw(1e-3, weight_decay=0.1)
    if bug != "backbone_in_adamw":
        labels = {"backbone": "frozen", "probe": "trained"}
        tx = optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)
    step = plain_step(losses, tx, params, transitions)
    return Program(
        losses, step, params, transitions, {"adamw": ["probe"]}, expected={"probe": {"probe"}}
    )


@program(
    value_into_the_torso=("check", "unexpected-route"),
    advantage_live=("check", "unexpected-route"),
    entropy_of_a_constant=("check", "dead-route"),
)
def ppo(bug: str) -> Program:
    """A torso that the policy trains, a value head beside it, and the clipped ratio."""
    init = Init()
    params = {
        "torso": init.mlp(DIM, 8, 4),
        "policy": init.mlp(4, 3),
        "value": init.mlp(4, 8, 1),
    }

    def losses(p: Any, s: Any, a: Any, ret: Any, old: Any) -> Any:
        h = jax.nn.relu(mlp(p["torso"], s))
        log_prob = jax.nn.log_softmax(mlp(p["policy"], h))
        chosen = jnp.take_along_axis(log_prob, a[:, None], 1)[:, 0]
        values = mlp(p["value"], h if bug == "value_into_the_torso" else stop_gradient(h))[:, 0]
        advantage = ret - values
        advantage = advantage if bug == "advantage_live" else stop_gradient(advantage)
        ratio = jnp.exp(chosen - old)
        clipped = jnp.clip(ratio, 0.8, 1.2)
        probability = jnp.exp(log_prob)
        if bug == "entropy_of_a_constant":
            log_prob, probability = stop_gradient((log_prob, probability))
        return {
            "policy": -jnp.mean(jnp.minimum(ratio * advantage, clipped * advantage)),
            "value": mse(values, ret),
            "entropy": 0.01 * jnp.mean(jnp.sum(probability * log_prob, -1)),
        }

    def batch(i: int) -> tuple[Any, ...]:
        s, a, r, _, _ = transitions(i)
        return s, a, r, np.full(BATCH, -1.1, np.float32)

    tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))
    return Program(
        losses,
        plain_step(losses, tx, params, batch),
        params,
        batch,
        {"adam": list(params)},
        expected={
            "policy": {"torso", "policy"},
            "value": {"value"},
            "entropy": {"torso", "policy"},
        },
    )
