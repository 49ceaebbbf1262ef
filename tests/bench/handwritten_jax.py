"""`hzp` as a good engineer would write it for JAX and Equinox: the baseline of the compiled step.

Same mathematics as specs/latentroles_specs/hzp.py at its default gates. Nothing is imported from
latentroles: the layers, the losses and every `stop_gradient` are written here by hand.
"""

from collections.abc import Callable, Mapping
from functools import partial

import einops
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.lax import stop_gradient

LEVELS = ((8, 4), (8, 4), (6, 4))  # box size and step of each level of the pyramid


class PatchConv(eqx.Module):
    """A convolution whose kernel is its stride, as the matrix product that it is.

    `eqx.nn.Conv2d` would do; XLA takes twice as long for it on a CPU. Weight (out, in, k, k).
    """

    weight: Array
    bias: Array

    def __init__(self, inputs: int, outputs: int, kernel: int):
        self.weight = jnp.zeros((outputs, inputs, kernel, kernel))
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Array, *, key: None = None) -> Array:
        outputs, _, k, _ = self.weight.shape
        patches = einops.rearrange(x, "c (h p) (w q) -> (h w) (c p q)", p=k, q=k)
        y = patches @ self.weight.reshape(outputs, -1).T + self.bias
        return einops.rearrange(y, "(h w) o -> o h w", h=x.shape[1] // k)


class PatchDeconv(eqx.Module):
    """The transpose of PatchConv. Weight (in, out, k, k)."""

    weight: Array
    bias: Array

    def __init__(self, inputs: int, outputs: int, kernel: int):
        self.weight = jnp.zeros((inputs, outputs, kernel, kernel))
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Array, *, key: None = None) -> Array:
        y = jnp.einsum("copq,chw->ohpwq", self.weight, x)
        return einops.rearrange(y, "o h p w q -> o (h p) (w q)") + self.bias[:, None, None]


class GRU(eqx.Module):
    """A GRU with one bias per gate, whose input projection is taken for a whole sequence."""

    weight_input: Array
    weight_hidden: Array
    bias: Array

    def __init__(self, inputs: int, hidden: int):
        self.weight_input = jnp.zeros((3 * hidden, inputs))
        self.weight_hidden = jnp.zeros((3 * hidden, hidden))
        self.bias = jnp.zeros(3 * hidden)

    def project(self, u: Array) -> Array:
        return u @ self.weight_input.T + self.bias

    def step(self, h: Array, projected: Array) -> Array:
        reset_in, update_in, new_in = jnp.split(projected, 3, axis=-1)
        reset_h, update_h, new_h = jnp.split(h @ self.weight_hidden.T, 3, axis=-1)
        new = jnp.tanh(new_in + jax.nn.sigmoid(reset_in + reset_h) * new_h)
        update = jax.nn.sigmoid(update_in + update_h)
        return new + update * (h - new)


