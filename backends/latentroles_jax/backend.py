"""The JAX backend as latentroles sees it."""

from typing import Any

from . import layers, model, ops, reference, transforms
from .emit import JaxDialect
from .precision import device_of, x64
from .trainer import Trainer


class JaxBackend:
    """Everything that core asks of a backend."""

    name = "jax"
    # JAX takes gradients over all leaves of a model, a target's parameters among them.
    targets_flow = True
    # What the laws may ask of it: see `latentroles.testing.laws.CAPABILITIES`.
    capabilities = frozenset(
        {"gradients", "source", "training", "float64", "bfloat16", "compile", "remat", "vmap"}
    )
    # Compiling a small spec takes a second, so that laws look at fewer examples.
    pace = 1 / 32
    dialect = JaxDialect()
    build = staticmethod(model.build)
    weights = staticmethod(model.weights)
    load_weights = staticmethod(model.load_weights)
    gradients = staticmethod(model.gradients)
    reserved_names = staticmethod(model.reserved_names)
    trainable = staticmethod(model.trainable)
    update_targets = staticmethod(model.update_targets)
    arrays = staticmethod(model.arrays)
    loss_gradients = staticmethod(reference.loss_gradients)
    reference = staticmethod(reference.reference)
    transformed = staticmethod(transforms.transformed)
    layers = layers
    ops = ops
    x64 = staticmethod(x64)
    device_of = staticmethod(device_of)

    def trainer(self, model: Any, optimisers: Any, groups: Any = None, seed: int = 0) -> Trainer:
        """A trainer of a model; see `latentroles.train.loop.Trainer`."""
        return Trainer(model, optimisers, groups, seed)


BACKEND = JaxBackend()
