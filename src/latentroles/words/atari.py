"""Montezuma's Revenge on the Arcade Learning Environment, without sticky actions.

It needs `ale-py`, and is run only where that is installed.

Source: Machado et al., "Revisiting the Arcade Learning Environment" (2018); the bytes of the
memory are those of Anand et al., "Unsupervised state representation learning in Atari" (2019).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentroles.errors import PluginError

from .gymnasium import Gymnasium, from_gymnasium

ROOM, X, Y = 3, 42, 43  # bytes of the memory


@dataclass(frozen=True)
class State:
    """The memory, (128 bytes); with it, what the emulator and the screen need to go on.

    States with equal memory count as equal: the emulator's registers and counters do not return.
    """

    memory: bytes
    saved: bytes = field(compare=False, repr=False)
    screen: np.ndarray = field(compare=False, repr=False)


def montezuma(*, cell: int = 8) -> Gymnasium:
    """The place is the room and the square of `cell` pixels; frames are uint8 (3, 210, 160).

    An episode does not end where the last life is lost: the game then stands still. Raises
    PluginError where `ale-py` cannot be imported.
    """
    try:
        import ale_py  # pyright: ignore[reportMissingImports]
        from ale_py.env import AtariEnv  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise PluginError(
            f"atari-montezuma needs ale-py, which cannot be imported ({error}). "
            "Install it: pip install 'latentroles[atari]'"
        ) from error
    shown: dict[str, Any] = {}  # restoring does not redraw the emulator's screen

    def read(env: Any) -> State:
        memory = np.asarray(env.ale.getRAM()).tobytes()
        now = shown.get("restored")
        if now is not None and now.memory == memory:
            return now
        shown["restored"] = None
        return State(memory, env.ale.cloneState().serialize(), env.ale.getScreenRGB())

    def write(env: Any, state: State) -> None:
        env.ale.restoreState(ale_py.ALEState(state.saved))
        shown["restored"] = state

    def place(state: State) -> tuple[int, int, int]:
        return state.memory[ROOM], state.memory[X] // cell, state.memory[Y] // cell

    env = AtariEnv("montezuma_revenge", repeat_action_probability=0.0)
    return from_gymnasium(
        env,
        get_state=read,
        set_state=write,
        place=place,
        frame=lambda env: np.ascontiguousarray(read(env).screen.transpose(2, 0, 1)),
        pose=lambda env: (float(read(env).memory[X]), float(read(env).memory[Y]), 0.0),
        actions=tuple(name.lower() for name in (a.name for a in env.ale.getMinimalActionSet())),
        name="atari-montezuma",
        parameters={"cell": int(cell)},
    )
