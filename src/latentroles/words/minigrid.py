"""MiniGrid as an `Environment`: FourRooms and Dynamic-Obstacles, seen in first person.

The walls and the goal are drawn once, from `layout`, so that every episode visits the same places;
the start, and where the balls are, are drawn anew from each episode's seed. The goal stays as a
landmark that may be walked over: neither it, nor a collision, nor the step count ends an episode.

Source: Chevalier-Boisvert et al., "Minigrid & Miniworld" (2023).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from latentroles.errors import DataError, PluginError

from .simulated import checked_action, natural

ACTIONS = ("left", "right", "forward")
LEFT, RIGHT, FORWARD = range(3)
TILE = 8  # pixels; a view of 7 x 7 cells makes frames of 56 x 56

# MiniGrid counts headings clockwise (0 along x, 1 down): these are counterclockwise radians.
_HEADINGS = (0.0, -math.pi / 2, math.pi, math.pi / 2)
_NEVER = 2**31 - 1


class State(NamedTuple):
    """Where the agent and the balls are, in MiniGrid's own coordinates: row 0 is at the top."""

    column: int
    row: int
    direction: int
    movers: tuple[tuple[int, int], ...] = ()


class MiniGrid:
    """A `minigrid` environment that never ends, with frames uint8 (3, 56, 56).

    A frame is MiniGrid's own egocentric picture (`RGBImgPartialObsWrapper`): the 7 x 7 cells in
    front of the agent, which stands in the middle of the bottom row and looks up.
    """

    actions = ACTIONS

    def __init__(
        self, name: str, parameters: dict[str, Any], grid: Any, layout: int, heading: bool
    ):
        """Arguments: the `minigrid` environment `grid`, the seed `layout` of its walls, and whether
        the heading is part of a place."""
        from minigrid.wrappers import RGBImgPartialObsWrapper

        self.name = name
        self.parameters = parameters
        self._heading = heading
        self._grid: Any = grid.unwrapped
        self._camera = RGBImgPartialObsWrapper(grid, tile_size=TILE)
        self._grid.reset(seed=layout)
        # Frames come from the camera; MiniGrid's symbolic view would cost 0.1 ms in every step.
        self._grid.gen_obs = dict
        self._movers: list[Any] = list(getattr(self._grid, "obstacles", ()))
        self.random = bool(self._movers)
        self._frames: dict[State, np.ndarray] = {}
        self.reset(0)

    def reset(self, seed: int) -> State:
        """Starts at a random free cell and heading, the balls at random too. Seed: an int >= 0."""
        grid: Any = self._grid
        grid.np_random = np.random.default_rng(natural("seed", seed))
        for ball in self._movers:
            grid.grid.set(*ball.cur_pos, None)
        grid.place_agent()
        for ball in self._movers:
            grid.place_obj(ball)
        return self.state()

    def state(self) -> State:
        """The present state."""
        column, row = self._grid.agent_pos
        movers = tuple((int(ball.cur_pos[0]), int(ball.cur_pos[1])) for ball in self._movers)
        return State(int(column), int(row), int(self._grid.agent_dir), movers)

    def step(self, action: int) -> State:
        """Turns left (0) or right (1), or moves forward (2) unless a wall or ball is in the way."""
        self._grid.step(checked_action(self, action))
        return self.state()

    def inverse(self, state: State, action: int) -> int | None:
        """The other turn; None for a step forward, and wherever balls move."""
        opposite = (RIGHT, LEFT, None)[checked_action(self, action)]
        return None if self._movers else opposite

    def restore(self, state: State) -> None:
        """Puts the agent and the balls where `state` has them."""
        state = State(*state)
        self._check(state)
        grid: Any = self._grid
        for ball in self._movers:
            grid.grid.set(*ball.cur_pos, None)
        for ball, position in zip(self._movers, state.movers, strict=True):
            grid.put_obj(ball, *position)
        grid.agent_pos = (state.column, state.row)
        grid.agent_dir = state.direction

    def frame(self) -> np.ndarray:
        """What the agent sees, uint8 (3, 56, 56), read-only."""
        state = self.state()
        known = self._frames.get(state)
        if known is not None:
            return known
        picture = self._camera.observation({})["image"]
        frame = np.ascontiguousarray(picture.transpose(2, 0, 1))
        frame.flags.writeable = False
        if not self._movers:  # a static world has few states: each is drawn once
            self._frames[state] = frame
        return frame

    def pose(self) -> tuple[float, float, float]:
        """(x, y, heading) in cells and radians: x to the right, y up, heading counterclockwise."""
        column, row, direction, _ = self.state()
        return float(column), float(self._grid.height - 1 - row), _HEADINGS[direction]

    def place(self, state: State) -> tuple[int, ...]:
        """(column, row), and the direction where the environment was made with `heading=True`."""
        return tuple(state[:3]) if self._heading else tuple(state[:2])

    def nuisance(self, state: State) -> dict[str, Any]:
        """The direction where it is no part of the place, and the movers where there are any."""
        heading = {} if self._heading else {"direction": state.direction}
        return {**heading, "movers": state.movers} if self._movers else heading

    def _check(self, state: State) -> None:
        """Raises DataError unless the agent and the balls can be where `state` has them."""
        grid = self._grid.grid
        here = (state.column, state.row)
        cells = [here, *state.movers]
        inside = all(0 <= x < grid.width and 0 <= y < grid.height for x, y in cells)
        free = inside and all(getattr(grid.get(x, y), "type", "") != "wall" for x, y in cells)
        fits = len(state.movers) == len(self._movers) and len(set(cells)) == len(cells)
        if not (free and fits and state.direction in range(4)):
            raise DataError(
                f"{self.name}: {state} is not a state of this layout; the agent and "
                f"{len(self._movers)} ball(s) stand on different free cells. "
                "Restore states that reset or step returned."
            )


