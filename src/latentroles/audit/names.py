"""What the arguments of every audit must be, whatever the framework."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import AuditError, nearest, user_line


def received(value: object) -> str:
    """A user's value as an error names it: a model or a pytree by its type alone."""
    plain = value is None or isinstance(value, (str, bool, int, float))
    return repr(value) if plain else type(value).__name__


def named(argument: str, value: object, example: str) -> dict[str, Any]:
    """Returns a user's dict of named things.

    Args:
        argument: its name. example: what it looks like.

    Raises:
        AuditError: it is no dict, it is empty, or its keys are not names.
    """
    if not isinstance(value, Mapping):
        raise AuditError(
            f"{user_line()}{argument}= must be a dict of names, received "
            f"{type(value).__name__}. Fix: {argument}={example}."
        )
    if not value:
        raise AuditError(
            f"{user_line()}{argument}= is empty: there is nothing to audit. Fix: "
            f"{argument}={example}."
        )
    for name in value:
        if not isinstance(name, str) or not name:
            raise AuditError(
                f"{user_line()}the keys of {argument}= must be names, received {received(name)}. "
                f"Fix: {argument}={example}."
            )
    return dict(value)


def named_apart(**groups: Mapping[str, Any]) -> None:
    """Refuses one name for a module and a latent: both are columns of one table.

    Raises:
        AuditError: a name stands in two of the groups.
    """
    seen: dict[str, str] = {}
    for group, members in groups.items():
        for name in members:
            if name in seen:
                raise AuditError(
                    f"{user_line()}{name!r} is a name in {seen[name]}= and in {group}=: both are "
                    "columns of one table. Fix: rename one of them."
                )
            seen[name] = group


def targets_of(targets: object, modules: Mapping[str, Any]) -> dict[str, str]:
    """Returns {copy: source}, both names of modules; {} for None and for {}.

    Raises:
        AuditError: it is no dict of names, or a name is none of the modules.
    """
    if targets in (None, {}):
        return {}
    found = named("targets", targets, '{"teacher": "student"}')
    for copy, source in found.items():
        for name in (copy, source):
            if name not in modules:
                raise AuditError(
                    f"{user_line()}targets= names {received(name)}, which is none of modules=."
                    f"{nearest(str(name), modules)}"
                )
        if copy == source:
            raise AuditError(
                f"{user_line()}targets= makes {copy!r} a copy of itself. Fix: "
                '{"teacher": "student"}, the copy first.'
            )
    return found


def require_call(function: Callable[..., Any], *args: Any, call: str) -> None:
    """Refuses a function that cannot be called with these arguments.

    Args:
        call: how the audit calls it, such as "loss_fn(modules, *args)".

    Raises:
        AuditError: with the function's own signature. One that Python does not know is let pass.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        given = ", ".join(type(arg).__name__ for arg in args)
        raise AuditError(
            f"{user_line()}the audit calls `{call}`, here with ({given}), and the function is "
            f"`{name}{signature}`: {error}. Fix: pass what it takes, or wrap it in a lambda."
        ) from error
