"""Optimisers and schedules: their formulas, and the parity of the two backends."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import latentroles_jax.optim as in_jax
import latentroles_torch.optim as in_torch
from latentroles.errors import CheckpointError, SpecError
from latentroles.spec import schedules
from latentroles.spec.schedules import constant, cosine, value, warmup
from latentroles.train import optimisers
from latentroles.train.optimisers import adam, adamw, learning_rate, sgd
from latentroles_jax.precision import x64

pytestmark = pytest.mark.filterwarnings("error")

SHAPES = {"encoder/0.weight": (3, 2), "encoder/0.bias": (3,), "head/weight": (2, 2)}
EXAMPLES = [
    sgd(0.1),
    sgd(warmup(0.1, 3), momentum=0.9, clip_norm=0.5),
    adam(1e-2, b1=0.8, b2=0.99, eps=1e-6),
    adam(cosine(1e-2, 8), clip_norm=2.0),
    adamw(warmup(1e-2, 3, then=cosine(1e-2, 5)), weight_decay=0.1, clip_norm=1.0),
]
each_optimiser = pytest.mark.parametrize("optimiser", EXAMPLES, ids=range(len(EXAMPLES)))


@pytest.fixture(scope="module", autouse=True)
def strict_jax():
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


def draw(seed: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {path: scale * rng.normal(size=shape) for path, shape in SHAPES.items()}


class TorchRun:
    """Parameters and a group, in torch."""

    def __init__(self, optimiser, dtype="float64", params=None, state=None):
        dtype = getattr(torch, dtype)
        params = draw(0) if params is None else params
        tensors = {k: torch.tensor(v, dtype=dtype) for k, v in params.items()}
        self.params = {k: torch.nn.Parameter(v) for k, v in tensors.items()}
        self.group = in_torch.Group(optimiser, self.params)
        if state is not None:
            self.group.restore(state)

    def step(self, grads, step):
        given = {k: g for k, g in grads.items() if g is not None}
        tensors = {k: torch.tensor(g, dtype=self.params[k].dtype) for k, g in given.items()}
        self.group.update({k: tensors.get(k) for k in grads}, step)

    def numbers(self):
        return {k: p.detach().numpy().copy() for k, p in self.params.items()}

    def state(self):
        return self.group.state()


class JaxRun:
    """Parameters and a state, in jax; used under x64 when float64."""

    def __init__(self, optimiser, dtype="float64", params=None, state=None):
        self.optimiser = optimiser
        params = draw(0) if params is None else params
        self.params = {k: jnp.asarray(v, dtype) for k, v in params.items()}
        self.native = in_jax.init(optimiser, self.params)
        if state is not None:
            self.native = in_jax.state_from_numpy(optimiser, self.params, state)

    def step(self, grads, step):
        grads = {k: jnp.asarray(g, self.params[k].dtype) for k, g in grads.items()}
        rate = learning_rate(self.optimiser, step)
        self.params, self.native = in_jax.update(
            self.optimiser, grads, self.native, self.params, rate
        )

    def numbers(self):
        return {k: np.array(p) for k, p in self.params.items()}

    def state(self):
        return in_jax.state_to_numpy(self.optimiser, self.native)


RUNS = [TorchRun, JaxRun]


def reference(optimiser, gradients):
    """Ten lines of numpy: the formulas of the descriptors' docstrings."""
    params = draw(0)
    m, v = dict.fromkeys(params, 0.0), dict.fromkeys(params, 0.0)
    for t, grads in enumerate(gradients, start=1):
        if optimiser.clip_norm is not None:
            norm = math.sqrt(sum(float(np.sum(g**2)) for g in grads.values()))
            scale = min(1.0, optimiser.clip_norm / norm) if norm else 1.0
            grads = {path: scale * g for path, g in grads.items()}
        rate = learning_rate(optimiser, t - 1)
        for path, g in grads.items():
            if isinstance(optimiser, optimisers.SGD):
                m[path] = optimiser.momentum * m[path] + g
                params[path] = params[path] - rate * m[path]
                continue
            m[path] = optimiser.b1 * m[path] + (1 - optimiser.b1) * g
            v[path] = optimiser.b2 * v[path] + (1 - optimiser.b2) * g**2
            corrected = v[path] / (1 - optimiser.b2**t)
            move = m[path] / (1 - optimiser.b1**t) / (np.sqrt(corrected) + optimiser.eps)
            move = move + getattr(optimiser, "weight_decay", 0.0) * params[path]
            params[path] = params[path] - rate * move
    return params


