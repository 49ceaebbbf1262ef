"""Names of floating types, and the float64 context."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from latentroles import arguments
from latentroles.errors import SpecError

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def dtype_of(name: str) -> torch.dtype:
    """Returns the torch dtype called "float32", "float64" or "bfloat16"."""
    return DTYPES[arguments.choice("latentroles_torch", "dtype", name, DTYPES)]


def x64() -> AbstractContextManager:
    """Returns the context in which float64 exists: in PyTorch, always."""
    return nullcontext()


def to_numpy(value: torch.Tensor) -> np.ndarray:
    """Returns a copy without its graph; bfloat16 as float32."""
    value = value.detach()
    value = value.float() if value.dtype == torch.bfloat16 else value
    return value.cpu().numpy().copy()


def device_of(name: Any) -> torch.device:
    """Returns the torch device called "cpu", "cuda", "cuda:1"; None is the CPU."""
    try:
        device = torch.device("cpu" if name is None else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise SpecError(
            f"latentroles_torch has no device {name!r} ({str(error).splitlines()[0]}). On this "
            f"machine: cpu{', cuda' if torch.cuda.is_available() else ''}."
        ) from error
    return device
