"""The report of a run: one HTML file that needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentroles.errors import LatentrolesError, PluginError
from latentroles.evaluate import curves
from latentroles.files import replace_files
from latentroles.routes import routes
from latentroles.rules import check
from latentroles.spec import Spec
from latentroles.train import metrics
from latentroles.train.run import read_run, read_spec

from . import figures
from .routemap import route_map

REPORT = "report.html"
_TEMPLATE = "page.html.jinja"


@dataclass(frozen=True)
class Section:
    """A part of the page below the curves.

    Attributes:
        id, heading: of the section.
        blocks: pieces of HTML that are safe as they are.
    """

    id: str
    heading: str
    blocks: Sequence[str]


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Writes the report of a run folder, `report.html` in it unless `path` says otherwise.

    Raises:
        CheckpointError: there is no run in the folder, or a file of it is damaged.
        PluginError: jinja2 or matplotlib is not installed.
        LatentrolesError: the page cannot be written.
    """
    path = path or folder / REPORT
    page = render(folder)
    try:
        replace_files({path: page.encode()})
    except OSError as error:
        raise LatentrolesError(
            f"{path} could not be written: {error.strerror or error}. Give --out FILE."
        ) from error
    return path


def render(folder: Path) -> str:
    """The page of a run folder as HTML."""
    run, spec = read_run(folder), Spec.from_json(read_spec(folder))
    rows = metrics.read(folder / metrics.METRICS)
    report, table = check(spec), routes(spec)
    measured = [_collapse(rows)]
    sections = [
        ("routes", "Routes"),
        ("findings", "Findings"),
        ("curves", "Learning curves"),
        *((s.id, s.heading) for s in measured if s.blocks),
        ("environment", "Environment"),
    ]
    return _template().render(
        title=f"{spec.name} on {run.backend}",
        spec=spec,
        run=run,
        steps=rows[-1]["step"] + 1 if rows else 0,
        notes=[text for row in rows for text in row.get("warnings", ())],
        sections=sections,
        map=route_map(spec),
        routes=[table[name] for name in table],
        findings=report.findings,
        allowed=[(finding, finding.because) for finding in report.allowed],
        curves=_curves(rows, spec.name),
        measured=[s for s in measured if s.blocks],
        environment=_environment(run),
    )


def _curves(rows: Sequence[dict[str, Any]], title: str) -> str:
    if not rows:
        return ""
    return figures.svg(curves.chart(rows, title=title, last=metrics.ends(rows)[1]))


def _collapse(rows: Sequence[dict[str, Any]]) -> Section:
    """Rank and deviation of each latent while it was trained."""
    drawn = figures.collapse(rows)
    blocks = []
    if drawn:
        blocks.append(
            f"<figure>{drawn}<figcaption>Effective rank and mean standard deviation per dimension "
            "of each latent that was trained, as the run measured them.</figcaption></figure>"
        )
    return Section("collapse", "Collapse", blocks)


def _environment(run: Any) -> list[tuple[str, str]]:
    data = {k: v for k, v in run.data.items() if not isinstance(v, dict)}
    return [
        *((name, version) for name, version in run.versions.items()),
        ("device", run.device or "the backend's choice"),
        *((f"data: {name}", str(value)) for name, value in data.items()),
        *((f"seconds: {name}", f"{seconds:.1f}") for name, seconds in run.stages.items()),
    ]


def _template() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise PluginError(
            f"A report needs jinja2, which cannot be imported ({error}). "
            "Install it: pip install 'latentroles[report]'"
        ) from error
    loader = PackageLoader("latentroles.evaluate.report", ".")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE)