def assert_close(got, wanted, tolerance):
    """Compares each array relative to its largest entry."""
    __tracebackhide__ = True
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].shape == array.shape
        scale = max(float(np.abs(array).max()), 1e-30)
        error = float(np.abs(got[name] - array).max()) / scale
        assert error <= tolerance, f"{name}: relative error {error:.2e} > {tolerance:.0e}"


def assert_equal(got, wanted):
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, name)


rates = st.floats(1e-4, 0.5)
lengths = st.integers(1, 12)
curves = st.one_of(
    rates,
    st.builds(constant, rates),
    st.builds(cosine, rates, lengths, st.floats(0, 0.5)),
    st.builds(warmup, rates, lengths, st.none() | st.builds(cosine, rates, lengths)),
)
clips = st.none() | st.floats(0.05, 20)
betas = st.floats(0, 0.999)
epsilons = st.sampled_from([1e-8, 1e-6, 1e-3, 0.1])
any_optimiser = st.one_of(
    st.builds(sgd, curves, betas, clip_norm=clips),
    st.builds(adam, curves, betas, betas, epsilons, clip_norm=clips),
    st.builds(adamw, curves, betas, betas, epsilons, st.floats(0, 0.5), clip_norm=clips),
)


@given(any_optimiser, st.integers(0, 1000), st.sampled_from([0.01, 1.0, 30.0]))
def test_ten_steps_agree_in_float64(optimiser, seed, scale):
    gradients = [draw(1000 * seed + t, scale) for t in range(10)]
    gradients[3]["head/weight"] *= 0
    with x64():
        runs = [Run(optimiser) for Run in RUNS]
        for step, grads in enumerate(gradients):
            for run in runs:
                run.step(grads, step)
        first, second = (run.numbers() | run.state() for run in runs)
    assert_close(second, first, 1e-7)
    assert_close(runs[0].numbers(), reference(optimiser, gradients), 1e-7)


@pytest.mark.parametrize("eps", [1e-8, 1e-3])
@pytest.mark.parametrize("Run", RUNS)
def test_eps_stands_outside_of_the_root(Run, eps):
    """Gradients as small as eps: the place of eps is then most of the step."""
    optimiser = adam(0.1, eps=eps)
    gradients = [draw(t, eps) for t in range(3)]
    with x64():
        run = Run(optimiser)
        for step, grads in enumerate(gradients):
            run.step(grads, step)
        assert_close(run.numbers(), reference(optimiser, gradients), 1e-9)


@each_optimiser
def test_steps_agree_in_float32(optimiser):
    runs = [Run(optimiser, "float32") for Run in RUNS]
    for step in range(10):
        for run in runs:
            run.step(draw(100 + step), step)
    assert_close(runs[1].numbers(), runs[0].numbers(), 1e-5)


@each_optimiser
def test_a_jitted_update_is_compiled_once(optimiser):
    traced = []

    @jax.jit
    def update(grads, state, params, rate):
        traced.append(1)
        return in_jax.update(optimiser, grads, state, params, rate)

    with x64():
        run = JaxRun(optimiser)
        params, state = run.params, run.native
        for step in range(4):
            grads = {k: jnp.asarray(g) for k, g in draw(step).items()}
            rate = learning_rate(optimiser, step)
            params, state = update(grads, state, params, rate)
            run.step(draw(step), step)
        assert len(traced) == 1
        assert_close({k: np.asarray(p) for k, p in params.items()}, run.numbers(), 1e-12)


