"""The torch backend as latentroles sees it."""

from typing import Any

from . import layers, model, ops, reference, transforms
from .emit import TorchDialect
from .precision import device_of, x64
from .trainer import Trainer


class TorchBackend:
    """Everything that core asks of a backend."""

    name = "torch"
    # torch does not differentiate a target's parameters: they do not require a gradient.
    targets_flow = False
    # What the laws may ask of it: see `latentroles.testing.laws.CAPABILITIES`.
    capabilities = frozenset(
        {"gradients", "source", "training", "float64", "bfloat16", "compile", "remat", "vmap"}
    )
    pace = 1.0
    dialect = TorchDialect()
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


BACKEND = TorchBackend()
