"""What random Specs found: each program was compiled wrongly once, or not at all."""

import sys

import numpy as np
import pytest

import latentroles as lr
from latentroles.plan.build import plan_phase
from latentroles.testing.laws import Case, compiled, inputs, results, step_of
from latentroles.testing.laws.checks import only_declared_routes, same_results
from latentroles.testing.laws.rewrites import routes_by_hand
from latentroles.testing.laws.routes import shares_what_it_computes
from latentroles.testing.laws.unrolled import unrolled
from latentroles.testing.laws.values import follows_reference
from latentroles.testing.strategies import Program, batch_for

HEAD = """
s = lr.Spec("found")
x = s.observation("x", (2,))
f, j, g = s.module("f", lr.nn.linear(2, 2)), s.module("j", lr.nn.linear(4, 2)), s.module("g", lr.nn.gru(2, 2))
z = f(x)
mse, zeros = lr.losses.mse, lr.zeros(2)
"""  # noqa: E501

FOUND = {
    "a carry that its step reads both live and stopped": """
def step(c, u):
    c0, c1 = c
    w1 = lr.tanh(c0)
    return (f(c1) + u, w1.stop()), (w1,)
(v2, v3), (v4,) = lr.scan(step, init=(zeros, zeros), xs=z)
s.loss("l", mse(v4, v2.t[1:]))
""",
    "a stopped carry that is read live": """
def step(c):
    w = f(lr.tanh(c)) + c
    return w.stop(), (w,)
v, (w,) = lr.rollout(step, start=z, horizon=2)
s.loss("l", mse(w, z.t[0].stop()))
""",
    "a loop with stopped carries only, read live": """
def step(c, u):
    c0, c1 = c
    w0 = f(c1) + u
    w1 = c0 * 0.5 + w0
    return (w0.stop(), w1.stop()), (w1,)
(v2, v3), (v4,) = lr.scan(step, init=(zeros, zeros), xs=z)
s.loss("l", mse(v4, v3.t[:-1]))
""",
    "sizes without a column that is read": """
v = lr.scan(lambda c, u: lr.tanh(c), init=zeros, xs=x)
s.loss("l", mse(f(v), v))
s.latent("h", v, role=lr.DYNAMICS)
""",
    "a long line that ends in a stop": """
v = z * 0.5 + z
s.loss("l", mse(v.stop(), f(v.stop())) + lr.losses.scale(v) * 0.5)
s.loss("m", (mse(v, f(v.stop())) + lr.losses.scale(v) * 0.5) * 0.25 + lr.losses.scale(f(v)))
""",
    "a long line that ends in a sum": """
def step(c, u):
    c0, c1 = c
    w0 = g(c1, c0)
    w1 = j(lr.concat(c0, w0))
    return (w0, w1.stop()), (c1,)
(v2, v3), (v4,) = lr.scan(step, init=(zeros, zeros), xs=z)
v = v4 / (lr.square(z) + 1.0)
s.loss("l", mse(v, v))
""",
    "a loop that reads another loop in its step": """
def first(c, u):
    c0, c1 = c
    w0 = g(c1, c0)
    return (w0, j(lr.concat(c0, w0)).stop())
v4, _ = lr.scan(first, init=(z.t[1], zeros), xs=z)
def second(c):
    c0, c1 = c
    return (lr.tanh(c1 * v4), lr.tanh(c0.stop() * c0).stop())
_, v10 = lr.rollout(second, start=(v4.stop(), zeros), horizon=3)
s.loss("l", mse(v4, v10))
s.loss("m", mse(v10, f.frozen(v10.stop())))
""",
    "a mean over the batch of what has steps": """
v = lr.rollout(lambda c: c * 0.5, start=z, horizon=3).sum(over="batch")
s.loss("l", mse(lr.prepend(zeros, v), zeros))
""",
    "what a step collects without the axes of a carry": """
def step(c):
    m = c.t[1:].mean(over="time")
    return c * 0.5 + m, ((c.t[1:] - m).mean(over="time"), m)
_, (o, m) = lr.rollout(step, start=z, horizon=2)
s.loss("l", mse(o, zeros))
s.loss("m", mse(m, zeros))
""",
    "a sequence that a step puts together": """
def step(c, u):
    return c * 0.5 + u, (lr.prepend(zeros, c.t[1:]),)
_, (o,) = lr.rollout(step, start=z.t[:-1], xs=x, horizon=2)
s.loss("l", mse(o, zeros))
""",
    "two horizons of one loop": """
def step(c):
    return f(c) + z.t[0]
two, three = (lr.rollout(step, start=z, horizon=k) for k in (2, 3))
s.loss("l", mse(two.k[-1], three.k[-1].stop()))
s.loss("m", mse(three, zeros))
""",
    "a loop with a twin": """
v = lr.scan(g, init=zeros, xs=z).t[:-1] + z
s.loss("l", mse(v, zeros), updates=[g])
s.loss("m", mse(v.stop(), v))
s.loss("n", mse(v, x))
""",
    "numbers for a state and a latent": """
c = s.state("c", init=2.0)
s.update(c, 3.0)
s.loss("m", mse(z * c, x))
s.latent("k", lr.constant(0.5), role=lr.DYNAMICS)
""",
}


@pytest.mark.parametrize("name", FOUND)
def test_it_is_compiled_as_declared(name):
    text = HEAD + FOUND[name]
    names: dict[str, object] = {"lr": lr, "__name__": "declared"}
    exec(text, names)
    spec = names["s"]
    assert isinstance(spec, lr.Spec)
    plain = unrolled(Program(text, spec))
    assert lr.routes(spec).live == routes_by_hand(spec.to_json())
    for case in Case.all_of(spec):
        model = compiled(case, "torch")
        shares_what_it_computes(model.plan)
        got = follows_reference(model, case)
        only_declared_routes(got.gradients, spec)
        same_results(step_of(case.but(plain), "torch"), got)
        _, noise, state = inputs(model, case)
        for latent in spec.latents:
            assert model.encode(case.batch, latent, noise, state) is not None


