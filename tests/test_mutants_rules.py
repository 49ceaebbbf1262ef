"""The tests of the checker can fail: each planted mutant of a rule is killed by the verdict table
or by a rule's own example.
"""

from collections.abc import Callable

import pytest

import latentroles as lr
import test_check
import test_verdicts as table
from latentroles.routes.graph import Graph
from latentroles.rulebook import RULES
from latentroles.rules import comparisons, contracts, facts, pressures, sides, unrolled, wiring
from latentroles.rules.affine import Affine
from latentroles.rules.judged import Judged, JudgedLoss
from mutated import KILLS
from verdicts import jepa, model, rssm

Patch = pytest.MonkeyPatch


def everything() -> None:
    """The verdict table and the examples, in short; raises AssertionError where one is off."""
    for loss, slugs in table.Z_LOSSES.items():
        assert table.verdict(loss, "z", z_to_head=True) == slugs
        assert table.verdict(loss, "z", z_to_head=False) == table.ISOLATED
    for loss, slugs in table.H_LOSSES_ON_H.items():
        assert table.verdict(loss, "h", z_to_h=True) == slugs
        assert table.verdict(loss, "z", z_to_h=True) == table.H_LOSSES_ON_Z[loss]
    for loss, slugs in table.P_LOSSES.items():
        assert table.verdict(loss, "p") == slugs
    assert "target-live" in table.verdict("jepa", "z", z_to_h=True, live_target=True)
    assert lr.check(model("jepa")).of("duplicate-loss")
    assert lr.check(model("additivity_h")).of("vacuous-loss")
    assert "off-manifold-encoder" in table.verdict("rollout_project_z", "z")
    assert set(lr.check(rssm()).verdicts["consistency"]["z"]) == table.ISOLATED
    assert set(lr.check(jepa("vjepa2")).verdicts["prediction"]["z"]) == table.CONDITIONED
    assert not lr.check(jepa("vjepa2")).of("vacuous-loss")
    for slug in test_check.OF_SPECS:
        test_check.test_a_rule_fires_on_its_own_example(slug)
        test_check.test_the_mended_example_is_free_of_it(slug)
    test_check.test_a_reversed_gradient_turns_a_pressure_round()
    test_check.test_an_encoder_by_another_view_is_the_latent_too()
    test_check.test_a_mask_that_spares_the_encoder_leaves_z_alone()


def test_without_a_mutant_all_is_well():
    everything()


def replace(owner: object, name: str, make: Callable) -> Callable[[Patch], None]:
    """A mutant: `owner.name` becomes `make(what it was)`."""

    def plant(patch: Patch) -> None:
        patch.setattr(owner, name, make(getattr(owner, name)))

    return plant


def always(value: object) -> Callable:
    return lambda old: lambda *arguments, **named: value


def _ignore_stops(old: Callable) -> Callable:
    return lambda self, e: None if e.kind == "stop" else old(self, e)


def _ignore_gates(old: Callable) -> Callable:
    return lambda self, e: None if e.kind == "gate" else old(self, e)


def _earliest(old: Callable) -> Callable:
    def clock(self, role: int) -> int:
        return min((o.clock for o in self.table.latents(self.frontier(role))), default=-1)

    return clock


def _late_actions(old: Callable) -> Callable:
    """a_t is taken to show at t, and not at t + 1."""
    return lambda leaf: old(leaf) - (leaf.attrs[0] == "action")


def _no_targets(old: Callable) -> Callable:
    """A target is a module of its own, and no copy of the encoder."""
    return lambda self, m: m.primal


def _forgetful(old: Callable) -> Callable:
    """Latents are never met: the frontier of everything is empty."""
    return lambda self, m: 0


def _off_by_one(old: Callable) -> Callable:
    return lambda e, t, k, i: old(e, None if t is None else max(t - 1, 0), k, i)


def _sums_to_anything(old: Callable) -> Callable:
    def adds_up(self, present, r):
        left, *rest = present.operands
        expansion = self._by_role[r].difference(left, rest[0] if rest else None)
        return len(expansion) >= 2

    return adds_up


