"""The JAX audit: routes read off a jaxpr, findings, gradients in numbers, watched steps."""

import pydoc
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.ad_checkpoint import checkpoint_name
from jax.lax import stop_gradient
from jax.sharding import AxisType, PartitionSpec

import latentroles as lr
from gallery.jax_programs import PROGRAMS, round_cut, round_through
from latentroles.errors import AuditError, LatentrolesError
from latentroles.routes.table import RouteTable
from latentroles_jax import audit
from latentroles_jax.audit.arguments import optimisers_of
from latentroles_jax.audit.graph import Graph
from latentroles_jax.audit.jaxpr import Walk
from latentroles_jax.audit.program import Parameter, Program
from latentroles_jax.audit.structure import structure
from latentroles_specs.hzp import hzp

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)


def linear(scale: float = 1.0) -> dict:
    return {"w": scale * jnp.asarray([[1.0, 0.5], [-0.5, 1.0]]), "b": jnp.ones(2)}


def apply(layer: dict, x):
    return x @ layer["w"] + layer["b"]


def agent(leak: bool = False):
    """A loss function of an encoder, an actor and a critic, and their parameters."""

    def losses(m, x):
        z = audit.mark("z", jnp.tanh(apply(m["encoder"], x)))
        seen = z if leak else stop_gradient(z)
        action = apply(m["actor"], seen)
        value = apply(stop_gradient(m["critic"]), seen)
        return {
            "critic": jnp.mean((apply(m["critic"], z) - 1) ** 2),
            "actor": jnp.mean((action - value) ** 2),
        }

    return losses, {"encoder": linear(), "actor": linear(0.5), "critic": linear(2.0)}


def reached_by_derivative(loss_fn, modules, *args) -> dict:
    """{loss: parameters}, read off the program of the derivative that JAX itself writes.

    Whatever enters a gradient there depends on the cotangent that was put in: no rule on which
    operation passes gradient is needed, so that this is a witness of its own.
    """
    program = Program(loss_fn, modules, args)
    inputs = list(program.inputs())
    program.traced()
    found = {}
    for i, loss in enumerate(program.losses):

        def backward(leaves, cotangent, i=i):
            trained = [x for x, p in zip(leaves, inputs, strict=True) if p]

            def one(trained):
                rest = iter(trained)
                values = [next(rest) if p else x for x, p in zip(leaves, inputs, strict=True)]
                return program(*values)[i]

            value, pullback = jax.vjp(one, trained)
            return pullback(cotangent.astype(value.dtype))[0]

        derivative = jax.make_jaxpr(backward)(program.leaves, jnp.ones(()))
        graph = Graph()
        nodes = [graph.node(True) for _ in derivative.jaxpr.invars]
        returned = Walk(graph, rules=False).program(derivative, nodes)
        found[loss] = {
            parameter
            for parameter, node in zip(filter(None, inputs), returned, strict=True)
            if nodes[-1] in graph.depends(node)
        }
    return found


# Routes --------------------------------------------------------------------------------------


def test_routes_of_an_agent():
    table = audit.routes(*agent(), X)
    assert table.live == {"critic": {"encoder", "critic"}, "actor": {"actor"}}
    assert table["critic"].latents == {"z"}
    assert not table["actor"].latents
    assert str(table["actor"]["encoder"]) == "stopped (stop_gradient on z in losses)"
    assert "encoder, critic" in str(table)


def test_the_path_is_in_the_users_names():
    table = audit.routes(*agent(leak=True), X)
    # the first "actor" is the loss
    assert table["actor"].path("encoder") == ("actor", "actor", "z", "encoder")
    assert table["critic"].path("encoder") == ("critic", "critic", "z", "encoder")
    assert table["actor"].path("critic") == ()


def test_a_cell_says_which_stop_it_was():
    def losses(m, x):
        h = jax.nn.relu(apply(m["a"], x))  # chooses by h > 0
        h = jax.nn.softmax(jnp.where(h > 1, h, 1.0))  # and stops a maximum
        return {
            "stop": jnp.sum(apply(m["b"], stop_gradient(h))),
            "floor": jnp.sum(jnp.floor(h)),
            "rule": jnp.sum(custom(lambda x, y: x * y, {0})(m["b"]["w"][0], h[0])),
            "both": jnp.sum(stop_gradient(h) * jnp.floor(h)),
            "neither": jnp.sum(
                custom(lambda x, y: x * y, {0})(m["b"]["w"][0], h[0]) * jnp.floor(h)
            ),
        }

    def said(loss):
        return [text.split(" on ")[0] for text in table[loss]["a"].where]

    table = audit.routes(losses, {"a": linear(), "b": linear()}, X)
    assert said("stop") == ["stop_gradient"]
    assert said("floor") == ["not differentiable: floor"]
    assert said("rule") == ["custom_vjp of <lambda>"]
    assert said("both") == ["stop_gradient"]  # which somebody wrote
    assert sorted(said("neither")) == ["custom_vjp of <lambda>", "not differentiable: floor"]


def test_shapes_stand_for_arrays():
    losses, modules = agent()
    shapes = jax.eval_shape(lambda: modules)
    assert audit.routes(losses, shapes, jax.eval_shape(lambda: X)) == audit.routes(
        losses, modules, X
    )


def test_what_is_no_array_is_left_as_it_is():
    def losses(m, x, deep, name, function):
        h = function(m["a"](x))
        return {name: jnp.sum(m["b"](h)) if deep else jnp.sum(h)}

    keys = jax.random.split(jax.random.key(0))
    modules = {n: eqx.nn.Lambda(jnp.tanh) for n in "ab"}
    modules = {
        n: eqx.nn.Sequential([eqx.nn.Linear(2, 2, key=key), modules[n]])
        for n, key in zip("ab", keys, strict=True)
    }
    assert audit.routes(losses, modules, X[0], True, "l", jnp.sin).live == {"l": {"a", "b"}}
    assert audit.routes(losses, modules, X[0], False, "l", jnp.sin).live == {"l": {"a"}}


