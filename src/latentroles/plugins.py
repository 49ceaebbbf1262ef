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


# Backends that a program registered by itself, without a package around them.
_OWN_BACKENDS: dict[str, Any] = {}


def registered(group: str) -> dict[str, EntryPoint]:
    """The entry points of `latentroles.<group>`, by name."""
    found = entry_points(group=f"latentroles.{group}")
    return {p.name: p for p in sorted(found, key=lambda p: p.name)}


def backend(name: str) -> Any:
    """A backend by name: "torch" or "jax", or a third party's.

    Raises:
        PluginError: it is not registered, or its framework is not installed.
    """
    return _OWN_BACKENDS[name] if name in _OWN_BACKENDS else _load("backends", name)


def backends() -> list[str]:
    """The names of the registered backends, installed or not, in alphabetical order."""
    return sorted({*registered("backends"), *_OWN_BACKENDS})


def register_backend(name: str, backend: Any) -> None:
    """Registers a backend for this process, as an entry point would for every one.

    For a backend that is being written, and for tests; a name that is registered so already is
    given to the new one.

    Raises:
        PluginError: an installed package registers a backend of that name.
    """
    if name in registered("backends"):
        raise PluginError(
            f"the backend {name!r} is registered by an installed package already. Choose another "
            "name."
        )
    _OWN_BACKENDS[name] = backend


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
