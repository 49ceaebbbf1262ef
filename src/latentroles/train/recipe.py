"""Recipes: what to train a spec on when its user has not said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from latentroles.errors import SpecError
from latentroles.train.settings import EarlyStopping, PhaseSettings

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
        optimisers: by name; "default" has every module that no group names.
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
        for name in ("episodes", "episode_steps", "frames", "batch", "steps"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SpecError(
                    f"A recipe's {name} is a whole number of at least 1, not {value!r}."
                )
        if self.frames > self.episode_steps + 1:
            raise SpecError(
                f"Windows of {self.frames} frames do not fit into episodes of "
                f"{self.episode_steps} actions ({self.episode_steps + 1} frames)."
            )
        if self.validation is not None and not 0 < self.validation < 1:
            raise SpecError(
                f"A recipe's validation is the fraction of the episodes that is held out, between "
                f"0 and 1, not {self.validation!r}."
            )
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
        optimisers=dict(optimisers),
        columns=dict(columns or {}),
        groups=groups,
        validation=validation,
        early_stopping=early_stopping,
        phases=dict(phases or {}),
    )

    def decorate(function: Function) -> Function:
        function.recipe = made  # type: ignore[attr-defined]
        return function

    return decorate
