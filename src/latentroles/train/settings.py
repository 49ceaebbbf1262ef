"""How a phase is trained: its optimisers and steps, where it starts, and when it stops early."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from latentroles import arguments
from latentroles.errors import SpecError, TrainingError, nearest, user_line
from latentroles.routes import routes
from latentroles.spec import Spec
from latentroles.train import optimisers as optimisers_
from latentroles.train.groups import DEFAULT, assign

TOTAL = "total"
DEFAULT_STEPS = 2000
STARTS = ("last", "best")
GROUPS = "module -> name of its optimiser"


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Ends a phase whose validation no longer gets better.

    Attributes:
        patience: validations in a row without an improvement, after which the phase ends.
        min_delta: how much lower than the last improvement a value must be to be one.
        loss: the loss that is judged, unweighted; "total" is the weighted sum, which moves with
            the weights where those are scheduled. The best checkpoint is judged by it too.

    Raises:
        SpecError: a value out of its range.
    """

    patience: int
    min_delta: float = 0.0
    loss: str = TOTAL

    def __post_init__(self) -> None:
        owner, set_field = "EarlyStopping", object.__setattr__
        patience = arguments.integer(owner, "patience", self.patience, "validations")
        set_field(self, "patience", patience)
        delta = arguments.real(owner, "min_delta", self.min_delta, arguments.NON_NEGATIVE)
        set_field(self, "min_delta", delta)
        arguments.text(owner, "loss", self.loss, 'the name of a loss, or "total"')

    def to_json(self) -> dict[str, Any]:
        """Returns the fields; `EarlyStopping(**data)` is the inverse."""
        return asdict(self)


def refuse_other(stopping: Any) -> None:
    """Raises SpecError where it is neither None nor an EarlyStopping."""
    if stopping is not None and not isinstance(stopping, EarlyStopping):
        raise SpecError(
            f"{user_line()}early_stopping is EarlyStopping(patience=...) or None; received "
            f"{stopping!r}."
        )