def test_a_module_reached_in_part_says_how_much():
    table = audit.routes(lambda m: {"l": m["a"]["w"].sum()}, {"a": linear()})
    assert str(table["l"]["a"]) == "live (1 of 2 parameters)"


def test_parameters_that_are_stopped_themselves_are_frozen():
    def losses(m, x):
        return {"l": jnp.sum(apply(m["a"], apply(stop_gradient(m["b"]), x)))}

    modules = {"a": linear(), "b": linear()}
    assert audit.routes(losses, modules, X)["l"]["b"].status == "frozen"
    report = audit.check(losses, modules, X)
    assert report.clean, report


def custom(f, passes):
    """`f` of two arguments with a derivative that passes to the first, the second, or both."""
    g = jax.custom_vjp(f)
    g.defvjp(
        lambda x, y: (f(x, y), (x, y)),
        lambda xy, c: tuple(c * v if i in passes else 0 * v for i, v in enumerate(xy)),
    )
    return g


def forward_rule(passes):
    g = jax.custom_jvp(lambda x, y: x * y)

    @g.defjvp
    def _(primals, tangents):
        x, y = primals
        return x * y, sum(t * x for i, t in enumerate(tangents) if i in passes) + 0 * x

    return g


def shared(f):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
    one = PartitionSpec("i")
    return jax.shard_map(f, mesh=mesh, in_specs=(one, one), out_specs=PartitionSpec())


def looped(f, n, **how):
    return lambda *c: jax.lax.scan(lambda c, _: (f(*c), None), c, None, length=n, **how)[0]


def while_below(limit, f):
    return lambda a, b: jax.lax.while_loop(lambda c: c[0] < limit, lambda c: f(*c), (a, b))


def through_reference(a, b):
    held = jax.new_ref(a * 1)
    held[0] = b[0]
    return held[...]


def printed(a, b):
    jax.debug.print("{}", a)
    return stop_gradient(a) * b


STACKED = jnp.ones((3, 2))

# name -> (a function of the parameters of a and b, the modules that its sum updates)
PASSAGES = {
    "arithmetic": (lambda a, b: a * b, "ab"),
    "times zero": (lambda a, b: a + 0 * b, "ab"),
    "stop": (lambda a, b: stop_gradient(a) * b, "b"),
    "floor": (lambda a, b: jnp.floor(a) * b, "b"),
    "sign": (lambda a, b: jnp.sign(a) * b, "b"),
    "to whole numbers and back": (lambda a, b: a.astype(int).astype(jnp.float32) * b, "b"),
    "comparison": (lambda a, b: jnp.where(a > 0, b, 1.0), "b"),
    "both sides of where": (lambda a, b: jnp.where(X[0] > 0, a, b), "ab"),
    "index": (lambda a, b: b[jnp.argmax(a)], "b"),
    "sort": (lambda a, b: jnp.sort(a) + b, "ab"),
    "sorted by another": (lambda a, b: jax.lax.sort((a, b), num_keys=1)[1], "b"),
    "top k": (lambda a, b: jax.lax.top_k(a, 1)[0] * jax.lax.top_k(b, 1)[1], "a"),
    "scatter": (lambda a, b: a.at[0].set(b[1]), "ab"),
    "scatter of a stop": (lambda a, b: a.at[0].add(stop_gradient(b[1])), "a"),
    "barrier": (lambda a, b: jax.lax.optimization_barrier((a, b))[1], "b"),
    "linear algebra": (lambda a, b: jnp.linalg.solve(jnp.diag(a + 2), b), "ab"),
    "eigenvalues": (lambda a, b: jnp.linalg.eigh(jnp.outer(a, a))[0] * b, "ab"),
    "complex": (lambda a, b: jnp.abs(jnp.fft.fft(a)) + jnp.fft.rfft(b).imag.sum(), "ab"),
    "categorical sample": (
        lambda a, b: b * jax.random.categorical(jax.random.key(0), a).astype(jnp.float32),
        "b",
    ),
    "gumbel sample": (
        lambda a, b: b * jax.nn.softmax(a + jax.random.gumbel(jax.random.key(0), (2,))),
        "ab",
    ),
    "gamma sample": (lambda a, b: b + jax.random.gamma(jax.random.key(0), a), "ab"),
    "quantile": (lambda a, b: jnp.quantile(a, 0.5) * jnp.digitize(b, a), "a"),
    "max pooling": (lambda a, b: eqx.nn.MaxPool1d(2)(jnp.stack([a, b])), "ab"),
    "reference": (through_reference, "ab"),
    "debug print": (printed, "b"),
    "assertion of equinox": (lambda a, b: eqx.error_if(a, b[0] > 10, "no") * 2, "a"),
    "jit": (jax.jit(lambda a, b: stop_gradient(a) + b), "b"),
    "jit that gives two": (lambda a, b: jax.jit(lambda a, b: (a + 1, b + 1))(a, b)[0], "a"),
    "vmap": (jax.vmap(lambda a, b: stop_gradient(a) * b), "b"),
    "collective": (jax.vmap(lambda a, b: jax.lax.psum(a, "i") * b, axis_name="i"), "ab"),
    "checkpoint": (jax.checkpoint(lambda a, b: jnp.sin(stop_gradient(a) * b)), "b"),
    "scan": (lambda a, b: jax.lax.scan(lambda c, x: (c * x, c), a, STACKED * b)[1], "ab"),
    "scan over a stop": (
        lambda a, b: jax.lax.scan(lambda c, x: (c * x, c), a, stop_gradient(STACKED * b))[1],
        "a",
    ),
    "carries that trade places once": (looped(lambda x, y: (y, x * 1), 1), "ab"),
    "first of them, once": (lambda a, b: looped(lambda x, y: (y, x * 1), 1)(a, b)[0], "b"),
    "first of them, thrice": (lambda a, b: looped(lambda x, y: (y, x * 1), 3)(a, b)[0], "ab"),
    "fed back through a stop": (
        lambda a, b: looped(lambda x, y: (stop_gradient(y), y), 3, reverse=True)(a, b)[0],
        "",
    ),
    "scan in a scan": (
        lambda a, b: looped(lambda x, y: (looped(lambda u, v: (v, u), 3)(x, y)[0], y), 2)(a, b)[0],
        "ab",
    ),
    "cond": (
        lambda a, b: jax.lax.cond(a[0] > 0, lambda b: b, lambda b: stop_gradient(b), b),
        "b",
    ),
    "cond, either branch": (
        lambda a, b: jax.lax.cond(X[0, 0] > 0, lambda a, b: a, lambda a, b: b, a, b),
        "ab",
    ),
    "switch": (lambda a, b: jax.lax.switch(1, [jnp.sin, jnp.floor], a) + b, "ab"),
    "derivative inside": (lambda a, b: jax.grad(lambda a: jnp.sum(a**2 * b))(a), "ab"),
    "tangent inside": (lambda a, b: jax.jvp(jnp.square, (a,), (b,))[1], "ab"),
    "an entry of a stack": (lambda a, b: jnp.stack([a, b])[0], "ab"),  # an array is one thing
    "linear derivative inside": (lambda a, b: jax.grad(lambda a: jnp.sum(a * b))(a), "b"),
    "straight through": (lambda a, b: round_through(a) + jnp.round(b), "a"),
    "straight through by a stop": (lambda a, b: a + stop_gradient(b - a), "a"),
    "rule that returns zeros": (lambda a, b: round_cut(a) + b, "b"),
    "rule that passes the first": (custom(lambda x, y: x * y, {0}), "a"),
    "rule that passes the second": (custom(lambda x, y: x * y, {1}), "b"),
    "rule that passes neither": (custom(lambda x, y: x * y, set()), ""),
    "rule on one operand twice": (lambda a, b: custom(lambda x, y: x * y, {1})(a, a) + b, "ab"),
    "rule inside scan and jit": (
        lambda a, b: jax.jit(
            lambda a, b: jax.lax.scan(
                lambda c, x: (custom(lambda x, y: x * y, {0})(c, x), None), a, STACKED * b
            )[0]
        )(a, b),
        "a",
    ),
    "forward rule": (forward_rule({1}), "b"),
    "both of a forward rule": (forward_rule({0, 1}), "ab"),
    "shard_map": (shared(lambda a, b: jax.lax.psum(stop_gradient(a) * b, "i")), "b"),
    "equinox checkpoint": (eqx.filter_checkpoint(lambda a, b: jnp.sin(stop_gradient(a) * b)), "b"),
    "equinox jit": (eqx.filter_jit(lambda a, b: stop_gradient(a) * b), "b"),
}


