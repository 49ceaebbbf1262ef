"""The calls of random declarations: each writes a line, or a loop with its step.

`CALLS` holds what hard cases are made of more often than the rest.
"""

from ..spec.types import Type
from .programs import SHORTEST, Author, in_form

UNARY = (
    "lr.tanh({0})",
    "lr.exp(lr.tanh({0}))",
    "lr.sigmoid({0})",
    "lr.normalise({0})",
    "lr.square(lr.tanh({0}))",
    "-{0}",
    "lr.absolute({0})",
    "lr.relu({0} + 0.5)",
    "0.5 - {0}",
    "lr.reshape(lr.tanh(lr.reshape({0}, 2, 1)), 2)",
    "lr.concat(*reversed(lr.split({0}, 1, 1)))",
)
BINARY = (
    "{0} + {1}",
    "{0} - {1}",
    "lr.tanh({0} * {1})",
    "{0} / (lr.square({1}) + 1.0)",
    "{0} * {1}.mean()",
    "{0} * 0.5 + {1}",
)


def unary(a: Author) -> None:
    if a.rarely(8):
        x = a.operand(lambda t: "batch" in t.axes and (t.time or 0) >= 0)
        a.let(f'lr.dropout({{0}}, 0.3, label="{a.new("drop")}")', x)
    else:
        a.let(a.choose(UNARY), a.operand())


def binary(a: Author) -> None:
    a.let(a.choose(BINARY), *a.fit(a.variant(a.operand()), a.operand()))


def apply(a: Author) -> None:
    a.let("{0}({1})", a.called(), a.variant(a.operand()))


def join(a: Author) -> None:
    left, right = a.fit(a.variant(a.operand()), a.operand())
    a.let("{0}(lr.concat({1}, {2}))", a.module("j"), left, right)


def again(a: Author) -> None:
    """An earlier call with other stops: the same value with another gradient."""
    loops = [call for call in a.calls if call[2][0].startswith(("step", "g"))]
    pattern, loop, operands, family = a.choose(loops if loops and a.below(2) else a.calls)
    fixed = operands[0].startswith("step") or operands[0] in a.targets
    changed = a.below(len(operands) - fixed) + fixed if len(operands) > fixed else None
    varied = [
        operand if i == 0 and fixed else _differently(a, operand, i == changed)
        for i, operand in enumerate(operands)
    ]
    a.let(pattern, *varied, loop=loop, family=family)


def _differently(a: Author, operand: str, surely: bool) -> str:
    module = operand.removesuffix(".frozen")
    if module in a.modules:
        return operand if not surely else module if module != operand else f"{module}.frozen"
    return f"{operand}.stop()" if surely and operand[:3] != "lr." else a.variant(operand)


def cut(a: Author) -> None:
    x = a.long()
    t = a.type(x)
    if t.step is not None and t.step > 1 and a.below(2):
        a.let(a.cut("{0}", "step", 1 + a.below(t.step - 1)), x)
    else:
        a.let(a.cut("{0}", "time", min(1 + a.below(2), _spare(t))), x)


def _spare(t: Type) -> int:
    """How many frames a sequence can lose."""
    assert t.time is not None
    return SHORTEST - t.time


def applied_cuts(a: Author) -> None:
    """One module on two ranges of one sequence."""
    x, f = a.long(), a.called()
    for _ in range(2):
        a.let("{0}({1})", f, a.variant(a.cut(x, "time", min(a.below(3), _spare(a.type(x))))))


def pick(a: Author) -> None:
    x = a.long()
    step = a.type(x).step is not None and a.below(2)
    a.let(a.choose(("{0}.k[0]", "{0}.k[-1]") if step else ("{0}.t[0]", "{0}.t[-1]", "{0}.t[1]")), x)


def window(a: Author) -> None:
    x = a.sequence()
    a.let(f"{{0}}.windows({1 + min(a.below(3), _spare(a.type(x)))})", x)


