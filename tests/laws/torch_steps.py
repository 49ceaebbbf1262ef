"""One step on torch, for the laws: values, and the gradient of every loss by itself."""

from typing import Any

import numpy as np
import torch

from latentroles_torch.reference import Primitives as Primitives
from laws.case import Case, Gradients, Results


def inputs(model: Any, case: Case) -> tuple[Any, Any, Any]:
    """The batch, the noise and the state of a case as tensors."""
    state = {n: torch.from_numpy(np.asarray(a)) for n, a in case.state().items()}
    return model.inputs(case.batch), model.noise(case.step, like=case.batch), state


def step(model: Any, case: Case) -> Results:
    out = model(*inputs(model, case), case.step)
    return Results(
        {n: float(v.detach()) for n, v in out.losses.items()},
        float(out.total.detach()),
        {n: v.detach().numpy() for n, v in out.latents.items()},
        {n: v.detach().numpy() for n, v in out.state.items()},
        {n: gradients(model, v) for n, v in out.losses.items()},
    )


def gradients(model: Any, value: torch.Tensor) -> Gradients:
    names = [
        (m, path) for m in model.spec.modules for path, _ in getattr(model, m).named_parameters()
    ]
    params = [p for m in model.spec.modules for p in getattr(model, m).parameters()]
    found: Any = [None] * len(params)
    if value.requires_grad:
        found = torch.autograd.grad(value, params, retain_graph=True, allow_unused=True)
    result: Gradients = {m: {} for m in model.spec.modules}
    for (m, path), p, g in zip(names, params, found, strict=True):
        result[m][path] = (torch.zeros_like(p) if g is None else g).numpy()
    return result
