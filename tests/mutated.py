"""Planted mistakes: the torch backend with every plan, or every emitted source, changed."""

from collections.abc import Callable
from typing import Any

from latentroles import plugins
from latentroles.compile import emit, load_class
from latentroles.plan.build import Plan

# (law, examples): which law has just killed a planted mistake, and how many examples it took.
# `conftest.py` hands them to the report of the test, and `nox -s mutants` prints them.
KILLS: list[tuple[str, int]] = []


class Inapplicable(Exception):
    """The spec has no place for the mistake."""


class Mutated:
    """A backend that builds another model than was planned.

    Args:
        plan: changes a plan in place, or gives another. source: gives another source.
    """

    def __init__(
        self,
        original: str = "torch",
        plan: Callable[[Plan], Plan | None] = lambda plan: plan,
        source: Callable[[str], str] = lambda source: source,
    ):
        self._original = plugins.backend(original)
        self._plan, self._source = plan, source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def build(self, cls: type, plan: Plan, source: str, *rest: Any) -> Any:
        changed = self._plan(plan) or plan
        text = self._source(emit(changed.spec, self._original, changed))
        cls = load_class(text, changed.spec, self._original.name, changed.phase.name)
        return self._original.build(cls, changed, text, *rest)


def registered(original: str = "torch", **changes: Any) -> str:
    """The name under which a mutated backend is registered, until the next one is."""
    plugins.register_backend("mutated", Mutated(original, **changes))
    return "mutated"


class Replaced:
    """A backend of which some attributes are others.

    Args:
        changes: the attributes by name.
    """

    def __init__(self, original: str = "torch", **changes: Any):
        self._original = plugins.backend(original)
        vars(self).update(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