@each_optimiser
@pytest.mark.parametrize("Run", RUNS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_restoring_is_bitwise_continuing(optimiser, Run, dtype):
    with x64():
        run = Run(optimiser, dtype)
        for step in range(3):
            run.step(draw(step), step)
        params, state = run.numbers(), run.state()
        for step in range(3, 6):
            run.step(draw(step), step)
        again = Run(optimiser, dtype, params, state)
        assert_equal(again.state(), state)
        for step in range(3, 6):
            again.step(draw(step), step)
        assert_equal(again.numbers(), run.numbers())
        assert_equal(again.state(), run.state())
        # The saved arrays are copies: going on did not change them.
        assert state["count"] == 3


@each_optimiser
def test_a_state_crosses_between_the_backends(optimiser):
    with x64():
        for Here, There in (RUNS, RUNS[::-1]):
            here = Here(optimiser)
            for step in range(3):
                here.step(draw(step), step)
            there = There(optimiser, params=here.numbers(), state=here.state())
            for step in range(3, 6):
                here.step(draw(step), step)
                there.step(draw(step), step)
            assert_close(there.numbers() | there.state(), here.numbers() | here.state(), 1e-12)


@each_optimiser
@pytest.mark.parametrize("Run", RUNS)
def test_saved_names_and_shapes_are_those_of_core(optimiser, Run):
    wanted = optimisers.state_shapes(optimiser, SHAPES)
    assert set(wanted) >= {"count"} | ({"nu/head/weight"} if optimiser.name != "sgd" else set())
    with x64():
        run = Run(optimiser)
        for step in range(2):
            assert {name: a.shape for name, a in run.state().items()} == wanted
            assert run.state()["count"] == step
            run.step(draw(step), step)


@pytest.mark.parametrize("Run", RUNS)
def test_bfloat16_states_are_saved_as_float32(Run):
    run = Run(adam(0.1), "bfloat16")
    run.step(draw(0), 0)
    state = run.state()
    assert state["mu/head/weight"].dtype == np.float32
    again = Run(adam(0.1), "bfloat16", state=state)
    assert_equal(again.state(), state)


@pytest.mark.parametrize("Run", RUNS)
def test_a_state_of_another_optimiser_is_refused(Run):
    with x64():
        state = Run(adam(0.1)).state()
        small = {"nu/head/weight": np.zeros((1, 2))}
        for wrong, words in (
            (Run(sgd(0.1)).state(), "no 'mu/encoder/0.weight'"),
            (state | {"mu/other": np.zeros(1)}, "an unknown 'mu/other'"),
            (state | small, r"'nu/head/weight' of shape \(1, 2\) instead of \(2, 2\)"),
        ):
            with pytest.raises(CheckpointError, match=words):
                Run(adam(0.1), state=wrong)


def test_a_refused_state_changes_nothing():
    run = TorchRun(adam(0.1))
    run.step(draw(0), 0)
    before = run.state()
    wrong = {name: np.ones_like(a) for name, a in before.items()} | {"nu/head/weight": np.ones(1)}
    with pytest.raises(CheckpointError):
        run.group.restore(wrong)
    assert_equal(run.state(), before)


@each_optimiser
def test_no_gradient_counts_as_zero(optimiser):
    """A reached parameter whose gradient is None: stale momentum and decay still move it."""
    none, zero = TorchRun(optimiser), TorchRun(optimiser)
    for step in range(4):
        grads = draw(step)
        if step >= 2:
            none.step(grads | {"head/weight": None}, step)
            zero.step(grads | {"head/weight": np.zeros((2, 2))}, step)
        else:
            none.step(grads, step)
            zero.step(grads, step)
    assert_equal(none.numbers() | none.state(), zero.numbers() | zero.state())


@each_optimiser
@pytest.mark.parametrize("Run", RUNS)
def test_a_group_may_be_empty(optimiser, Run):
    """Its modules may have no parameters: a Rearrange, say."""
    run = Run(optimiser, params={})
    run.step({}, 0)
    assert run.numbers() == {}
    assert run.state() == {"count": 1}


def test_a_torch_update_leaves_no_gradient_behind():
    run = TorchRun(sgd(0.1))
    run.step(draw(0), 0)
    assert all(p.grad is None for p in run.params.values())


def clipped(backend, grads, bound):
    make = torch.tensor if backend is in_torch else jnp.asarray
    result = backend.clip({k: make(g) for k, g in grads.items()}, bound)
    return {k: np.asarray(g) for k, g in result.items()}


@pytest.mark.parametrize("backend", [in_torch, in_jax])
def test_clipping(backend):
    with x64():
        grads = draw(0)
        norm = math.sqrt(sum(float(np.sum(g**2)) for g in grads.values()))
        assert_equal(clipped(backend, grads, 1.001 * norm), grads)
        half = clipped(backend, grads, norm / 2)
        assert_close(half, {k: g / 2 for k, g in grads.items()}, 1e-14)
        zeros = {k: 0 * g for k, g in grads.items()}
        assert_equal(clipped(backend, zeros, 1.0), zeros)
        # It couples the modules of its group: a gradient in one shortens the step of the other.
        loud = grads | {"head/weight": 1e3 * grads["head/weight"]}
        ratio = clipped(backend, loud, norm)["encoder/0.bias"] / grads["encoder/0.bias"]
        assert ratio.max() < 0.1
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)
        broken = clipped(backend, grads | {"head/weight": np.full((2, 2), np.nan)}, 1.0)
        assert np.isnan(broken["encoder/0.bias"]).all(), "a NaN stays visible"


@each_optimiser
def test_optimisers_have_json_both_ways(optimiser):
    data = json.loads(json.dumps(optimiser.to_json()))
    assert optimisers.from_json(data) == optimiser
    assert hash(optimisers.from_json(data)) == hash(optimiser)
    assert data["optimiser"] == optimiser.name


