"""Any Gymnasium environment with discrete actions, given how its state is read and set."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from latentroles.errors import DataError, user_line

from .environment import WordError
from .simulated import checked_action, natural


class Gymnasium:
    """Made by `from_gymnasium`. Its optional methods are there where they were given."""

    def __init__(self, env: Any, functions: Mapping[str, Callable[..., Any]], **said: Any):
        self.env = env
        self.name: str = said["name"]
        self.parameters: Mapping[str, Any] = said["parameters"]
        self.actions: tuple[str, ...] = said["actions"]
        self.random: bool = said["random"]
        self._functions = functions
        for optional in ("inverse", "nuisance", "starts", "kernel"):
            if optional in functions:
                setattr(self, optional, functions[optional])
        self.reset(0)

    def reset(self, seed: int) -> Hashable:
        """Resets the environment with a seed, an int of at least 0."""
        self.env.reset(seed=natural("seed", seed))
        return self.state()

    def step(self, action: int) -> Hashable:
        """Takes one action; that an episode should end is ignored."""
        self.env.step(checked_action(self, action))
        return self.state()

    def state(self) -> Hashable:
        """The present state, as `get_state` reads it."""
        state = self._functions["get_state"](self.env)
        try:
            hash(state)
        except TypeError:
            raise WordError(
                f"{self.name}: `get_state` returns something hashable; got {type(state).__name__}. "
                "Fix: return a tuple of numbers, or bytes (`array.tobytes()`)."
            ) from None
        return state

    def restore(self, state: Any) -> None:
        """Calls `set_state`."""
        self._functions["set_state"](self.env, state)

    def frame(self) -> np.ndarray:
        """What `frame` returns, or the rendered picture, uint8 (3, height, width)."""
        if "frame" in self._functions:
            return np.asarray(self._functions["frame"](self.env))
        return np.ascontiguousarray(np.asarray(self.env.render()).transpose(2, 0, 1))

    def pose(self) -> tuple[float, float, float]:
        """What `pose` returns; zeros without it."""
        return self._functions["pose"](self.env) if "pose" in self._functions else (0.0, 0.0, 0.0)

    def place(self, state: Any) -> tuple[int, ...]:
        """What `place` returns, as a tuple of ints."""
        found = self._functions["place"](state)
        return tuple(int(n) for n in (found if isinstance(found, (tuple, list)) else (found,)))


def from_gymnasium(
    env: Any,
    *,
    get_state: Callable[[Any], Hashable],
    set_state: Callable[[Any, Any], object],
    place: Callable[[Any], Sequence[int] | int],
    frame: Callable[[Any], np.ndarray] | None = None,
    inverse: Callable[[Any, int], int | None] | None = None,
    pose: Callable[[Any], tuple[float, float, float]] | None = None,
    nuisance: Callable[[Any], Mapping[str, Hashable]] | None = None,
    starts: Callable[[], Iterable[Hashable]] | None = None,
    kernel: Callable[[Any, int], Mapping[Any, float]] | None = None,
    random: bool = False,
    actions: Sequence[str] | None = None,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Gymnasium:
    """A Gymnasium environment with discrete actions, as an `Environment`.

    Wrappers are left aside: `env.unwrapped` is driven, so that no time limit ends an episode. The
    laws of `latentroles.testing.environment_laws` say whether the functions are right.

    Args:
        get_state, set_state: read and write the complete state of the unwrapped environment; a
            state is hashable.
        place: the declared place of a state: integers.
        frame: the observation at the present state of the unwrapped environment, channels first;
            without it, the picture of an environment with `render_mode="rgb_array"`.
        inverse, nuisance, starts, kernel: see `latentroles.words.environment`.
        pose: (x, y, heading) at the present state.
        random: whether steps are random; so they are where there is a kernel.
        actions: their names, for messages; else "0", "1", ...
        name, parameters: which environment this is, for the files that are made with it.

    Raises:
        DataError: the actions are not discrete, or frames can neither be read nor rendered.
    """
    bare = getattr(env, "unwrapped", env)
    space = getattr(bare, "action_space", None)
    count, first = getattr(space, "n", None), getattr(space, "start", 0)
    if count is None or int(first) != 0:
        raise DataError(
            f"{user_line()}from_gymnasium takes an environment with actions Discrete(n) from 0; "
            f"received {space!r}. Fix: wrap the environment so that its actions are an index."
        )
    if frame is None and getattr(bare, "render_mode", None) != "rgb_array":
        raise DataError(
            f"{user_line()}from_gymnasium: there is no `frame`, and the environment renders none. "
            'Fix: pass `frame=`, or make it with `render_mode="rgb_array"`.'
        )
    names = tuple(map(str, range(int(count)) if actions is None else actions))
    if len(names) != int(count):
        raise DataError(
            f"{user_line()}from_gymnasium: {int(count)} actions have as many names; got {names}."
        )
    given = {
        "get_state": get_state,
        "set_state": set_state,
        "place": place,
        "frame": frame,
        "inverse": inverse,
        "pose": pose,
        "nuisance": nuisance,
        "starts": starts,
        "kernel": kernel,
    }
    functions = {key: function for key, function in given.items() if function is not None}
    spec = getattr(bare, "spec", None)
    title = name or getattr(spec, "id", None) or type(bare).__name__
    return Gymnasium(
        bare,
        functions,
        name=str(title),
        parameters=dict(parameters or {}),
        actions=names,
        random=bool(random),
    )
