"""The model: its routes are the golden ones, and on each backend the laws hold for it."""

from pathlib import Path

import numpy as np
import pytest

import latentroles as lr
from latentroles.data import collect
from latentroles.testing import assert_routes, laws
from latentroles_extra import landmarks, promenade

SMALL = landmarks(benches=4, dim=3)
GOLDEN = Path(__file__).parent / "landmarks.routes.json"


def test_its_routes_are_the_golden_ones() -> None:
    """`pytest --latentroles-update-routes` writes the file anew; the diff is then for review."""
    assert_routes(lr.routes(landmarks()), GOLDEN)


def test_an_open_gate_is_noticed() -> None:
    with pytest.raises(AssertionError, match="not expected: expect <- "):
        assert_routes(lr.routes(landmarks(remember_z=True)), lr.RouteTable.load(GOLDEN))


OF_SPECS = [
    law for law in laws.LAWS.values() if law.reads[0] == "spec" and "backend" not in law.reads
]
# Gradients arrive where routes are, before and after compiling; steps are alike on all backends,
# and move nothing else. All that apply: [law for law in laws.LAWS.values() if "spec" in law.reads].
OF_BACKENDS = [laws.LAWS[name] for name in ("S1", "S2", "B1", "B2", "B3", "B5", "B6", "B7")]


@pytest.mark.parametrize("law", OF_SPECS, ids=lambda law: law.id)
def test_laws_of_specs(law: laws.Law) -> None:
    try:
        law.check(SMALL, "")
    except laws.Inapplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("law", OF_BACKENDS, ids=lambda law: law.id)
def test_laws_of_backends(law: laws.Law, latentroles_backend: str) -> None:
    if reason := law.missing(latentroles_backend):
        pytest.skip(reason)
    law.check(SMALL, latentroles_backend)


def test_it_trains_in_its_environment(latentroles_backend: str, tmp_path: Path) -> None:
    data = collect(promenade(), tmp_path / "walks.h5", episodes=2, steps=16)
    out = tmp_path / "run"
    result = lr.train(
        landmarks(), data, backend=latentroles_backend, steps=2, out=out, display=False
    )
    assert set(result.last) >= {"show", "spread", "expect"}
    assert np.isfinite(list(result.last.values())).all()
