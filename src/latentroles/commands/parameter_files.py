"""`--config FILE`: arguments of a spec's function from YAML, JSON or TOML."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentroles.errors import SpecError


class ParameterFile(str):
    """The path of a file of arguments, in the list of what `-p` sets."""


def read_parameter_file(path: str) -> dict[str, Any]:
    """Returns name -> value, as the file has it; lists are tuples.

    Raises:
        SpecError: the file cannot be read, is none of the three formats, is not a mapping of names,
            names something twice, or holds a value that is no JSON.
    """
    read = _READERS.get(Path(path).suffix.lower())
    if read is None:
        raise SpecError(f"--config takes a file that ends in {', '.join(_READERS)}; got {path!r}.")
    try:
        held = read(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise SpecError(f"{path} cannot be read: {said}.") from error
    held = {} if held is None else held
    if not isinstance(held, dict) or not all(isinstance(key, str) for key in held):
        raise SpecError(f"{path} holds the arguments of a spec by name, such as dim: 128.")
    for key, value in held.items():
        try:
            json.dumps(value, allow_nan=False)  # it is kept in run.json
        except (TypeError, ValueError):
            raise SpecError(
                f"{path}: {key} holds {value!r}; an argument is made of numbers, texts, true, "
                "false, null, lists and mappings."
            ) from None
    return {key: _tuples(value) for key, value in held.items()}


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _yaml(text: str) -> Any:
    import yaml

    try:
        _refuse_doubles(yaml.compose(text, yaml.SafeLoader), yaml.MappingNode)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _refuse_doubles(root: Any, mapping: type) -> None:
    """Looks at the nodes, before merges (<<) put names of others beside a mapping's own."""
    stack, seen = [root], set()
    while stack:
        node = stack.pop()
        children = getattr(node, "value", None)
        if not isinstance(children, list) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, mapping):
            _once([(str(key.value), None) for key, _ in children])
            children = [value for _, value in children]
        stack.extend(children)


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    held: dict[Any, Any] = {}
    for key, value in pairs:
        if key in held:
            raise ValueError(f"{key!r} is set twice; leave one of them away")
        held[key] = value
    return held


_READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": _json,
    ".toml": tomllib.loads,
}