def test_hyper_parameters_are_written_out():
    assert sgd(0.1).to_json() == {
        "optimiser": "sgd", "learning_rate": 0.1, "momentum": 0.0, "clip_norm": None,
    }  # fmt: skip
    assert adamw(1).to_json() == {
        "optimiser": "adamw", "learning_rate": 1.0, "b1": 0.9, "b2": 0.999, "eps": 1e-8,
        "weight_decay": 0.01, "clip_norm": None,
    }  # fmt: skip
    assert optimisers.named("adam", learning_rate=0.1) == adam(0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sgd(0), "sgd: learning_rate must be a number greater than 0; received 0"),
        (lambda: sgd("0.1"), "received '0.1'"),
        (
            lambda: sgd(cosine(0.1, 5, final=-0.01)),
            "sgd: learning_rate must be .* at least 0 at every step; .* from -0.01 to 0.1",
        ),
        (lambda: adam(warmup(0.1, 3, then=cosine(0.1, 5, -1))), "at every step.* from -1.0 to 0.1"),
        (lambda: adamw(warmup(-0.1, 3)), "adamw: learning_rate must be .* at every step"),
        (lambda: adamw(cosine(0.0, 5)), "adamw: learning_rate must be greater than 0 at some step"),
        (lambda: sgd(0.1, momentum=1.0), "momentum must be .* less than 1"),
        (lambda: adam(math.inf), "learning_rate"),
        (lambda: adam(0.1, b1=-0.1), "adam: b1"),
        (lambda: adam(0.1, eps=0), "eps must be a number greater than 0"),
        (lambda: adamw(0.1, weight_decay=-1), "weight_decay must be a number of at least 0"),
        (lambda: adamw(0.1, clip_norm=0), "adamw: clip_norm must be a number greater than 0"),
        (lambda: optimisers.named("RMSprop"), "'RMSprop' is refused: .*Fix: use sgd"),
        (lambda: optimisers.named("nadam"), "refused"),
        (lambda: optimisers.from_json({"optimiser": "adagrad"}), "refused"),
        (lambda: optimisers.named("adamm", learning_rate=1), "Did you mean 'adam"),
        (lambda: optimisers.named("adam", lr=1), "no argument 'lr'"),
        (lambda: optimisers.named("adam"), "add learning_rate"),
        (lambda: cosine(0.1, 0), "cosine: steps"),
        (lambda: warmup(math.nan, 3), "warmup: peak must be a finite number"),
        (lambda: warmup(0.1, 3, then=0.1), "then must be a schedule or None"),
        (lambda: constant(None), "constant: value"),
        (lambda: schedules.from_json({"schedule": "cosin"}), "Did you mean 'cosine'"),
    ],
)
def test_bad_arguments_are_refused(make, words):
    with pytest.raises(SpecError, match=words) as caught:
        make()
    assert str(caught.value).startswith("test_optimisers.py:"), "the user's own line comes first"


def test_schedules_have_their_values():
    assert [value(constant(0.3), t) for t in (0, 9)] == [0.3, 0.3]
    assert value(0.3, 5) == 0.3
    falling = cosine(1.0, 4, final=0.2)
    root = math.sqrt(0.5)
    wanted = [1.0, 0.2 + 0.4 * (1 + root), 0.6, 0.2 + 0.4 * (1 - root), 0.2, 0.2]
    np.testing.assert_allclose([value(falling, t) for t in range(6)], wanted, rtol=1e-12)
    assert value(cosine(0.996, 10, final=1.0), 10) == 1.0
    assert [value(warmup(1.0, 3), t) for t in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    joined = warmup(1.0, 3, then=falling)
    np.testing.assert_allclose([value(joined, t + 3) for t in range(6)], wanted, rtol=1e-12)
    assert type(value(joined, 7)) is float


@given(curves.filter(lambda curve: not isinstance(curve, float)), st.integers(0, 30))
def test_schedules_agree_with_a_traced_step(schedule, step):
    host = value(schedule, step)
    with x64():
        traced = value(schedule, jnp.asarray(step, jnp.int32), xp=jnp)
        assert traced.shape == ()
        np.testing.assert_allclose(float(traced), host, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(float(value(schedule, step, xp=torch)), host, rtol=1e-12, atol=1e-15)
    back = schedules.from_json(json.loads(json.dumps(schedule.to_json())))
    assert back == schedule


def test_schedules_are_traceable():
    schedule = warmup(1.0, 3, then=cosine(1.0, 4))
    compiled = jax.jit(lambda step: value(schedule, step, xp=jnp))
    for step in range(8):
        np.testing.assert_allclose(compiled(step), value(schedule, step), rtol=1e-6, atol=1e-7)
