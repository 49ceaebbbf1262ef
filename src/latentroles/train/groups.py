"""Which optimiser moves which module."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import SpecError, nearest

DEFAULT = "default"


def assign(
    modules: Iterable[str],
    reached: Iterable[str],
    optimisers: Mapping[str, Any],
    groups: Mapping[str, str] | None,
) -> dict[str, list[str]]:
    """Optimiser -> the reached modules that it moves; a module that no loss reaches is in none.

    Args:
        modules: all modules of the spec.
        reached: the modules that the phase's losses reach.
        groups: module -> optimiser; what is not named belongs to "default".

    Raises:
        SpecError: a module or an optimiser is named that is not there, an optimiser moves nothing,
            or the phase's losses reach no module at all.
    """
    groups, known = groups or {}, list(modules)
    for module in groups:
        if module not in known:
            raise SpecError(
                f"groups= names a module {module!r} that the spec does not have."
                f"{nearest(module, known)}"
            )
    for name in optimisers:
        if name != DEFAULT and name not in groups.values():
            raise SpecError(
                f"the optimiser {name!r} moves no module. Name its modules: "
                f"groups={{'MODULE': {name!r}}}."
            )
    order = [m for m in known if m in set(reached)]
    if not order:
        raise SpecError(
            "no loss of this phase updates any module, so that there is nothing to train. "
            "`latentroles routes SPEC --markdown` says which stops are in the way."
        )
    result: dict[str, list[str]] = {name: [] for name in optimisers}
    for module in order:
        name = groups.get(module, DEFAULT)
        if name not in result:
            raise SpecError(
                f"module {module!r} belongs to the optimiser {name!r}, which is not among those "
                f"given.{nearest(name, optimisers)} Give it in optimisers=, or name the module in "
                "groups=."
            )
        result[name].append(module)
    return {name: moved for name, moved in result.items() if moved}
