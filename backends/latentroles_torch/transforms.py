"""A step passed through what torch can do to a function: compiled, rematerialised, vmapped."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from .model import Model, gradients_of
from .precision import to_numpy

Run = Callable[[Any], Any]


def _compiled(run: Run) -> Run:
    torch.compiler.reset()  # each step is new code, of which torch keeps only a few
    # Its graphs, without the code that is generated from them: that needs a C++ compiler.
    return torch.compile(run, backend="aot_eager")


def _rematerialised(run: Run) -> Run:
    return lambda given: checkpoint(run, given, use_reentrant=False)


TRANSFORMS: dict[str, Callable[[Run], Run]] = {
    "eager": lambda run: run,
    "compile": _compiled,
    "remat": lambda run: _compiled(_rematerialised(run)),
    "vmap": lambda run: torch.vmap(run),
}


def transformed(
    model: Model, how: str, batch: Any, noise: Any = None, state: Any = None, step: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """The losses and the gradient of the total of a transformed step.

    Args:
        how: one of `TRANSFORMS`. For "vmap" every array has one more axis in front, and so have
            the losses; the gradient is that of the sum of the totals.
    """

    def run(given: Any) -> Any:
        out = model(*given, step)
        return out.losses, out.total

    with warnings.catch_warnings():
        # Of how array_api_compat finds the library of an array, which does not depend on a cache;
        # and of what torch's compiler does with an autograd function.
        warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru")
        warnings.filterwarnings("ignore", message=".*Function'> should not be instantiated")
        losses, total = TRANSFORMS[how](run)((model.inputs(batch), noise, state))
    return {n: to_numpy(v) for n, v in losses.items()}, gradients_of(model, total.sum())
