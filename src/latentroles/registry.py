"""Frozen dataclasses known by name, and JSON both ways for them.

Layers, schedules and optimisers are all plain data of this kind. The JSON of one is a dict
whose tag names the class, `{"layer": "Linear", "inputs": 3, ...}`; values that are registered
dataclasses themselves (a layer in a container, a schedule in an optimiser) nest.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import SpecError, nearest, user_line

C = TypeVar("C", bound=type)
_REGISTRIES: "dict[str, Registry]" = {}


class Registry:
    """The classes of one kind, by name.

    **Arguments:** `tag` is the kind's name and the JSON key that holds the class name;
    `refused` maps names that are refused on purpose to the reason.
    """

    def __init__(self, tag: str, refused: Mapping[str, str] | None = None):
        self.tag = tag
        self.classes: dict[str, Any] = {}
        self.refused = dict(refused or {})
        _REGISTRIES[tag] = self

    def register(self, cls: C, name: str | None = None) -> C:
        """Adds a frozen dataclass under `name` (its class name when not given); a decorator.

        Running the same definition again (a notebook cell) replaces it; another class of the
        same name is refused.
        """
        name = name or cls.__name__
        old = self.classes.get(name)
        where = (cls.__module__, cls.__qualname__)
        if old is not None and (old.__module__, old.__qualname__) != where:
            raise SpecError(
                f"{user_line()}A {self.tag} is registered once; {name!r} is {old.__module__}."
                f"{old.__qualname__} already. Fix: give {cls.__module__}.{cls.__qualname__} "
                "another name."
            )
        self.classes[name] = cls
        return cls

    def find(self, name: object) -> Any:
        """Returns the class called `name`; an unknown name gets the nearest one suggested."""
        if isinstance(name, str) and name in self.classes:
            return self.classes[name]
        if isinstance(name, str) and name.lower() in self.refused:
            raise SpecError(
                f"{user_line()}The {self.tag} {name!r} is refused: {self.refused[name.lower()]}"
            )
        raise SpecError(
            f"{user_line()}There is no {self.tag} called {name!r}."
            f"{nearest(str(name), self.classes)}"
        )

    def make(self, name: object, arguments: Mapping[str, Any]) -> Any:
        """Returns `find(name)(**arguments)`, refusing arguments that it does not have."""
        cls = self.find(name)
        fields = dataclasses.fields(cls)
        known = [f.name for f in fields]
        required = [
            f.name
            for f in fields
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        for argument in arguments:
            if argument not in known:
                raise SpecError(
                    f"{user_line()}The {self.tag} {name!r} has no argument {argument!r}."
                    f"{nearest(str(argument), known)}"
                )
        missing = [argument for argument in required if argument not in arguments]
        if missing:
            raise SpecError(
                f"{user_line()}The {self.tag} {name!r} needs {', '.join(required)}; received "
                f"{', '.join(arguments) or 'nothing'}. Fix: add {', '.join(missing)}."
            )
        return cls(**arguments)

    def encode(self, value: Any) -> dict[str, Any]:
        """Returns the JSON form of a registered dataclass."""
        for name, cls in self.classes.items():
            if type(value) is cls:
                items = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(cls)}
                return {self.tag: name, **items}
        raise SpecError(
            f"{user_line()}Only a registered {self.tag} has a JSON form; received "
            f"{type(value).__name__}. Fix: register the class."
        )

    def decode(self, data: object) -> Any:
        """Returns the dataclass that `encode` wrote."""
        if not isinstance(data, Mapping) or self.tag not in data:
            raise SpecError(
                f"{user_line()}The JSON of a {self.tag} is an object with the key {self.tag!r}; "
                f"received {data!r}."
            )
        arguments = {str(key): _decode(v) for key, v in data.items() if key != self.tag}
        return self.make(data[self.tag], arguments)


def _encode(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    if dataclasses.is_dataclass(value):
        for registry in _REGISTRIES.values():
            if type(value) in registry.classes.values():
                return registry.encode(value)
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(v) for v in value)
    if isinstance(value, Mapping):
        for tag, registry in _REGISTRIES.items():
            if tag in value:
                return registry.decode(value)
    return value
