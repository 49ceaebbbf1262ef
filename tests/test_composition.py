"""`composition_report` on steps whose answer is known, and `assert_unreached_still`."""

import numpy as np
import pytest
import torch

from latentroles.testing.closure import EncoderError
from latentroles.testing.composition import assert_composes, composition_report
from latentroles.testing.still import assert_unreached_still
from latentroles.words.corridor import corridor
from latentroles.words.gridworld import gridworld


def moved(now, actions, following):
    """The true step in a corridor, read off both frames where they belong together."""
    return (np.argmax(following[:, :5], 1) - np.argmax(now[:, :5], 1))[:, None].astype(float)


def seen(now, actions, following):
    """The true step, of the action and of whether the frame changed: no difference of states."""
    changed = (now != following).any(axis=tuple(range(1, now.ndim)))
    return (np.where(actions == 0, -1.0, 1.0) * changed)[:, None]


def wished(now, actions, following):
    """The step that the action means, walls or not."""
    return np.where(actions == 0, -1.0, 1.0)[:, None]


def test_a_step_that_knows_about_walls_composes():
    assert_composes(seen, corridor(cells=5))
    assert composition_report(seen, corridor(cells=5)).residual == 0.0


def test_a_step_of_the_action_alone_is_left_open_at_a_wall():
    with pytest.raises(AssertionError, match=r"(left from .*cell=0|right from .*cell=4)"):
        assert_composes(wished, corridor(cells=5))


def test_without_walls_the_action_alone_composes_up_to_the_ring():
    report = composition_report(wished, corridor(cells=9, open=True), max_length=6)
    assert report.verdict == "pass"


def test_a_difference_of_states_is_vacuous():
    report = composition_report(moved, corridor(cells=5))
    assert report.residual == 0.0
    assert report.verdict == "vacuous"
    with pytest.raises(AssertionError, match="by arithmetic"):
        assert_composes(moved, corridor(cells=5))


def test_no_step_at_all_is_degenerate():
    zero = lambda now, actions, following: np.zeros((len(actions), 2))  # noqa: E731
    assert composition_report(zero, gridworld()).verdict == "degenerate"


def test_the_wrong_sign_of_one_action_is_found():
    wrong = lambda now, actions, following: np.ones((len(actions), 1))  # noqa: E731
    assert composition_report(wrong, corridor(cells=5)).verdict == "fail"


@pytest.mark.parametrize(
    "delta",
    [
        lambda now, actions, following: np.zeros(len(actions)),
        lambda now, actions, following: np.full((len(actions), 1), np.inf),
    ],
)
def test_steps_that_are_no_vectors_are_refused(delta):
    with pytest.raises(EncoderError, match="one finite vector for each"):
        composition_report(delta, corridor(cells=5))


# What does not move -----------------------------------------------------------------------------


def trained(*, decay: bool):
    """A linear model with a bystander that the optimiser holds as well."""
    torch.manual_seed(0)
    model, bystander = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    parameters = [*model.parameters(), *bystander.parameters()]
    for p in bystander.parameters():
        p.grad = torch.zeros_like(p)
    optimiser = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1 if decay else 0.0)

    def step():
        loss = model(torch.randn(4, 2)).square().mean()
        optimiser.zero_grad(set_to_none=False)
        loss.backward()
        optimiser.step()
        return {"loss": loss}

    return step, {"model": model, "bystander": bystander}


def test_a_bystander_without_decay_is_still():
    assert_unreached_still(*trained(decay=False))


def test_decay_of_a_bystander_is_movement():
    with pytest.raises(AssertionError, match="`bystander` moved in 3 of 3 steps"):
        assert_unreached_still(*trained(decay=True))
