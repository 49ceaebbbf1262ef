"""A study: one small training for each setting, backend and seed, and a table of what was measured.

    # docs/studies/mine.py
    from study import Study, main

    def measure(setting: str, backend: str, seed: int) -> dict[str, float]:
        ...                                  # train, and return what the columns name

    MINE = Study(
        name="mine",
        page="docs/systems/mine.md",         # has the lines <!-- study:mine --> and <!-- end -->
        settings=("with", "without"),
        columns={"rank": "effective rank", "std": "std per dimension"},
        measure=measure,
    )

    if __name__ == "__main__":
        main(MINE)

`python docs/studies/mine.py` runs the cells that docs/studies/mine.json does not have yet, keeps
each as soon as it is measured, and writes the table of all cells between the two lines of the page.
`--only SETTING`, `--backend NAME` and `--seeds N` run some of them; `--again` measures anew;
`--draw` measures nothing: it writes the table anew, and the JSON's headings.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("numpy", "torch", "jax")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is measured, and where it is written.

    Attributes:
        name: of the JSON file beside this one, and of the place in the page.
        page: the Markdown file, from the repository's root.
        settings: what is compared, in the order of the table.
        columns: measured quantity -> heading.
        measure: (setting, backend, seed) -> quantity -> number; NaN where there is none.
        backends, seeds: each setting is measured with each backend and each of so many seeds.
        version: of what the columns mean; cells of another are as if they had not been measured.
    """

    name: str
    page: str
    settings: Sequence[str]
    columns: Mapping[str, str]
    measure: Callable[[str, str, int], Mapping[str, float]]
    backends: Sequence[str] = ("torch", "jax")
    seeds: int = 3
    version: int = 1


def main(*studies: Study) -> None:
    """The command line of a study's script."""
    parser = argparse.ArgumentParser(description="Runs a study and writes its table.")
    parser.add_argument("--study", choices=[s.name for s in studies], help="default: every one")
    parser.add_argument("--only", action="append", metavar="SETTING")
    parser.add_argument("--backend", action="append")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N - 1")
    parser.add_argument("--again", action="store_true", help="measure cells that are known, too")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    chosen = [s for s in studies if arguments.study in (None, s.name)]
    _refuse_unknown(parser, "--only", arguments.only, [x for s in chosen for x in s.settings])
    _refuse_unknown(parser, "--backend", arguments.backend, [x for s in chosen for x in s.backends])
    for study in chosen:
        if not arguments.draw:
            run(study, arguments)
        record = known(study)
        if record["cells"]:
            _store(record)  # with the settings and headings of now
        write_table(record)


def _refuse_unknown(
    parser: argparse.ArgumentParser, option: str, given: Sequence[str] | None, there: Sequence[str]
) -> None:
    for name in given or ():
        if name not in there:
            known = ", ".join(map(repr, dict.fromkeys(there)))
            parser.error(f"{option} {name!r} is none of {known}")


def run(study: Study, arguments: argparse.Namespace) -> None:
    """Measures the cells that are asked for, and keeps each in the JSON file."""
    for seed in range(arguments.seeds or study.seeds):
        for setting in study.settings:
            for backend in study.backends:
                if setting not in (arguments.only or study.settings):
                    continue
                if backend not in (arguments.backend or study.backends):
                    continue
                record = known(study)  # read anew: another process may have added cells
                cell = (setting, backend, seed)
                measured = {(c["setting"], c["backend"], c["seed"]) for c in record["cells"]}
                if cell in measured and not arguments.again:
                    continue
                start = time.perf_counter()
                values = study.measure(*cell)
                seconds = time.perf_counter() - start
                print(f"{study.name}: {setting}, {backend}, seed {seed}: {seconds:.0f} s {values}")
                keep(study, cell, {k: float(values[k]) for k in study.columns}, seconds)


