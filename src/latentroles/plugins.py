"""What is registered: backends, losses, roles, environments and specs, by entry point.

Ours register the same way as anyone's: in the `latentroles.*` groups of a package's
pyproject.toml.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import PluginError, nearest

# What a missing framework means: which extra of ours brings it.
_EXTRAS = {
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
    "equinox": "jax",
    "optax": "jax",
    "gymnasium": "envs",
    "minigrid": "envs",
    "h5py": "envs",
}


def registered(group: str) -> dict[str, EntryPoint]:
    """The entry points of `latentroles.<group>`, by name."""
    found = entry_points(group=f"latentroles.{group}")
    return {p.name: p for p in sorted(found, key=lambda p: p.name)}


def backend(name: str) -> Any:
    """A backend by name: "torch" or "jax", or a third party's.

    Raises:
        PluginError: it is not registered, or its framework is not installed.
    """
    return _load("backends", name)


def environment(name: str) -> Any:
    """The factory of an environment: call it to get one."""
    return _load("environments", name)


def spec(name: str) -> Any:
    """The function that declares a registered spec."""
    return _load("specs", name)


def role(name: str) -> Any:
    """A registered role."""
    return _load("roles", name)


@cache
def load_losses() -> None:
    """Imports every registered module of array functions, which register themselves."""
    for name in registered("losses"):
        _load("losses", name)


@cache
def _load(group: str, name: str) -> Any:
    points = registered(group)
    singular = {"losses": "loss"}.get(group, group.removesuffix("s"))
    if name not in points:
        raise PluginError(
            f"no {singular} {name!r} is registered in the entry-point group "
            f"'latentroles.{group}'.{nearest(name, points)}"
        )
    try:
        return points[name].load()
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        raise PluginError(
            f"{singular} {name!r} needs {error.name}, which is not installed. "
            f"Install it with: pip install 'latentroles[{extra}]'"
        ) from None
    except AttributeError as error:
        raise PluginError(
            f"{singular} {name!r} ({points[name].value}) cannot be loaded: {error}"
        ) from error
