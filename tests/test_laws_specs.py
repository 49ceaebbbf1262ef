"""S1-S20 of the laws over random Specs, and examples of what they mean.

Gradients are taken on torch, which compiles a small Spec in milliseconds.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis.vendor.pretty import pretty

import latentroles as lr
from latentroles.testing.laws import LAWS, Case, step_of
from latentroles.testing.laws.checks import only_declared_routes, same_gradients
from latentroles.testing.strategies import Program, programs


@pytest.mark.parametrize("law", [name for name in LAWS if name.startswith("S")])
def test_random_specs_keep(law):
    LAWS[law].run("torch")


@pytest.mark.parametrize(
    "law", [n for n, law in LAWS.items() if n.startswith("S") and "backend" in law.reads]
)
def test_random_specs_keep_on_jax(law):
    LAWS[law].run("jax")


@given(programs())
def test_s12_the_text_of_a_program_declares_its_spec(program):
    names: dict[str, object] = {"lr": lr}
    exec(program.text, names)
    assert names["s"].hash == program.spec.hash  # type: ignore[attr-defined]


@pytest.mark.parametrize("layer", [lr.nn.linear(2, 2), lr.nn.mlp(2, 2, hidden=3)])
def test_s7_a_stop_before_and_a_stop_behind_a_module_differ_in_its_gradient(layer):
    s = lr.Spec("stops")
    x = s.observation("x", (2,))
    below, f, head = (s.module(n, layer) for n in ("below", "f", "head"))
    y = below(x)
    s.loss("before", lr.losses.mse(head(f(y.stop())), x))
    s.loss("behind", lr.losses.mse(head(f(y).stop()), x))
    s.loss("frozen", lr.losses.mse(head(f.frozen(y)), x))
    assert lr.routes(s).live == {
        "before": {"f", "head"},
        "behind": {"head"},
        "frozen": {"below", "head"},
    }
    case = Case.of(s)
    got = step_of(case, "torch")
    only_declared_routes(got.gradients, s)
    assert got.losses["before"] == got.losses["behind"] == got.losses["frozen"]
    assert got.gradients["before"]["f"]["0.weight" if hasattr(layer, "layers") else "weight"].any()


def test_s10_a_loss_of_weight_0_is_absent_even_where_it_is_not_a_number():
    def declare(weight: object) -> lr.Spec:
        s = lr.Spec("nan")
        x = s.observation("x", (2,))
        f = s.module("f", lr.nn.linear(2, 2))
        s.loss("good", lr.losses.mse(f(x), x))
        if weight is not None:
            s.loss("bad", lr.losses.mse(f(x) / (x - x), x), weight=weight)
        return s

    assert declare(0.0).hash == declare(None).hash != declare(1.0).hash
    never = lr.warmup(0.0, 3, then=lr.cosine(0.0, 5))
    assert declare(never).hash == declare(None).hash
    assert declare(never).absent == {"bad"}
    assert declare(lr.warmup(0.0, 3, then=lr.cosine(0.0, 5, 1.0))).hash != declare(None).hash
    case = Case.of(declare(0.0))
    assert np.isfinite(step_of(case, "torch").total)


PINNED = """
import latentroles as lr
s = lr.Spec("pinned")
x = s.observation("x", (2,))
a = s.action("a", lr.Discrete(3))
f, g = s.module("f", lr.nn.linear(2, 2)), s.module("g", lr.nn.gru(5, 2))
h = lr.scan(g, init=lr.zeros(2), xs=lr.concat(f(x).t[1:], a.one_hot()))
s.loss("forward", lr.losses.mse(h.t[1:], f(x).t[1:].stop()), weight=0.5, updates=[g])
print(s.hash)
"""


def test_s12_the_hash_is_the_same_in_every_process():
    seen = set()
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", PINNED], capture_output=True, text=True, env=env, check=True
        )
        seen.add(done.stdout.strip())
    # Another value here means that every checkpoint's Spec has become another Spec.
    assert seen == {"b2c446af6f6c57a3"}


def test_s15_a_mask_freezes_and_does_not_cut():
    s = lr.Spec("masks")
    x = s.observation("x", (2,))
    below, head = (s.module(n, lr.nn.linear(2, 2)) for n in ("below", "head"))
    s.loss("all", lr.losses.mse(head(below(x)), x))
    s.loss("low", lr.losses.mse(head(below(x)), x), updates=[below])
    table = lr.routes(s)
    assert table.live == {"all": {"below", "head"}, "low": {"below"}}
    assert table["low"]["head"].status == "masked"
    case = Case.of(s)
    got = step_of(case, "torch").gradients
    same_gradients({"below": got["low"]["below"]}, {"below": got["all"]["below"]})


def test_a_drawn_program_prints_as_code():
    program = Program('s = lr.Spec("a")', lr.Spec("a"))
    assert pretty(program).splitlines() == ["", "# 1 lines", 's = lr.Spec("a")']


def test_a_loss_reaches_a_latent_inside_the_loop_that_carries_it():
    s = lr.Spec("pose")
    x = s.observation("x", (2,))
    f = s.module("f", lr.nn.linear(4, 2))

    def move(p, u):
        d = f(lr.concat(p, u))
        return p + d, (d, d.stop())

    path, (d, stopped) = lr.scan(move, init=lr.zeros(2), xs=x)
    s.latent("p", path, role=lr.POSE)
    s.loss("size", lr.losses.scale(d))
    s.loss("none", lr.losses.scale(stopped))
    s.loss("later", lr.losses.mse(path.t[1], lr.zeros(2)))
    table = lr.routes(s)
    assert {name: table[name].latents for name in table} == {
        "size": {"p"},
        "none": set(),
        "later": {"p"},
    }
    assert table["none"]["p"].status == "stopped"
