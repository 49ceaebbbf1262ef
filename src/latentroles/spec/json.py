"""A Spec as plain data and back, with a stable hash.

Only what is declared is written: expressions that nothing reads are left out, so that building
one and throwing it away does not change the hash.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import SpecError
from ..roles import Role
from .declarations import (
    Allowance,
    Box,
    Discrete,
    Gate,
    Latent,
    Loss,
    Measure,
    Module,
    Noise,
    Phase,
    Picture,
    State,
    Target,
)
from .expr import Expr
from .types import Type
from .walk import postorder

if TYPE_CHECKING:
    from .spec import Spec

FORMAT = 1


def to_json(spec: "Spec") -> dict[str, Any]:
    """The declaration as dicts, lists, strings and numbers."""
    order = {e: i for i, e in enumerate(reachable(spec))}
    loops: dict[int, int] = {}
    for e in order:
        if e.kind in ("scan", "var"):
            loops.setdefault(e.attrs[0], len(loops) + 1)
    return {
        "format": FORMAT,
        "name": spec.name,
        "modules": [{"name": m.name, "layer": m.layer.to_json()} for m in spec.modules.values()],
        "targets": [
            {"name": t.name, "of": t.of, "decay": _number(t.decay)} for t in spec.targets.values()
        ],
        "gates": [asdict(g) for g in spec.gates.values()],
        "states": [asdict(s) for s in spec.states.values()],
        "noises": [asdict(n) for n in spec.noises.values()],
        "spaces": {n: _space(a) for n, a in spec.actions.items()},
        "nodes": [
            [e.kind, [order[i] for i in e.inputs], [_encode(a) for a in _numbered(e, loops)]]
            for e in order
        ],
        "inputs": {n: order[e] for n, e in spec.inputs.items()},
        "latents": [
            {"name": z.name, "node": order[z.expr], "role": _role(z.role)}
            for z in spec.latents.values()
        ],
        "losses": [
            {
                "name": loss.name,
                "node": order[loss.expr],
                "weight": _number(loss.weight),
                "updates": None if loss.updates is None else list(loss.updates),
            }
            for loss in spec.losses.values()
        ],
        "updates": {n: order[e] for n, e in spec.updates.items()},
        "phases": [
            {"name": p.name, "losses": list(p.losses), "steps": p.steps}
            for p in spec.phases.values()
        ],
        "allowances": [asdict(a) for a in spec.allowances],
        # Left out where there are none, so that the hash of such a spec is what it always was.
        **{
            what: [{"name": n, "node": order[shown.expr]} for n, shown in held.items()]
            for what, held in (("measures", spec.measures), ("pictures", spec.pictures))
            if held
        },
    }


def from_json(data: Mapping[str, Any]) -> "Spec":
    """Reads what `to_json` wrote.

    Raises:
        SpecError: the data is no spec, or has a format this version does not know.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
        raise SpecError(
            f"a spec's JSON has format {FORMAT}, got {got!r}. Write it again with this version's "
            "`spec.to_json()`."
        )
    try:
        return _read(data)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SpecError(
            f"the spec's JSON is damaged ({type(error).__name__}: {error}). Write it again with "
            "`spec.to_json()`."
        ) from error


