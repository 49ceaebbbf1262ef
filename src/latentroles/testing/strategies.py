"""Hypothesis strategies: random well-typed Specs, with data for them.

A drawn Program prints as the Python text that declares its Spec, so that a failing example can be
pasted into a file. Only small numbers are drawn and everything follows from them, so that
examples shrink and print short.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..routes.reach import Reach
from ..spec.declarations import Discrete
from ..spec.expr import Expr
from ..spec.spec import Spec
from ..spec.walk import postorder
from .calls import CALLS, LOOPS, again
from .programs import FRAMES, Author

BATCH = 2

_WEIGHTS = (
    "",
    ", weight=0.5",
    ", weight=2.0",
    ", weight=lr.warmup(0.7, 2)",
    ", weight=lr.cosine(1.0, 4, 0.5)",
)
_HEAD = """
s = lr.Spec("random")
x = s.observation("x", {frame})
a = s.action("a", lr.Discrete(2))
b = s.action("b", lr.Box(-1.0, 1.0, (2,)))
y = s.label("y", (2,))
enc = s.module("enc", {encoder})
"""
_VECTORS = {"frame": "(3,)", "encoder": 'lr.nn.mlp(3, 2, hidden=3, activation="tanh")'}
_IMAGES = {"frame": "(1, 4, 4)", "encoder": "lr.nn.conv_encoder((1, 4, 4), 2, channels=(2,))"}
_DECODER = 'dec = s.module("dec", lr.nn.conv_decoder(2, (1, 4, 4), channels=(2,)))'


@dataclass(frozen=True)
class Program:
    """A declaration as text, and the Spec that running it gave, under the name `s`."""

    text: str
    spec: Spec = field(compare=False)

    def __repr__(self) -> str:
        return f"\n# {len(self.text.splitlines())} lines\n{self.text}\n"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # What hypothesis prints of a failing example.
        printer.text(repr(self))


def write(below: Callable[[int], int], *, calls: int = 8, losses: int = 4) -> Program:
    """Writes a Program of at most so many calls and losses.

    Args:
        below: n -> a number in 0..n-1, such as `random.Random(seed).randrange`.
    """
    a = Author(below)
    images = a.rarely(4)
    for line in _HEAD.strip().format(**(_IMAGES if images else _VECTORS)).splitlines():
        a.run(line)
    if images:
        a.run(_DECODER)
    a.data += ["a.one_hot()", "b", "y"]
    a.let("{0}(x)", "enc")
    a.modules.append("enc")
    for i in range(1 + a.below(calls)):
        a.choose(LOOPS if i == 0 and a.below(2) else CALLS)(a)
        if a.below(2):
            again(a)
    # Most of what the losses read are the values of one family: shared, and stopped here and there.
    large = [family for family in a.families if len(family) > 1]
    popular = a.choose(large[::-1] if large and a.below(4) else a.families[::-1])
    said: list[str] = []
    for i in range(1 + max(a.below(losses), a.below(losses))):
        _loss(a, f"l{i + 1}", popular, images, said)
    _finish(a)
    return Program("\n".join(a.lines), a.names["s"])


@st.composite
def programs(draw: st.DrawFn, *, calls: int = 8, losses: int = 4) -> Program:
    """Draws a Program of at most so many calls and losses."""

    def below(n: int) -> int:
        return draw(st.integers(0, n - 1)) if n > 1 else 0

    return write(below, calls=calls, losses=losses)


def specs(*, calls: int = 8, losses: int = 4) -> st.SearchStrategy[Spec]:
    """Draws a Spec."""
    return programs(calls=calls, losses=losses).map(lambda program: program.spec)


def _loss(a: Author, name: str, popular: list[str], images: bool, said: list[str]) -> None:
    if said and a.below(2):
        text = _otherwise(a, a.choose(said[::-1]))
    else:
        text = _scalar(a, popular, images)
    if a.rarely(4):
        text = f"{text} + {_scalar(a, popular, images)} * 0.5"
    said.append(text)
    weight, mask = a.choose(_WEIGHTS), ""
    if a.rarely(3):
        spec = a.names["s"]
        expr = eval(text, a.names)
        reach = Reach(spec, [expr])
        reached = sorted(reach.modules(reach[expr].live))
        kept = [m for m in reached if a.below(2)] or reached[:1]
        mask = f", updates=[{', '.join(kept)}]" if kept else ""
    a.run(f's.loss("{name}", {text}{weight}{mask})')


def _otherwise(a: Author, text: str) -> str:
    """The same loss with one stop more, or one less."""
    stops = [found.start() for found in re.finditer(r"\.stop\(\)", text)]
    if stops and a.below(2):
        at = a.choose(stops)
        return text[:at] + text[at:].removeprefix(".stop()")
    at = a.choose([found.end() for found in re.finditer(r"\b(?:v\d+|b)\b", text)] or [0])
    return f"{text[:at]}.stop(){text[at:]}" if at else text


def _scalar(a: Author, popular: list[str], images: bool) -> str:
    def view(axes: Any = None) -> str:
        """A value as a loss reads it: as it is, stopped, or through a head."""
        text = a.choose(popular if a.below(3) else a.values[::-1])
        if axes is not None and a.type(text).axes != axes:
            text = a.sequence()
        text = a.variant(text, plain=6)
        return f"{a.called()}({text})" if a.rarely(3) else text

    sequence = ("batch", "time")
    kind = a.below(11 + 2 * images)
    if kind < 4:
        return "lr.losses.mse({}, {})".format(*a.fit(view(), view()))
    if kind == 4:
        return "lr.losses.cosine({}, {})".format(*a.fit(view(), view()))
    if kind == 5:
        text = view()
        axes = a.type(text).axes
        order = [axes[(i + a.below(2)) % len(axes)] for i in range(len(axes))]
        order = [*dict.fromkeys([*order, *axes])]
        means = "".join(f'.mean(over="{axis}")' for axis in order)
        return f"lr.square({text}).mean(){means}"
    if kind == 6:
        text = view()
        steps = a.type(text).step
        if "time" not in a.type(text).axes:
            text, steps = view(sequence), None
        logits, classes = a.fit(text, f"a.windows({steps})" if steps else "a")
        return f"lr.losses.cross_entropy({logits}, {classes})"
    if kind == 7:
        position, measured = a.fit(view(sequence), a.choose(("y", view(sequence))))
        if (a.type(position).time or 0) <= FRAMES - 3:
            return f"lr.losses.kstep({position}, {measured}, 2)"
        return f"lr.losses.mse({position}, {measured})"
    if kind in (8, 9):
        return f"lr.losses.scale({view()})"
    if kind == 10:
        return f"lr.losses.geometry_rank({view(sequence)}, margin=4.0)"
    frames, x = a.fit(f"dec({view(sequence)})", "x")
    if a.below(2) and (a.type(x).time or 0) < 3:
        frames, x = (f"({e}.t[1:] - {e}.t[:-1])" for e in (frames, x))
    return f"lr.losses.multi_box({frames}, {x}, kernels=(2, 2), strides=(1, 2))"


def _finish(a: Author) -> None:
    for name in a.states:
        if a.below(4):
            mean = a.operand()
            for axis in a.type(mean).axes[::-1]:
                mean += f'.mean(over="{axis}")'
            a.run(f"s.update({name}, {name} * 0.9 + {mean} * 0.1)")
    free = [v for v in a.values[::-1] if not _reads_label(eval(v, a.names))]
    for name, role in (("z", "PLACE"), ("h", "DYNAMICS"), ("p", "POSE")):
        if a.below(3):
            a.run(f's.latent("{name}", {a.choose(free)}, role=lr.{role})')
    losses = list(a.names["s"].losses)
    if len(losses) > 1 and a.rarely(4):
        split = 1 + a.below(len(losses) - 1)
        a.run(f's.phase("first", losses={losses[:split]})')
        a.run(f's.phase("second", losses={losses[split - 1 :]})')


def _reads_label(value: Expr) -> bool:
    return any(e.kind == "leaf" and e.attrs[0] == "label" for e in postorder(value))


def batch_for(spec: Spec, seed: int, *, batch: int = BATCH, frames: int = FRAMES) -> dict[str, Any]:
    """Columns of standard normal floats, and of classes, for every declared input.

    Shapes: (batch, frames, *event), actions one frame less.
    """
    rng = np.random.default_rng(seed)
    columns = {}
    for name, e in spec.inputs.items():
        if e.attrs[0] == "noise":
            continue
        shape = (batch, frames - (e.type.time or 0), *e.shape)
        space = spec.actions.get(name)
        if isinstance(space, Discrete):
            columns[name] = rng.integers(0, space.n, size=shape)
        else:
            columns[name] = rng.standard_normal(shape)
    return columns
