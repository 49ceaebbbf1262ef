"""The SPEC argument: a registered name, `path.py:function` or a spec.json; -p and --config."""

import argparse
import ast
import importlib.util
import inspect
import json
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from latentroles.commands.parameter_files import ParameterFile, read_parameter_file
from latentroles.errors import LatentrolesError, PluginError, SpecError, nearest
from latentroles.spec import Spec

SpecFunction = Callable[..., Any]

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def add_spec(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Declares SPEC, -p and --config."""
    parser.add_argument(
        "spec",
        metavar="SPEC",
        nargs="?" if optional else None,
        help="a registered name, path.py:function, or the folder or spec.json of a run",
    )
    add_parameters(parser)


def add_parameters(
    parser: argparse.ArgumentParser,
    of: str = "the spec's function",
    example: str = "dim=128",
    listed: str = "; `latentroles plugins SPEC` lists them",
) -> None:
    """Declares -p and --config, which fill one list of arguments `of` something."""
    parser.add_argument(
        "-p",
        "--parameter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help=f"an argument of {of}, such as -p {example}; may be repeated{listed}",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        dest="parameter",
        type=ParameterFile,
        action="append",
        help=f"arguments of {of} from YAML, JSON or TOML; -p overrides them",
    )


def find_function(argument: str) -> SpecFunction:
    """Returns the function that a SPEC argument names.

    Raises:
        PluginError: no spec is registered under that name.
        SpecError: the file or the function does not exist, or the file fails to import.
    """
    if (Path(argument) / "spec.json").is_file():  # the folder of a run
        return partial(_read_spec, Path(argument) / "spec.json")
    if argument.endswith(".json"):
        return partial(_read_spec, Path(argument))
    path, colon, name = argument.rpartition(":")
    if not colon and not argument.endswith(".py"):
        from latentroles import plugins

        return plugins.spec(argument)
    if not colon or not name:
        path, name = argument.removesuffix(":"), ""
    file = Path(path)
    if not file.is_file():
        raise SpecError(
            f"There is no file {path!r}. SPEC is a registered name or path.py:function."
        )
    module = _import(file)
    own = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and key[0] != "_"
    ]
    if not name:
        raise SpecError(
            f"SPEC names a function of the file: {path}:function. It has {_listed(own)}."
        )
    function = getattr(module, name, None)
    if not callable(function):
        raise SpecError(
            f"{path} has no function {name!r}."
            + (nearest(name, own) if own else " It defines no function.")
        )
    return function


def _read_spec(path: Path) -> Spec:
    try:
        return Spec.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SpecError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SpecError(f"{str(path)!r} is not JSON: {error}.") from error


def build(function: SpecFunction, parameters: Mapping[str, Any]) -> Spec:
    """Calls a spec's function; raises SpecError if it fails or returns something else."""
    name = getattr(function, "__name__", "the spec's function")
    try:
        spec = function(**parameters)
    except LatentrolesError:
        raise
    except Exception as error:
        raise SpecError(f"{name} could not declare its spec: {_where(error)}") from error
    if not isinstance(spec, Spec):
        raise SpecError(f"{name} must return a latentroles Spec; it returned {_a(spec)}.")
    return spec


def read_parameters(function: SpecFunction, assignments: Sequence[str]) -> dict[str, Any]:
    """Returns the arguments that -p and --config set, as the type of their defaults.

    Args:
        assignments: "key=value" for each -p, which overrides the `ParameterFile`s among them.

    Raises:
        SpecError: no "=", an argument that the function does not have or has twice, a value of
            another type than the default, or a required argument that is not set; a file that
            cannot be read.
    """
    named = named_arguments(function)
    takes_any = _takes_any(function)

    def default_of(key: str, source: str) -> Any:
        if key not in named and not takes_any:
            where = "" if source == "-p" else f"{source}: "
            raise SpecError(
                f"{where}{_name(function)} has no argument {key!r}.{nearest(key, named)}"
            )
        return named[key].default if key in named else inspect.Parameter.empty

    from_files: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for assignment in assignments:
        if isinstance(assignment, ParameterFile):
            for key, value in read_parameter_file(assignment).items():
                default = default_of(key, assignment)
                _refuse_twice("--config", key, from_files)
                from_files[key] = _fitting(f"{assignment}: {key}", value, default)
            continue
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise SpecError(f"-p takes KEY=VALUE, such as -p dim=128; got {assignment!r}.")
        default = default_of(key, "-p")
        _refuse_twice("-p", key, values)
        values[key] = _read(key, text.strip(), default)
    values = {**from_files, **values}
    missing = [k for k, p in named.items() if p.default is p.empty and k not in values]
    if missing:
        wanted = " ".join(f"-p {key}=..." for key in missing)
        raise SpecError(f"{_name(function)} needs {', '.join(missing)}. Give {wanted}.")
    return values


def named_arguments(function: SpecFunction) -> dict[str, inspect.Parameter]:
    """Returns the arguments that -p can set, by name."""
    return {
        key: parameter
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def has_argument(function: SpecFunction, key: str) -> bool:
    """Whether `-p key=...` is one that the function takes."""
    return key in named_arguments(function) or _takes_any(function)


def _takes_any(function: SpecFunction) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def _refuse_twice(source: str, key: str, known: Mapping[str, Any]) -> None:
    if key in known:
        raise SpecError(f"{source} sets {key!r} twice; leave one of them away.")


def _read(key: str, text: str, default: Any) -> Any:
    """The value of `text`: a Python literal where it is one, else the text itself."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        return _fitting(f"-p {key}", _BOOLEANS.get(text.lower(), text), default)
    try:
        value: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if isinstance(value, list):
        value = tuple(value)
    try:
        json.dumps(value, allow_nan=False)  # it is kept in run.json
    except (TypeError, ValueError):
        value = text
    return _fitting(f"-p {key}", value, default, text)


def _fitting(owner: str, value: Any, default: Any, text: Any = None) -> Any:
    """The value, of the type of its default; `owner` and `text` are what the error names."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    match default:
        case bool():  # before int: a bool is one
            fits = isinstance(value, bool)
        case int():
            fits = whole
        case float():
            value = _number(value)
            fits = isinstance(value, float)
        case tuple():
            fits = isinstance(value, tuple)
        case str():
            fits = isinstance(value, str)
        case _:
            fits = True
    if not fits:
        received = value if text is None else text
        raise SpecError(f"{owner} takes {_a(default)} such as {default!r}, got {received!r}.")
    return value


def _number(value: Any) -> Any:
    """A float of a number, and of a text such as 1e-3, which YAML does not take for one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return value
    return number if math.isfinite(number) else value


def _import(file: Path) -> ModuleType:
    """Imports a file as if it were run from its folder, so that it finds its neighbours."""
    name = f"latentroles_spec_{file.stem}"
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise SpecError(f"{file} cannot be imported: its name does not end in .py.")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, LatentrolesError) and not isinstance(error, PluginError):
            raise
        raise SpecError(f"{file} could not be imported: {_where(error)}") from error
    return module


def _where(error: Exception) -> str:
    """The error, and the innermost line it came from."""
    said = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:  # a SyntaxError names its own line
        return said
    return f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _a(value: Any) -> str:
    """The type of a value with its article: "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _name(function: SpecFunction) -> str:
    return getattr(function, "__name__", "the spec's function")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"
