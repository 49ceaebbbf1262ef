"""Recipes: what to train a spec on when its user has not said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeVar

from latentroles import arguments
from latentroles.errors import SpecError
from latentroles.train.given import COLUMNS
from latentroles.train.settings import (
    GROUPS,
    EarlyStopping,
    PhaseSettings,
    named_optimisers,
    named_phases,
    refuse_other,
)

_COUNTS = {
    "episodes": "how many are collected",
    "episode_steps": "actions per episode",
    "frames": "T of a window",
    "batch": "windows per step",
    "steps": "optimiser steps of each phase",
}

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Data and training settings of a spec function; each can be overridden where it is used.

    Attributes:
        environment: a registered environment.
        episodes: how many episodes are collected.
        episode_steps: actions per episode.
        frames: T, the frames of a training window; it has T - 1 actions.
        batch: windows per step.
        steps: optimiser steps of each phase.
        optimisers: by name; "default" has every module that no group names. Or one for all.
        columns: input of the spec -> column of the trajectory file.
        groups: module -> name of its optimiser, or None for all in "default".
        validation: the fraction of the episodes that is held out, or None.
        early_stopping, phases: as for `train`.
    """

    environment: str
    episodes: int
    episode_steps: int
    frames: int
    batch: int
    steps: int
    optimisers: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] | None = None
    validation: float | None = None
    early_stopping: EarlyStopping | None = None
    phases: Mapping[str, PhaseSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, meaning in _COUNTS.items():
            value = arguments.integer("recipe", name, getattr(self, name), meaning)
            object.__setattr__(self, name, value)
        if self.frames > self.episode_steps + 1:
            raise SpecError(
                f"Windows of {self.frames} frames do not fit into episodes of "
                f"{self.episode_steps} actions ({self.episode_steps + 1} frames)."
            )
        held = self.validation
        if held is not None and not (isinstance(held, Real) and 0 < held < 1):
            raise SpecError(
                f"A recipe's validation is the fraction of the episodes that is held out, between "
                f"0 and 1, not {held!r}."
            )
        arguments.text("recipe", "environment", self.environment, "a registered one")
        arguments.names("recipe", "columns", self.columns, COLUMNS)
        if self.groups is not None:
            arguments.names("recipe", "groups", self.groups, GROUPS)
        refuse_other(self.early_stopping)
        object.__setattr__(self, "phases", named_phases(self.phases))
        object.__setattr__(self, "optimisers", named_optimisers(self.optimisers))
        if not self.optimisers:
            raise SpecError('A recipe needs an optimiser: optimisers={"default": lr.adamw(1e-3)}.')


def recipe(
    *,
    environment: str,
    episodes: int,
    episode_steps: int,
    frames: int,
    batch: int,
    steps: int,
    optimisers: Mapping[str, Any],
    columns: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    validation: float | None = None,
    early_stopping: EarlyStopping | None = None,
    phases: Mapping[str, PhaseSettings] | None = None,
) -> Callable[[Function], Function]:
    """Decorates a spec function with the recipe that `latentroles train` follows.

    The function is returned as it is, with the `Recipe` as its attribute `recipe`. Arguments are
    those of `Recipe`.

    Raises:
        SpecError: a count that is not a positive whole number, or windows longer than episodes.
    """
    made = Recipe(
        environment=environment,
        episodes=episodes,
        episode_steps=episode_steps,
        frames=frames,
        batch=batch,
        steps=steps,
        optimisers=optimisers,
        columns={} if columns is None else columns,
        groups=groups,
        validation=validation,
        early_stopping=early_stopping,
        phases={} if phases is None else phases,
    )

    def decorate(function: Function) -> Function:
        function.recipe = made  # type: ignore[attr-defined]
        return function

    return decorate
