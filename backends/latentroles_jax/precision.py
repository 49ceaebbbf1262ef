"""Names of floating types, and the float64 context."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentroles import arguments
from latentroles.errors import SpecError

DTYPES = {"float32": jnp.float32, "float64": jnp.float64, "bfloat16": jnp.bfloat16}


def dtype_of(name: str) -> jnp.dtype:
    """Returns the dtype called "float32", "float64" or "bfloat16"."""
    dtype = jnp.dtype(DTYPES[arguments.choice("latentroles_jax", "dtype", name, DTYPES)])
    if dtype == jnp.float64 and jnp.result_type(float) != jnp.float64:
        raise SpecError(
            "float64 in JAX must be switched on before arrays are made; received dtype='float64' "
            "with jax_enable_x64 off. Fix: work under `with latentroles_jax.precision.x64():`."
        )
    return dtype


def x64() -> AbstractContextManager:
    """Returns the context in which float64 exists: in JAX it is off unless asked for."""
    return jax.enable_x64(True)


def of_dtype(dtype: Any) -> Callable[[], AbstractContextManager]:
    """Returns the context to work in with arrays of `dtype`, a dtype or its name."""
    return x64 if jnp.dtype(dtype) == jnp.float64 else nullcontext


def to_numpy(value: jax.Array) -> np.ndarray:
    """Returns a copy; bfloat16 as float32."""
    array = np.array(value)
    return array.astype(np.float32) if array.dtype == jnp.bfloat16 else array


def device_of(name: Any) -> Any:
    """Returns the JAX device called "cpu", "cuda", "cuda:1"; None stays None, JAX's own choice."""
    if name is None or not isinstance(name, str):
        return name
    kind, _, index = name.partition(":")
    try:
        return jax.devices(kind)[int(index or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        found = ", ".join(f"{d.platform}:{d.id}" for d in jax.devices())
        raise SpecError(
            f"latentroles_jax has no device {name!r}; JAX sees {found}. For a GPU, install JAX "
            "with its CUDA plugin."
        ) from error