@pytest.mark.parametrize("name", PASSAGES)
def test_gradient_is_followed_through(name):
    function, expected = PASSAGES[name]
    modules = {"a": {"w": jnp.asarray([0.3, 0.7])}, "b": {"w": jnp.asarray([0.2, 0.4])}}

    def losses(m):
        results = jax.tree.leaves(function(m["a"]["w"], m["b"]["w"]))
        return {"l": sum(jnp.sum(x.astype(jnp.float32)) for x in results)}

    found = structure(Program(losses, modules, ()))
    assert found.table["l"].modules == set(expected)
    assert found.reached == reached_by_derivative(losses, modules)


def test_loops_that_are_differentiated_forwards_only():
    def below(f):
        table = audit.routes(
            lambda m: {"l": jnp.sum(while_below(3.0, f)(m["a"]["b"][0], m["b"]["b"][0])[1])},
            {"a": linear(), "b": linear()},
        )
        return table["l"]

    assert below(lambda a, b: (a + 1, b * 2)).modules == {"b"}
    assert below(lambda a, b: (a + 1, b * 2))["a"].where == (
        "not differentiable: lt on a in <lambda>",
    )
    assert below(lambda a, b: (a + 1, a * b)).modules == {"a", "b"}


def test_an_operation_that_is_not_known_passes_everything():
    def losses(m, x):
        z = jax.pure_callback(np.asarray, jax.ShapeDtypeStruct((2,), jnp.float32), m["a"]["b"])
        s = jax.lax.custom_linear_solve(
            lambda v: v * m["b"]["b"], x[0], lambda f, v: v / 2, symmetric=True
        )
        return {"outside": jnp.sum(z), "solve": jnp.sum(s)}

    table = audit.routes(losses, {"a": linear(), "b": linear()}, X)
    assert "pure_callback" in str(table["outside"]["a"])
    assert table["solve"].modules == {"b"}


def test_flat_operations_are_those_whose_derivative_is_zero():
    """Asked of JAX itself, for every operation of one operand in jax.lax."""
    asked = 0
    for name in dir(jax.lax):
        function = getattr(jax.lax, name)
        try:
            losses = partial(lambda f, m: {"l": jnp.sum(f(m["a"]["w"]))}, function)
            numbers = {"a": {"w": jnp.full((2, 2), 0.5)}}
            derived = reached_by_derivative(losses, numbers)
        except Exception:  # no function of one floating point array, or none that JAX derives
            continue
        asked += 1
        assert structure(Program(losses, numbers, ())).reached == derived, name
    assert asked > 40


FORMS = [(name, bug) for name, entry in PROGRAMS.items() for bug in ("", *entry.wrong)]


