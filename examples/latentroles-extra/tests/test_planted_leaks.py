"""The test of a project that keeps its own copy of a shipped model, and the leaks that it finds.

The project has checked a golden file of routes in, `hzp.routes.json`. Its test draws a loss and a
batch, and looks in which modules the loss's gradient arrives. Here the copies have bugs: each is
the text of `hzp` with one stop, gate or frozen application less, or one too many. Every one that
changes a route has to be found within 200 examples.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import latentroles as lr
from latentroles.testing import assert_routes
from latentroles.testing.strategies import batch_for
from latentroles_specs.hzp import hzp

GOLDEN = Path(__file__).parent / "hzp.routes.json"
MOST = 200
TEXT = Path(inspect.getsourcefile(hzp) or "").read_text()

pytestmark = pytest.mark.latentroles_backend("torch")


def declared(text: str) -> lr.Spec:
    """The small model that a copy declares."""
    names = {"lr": lr, "__name__": "copy"}
    exec(text, names)
    return names["hzp"](frame=(3, 8, 8), dim=6, horizon=3)  # type: ignore[operator]


def planted() -> Iterator[tuple[str, str]]:
    """Names and texts of copies with a bug, whether or not it changes a route."""
    for found in re.finditer(r"\.stop\(\)|\.through\(\w+\)|\.frozen", TEXT):
        line = TEXT[: found.start()].count("\n") + 1
        yield f"without {found[0]} in line {line}", TEXT[: found.start()] + TEXT[found.end() :]
    for right, wrong in (
        ("z_hat = h_to_z(h)", "z_hat = h_to_z(h.stop())"),
        ("x_hat = decoder(", "x_hat = decoder.frozen("),
        ("return predictor(h_t,", "return predictor.frozen(h_t,"),
        ("mse(dp, prototype(action))", "mse(dp, prototype(action).stop())"),
    ):
        assert TEXT.count(right) == 1
        yield wrong, TEXT.replace(right, wrong)


def follows(spec: lr.Spec, golden: lr.RouteTable) -> Callable[[str, int], None]:
    """(loss, seed) -> None: in one batch, the loss's gradient arrives just where it should."""
    import torch

    model = lr.compile(spec, backend="torch")
    modules = {name: list(getattr(model, name).parameters()) for name in spec.modules}

    def check(loss: str, seed: int) -> None:
        batch = batch_for(spec, seed)
        out = model(model.inputs(batch), model.noise(seed, like=batch), {})
        every = [p for parameters in modules.values() for p in parameters]
        torch.autograd.backward(out.losses[loss], inputs=every)
        arrived = set()
        for name, parameters in modules.items():
            if any(p.grad is not None and p.grad.any() for p in parameters):
                arrived.add(name)
            for p in parameters:
                p.grad = None
        assert arrived == golden[loss].modules

    return check


def examples_until_found(spec: lr.Spec) -> int | None:
    """How many examples the property takes to fail on a spec; None where it holds for all."""
    golden = lr.RouteTable.load(GOLDEN)
    check, taken = follows(spec, golden), 0

    @settings(max_examples=MOST, phases=[Phase.generate], deadline=None, derandomize=True)
    @given(st.sampled_from(sorted(golden)), st.integers(0, 9999))
    def arrives_where_it_should(loss: str, seed: int) -> None:
        nonlocal taken
        taken += 1
        check(loss, seed)

    try:
        arrives_where_it_should()
    except AssertionError:
        return taken
    return None


def test_the_routes_are_the_golden_ones() -> None:
    assert_routes(lr.routes(declared(TEXT)), GOLDEN)


def test_the_right_copy_is_found_right() -> None:
    assert examples_until_found(declared(TEXT)) is None


def test_each_planted_bug_that_changes_a_route_is_found() -> None:
    right = lr.RouteTable.load(GOLDEN).live
    taken = {}
    for name, text in planted():
        spec = declared(text)
        if lr.routes(spec).live != right:
            taken[name] = examples_until_found(spec)
            print(f"{name}: found after {taken[name]} examples")
        else:
            print(f"{name}: changes no route")
    assert len(taken) >= 8
    assert all(count is not None and count <= MOST for count in taken.values()), taken