def four_rooms(*, layout: int = 0, heading: bool = False) -> MiniGrid:
    """Four rooms of 8 x 8 cells, joined by four gaps: 260 free cells, 1040 poses, about 450 views.

    Arguments: the seed `layout` of the gaps and of the goal; `heading`, whether the heading is part
    of a place. Raises PluginError where `minigrid` is not installed.
    """
    layout = natural("layout", layout)
    grid = _envs().FourRoomsEnv(max_steps=_NEVER)
    parameters = {"layout": layout, "heading": bool(heading)}
    return MiniGrid("minigrid-fourrooms", parameters, grid, layout, bool(heading))


def dynamic_obstacles(*, size: int = 10, balls: int = 4, heading: bool = False) -> MiniGrid:
    """One room of (size - 2) x (size - 2) cells with balls that move at random in every step.

    The balls are an exogenous nuisance: they are in the state and in the frame, not in the place.
    Arguments: `size` in cells with the walls, at least 5; `balls`, from 1 to size / 2; `heading`,
    whether the heading is part of a place. Raises PluginError where `minigrid` is not installed.
    """
    size, balls = natural("size", size), natural("balls", balls)
    if size < 5 or not 1 <= balls <= size // 2:
        raise DataError(
            "minigrid-dynamic-obstacles needs size >= 5 and 1 <= balls <= size // 2; "
            f"got size={size}, balls={balls}."
        )
    grid = _envs().DynamicObstaclesEnv(
        size=size, n_obstacles=balls, agent_start_pos=None, max_steps=_NEVER
    )
    parameters = {"size": size, "balls": balls, "heading": bool(heading)}
    return MiniGrid("minigrid-dynamic-obstacles", parameters, grid, 0, bool(heading))


def _envs() -> Any:
    """`minigrid.envs`, or PluginError naming the extra that brings it."""
    try:
        # First gymnasium: it silences the greeting of pygame, which minigrid imports.
        import gymnasium  # noqa: F401
        import minigrid.envs
    except ImportError as error:
        raise PluginError(
            f"The minigrid environments need gymnasium and minigrid, which cannot be imported "
            f"({error}). Install them: pip install 'latentroles[envs]'"
        ) from error
    return minigrid.envs