@pytest.mark.parametrize(("name", "bug"), FORMS, ids=[f"{n}-{b or 'right'}" for n, b in FORMS])
def test_the_gallery_agrees_with_jaxs_own_derivative(name, bug):
    p = PROGRAMS[name].build(bug)
    args = ((p.others,) if p.others else ()) + p.batch(0)
    found = structure(Program(p.losses, p.params, args))
    assert found.reached == reached_by_derivative(p.losses, p.params, *args)


UNARY = [jnp.sin, jnp.floor, stop_gradient, round_through, round_cut, jnp.sort, jax.nn.relu]
BINARY = [
    jnp.multiply,
    jnp.maximum,
    lambda x, y: jnp.where(x > 0, y, 1.0),
    custom(lambda x, y: x + y, {1}),
    lambda x, y: jax.lax.scan(lambda c, u: (c * u, c), x, STACKED * y)[1].sum(0),
    lambda x, y: jax.lax.cond(x[0] > 0, lambda y: y, lambda y: x, y),
    lambda x, y: jax.checkpoint(lambda x: x * stop_gradient(y))(x),
]


@st.composite
def straight_lines(draw):
    """Programs over three modules: each line reads any of the lines before."""
    lines = []
    for n in range(3, draw(st.integers(4, 12))):
        operands = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=2))
        lines.append((draw(st.integers(0, len(UNARY) - 1)), operands))
    return lines


@given(straight_lines())
def test_random_programs_agree_with_jaxs_own_derivative(lines):
    def losses(m):
        values = [m[name]["w"] for name in "abc"]
        for choice, operands in lines:
            function = (UNARY if len(operands) == 1 else BINARY)[choice]
            values.append(function(*(values[i] for i in operands)))
        return {f"l{i}": jnp.sum(v) for i, v in enumerate(values)}

    modules = {name: {"w": jnp.asarray([0.3, 0.7])} for name in "abc"}
    found = structure(Program(losses, modules, ())).reached
    assert found == reached_by_derivative(losses, modules)


def test_long_and_deep_programs():
    def losses(m, x):
        for _ in range(3000):
            x = x * m["a"]["w"][0, 0]
        f = jnp.sin
        for _ in range(30):
            f = jax.jit(lambda x, f=f: f(x))
        return {"l": jnp.sum(f(x))}

    assert audit.routes(losses, {"a": linear()}, X).live == {"l": {"a"}}


def test_a_compiled_spec_has_its_declared_routes():
    spec = hzp(dim=8)
    model = lr.compile(spec, backend="jax")
    random = np.random.default_rng(0)
    batch = {
        "x": random.integers(0, 256, (2, 6, 3, 56, 56), dtype=np.uint8),
        "a": random.integers(0, 3, (2, 5)),
        "pose": random.normal(size=(2, 6, 4)).astype(np.float32),
    }

    def losses(modules, inputs):
        own = eqx.tree_at(lambda m: [getattr(m, n) for n in modules], model, [*modules.values()])
        return own(inputs).losses

    modules = {name: getattr(model, name) for name in spec.modules}
    assert audit.routes(losses, modules, model.inputs(batch)) == lr.routes(spec)


# Marks ---------------------------------------------------------------------------------------


def test_marks_pass_every_transformation():
    def losses(m, x):
        @jax.jit
        def encode(x):
            return audit.mark("inner", apply(m["a"], x))

        def step(h, u):
            h = audit.mark("h", jnp.tanh(h + u))
            return h, h

        z = jax.vmap(encode)(x)
        hs = jax.lax.scan(step, jnp.zeros(2), jax.checkpoint(encode)(x))[1]
        return {"z": jnp.sum(z), "h": jnp.sum(hs), "stopped": jnp.sum(stop_gradient(hs) * x)}

    table = audit.routes(losses, {"a": linear()}, X)
    assert table.latents == ("inner", "h")
    latents = {"z": {"inner"}, "h": {"inner", "h"}}
    audit.assert_routes(table, {"z": {"a"}, "h": {"a"}}, latents=latents)
    assert table["stopped"]["h"].where == ("stop_gradient on h in losses",)
    gradient = jax.grad(lambda m: losses(m, X)["z"])({"a": linear()})
    np.testing.assert_allclose(gradient["a"]["b"], len(X) * np.ones(2))


def test_a_latent_may_be_a_tree_and_be_marked_twice():
    def losses(m, x):
        one, _ = audit.mark("z", (stop_gradient(m["a"]["w"]), m["a"]["b"]))
        return {"first": jnp.sum(one), "second": jnp.sum(audit.mark("z", m["a"]["b"] * 2))}

    table = audit.routes(losses, {"a": linear()}, X)
    assert table["first"].latents == {"z"}  # the marked value is reached, and what made it is not
    assert not table["first"].modules
    assert table["second"].latents == {"z"}


def test_names_of_other_people_are_no_latents():
    table = audit.routes(lambda m: {"l": checkpoint_name(m["a"]["w"], "z").sum()}, {"a": linear()})
    assert table.latents == ()


# Modules of every kind -----------------------------------------------------------------------


class Model(eqx.Module):
    encoder: eqx.nn.Linear
    head: eqx.nn.Linear
    activation: Any
    name: str = eqx.field(static=True)

    def __call__(self, x):
        return self.head(self.activation(self.encoder(x)))


class Pair(NamedTuple):
    encoder: Any
    head: Any


KEYS = jax.random.split(jax.random.key(0))
WHOLE = Model(eqx.nn.Linear(2, 2, key=KEYS[0]), eqx.nn.Linear(2, 2, key=KEYS[1]), jnp.tanh, "model")


def mean_square(model, x):
    """As a function for jax.value_and_grad(has_aux=True)."""
    h = jax.vmap(model.encoder)(x)
    losses = {"all": jnp.mean(jax.vmap(model.head)(h) ** 2), "part": jnp.mean(h**2)}
    return sum(losses.values()), losses


