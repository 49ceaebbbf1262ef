"""Which losses keep z a place? Nine objectives, each trained and measured on loops; and none.

`python -m nox -s loops` runs the cells that docs/studies/loops-*.json do not have yet and writes
the tables and the figure of docs/loops.md. Every objective stands beside the same regulariser: it
alone is the null, and what it leaves in z is not the objective's doing. Seeds are paired: the same
seed means the same initial weights, windows and walks.

`--quick` takes one seed of one corridor: minutes, for a look.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from study import ROOT, Study, known, main

import latentroles as lr
from latentroles.data import Trajectories, collect
from latentroles.evaluate.encoders import latent_encoder
from latentroles.evaluate.evaluate import evaluate
from latentroles.evaluate.figure import figure, save
from latentroles.evaluate.ladder import ladder
from latentroles.evaluate.statistics import sign_flip, t_interval
from latentroles.words.corridor import corridor
from latentroles.words.environment import WordError
from latentroles.words.minigrid import dynamic_obstacles, four_rooms
from latentroles_specs.hzp import hzp

NULL, UNTRAINED = "regulariser only", "untrained"
# Objective -> the rules that it breaks or strains on z, which are allowed here: that is the point.
OBJECTIVES: dict[str, tuple[str, ...]] = {
    NULL: (),
    UNTRAINED: (),
    "reconstruction": ("observation-sufficiency",),
    "inverse dynamics": ("action-identity",),
    "action delta": ("action-identity", "action-additivity"),
    "temporal adjacency": ("temporal-adjacency",),
    "rollout": ("open-loop-rollout",),
    "JEPA, live": ("conditioned-prediction",),
    "JEPA, stopped": (),
    "hzp": (),
}
COLUMNS = {
    "r1_hard": "hard R@1",
    "r1_hard_chance": "chance",
    "lcr_unlike": "LCR, unlike frames",
    "w": "W",
    "leak": "leak of the action, bits",
    "leak_control": "permuted",
    "rank": "rank",
}
HORIZON = 3


def model(objective: str, frame: tuple[int, ...], actions: int, dim: int) -> lr.Spec:
    """A place latent under a regulariser and one objective; or `hzp`, as it ships."""
    if objective == "hzp":
        return hzp(frame=frame, actions=actions, dim=dim, horizon=HORIZON)  # type: ignore[arg-type]
    s = lr.Spec("loops")
    x = s.observation("x", frame)
    a = s.action("a", lr.Discrete(actions))
    action = a.one_hot()
    z = s.latent("z", s.module("encoder", lr.nn.conv_encoder(frame, dim))(x), role=lr.PLACE)
    s.loss("regulariser", lr.losses.vicreg(z))
    now, later, mse = z.t[:-1], z.t[1:], lr.losses.mse
    match objective:
        case "reconstruction":
            decoder = s.module("decoder", lr.nn.conv_decoder(dim, frame))
            loss = mse(decoder(z), x)
        case "inverse dynamics":
            head = s.module("head", lr.nn.mlp(2 * dim, actions))
            loss = lr.losses.cross_entropy(head(lr.concat(now, later)), a)
        case "action delta":
            loss = mse(later - now, s.module("delta", lr.nn.linear(actions, dim))(action))
        case "temporal adjacency":
            loss = mse(later, now)
        case "rollout":
            predictor = s.module("predictor", lr.nn.mlp(dim + actions, dim))
            imagined = lr.rollout(
                lambda z_t, a_t: predictor(lr.concat(z_t, a_t)),
                start=z.t[:-HORIZON],
                xs=action,
                horizon=HORIZON,
            )
            loss = mse(imagined, z.t[1:].windows(HORIZON).stop())
        case "JEPA, live" | "JEPA, stopped":
            predictor = s.module("predictor", lr.nn.mlp(dim + actions, dim))
            read = now.stop() if objective == "JEPA, stopped" else now
            loss = mse(predictor(lr.concat(read, action)), later.stop())
        case _:
            return s
    s.loss("objective", loss, weight=WEIGHTS.get(objective, 1.0))
    for rule in OBJECTIVES[objective]:
        s.allow(rule, loss="objective", latent="z", because="what it does to z is measured here")
    return s


# Where one squared difference is small beside the regulariser's 25, it would do nothing.
WEIGHTS = {"reconstruction": 25.0, "temporal adjacency": 5.0, "action delta": 5.0}


def _corridor(**options: bool | int) -> Callable[[], Any]:
    return lambda: corridor(pixels=True, **options)  # type: ignore[arg-type]


# Name -> how to make it, dim of z, optimiser steps, episodes and their length.
ENVIRONMENTS: dict[str, tuple[Callable[[], Any], int, int, int, int]] = {
    "ring": (_corridor(open=True, last_action=True, phases=3), 4, 400, 64, 48),
    "walls": (_corridor(noop=True, momentum=True, last_action=True), 4, 400, 64, 48),
    "fourrooms": (four_rooms, 32, 300, 32, 96),
    "obstacles": (dynamic_obstacles, 32, 300, 32, 96),
}


_FOLDER = tempfile.TemporaryDirectory()


@cache
def _walks(name: str, seed: int) -> Trajectories:
    """Walks to train on."""
    make, _, _, episodes, steps = ENVIRONMENTS[name]
    path = Path(_FOLDER.name) / f"{name}-{seed}.h5"
    return collect(make(), path, episodes=episodes, steps=steps, seed=seed)


def _trained(
    spec: lr.Spec, walks: Trajectories, backend: str, seed: int, steps: int, batch: int
) -> Any:
    """The model after some steps."""
    with tempfile.TemporaryDirectory() as folder:
        return lr.train(
            spec,
            walks,
            backend=backend,
            steps=steps,
            batch=batch,
            frames=8,
            seed=seed,
            out=Path(folder) / "run",
            # No clipping: one norm for all modules would let a stopped loss move the encoder.
            optimisers={"default": lr.adamw(1e-3, weight_decay=1e-4)},
            display=False,
        ).model


def measure(name: str) -> Callable[[str, str, int], dict[str, float]]:
    """What a study of an environment measures: trains, and takes the metrics of walks not seen."""

    def measured(objective: str, backend: str, seed: int) -> dict[str, float]:
        make, dim, steps, episodes, length = ENVIRONMENTS[name]
        environment = make()
        walks = _walks(name, seed)
        spec = model(objective, tuple(walks.frames.shape[1:]), len(environment.actions), dim)
        if objective == UNTRAINED:
            trained = lr.compile(spec, backend=backend, seed=seed)
        else:
            trained = _trained(spec, walks, backend, seed, steps, 32 if dim < 8 else 16)
        encode, _ = latent_encoder(trained, "z")
        found = evaluate(
            encode,
            environment,
            episodes=episodes,
            steps=length,
            seed=1000 + seed,
            lags=(1,),
            standard_controls=False,
        )
        values = {k: float("nan") if v is None else v for k, v in found.seeds[0].values.items()}
        return {
            **values,
            "leak": values["leak_a1_noisy"],
            "leak_control": values["leak_a1_noisy_permuted"],
        }

    return measured


# (environment, backend): how many seeds.
PLAN = {
    ("ring", "torch"): 6,
    ("walls", "torch"): 6,
    ("ring", "jax"): 6,
    ("fourrooms", "torch"): 3,
    ("obstacles", "torch"): 3,
}
STUDIES = {
    (environment, backend): Study(
        name=f"loops-{environment}-{backend}",
        page="docs/loops.md",
        settings=tuple(OBJECTIVES),
        columns=COLUMNS,
        measure=measure(environment),
        backends=(backend,),
        seeds=seeds,
        version=2,  # leaks are read by another probe than before
    )
    for (environment, backend), seeds in PLAN.items()
}
SUMMARY = ("<!-- summary -->", "<!-- end of summary -->")


def cells(study: Study, objective: str) -> dict[int, dict[str, float]]:
    """seed -> what was measured."""
    return {c["seed"]: c["values"] for c in known(study)["cells"] if c["setting"] == objective}


def against_null(study: Study, objective: str, column: str) -> str:
    """The mean over seeds of what an objective changes, half a 95 % t-interval, and p."""
    ours, null = cells(study, objective), cells(study, NULL)
    pairs = [(ours[seed][column], null[seed][column]) for seed in sorted(ours.keys() & null.keys())]
    changes = [a - b for a, b in pairs if a is not None and b is not None]
    if len(changes) < 2:
        return "-"
    over = t_interval(changes)
    half = (over.high - over.low) / 2
    p = f", p = {sign_flip(changes):.2g}" if len(changes) >= 6 else ""
    return f"{over.mean:+.2g} ± {half:.2g}{p}"


def said_before(environment: str, objective: str) -> tuple[str, str]:
    """What the rules say of an objective, and the gap of its ladder, without training."""
    make, dim, *_ = ENVIRONMENTS[environment]
    world = make()
    world.reset(seed=0)
    frame, actions = tuple(np.shape(world.frame())), len(world.actions)
    spec = model(objective, frame, actions, dim)
    if objective == "hzp":
        return "recon allowed, the rest isolated", "-"
    if objective == UNTRAINED:
        return "-", "-"
    report = lr.check(spec)
    rule = ", ".join(sorted(report.verdicts["objective"]["z"])) or "no rule"
    try:
        rows = [row for row in ladder(spec, world).rows if row.loss == "objective"]
    except WordError:
        return rule, "not finite"
    gaps = [f"{row.optima.gap:.3f}" for row in rows if row.optima is not None]
    return rule, gaps[0] if gaps else "-"


def summary() -> str:
    """Each objective's rule, ladder and measurement, against the regulariser alone."""
    lines = []
    for (environment, backend), study in STUDIES.items():
        if not known(study)["cells"]:
            continue
        lines += [
            f"### {environment} on {backend}",
            "",
            "| objective | rule on z | ladder gap | hard R@1 | LCR, unlike frames | "
            "leak of the action, bits |",
            "|---|---|---|---|---|---|",
        ]
        for objective in list(OBJECTIVES)[1:]:
            rule, gap = said_before(environment, objective)
            changes = [against_null(study, objective, c) for c in ("r1_hard", "lcr_unlike", "leak")]
            lines.append("| " + " | ".join([objective, rule, gap, *changes]) + " |")
        lines.append("")
    return "\n".join(lines)


