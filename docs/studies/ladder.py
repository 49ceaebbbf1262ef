"""The tables of docs/ladder.md, exact: `python docs/studies/ladder.py` writes them anew."""

from pathlib import Path

import numpy as np

from latentroles.evaluate.ladder_optima import LadderLoss, optima
from latentroles.evaluate.ladder_walk import number, stationary
from latentroles.words.corridor import corridor

PAGE = Path(__file__).parents[1] / "ladder.md"
CORRIDORS = {
    "two actions, never into a wall": ({}, "moves"),
    "two actions": ({}, "uniform"),
    "and noop": ({"noop": True}, "uniform"),
    "and the last action shown": ({"noop": True, "last_action": True}, "uniform"),
    "noop, momentum, velocity shown": ({"noop": True, "momentum": True}, "uniform"),
}
LOSSES = {
    "inverse dynamics, bits": LadderLoss("inverse dynamics"),
    "action delta": LadderLoss("action delta"),
    "adjacency": LadderLoss("adjacency"),
    "prediction": LadderLoss("prediction"),
    "prediction, 4 steps": LadderLoss("prediction", 4),
    "reconstruction": LadderLoss("reconstruction"),
}


def corridors() -> str:
    """L* at place, observation and history of each loss in each corridor."""
    rows = [["corridor of nine cells", *LOSSES], ["---"] * (1 + len(LOSSES))]
    for name, (parameters, policy) in CORRIDORS.items():
        walk = stationary(corridor(**parameters), policy=policy)
        found = [optima(walk, loss) for loss in LOSSES.values()]
        figures = [[f"{rung[0]:.3g}" for rung in f[:3]] for f in found]
        rows.append([name, *(f[0] if len(set(f)) == 1 else " → ".join(f) for f in figures)])
    return _markdown(rows)


def shortcut() -> str:
    """How many bits of the action a head lacks: one that reads both frames, and one that reads the
    later frame alone, in a ring whose frames show the last action."""
    walk = stationary(corridor(open=True, last_action=True))
    both = optima(walk, LadderLoss("inverse dynamics"))
    later = []
    for classes in walk.classes.values():
        group, first = number(classes[walk.steps.target], walk.steps.word)
        told, joint = classes[walk.steps.target][first], np.bincount(group, walk.steps.weight)
        later.append(-float(joint @ np.log2(joint / np.bincount(told, joint)[told])))
    rows = [
        ["bits of the action that a head lacks", "z of the place", "z of the frame"],
        ["---"] * 3,
        ["it reads z[t] and z[t+1]", *(f"{abs(v[0]):.3g}" for v in both[:2])],
        ["it reads z[t+1] alone", *(f"{abs(v):.3g}" for v in later)],
    ]
    return _markdown(rows)


def page() -> str:
    """The page, with its tables as they are now."""
    text = PAGE.read_text(encoding="utf-8")
    for table in (corridors, shortcut):
        start, end = f"<!-- {table.__name__} -->\n", "<!-- end -->"
        before, found, rest = text.partition(start)
        text = f"{before}{found}{table()}\n{end}{rest.partition(end)[2]}"
    return text


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
