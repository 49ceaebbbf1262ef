"""The Spec: one declaration of a world model, from which everything else follows."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from .. import arguments
from ..errors import ShapeError, SpecError, nearest, user_line, user_place
from ..roles import Role
from ..rulebook import CODES, RULES
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
from .expr import Expr, as_expr
from .kinds import infer
from .schedules import Schedule, scheduled
from .types import Type
from .walk import postorder

MAIN = "main"
NOISE_AXES = ((), ("batch",), ("batch", "time"))


class Spec:
    """A world model as a declaration: latents with roles, modules, losses, gradient routes.

    Args:
        name: the model's name; the emitted class is named after it.
    """

    def __init__(self, name: str):
        if not isinstance(name, str) or not name[:1].isalpha() or not _fits(name.replace("-", "_")):
            raise SpecError(
                f"{user_line()}a spec's name starts with a letter and holds letters, digits, - and "
                f"_, got {name!r}."
            )
        self.name = name
        self.modules: dict[str, Module] = {}
        self.targets: dict[str, Target] = {}
        self.gates: dict[str, Gate] = {}
        self.latents: dict[str, Latent] = {}
        self.losses: dict[str, Loss] = {}
        self.measures: dict[str, Measure] = {}
        self.pictures: dict[str, Picture] = {}
        self.states: dict[str, State] = {}
        self.updates: dict[str, Expr] = {}
        self.noises: dict[str, Noise] = {}
        self.inputs: dict[str, Expr] = {}
        self.actions: dict[str, Discrete | Box] = {}
        self.phases: dict[str, Phase] = {}
        self.allowances: list[Allowance] = []
        # Losses of weight 0, which an allowance may name; a spec from JSON does not know them.
        self.absent: set[str] | None = set()
        self._table: dict[tuple[Any, ...], Expr] = {}
        self._scans: dict[Any, int] = {}
        self._next_scan = 0
        self._tracing = False

    def __repr__(self) -> str:
        return (
            f"Spec({self.name!r}: {len(self.modules)} modules, {len(self.latents)} latents, "
            f"{len(self.losses)} losses)"
        )

    # Inputs --------------------------------------------------------------------------------

    def observation(self, name: str, shape: Sequence[int]) -> Expr:
        """A column of frames: (batch, time) + shape, float. uint8 data is divided by 255."""
        return self._input("observation", name, Type(("batch", "time"), _shape(shape), time=0))

    def action(self, name: str, space: Discrete | Box) -> Expr:
        """A column of actions, a_t between frames t and t + 1: (batch, time T - 1) + shape.

        `Discrete(n)` gives integers; use `.one_hot()`. `Box(low, high, shape)` gives floats.
        """
        if isinstance(space, Discrete):
            kind = Type(("batch", "time"), (), "int", time=1)
        elif isinstance(space, Box):
            kind = Type(("batch", "time"), _shape(space.shape), time=1)
        else:
            raise SpecError(
                f"{user_line()}an action is lr.Discrete(n) or lr.Box(low, high, shape), got "
                f"{space!r}."
            )
        expr = self._input("action", name, kind)
        self.actions[name] = space
        return expr

    def label(self, name: str, shape: Sequence[int] = (), *, classes: int | None = None) -> Expr:
        """A column that losses and measures may read and encoders may not: (batch, time) + shape.

        With `classes=n` it holds integers 0..n-1.
        """
        dtype = "float" if classes is None else "int"
        expr = self._input("label", name, Type(("batch", "time"), _shape(shape), dtype, time=0))
        if classes is not None:
            self.actions[name] = Discrete(classes)
        return expr

    def noise(
        self,
        name: str,
        shape: Sequence[int] = (),
        *,
        axes: Sequence[str] = (),
        kind: str = "normal",
        rate: float = 1.0,
    ) -> Expr:
        """A random input of the step; equal names share a draw.

        Args:
            shape: the event shape.
            axes: leading axes, () or ("batch",) or ("batch", "time").
            kind: "normal", "uniform" or "bernoulli" with probability `rate`, scaled by 1 / rate.
        """
        if kind not in ("normal", "uniform", "bernoulli"):
            raise SpecError(
                f"{user_line()}noise is 'normal', 'uniform' or 'bernoulli', got {kind!r}."
            )
        if not isinstance(axes, Sequence) or tuple(axes) not in NOISE_AXES:
            raise SpecError(
                f"{user_line()}noise has leading axes (), ('batch',) or ('batch', 'time'), got "
                f"{axes!r}."
            )
        if not isinstance(rate, Real) or not 0.0 < rate <= 1.0:
            raise SpecError(f"{user_line()}noise needs 0 < rate <= 1, got {rate!r}.")
        _identifier("noise", name)
        wanted = Noise(name, kind, rate)
        type = Type(tuple(axes), _shape(shape), time=0 if "time" in axes else None)
        expr = self._node("leaf", (), ("noise", name, type))
        if name in self.noises and (self.noises[name] != wanted or expr is not self.inputs[name]):
            raise SpecError(
                f"{user_line()}noise {name!r} is declared twice with different arguments; give the "
                "second draw another name."
            )
        if name not in self.noises:
            self._free(name)
        self.noises[name] = wanted
        self.inputs[name] = expr
        return expr

    def state(self, name: str, shape: Sequence[int] = (), *, init: float = 0.0) -> Expr:
        """An array carried from step to step; its value is that before the step, stopped."""
        self._free(name)
        init = arguments.real(f"state {name!r}", "init", init)
        self.states[name] = State(name, _shape(shape), init)
        return self._node("leaf", (), ("state", name, Type(shape=_shape(shape))))

    def update(self, state: Expr, expr: Any) -> None:
        """Declares the value of a state after the step; committed after the optimiser."""
        if not isinstance(state, Expr) or state.kind != "leaf" or state.attrs[0] != "state":
            raise SpecError(
                f"{user_line()}update needs a state from `s.state(...)`, got {state!r}."
            )
        value = self._value(expr, "update")
        name = state.attrs[1]
        if value.axes or value.shape != state.shape or value.type.dtype != "float":
            raise ShapeError(
                f"{user_line()}state {name!r} is {state.type} and its update is {value.type}; they "
                "must be equal. Take the mean over 'batch' and 'time' first."
            )
        if name in self.updates:
            raise SpecError(f"{user_line()}state {name!r} has an update already.")
        self.updates[name] = value.stop()

    # Modules, targets, gates ---------------------------------------------------------------

    def module(self, name: str, layer: Any) -> Module:
        """A named parameter group with a neutral architecture from `lr.nn`."""
        self._free(name)
        if not hasattr(layer, "out_shape") or not hasattr(layer, "parameters"):
            raise SpecError(
                f"{user_line()}module {name!r} needs a layer from lr.nn, got {layer!r}."
            )
        self.modules[name] = Module(self, name, layer, user_place())
        return self.modules[name]

    def target(self, module: Module, *, decay: Any, name: str | None = None) -> Target:
        """An EMA copy of a module: target <- decay * target + (1 - decay) * module, every step.

        Args:
            decay: a number in [0, 1], or a schedule of the step that stays there.
            name: defaults to the module's name with "_target".

        Raises:
            SpecError: `decay` is no such number or schedule.
        """
        self._own(module, "module")
        decay = scheduled(f"target of {module.name!r}", "decay", decay, arguments.UNIT)
        key = name or f"{module.name}_target"
        self._free(key)
        self.targets[key] = Target(self, key, module.name, decay, user_place())
        return self.targets[key]

    def gate(self, name: str, *, open: bool) -> Gate:
        """A named stop that is open or closed for the whole model, and for all of its training.

        Raises:
            SpecError: `open` is a condition, such as an Expr, a function or a schedule.
        """
        self._free(name)
        self.gates[name] = Gate(name, open)
        return self.gates[name]

    # Latents, losses, measures, phases -------------------------------------------------------

    def latent(self, name: str, expr: Expr, *, role: Role) -> Expr:
        """Names an Expr and gives it a role; returns it."""
        self._free(name)
        if not isinstance(role, Role):
            raise SpecError(
                f"{user_line()}latent {name!r} needs a role such as lr.PLACE, got {role!r}."
            )
        value = self._value(expr, f"latent {name!r}")
        for below in postorder(value):
            if below.kind == "leaf" and below.attrs[0] == "label":
                raise SpecError(
                    f"{user_line()}latent {name!r} is computed from the label {below.attrs[1]!r}. "
                    "A label is for losses and measures; what a latent may read is an observation "
                    "or an action: declare it as one."
                )
        self.latents[name] = Latent(name, value, role, user_place())
        return value

    def loss(
        self,
        name: str,
        expr: Expr,
        *,
        weight: Any = 1.0,
        updates: Iterable[Module] | Module | None = None,
    ) -> None:
        """Declares a loss. A weight of 0, or of 0 at every step, declares nothing.

        Args:
            expr: a scalar.
            weight: positive, or a schedule of the step that is never negative.
            updates: the only modules it may update; every other module is frozen in this loss.

        Raises:
            RouteError: `updates` names a module that the loss cannot reach.
        """
        self._free_column("loss", name)
        value = self._value(expr, f"loss {name!r}")
        if value.axes or value.shape or value.type.dtype != "float":
            raise ShapeError(
                f"{user_line()}loss {name!r} must be a float scalar, got {value.type}. "
                "Use a function of lr.losses, or take means."
            )
        if value.kind == "constant":
            raise SpecError(
                f"{user_line()}loss {name!r} is the constant {value.attrs[0]}, which no parameter "
                "changes. Use a function of lr.losses."
            )
        if isinstance(weight, Schedule):
            weight = scheduled(f"loss {name!r}", "weight", weight, arguments.NON_NEGATIVE)
            if not weight.bounds()[1]:  # type: ignore[union-attr]
                weight = 0.0  # at every step
        elif isinstance(weight, Real) and not isinstance(weight, bool):
            weight = float(weight)
            if not 0.0 <= weight < float("inf"):
                raise SpecError(
                    f"{user_line()}loss {name!r} needs a positive, finite weight, got {weight}. "
                    "To reverse a gradient, use `scale_gradient(-1)`."
                )
        else:
            raise SpecError(
                f"{user_line()}the weight of loss {name!r} is a number or a schedule such as "
                f"lr.warmup(...), got {weight!r}."
            )
        if weight == 0.0:
            if self.absent is not None:
                self.absent.add(name)
            return
        mask = None
        if updates is not None:
            listed = [updates] if isinstance(updates, Module) else list(updates)
            for module in listed:
                self._own(module, "module")
            mask = tuple(m.name for m in listed)
        self.losses[name] = Loss(name, value, weight, mask, user_place())
        if mask is not None:
            self._require_reached(name, mask)

    def _require_reached(self, name: str, mask: tuple[str, ...]) -> None:
        from ..errors import RouteError
        from ..routes.reach import reached_unmasked

        reached = reached_unmasked(self, name)
        for module in mask:
            if module not in reached:
                del self.losses[name]
                can = ", ".join(sorted(reached)) or "no module at all"
                raise RouteError(
                    f"{user_line()}loss {name!r} lists {module!r} in updates=, but no gradient of "
                    f"it reaches {module!r}. It can reach: {can}."
                )

    def measure(self, name: str, expr: Any) -> None:
        """Declares a number to look at: logged while a model trains, and never differentiated.

        No gradient and no training step knows of it, and neither do routes and rules. It may read
        anything, labels, states and targets as they are now; `model.measure(batch)` gives it.

        Args:
            name: of its column in the log, which no loss has.
            expr: a float scalar, such as those of `lr.measures` and `lr.losses`.

        Raises:
            ShapeError: it is not one.
        """
        self._free_column("measure", name)
        value = self._value(expr, f"measure {name!r}")
        if value.axes or value.shape or value.type.dtype != "float":
            raise ShapeError(
                f"{user_line()}measure {name!r} must be a float scalar, got {value.type}. "
                "Use a function of lr.measures or lr.losses, or take means."
            )
        self.measures[name] = Measure(name, value, user_place())

    def picture(self, name: str, expr: Expr) -> None:
        """Declares frames to look at: drawn at the end of each phase, in values from 0 to 1.

        Like a measure it is no part of the training step; `model.pictures(batch)` gives it.

        Args:
            expr: (batch, time) + (C, H, W), with one channel or three.

        Raises:
            ShapeError: it is no sequence of frames.
        """
        _identifier("picture", name)
        if name in self.pictures:
            raise SpecError(f"{user_line()}picture {name!r} is declared twice; rename one of them.")
        value = self._value(expr, f"picture {name!r}")
        frames = value.axes == ("batch", "time") and len(value.shape) == 3
        if not frames or value.shape[0] not in (1, 3) or value.type.dtype != "float":
            raise ShapeError(
                f"{user_line()}picture {name!r} must be frames (batch, time, C, H, W) of 1 or 3 "
                f"channels, got {value.type}. Decode the latent; of a step axis, pick one: `.k[0]`."
            )
        self.pictures[name] = Picture(name, value, user_place())

    def _value(self, expr: Any, what: str) -> Expr:
        """What a declaration names: never a value inside a loop, which is another one each turn."""
        value = as_expr(self, expr, what)
        if value.loops():
            raise SpecError(
                f"{user_line()}{what} is declared of a value inside the step of a loop, which has "
                "another one each turn. Return it from the step as an output, and declare that."
            )
        return value

    def _free_column(self, what: str, name: str) -> None:
        """Losses and measures are columns of one log, beside their total."""
        _identifier(what, name)
        if name == "total":
            raise SpecError(
                f"{user_line()}{what} 'total' would be the column of the losses' weighted sum; "
                "choose another name."
            )
        for other, held in (("loss", self.losses), ("measure", self.measures)):
            if name not in held:
                continue
            if other == what:
                raise SpecError(
                    f"{user_line()}{what} {name!r} is declared twice; rename one of them."
                )
            raise SpecError(
                f"{user_line()}the name {name!r} is taken by a declared {other}, and both become "
                "columns of the log; rename one of them."
            )

    def phase(self, name: str, *, losses: Sequence[str], steps: int | None = None) -> Phase:
        """A stage of training with the named losses only; phases run in order of declaration."""
        _identifier("phase", name)
        if name in self.phases:
            raise SpecError(f"{user_line()}phase {name!r} is declared twice; rename one of them.")
        if isinstance(losses, str) or not isinstance(losses, Iterable):
            raise SpecError(
                f"{user_line()}phase {name!r} takes a list of losses by name, got {losses!r}. "
                "Fix: pass losses=['...']."
            )
        if steps is not None:
            steps = arguments.integer(f"phase {name!r}", "steps", steps, "optimiser steps")
        losses = tuple(losses)
        for loss in losses:
            if not isinstance(loss, str) or loss not in self.losses:
                raise SpecError(
                    f"{user_line()}phase {name!r} names no declared loss {loss!r}."
                    f"{nearest(loss, self.losses)}"
                )
        self.phases[name] = Phase(name, losses, steps)
        return self.phases[name]

    def allow(
        self,
        rule: str,
        *,
        because: str,
        loss: str | None = None,
        latent: str | None = None,
        module: str | None = None,
    ) -> None:
        """Accepts one finding in one place, with a reason that is printed.

        Args:
            rule: the slug or the code of a rule, such as "observation-sufficiency" or "LR209".
            loss, latent, module: the place: the finding's loss, and the latent or else the module,
                target or state that it is about. What is left out is any.
        """
        if not isinstance(rule, str) or (rule not in RULES and rule not in CODES):
            raise SpecError(f"{user_line()}allow names no rule {rule!r}.{nearest(rule, RULES)}")
        if not isinstance(because, str) or not because.strip():
            raise SpecError(
                f"{user_line()}allow({rule!r}) needs a reason in `because`, got {because!r}."
            )
        if latent is not None and latent not in self.latents:
            raise SpecError(
                f"{user_line()}allow({rule!r}) names no latent {latent!r}."
                f"{nearest(latent, self.latents)}"
            )
        parts = [*self.modules, *self.targets, *self.states]
        if module is not None and module not in parts:
            raise SpecError(
                f"{user_line()}allow({rule!r}) names no module {module!r}.{nearest(module, parts)}"
            )
        # A loss of weight 0 is absent, and what is allowed there is moot.
        self.allowances.append(Allowance(rule, loss, latent, because, module))

    # Reading -------------------------------------------------------------------------------

    def all_phases(self) -> tuple[Phase, ...]:
        """The declared phases, or the one default phase with all losses."""
        return tuple(self.phases.values()) or (Phase(MAIN, tuple(self.losses)),)

    def phase_of(self, name: str | None) -> Phase:
        """A phase by name; None is the first."""
        phases = {p.name: p for p in self.all_phases()}
        if name is None:
            return next(iter(phases.values()))
        if name not in phases:
            raise SpecError(
                f"{user_line()}no phase {name!r} in {self.name!r}.{nearest(name, phases)}"
            )
        return phases[name]

    def with_gates(self, **gates: bool) -> Spec:
        """A copy of the spec with the named gates open (True) or closed (False)."""
        from .json import from_json, to_json

        for name in gates:
            if name not in self.gates:
                raise SpecError(f"{user_line()}no gate {name!r}.{nearest(name, self.gates)}")
        declared = to_json(self)
        for gate in declared["gates"]:
            gate["open"] = gates.get(gate["name"], gate["open"])
        return from_json(declared)

    def to_json(self) -> dict[str, Any]:
        """The declaration as plain data; `Spec.from_json` reads it back."""
        from .json import to_json

        return to_json(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Spec:
        """Reads a declaration that `to_json` wrote."""
        from .json import from_json

        return from_json(data)

    @property
    def hash(self) -> str:
        """A stable digest of the declaration: 16 hexadecimal digits."""
        from .json import digest

        return digest(self)

    # For the package -----------------------------------------------------------------------

    def _node(self, kind: str, inputs: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr:
        key = (kind, tuple(e.id for e in inputs), attrs)
        known = self._table.get(key)
        if known is None:
            type = infer(self, kind, inputs, attrs)
            known = Expr(self, len(self._table), kind, inputs, attrs, type)
            self._table[key] = known
        return known

    def _new_scan_id(self) -> int:
        self._next_scan += 1
        return self._next_scan

    def _layer(self, name: str) -> Any:
        module = self.modules.get(name)
        return module.layer if module else self.modules[self.targets[name].of].layer

    def _classes(self, expr: Expr) -> int | None:
        """The number of classes of a discrete column, seen through time slices and loops."""
        if expr.kind == "leaf":
            space = self.actions.get(expr.attrs[1])
            return space.n if isinstance(space, Discrete) else None
        if expr.kind in ("cut", "pick", "window", "expand", "stop", "gate", "scale"):
            return self._classes(expr.inputs[0])
        return None

    def _input(self, group: str, name: str, type: Type) -> Expr:
        self._free(name)
        self.inputs[name] = self._node("leaf", (), (group, name, type))
        return self.inputs[name]

    def _own(self, thing: Any, what: str) -> None:
        held = {"module": self.modules, "gate": self.gates}[what]
        if held.get(getattr(thing, "name", None)) is not thing:  # type: ignore[call-overload]
            raise SpecError(
                f"{user_line()}expected a {what} of spec {self.name!r}, as s.{what}(...) returned "
                f"it, got {thing!r}. Another Spec of the same name has {what}s of its own."
            )

    def _free(self, name: str) -> None:
        _identifier("name", name)
        for what, held in (
            ("input", self.inputs),
            ("module", self.modules),
            ("target", self.targets),
            ("gate", self.gates),
            ("latent", self.latents),
            ("state", self.states),
        ):
            if name in held:
                raise SpecError(
                    f"{user_line()}the name {name!r} is taken by a declared {what}; choose another."
                )


def _fits(name: Any) -> bool:
    """Whether a name can stand in source; Python reads it in NFKC, and finds no other form."""
    if not isinstance(name, str) or not name.isidentifier():
        return False
    return unicodedata.normalize("NFKC", name) == name


def _identifier(what: str, name: Any) -> None:
    """Names become names in emitted source."""
    if not _fits(name) or keyword.iskeyword(name) or name.startswith("_"):
        described = "name" if what == "name" else f"{what}'s name"
        raise SpecError(
            f"{user_line()}a {described} is a Python identifier without a leading underscore and "
            f"no keyword, got {name!r}."
        )


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape, or one size, as a tuple of Python integers."""
    sizes = shape if isinstance(shape, Sequence) else (shape,)
    if not all(isinstance(n, Integral) and n > 0 for n in sizes):
        raise ShapeError(f"{user_line()}a shape holds positive integers, got {shape!r}.")
    return tuple(int(n) for n in sizes)


def require_spec(what: str, spec: Any) -> None:
    """Raises SpecError for anything but a Spec, and says what to do about a function."""
    if not isinstance(spec, Spec):
        got = getattr(spec, "__name__", type(spec).__name__)
        call = f" Call it: {got}()." if callable(spec) else ""
        raise SpecError(f"{user_line()}{what} takes a Spec, got {got}.{call}")