@pytest.mark.parametrize("modules", [WHOLE, Pair(WHOLE.encoder, WHOLE.head)])
def test_one_object_stands_for_its_fields(modules):
    table = audit.routes(mean_square, modules, X)
    assert table.modules == ("encoder", "head")
    assert table.live == {"all": {"encoder", "head"}, "part": {"encoder"}}
    assert table["all"]["encoder"].parameters == (2, 2)
    found(audit.check(mean_square, modules, X, optimizers={"adam": modules}))

    def step(m, i):
        grads = eqx.filter_grad(lambda m: mean_square(m, X)[0])(m)
        return eqx.apply_updates(m, jax.tree.map(lambda g: -0.1 * g, grads))

    report = audit.watch(step, modules, steps=2, routes=table)
    found(report)
    assert report.moved == {"encoder": 2, "head": 2}


# What an optimiser may be told to hold, beside what it holds.
HELD = {
    "the model": (WHOLE, {"encoder": 2, "head": 2}),
    "what was filtered": (eqx.filter(WHOLE, eqx.is_inexact_array), {"encoder": 2, "head": 2}),
    "a part of it": (
        eqx.filter(
            WHOLE, eqx.tree_at(lambda m: m.head, jax.tree.map(lambda x: True, WHOLE), False)
        ),
        {"encoder": 2},
    ),
    "one module": (WHOLE.head, {"head": 2}),
    "weights in a list": ([WHOLE.head.weight, WHOLE.encoder.weight], {"encoder": 1, "head": 1}),
    "a dict of them": ({"head": WHOLE.head}, {"head": 2}),
    "names": (["head", "encoder"], {"encoder": 2, "head": 2}),
    "a pair of modules": ((WHOLE.encoder, WHOLE.head), {"encoder": 2, "head": 2}),
    "a name and its losses": ((["head"], ["all", "part"]), {"head": 2}),
    "arrays and their losses": ((WHOLE.head, ["all", "part"]), {"head": 2}),
    "masks": ({"head": True, "encoder": False}, {"head": 2}),
}


@pytest.mark.parametrize("given", HELD)
def test_what_an_optimiser_holds_is_said_in_any_form(given):
    value, expected = HELD[given]
    (optimiser,) = optimisers_of(
        {"adam": value}, {"encoder": WHOLE.encoder, "head": WHOLE.head}, ["all", "part"]
    ).values()
    counts = Counter(p.module for p in optimiser.holds if isinstance(p, Parameter))
    assert counts == expected
    assert optimiser.losses == {"all", "part"}


def test_one_array_in_two_modules_is_held_under_its_name():
    modules = {"student": WHOLE.head, "teacher": WHOLE.head}
    held = {"student": WHOLE.head}
    (optimiser,) = optimisers_of({"adam": held}, modules, ["l"]).values()
    assert {p.module for p in optimiser.holds if isinstance(p, Parameter)} == {"student"}


def test_arrays_of_no_module_are_counted():
    held = (*jax.tree.leaves(eqx.filter(WHOLE, eqx.is_array)), jnp.ones(3))
    report = audit.check(mean_square, WHOLE, X, optimizers={"adam": list(held)})
    found(report, "unnamed-parameters")
    assert "holds 1 parameter that is in none" in report.warnings[0].message


def test_no_error_prints_a_pytree():
    for wrong in (WHOLE.activation, optax.adam(1e-3), optax.adam(1e-3).init(ONE)):
        with pytest.raises(AuditError) as error:
            audit.check(mean_square, WHOLE, X, optimizers={"adam": wrong})
        assert len(str(error.value)) < 400
    with pytest.raises(AuditError) as error:
        untyped.check(mean_square, WHOLE, X, expected={"all": WHOLE}, numeric=False)
    assert len(str(error.value)) < 400


def test_help_lists_the_functions():
    said = pydoc.plain(pydoc.render_doc(audit))
    for function in ("assert_routes(", "check(", "mark(", "routes(", "watch("):
        assert f"\n    {function}" in said


def test_a_comparison_beside_a_stop_is_not_named():
    def losses(m, x):
        z = audit.mark("z", jax.nn.elu(apply(m["a"], x)))
        return {"l": jnp.sum(apply(m["b"], jax.nn.elu(stop_gradient(z))) * (z > 0))}

    def with_total(m, x):  # which goes on from a stopped loss and from a live one
        found = {**losses(m, x), "live": jnp.sum(apply(m["a"], x))}
        return sum(found.values()), found

    for function in (losses, with_total):
        table = audit.routes(function, {"a": linear(), "b": linear()}, X)
        for name in "az":
            assert table["l"][name].where == ("stop_gradient on z in losses",)


# Check ---------------------------------------------------------------------------------------


def found(report, *slugs: str) -> None:
    assert sorted(f.rule for f in report.findings) == sorted(slugs), report


def test_a_clean_agent():
    losses, modules = agent()
    report = audit.check(
        losses,
        modules,
        X,
        optimizers={"critic": ["encoder", "critic"], "actor": ["actor"]},
        expected={"critic": {"encoder", "critic"}, "actor": {"actor"}},
    )
    found(report)
    assert report.routes == audit.routes(losses, modules, X)


def test_a_leak_against_a_golden_file(tmp_path):
    audit.routes(*agent(), X).save(tmp_path / "routes.json")
    golden = RouteTable.load(tmp_path / "routes.json")
    report = audit.check(*agent(leak=True), X, expected=golden, numeric=False)
    found(report, "unexpected-route")
    assert report.errors[0].path == "actor <- actor <- z <- encoder"
    with pytest.raises(AssertionError, match="not expected: actor <- actor <- z <- encoder"):
        audit.assert_routes(audit.routes(*agent(leak=True), X), golden)