def known(study: Study) -> dict[str, Any]:
    """What the JSON file holds, with the study as it is declared now."""
    path = ROOT / "docs/studies" / f"{study.name}.json"
    record = json.loads(path.read_text()) if path.exists() else {"cells": []}
    return {
        "name": study.name,
        "page": study.page,
        "columns": dict(study.columns),
        "rows": [[s, b] for s in study.settings for b in study.backends],
        "cells": [c for c in record["cells"] if c.get("version", 1) == study.version],
    }


def keep(
    study: Study, cell: tuple[str, str, int], values: Mapping[str, float], seconds: float
) -> None:
    """Adds one measured cell to the JSON file, in place of an older one."""
    record = known(study)
    setting, backend, seed = cell
    versions = {package: metadata.version(package) for package in _PACKAGES}
    new = {
        "setting": setting,
        "backend": backend,
        "seed": seed,
        "version": study.version,
        "values": {k: v if math.isfinite(v) else None for k, v in values.items()},
        "seconds": round(seconds, 1),
        "date": date.today().isoformat(),
        "on": f"{os.cpu_count()} CPU cores, Python {platform.python_version()}",
        "versions": versions,
    }
    others = [c for c in record["cells"] if (c["setting"], c["backend"], c["seed"]) != cell]
    order = {tuple(row): i for i, row in enumerate(record["rows"])}
    cells = [*others, new]
    cells.sort(key=lambda c: (order.get((c["setting"], c["backend"]), len(order)), c["seed"]))
    _store({**record, "cells": cells})


def _store(record: Mapping[str, Any]) -> None:
    path = ROOT / "docs/studies" / f"{record['name']}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")


def table(record: Mapping[str, Any]) -> str:
    """The Markdown table of a study: mean over seeds, and half of a 95 % t-interval."""
    headings = ["setting", "backend", "seeds", *record["columns"].values()]
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for setting, backend in record["rows"]:
        cells = [
            c["values"]
            for c in record["cells"]
            if (c["setting"], c["backend"]) == (setting, backend)
        ]
        if cells:
            numbers = [_summary([c.get(key) for c in cells]) for key in record["columns"]]
            lines.append("| " + " | ".join([setting, backend, str(len(cells)), *numbers]) + " |")
    dates = sorted({c["date"] for c in record["cells"]})
    if dates:
        machines = _each(c["on"] for c in record["cells"])
        packages = dict.fromkeys(k for c in record["cells"] for k in c["versions"])
        versions = [
            f"{k} {_each(c['versions'][k] for c in record['cells'] if k in c['versions'])}"
            for k in packages
        ]
        where = ", ".join([machines, *versions])
        span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        lines += ["", f"Mean ± half of a 95 % t-interval over seeds. {where}; "]
        lines[-1] += f"{span}. Every cell is in `docs/studies/{record['name']}.json`."
    return "\n".join(lines)


def _each(found: Iterable[str]) -> str:
    return " and ".join(sorted(set(found)))


def _summary(values: Sequence[float | None]) -> str:
    from scipy.stats import t

    numbers = [v for v in values if v is not None]
    if len(numbers) < len(values):
        return "none" if not numbers else f"{statistics.mean(numbers):.3g} (of {len(numbers)})"
    mean = statistics.mean(numbers)
    if len(numbers) < 2:
        return f"{mean:.3g}"
    half = t.ppf(0.975, len(numbers) - 1) * statistics.stdev(numbers) / math.sqrt(len(numbers))
    return f"{mean:.3g} ± {half:.2g}"


def placed(text: str, record: Mapping[str, Any]) -> str:
    """The text of a page with the study's table at its place."""
    begin, end = f"<!-- study:{record['name']} -->", "<!-- end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{record['page']} has no lines {begin} and {end}: write them.")
    return f"{before}{begin}\n{table(record)}\n{end}{after}"


def write_table(record: Mapping[str, Any]) -> None:
    """Writes the table into the page."""
    path = ROOT / record["page"]
    path.write_text(placed(path.read_text(), record))
    print(f"wrote the table of {record['name']} to {record['page']}")