@pytest.mark.parametrize("name", ["none", "true", "model", "outputs", "a-b_1"])
def test_a_model_without_losses_has_a_total(name):
    s = lr.Spec(name)
    s.latent("z", s.module("f", lr.nn.linear(2, 2))(s.observation("x", (2,))), role=lr.PLACE)
    case = Case.of(s)
    got = results(compiled(case, "torch"), case)
    assert (got.total, got.losses) == (0.0, {})
    assert not any(a.any() for a in lr.gradients(compiled(case, "torch"), case.batch)["f"].values())


def deep(kind: str, depth: int) -> lr.Spec:
    s = lr.Spec("deep")
    x = s.observation("x", (2,))
    f = s.module("f", lr.nn.linear(2, 2))
    z = f(x)

    def many(c: lr.Expr) -> lr.Expr:
        for _ in range(depth):
            c = lr.tanh(c)
        return c

    if kind == "chain":
        z = many(z)
        s.loss("stopped", lr.losses.mse(z.stop(), f(x)))
    elif kind == "step":
        z = lr.scan(lambda c, u: many(c + u), init=lr.zeros(2), xs=z).t[1:]
    else:
        for _ in range(depth // 20):
            z = lr.scan(lambda c, u: f(c) + u, init=lr.zeros(2), xs=z).t[1:]
    s.loss("l", lr.losses.mse(z, x))
    return s


@pytest.mark.parametrize("kind", ["chain", "step", "loops"])
def test_depth_is_no_trouble(kind):
    spec = deep(kind, sys.getrecursionlimit())
    case = Case.of(spec)
    assert np.isfinite(results(compiled(case, "torch"), case).total)


# Every name that an emitted method, its module or a base class has for itself.
NAMES = (
    *("self", "batch", "noise", "state", "step", "B", "T", "total", "range", "zip"),
    *("torch", "losses", "ops", "each", "frozen", "prepend", "Model", "Outputs", "stop_gradient"),
    *("jax", "jnp", "eqx", "carry", "entry", "h_steps", "h_t", "zeros", "x_2", "float", "dict"),
)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("what", ["column", "loss", "latent"])
def test_no_name_is_in_the_way(what, backend):
    def declare(named: dict[str, str]) -> lr.Spec:
        s = lr.Spec("names")
        x = s.observation(named.get("x", "x"), (2,))
        a = s.action(named.get("a", "a"), lr.Discrete(2))
        f, g = s.module("f", lr.nn.linear(2, 2)), s.module("g", lr.nn.gru(4, 2))
        eps, old = s.noise("eps", (2,), axes=("batch", "time")), s.state("old", (2,))
        u = lr.concat(f(x + eps).t[1:], a.one_hot())
        h = s.latent(named.get("h", "h"), lr.scan(g, init=lr.zeros(2), xs=u), role=lr.DYNAMICS)
        s.update(old, h.mean(over="time").mean(over="batch"))
        s.loss(named.get("one", "one"), lr.losses.mse(f.frozen(h) + old, f(x).stop()))
        s.loss(named.get("two", "two"), lr.losses.mse(h, f(x)))
        return s

    # All the names at once cost one model for each pair of them.
    places = {"column": ("x", "a"), "loss": ("one", "two"), "latent": ("h",)}[what]
    plain = declare({})
    batch = batch_for(plain, 0)
    names = NAMES if backend == "torch" else NAMES[:: 9 if what == "latent" else 6]
    names = [n for n in names if (what, n) != ("loss", "total")]  # refused: a column of the log
    want = step_of(Case(plain, batch), "torch")
    for i in range(0, len(names) - 1, len(places)):
        named = dict(zip(places, names[i:], strict=False))
        spec = declare(named)
        columns = {named.get(n, n): array for n, array in batch.items()}
        case = Case(spec, columns)
        got = results(compiled(case, backend), case)
        np.testing.assert_allclose([*got.losses.values()], [*want.losses.values()], rtol=1e-10)
        if backend == "torch":
            model = compiled(case, "torch")
            for latent in spec.latents:
                model.encode(columns, latent, model.noise(0, columns))


@pytest.mark.parametrize("name", ["lambda", "class", "a b", "_x", "", 3, "\ufb01t"])
def test_a_name_that_no_source_can_have_is_refused(name):
    s = lr.Spec("names")
    x = s.observation("x", (2,))
    for declare in (
        lambda: s.module(name, lr.nn.linear(2, 2)),
        lambda: s.loss(name, lr.losses.mse(x, x)),
        lambda: s.phase(name, losses=[]),
        lambda: s.observation(name, (2,)),
    ):
        with pytest.raises(lr.SpecError, match="identifier"):
            declare()


def test_twins_are_counted_in_loops_as_well():
    s = lr.Spec("twins")
    x = s.observation("x", (2,))
    f, g = s.module("f", lr.nn.linear(2, 2)), s.module("g", lr.nn.gru(2, 2))
    h = lr.scan(g, init=lr.zeros(2), xs=f(x))
    s.loss("all", lr.losses.mse(h, lr.zeros(2)))
    s.loss("low", lr.losses.mse(h, lr.zeros(2)), updates=[g])
    plan = plan_phase(s, s.phase_of(None), targets_flow=False)
    assert plan.applications() == {"f": 1, "g": 2}
    assert plan.twins == {"g": 1}