def test_what_optimisers_leave_out_and_hold_in_vain():
    def checked(optimizers):
        return audit.check(*agent(), X, optimizers=optimizers, numeric=False)

    found(checked({"all": ["encoder", "critic", "actor"]}))
    found(checked({"all": ["encoder", "actor"]}), "unowned-parameters")
    swapped = {"critic": ["actor", "encoder"], "actor": ["critic"]}
    report = checked(swapped)
    found(report, *["idle-parameters"] * 2, *["stray-gradient"] * 2)
    twice = {"critic": ["encoder", "critic"], "actor": ["actor", "critic"]}
    assert "two-optimisers" in {f.rule for f in checked(twice)}


def test_masks_of_optax():
    losses, modules = agent()
    mask = {"w": True, "b": False}
    held = {"encoder": mask, "critic": True, "actor": True}
    report = audit.check(losses, modules, X, optimizers={"adam": held}, numeric=False)
    found(report, "unowned-parameters")
    assert "1 of 2 parameters (['b'])" in report.warnings[0].message
    rest = {"encoder": jax.tree.map(lambda on: not on, mask)}
    both = {"adam": (held, ["critic", "actor"]), "sgd": (rest, ["critic"])}
    found(audit.check(losses, modules, X, optimizers=both, numeric=False))


def test_targets_may_not_be_reached():
    def losses(m, x):
        return {"l": jnp.mean((apply(m["student"], x) - apply(m["teacher"], x)) ** 2)}

    same = linear()
    report = audit.check(
        losses, {"student": same, "teacher": same}, X, targets={"teacher": "student"}
    )
    found(report, "target-live")  # that both start as one array is right


@pytest.mark.parametrize("place", ["before", "behind", "without"])
def test_a_latent_may_be_a_target(place):
    def losses(m, x):
        z = audit.mark("z", apply(m["a"], x))
        goal = audit.mark("goal", stop_gradient(z) if place == "behind" else z)
        goal = stop_gradient(goal) if place == "before" else goal
        return {"l": jnp.mean((apply(m["b"], z) - goal) ** 2)}

    modules = {"a": linear(), "b": linear(2.0)}
    report = audit.check(losses, modules, X, targets={"goal": "z"})
    found(report, *["target-live"] * (place == "without"))
    assert all(f.path == "l <- goal" for f in report)


def test_the_witnesses_differ():
    def losses(m, x):
        z = apply(m["a"], x)
        return {"l": jnp.sum(apply(m["b"], 0 * z) * m["c"]["w"][0])}

    modules = {"a": linear(), "b": linear(), "c": linear()}
    report = audit.check(losses, modules, X)
    found(report, "silent-route")
    assert report.notes[0].path == "l <- c <- b <- a"
    assert report.clean


def test_a_gradient_that_the_program_does_not_show():
    calls = []

    def losses(m, x):
        calls.append(1)  # traced for the routes first, then for the numbers
        w = m["a"]["w"]
        return {"l": jnp.sum(m["b"]["w"] * (stop_gradient(w) if len(calls) == 1 else w))}

    report = audit.check(losses, {"a": linear(), "b": linear()}, X)
    assert [f.subject for f in report.of("hidden-route")] == ["a"]


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda a: jnp.sum(a - a), "was exactly 0"),
        (lambda a: 1 + jnp.sum(0 * a), "had a gradient of exactly 0"),
    ],
)
def test_flat_losses(loss, said):
    report = audit.check(lambda m: {"l": loss(m["a"]["w"])}, {"a": linear()})
    found(report, "flat-loss")
    assert said in report.errors[0].message


def test_a_gradient_that_is_zero_only_where_the_user_stands_is_not_flat():
    def losses(m, x):  # a last layer of zeros, and free bits
        h = apply({**linear(), "w": m["head"]["w"]}, apply(m["body"], x))
        return {"l": jnp.maximum(jnp.mean((h - 1) ** 2), 0.1)}

    modules = {"body": linear(), "head": {"w": jnp.zeros((2, 2))}}
    found(audit.check(losses, modules, X))


def test_what_jax_cannot_differentiate():
    def losses(m, x):
        return {"l": jnp.sum(while_below(3.0, lambda a, b: (a + 1, b * 2))(0.0, m["a"]["w"])[1])}

    with pytest.raises(AuditError, match=r"(?s)cannot differentiate.*Reverse-mode.*numeric=False"):
        audit.check(losses, {"a": linear()}, X)
    found(audit.check(losses, {"a": linear()}, X, numeric=False))


# Watch ---------------------------------------------------------------------------------------


def trainer(tx=None, donate: bool = False, modules=None):
    """A step that trains `modules` of the agent, or those given, and the agent's losses."""
    losses, own = agent()
    own = modules or own
    tx = tx or optax.adam(1e-2)
    state = tx.init(own)

    @partial(jax.jit, donate_argnums=(0, 1) if donate else ())
    def update(m, state):
        found, pullback = jax.vjp(lambda m: losses(m, X), m)
        (grads,) = pullback({name: jnp.ones(()) for name in found})
        moves, state = tx.update(grads, state, m)
        return optax.apply_updates(m, moves), state, found

    def step(m, i):
        nonlocal state
        m, state, found = update(m, state)
        return m, found

    return step, losses, own


@pytest.mark.parametrize("donate", [False, True])
def test_watch_counts_what_moved(donate):
    step, losses, modules = trainer(donate=donate)
    table = audit.routes(losses, modules, X)
    report = audit.watch(step, modules, steps=3, routes=table)
    found(report)
    assert report.moved == {"encoder": 3, "actor": 3, "critic": 3}
    assert report.routes == table
    assert "moved in 3 of 3 steps" in str(report)


