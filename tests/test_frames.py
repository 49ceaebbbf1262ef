"""Windows that are too short: refused before anything is read, with what would do."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
from latentroles.train.frames import frames_of, too_short
from latentroles_specs.hzp import hzp


def ahead(horizon: int, later: int = 0) -> lr.Spec:
    """z as it is rolled out over a horizon; with `later`, a loss that reads so many frames."""
    s = lr.Spec("ahead")
    x = s.observation("x", (3,))
    a = s.action("a", lr.Box(-1, 1, (2,)))
    z = s.latent("z", s.module("encoder", lr.nn.linear(3, 4))(x), role=lr.PLACE)
    step = s.module("step", lr.nn.linear(6, 4))
    imagined = lr.rollout(
        lambda z, a: step(lr.concat(z, a)),
        start=z.t[:-horizon],
        xs=a.windows(horizon),
        horizon=horizon,
    )
    s.loss("imagined", lr.losses.mse(imagined, z.t[1:].windows(horizon).stop()))
    if later:
        s.loss("later", lr.losses.mse(z.t[later - 1], z.t[0].stop()))
    return s


@given(horizon=st.integers(2, 9), frames=st.integers(1, 12))
def test_the_horizon_that_is_named_is_the_longest_that_fits(horizon: int, frames: int) -> None:
    said = too_short(ahead(horizon), frames)
    assert (said is None) == (horizon < frames)
    if said is None:
        return
    assert f"phase main reads {horizon + 1}. Take longer ones: --frames {horizon + 1} " in said
    found = re.search(r", or a horizon of at most (\d+)\.$", said)
    assert (found is None) == (frames < 3)  # a rollout has two steps
    if found is not None:
        longest = int(found[1])
        assert too_short(ahead(longest), frames) is None
        assert too_short(ahead(longest + 1), frames) is not None


def test_no_horizon_is_named_where_none_would_do() -> None:
    said = too_short(ahead(4, later=9), 6)
    assert said is not None
    assert "reads 9" in said
    assert "horizon" not in said


@pytest.mark.parametrize("horizon", [4, 7])
def test_hzp_is_told_its_horizon(horizon: int) -> None:
    assert too_short(hzp(horizon=horizon), horizon + 1) is None
    said = too_short(hzp(horizon=horizon), horizon)
    assert said is not None
    assert said.endswith(f", or a horizon of at most {horizon - 1}.")


def test_measures_and_pictures_are_counted() -> None:
    s = ahead(2)
    s.measure("far", lr.losses.mse(s.latents["z"].expr.t[6], s.latents["z"].expr.t[0]))
    said = too_short(s, 4)
    assert said is not None
    assert "of which one of the measures reads 7." in said


def test_a_file_is_not_read_for_windows_that_are_too_short(tmp_path: Path) -> None:
    with pytest.raises(lr.DataError, match=r"Windows of 4 frames .* a horizon of at most 3\."):
        lr.train(ahead(6), tmp_path / "nowhere.h5", frames=4, out=tmp_path / "run", display=False)


class Few:
    """Batches of the user's own, of so many frames."""

    def __init__(self, frames: int):
        self.frames = frames

    def batch(self, step: int) -> dict[str, Any]:
        return {"x": np.zeros((2, self.frames, 3)), "a": np.zeros((2, self.frames - 1, 2))}


@pytest.mark.parametrize("short", ["data", "validation"])
def test_the_frames_of_a_batch_are_what_it_holds(short: str, tmp_path: Path) -> None:
    assert frames_of(ahead(2), Few(5).batch(0)) == 5
    data = {name: Few(4 if name == short else 8) for name in ("data", "validation")}
    with pytest.raises(lr.DataError, match=r"Windows of 4 frames .* a horizon of at most 3\."):
        lr.train(
            ahead(6),
            data["data"],
            validation=data["validation"],
            steps=10,
            out=tmp_path / "run",
            display=False,
        )
    assert not (tmp_path / "run").exists()
