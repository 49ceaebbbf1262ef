"""`assert_unreached_still`: what no loss reaches does not move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .. import plugins


def assert_unreached_still(
    step: Callable[..., Any],
    modules: Mapping[str, Any],
    *,
    backend: str = "torch",
    steps: int = 3,
    targets: Mapping[str, str] | None = None,
    **arguments: Any,
) -> None:
    """Asserts that a training step moves what its losses reach, and nothing else.

    Weight decay, stale momentum, running statistics and forgotten optimiser entries all move what
    no loss reaches. The step is run as it is; see `audit.watch` of the backend.

    Args:
        step, modules: as the backend's `audit.watch` takes them.
        backend: whose audit watches.
        steps: how many steps are run.
        targets: {"teacher": "student"}: modules that move only as copies of another.
        arguments: further ones of `audit.watch`, such as `routes=` on JAX.

    Raises:
        AssertionError: with every module that moved though no loss reaches it, that did not move
            though one does, or whose routes are not known.
    """
    __tracebackhide__ = True
    package = type(plugins.backend(backend)).__module__.split(".")[0]
    watch = import_module(f"{package}.audit").watch
    report = watch(step, modules, steps=steps, targets=targets, **arguments)
    found = [f for f in report if f.rule in _ABOUT_MOVEMENT]
    if found:
        raise AssertionError("\n".join(map(str, found)))


_ABOUT_MOVEMENT = ("moved-without-route", "never-moved", "stale-target", "routes-unknown")