def test_what_moves_without_a_route_and_what_does_not_move():
    step, losses, modules = trainer(optax.adamw(1e-2, weight_decay=0.1))
    modules = {**modules, "unused": linear()}

    def decays(m, i):
        new, values = step({k: m[k] for k in ("encoder", "actor", "critic")}, i)
        new["actor"] = m["actor"]
        return {**new, "unused": jax.tree.map(lambda x: 0.9 * x, m["unused"])}, values

    table = audit.routes(losses, modules, X)
    report = audit.watch(decays, modules, steps=2, routes=table)
    found(report, "never-moved", "moved-without-route")
    # without routes a warning says that nothing is said of them
    assert audit.watch(lambda m, i: m, modules, steps=2).moved["encoder"] == 0
    found(audit.watch(lambda m, i: m, modules, steps=2), "routes-unknown")
    # a module that the step does not differentiate may rest
    report = audit.watch(lambda m, i: m, {"rest": linear()}, steps=1, routes=table)
    found(report)


@pytest.mark.parametrize(
    ("decay", "expected"), [(0.9, []), (1.0, ["stale-target"]), (0.0, ["aliased-module"])]
)
def test_targets_are_watched(decay, expected):
    step, losses, modules = trainer()

    def whole(m, i):
        new, values = step({k: v for k, v in m.items() if k != "teacher"}, i)
        moved = optax.incremental_update(new["encoder"], m["teacher"], 1 - decay)
        return {**new, "teacher": moved}, values

    table = audit.routes(losses, modules, X)
    modules = {**modules, "teacher": modules["encoder"]}
    report = audit.watch(whole, modules, targets={"teacher": "encoder"}, routes=table)
    found(report, *expected)


def test_modules_that_stay_equal_are_one_but_for_single_numbers():
    def step(m, i):
        return jax.tree.map(lambda x: x + 0.1, m)

    twins = {"q1": linear(), "q2": linear()}
    unknown = "routes-unknown"
    found(audit.watch(step, twins, steps=2), "aliased-module", unknown)
    temperatures = {"alpha": jnp.zeros(()), "beta": jnp.zeros(())}  # moved by their sign, say
    found(audit.watch(step, temperatures, steps=2), unknown)
    copies = {"alpha": "beta"}
    found(audit.watch(step, temperatures, steps=2, targets=copies), "aliased-module", unknown)


def test_routes_that_come_and_go_with_the_batch():
    def losses(m, stop):
        z = apply(m["a"], X)
        return {"l": jnp.sum(apply(m["b"], stop_gradient(z) if stop else z))}

    modules = {"a": linear(), "b": linear(2.0)}

    def step(m, i):
        return jax.tree.map(lambda x: x * 0.9, m)

    report = audit.watch(
        step, modules, steps=2, routes=lambda m, i: audit.routes(losses, m, i == 1)
    )
    found(report, "unstable-routes")
    assert report.routes["l"].modules == {"a", "b"}


def test_losses_that_are_zero_at_every_step():
    modules = {"a": {"w": jnp.ones(2), "steps": jnp.zeros((), int), "key": jax.random.key(0)}}

    def step(m, i):
        return {"a": {**m["a"], "steps": m["a"]["steps"] + 1}}, {"l": jnp.zeros(()), "m": 1.0}

    report = audit.watch(step, modules, steps=2)
    found(report, "flat-loss", "routes-unknown")
    assert report.moved == {"a": 2}
    assert "`l`, `m` were numbers" in report.warnings[0].message


def test_nan_that_stays_is_no_movement():
    modules = {"a": {"w": jnp.full(2, jnp.nan)}}
    assert audit.watch(lambda m, i: m, modules, steps=2).moved == {"a": 0}


# Bad input -----------------------------------------------------------------------------------

ONE = {"a": linear()}
untyped: Any = audit  # what follows is wrong on purpose


def loss_of(m, *args):
    return {"l": jnp.sum(m["a"]["w"])}


def branches(m, x):
    return {"l": jnp.sum(m["a"]["w"])} if jnp.sum(x) > 0 else {"l": jnp.zeros(())}


def as_numpy(m, x):
    return {"l": jnp.sum(m["a"]["w"]) * np.sum(np.asarray(x))}


def gone():
    module = {"a": {"w": jnp.ones(2)}}
    jax.jit(lambda m: jax.tree.map(jnp.sin, m), donate_argnums=0)(module)
    return module


