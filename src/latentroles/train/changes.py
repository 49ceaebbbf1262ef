"""Where two declarations, or two settings, differ: by name, in the fewest words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from latentroles.spec import Spec
from latentroles.spec.describe import describe
from latentroles.spec.expr import Expr
from latentroles.spec.types import Type

_ABSENT = object()
_LISTED = 8  # more of them hide each other
_LONGEST = 80
_NAMED = {
    "modules": "module",
    "targets": "target",
    "gates": "gate",
    "states": "state",
    "noises": "noise",
    "latents": "latent",
    "losses": "loss",
    "measures": "measure",
    "pictures": "picture",
    "phases": "phase",
}


def listed(changes: Sequence[str]) -> list[str]:
    """Returns the first of the changes, and how many more there are."""
    more = len(changes) - _LISTED
    return [*changes[:_LISTED], f"and {more} more"] if more > 0 else list(changes)


def leaves(there: Any, here: Any, path: str) -> Iterator[str]:
    """Yields "path.key: old there, new here" for each part of two JSON values that differs."""
    if there == here:
        return
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys([*there, *here]):
            yield from leaves(there.get(key, _ABSENT), here.get(key, _ABSENT), f"{path}.{key}")
    elif isinstance(there, list) and isinstance(here, list):
        for index in range(max(len(there), len(here))):
            old, new = (held[index] if index < len(held) else _ABSENT for held in (there, here))
            yield from leaves(old, new, f"{path}[{index}]")
    else:
        yield f"{path}: {_said(there)} there, {_said(here)} here"


def changes(there: Spec, here: Spec) -> list[str]:
    """Returns what two specs declare differently: layers, sizes, weights, constants, by name."""
    old, new = (json.loads(json.dumps(spec.to_json())) for spec in (there, here))
    found = []
    for key, word in _NAMED.items():
        was, now = ({d.pop("name"): d for d in held.get(key, [])} for held in (old, new))
        for name in dict.fromkeys([*was, *now]):
            one, other = (_bare(held.get(name, _ABSENT)) for held in (was, now))
            found += leaves(one, other, f"{word} {name}")
    found += [*leaves(old["spaces"], new["spaces"], "actions")]
    found += [*leaves(old["allowances"], new["allowances"], "allowances")]
    seen: set[tuple[Expr, Expr]] = set()
    now = dict(_values(here))
    for name, value in _values(there):
        if name in now:
            found += _computed(name, value, now[name], seen)
    return list(dict.fromkeys(found))


def _bare(declared: Any) -> Any:
    """A declaration without the number of its expression, which any other one may shift."""
    if declared is _ABSENT or "layer" in declared:
        return declared if declared is _ABSENT else declared["layer"]
    return {key: value for key, value in declared.items() if key != "node"}


def _values(spec: Spec) -> Iterator[tuple[str, Expr]]:
    yield from ((f"input {name}", e) for name, e in spec.inputs.items())
    yield from ((f"latent {name}", z.expr) for name, z in spec.latents.items())
    yield from ((f"loss {name}", loss.expr) for name, loss in spec.losses.items())
    yield from ((f"state {name}", e) for name, e in spec.updates.items())
    yield from ((f"measure {name}", shown.expr) for name, shown in spec.measures.items())
    yield from ((f"picture {name}", shown.expr) for name, shown in spec.pictures.items())


def _computed(owner: str, there: Expr, here: Expr, seen: set[tuple[Expr, Expr]]) -> Iterator[str]:
    """Walks two expressions in step; each pair is told once, of the first owner that reads it."""
    stack = [(there, here)]
    while stack:
        was, now = pair = stack.pop()
        if pair in seen:
            continue
        seen.add(pair)
        if was.kind != now.kind or len(was.inputs) != len(now.inputs) or _name(was) != _name(now):
            yield f"{owner}: {describe(was)} there, {describe(now)} here"
            continue
        yield from leaves(_attributes(was), _attributes(now), f"{owner}: {_name(was)}")
        stack.extend(reversed(list(zip(was.inputs, now.inputs, strict=True))))


def _name(e: Expr) -> str:
    return e.attrs[0] if e.kind in ("op", "call", "apply") else e.kind


def _attributes(e: Expr) -> Any:
    """What a node does besides reading its inputs; the types that follow from them left out."""
    if e.kind == "call":
        return {key: _plain(value) for key, value in e.attrs[1]}
    if e.kind == "leaf":
        return _plain(e.attrs)
    # A loop is known by the number of its trace.
    own = e.attrs[1:] if e.kind in ("op", "apply", "scan", "var") else e.attrs
    return _plain(tuple(a for a in own if not isinstance(a, Type)))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        plain = [_plain(v) for v in value]
        return plain[0] if len(plain) == 1 else plain
    return str(value) if isinstance(value, Type) else value


def _said(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
