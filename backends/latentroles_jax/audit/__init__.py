"""Audits of JAX training code that was never written as a spec.

`routes` reads which loss updates which module off the program of the user's own loss function,
`check` judges it and looks at gradients in numbers beside it, `watch` runs a few of the user's own
steps and says what moved, `mark` names a latent, `assert_routes` is for a test suite.

Gradient ends at `stop_gradient`, at whole numbers and truth values, and at operations whose
derivative is 0 (floor, round, sign). It passes a custom_vjp or custom_jvp where its rule does.

What the structure of a program cannot say:

- Every branch of a `cond` or a `switch` counts, and every step of a loop, taken or not. A branch
  of Python that was not taken left nothing behind.
- A path counts as reached whatever its derivative: `x * 0`, a dead unit, a mask. `check` reports
  such a path as a silent-route.
- An array is one thing: what is written into one entry and what is read from another are
  connected.
- An operation that is not known here counts as one that passes everything, and so does a custom
  derivative inside a `shard_map` whose rule needs the axes of the mesh.
"""

from latentroles.testing.routes import assert_routes as assert_routes

from .marks import mark as mark
from .step import check as check
from .step import routes as routes
from .watching import watch as watch

__all__ = ["assert_routes", "check", "mark", "routes", "watch"]