def prepend(a: Author) -> None:
    x = a.long()
    t = a.type(x)
    entry = t.without("time" if t.step is None else "step")
    first = a.operand(lambda u: not u.axes or u.lead() == entry.lead())
    if a.type(first).axes and a.type(first).lead() != entry.lead():
        first = "lr.zeros(2)"
    if t.step in (None, 1, 2) and (t.time or 0) >= 0:
        a.let("lr.prepend({0}, {1})", a.variant(first), x)


def reduce(a: Author) -> None:
    x = a.long()
    how, axis = a.choose(("mean", "mean", "sum")), a.choose(a.type(x).axes)
    a.let(f'{{0}}.{how}(over="{axis}")', x)


def noise(a: Author) -> None:
    name = a.new("v")
    axes = a.choose(('("batch", "time")', '("batch",)', "()"))
    kind = a.choose(('"normal"', '"uniform"', '"bernoulli", rate=0.7'))
    a.run(f'{name} = s.noise("{name}", (2,), axes={axes}, kind={kind})')
    a.values.append(name)


def state(a: Author) -> None:
    name = a.new("v")
    a.run(f'{name} = s.state("{name}", (2,), init=0.4)')
    a.states.append(name)
    a.values.append(name)


def scan(a: Author) -> None:
    xs = [a.variant(a.sequence())]
    if a.rarely(3):
        xs = a.fit(*xs, a.variant(a.sequence()))
    elif a.rarely(3):
        a.let("lr.scan({0}, init={1}, xs={2})", a.module("g"), _start(a), *xs)
        return
    carries = a.choose((1, 2, 2, 3))
    dead = a.below(2 * carries)
    step, outputs = a.step(carries, len(xs), Type(("batch",)), dead)
    slots = [f"{{{i + 1}}}" for i in range(carries + len(xs))]
    call = f"lr.scan({{0}}, init={in_form(slots[:carries])}, xs={in_form(slots[carries:])})"
    starts = ["lr.zeros(2)" if i == dead else _start(a) for i in range(carries)]
    a.let(call, step, *starts, *xs, loop=(carries, outputs))


def _start(a: Author) -> str:
    """What a loop over time starts from."""
    form = a.below(4)
    if form == 0:
        return "lr.zeros(2)"
    if form == 3:
        first = a.operand(lambda t: set(t.axes) <= {"batch"})
        return a.variant(f"{first}.t[1]" if "time" in a.type(first).axes else first)
    return a.variant(f"{a.sequence()}.t[{a.choose((0, 0, -1))}]")


def rollout(a: Author) -> None:
    horizon = 1 + a.below(3)
    start, x = a.sequence(), a.sequence()
    time, windows = (a.type(e).time or 0 for e in (start, x))
    windows += horizon - 1
    reads = windows <= SHORTEST and not a.rarely(4)
    goal = max(time, windows) if reads else time
    starts = [a.variant(a.cut(start, "time", goal - time))]
    if a.rarely(3):
        # A second carry, which starts alike everywhere.
        second = a.operand(lambda t: not t.axes)
        starts.append("lr.zeros(2)" if a.type(second).axes else a.variant(second))
    xs = [a.variant(a.cut(x, "time", goal - windows))] if reads else []
    entry = Type(("batch", "time"), time=goal)
    step, outputs = a.step(len(starts), len(xs), entry, 1 if a.below(2) else 2)
    slots = [f"{{{i + 1}}}" for i in range(len(starts) + len(xs))]
    given = f", xs={slots[-1]}" if xs else ""
    call = f"lr.rollout({{0}}, start={in_form(slots[: len(starts)])}{given}, horizon={horizon})"
    a.let(call, step, *starts, *xs, loop=(len(starts), outputs))


LOOPS = (scan, scan, rollout)
CALLS = (
    *(apply, apply, unary, binary, binary, join, cut, applied_cuts, applied_cuts, pick, window),
    *(prepend, reduce, noise, state, scan, scan, scan, scan, rollout, rollout, rollout),
)
