"""The report of a run: one HTML file that needs nothing else."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from latentroles.arguments import boolean
from latentroles.errors import LatentrolesError, PluginError
from latentroles.evaluate import curves
from latentroles.evaluate.encoders import latent_encoder
from latentroles.evaluate.evaluate import evaluated
from latentroles.evaluate.runs import own_data, place_latent, unfinished, untrained
from latentroles.evaluate.settings import Settings
from latentroles.files import replace_files
from latentroles.routes import routes
from latentroles.rules import check
from latentroles.spec import Spec
from latentroles.train import checkpoint, load, metrics
from latentroles.train.run import read_run, spec_of

from . import figures, loops
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


def write_report(
    folder: Path,
    path: Path | None = None,
    *,
    data: Any = None,
    latent: str | None = None,
    display: bool = True,
    **settings: Any,
) -> Path:
    """Writes the report of a run folder, `report.html` in it unless `path` says otherwise.

    Args:
        data: what loops are measured on, as `lr.evaluate` takes it; by default what the run held
            out, or else trained on.
        latent: which is measured; by default the first with the role PLACE.
        display: whether to show at a terminal what is being measured.
        settings: how, as for `lr.evaluate`: those of `Settings`, such as margin=0.05.

    Raises:
        SpecError: a setting means nothing; said before anything is read.
        CheckpointError: there is no run in the folder, or a file of it is damaged.
        PluginError: jinja2 or matplotlib is not installed.
        LatentrolesError: the page cannot be written.
    """
    path = path or folder / REPORT
    display, how = boolean("write_report()", "display", display), Settings(**settings)
    page = render(folder, data, latent, how, display)
    try:
        replace_files({path: page.encode()})
    except OSError as error:
        raise LatentrolesError(
            f"{path} could not be written: {error.strerror or error}. Give --out FILE."
        ) from error
    return path


def render(folder: Path, data: Any, latent: str | None, how: Settings, display: bool) -> str:
    """The page of a run folder as HTML; arguments as for `write_report`."""
    run, spec = read_run(folder), spec_of(folder)
    rows = metrics.read(folder / metrics.METRICS)
    if (folder / checkpoint.TENSORS).exists():
        checkpoint.load(folder)  # a damaged one is an error, not a page without loops
    report, table = check(spec), routes(spec)
    measured = [
        _loops(folder, spec, data, latent, how, display),
        _pictures(folder),
        _collapse(rows),
    ]
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


def _loops(
    folder: Path, spec: Spec, data: Any, latent: str | None, how: Settings, display: bool
) -> Section:
    """What z does on loops; where that cannot be measured, why."""
    try:
        chosen = latent or place_latent(spec, folder)
        where, remarks = own_data(folder) if data is None else (data, unfinished(folder))
        encode, reads = latent_encoder(load(folder), chosen)
        before, _ = latent_encoder(untrained(folder, None), chosen)
        control = {"untrained": before}
        found, source, (z,) = evaluated(
            [encode], where, how, reads=reads, controls=control, name=chosen, display=display
        )
    except LatentrolesError as error:
        if data is not None or latent is not None or how.changed:
            raise
        return Section("loops", "Loops", [f"<p>Not measured: {escape(str(error))}</p>"])
    found = replace(found, remarks=(*remarks, *found.remarks))
    return Section("loops", "Loops", loops.blocks(found, source, z, how))


def _pictures(folder: Path) -> Section:
    """The frames that the model made at the end of a phase."""
    found = sorted(folder.glob("pictures*.png"))
    blocks = [
        f'<figure><img src="data:image/png;base64,{b64encode(path.read_bytes()).decode()}" '
        f'alt="{escape(path.stem)}"></figure>'
        for path in found
    ]
    return Section("pictures", "Pictures", blocks)


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
