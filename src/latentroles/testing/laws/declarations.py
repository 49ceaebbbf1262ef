"""S10-S12: weights, names, order and JSON change nothing that they should not."""

import json
from random import Random
from typing import Any

from ...compile import draw_weights
from ...routes import routes
from ...rules import check
from ...spec.spec import Spec
from .checks import equal, same_bits
from .law import law, spec_of


@law(
    "weights change no verdict",
    "positive weights change no route and no verdict; a loss of weight 0, even if not a number, is "
    "absent",
)
def S10(spec: Any, seed: int = 0) -> None:
    declared = spec_of(spec)
    data = declared.to_json()
    random = Random(seed)
    for loss in data["losses"]:
        loss["weight"] = random.choice([0.25, 3.0, 1e6])
    again = Spec.from_json(data)
    equal(routes(again).live, routes(declared).live, "the routes under other weights")
    equal(check(again).verdicts, check(declared).verdicts, "the verdicts under other weights")
    again = Spec.from_json(declared.to_json())
    value = next(iter(again.losses.values())).expr
    again.loss("law_not_a_number", value / (value - value), weight=0.0)
    equal(again.hash, declared.hash, "the hash with a loss of weight 0")


@law(
    "names and order mean nothing",
    "routes and verdicts do not depend on the names of losses and latents nor on the order of "
    "declaration, and initial weights not on what else is declared",
)
def S11(spec: Any, seed: int = 0) -> None:
    declared = spec_of(spec)
    changed, names = _renamed_and_shuffled(declared, Random(seed))
    before, after = routes(declared).live, routes(changed).live
    equal(after, {names[loss]: modules for loss, modules in before.items()}, "the routes")
    verdicts = {
        names[loss]: {names[z]: slugs for z, slugs in row.items()}
        for loss, row in check(declared).verdicts.items()
    }
    equal(check(changed).verdicts, verdicts, "the verdicts")
    kept = Random(seed).choice(list(declared.modules.values()))
    alone = Spec("alone")
    alone.module(kept.name, kept.layer)
    drawn = draw_weights(declared, seed)
    for other in (changed, alone):
        for name, arrays in draw_weights(other, seed).items():
            same_bits(arrays, drawn[name], f"the initial weights of {name}")


def _renamed_and_shuffled(spec: Spec, random: Random) -> tuple[Spec, dict[str, str]]:
    data = spec.to_json()
    known = [*spec.losses, *spec.latents]
    fresh = [f"n{i}" for i in range(len(known))]
    names = dict(zip(known, random.sample(fresh, len(fresh)), strict=True))
    for what in ("losses", "latents"):
        for declared in data[what]:
            declared["name"] = names[declared["name"]]
        random.shuffle(data[what])
    for phase in data["phases"]:
        phase["losses"] = [names[n] for n in phase["losses"]]
    for allowed in data["allowances"]:
        for place in ("loss", "latent"):
            allowed[place] = names.get(allowed[place])
    random.shuffle(data["modules"])
    return Spec.from_json(data), names


@law(
    "JSON keeps everything",
    "written as JSON and read again, a spec has the same JSON, hash, routes and initial weights",
)
def S12(spec: Any, seed: int = 0) -> None:
    declared = spec_of(spec)
    data = declared.to_json()
    again = Spec.from_json(json.loads(json.dumps(data)))
    equal(again.to_json(), data, "the JSON")
    equal(again.hash, declared.hash, "the hash")
    equal(routes(again).live, routes(declared).live, "the routes")
    drawn = draw_weights(declared, seed)
    for name, arrays in draw_weights(again, seed).items():
        same_bits(arrays, drawn[name], f"the initial weights of {name}")