BAD = {
    "no function": (lambda: untyped.routes({"l": 1.0}, ONE), "takes the loss function first"),
    "no dict of modules": (lambda: untyped.routes(loss_of, [linear()]), "modules= must be a dict"),
    "no modules": (lambda: untyped.routes(loss_of, {}), "modules= is empty"),
    "a module without arrays": (
        lambda: untyped.routes(loss_of, {**ONE, "f": eqx.nn.Lambda(jnp.tanh)}),
        "'f' has none: received PjitFunction",
    ),
    "a module of whole numbers": (
        lambda: untyped.routes(loss_of, {**ONE, "n": jnp.zeros(2, int)}),
        "'n' has none: received ArrayImpl",
    ),
    "an empty module": (lambda: untyped.routes(loss_of, {"a": {}}), "received no leaves"),
    "a scalar": (lambda: untyped.routes(lambda m: m["a"]["w"].sum(), ONE), "a dict of scalars"),
    "a pair": (lambda: untyped.routes(lambda m: (0.0, 1.0), ONE), "received tuple"),
    "a pair without losses": (
        lambda: untyped.routes(lambda m: (0.0, {}), ONE),
        "received an empty dict",
    ),
    "an argument too few": (
        lambda: untyped.routes(branches, ONE),
        r"calls `loss_fn\(modules, \*args\)`, here with \(dict\), and the function is "
        r"`branches\(m, x\)`: missing a required argument: 'x'",
    ),
    "a step of one argument": (
        lambda: untyped.watch(lambda m: m, ONE),
        r"`step\(modules, i\)`, here with \(dict, int\).*too many positional",
    ),
    "a module without fields": (
        lambda: untyped.routes(loss_of, (linear(), linear())),
        "must be a dict of names, received tuple",
    ),
    "a module with nothing to train": (
        lambda: untyped.routes(loss_of, eqx.nn.Lambda(jnp.tanh)),
        "must be a dict of names, received Lambda",
    ),
    "an empty dict": (lambda: untyped.routes(lambda m: {}, ONE), "received an empty dict"),
    "a loss without a name": (
        lambda: untyped.routes(lambda m: {1: m["a"]["w"].sum()}, ONE),
        "named by a text, received 1",
    ),
    "a vector": (lambda: untyped.routes(lambda m: {"l": m["a"]["w"]}, ONE), r"shape \(2, 2\)"),
    "a whole number": (
        lambda: untyped.routes(lambda m: {"l": m["a"]["w"].sum().astype(int)}, ONE),
        "'l' is int32: it has no gradient",
    ),
    "a constant": (lambda: untyped.routes(lambda m: {"l": 0.0}, ONE), "constant of Python"),
    "a branch on an array": (
        lambda: untyped.routes(branches, ONE, X),
        r"test_audit_jax.py:\d+: .*TracerBoolConversionError.*jnp.where",
    ),
    "numpy on an array": (lambda: untyped.routes(as_numpy, ONE, X), "TracerArrayConversionError"),
    "a mark of no array": (
        lambda: untyped.routes(lambda m: {"l": untyped.mark("z", 1.0)}, ONE),
        "received float",
    ),
    "a mark without a name": (
        lambda: untyped.mark(X, "z"),
        "by a text",
    ),
    "a latent named like a module": (
        lambda: untyped.routes(lambda m: {"l": untyped.mark("a", m["a"]["w"]).sum()}, ONE),
        "'a' is a name in modules= and in latents=",
    ),
    "shapes for numbers": (
        lambda: untyped.check(loss_of, jax.eval_shape(lambda: ONE)),
        "numeric=False",
    ),
    "an unknown target": (
        lambda: untyped.check(loss_of, ONE, targets={"teacher": "a"}),
        "'teacher', which is none",
    ),
    "an unknown expectation": (
        lambda: untyped.check(loss_of, ONE, expected={"l": {"c"}}, numeric=False),
        "a module 'c'",
    ),
    "optimisers in a list": (
        lambda: untyped.check(loss_of, ONE, optimizers=["a"]),
        "optimizers= must be a dict",
    ),
    "an optimiser of optax": (
        lambda: untyped.check(loss_of, ONE, optimizers={"adam": optax.adam(1e-3)}),
        "is a list of modules",
    ),
    "the state of an optimiser": (
        lambda: untyped.check(loss_of, ONE, optimizers={"adam": optax.adam(1e-3).init(ONE)}),
        r"has 4 arrays, and none of them is one of modules=.*and not its state",
    ),
    "losses of another kind": (
        lambda: untyped.check(loss_of, ONE, optimizers={"adam": (["a"], "l")}),
        r"lists its losses as 'l'. Fix: optimizers=\{'adam': \(",
    ),
    "a step that returns another kind": (
        lambda: untyped.watch(lambda m, i: {"encoder": linear()}, WHOLE),
        r"\(encoder, head\), received encoder",
    ),
    "a single name": (
        lambda: untyped.check(loss_of, ONE, optimizers={"adam": "a"}),
        "is a list of modules, or",
    ),
    "an unknown module": (
        lambda: untyped.check(loss_of, ONE, optimizers={"adam": ["b"]}),
        "holds 'b', which is none",
    ),
    "a mask that does not fit": (
        lambda: untyped.check(loss_of, ONE, optimizers={"adam": {"a": {"v": True}}}),
        "a mask for 'a' that does not fit",
    ),
    "an unknown loss": (
        lambda: untyped.check(loss_of, ONE, optimizers={"adam": (["a"], ["m"])}),
        "lists a loss 'm'",
    ),
    "no step": (lambda: untyped.watch(None, ONE), "takes a function"),
    "no steps": (lambda: untyped.watch(lambda m, i: m, ONE, steps=0), "at least 1"),
    "a step that returns nothing": (
        lambda: untyped.watch(lambda m, i: None, ONE),
        "received NoneType.*do not change in place",
    ),
    "a step that loses a module": (
        lambda: untyped.watch(lambda m, i: {"b": linear()}, ONE),
        r"\(a\), received b",
    ),
    "a step on shapes": (
        lambda: untyped.watch(lambda m, i: m, jax.eval_shape(lambda: ONE)),
        "pass arrays",
    ),
    "arrays that were given away": (lambda: untyped.watch(lambda m, i: m, gone()), "is gone"),
    "losses in a list": (
        lambda: untyped.watch(lambda m, i: (m, [1.0]), ONE),
        "losses as a dict of numbers",
    ),
    "routes that are none": (
        lambda: untyped.watch(lambda m, i: m, ONE, routes={"l": {"a"}}),
        "received dict",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_what_to_do(case):
    call, said = BAD[case]
    with pytest.raises(LatentrolesError, match=f"(?s){said}") as error:
        call()
    assert re.match(r"test_audit_jax\.py:\d+: ", str(error.value)), error.value


def test_an_error_of_the_users_own_is_passed_on():
    with pytest.raises(KeyError, match="encoder"):
        audit.routes(lambda m: {"l": m["encoder"].sum()}, ONE)


def test_the_backend_does_not_load_the_audit():
    program = "import sys, latentroles_jax; print('latentroles_jax.audit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
