"""What a person sees of a run: the bar, plain lines, the tables, the curves."""

import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentroles.errors import TrainingError
from latentroles.evaluate import curves
from latentroles.train import metrics
from latentroles.train.display import make_display, print_summary
from quadratic import QuadraticBackend, install, status_of, trained

FOURTEEN = {f"rollout_kstep_delta_{i:02d}": 10.0 ** (i - 7) for i in range(14)}


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> QuadraticBackend:
    return install(monkeypatch)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("width", "columns"), [(80, 2), (120, 3), (40, 1)])
def test_fourteen_losses_fit_the_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int, columns: int
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "24")
    screen: Any = make_display(True, Terminal())
    screen.begin("main", 0, 600)
    screen.update(1, {**FOURTEEN, "total": 1.0})
    rows = screen._loss_rows()
    screen.end()
    assert len(rows) == -(-15 // columns)
    assert max(map(len, rows)) <= width
    assert all(any(name in row for row in rows) for name in FOURTEEN)


def test_a_log_file_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    screen = make_display(True, stream)
    screen.begin("main", 0, 600)
    for done in range(1, 601):
        screen.update(done, {**FOURTEEN, "total": 1.0})
    screen.end()
    text = stream.getvalue()
    assert "\x1b" not in text
    assert text.count("main ") == 11  # the first step, and every sixtieth
    assert max(map(len, text.splitlines())) <= 80


class Heard(list[str]):
    """A display that writes down what it is told."""

    def note(self, text: str) -> None:
        self.append(f"note {text}")

    def begin(self, phase: str, start: int, stop: int) -> None:
        self.append(f"begin {phase} {start} {stop}")

    def update(self, done: int, losses: Mapping[str, float]) -> None:
        self.append(f"{done}")

    def end(self) -> None:
        self.append("end")


def test_a_display_is_told_of_each_step_and_closed_on_an_error(
    backend: QuadraticBackend, tmp_path: Path
) -> None:
    heard = Heard()
    trained(tmp_path / "run", steps=2, display=heard)
    assert heard == ["begin main 0 2", "1", "2", "end"]
    backend.after = lambda trainer, step, losses: {**losses, "pull": float("nan")}
    heard = Heard()
    with pytest.raises(TrainingError):
        trained(resume=tmp_path / "run", steps=4, display=heard)
    assert heard[1:] == ["begin main 2 4", "end"]


def test_no_display_is_silent(
    backend: QuadraticBackend, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path / "run")
    assert capfd.readouterr() == ("", "")


def test_the_summary_says_what_it_averages(
    backend: QuadraticBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = trained(tmp_path / "run", steps=30)
    print_summary(result, "the routes")
    text = capsys.readouterr().out
    assert "last 3 logged steps" in text
    assert "the routes" in text
    assert str(tmp_path / "run") in text.replace("\n", "")
    for word in ("pull", "push", "total", "compile", "first step", "steps per second"):
        assert word in text


def rows_of(values: dict[str, list[float]], phase: Callable[[int], str]) -> list[dict[str, Any]]:
    steps = range(len(next(iter(values.values()))))
    return [
        {
            "step": step,
            "phase": phase(step),
            "seconds": 0.0,
            "total": 1.0,
            "losses": {name: series[step] for name, series in values.items()},
        }
        for step in steps
    ]


@pytest.mark.parametrize("length", [1, 2, 7, 900])
def test_curves_draw_what_losses_can_be(tmp_path: Path, length: int) -> None:
    values = {
        "zero": [0.0] * length,
        "negative": [-1.0 - i for i in range(length)],
        "falling": [10.0**-i for i in range(length)],
        "huge": [1e30] * length,
    }
    rows = rows_of(values, lambda step: "late" if step > 3 else "early")
    curves.draw(rows, tmp_path / "c.png", title="t", last=metrics.ends(rows)[1])
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    st.lists(st.floats(-1e6, 1e6), max_size=3),
)
def test_the_range_of_a_measure_has_the_usual_and_the_last_value(course, early) -> None:
    values = np.array([*early, *course])
    found = curves.shown_range(values)
    later = values[len(values) // 3 :]
    usual = [*np.percentile(later, [5, 95]), values[-1]]
    room = max(usual) - min(usual)
    assert (found is None) == (np.ptp(values) <= 5 * room)
    if found is not None:
        assert found[0] < min(usual) <= max(usual) < found[1]
        assert found[1] - found[0] <= max(2.01 * room, 0.11 * max(map(abs, usual)), 2.0)


@pytest.mark.parametrize(
    ("values", "scale", "arrows"),
    [
        ([-45.0, -20.0, *[0.5, 0.6] * 10], "linear", {"v": 2, "^": 0}),
        ([45.0, *[-0.5, 0.6] * 10], "linear", {"v": 0, "^": 1}),
        ([-45.0, *[0.5, 0.6] * 10, 0.9], "linear", {"v": 1, "^": 0}),
        ([-9.0, 9.0, *[0.25] * 9], "linear", {"v": 1, "^": 1}),
        (np.linspace(-1, 1, 20), "linear", {"v": 0, "^": 0}),
        ([180.0, *np.linspace(0.6, 0.5, 20)], "log", {"v": 0, "^": 0}),
        ([2.0, *np.linspace(0.6, 0.5, 20)], "linear", {"v": 0, "^": 0}),
        ([0.0] * 4, "linear", {"v": 0, "^": 0}),
    ],
)
def test_a_measure_is_drawn_where_it_ends(tmp_path: Path, values, scale, arrows) -> None:
    rows = rows_of({"loss": [1.0] * len(values)}, lambda step: "main")
    for row, value in zip(rows, values, strict=True):
        row["measures"] = {"measure": float(value)}
    last = metrics.ends(rows)[1]
    panel = curves.chart(rows, title="t", last=last).axes[1]
    low, high = panel.get_ylim()
    assert panel.get_yscale() == scale
    assert low < values[-1] < high
    drawn = {line.get_marker(): len(line.get_xdata()) for line in panel.lines}
    assert {marker: drawn.get(marker, 0) for marker in arrows} == arrows
    out = [line for line in panel.lines if line.get_marker() in arrows]
    assert not any(line.get_in_layout() for line in out)  # else they squeeze the other panels
    curves.draw(rows, tmp_path / "c.png", title="t", last=last)


def test_a_run_without_matplotlib_is_complete_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, charts=True)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = trained(tmp_path / "run")
    assert "pip install 'latentroles[plots]'" in result.notes[0]
    assert status_of(tmp_path / "run") == "complete"