def draw() -> None:
    """The figure: what each seed of each objective measured."""
    shown = {
        "r1_hard": "hard R@1 (more is better)",
        "lcr_unlike": "LCR (less)",
        "leak": "leak, bits",
    }
    held = {k: s for k, s in STUDIES.items() if known(s)["cells"]}
    if not held:
        return
    drawn = figure(3.3 * len(shown) + 1, 2.3 * len(held), layout="constrained")
    axes = drawn.subplots(len(held), len(shown), squeeze=False)
    names = list(OBJECTIVES)
    for line, ((environment, backend), study) in zip(axes, held.items(), strict=True):
        for panel, (column, title) in zip(line, shown.items(), strict=True):
            for y, objective in enumerate(names):
                values = [v[column] for v in cells(study, objective).values()]
                values = [v for v in values if v is not None]
                colour = "#8a8a8a" if objective == NULL else "#1f5fa8"
                panel.plot(values, [y] * len(values), "o", ms=3.5, alpha=0.6, color=colour)
            null = [v[column] for v in cells(study, NULL).values() if v[column] is not None]
            if null:
                panel.axvline(float(np.mean(null)), color="#8a8a8a", linewidth=0.7, linestyle=":")
            panel.set_yticks(range(len(names)), names if column == "r1_hard" else [""] * len(names))
            panel.invert_yaxis()
            panel.tick_params(labelsize=7)
            panel.set_title(f"{environment}, {backend}: {title}", fontsize=7.5, loc="left")
    save(drawn, ROOT / "docs/images/loops.png")


def quick() -> None:
    """One seed of one corridor, printed: for a look."""
    for objective in OBJECTIVES:
        found = measure("walls")(objective, "torch", 0)
        shown = ", ".join(f"{title} {found[c]:.3g}" for c, title in COLUMNS.items())
        print(f"{objective}: {shown}", flush=True)


if __name__ == "__main__":
    if "--quick" in sys.argv[1:]:
        quick()
    else:
        main(*STUDIES.values())
        page = ROOT / "docs/loops.md"
        before, found, rest = page.read_text().partition(SUMMARY[0])
        _, closed, after = rest.partition(SUMMARY[1])
        if not found or not closed:
            raise SystemExit(f"{page.name} has no lines {SUMMARY[0]} and {SUMMARY[1]}: write them.")
        page.write_text(f"{before}{SUMMARY[0]}\n{summary()}{SUMMARY[1]}{after}")
        draw()
