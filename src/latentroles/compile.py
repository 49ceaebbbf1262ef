"""From a Spec to a model: plan, emit source, execute it, hand it the weights."""

import builtins
import linecache
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from . import plugins
from .errors import SpecError
from .plan.build import Plan, plan_latent, plan_phase, plan_values
from .plan.source import class_name, generate
from .spec import require_spec
from .spec.nn import initial_weights
from .spec.spec import Spec

Weights = dict[str, dict[str, np.ndarray]]


def compile(
    spec: Spec,
    *,
    backend: str,
    seed: int = 0,
    phase: str | None = None,
    dtype: str = "float32",
    device: Any = None,
) -> Any:
    """Compiles one phase of a spec to a model of a framework.

    Args:
        backend: "torch" gives a `torch.nn.Module`, "jax" an `equinox.Module`.
        seed: of the initial weights. They do not depend on the backend, nor on what else is
            declared.
        phase: the phase whose losses the step computes; None is the first.
        dtype: "float32", "float64" or "bfloat16".
        device: such as "cuda"; None is the backend's own choice.

    Returns:
        A model with `model(batch, noise, state, step)`, `model.source`, `model.encode`,
        `model.measure` and `model.pictures`.

    Raises:
        PluginError: the backend is not registered or its framework is not installed.
        SpecError: a name of the spec cannot be used on the backend.
    """
    require_spec("compile", spec)
    chosen = plugins.backend(backend)
    for name in [*spec.modules, *spec.targets]:
        if name in chosen.reserved_names() or name.startswith("encode_"):
            raise SpecError(
                f"module {name!r} cannot be an attribute of a {backend} model, which has one of "
                "that name. Rename it."
            )
    # From its own data, so that a later declaration on `spec` does not reach into the model.
    spec = Spec.from_json(spec.to_json())
    plan = plan_phase(spec, spec.phase_of(phase), targets_flow=chosen.targets_flow)
    cls, source = None, ""
    if chosen.dialect is not None:  # else it interprets the spec
        source = emit(spec, chosen, plan)
        cls = load_class(source, spec, chosen.name, plan.phase.name)
    return chosen.build(cls, plan, source, draw_weights(spec, seed), seed, dtype, device)


def emit(spec: Spec, backend: Any, plan: Plan) -> str:
    """The source text of a plan on a backend."""
    latents = {name: plan_latent(spec, name) for name in spec.latents}
    groups = {"measures": spec.measures, "pictures": spec.pictures}
    shown = {
        what: plan_values(spec, what, {n: declared.expr for n, declared in held.items()})
        for what, held in groups.items()
        if held
    }
    return generate(plan, latents, backend.dialect, shown)


def load_class(source: str, spec: Spec, backend: str, phase: str) -> type:
    """Executes emitted source; tracebacks and debuggers show its lines."""
    filename = f"<latentroles {spec.name} {phase} {backend} {spec.hash}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = ModuleType(f"latentroles_emitted_{spec.name}_{phase}_{backend}_{spec.hash}")
    module.__file__ = filename
    # torch.compile imports the module of every function that the compiled one calls.
    sys.modules[module.__name__] = module
    exec(builtins.compile(source, filename, "exec"), module.__dict__)
    return getattr(module, class_name(spec.name))


def draw_weights(spec: Spec, seed: int) -> Weights:
    """Initial weights {module: {path: array}} of every module, keyed by seed, module and path."""
    return {name: initial_weights(name, m.layer, seed) for name, m in spec.modules.items()}


def weights(model: Any) -> Weights:
    """The weights of a model as numpy arrays, {module or target: {path: array}}."""
    return _backend("weights", model).weights(model)


def load_weights(model: Any, weights: Weights) -> Any:
    """The model with these weights; what is not named stays.

    On torch the model is changed in place and returned; on JAX a new model is returned.
    """
    if not isinstance(weights, Mapping):
        raise SpecError(
            "load_weights takes {module: {path: array}}, as lr.weights(model) gives, got "
            f"{weights!r}. For the model of a run folder, use lr.load(folder)."
        )
    return _backend("load_weights", model).load_weights(model, weights)


def update_targets(model: Any, step: int = 0) -> Any:
    """The model with its EMA targets moved one step towards their modules.

    For a training loop of your own: call it after the optimiser. `lr.train` does it by itself. On
    torch the model is changed in place and returned; on JAX a new model is returned. The target of
    a module that the phase does not train stands still with it.

    Args:
        step: of the optimiser, for a decay that is a schedule.
    """
    return _backend("update_targets", model).update_targets(model, step)


def trainable(model: Any) -> Any:
    """What an optimiser of your own may move: the parameters that the phase's losses reach.

    On torch a list of parameters, for `torch.optim`. On JAX a filter of the model's form, for
    `eqx.partition(model, lr.trainable(model))`: targets and unreached modules are outside it, so
    that weight decay does not move them.
    """
    return _backend("trainable", model).trainable(model, model.plan.reached)


def _backend(what: str, model: Any) -> Any:
    if not isinstance(getattr(model, "backend", None), str):
        raise SpecError(f"{what} takes a model that lr.compile made, got {type(model).__name__}.")
    return plugins.backend(model.backend)


def gradients(
    model: Any, batch: Any, noise: Any = None, state: Any = None, step: int = 0
) -> Weights:
    """The gradient of the total loss, {module: {path: array}}; zero where no route leads.

    Args:
        batch: columns as numpy arrays, or as arrays of the model's framework.
    """
    return _backend("gradients", model).gradients(model, batch, noise, state, step)
