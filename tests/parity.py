"""One layer, or one compiled step, on both backends: values and gradients, compared."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import latentroles as lr
import latentroles_jax.layers as in_jax
import latentroles_torch.layers as in_torch
from latentroles import plugins
from latentroles.spec import nn
from latentroles.testing.reference import Results


def weights_for(layer: nn.Layer) -> dict[str, np.ndarray]:
    """Initial weights, moved off the ones and zeros of the norms."""
    rng = np.random.default_rng(0)
    weights = nn.initial_weights("m", layer, 0)
    return {path: w + 0.1 * rng.normal(size=w.shape) for path, w in weights.items()}


def inputs_for(layer: nn.Layer, shape: tuple[int, ...], count: int = 3) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    if layer.reads_integers:
        return (rng.integers(0, 4, size=(count, *shape)),)
    x = rng.normal(size=(count, *shape))
    return (rng.normal(size=(count, layer.hidden)), x) if isinstance(layer, nn.GRU) else (x,)


def cotangent(y) -> np.ndarray:
    """What the output is multiplied by, so that no gradient is symmetric in its entries."""
    return np.cos(np.arange(math.prod(y.shape))).reshape(y.shape)


def torch_numbers(layer, weights, inputs, dtype):
    """Returns (output, {name: gradient of sum(output * cotangent)}) by torch."""
    module = in_torch.build(layer, weights, dtype)
    xs = [torch.tensor(x) for x in inputs]
    xs = [x.to(getattr(torch, dtype)).requires_grad_() if x.is_floating_point() else x for x in xs]
    y = module(*xs)
    y.backward(torch.tensor(cotangent(y), dtype=y.dtype))
    grads = {path: p.grad.numpy() for path, p in module.named_parameters()}
    grads |= {f"input{i}": x.grad.numpy() for i, x in enumerate(xs) if x.is_floating_point()}
    return y.detach().numpy(), grads


def jax_numbers(layer, weights, inputs, dtype):
    """Returns (output, {name: gradient of sum(output * cotangent)}) by jax."""
    module = in_jax.build(layer, weights, dtype)
    floats = [jnp.asarray(x, dtype) for x in inputs if x.dtype.kind == "f"]
    integers = [jnp.asarray(x) for x in inputs if x.dtype.kind == "i"]

    @jax.jit
    def forward_and_backward(module, floats, integers):
        y, pull = jax.vjp(lambda m, f: jax.vmap(m)(*integers, *f), module, floats)
        return y, *pull(jnp.asarray(cotangent(y), y.dtype))

    y, module_grads, grads = forward_and_backward(module, floats, integers)
    by_name = in_jax.weights_of(layer, module_grads)
    by_name |= {f"input{i}": np.asarray(g) for i, g in enumerate(grads)}
    return np.asarray(y), by_name


def assert_close(got: np.ndarray, wanted: np.ndarray, tolerance: float, what: str) -> None:
    """Compares relative to the largest entry."""
    __tracebackhide__ = True
    assert got.shape == wanted.shape, f"{what}: {got.shape} instead of {wanted.shape}"
    scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
    error = float(np.abs(got - wanted).max(initial=0.0)) / scale
    assert error <= tolerance, f"{what}: relative error {error:.2e} > {tolerance:.0e}"


def assert_parity(layer, shape, dtype="float64", value=1e-10, gradient=1e-8):
    __tracebackhide__ = True
    weights, inputs = weights_for(layer), inputs_for(layer, shape)
    wanted, wanted_grads = torch_numbers(layer, weights, inputs, dtype)
    got, got_grads = jax_numbers(layer, weights, inputs, dtype)
    assert str(got.dtype) == str(wanted.dtype) == dtype
    assert wanted.shape[1:] == layer.out_shape(shape)
    assert_close(got, wanted, value, "output")
    assert got_grads.keys() == wanted_grads.keys()
    for name, wanted_grad in wanted_grads.items():
        assert_close(got_grads[name], wanted_grad, gradient, f"gradient of {name}")


class Step(NamedTuple):
    """One compiled step of a spec, and what it was given."""

    batch: dict[str, np.ndarray]
    noise: dict[str, np.ndarray]
    results: Results


def step_like_reference(
    spec: lr.Spec, backend: str, batch: dict[str, np.ndarray], dtype: str = "float64"
) -> Step:
    """Runs one compiled step; each loss and its gradients are those of its own masked backward."""
    __tracebackhide__ = True
    batch = {name: a.astype(dtype) if a.dtype.kind == "f" else a for name, a in batch.items()}
    model, on = lr.compile(spec, backend=backend, dtype=dtype), plugins.backend(backend)
    with on.x64():
        noise = model.noise(3, like=batch)
        results = on.loss_gradients(model, batch, noise)
        values, gradients = on.reference(model, batch, noise)
        noise = {name: np.asarray(array) for name, array in noise.items()}
    same_step(results.losses, results.gradients, values, gradients, dtype)
    return Step(batch, noise, results)


def same_step(losses, gradients, wanted_losses, wanted_gradients, dtype: str) -> None:
    """Compares losses, and gradients relative to the largest entry in their module."""
    __tracebackhide__ = True
    value, gradient = {"float64": (1e-10, 1e-8), "float32": (1e-4, 1e-3)}[dtype]
    assert losses.keys() == wanted_losses.keys()
    for loss, modules in wanted_gradients.items():
        np.testing.assert_allclose(losses[loss], wanted_losses[loss], rtol=value, err_msg=loss)
        for module, wanted in modules.items():
            largest = max((np.abs(a).max(initial=0.0) for a in wanted.values()), default=0.0)
            for path, array in wanted.items():
                np.testing.assert_allclose(
                    gradients[loss][module][path],
                    array,
                    rtol=0,
                    atol=gradient * largest,
                    err_msg=f"the gradient of {loss} in {module}/{path}",
                )
