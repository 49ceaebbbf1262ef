"""What a law is, how it is registered, and how it is run on random specs.

A law is a function that raises AssertionError where it does not hold. Its parameters are among

- spec: a Spec, or a Program of `latentroles.testing.strategies`, which is a Spec with its text;
- backend: the name of a registered backend;
- seed: what is left to choose (weights, a batch, where to cut) follows from this number.

What a backend provides for the laws, beyond what training needs:

- `capabilities`: those of `CAPABILITIES` that it has. `pace`: how many examples it can take in the
  time of one on a backend that compiles nothing.
- `arrays(model, {name: numpy array})`: these as the model takes them.
- `loss_gradients(model, batch, noise, state, step)`: `latentroles.testing.reference.Results`.
- `reference(model, batch, noise, state, step, evaluate)`: ({loss: value}, {loss: gradients}), each
  loss evaluated alone by `evaluate` and differentiated alone.
- `transformed(model, how, batch, noise, state, step)`: ({loss: value}, gradients of the total), for
  each `how` of "compile" (and "eager"), "remat" and "vmap" that it can do.
- `trainer`, as for training.

A gradient is {module: {path: array}}. Without the capability "gradients" it is {module: {ALONG:
derivatives along `latentroles.testing.laws.directions(spec)`}}.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ... import plugins
from ...errors import LatentrolesError
from ...spec import require_spec
from ...spec.spec import Spec
from ..case_script import reproducible
from ..policy import examples as policy_examples
from ..strategies import Program, programs

CAPABILITIES = {
    "gradients": "the whole gradient of each loss, not only derivatives along given directions",
    "source": "it runs source emitted from a plan; else it interprets the spec",
    "training": "optimiser steps",
    "float64": "steps in float64; else laws are judged as loosely as float32 asks for",
    "bfloat16": "steps in bfloat16",
    "compile": "the framework's compiler (torch.compile, jax.jit) on a step",
    "remat": "rematerialisation (checkpointing) of a compiled step",
    "vmap": "vectorising a step over one more axis",
}


class Inapplicable(LatentrolesError):
    """A law says nothing about this spec or backend; the message says why."""


@dataclass(frozen=True)
class Law:
    """One law.

    Attributes:
        id, title: such as "S3" and "a stop never adds a route".
        statement: what holds, in a line.
        function: see this module.
        needs: those of CAPABILITIES without which it says nothing.
        share: how many examples a test run takes, as a multiple of hypothesis's `max_examples`.
    """

    id: str
    title: str
    statement: str
    function: Callable[..., None]
    needs: frozenset[str]
    share: float

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of its parameters."""
        return tuple(inspect.signature(self.function).parameters)

    def missing(self, backend: str) -> str | None:
        """Why the law does not apply to a backend; None where it does."""
        lacks = self.needs - frozenset(plugins.backend(backend).capabilities)
        if not lacks:
            return None
        listed = "; ".join(f"{name} ({CAPABILITIES[name]})" for name in sorted(lacks))
        return f"{backend} does not have: {listed}"

    def check(self, spec: Any, backend: str, seed: int = 0) -> None:
        """The law on one spec, on one backend where it reads one."""
        given = {"spec": spec, "backend": backend, "seed": seed}
        self.function(**{name: given[name] for name in self.reads if name in given})

    def examples(self, backend: str, budget: int) -> int:
        """How many specs `run` looks at, `budget` being hypothesis's `max_examples`."""
        return max(1, round(self.share * self._pace(backend) * budget))

    def _pace(self, backend: str) -> float:
        """That of the backend; with a second one, that of the slower."""
        if "backend" not in self.reads:
            return 1.0
        from .values import other_than

        both = [backend, *([other_than(backend)] if "other" in self.reads else [])]
        return min(plugins.backend(name).pace for name in both)

    def run(self, backend: str, budget: int | None = None) -> None:
        """The law on random specs, under hypothesis.

        Args:
            budget: in the place of hypothesis's `max_examples`, or `--latentroles-examples`.

        Raises:
            Inapplicable: the law says nothing about the backend.
        """
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis import strategies as st

        __tracebackhide__ = True
        reason = self.missing(backend) if "backend" in self.reads else None
        if reason is not None:
            raise Inapplicable(f"{self.id} does not apply: {reason}.")
        chosen = settings(
            max_examples=self.examples(backend, budget or policy_examples()),
            deadline=None,
            suppress_health_check=[*HealthCheck],  # type: ignore
            database=None,
            report_multiple_bugs=False,
            # Finding a smaller failing spec takes thousands of examples.
            phases=[Phase.generate, *([Phase.shrink] if self._pace(backend) > 0.5 else [])],
        )
        specs = programs() if "spec" in self.reads else st.none()

        @chosen
        @given(specs, st.integers(0, 999))
        def holds(spec: Program | None, seed: int) -> None:
            self.check(spec, backend, seed)

        holds()


_IMPORT = "from latentroles.testing import laws"
LAWS: dict[str, Law] = {}


def law(
    title: str, statement: str, *, needs: tuple[str, ...] = (), share: float = 1.0
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function, whose name is the law's id, as a law."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__
        signature = inspect.signature(function)

        def held(*args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            with reproducible(_call(name, bound), bound.arguments.get("spec"), _IMPORT):
                try:
                    function(*bound.args, **bound.kwargs)
                except AssertionError as error:
                    call = ", ".join(f"{k}={_short(v)}" for k, v in bound.arguments.items())
                    message = f"{name}, {title}: {statement}\ncall: laws.{name}({call})\n{error}"
                    raise AssertionError(message) from error

        held.__name__ = held.__qualname__ = name
        held.__doc__ = f"{title.capitalize()}: {statement}"
        held.__module__ = function.__module__
        held.__signature__ = signature  # type: ignore[attr-defined]
        LAWS[name] = Law(name, title, statement, held, frozenset(needs), share)
        return held

    return register


def _call(name: str, bound: inspect.BoundArguments) -> str:
    """The call of a law as text, in which the spec is `spec`."""
    given = [f"{k}={v!r}" for k, v in bound.arguments.items() if k != "spec"]
    return f"laws.{name}({', '.join(['spec'] * ('spec' in bound.arguments) + given)})"


def _short(value: Any) -> str:
    if isinstance(value, Program):
        value = value.spec
    return f"<spec {value.name!r} {value.hash}>" if isinstance(value, Spec) else repr(value)


def spec_of(subject: Any) -> Spec:
    """The Spec of what a law is asked about.

    Raises:
        SpecError: it is neither a Spec nor a Program.
    """
    if isinstance(subject, Program):
        return subject.spec
    require_spec("a law", subject)
    return subject
