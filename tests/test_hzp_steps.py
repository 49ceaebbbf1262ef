"""One step of `hzp` with a loss that its note leaves off, alone, on both backends.

The losses that are on by default are compared together, each with its own gradients, in
test_laws_backends.py.
"""

import pytest

from hzp_alone import OFF, alone
from latentroles.testing.laws import Case, compiled, results
from latentroles.testing.laws.checks import same_results
from latentroles.testing.laws.values import follows_reference

STEPS = {loss: alone(loss) for loss in sorted(OFF)}
STEPS["scale_dp, trimmed"] = alone("scale_dp", scale_dp_by="trimmed_mean")


@pytest.mark.parametrize("what", STEPS)
def test_a_loss_alone_is_one_on_both_backends(what):
    case = Case.of(STEPS[what])
    got = follows_reference(compiled(case, "torch"), case)
    same_results(results(compiled(case, "jax"), case), got)


def test_other_losses_differ():
    """The planted mistake: the pyramid of boxes where the other backend has patches."""
    case = Case.of(alone("recon_patch"))
    got = results(compiled(case, "torch"), case)
    other = results(compiled(case.but(alone("recon")), "jax"), case.but(alone("recon")))
    with pytest.raises(AssertionError):
        same_results(other, got)
