"""Optimisers on JAX: optax's pieces with every argument explicit, as pure functions.

Parameters are {"module/path": array}, the reached ones only. A state is
{"count": int32 array, slot: {"module/path": array}}; its saved arrays have the names that
`latentroles.train.optimisers.state_shapes` gives.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from latentroles.train.optimisers import SGD, Adam, AdamW, Optimiser, check_state

Params = dict[str, Array]
State = dict[str, Any]


def _sgd(optimiser: SGD, grads: Params, state: State, params: Params) -> tuple[Params, State]:
    if not optimiser.momentum:
        return grads, {}
    trace = optax.trace(decay=optimiser.momentum, nesterov=False)
    direction, after = trace.update(grads, optax.TraceState(trace=state["momentum"]))
    return direction, {"momentum": after.trace}  # type: ignore[attr-defined]


def _adam(
    optimiser: Adam | AdamW, grads: Params, state: State, params: Params
) -> tuple[Params, State]:
    scale = optax.scale_by_adam(b1=optimiser.b1, b2=optimiser.b2, eps=optimiser.eps, eps_root=0.0)
    before = optax.ScaleByAdamState(count=state["count"], mu=state["mu"], nu=state["nu"])
    # optax raises a float to an integer count, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        direction, after = scale.update(grads, before)
    return direction, {"mu": after.mu, "nu": after.nu}  # type: ignore[attr-defined]


def _adamw(optimiser: AdamW, grads: Params, state: State, params: Params) -> tuple[Params, State]:
    direction, after = _adam(optimiser, grads, state, params)
    decay = optax.add_decayed_weights(optimiser.weight_decay)
    decayed, _ = decay.update(direction, decay.init(params), params)
    return decayed, after  # type: ignore[return-value]


DIRECTIONS: dict[type, Callable[[Any, Params, State, Params], tuple[Params, State]]] = {
    SGD: _sgd,
    Adam: _adam,
    AdamW: _adamw,
}


def init(optimiser: Optimiser, params: Params) -> State:
    """Returns the state before the first update."""
    slots = {slot: {k: jnp.zeros_like(p) for k, p in params.items()} for slot in optimiser.slots}
    return {"count": jnp.zeros((), jnp.int32), **slots}


def update(
    optimiser: Optimiser,
    grads: Params,
    state: State,
    params: Params,
    learning_rate: float | Array,
) -> tuple[Params, State]:
    """Returns the parameters and the state after one step.

    `optimiser` is static under jit; `learning_rate` may be traced, and comes from
    `latentroles.train.optimisers.learning_rate(optimiser, step)` on the host.
    """
    if optimiser.clip_norm is not None:
        grads = clip(grads, optimiser.clip_norm)
    direction, slots = DIRECTIONS[type(optimiser)](optimiser, grads, state, params)
    moved = {k: p - jnp.asarray(learning_rate, p.dtype) * direction[k] for k, p in params.items()}
    return moved, {"count": state["count"] + 1, **slots}


def state_to_numpy(optimiser: Optimiser, state: State) -> dict[str, np.ndarray]:
    """Returns a copy of the state: "slot/module/path" and "count"; bfloat16 as float32."""
    arrays: dict[str, np.ndarray] = {"count": np.asarray(state["count"], dtype=np.int64)}
    for slot in optimiser.slots:
        for path, value in state[slot].items():
            array = np.array(value)
            array = array.astype(np.float32) if array.dtype == jnp.bfloat16 else array
            arrays[f"{slot}/{path}"] = array
    return arrays


def state_from_numpy(
    optimiser: Optimiser, params: Params, arrays: Mapping[str, np.ndarray]
) -> State:
    """Returns the state that `state_to_numpy` gave, in the dtypes and on the devices of `params`.

    Raises CheckpointError when names or shapes differ.
    """
    check_state(optimiser, {k: tuple(p.shape) for k, p in params.items()}, arrays)
    slots = {
        slot: {
            path: jax.device_put(np.asarray(arrays[f"{slot}/{path}"], p.dtype), p.sharding)
            for path, p in params.items()
        }
        for slot in optimiser.slots
    }
    return {"count": jnp.asarray(arrays["count"], jnp.int32), **slots}


def clip(grads: Params, clip_norm: float) -> Params:
    """Returns the gradients times min(1, clip_norm / norm), norm being that of all of them.

    Written as clip_norm / max(norm, clip_norm), which is 1 exactly below the bound, and safe at 0.
    """
    if not grads:
        return {}
    squares = [jnp.sum(jnp.square(_wide(grads[path]))) for path in sorted(grads)]
    norm = jnp.sqrt(sum(squares[1:], squares[0]))
    scale = clip_norm / jnp.maximum(norm, clip_norm)
    return {path: g * scale.astype(g.dtype) for path, g in grads.items()}


def _wide(g: Array) -> Array:
    return g.astype(jnp.float32) if g.dtype == jnp.bfloat16 else g
