"""The tables of the studies in docs/ are those of the measured cells, and no cell is missing."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("study", ROOT / "docs/studies/study.py")
study = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(study)

RECORDS = sorted((ROOT / "docs/studies").glob("*.json"))


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


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.stem)
def test_a_page_shows_what_was_measured(path):
    held = json.loads(path.read_text())
    page = (ROOT / held["page"]).read_text()
    assert study.placed(page, held) == page, f"python docs/studies/{path.stem}.py --draw"


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.stem)
def test_every_row_has_at_least_three_seeds(path):
    held = json.loads(path.read_text())
    for row in held["rows"]:
        seeds = {c["seed"] for c in held["cells"] if [c["setting"], c["backend"]] == row}
        assert len(seeds) >= 3, (path.stem, row, seeds)


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
