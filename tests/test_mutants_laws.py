"""Laws that a wrong plan does not show can fail too: mistakes of backends, trainers and specs."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from latentroles import plugins
from latentroles.routes import graph, reach
from latentroles.spec import json as spec_json
from latentroles.spec.nn import initial
from latentroles.testing.laws import LAWS
from latentroles.testing.strategies import write
from latentroles_torch import model as torch_model
from latentroles_torch import optim, precision, transforms
from mutated import KILLS, Inapplicable, Mutated, Replaced

PROGRAMS = [write(random.Random(seed).randrange) for seed in range(40)]
TORCH = plugins.backend("torch")
Patch = pytest.MonkeyPatch


def killed(law: str, backend: Any = TORCH) -> bool:
    """Whether a law fails on one of the programs."""
    plugins.register_backend("mutated", backend)
    tried = 0
    for seed, program in enumerate(PROGRAMS):
        try:
            LAWS[law].check(program, "mutated", seed)
        except Inapplicable:
            continue
        except AssertionError:
            KILLS.append((law, tried + 1))
            return True
        tried += 1
    return False


# Backends ----------------------------------------------------------------------------------------


def other_source_than_it_runs(*arguments: Any) -> Any:
    model = TORCH.build(*arguments)
    model.source = model.source.replace(".detach()", "")
    return model


def cumulative_latents(source: str) -> str:
    if "def encode_law_shifted" not in source:
        raise Inapplicable
    start, _, end = source.rpartition("return ")
    return f"{start}return torch.cumsum({end.strip()}, 1)\n"


def off_by_one(source: str) -> str:
    return source.replace("1:", "2:").replace(":-1", ":-2")


def first_of_the_batch(plan: Any) -> None:
    means = [n for n in plan.nodes() if n.kind == "op" and n.attrs == ("mean", "batch")]
    if not means:
        raise Inapplicable
    means[-1].kind, means[-1].attrs = "pick", ("batch", 0)


def no_stop(plan: Any) -> None:
    for node in plan.nodes():
        node.attrs = (*node.attrs[:2], False) if node.kind == "apply" else node.attrs
        for ref in node.inputs:
            ref.stop = False


BACKENDS = {
    "B1": Mutated(source=lambda text: text.replace("torch.tanh", "torch.sin")),
    "B2": Mutated(plan=no_stop),
    "B9": Mutated(source=lambda text: text.replace("total = ", "total = 0.5 * ")),
    "B12": Mutated(plan=first_of_the_batch),
    "B14": Mutated(source=cumulative_latents),
    "B19": Mutated(plan=no_stop),
    "B22": Replaced(build=other_source_than_it_runs),
}


@pytest.mark.parametrize("law", BACKENDS)
def test_a_wrong_backend_is_found_by(law: str) -> None:
    assert killed(law, BACKENDS[law])


# What a backend does beneath its surface ---------------------------------------------------------


def a_restore_that_forgets(patch: Patch) -> None:
    patch.setattr(optim.Group, "restore", lambda self, arrays: None)


def a_transform_that_doubles(how: str) -> Callable[[Patch], None]:
    def doubled(run: Any) -> Any:
        def twice(given: Any) -> Any:
            losses, total = torch_of[how](run)(given)
            return losses, 2.0 * total

        return twice

    torch_of = {**transforms.TRANSFORMS, "compile": lambda run: run, "remat": lambda run: run}
    return lambda patch: patch.setitem(transforms.TRANSFORMS, how, doubled)


def weights_that_are_rounded(patch: Patch) -> None:
    load = TORCH.load_weights

    def rounded(model: Any, held: Any) -> Any:
        short = {n: {p: np.float32(a) for p, a in arrays.items()} for n, arrays in held.items()}
        return load(model, short)

    patch.setattr(type(TORCH), "load_weights", staticmethod(rounded))


def gradients_that_are_lost(patch: Patch) -> None:
    found = TORCH.reference

    def lost(*arguments: Any) -> Any:
        values, gradients = found(*arguments)
        return values, {loss: {} for loss in gradients}

    patch.setattr(type(TORCH), "reference", staticmethod(lost))


def cuts_at_random(patch: Patch) -> None:
    cut, chance = graph.Graph.cut, random.Random(0)
    patch.setattr(
        graph.Graph, "cut", lambda self, e: "stop" if chance.random() < 0.1 else cut(self, e)
    )


def float32_that_is_half(patch: Patch) -> None:
    patch.setitem(precision.DTYPES, "float32", precision.DTYPES["bfloat16"])


def noise_without_a_seed(patch: Patch) -> None:
    draw = torch_model.draw_noise
    patch.setattr(
        torch_model, "draw_noise", lambda spec, seed, *rest: draw(spec, random.random(), *rest)
    )


def routes_of_one_round(patch: Patch) -> None:
    sweep = reach.Reach._sweep
    patch.setattr(reach.Reach, "_sweep", lambda self: sweep(self) and False)


def stops_that_do_not_cut(patch: Patch) -> None:
    patch.setattr(graph.Graph, "cut", lambda self, e: None)


def weights_by_order(patch: Patch) -> None:
    drawn = iter(range(10**6))
    draw = initial.Uniform.draw
    patch.setattr(
        initial.Uniform, "draw", lambda self, g, shape: draw(self, g, shape) + next(drawn)
    )


def a_name_that_json_changes(patch: Patch) -> None:
    write_out = spec_json.to_json

    def renamed(spec: Any) -> Any:
        data = write_out(spec)
        return {**data, "name": f"{data['name']}_"}

    patch.setattr(spec_json, "to_json", renamed)


BENEATH = [
    ("B10", a_restore_that_forgets),
    ("B11", a_transform_that_doubles("compile")),
    ("B16", float32_that_is_half),
    ("B17", a_transform_that_doubles("vmap")),
    ("B20", a_transform_that_doubles("remat")),
    ("B21", noise_without_a_seed),
    ("B25", weights_that_are_rounded),
    ("S1", routes_of_one_round),
    ("S2", gradients_that_are_lost),
    ("S3", cuts_at_random),
    ("S4", stops_that_do_not_cut),
    ("S5", cuts_at_random),
    ("S9", cuts_at_random),
    ("S10", cuts_at_random),
    ("S11", weights_by_order),
    ("S12", a_name_that_json_changes),
]


@pytest.mark.parametrize(("law", "mutant"), BENEATH)
def test_a_mistake_is_found_by(
    law: str, mutant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    mutant(monkeypatch)
    assert killed(law)
