"""One application where several ranges of the same sequence are fed to the same module.

`f(y.t[1:])` beside `f(y)` becomes `f(y).t[1:]`, where f acts on each frame alone. The range that is
computed is the smallest that covers all that are read.
"""

from collections.abc import Iterable, Iterator

from ..spec.types import Type
from .terms import Term, Terms

_Key = tuple[object, ...]
_Range = tuple[int, int]


def share_cuts(terms: Terms, roots: list[Term]) -> list[Term]:
    """Rewrites the roots so that no module is applied to two ranges of one sequence."""
    while True:
        hulls = _hulls(terms, roots)
        memo: dict[Term, Term] = {}
        rewritten = [_rewrite(terms, root, hulls, memo) for root in roots]
        if rewritten == roots:
            return roots
        roots = rewritten


def walk(roots: Iterable[Term]) -> Iterator[Term]:
    """Every term below the roots, operands first, without recursion."""
    done: set[Term] = set()
    stack = [(root, False) for root in roots]
    while stack:
        term, ready = stack.pop()
        if term in done:
            continue
        if ready:
            done.add(term)
            yield term
        else:
            stack.append((term, True))
            stack.extend((i, False) for i in term.inputs if i not in done)


def _split(term: Term) -> tuple[Term, str, _Range]:
    """A sequence as (what it is cut from, the axis, its range)."""
    if term.kind == "cut":
        axis, lo, hi = term.attrs
        return term.inputs[0], axis, (lo, hi)
    axis = "time" if "time" in term.type.axes else "step"
    return term, axis, (0, 0)


def _shareable(terms: Terms, term: Term) -> bool:
    if term.kind != "apply" or len(term.inputs) != 1 or term.loops:
        return False
    layer = terms.spec._layer(term.attrs[0])
    return not (layer.mixes_time or layer.mixes_batch)


def _hulls(terms: Terms, roots: list[Term]) -> dict[_Key, _Range]:
    """The covering range of each (module, part, sequence, axis) that is read in several ranges."""
    ranges: dict[_Key, set[_Range]] = {}
    for term in walk(roots):
        if _shareable(terms, term):
            base, axis, cut = _split(term.inputs[0])
            ranges.setdefault((term.attrs[:2], base.primal, axis), set()).add(cut)
    return {
        key: (min(lo for lo, _ in cuts), min(hi for _, hi in cuts))
        for key, cuts in ranges.items()
        if len(cuts) > 1
    }


def _rewrite(terms: Terms, root: Term, hulls: dict[_Key, _Range], memo: dict[Term, Term]) -> Term:
    for term in walk([root]):
        if term in memo:
            continue
        inputs = tuple(memo[i] for i in term.inputs)
        result = terms.rebuild(term, inputs)
        if _shareable(terms, term):
            base, axis, cut = _split(term.inputs[0])
            hull = hulls.get((term.attrs[:2], base.primal, axis))
            if hull is not None and cut != hull:
                result = _apply_to_hull(terms, term, memo[base], axis, cut, hull)
        if result.kind == "cut" and result.inputs[0].kind == "cut":
            result = _merge(terms, result)
        memo[term] = result
    return memo[root]


def _apply_to_hull(
    terms: Terms, term: Term, base: Term, axis: str, cut: _Range, hull: _Range
) -> Term:
    source = term.inputs[0]
    if hull != (0, 0):
        base = terms.make("cut", (base,), (axis, *hull), _cut(base.type, axis, hull), base.live)
    whole = term.type.with_axis(axis, _extent(base.type, axis))
    applied = terms.make("apply", (base,), term.attrs, whole, term.live)
    rest = (cut[0] - hull[0], cut[1] - hull[1])
    assert _extent(_cut(whole, axis, rest), axis) == _extent(source.type, axis)
    return terms.make("cut", (applied,), (axis, *rest), term.type, term.live)


def _merge(terms: Terms, outer: Term) -> Term:
    inner = outer.inputs[0]
    axis, lo, hi = outer.attrs
    if inner.attrs[0] != axis:
        return outer
    attrs = (axis, lo + inner.attrs[1], hi + inner.attrs[2])
    return terms.make("cut", inner.inputs, attrs, outer.type, outer.live)


def _extent(type: Type, axis: str) -> int:
    extent = type.time if axis == "time" else type.step
    assert extent is not None
    return extent


def _cut(type: Type, axis: str, cut: _Range) -> Type:
    gone = sum(cut)
    return type.with_axis(axis, _extent(type, axis) + (gone if axis == "time" else -gone))
