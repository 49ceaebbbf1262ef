"""The responsibility table: which loss makes of which latent what, in the words of the check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import LatentrolesError
from ..routes.table import aligned
from ..spec.array_functions import array_function
from ..spec.expr import Expr
from ..spec.spec import Spec
from ..spec.walk import postorder
from .catalogue import CATALOGUE
from .check import check
from .finding import ISOLATED, Report
from .tiny import ROLES, Tiny


@dataclass(frozen=True)
class Responsibility:
    """One line: a loss on its latents.

    Args:
        definition: in one line; "" where a spec declares it.
        algebra: what the array functions below it declare: kind, couples, prevents_collapse; of a
            loss that cannot be declared, why.
        updates: the modules that it updates.
        rewards: latent -> what the check says of it there, with the severity of what it finds.
        weight: as a spec declares it; "" in the catalogue.
    """

    loss: str
    definition: str
    algebra: str
    updates: tuple[str, ...]
    rewards: Mapping[str, str]
    weight: str = ""


def catalogue() -> list[Responsibility]:
    """Each loss of the catalogue on a live latent of each role.

    `updates` names the modules that make the latent "latent".
    """
    return [_in_catalogue(name) for name in CATALOGUE]


def _in_catalogue(name: str) -> Responsibility:
    rewards: dict[str, str] = {}
    updates: dict[str, None] = {}
    declared = ""
    for role in ROLES:
        tiny = Tiny(role)
        loss = CATALOGUE[name](tiny)
        tiny.s.loss(name, loss)
        report = check(tiny.s)
        reached, declared = report.routes[name].modules, algebra(loss)
        heads = [m for m in tiny.s.modules if m in reached - tiny.makers]
        updates |= dict.fromkeys([*["latent"] * bool(reached & tiny.makers), *heads])
        rewards[role.name] = _said(report, name, "u", alone=True)
    return Responsibility(name, CATALOGUE[name].__doc__ or "", declared, tuple(updates), rewards)


def of_spec(
    declare: Callable[[Mapping[str, Any]], Spec],
    parameters: Mapping[str, Any],
    weights: Iterable[str] = (),
) -> list[Responsibility]:
    """Each loss of a spec as it is declared, then those that it leaves off.

    Args:
        declare: keyword arguments of the spec's function -> the spec.
        parameters: such arguments.
        weights: the arguments that may be weights of losses of their name, and are 0. Each of
            them is turned on, beside the losses that are on; what is no weight is passed over.
    """
    lines = _of(declare(parameters))
    for name in weights:
        spec = _turned_on(declare, parameters, name)
        if isinstance(spec, LatentrolesError):
            lines[name] = Responsibility(name, "", f"cannot be declared: {spec}", (), {}, "0")
        elif name in spec.losses and name not in lines:
            lines[name] = replace(_of(spec)[name], weight="0")
    return list(lines.values())


def _turned_on(
    declare: Callable[[Mapping[str, Any]], Spec], parameters: Mapping[str, Any], name: str
) -> Spec | LatentrolesError:
    """The spec with the argument at 1; or at 1/2 where 1 is refused, as it is of a rate."""
    try:
        return declare({**parameters, name: 1.0})
    except LatentrolesError as refused:
        try:
            return declare({**parameters, name: 0.5})
        except LatentrolesError:
            return refused


def _of(spec: Spec) -> dict[str, Responsibility]:
    report = check(spec)
    return {
        name: Responsibility(
            name,
            "",
            algebra(loss.expr),
            tuple(m for m in spec.modules if m in report.routes[name].modules),
            {latent: _said(report, name, latent) for latent in spec.latents},
            weight=f"{loss.weight:g}" if isinstance(loss.weight, float) else "scheduled",
        )
        for name, loss in spec.losses.items()
    }


def algebra(loss: Expr) -> str:
    """The array functions of a loss with what they declare: their kind, and whether they couple the
    entries of the batch and prevent collapse."""
    found: dict[str, None] = {}
    for e in postorder(loss):
        function = array_function(e.attrs[0]) if e.kind == "call" else None
        if function is not None and function.kind != "array":
            couples = ", couples" * function.couples
            prevents = ", prevents collapse" * function.prevents_collapse
            found[f"{function.name}: {function.kind}{couples}{prevents}"] = None
    return "; ".join(found)


def _said(report: Report, loss: str, latent: str, *, alone: bool = False) -> str:
    """The pressures on a latent, each with the severity that its role gives it.

    Args:
        alone: whether the loss is the only one, so that what its latent lacks is its fault.
    """
    every = (*report.findings, *report.allowed)
    own = [f for f in every if f.loss == loss and f.subject in (latent, None)]
    levels = {f.rule: "allowed" if f.because else f.severity for f in own}
    said = report.verdicts[loss][latent]
    if said == ISOLATED:
        return "isolated"
    words = [f"{slug} ({levels[slug]})" if slug in levels else slug for slug in sorted(said)]
    words += ["vacuous-loss (error)"] * ("vacuous-loss" in levels)
    lacking = (f for f in report.warnings if (f.rule, f.subject) == ("requirement-unmet", latent))
    words += [f"{f.rule} ({f.severity})" for f in lacking if alone]
    return ", ".join(words) or "live"


def table(lines: Sequence[Responsibility]) -> str:
    """The lines as columns of text."""
    return "\n".join(aligned([*_rows(lines)]))


def markdown(lines: Sequence[Responsibility]) -> str:
    """The lines as a Markdown table."""
    head, *rows = _rows(lines)
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    named = [[f"`{row[0]}`", *row[1:]] for row in cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *named])


def _rows(lines: Sequence[Responsibility]) -> Iterator[list[str]]:
    """The head and the rows: without definitions, or without weights, where there are none."""
    latents = dict.fromkeys(z for line in lines for z in line.rewards)
    columns: dict[str, Callable[[Responsibility], str]] = {
        "loss": lambda line: line.loss,
        "weight": lambda line: line.weight,
        "definition": lambda line: line.definition,
        "declared": lambda line: line.algebra,
        "updates": lambda line: ", ".join(line.updates),
        **{f"on {z}": lambda line, z=z: line.rewards.get(z, "") for z in latents},
    }
    told = {name: cell for name, cell in columns.items() if any(map(cell, lines))}
    yield list(told)
    yield from ([cell(line) for cell in told.values()] for line in lines)


def page() -> str:
    """The catalogue as a Markdown page; docs/losses.md is it."""
    return "\n\n".join(
        [
            "# Losses",
            "Which loss makes of which latent what. Each line is one loss in the smallest model "
            "that it makes sense in, on a live latent u of five roles: PLACE and EQUIVARIANT "
            "are encoder(x_t), DYNAMICS a recurrent state of frames and actions, POSE a sum of "
            "moves that are computed from both; its u_{t+1} - u_t are those moves; AGGREGATE a "
            "summary of two frames and the action between them. DESCRIPTOR has the contract of "
            "PLACE. sg is a stop, D the mean squared error, K the horizon, u^ what a rollout "
            "imagines, u' what EMA targets of the latent's modules make.",
            "- **declared**: its array function, of which kind it is, whether it *couples* the "
            "entries of the batch, and whether a constant latent scores badly in it. The rules see "
            "this of it, and the expressions around it.\n"
            "- **updates**: what it moves; *latent* are the modules that make u. Where "
            "the gradient into u is stopped, what is left of the line is its heads. A target "
            "passes no gradient either: `jepa_ema_target` is to u what `jepa` is.\n"
            "- **on ...**: what `lr.check` says of that latent: the pressures that the loss puts "
            "on it, each with the severity that the role's contract gives it, if any; "
            "*live* where gradient arrives and no rule has a word on it; *isolated* where none "
            "arrives. `requirement-unmet`: with this loss alone the latent may collapse. "
            "[rules.md](rules.md) explains each.",
            markdown(catalogue()),
            "The functions are in `lr.losses`; `latentroles losses SPEC` prints the same of the "
            "losses of a spec, those of weight 0 too. This page is written by "
            "`latentroles losses --markdown`.",
        ]
    )
