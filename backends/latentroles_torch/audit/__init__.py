"""Audits of PyTorch training code that was never written as a spec.

`routes` reads which loss updates which module off the user's own loss tensors, `check` judges it,
`watch` runs a few of the user's own steps and says what moved, `assert_routes` is for a test suite.

What the structure of an autograd graph cannot say:

- A branch of Python that was not taken left nothing behind, and is not seen.
- A path counts as reached whatever its derivative: `x * 0`, a dead unit, a custom
  `autograd.Function` whose backward returns None.
- A piece under `torch.compile` is one node: each of its outputs reaches each of its inputs.
- A stop leaves no trace: what was detached reads "unconnected", as what was never used.
- Reentrant checkpoints hide the parameters inside them, and are refused.
"""

from latentroles.testing.routes import assert_routes as assert_routes

from .step import check as check
from .step import routes as routes
from .watching import watch as watch

__all__ = ["assert_routes", "check", "routes", "watch"]
