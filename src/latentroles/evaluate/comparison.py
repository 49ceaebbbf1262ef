"""Runs side by side: what they differ in, and where they ended."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentroles.errors import SpecError
from latentroles.routes.table import aligned
from latentroles.rules import diff
from latentroles.train import metrics
from latentroles.train.run import Run, read_run, spec_of

FORMAT = "latentroles-comparison/1"
_SETTINGS = (
    *("spec", "spec_hash", "backend", "dtype", "seed", "steps", "status", "device"),
    *("optimisers", "groups", "early_stopping", "phases", "data", "validation"),
)


@dataclass(frozen=True)
class Comparison:
    """Several runs, in the order in which they were given.

    Attributes:
        names: of their folders, shortened to what tells them apart.
        settings: setting -> its value in each run; those alone that differ, such as
            `optimisers.default.rate`.
        groups: heading ("losses", "held out", "measures") -> name -> the value in each run, None
            where a run does not have it, or it was no number.
        specs: what the spec of each later run changes in that of the first, "" where nothing.
    """

    names: tuple[str, ...]
    settings: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, Mapping[str, tuple[float | None, ...]]]
    specs: tuple[str, ...]

    def table(self) -> str:
        """For the terminal."""
        rows = [["", *self.names]]
        rows += [[name, *values] for name, values in self.settings.items()]
        lines = aligned(rows)
        for heading, values in self.groups.items():
            if values:
                rows = [[name, *map(_number, found)] for name, found in values.items()]
                lines += ["", *aligned([[heading, *self.names], *rows])]
        for name, change in zip(self.names[1:], self.specs, strict=True):
            if change:
                lines += ["", f"from the spec of {self.names[0]} to that of {name}:", change]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return {
            "format": FORMAT,
            "runs": list(self.names),
            "settings": {name: list(values) for name, values in self.settings.items()},
            **{
                heading.replace(" ", "_"): {name: list(found) for name, found in values.items()}
                for heading, values in self.groups.items()
            },
            "specs": list(self.specs),
        }


def compare(folders: Sequence[Path]) -> Comparison:
    """Reads run folders and sets them side by side.

    Losses are the means of the last few logged steps, as at the end of `latentroles train`; "held
    out" is the last validation.

    Raises:
        SpecError: fewer than two folders, or one twice.
        CheckpointError: there is no run in a folder, or a file of it is damaged.
    """
    folders = [Path(folder) for folder in folders]
    resolved = [folder.resolve() for folder in folders]
    if len(folders) < 2 or len(set(resolved)) < len(resolved):
        raise SpecError(
            f"compare takes two or more different runs, got {', '.join(map(str, folders))}."
        )
    runs = [read_run(folder) for folder in folders]
    rows = [metrics.read(folder / metrics.METRICS) for folder in folders]
    specs = [spec_of(folder) for folder in folders]
    return Comparison(
        names=_short(resolved),
        settings=_differing(runs),
        groups={
            "losses": _side_by_side([metrics.ends(r)[1] if r else {} for r in rows]),
            "held out": _side_by_side([metrics.last_validation(r) if r else {} for r in rows]),
            "measures": _side_by_side([metrics.last_measures(r) if r else {} for r in rows]),
        },
        specs=tuple(
            "" if spec.hash == specs[0].hash else str(diff(specs[0], spec)) for spec in specs[1:]
        ),
    )


def _short(folders: Sequence[Path]) -> tuple[str, ...]:
    """The last parts of the paths, as many as tell them apart."""
    for count in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(map(str, folders))


def _differing(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """What is not the same in all runs: settings, those within others dotted, and versions."""
    found = [dict(p for name in _SETTINGS for p in _flat(name, getattr(run, name))) for run in runs]
    for run, own in zip(runs, found, strict=True):
        own |= {**run.versions, "seconds": f"{sum(run.stages.values()):.0f}"}
    names = dict.fromkeys(name for own in found for name in own)
    rows = {name: tuple(_said(own.get(name, "-")) for own in found) for name in names}
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, entry in value.items():
        yield from _flat(f"{name}.{key}", entry)


def _side_by_side(
    found: Sequence[Mapping[str, float]],
) -> dict[str, tuple[float | None, ...]]:
    names = dict.fromkeys(name for values in found for name in values)
    return {name: tuple(_finite(values.get(name)) for values in found) for name in names}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _said(value: Any) -> str:
    return "default" if value is None else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