class HandwrittenHzp(eqx.Module):
    """z from pixels, h from a GRU, p from summed moves; 14 losses, one backward.

    Args:
        frame: channels, height, width; the sides are multiples of 8.
    """

    encoder: eqx.nn.Sequential
    decoder: eqx.nn.Sequential
    predictor: GRU
    h_to_z: eqx.nn.MLP
    z_to_h: eqx.nn.MLP
    h_action_delta_projector: eqx.nn.MLP
    p_action_delta_projector: eqx.nn.MLP
    dp_action_delta_projector: eqx.nn.Linear
    pose_jump: eqx.nn.MLP
    inverse_dynamics_h: eqx.nn.MLP
    actions: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    pose_dim: int = eqx.field(static=True)
    horizon: int = eqx.field(static=True)

    def __init__(
        self,
        frame: tuple[int, int, int] = (3, 56, 56),
        actions: int = 3,
        dim: int = 64,
        pose_dim: int = 4,
        horizon: int = 4,
    ):
        self.actions, self.dim, self.pose_dim, self.horizon = actions, dim, pose_dim, horizon
        channels, height, width = frame
        grid = (64, height // 8, width // 8)
        flat = 64 * (height // 8) * (width // 8)
        key = jax.random.key(0)  # the weights are loaded
        mlp = partial(eqx.nn.MLP, width_size=128, depth=1, activation=jax.nn.silu, key=key)
        silu = eqx.nn.Lambda(jax.nn.silu)
        self.encoder = eqx.nn.Sequential(
            [
                PatchConv(channels, 32, 4),
                silu,
                PatchConv(32, 64, 2),
                silu,
                eqx.nn.Lambda(jnp.ravel),
                eqx.nn.Linear(flat, dim, key=key),
            ]
        )
        self.decoder = eqx.nn.Sequential(
            [
                eqx.nn.Linear(dim, flat, key=key),
                eqx.nn.Lambda(partial(jnp.reshape, shape=grid)),
                silu,
                PatchDeconv(64, 32, 2),
                silu,
                PatchDeconv(32, channels, 4),
            ]
        )
        self.predictor = GRU(dim + actions, dim)
        self.h_to_z = mlp(dim, dim)
        self.z_to_h = mlp(dim, dim)
        self.h_action_delta_projector = mlp(dim + actions, dim)
        self.p_action_delta_projector = mlp(pose_dim + dim + actions, pose_dim)
        self.dp_action_delta_projector = eqx.nn.Linear(actions, pose_dim, key=key)
        self.pose_jump = mlp(pose_dim + dim + 2 * actions, pose_dim)
        self.inverse_dynamics_h = mlp(2 * dim, actions)

    def load(self, weights: Mapping[str, Mapping[str, np.ndarray]]) -> "HandwrittenHzp":
        """This model with the weights of a compiled one, {module: {path: array}}."""
        paths = [(module, path) for module, arrays in weights.items() for path in arrays]
        return eqx.tree_at(
            lambda model: [model.parameter_at(*p) for p in paths],
            self,
            [jnp.asarray(weights[module][path]) for module, path in paths],
        )

    def parameter_at(self, module: str, path: str) -> Array:
        """The parameter that the compiled model has at this path."""
        owner = getattr(self, module)
        *index, name = path.split(".")
        if isinstance(owner, eqx.nn.MLP):  # its layers are linear, the activation is no layer
            owner = owner.layers[int(index[0]) // 2]
        elif index:
            owner = owner[int(index[0])]
        return getattr(owner, name)

    def imagine(self, h: Array, action: Array) -> Array:
        """K open-loop steps from h_0 .. h_(T-K-1): (K, batch, T - K, dim)."""

        def step(h: Array, a: Array) -> tuple[Array, Array]:
            seen = each(self.h_to_z, h)
            h = self.predictor.step(h, self.predictor.project(jnp.concatenate([seen, a], axis=-1)))
            return h, h

        return jax.lax.scan(step, h, windows(action, self.horizon))[1]

    def integrate(self, context: Array) -> tuple[Array, Array]:
        """p_0 .. p_(T-1) and dp_0 .. dp_(T-2) from (batch, T - 1, dim + actions)."""

        def step(p: Array, now: Array) -> tuple[Array, tuple[Array, Array]]:
            dp = jax.vmap(self.p_action_delta_projector)(jnp.concatenate([p, now], axis=-1))
            return p + dp, (p + dp, dp)

        start = jnp.zeros((context.shape[0], self.pose_dim), context.dtype)
        _, (p, dp) = jax.lax.scan(step, start, context.swapaxes(0, 1))
        return jnp.concatenate([start[:, None], p.swapaxes(0, 1)], axis=1), dp.swapaxes(0, 1)

    def __call__(self, x: Array, a: Array, pose: Array) -> tuple[Array, dict[str, Array]]:
        """x (batch, T, C, H, W), a (batch, T - 1), pose (batch, T, n) -> total, losses."""
        action = jax.nn.one_hot(a, self.actions, dtype=x.dtype)

        z = each(self.encoder, x)
        residual = each(self.decoder, z) - x
        z_target = stop_gradient(z)

        h_start = jnp.zeros((x.shape[0], self.dim), x.dtype)
        projected = self.predictor.project(jnp.concatenate([z_target[:, :-1], action], axis=-1))

        def step(h: Array, p: Array) -> tuple[Array, Array]:
            h = self.predictor.step(h, p)
            return h, h

        _, h_rest = jax.lax.scan(step, h_start, projected.swapaxes(0, 1))
        h = jnp.concatenate([h_start[:, None], h_rest.swapaxes(0, 1)], axis=1)
        h_before, h_after = h[:, :-1], h[:, 1:]
        h_delta = h_after - h_before
        h_stop = stop_gradient(h)
        z_hat = each(self.h_to_z, h)

        p, dp = self.integrate(jnp.concatenate([h_stop[:, :-1], action], axis=-1))
        jump = each(
            self.pose_jump,
            jnp.concatenate([p[:, :-2], h_stop[:, :-2], action[:, :-1], action[:, 1:]], axis=-1),
        )

        k = self.horizon
        imagined = self.imagine(h[:, :-k], action)
        imagined_delta = jnp.diff(imagined, axis=0, prepend=h[None, :, :-k])
        decode_z = jax.tree.map(lambda v: stop_gradient(v) if eqx.is_array(v) else v, self.h_to_z)

        losses = {
            "jepa": mse(z_hat[:, 1:], z_target[:, 1:]),
            "recon_multi_box": multi_box(residual),
            "pixel_delta_multi_box": multi_box(jnp.diff(residual, axis=1)),
            "h2z": mse(z_hat, z_target),
            "z2h": mse(each(decode_z, each(self.z_to_h, z_target)), z_target),
            "action_delta_h": mse(
                each(self.h_action_delta_projector, jnp.concatenate([h_before, action], axis=-1)),
                h_delta,
            ),
            "rollout_kstep_h": mse(imagined, windows(h_stop[:, 1:], k)),
            "rollout_kstep_delta_h": mse(imagined_delta, windows(stop_gradient(h_delta), k)),
            "action_delta_dp": mse(dp, each(self.dp_action_delta_projector, action)),
            "additivity_dp": mse(dp[:, :-1] + dp[:, 1:], jump),
            "rollout_kstep_p": sum(mse(p[:, i:], pose[:, i:]) for i in range(2, k + 1)) / (k - 1),
            "scale_dp": (jnp.median(length(dp)) - 1.0) ** 2,
            "geometry_rank_p": goal_ranking(p, margin=0.1),
            "inverse_dynamics_h": optax.softmax_cross_entropy_with_integer_labels(
                each(self.inverse_dynamics_h, jnp.concatenate([h_before, h_after], axis=-1)), a
            ).mean(),
        }
        return sum(losses.values()), losses


def each(module: eqx.Module, x: Array) -> Array:
    """A module applied to every frame of a batch of sequences; one vmap is faster than two."""
    y = jax.vmap(module)(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])


def mse(prediction: Array, target: Array) -> Array:
    return jnp.mean((prediction - target) ** 2)


def windows(x: Array, size: int) -> Array:
    """Every window of `size` frames: (batch, time, dim) -> (size, batch, time - size + 1, dim)."""
    count = x.shape[1] - size + 1
    return jnp.stack([x[:, i : i + count] for i in range(size)])


def length(x: Array) -> Array:
    """||x|| over the last axis; jnp.linalg.norm has derivative NaN at 0, this has 0."""
    squared = jnp.sum(x**2, axis=-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def multi_box(residual: Array) -> Array:
    """Mean over three levels of mean(w |r|); residual (batch, T, C, H, W), halved between them."""
    residual = residual.reshape(-1, *residual.shape[2:])
    total = 0.0
    for level, (kernel, stride) in enumerate(LEVELS):
        if level:
            residual = avg_pool(residual, 2, 2)
        error = jnp.mean(jnp.abs(residual), axis=1)
        total = total + jnp.mean(box_weight(stop_gradient(error), kernel, stride) * error)
    return total / len(LEVELS)


def box_weight(error: Array, kernel: int, stride: int) -> Array:
    """min((error / local mean)^2, 100), for (N, H, W)."""
    kernel = min(kernel, *error.shape[1:])
    local = avg_pool(error, kernel, min(stride, kernel))
    local = jax.image.resize(local, error.shape, "bilinear")
    return jnp.minimum(((error + 1e-6) / (local + 1e-6)) ** 2, 100.0)


def avg_pool(x: Array, kernel: int, stride: int) -> Array:
    """Means over boxes of the last two axes, without padding."""
    lead = (1,) * (x.ndim - 2)
    window, step = (*lead, kernel, kernel), (*lead, stride, stride)
    # The zero has no array type, so that JAX sees the sum that it knows to differentiate.
    return jax.lax.reduce_window(x, x.dtype.type(0), jax.lax.add, window, step, "VALID") / kernel**2


def goal_ranking(p: Array, margin: float) -> Array:
    """mean relu(margin - (d_i - d_j)) over i < j, d the distance to the last position."""
    distance = length(p - p[:, -1:])
    i, j = np.triu_indices(p.shape[1], k=1)
    return jnp.mean(jax.nn.relu(margin - (distance[:, i] - distance[:, j])))


def training_step(model: HandwrittenHzp) -> Callable[[Mapping[str, np.ndarray]], dict[str, float]]:
    """A function that takes a batch of numpy arrays, moves the model and returns its losses."""
    optimiser = optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(1e-3, weight_decay=1e-4))
    arrays, rest = eqx.partition(model, eqx.is_array)
    held = (arrays, optimiser.init(arrays))

    @partial(jax.jit, donate_argnums=0)
    def update(held: tuple, x: Array, a: Array, pose: Array) -> tuple[tuple, dict[str, Array]]:
        arrays, state = held

        def loss(arrays: HandwrittenHzp) -> tuple[Array, dict[str, Array]]:
            return eqx.combine(arrays, rest)(x.astype(jnp.float32) / 255, a, pose)

        (total, losses), grads = jax.value_and_grad(loss, has_aux=True)(arrays)
        updates, state = optimiser.update(grads, state, arrays)
        return (optax.apply_updates(arrays, updates), state), {**losses, "total": total}

    def step(batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        nonlocal held
        held, losses = update(held, batch["x"], batch["a"].astype(np.int32), batch["pose"])
        return {name: float(value) for name, value in losses.items()}

    return step
