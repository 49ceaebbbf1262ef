"""What a loss can move, directly and in several steps, by what is declared."""

from dataclasses import replace

from ...routes import routes
from ...spec.expr import Expr
from ...spec.spec import Spec
from ...spec.walk import postorder

NUDGE = "law_nudge"


def nudged(spec: Spec, loss: str) -> Spec:
    """The spec with one loss scaled by a column of its own, `NUDGE`, which nothing else reads.

    A change of that column is a change of the loss's target: of its value and of its gradients.
    """
    copy = Spec.from_json(spec.to_json())
    factor = copy.label(NUDGE, ()).mean(over="time").mean(over="batch")
    declared = copy.losses[loss]
    copy.losses[loss] = replace(declared, expr=declared.expr * factor)
    return copy


def read_by(spec: Spec, root: Expr) -> frozenset[str]:
    """The modules on whose parameters a value depends, stops or not; EMA copies count as theirs."""
    found: set[str] = set()
    states, todo = set(), [root]
    while todo:
        for e in postorder(todo.pop()):
            if e.kind == "apply":
                name = e.attrs[0]
                found.add(spec.targets[name].of if name in spec.targets else name)
            if e.kind == "leaf" and e.attrs[1] in spec.updates and e.attrs[1] not in states:
                states.add(e.attrs[1])
                todo.append(spec.updates[e.attrs[1]])
    return frozenset(found)


def influence(spec: Spec, loss: str, among: tuple[str, ...]) -> frozenset[str]:
    """The modules that a change of a loss can move in any number of steps.

    Those that it updates; those updated by losses `among` the phase's that read one of these; and
    so on. Without clipping, which would couple all modules of an optimiser.
    """
    live = routes(spec).live
    reads = {name: read_by(spec, spec.losses[name].expr) for name in among}
    found = live[loss]
    while True:
        more = found.union(*(live[n] for n in among if reads[n] & found))
        if more == found:
            return found
        found = more
