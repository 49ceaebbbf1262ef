"""The tables of the studies in docs/ are those of their scripts and measured cells, all there."""

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import latentroles as lr
from latentroles.data import Trajectories

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/studies"


@cache
def script(name: str) -> ModuleType:
    """docs/studies/NAME.py, imported."""
    spec = importlib.util.spec_from_file_location(f"docs_studies_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    if name != "study":
        sys.modules["study"] = script("study")
    spec.loader.exec_module(module)
    return module


study = script("study")
SCRIPTS = sorted(
    path.stem for path in FOLDER.glob("*.py") if "\nfrom study import" in path.read_text()
)


def declared(name: str) -> list:
    """The studies of a script."""
    held = vars(script(name)).values()
    held = [v for found in held for v in (found.values() if isinstance(found, dict) else [found])]
    return [found for found in held if isinstance(found, study.Study)]


def record(values, rows=(("with", "torch"),)):
    cells = [
        {
            "setting": rows[0][0],
            "backend": rows[0][1],
            "seed": seed,
            "values": {"rank": value},
            "date": "2026-01-01",
            "on": "2 CPU cores",
            "versions": {},
        }
        for seed, value in enumerate(values)
    ]
    return {
        "name": "made",
        "page": "page.md",
        "columns": {"rank": "effective rank"},
        "rows": [list(row) for row in rows],
        "cells": cells,
    }


# What is in docs/ ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_record_is_that_of_its_script_and_a_page_shows_it(name):
    assert declared(name)
    for found in declared(name):
        told = f"python docs/studies/{name}.py --draw"
        held = json.loads((FOLDER / f"{found.name}.json").read_text())
        assert held == study.known(found), told
        page = (ROOT / found.page).read_text()
        assert study.placed(page, held) == page, told


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_cell_is_missing_and_none_is_left_over(name):
    for found in declared(name):
        cells = study.known(found)["cells"]
        measured = [(c["setting"], c["backend"], c["seed"]) for c in cells]
        rows = [(s, b) for s in found.settings for b in found.backends]
        assert found.seeds >= 3
        assert sorted(measured) == sorted((*row, i) for row in rows for i in range(found.seeds))
        for cell in cells:
            assert cell["values"].keys() == found.columns.keys(), (found.name, cell)


def test_every_record_has_a_script():
    names = {found.name for name in SCRIPTS for found in declared(name)}
    assert {path.stem for path in FOLDER.glob("*.json")} <= names


# Tables -------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_students_t():
    # Three values 1, 2, 3: standard error 1 / sqrt(3), and t(0.975, 2) = 4.303.
    assert "| with | torch | 3 | 2 ± 2.5 |" in study.table(record([1.0, 2.0, 3.0]))


def test_a_number_that_is_missing_is_not_averaged_away():
    assert "| 3 | 2 (of 2) |" in study.table(record([1.0, None, 3.0]))
    assert "| 1 | none |" in study.table(record([None]))


def test_a_row_without_cells_is_left_out_and_a_page_without_a_place_is_refused():
    held = record([1.0], rows=(("with", "torch"), ("without", "jax")))
    assert "without" not in study.table(held)
    with pytest.raises(SystemExit, match="write them"):
        study.placed("# page\n", held)
    text = "a\n<!-- study:made -->\nold\n<!-- end -->\nb\n"
    assert study.placed(text, held).startswith("a\n<!-- study:made -->\n| setting")
    assert study.placed(text, held).endswith("<!-- end -->\nb\n")


def test_machines_and_versions_are_those_of_every_cell():
    held = record([1.0, 2.0, 3.0])
    for cell, version in zip(held["cells"], ("2.0", "1.9", "2.0"), strict=True):
        cell["versions"] = {"torch": version}
    assert "2 CPU cores, torch 1.9 and 2.0; 2026-01-01." in study.table(held)
    held["cells"][0] |= {"on": "1 CPU core", "versions": {"jax": "0.1"}}
    assert "1 CPU core and 2 CPU cores, jax 0.1, torch 1.9 and 2.0;" in study.table(held)


# The command line ---------------------------------------------------------------------------------


class Counted:
    """A study that measures nothing, and keeps what it was asked for."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch):
        (root / "docs/studies").mkdir(parents=True)
        (root / "page.md").write_text("<!-- study:made -->\n<!-- end -->\n")
        monkeypatch.setattr(study, "ROOT", root)
        self.asked: list[tuple[str, str, int]] = []
        self.monkeypatch = monkeypatch

    def measure(self, *cell) -> dict[str, float]:
        self.asked.append(cell)
        return {"rank": float(cell[2]), "unasked": 1.0}

    def run(self, *arguments: str, heading: str = "effective rank", version: int = 1) -> list:
        self.monkeypatch.setattr(sys, "argv", ["made.py", *arguments])
        self.asked.clear()
        made = {"name": "made", "page": "page.md", "columns": {"rank": heading}, "seeds": 2}
        made["version"] = version
        study.main(study.Study(settings=("with", "without"), measure=self.measure, **made))
        return sorted(self.asked)


@pytest.fixture
def counted(tmp_path, monkeypatch) -> Counted:
    return Counted(tmp_path, monkeypatch)


def test_a_study_measures_what_it_does_not_know_and_is_asked_for(counted, tmp_path):
    assert counted.run("--only", "with", "--backend", "jax") == [("with", "jax", i) for i in (0, 1)]
    assert counted.run("--only", "with", "--seeds", "1") == [("with", "torch", 0)]
    assert len(counted.run()) == 8 - 3
    assert counted.run() == []
    assert len(counted.run("--again")) == 8
    assert counted.run("--draw", heading="dimensions") == []
    held = json.loads((tmp_path / "docs/studies/made.json").read_text())
    assert held["columns"] == {"rank": "dimensions"}
    assert [c["values"] for c in held["cells"][:2]] == [{"rank": 0.0}, {"rank": 1.0}]
    page = (tmp_path / "page.md").read_text()
    assert page == study.placed(page, held)
    assert "| without | jax | 2 | 0.5 ± 6.4 |" in page


def test_what_was_measured_otherwise_is_measured_anew(counted, tmp_path):
    counted.run()
    assert len(counted.run("--only", "with", version=2)) == 4
    held = json.loads((tmp_path / "docs/studies/made.json").read_text())
    assert {(c["setting"], c["version"]) for c in held["cells"]} == {("with", 2)}
    assert counted.run("--only", "with", version=2) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "wiht"], "--only 'wiht' is none of 'with', 'without'"),
        (["--only", "with", "--backend", "Torch"], "--backend 'Torch' is none of 'torch', 'jax'"),
    ],
)
def test_a_setting_or_backend_that_is_not_there_is_refused(arguments, said, counted, capsys):
    with pytest.raises(SystemExit):
        counted.run(*arguments)
    assert said in capsys.readouterr().err
    assert not counted.asked


# What the scripts measure with --------------------------------------------------------------------


def walked(z: list[float], lengths: list[int], actions: list[int]) -> Trajectories:
    """Frames of one pixel."""
    return Trajectories(
        frames=np.array(z, np.float32)[:, None],
        actions=np.array(actions, int),
        pose=np.zeros((len(z), 3)),
        offsets=np.cumsum([0, *lengths]),
        environment="tape",
        action_names=("left", "right", "forward"),
    )


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_linear_r2_is_that_of_the_affine_fit(scale):
    z, z_new = scale * np.array([[0.0], [1.0], [2.0]]), scale * np.array([[3.0], [4.0]])
    x, x_new = (np.array(v).reshape(-1, 1, 1, 1) for v in ([1.0, 3.0, 5.0], [7.0, 11.0]))
    # The fit 2 z + 1 guesses 7 and 9: an error of 4, of a sum of squares of 8.
    assert script("jepa").linear_r2(z, x, z_new, x_new) == pytest.approx(0.5)


def test_the_length_of_a_step_is_relative_to_any_two_frames_and_stays_in_an_episode():
    place, data = script("place"), walked([0, 1, 2, 5], [3, 1], [2, 2])
    assert place.pairs(data).tolist() == [0, 1]
    # Steps of 1 and 1; two frames differ by 2 var = 7 in the mean square.
    assert place.step_length(data, data.frames) == pytest.approx(7**-0.5)


def test_turns_are_the_steps_that_turned():
    place, data = script("place"), walked([0, 1, 3, 7, 5, 8], [4, 2], [0, 2, 1, 1])
    moved, actions = place.turns(data, lambda frames: frames)
    assert moved.tolist() == [[1], [4], [3]]
    assert actions.tolist() == [0, 1, 1]


def test_a_class_is_read_by_the_linear_map_of_the_training_set():
    read = script("place").read_linearly
    x, y = np.array([[-1.0], [-2.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    assert read((x, y), (x, y)) == 1.0
    assert read((x, y), (x, 1 - y)) == 0.0
    assert read((x, y), (x, np.array([0, 1, 1, 1]))) == 0.75
    assert read((100 + 1e-3 * x, y), (100 + 1e-3 * x, y)) == 1.0


def test_frames_are_averaged_by_blocks():
    frames = np.arange(2 * 3 * 16 * 16, dtype=np.uint8).reshape(2, 3, 16, 16)
    small = script("place").averaged(frames)
    assert (small.shape, small.dtype) == ((2, 3, 8, 8), np.uint8)
    assert small[1, 2, 3, 4] == int(frames[1, 2, 6:8, 8:10].mean())


@pytest.mark.parametrize("count", [1, 64, 70])
def test_the_z_of_place_is_the_models(count):
    place = script("place")
    model = lr.compile(place.declared("not trained"), backend="torch")
    frames = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), np.uint8)
    z = model.encode(frames[:, None], "z")[:, 0].detach().numpy()
    np.testing.assert_allclose(place.encoding(model)(frames), z, rtol=0, atol=1e-6)


def test_the_mean_cosine_is_of_any_two_samples():
    # Of two right angles and twice the same: 1/4 (1 + 1 + 0 + 0).
    assert script("seqjepa").mean_cosine(np.array([[3.0, 0.0], [0.0, 2.0]])) == pytest.approx(0.5)