@dataclass(frozen=True, kw_only=True)
class PhaseSettings:
    """What one phase does otherwise than the arguments of `train` say; None is as they say.

    Attributes:
        steps: optimiser steps; they go before those that the spec declares.
        optimisers: by name, or one for all. groups: module -> name of its optimiser.
        early_stopping: when the phase ends before its steps are done.
        start: which weights of the phase before it starts from: its "last" ones, or the "best" by
            validation.

    Raises:
        SpecError: a value out of its range.
    """

    steps: int | None = None
    optimisers: Mapping[str, Any] | None = None
    groups: Mapping[str, str] | None = None
    early_stopping: EarlyStopping | None = None
    start: str = "last"

    def __post_init__(self) -> None:
        if self.steps is not None:
            steps = arguments.integer("PhaseSettings", "steps", self.steps, "optimiser steps")
            object.__setattr__(self, "steps", steps)
        arguments.choice("PhaseSettings", "start", self.start, STARTS)
        refuse_other(self.early_stopping)
        if self.groups is not None:
            arguments.names("PhaseSettings", "groups", self.groups, GROUPS)
        if self.optimisers is not None:
            object.__setattr__(self, "optimisers", named_optimisers(self.optimisers))

    def to_json(self) -> dict[str, Any]:
        """Returns all fields but `steps`, which a resumed run may change; see `from_json`."""
        stopping = self.early_stopping
        return {
            "optimisers": None if self.optimisers is None else as_json(self.optimisers),
            "groups": None if self.groups is None else dict(self.groups),
            "early_stopping": None if stopping is None else stopping.to_json(),
            "start": self.start,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "PhaseSettings":
        """Returns the settings whose `to_json` gave `data`."""
        held, stopping = data["optimisers"], data["early_stopping"]
        return PhaseSettings(
            optimisers=held and {name: optimisers_.from_json(o) for name, o in held.items()},
            groups=data["groups"],
            early_stopping=EarlyStopping(**stopping) if stopping else None,
            start=data["start"],
        )


@dataclass(frozen=True)
class PhasePlan:
    """The settings of a phase with nothing left open."""

    steps: int
    optimisers: Mapping[str, Any]
    groups: Mapping[str, str] | None
    early_stopping: EarlyStopping | None
    start: str


def plan_phases(
    spec: Spec,
    *,
    steps: int | None,
    optimisers: Mapping[str, Any],
    groups: Mapping[str, str] | None,
    early_stopping: EarlyStopping | None,
    phases: Mapping[str, PhaseSettings],
    validated: bool,
) -> dict[str, PhasePlan]:
    """Returns phase -> its settings, in the order of training.

    Args:
        phases: what single phases do otherwise. The rest: as for `train`.
        validated: whether the run has validation.

    Raises:
        SpecError: a phase, a module, an optimiser or a loss is named that is not there.
        TrainingError: something needs validation, and there is none.
    """
    refuse_other(early_stopping)
    declared = {phase.name: phase for phase in spec.all_phases()}
    for name in phases:
        if name not in declared:
            raise SpecError(
                f"phases= names a phase {name!r} that {spec.name} does not declare."
                f"{nearest(name, declared)}"
            )
    table, plans = routes(spec), {}
    for index, (name, phase) in enumerate(declared.items()):
        own = phases.get(name, PhaseSettings())
        plan = PhasePlan(
            steps=own.steps or steps or phase.steps or DEFAULT_STEPS,
            optimisers=optimisers if own.optimisers is None else own.optimisers,
            groups=groups if own.groups is None else own.groups,
            early_stopping=own.early_stopping or early_stopping,
            start=own.start,
        )
        reached = set().union(*(table[loss].modules for loss in phase.losses))
        assign(spec.modules, reached, plan.optimisers, plan.groups)
        _refuse_unvalidated(name, plan, phase.losses, first=index == 0, validated=validated)
        plans[name] = plan
    return plans


def _refuse_unvalidated(
    phase: str, plan: PhasePlan, losses: tuple[str, ...], *, first: bool, validated: bool
) -> None:
    stopping = plan.early_stopping
    if (stopping is not None or plan.start == "best") and not validated:
        what = "early_stopping" if stopping is not None else 'start="best"'
        raise TrainingError(
            f"{what} of phase {phase} judges by validation, and there is none. Give validation=0.1 "
            "(--validation 0.1), a tenth of the episodes."
        )
    if first and plan.start == "best":
        raise TrainingError(
            f'Phase {phase} is the first one: there is no phase before it whose "best" it could '
            "start from. Leave start= away."
        )
    if stopping is not None and stopping.loss not in (TOTAL, *losses):
        raise SpecError(
            f"early_stopping of phase {phase} judges by {stopping.loss!r}, which is no loss of "
            f"it.{nearest(stopping.loss, (TOTAL, *losses))}"
        )


def named_phases(phases: Any) -> dict[str, PhaseSettings]:
    """Returns the settings of phases by name, a copy; of None none.

    Raises:
        SpecError: they are something else.
    """
    if phases is not None and not isinstance(phases, Mapping):
        raise SpecError(
            f"{user_line()}phases= takes PhaseSettings(...) by phase; received {phases!r}. Fix: "
            "pass phases={'...': PhaseSettings(...)}."
        )
    for name, settings in (phases or {}).items():
        if not isinstance(settings, PhaseSettings):
            raise SpecError(
                f"{user_line()}phases= takes PhaseSettings(...) by phase; {name!r} is "
                f"{type(settings).__name__}."
            )
    return dict(phases or {})


def named_optimisers(optimisers: Any) -> dict[str, Any]:
    """Returns optimisers by name; one alone is that of all modules.

    Raises:
        TrainingError: one is not latentroles' own.
    """
    named = dict(optimisers) if isinstance(optimisers, Mapping) else {DEFAULT: optimisers}
    for name, optimiser in named.items():
        # A schedule has to_json, too.
        if not hasattr(optimiser, "to_json") or not hasattr(optimiser, "learning_rate"):
            raise TrainingError(
                f"optimisers= takes latentroles' own, which both backends follow; {name!r} is "
                f"{type(optimiser).__name__}. Write lr.adamw(1e-3), lr.adam(...) or lr.sgd(...)."
            )
    return named


def with_steps(plans: Mapping[str, PhasePlan], steps: Mapping[str, int]) -> dict[str, PhasePlan]:
    """Returns the plans with these numbers of steps."""
    return {name: replace(plan, steps=steps[name]) for name, plan in plans.items()}


def as_json(value: Any) -> Any:
    """Returns the JSON of an optimiser, a schedule or whatever else has `to_json()`."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    return value
