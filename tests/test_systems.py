"""Every system that ships trains on both backends to the same numbers."""

from importlib.metadata import entry_points

import numpy as np
import pytest

import latentroles as lr
from latentroles import plugins
from latentroles.testing.strategies import batch_for
from latentroles_specs.hzp import hzp
from latentroles_specs.place import place

FRAME = (3, 8, 8)
SYSTEMS = {
    "hzp": lambda: hzp(FRAME, dim=6, horizon=3),
    "place": lambda: place("jepa_projected", FRAME, dim=6, crop=1),
}
ELSEWHERE = {"jepa", "rssm", "seqjepa"}  # in the files of their names, with their variants


def test_no_system_is_left_out():
    ours = {
        e.name for e in entry_points(group="latentroles.specs") if "latentroles_specs" in e.value
    }
    assert ours == set(SYSTEMS) | ELSEWHERE


def trained(name: str, backend: str) -> tuple[list[dict[str, float]], dict]:
    """The losses of ten steps, and the weights after them."""
    spec = SYSTEMS[name]()
    model = lr.compile(spec, backend=backend, dtype="float64")
    trainer = plugins.backend(backend).trainer(model, {"default": lr.adamw(1e-3)})
    rows = [trainer.step(batch_for(spec, step), step) for step in range(10)]
    return rows, lr.weights(trainer.model)


@pytest.mark.parametrize("name", SYSTEMS)
def test_ten_steps_are_the_same_on_both_backends(name):
    (ours, weights), (theirs, others) = (trained(name, b) for b in ("torch", "jax"))
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(yours, rel=1e-6)
    for module, arrays in weights.items():
        for path, array in arrays.items():
            np.testing.assert_allclose(array, others[module][path], rtol=0, atol=1e-6)
    assert ours[-1]["total"] != ours[0]["total"]
