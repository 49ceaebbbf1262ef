"""The environment keeps the laws of environments, and its loop words tell encoders apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings

from latentroles.testing.closure import assert_loop_invariant
from latentroles.testing.environment_laws import BrokenLaw, check_environment
from latentroles.testing.policy import examples
from latentroles.testing.words import place_loops
from latentroles.words import explore, run, spell
from latentroles_extra import Promenade, promenade
from latentroles_extra.promenade import LANTERN, LEFT

POND = promenade(benches=5)
Encode = Callable[[np.ndarray], Any]


def bench(frame: np.ndarray) -> Any:
    """An encoder that knows which bench it sees, by day and by night."""
    return int(frame.argmax())


def picture(frame: np.ndarray) -> Any:
    """An encoder that keeps what it sees."""
    return frame.tobytes()


def closes(encode: Encode, loop: Any) -> bool:
    """Whether a loop that returns to its place returns to its code."""
    codes = []
    for state in run(POND, loop.state, loop.word):
        POND.restore(state)
        codes.append(encode(POND.frame()))
    return codes[0] == codes[-1]


def test_it_keeps_the_laws_of_environments() -> None:
    tried = check_environment(POND)
    assert {law for law, cases in tried.items() if cases == 0} == {"E6", "E12", "E18"}


@settings(max_examples=10 * examples(), deadline=None)
@given(place_loops(POND))
def test_a_code_of_the_bench_closes_every_loop(loop: Any) -> None:
    assert closes(bench, loop)


def test_a_code_of_the_picture_fails_on_the_shortest_loop() -> None:
    loop = find(place_loops(POND), lambda loop: not closes(picture, loop))
    assert spell(POND, loop.word) == "lantern"


def test_the_harness_grades_them_alike() -> None:
    assert_loop_invariant(lambda frames: np.equal(frames, frames.max(axis=1, keepdims=True)), POND)
    with pytest.raises(AssertionError, match="z does not return: G2") as caught:
        assert_loop_invariant(lambda frames: frames, POND)
    assert "lantern" in str(caught.value)


def test_all_benches_can_be_told_apart() -> None:
    graph = explore(POND)
    assert len(graph.states) == 2 * POND.benches
    assert graph.recurrent.all()


def test_an_inverse_that_does_not_return_is_found() -> None:
    class Wrong(Promenade):
        def inverse(self, state: Any, action: int) -> int:
            return LANTERN if action == LANTERN else LEFT

    with pytest.raises(BrokenLaw, match="E5") as caught:
        check_environment(Wrong(5))
    assert caught.value.word == (LEFT, LEFT)


def test_fewer_than_three_benches_are_no_ring() -> None:
    with pytest.raises(ValueError, match="at least 3 benches, got 2"):
        promenade(benches=2)