def _no_cancelling(old: Callable) -> Callable:
    return lambda self, left, right: {**self.of(left), **(self.of(right) if right else {})}


def _whatever_is_masked(old: Callable) -> Callable:
    def key(judged: Judged, loss: JudgedLoss) -> object:
        loss.updated = 0
        return old(judged, loss)

    return key


def _without(slug: str) -> Callable:
    return lambda old: lambda role, named: None if named == slug else old(role, named)


MUTANTS = {
    "a stop is not seen": replace(Graph, "cut", _ignore_stops),
    "a closed gate is not seen": replace(Graph, "cut", _ignore_gates),
    "judged at the first frame": replace(unrolled, "HISTORY", lambda old: -1),
    "the earliest latent counts": replace(sides.Side, "clock", _earliest),
    "an action shows at once": replace(facts, "_clock", _late_actions),
    "targets are strangers": replace(facts.Table, "_shape", _no_targets),
    "latents are not met": replace(facts.Table, "here", _forgetful),
    "time slips by one": replace(unrolled, "_index", _off_by_one),
    "coefficients need not cancel": replace(pressures.Pressures, "_adds_up", _sums_to_anything),
    "nothing adds up": replace(pressures.Pressures, "_adds_up", always(False)),
    "differences do not cancel": replace(Affine, "difference", _no_cancelling),
    "heads are never the same": replace(sides.Present, "same_head", always(False)),
    "heads are always the same": replace(sides.Present, "same_head", always(True)),
    "no action lies between": replace(pressures, "between", always(0)),
    "no action is demanded": replace(contracts, "demanded", always(0)),
    "gaps are not seen": replace(pressures, "span", always(0)),
    "masks are not seen": replace(
        pressures.Pressures, "shaped", lambda old: lambda self, side, updated: old(self, side, -1)
    ),
    "encoders are not known": replace(pressures.Pressures, "_misused", always([])),
    "data is no side": replace(sides.Present, "_given", always(False)),
    "frames are not seen": replace(sides.Side, "observed", always(False)),
    "later frames are not later": replace(sides.Side, "seen", always(-1)),
    "squares are not distances": replace(
        comparisons, "_comparison", lambda old: lambda e, w: _as_value(old(e, w))
    ),
    "couplings are not seen": replace(wiring, "couples_below", always(False)),
    "nothing prevents collapse": replace(contracts, "_prevents", always(False)),
    "everything prevents collapse": replace(contracts, "_prevents", always(True)),
    "leaks are not forbidden": replace(contracts, "severity", _without("action-leak")),
    "history is not cautioned": replace(contracts, "severity", _without("history-admitting")),
    "duplicates are by name": replace(wiring, "_key", lambda old: lambda judged, loss: loss.name),
    "duplicates need no masks": replace(wiring, "_key", _whatever_is_masked),
    "duplicates may bend": replace(comparisons, "_bends", always(False)),
    "frozen is applied": replace(
        wiring, "_applied", lambda old: lambda judged: (set(judged.spec.modules), set())
    ),
}


def _as_value(c: comparisons.Comparison) -> comparisons.Comparison:
    from dataclasses import replace as changed

    return changed(c, kind="statistic") if c.function in ("square", "abs") else c


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_rules_is_killed(name, monkeypatch):
    check, checked = lr.check, []
    monkeypatch.setattr(lr, "check", lambda spec: checked.append(spec) or check(spec))
    MUTANTS[name](monkeypatch)
    with pytest.raises((AssertionError, KeyError, IndexError, ValueError)):
        _all_of_it()
    KILLS.append(("the verdicts", len(checked)))


def _all_of_it() -> None:
    everything()
    assert lr.check(model("center")).of("batch-statistic")
    test_check.test_a_loss_written_by_hand_is_judged_like_ours()
    test_check.test_losses_that_only_look_alike_are_no_duplicates()
    test_check.test_a_module_that_is_only_applied_frozen_is_not_starved_by_mistake()


@pytest.mark.parametrize("slug", RULES)
def test_every_rule_says_what_to_do(slug):
    rule = RULES[slug]
    assert rule.fix
    assert rule.why
    assert rule.message