def digest(spec: "Spec") -> str:
    """16 hexadecimal digits over the canonical JSON of the declaration."""
    text = json.dumps(to_json(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def reachable(spec: "Spec") -> list[Expr]:
    """Every expression that a declaration reads, operands first, in order of declaration."""
    order: dict[Expr, None] = {}
    roots: list[Expr] = [*spec.inputs.values()]
    roots += [z.expr for z in spec.latents.values()]
    roots += [loss.expr for loss in spec.losses.values()]
    roots += list(spec.updates.values())
    roots += [shown.expr for shown in (*spec.measures.values(), *spec.pictures.values())]
    for root in roots:
        for e in postorder(root, order):
            order[e] = None
    return list(order)


def _read(data: Mapping[str, Any]) -> "Spec":
    from . import nn
    from .spec import Spec

    spec = Spec(data["name"])
    for m in data["modules"]:
        spec.modules[m["name"]] = Module(spec, m["name"], nn.from_json(m["layer"]))
    for t in data["targets"]:
        spec.targets[t["name"]] = Target(spec, t["name"], t["of"], _schedule(t["decay"]))
    spec.gates = {g["name"]: Gate(**g) for g in data["gates"]}
    spec.states = {
        s["name"]: State(s["name"], tuple(s["shape"]), s["init"]) for s in data["states"]
    }
    spec.noises = {n["name"]: Noise(**n) for n in data["noises"]}
    spec.actions = {n: _read_space(a) for n, a in data["spaces"].items()}
    nodes: list[Expr] = []
    for kind, inputs, attrs in data["nodes"]:
        nodes.append(
            spec._node(kind, tuple(nodes[i] for i in inputs), tuple(_decode(a) for a in attrs))
        )
    spec._next_scan = max((e.attrs[0] for e in nodes if e.kind == "scan"), default=0)
    spec.inputs = {n: nodes[i] for n, i in data["inputs"].items()}
    spec.latents = {
        z["name"]: Latent(z["name"], nodes[z["node"]], _read_role(z["role"]))
        for z in data["latents"]
    }
    for loss in data["losses"]:
        mask = loss["updates"]
        spec.losses[loss["name"]] = Loss(
            loss["name"],
            nodes[loss["node"]],
            _schedule(loss["weight"]),
            None if mask is None else tuple(mask),
        )
    spec.updates = {n: nodes[i] for n, i in data["updates"].items()}
    for measure in data.get("measures", ()):
        name = measure["name"]
        spec.measures[name] = Measure(name, nodes[measure["node"]])
    for picture in data.get("pictures", ()):
        name = picture["name"]
        spec.pictures[name] = Picture(name, nodes[picture["node"]])
    spec.phases = {
        p["name"]: Phase(p["name"], tuple(p["losses"]), p["steps"]) for p in data["phases"]
    }
    spec.allowances = [Allowance(**a) for a in data["allowances"]]
    spec.absent = None
    return spec


def _numbered(e: Expr, loops: Mapping[int, int]) -> tuple[Any, ...]:
    """The attributes, with loops numbered in order of appearance instead of by trace."""
    return (loops[e.attrs[0]], *e.attrs[1:]) if e.kind in ("scan", "var") else e.attrs


def _encode(value: Any) -> Any:
    if isinstance(value, Type):
        return {"type": [list(value.axes), list(value.shape), value.dtype, value.time, value.step]}
    if isinstance(value, tuple):
        return {"tuple": [_encode(v) for v in value]}
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and "type" in value:
        axes, shape, dtype, time, step = value["type"]
        return Type(tuple(axes), tuple(shape), dtype, time, step)
    if isinstance(value, dict):
        return tuple(_decode(v) for v in value["tuple"])
    return value


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) else value.to_json()


def _schedule(value: Any) -> Any:
    if isinstance(value, int | float):
        return float(value)
    from .schedules import from_json as schedule_from_json

    return schedule_from_json(value)


def _space(space: Discrete | Box) -> dict[str, Any]:
    if isinstance(space, Discrete):
        return {"discrete": space.n}
    return {"box": [space.low, space.high, list(space.shape)]}


def _read_space(data: Mapping[str, Any]) -> Discrete | Box:
    if "discrete" in data:
        return Discrete(data["discrete"])
    low, high, shape = data["box"]
    return Box(low, high, tuple(shape))


def _role(role: Role) -> dict[str, Any]:
    return {
        "name": role.name,
        "purpose": role.purpose,
        **{k: sorted(getattr(role, k)) for k in ("forbids", "cautions", "requires")},
    }


def _read_role(data: Mapping[str, Any]) -> Role:
    return Role(
        data["name"],
        data["purpose"],
        **{k: frozenset(data[k]) for k in ("forbids", "cautions", "requires")},
    )
