"""Which optimiser moves which module."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import SpecError, nearest

DEFAULT = "default"


def assign(
    reached: Iterable[str], optimisers: Mapping[str, Any], groups: Mapping[str, str] | None
) -> dict[str, list[str]]:
    """Optimiser -> the reached modules that it moves; a module that no loss reaches is in none.

    Args:
        reached: the modules that the phase's losses reach.
        groups: module -> optimiser; what is not named belongs to "default".

    Raises:
        SpecError: a module is to be moved by an optimiser that is not given.
    """
    groups = groups or {}
    result: dict[str, list[str]] = {name: [] for name in optimisers}
    for module in reached:
        name = groups.get(module, DEFAULT)
        if name not in result:
            raise SpecError(
                f"module {module!r} belongs to the optimiser {name!r}, which is not among those "
                f"given.{nearest(name, optimisers)} Give it in optimisers=, or name the module in "
                "groups=."
            )
        result[name].append(module)
    return {name: modules for name, modules in result.items() if modules}
