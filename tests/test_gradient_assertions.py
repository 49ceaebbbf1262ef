"""`assert_stop_gradients` and `assert_backends_agree`: they hold, and they can fail."""

import pytest

import latentroles as lr
from latentroles.testing import (
    assert_backends_agree,
    assert_stop_gradients,
    gradients,
    stop_gradient_report,
)
from latentroles_specs.hzp import hzp


def small(**arguments) -> lr.Spec:
    return hzp(frame=(3, 8, 8), dim=6, horizon=2, **arguments)


@pytest.mark.parametrize("opened", [False, True])
def test_hzp_has_a_gradient_just_where_it_declares_a_route(opened):
    spec = small(detach_z_from_h_and_p=not opened)
    assert_stop_gradients(spec)
    assert ("encoder" in stop_gradient_report(spec).declared["jepa"]) is opened


def test_hzp_on_jax():
    assert_stop_gradients(small(), "jax", draws=1)


def test_the_backends_agree_on_hzp():
    assert_backends_agree(small())


def test_a_route_that_is_not_declared_is_found(monkeypatch):
    """The routes of the closed gates, held against the model of the open ones."""
    closed = lr.routes(small())
    monkeypatch.setattr(gradients, "routes", lambda spec: closed)
    with pytest.raises(AssertionError, match="jepa has no route into encoder, and a gradient"):
        assert_stop_gradients(small(detach_z_from_h_and_p=False), draws=1)


def test_a_declared_route_without_a_gradient_is_found(monkeypatch):
    opened = lr.routes(small(detach_z_from_h_and_p=False))
    monkeypatch.setattr(gradients, "routes", lambda spec: opened)
    with pytest.raises(AssertionError, match="jepa has a route into encoder, and no gradient"):
        assert_stop_gradients(small(), draws=1)


def test_they_take_a_spec():
    for check in (assert_stop_gradients, assert_backends_agree):
        with pytest.raises(lr.SpecError, match="takes a Spec"):
            check(small)
