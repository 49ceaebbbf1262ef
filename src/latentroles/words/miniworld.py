"""MiniWorld FourRooms, first-person and in 3-D, on a lattice: steps of one cell, quarter turns.

It needs `miniworld` and the Mesa EGL libraries, and is run only where they are.

Source: Chevalier-Boisvert et al., "Minigrid & Miniworld" (2023).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from latentroles.errors import PluginError

from .gymnasium import Gymnasium, from_gymnasium

ACTIONS = ("left", "right", "forward")
SIZE = 64  # pixels
_QUARTER = math.pi / 2
_CELLS = range(2, 7)  # the lattice points of a room that are clear of its walls, on each side of 0
_BOX = (1.5, 1.5)  # a corner where no lattice point is near enough to be blocked


class State(NamedTuple):
    """Lattice point, quarter turns to the left, and how the box is turned (of eight ways)."""

    x: int
    z: int
    turns: int
    box: int


def four_rooms(*, heading: bool = False) -> Gymnasium:
    """Four rooms with frames uint8 (3, 64, 64); how a box is turned is a nuisance of each episode.

    Arguments: `heading`, whether the heading is part of a place. Raises PluginError where
    `miniworld` cannot be imported, or cannot draw.
    """
    try:
        import pyglet  # pyright: ignore[reportMissingImports]

        pyglet.options["headless"] = True  # before miniworld opens a window
        from miniworld.envs import FourRooms  # pyright: ignore[reportMissingImports]
        from miniworld.params import DEFAULT_PARAMS  # pyright: ignore[reportMissingImports]

        params = DEFAULT_PARAMS.copy()
        params.set("forward_step", 1.0, 1.0, 1.0)
        params.set("turn_step", 90, 90, 90)
        rooms = _on_lattice(FourRooms)(params=params, obs_width=SIZE, obs_height=SIZE)
    except Exception as error:  # without EGL, pyglet fails in many ways
        raise PluginError(
            f"miniworld-fourrooms needs miniworld and Mesa's EGL library ({error}). "
            "Install them: pip install 'latentroles[miniworld]'; apt-get install libegl1 "
            "libgl1-mesa-dri libglu1-mesa"
        ) from error
    return from_gymnasium(
        rooms,
        get_state=_state,
        set_state=_restore,
        place=(lambda s: s[:3]) if heading else (lambda s: s[:2]),
        frame=lambda env: np.ascontiguousarray(env.render_obs().transpose(2, 0, 1)),
        nuisance=lambda s: {"box": s.box} if heading else {"turns": s.turns, "box": s.box},
        inverse=lambda s, action: (1, 0, None)[action],
        pose=lambda env: (float(env.agent.pos[0]), -float(env.agent.pos[2]), _heading(env)),
        actions=ACTIONS,
        name="miniworld-fourrooms",
        parameters={"heading": bool(heading)},
    )


def _on_lattice(rooms: Any) -> Any:
    """The class `rooms`, with starts on the lattice, and nothing left of rounding after a step."""

    class Lattice(rooms):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            found = super().reset(seed=seed, options=options)
            points = [*(-n for n in _CELLS), *_CELLS]
            x, z = (int(n) for n in self.np_random.choice(points, size=2))
            turns, box = (int(self.np_random.integers(n)) for n in (4, 8))
            _restore(self, State(x, z, turns, box))
            return found

        def step(self, action: int) -> Any:
            found = super().step(action)
            _restore(self, _state(self))
            return found

    return Lattice


def _state(env: Any) -> State:
    x, _, z = (round(float(n)) for n in env.agent.pos)
    box = round(float(env.box.dir) / (_QUARTER / 2)) % 8
    return State(x, z, round(float(env.agent.dir) / _QUARTER) % 4, box)


def _restore(env: Any, state: State) -> None:
    env.agent.pos = np.array([state.x, 0.0, state.z], dtype=float)
    env.agent.dir = state.turns * _QUARTER
    env.box.pos = np.array([_BOX[0], 0.0, _BOX[1]])
    env.box.dir = state.box * _QUARTER / 2
    env.step_count = 0


def _heading(env: Any) -> float:
    return (0.0, _QUARTER, math.pi, -_QUARTER)[_state(env).turns]
