"""The shipped recipes keep apart what their routes keep apart: no clip couples it again."""

import numpy as np
import pytest

import latentroles as lr
from latentroles import plugins
from latentroles.testing.strategies import batch_for

FRAME = (3, 8, 8)
# System -> what both runs declare, what one of them leaves out, and what must not notice.
APART = {
    "hzp": (
        {"dim": 6, "frame": (3, 16, 16)},
        {"inverse_dynamics_h": 0.0, "scale_dp": 0.0},
        ("encoder", "decoder"),
    ),
    "place": ({"dim": 6, "frame": FRAME}, {"jepa": 50.0}, ("encoder",)),
    "rssm": ({"dim": 6, "frame": FRAME}, {"rssm": 50.0}, ("encoder", "decoder")),
    "seqjepa": ({"width": 4, "frame": FRAME}, {"classes": 0}, ("encoder", "aggregator")),
}


def trained(name: str, arguments: dict, optimisers=None, groups=None) -> dict:
    """The weights after three steps, of the recipe's own optimisers where none are given."""
    function = plugins.spec(name)
    if optimisers is None:
        optimisers, groups = function.recipe.optimisers, function.recipe.groups
    model = lr.compile(function(**arguments), backend="torch", dtype="float64")
    trainer = plugins.backend("torch").trainer(model, optimisers, groups)
    for step in range(3):
        # Large enough for the recipes to clip.
        batch = batch_for(model.spec, step, batch=4, frames=function.recipe.frames)
        large = {n: a if a.dtype.kind == "i" else 20.0 * a for n, a in batch.items()}
        trainer.step(large, step)
    return lr.weights(trainer.model)


@pytest.mark.parametrize("name", APART)
def test_a_recipe_keeps_modules_apart_that_no_route_joins(name):
    arguments, other, still = APART[name]
    ours, theirs = (trained(name, {**arguments, **extra}) for extra in ({}, other))
    for module in still:
        for path, array in ours[module].items():
            np.testing.assert_array_equal(array, theirs[module][path])
    others = [m for m in ours if m in theirs and m not in still]
    noticed = any((ours[m][p] != theirs[m][p]).any() for m in others for p in ours[m])
    assert noticed or ours.keys() != theirs.keys()


@pytest.mark.parametrize("name", APART)
def test_one_clip_for_all_would_join_them(name):
    arguments, other, still = APART[name]
    one = ({"default": lr.adamw(1e-3, clip_norm=0.1)}, None)
    ours, theirs = (trained(name, {**arguments, **extra}, *one) for extra in ({}, other))
    module = ours[still[0]]
    assert any((array != theirs[still[0]][path]).any() for path, array in module.items())
