"""Words: finite sequences of actions, where they lead, and what may be cancelled in them.

Where a word leads depends on where it starts. A *state loop* returns to its state, a *place loop*
to its place. Everything here is found by running the word, from `restore(state)`.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from latentroles.errors import user_line

from .environment import Environment, Invertible, WordError

Word = tuple[int, ...]


def word(environment: Environment, letters: Sequence[int | str] | str) -> Word:
    """A word from indices or names of actions; one string holds names apart by commas or spaces.

    Raises:
        WordError: there is no such action.
    """
    names = environment.actions
    if isinstance(letters, str):
        letters = letters.replace(",", " ").split()
    found = []
    for letter in letters:
        index = names.index(letter) if isinstance(letter, str) and letter in names else letter
        if (
            isinstance(index, bool)
            or not hasattr(index, "__index__")
            or index not in range(len(names))
        ):
            named = ", ".join(f"{i} {name}" for i, name in enumerate(names))
            raise WordError(
                f"{user_line()}a letter of a word in {environment.name} is one of {named}; "
                f"received {letter!r}."
            )
        found.append(int(index))
    return tuple(found)


def spell(environment: Environment, word: Iterable[int]) -> str:
    """A word as the names of its actions, "left, right"; the empty one as "(no action)"."""
    return ", ".join(environment.actions[letter] for letter in word) or "(no action)"


def run(environment: Environment, state: Any, word: Iterable[int]) -> list[Hashable]:
    """The states that a word passes: `state`, then one for each letter."""
    environment.restore(state)
    return [environment.state(), *(environment.step(letter) for letter in word)]


def end(environment: Environment, state: Any, word: Iterable[int]) -> Hashable:
    """The state that a word leads to."""
    return run(environment, state, word)[-1]


def is_state_loop(environment: Environment, state: Any, word: Iterable[int]) -> bool:
    """Whether a word returns to its state."""
    return end(environment, state, word) == state


def is_place_loop(environment: Environment, state: Any, word: Iterable[int]) -> bool:
    """Whether a word returns to its place."""
    return environment.place(end(environment, state, word)) == environment.place(state)


def opposites(environment: Environment, states: Iterable[Any]) -> dict[int, int]:
    """The formal inverse of each action: what `inverse` says at some of the states.

    An action without one, or with different ones at different states, is left out, and so is one
    whose opposite is not its opposite in turn.
    """
    if not isinstance(environment, Invertible):
        return {}
    said: dict[int, set[int]] = {action: set() for action in range(len(environment.actions))}
    for state in states:
        for action, known in said.items():
            opposite = environment.inverse(state, action)
            known |= set() if opposite is None else {opposite}
    single = {action: min(known) for action, known in said.items() if len(known) == 1}
    return {a: b for a, b in single.items() if single.get(b) == a}


def cancelled(word: Sequence[int], opposites: Mapping[int, int]) -> list[tuple[int, int]]:
    """Free reduction: the pairs of positions that cancel, innermost first."""
    kept: list[int] = []
    pairs = []
    for position, letter in enumerate(word):
        if kept and opposites.get(word[kept[-1]]) == letter:
            pairs.append((kept.pop(), position))
        else:
            kept.append(position)
    return pairs


def reduced(word: Sequence[int], opposites: Mapping[int, int]) -> Word:
    """A word without the pairs that cancel. It may lead elsewhere: see `keeps_end`."""
    gone = {position for pair in cancelled(word, opposites) for position in pair}
    return tuple(letter for position, letter in enumerate(word) if position not in gone)


def keeps_end(
    environment: Environment, state: Any, word: Sequence[int], opposites: Mapping[int, int]
) -> bool:
    """Whether every pair that cancels was unblocked, so that `reduced` leads where `word` does."""
    pairs = cancelled(word, opposites)
    if pairs and not isinstance(environment, Invertible):
        return False
    passed = run(environment, state, word)
    return all(environment.inverse(passed[i], word[i]) == word[j] for i, j in pairs)  # type: ignore[attr-defined]


def inverse(environment: Environment, state: Any, word: Sequence[int]) -> Word | None:
    """The word that goes back the way that `word` came; None where a move cannot be taken back."""
    if not isinstance(environment, Invertible):
        return None
    passed = run(environment, state, word)
    back = [environment.inverse(at, letter) for at, letter in zip(passed, word, strict=False)]
    return None if None in back else tuple(back[::-1])  # type: ignore[return-value]
