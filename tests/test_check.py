"""`lr.check`: every rule fires where its own example says, and not on the mended one."""

import json
import re
from textwrap import dedent

import pytest

import latentroles as lr
from latentroles.rulebook import CODES, RULES, SEVERITIES
from latentroles.rules.finding import find

DIM, FRAME = 8, (3, 8, 8)


class Model(dict):
    """The names that an example uses; each is declared when it is first read."""

    def __init__(self) -> None:
        super().__init__(lr=lr)
        self["s"] = lr.Spec("example")
        self["x"] = self["s"].observation("x", FRAME)
        self["a"] = self["s"].action("a", lr.Discrete(3))

    def __missing__(self, name: str):
        if name not in _DECLARED:
            raise KeyError(name)
        self[name] = _DECLARED[name](self)
        return self[name]


def _module(name, layer):
    return lambda m: m["s"].module(name, layer)


def _memory(m: Model) -> lr.Expr:
    gate = m["s"].gate("z_to_h", open=False)
    u = lr.concat(m["z"].through(gate).t[:-1], m["a"].one_hot())
    return m["s"].latent("h", lr.scan(m["predictor"], init=lr.zeros(DIM), xs=u), role=lr.DYNAMICS)


def _rolled(m: Model) -> lr.Expr:
    return lr.rollout(m["forward"], start=m["z"].t[:-4], xs=m["a"].one_hot(), horizon=4)


_DECLARED = {
    "encoder": _module("encoder", lr.nn.conv_encoder(FRAME, DIM, channels=(4,))),
    "decoder": _module("decoder", lr.nn.conv_decoder(DIM, FRAME, channels=(4,))),
    "predictor": _module("predictor", lr.nn.gru(DIM + 3, DIM)),
    "gru": _module("gru", lr.nn.gru(DIM, DIM)),
    "h_to_z": _module("h_to_z", lr.nn.mlp(DIM, DIM)),
    "predict": _module("predict", lr.nn.mlp(DIM, DIM)),
    "forward": _module("forward", lr.nn.gru(3, DIM)),
    "step": _module("step", lr.nn.mlp(DIM + 3, DIM)),
    "head": _module("head", lr.nn.mlp(2 * DIM, 3)),
    "prototype": _module("prototype", lr.nn.linear(3, DIM)),
    "z": lambda m: m["s"].latent("z", m["encoder"](m["x"]), role=lr.PLACE),
    "h": _memory,
    "z_hat": _rolled,
}


def example(slug: str) -> lr.Spec:
    """The spec that the example of a rule declares."""
    names = Model()
    exec(dedent(RULES[slug].example), {}, names)
    return names["s"]


# Those of specs; what only an audit can see is in the galleries.
OF_SPECS = [r.slug for r in RULES.values() if not r.code.startswith("LR4")]
OF_SPECS.remove("aliased-module")  # its example is foreign code


@pytest.mark.parametrize("slug", OF_SPECS)
def test_a_rule_fires_on_its_own_example(slug):
    found = lr.check(example(slug)).of(slug)
    assert found
    levels = {f.severity for f in found}
    assert levels <= set(SEVERITIES)
    if RULES[slug].severity is not None:
        assert RULES[slug].severity in levels


@pytest.mark.parametrize("slug", OF_SPECS)
def test_a_finding_is_complete(slug):
    finding = lr.check(example(slug)).of(slug)[0]
    said = f"{finding}{finding.why}{finding.fix}"
    assert "{" not in said.replace("{`", "")
    assert finding.code == RULES[slug].code
    assert finding.message.strip() == finding.message
    if finding.loss is not None:
        assert f"`{finding.loss}`" in finding.message or slug == "unused-allowance"


def test_the_rulebook_is_in_order():
    codes = [rule.code for rule in RULES.values()]
    assert codes == sorted(codes)
    assert len(CODES) == len(RULES) == len(codes)
    for rule in RULES.values():
        assert not re.search(r"\{\w+\}", rule.explain())
        assert rule.meaning.endswith(".")


@pytest.mark.parametrize("role", [lr.PLACE, lr.DYNAMICS, lr.POSE, lr.DESCRIPTOR, lr.AGGREGATE])
def test_a_role_names_rules(role):
    assert role.forbids | role.cautions <= RULES.keys()


# Near misses: the mended example is free of the finding ------------------------------------------

MENDED = {
    "vacuous-loss": """
        J = s.module("J", lr.nn.mlp(DIM, DIM))
        d = h.t[1:] - h.t[:-1]
        s.loss("additivity_h", lr.losses.mse(d.t[:-1] + d.t[1:], J(h.t[:-2])))
    """,
    "duplicate-loss": """
        s.loss("jepa", lr.losses.mse(h_to_z(h.t[1:]), z.t[1:].stop()))
        s.loss("h2z", lr.losses.mse(h_to_z.frozen(h), z.stop()))
    """,
    "dead-route": 's.loss("jepa", lr.losses.mse(predict(z.stop()), z.stop()))',
    "starved-module": 's.loss("recon", lr.losses.mse(decoder(z), x))',
    "partial-route": 's.loss("agree", lr.losses.mse(predict(z.stop().t[:-1]), z.t[1:].stop()))',
    "stale-target": """
        teacher = s.target(encoder, decay=0.99)
        s.loss("follow", lr.losses.mse(predict(z), teacher(x)))
    """,
    "ungated-edge": """
        u = lr.concat(z.live().t[:-1], a.one_hot())
        h = s.latent("h", lr.scan(predictor, init=lr.zeros(DIM), xs=u), role=lr.DYNAMICS)
    """,
    "batch-statistic": 's.loss("recon", lr.losses.mse(decoder(z), x))',
    "unused-allowance": """
        s.loss("recon", lr.losses.mse(decoder(z), x))
        s.allow("observation-sufficiency", latent="z", because="frames are looked at")
    """,
    "action-identity": """
        s.loss("inverse_dynamics_z",
               lr.losses.cross_entropy(head(lr.concat(z.t[:-1], z.t[1:]).stop()), a))
    """,
    "action-leak": """
        half = s.module("half", lr.nn.mlp(DIM, 3))
        s.loss("inverse_dynamics_h", lr.losses.cross_entropy(half(h.t[:-1]), a))
    """,
    "action-additivity": """
        s.loss("action_delta_z", lr.losses.mse(step(lr.concat(z.t[:-1], a.one_hot())), z.t[1:]))
    """,
    "temporal-adjacency": 's.loss("same", lr.losses.mse(predict(z), z.stop()))',
    "conditioned-prediction": """
        guess = step(lr.concat(z.t[:-1].stop(), a.one_hot()))
        s.loss("jepa", lr.losses.mse(guess, z.t[1:].stop()))
    """,
    "open-loop-rollout": """
        z_hat = lr.rollout(forward, start=z.t[:-1], xs=a.one_hot(), horizon=1)
        s.loss("one_step", lr.losses.mse(z_hat, z.t[1:].windows(1).stop()))
    """,
    "under-conditioned": """
        guess = step(lr.concat(z.t[:-1], a.one_hot()))
        s.loss("forward", lr.losses.mse(guess, z.t[1:].stop()))
    """,
    "rendered-prediction": 's.loss("recon", lr.losses.mse(decoder(z), x))',
    "observation-sufficiency": 's.loss("recon", lr.losses.mse(decoder(z.stop()), x))',
    "off-manifold-encoder": """
        s.loss("project",
               lr.losses.mse(encoder.frozen(decoder(z_hat)), z.t[1:].windows(4).stop()))
    """,
    "target-live": 's.loss("jepa", lr.losses.mse(predict(z.t[:-1]), z.t[1:].stop()))',
    "history-admitting": 'z = s.latent("z", encoder(x), role=lr.PLACE)',
    "requirement-unmet": """
        s.loss("jepa", lr.losses.mse(predict(z.t[:-1]), z.t[1:].stop()))
        s.loss("spread", lr.losses.vicreg(z))
    """,
}


@pytest.mark.parametrize("slug", OF_SPECS)
def test_the_mended_example_is_free_of_it(slug):
    names = Model()
    names["DIM"] = DIM
    exec(dedent(MENDED[slug]), {}, names)
    assert lr.check(names["s"]).of(slug) == ()


# More of single rules -----------------------------------------------------------------------------


def simple(**extra) -> Model:
    names = Model()
    names["s"].loss("recon", lr.losses.mse(names["decoder"](names["z"]), names["x"]), **extra)
    return names


def test_a_reversed_gradient_turns_a_pressure_round():
    m = Model()
    head, z, a, s = m["head"], m["z"], m["a"], m["s"]
    pair = lr.concat(z.t[:-1], z.t[1:])
    s.loss("unlearn", lr.losses.cross_entropy(head(pair.scale_gradient(-1.0)), a))
    s.loss("minus", -1.0 * lr.losses.cross_entropy(head(pair), a))
    report = lr.check(s)
    assert report.verdicts["unlearn"]["z"] == {"anti:action-identity"}
    assert report.verdicts["minus"]["z"] == {"anti:action-identity"}
    assert report.of("action-identity") == ()


def test_a_frozen_head_lifts_no_pressure_but_a_frozen_encoder_does():
    m = Model()
    pair = lr.concat(m["z"].t[:-1], m["z"].t[1:])
    m["s"].loss("live", lr.losses.cross_entropy(m["head"].frozen(pair), m["a"]))
    fixed = m["encoder"].frozen(m["x"])
    pair = lr.concat(fixed.t[:-1], fixed.t[1:])
    m["s"].loss("fixed", lr.losses.cross_entropy(m["head"](pair), m["a"]))
    verdicts = lr.check(m["s"]).verdicts
    assert verdicts["live"]["z"] == {"action-identity"}
    assert verdicts["fixed"]["z"] == {"isolated"}


def test_a_mask_that_spares_the_encoder_leaves_z_alone():
    m = Model()
    pair = lr.concat(m["z"].t[:-1], m["z"].t[1:])
    loss = lr.losses.cross_entropy(m["head"](pair), m["a"])
    m["s"].loss("masked", loss, updates=[m["head"]])
    assert lr.check(m["s"]).verdicts["masked"]["z"] == {"isolated"}


def test_an_encoder_by_another_view_is_the_latent_too():
    m = Model()
    s, z = m["s"], m["z"]
    noise = s.noise("crop", FRAME, axes=("batch", "time"))
    view = m["encoder"](m["x"] + noise)
    s.loss(
        "inverse", lr.losses.cross_entropy(m["head"](lr.concat(view.t[:-1], view.t[1:])), m["a"])
    )
    s.loss("invariant", lr.losses.mse(view, z))
    verdicts = lr.check(s).verdicts
    assert verdicts["inverse"]["z"] == {"action-identity"}
    assert verdicts["invariant"]["z"] == set()


def test_a_loss_written_by_hand_is_judged_like_ours():
    m = Model()
    s, z = m["s"], m["z"]
    difference = z.t[1:] - z.t[:-1]
    s.loss("smooth", lr.square(difference).mean().mean(over="time").mean(over="batch") * 0.3)
    gap = m["prototype"](m["a"].one_hot()) - difference
    s.loss("delta", lr.absolute(gap).mean().mean(over="time").mean(over="batch"))
    verdicts = lr.check(s).verdicts
    assert verdicts["smooth"]["z"] == {"temporal-adjacency"}
    assert verdicts["delta"]["z"] == {"action-identity", "action-additivity"}


def test_a_step_plus_a_prototype_is_additive_too():
    m = Model()
    z = m["z"]
    moved = z.t[:-1] + m["prototype"](m["a"].one_hot())
    m["s"].loss("compose", lr.losses.mse(moved, z.t[1:].stop()))
    assert "action-additivity" in lr.check(m["s"]).verdicts["compose"]["z"]


def test_a_temporal_contrast_pulls_neighbours_together():
    m = Model()
    z = m["z"]
    m["s"].loss("contrast", lr.losses.info_nce(z.t[1:], z.t[:-1]))
    assert lr.check(m["s"]).verdicts["contrast"]["z"] == {"temporal-adjacency"}


def test_a_target_copied_every_step_is_its_student():
    m = Model()
    teacher = m["s"].target(m["encoder"], decay=0.0)
    m["s"].loss("follow", lr.losses.mse(m["predict"](m["z"]), teacher(m["x"])))
    (found,) = lr.check(m["s"]).of("aliased-module")
    assert (found.subject, found.severity) == ("encoder_target", "note")


def test_a_state_without_an_update_is_stale():
    m = Model()
    centre = m["s"].state("centre", (DIM,))
    m["s"].loss("centred", lr.losses.center(m["z"], centre))
    (found,) = lr.check(m["s"]).of("stale-target")
    assert "s.update(centre" in found.message


def test_a_gate_that_is_closed_later_makes_a_mask_dead():
    m = Model()
    gate = m["s"].gate("to_decoder", open=True)
    recon = lr.losses.mse(m["decoder"](m["z"].through(gate)), m["x"])
    m["s"].loss("recon", recon, updates=[m["encoder"]])
    assert not lr.check(m["s"]).of("dead-route")
    (found,) = lr.check(m["s"].with_gates(to_decoder=False)).of("dead-route")
    assert "`encoder` in updates=" in found.message


def test_a_module_that_is_only_applied_frozen_is_not_starved_by_mistake():
    m = simple()
    m["s"].module("spare", lr.nn.linear(2, 2))
    fixed = m["s"].module("fixed", lr.nn.linear(DIM, DIM))
    m["s"].loss("follow", lr.losses.mse(m["predict"](m["z"]), fixed.frozen(m["z"].stop())))
    levels = {f.subject: f.severity for f in lr.check(m["s"]).of("starved-module")}
    assert levels == {"spare": "note", "fixed": "note"}


def test_a_pose_may_not_read_h_without_a_gate():
    m = Model()
    move = m["s"].module("move", lr.nn.mlp(2 + DIM + 3, 2))

    def declare(h):
        path = lr.scan(
            lambda p, now: p + move(lr.concat(p, *now)),
            init=lr.zeros(2),
            xs=(h.t[:-1], m["a"].one_hot()),
        )
        m["s"].latent("p", path, role=lr.POSE)

    declare(m["h"])
    m["s"].loss("scale", lr.losses.scale(m["s"].latents["p"].expr))
    (found,) = (f for f in lr.check(m["s"]).of("ungated-edge") if f.subject == "p")
    assert found.severity == "error"
    mended = lr.enforce(m["s"])
    assert len(mended.stops) == 1
    assert not mended.report.of("ungated-edge")
    assert mended.report.routes["scale"].modules == {"move"}


# What is compared, however it is written ----------------------------------------------------------


def mean(e: lr.Expr) -> lr.Expr:
    """The mean over whatever axes are left."""
    e = e.mean() if e.shape else e
    for axis in reversed(e.axes):
        e = e.mean(over=axis)
    return e


def agreement(first: lr.Expr, second: lr.Expr) -> lr.Expr:
    return mean((lr.normalise(first) * lr.normalise(second)).sum())


def on_z(write, **losses) -> set[str]:
    """The verdict on z of the loss that `write(m, z, z at t, z at t + 1)` gives."""
    m = Model()
    z = m["z"]
    m["s"].loss("loss", write(m, z, z.t[:-1], z.t[1:]), **losses)
    return set(lr.check(m["s"]).verdicts["loss"]["z"])


@pytest.mark.parametrize(
    "write",
    [
        lambda m, z, now, then: lr.losses.mse(then - now, lr.zeros(DIM)),
        lambda m, z, now, then: mean(lr.square((then - now) * 0.5)),
        lambda m, z, now, then: mean(lr.square((then - now).scale_gradient(0.5) / 3.0)),
        lambda m, z, now, then: mean(lr.square(then + (-now))),
        lambda m, z, now, then: mean(lr.square(z.t[2:] - 2.0 * z.t[1:-1] + z.t[:-2])),
        lambda m, z, now, then: lr.losses.mse(z, z.mean(over="time").stop()),
        lambda m, z, now, then: mean(lr.square(z.windows(3) - z.windows(3).mean(over="step"))),
        lambda m, z, now, then: lr.losses.mse(lr.dropout(z, 0.1, label="mask").t[1:], now),
        lambda m, z, now, then: -agreement(then, now.stop()),
    ],
)
def test_times_are_pulled_together_however_it_is_written(write):
    assert on_z(write) == {"temporal-adjacency"}


def test_pairs_that_a_label_chooses_are_no_neighbours_in_time():
    def tied(m, z, now, then):
        same = m["s"].label("same", (DIM,)).t[1:]
        return mean(lr.square(then - now) * same)

    assert on_z(tied) == set()


def test_a_sum_that_is_doubled_again_and_again_is_read_once():
    def doubled(m, z, now, then):
        for _ in range(60):
            z = z + 0.5 * z
        return lr.losses.mse(m["decoder"](z) + m["decoder"](z), m["x"]) + mean(lr.square(z - 1.0))

    assert on_z(doubled) == {"observation-sufficiency"}


def test_what_is_divided_by_is_pushed_apart():
    crop = {"axes": ("batch", "time")}
    assert on_z(
        lambda m, z, now, then: (
            lr.losses.mse(m["encoder"](m["x"] + m["s"].noise("crop", FRAME, **crop)), z)
            / lr.losses.mse(then, now)
        )
    ) == {"anti:temporal-adjacency"}


def test_a_product_of_scores_and_actions_asks_for_the_action():
    def scores(m, now, then):
        return mean((m["head"](lr.concat(now, then)) * m["a"].one_hot()).sum())

    assert on_z(lambda m, z, now, then: -scores(m, now, then)) == {"action-identity"}
    assert on_z(lambda m, z, now, then: scores(m, now, then)) == {"anti:action-identity"}


def test_a_weight_is_no_agreement():
    def weighted(m, z, now, then):
        return mean((lr.square(m["predict"](z) - z.stop()) * lr.sigmoid(m["predict"](z))).sum())

    assert on_z(weighted) == set()


def test_an_action_less_a_state_is_the_action_still():
    def inverse(m, z, now, then):
        usual = m["s"].state("usual", (3,))
        return lr.losses.mse(m["head"](lr.concat(now, then)), m["a"].one_hot() - usual)

    assert on_z(inverse) == {"action-identity"}


def test_a_centre_or_a_draw_in_the_target_hides_no_prediction():
    def centred(m, z, now, then):
        teacher, centre = m["s"].target(m["encoder"], decay=0.9), m["s"].state("centre", (DIM,))
        guess = m["step"](lr.concat(now, m["a"].one_hot()))
        return lr.losses.mse(guess, teacher(m["x"]).t[1:] - centre)

    def noisy(m, z, now, then):
        draw = m["s"].noise("draw", (DIM,), axes=("batch", "time"))
        guess = m["step"](lr.concat(now, m["a"].one_hot()))
        return lr.losses.mse(guess, then.stop() + draw.t[1:])

    assert on_z(centred) == on_z(noisy) == {"conditioned-prediction"}


@pytest.mark.parametrize("stopped", [True, False])
def test_a_reward_leaves_the_bootstrap_in_the_target(stopped):
    def value(m, z, now, then):
        score = m["s"].module("score", lr.nn.mlp(DIM + 3, 1))
        reward = m["s"].label("reward", (1,))
        ahead = m["predict"](then).mean()
        target = reward.t[:-1].mean() + 0.9 * (ahead.stop() if stopped else ahead)
        return lr.losses.mse(score(lr.concat(now, m["a"].one_hot())).mean(), target)

    live = set() if stopped else {"target-live"}
    assert on_z(value) == {"conditioned-prediction"} | live


def test_a_label_with_classes_is_no_action_that_a_prediction_must_read():
    m = Model()
    m["s"].label("room", classes=5)
    guess = m["step"](lr.concat(m["z"].t[:-1], m["a"].one_hot()))
    m["s"].loss("jepa", lr.losses.mse(guess, m["z"].t[1:].stop()))
    assert not lr.check(m["s"]).of("under-conditioned")


def test_a_goal_is_no_time_of_the_side_that_reads_it():
    def guess(m, z):
        towards = m["s"].module("towards", lr.nn.mlp(2 * DIM + 3, DIM))
        return towards(lr.concat(z.t[:-1], z.t[-1].stop(), m["a"].one_hot()))

    assert on_z(lambda m, z, now, then: lr.losses.mse(guess(m, z), then.stop())) == {
        "conditioned-prediction"
    }
    assert on_z(lambda m, z, now, then: lr.losses.mse(m["decoder"](guess(m, z)), m["x"].t[1:])) == {
        "rendered-prediction"
    }


def test_a_side_that_a_mask_freezes_does_not_move():
    m = Model()
    m["s"].loss("pull", lr.losses.mse(m["h_to_z"](m["h"].t[1:]), m["z"].t[1:]))
    m["s"].loss(
        "masked", lr.losses.mse(m["h_to_z"](m["h"].t[1:]), m["z"].t[1:]), updates=[m["encoder"]]
    )
    verdicts = lr.check(m["s"]).verdicts
    assert "target-live" in verdicts["pull"]["z"]
    assert verdicts["masked"]["z"] == {"conditioned-prediction"}
    assert verdicts["masked"]["h"] == {"isolated"}


def test_a_latent_that_a_target_makes_is_shaped_through_the_student():
    m = Model()
    m["z"] = m["s"].latent("z", m["s"].target(m["encoder"], decay=0.9)(m["x"]), role=lr.PLACE)
    online = m["encoder"](m["x"])
    pair = lr.concat(online.t[:-1], online.t[1:])
    m["s"].loss("inverse", lr.losses.cross_entropy(m["head"](pair), m["a"]))
    assert lr.check(m["s"]).verdicts["inverse"]["z"] == {"action-identity"}
    assert lr.enforce(m["s"]).report.verdicts["inverse"]["z"] == {"isolated"}


def test_a_cell_that_reads_frames_is_not_bent_by_its_own_carry():
    m = Model()
    cell = m["s"].module("cell", lr.nn.gru(4, 4))
    x = m["s"].observation("sensor", (4,))
    h = m["s"].latent("h", lr.scan(cell, init=lr.zeros(4), xs=x.t[:-1]), role=lr.DYNAMICS)
    m["s"].loss("now", lr.losses.mse(h, x))
    assert lr.check(m["s"]).verdicts["now"]["h"] == {"rendered-prediction"}


def test_a_finding_shows_the_side_that_reads_its_latent():
    m = Model()
    other = m["s"].module("other", lr.nn.conv_encoder(FRAME, DIM, channels=(4,)))
    m["s"].latent("y", other(m["x"]), role=lr.PLACE)
    m["s"].loss("agree", lr.losses.mse(m["z"], m["s"].latents["y"].expr))
    paths = {f.subject: f.path for f in lr.check(m["s"]).of("target-live")}
    assert paths["z"].startswith("agree <- z[t] <- encoder")
    assert paths["y"].startswith("agree <- y[t] <- other")


def test_many_times_are_shown_by_the_first_and_the_last():
    m = Model()
    guess = m["predict"](m["z"].t[:-4])
    m["s"].loss("far", lr.losses.mse(guess, m["z"].t[4:].stop()))
    (found,) = lr.check(m["s"]).of("under-conditioned")
    assert found.message.endswith("without reading a[t], ..., a[t+3]")


# First frames -------------------------------------------------------------------------------------


def test_a_loss_on_the_start_of_a_loop_is_not_vacuous_and_reaches_the_latent():
    m = Model()
    start = m["predict"](m["z"].t[0])
    m["s"].loss("start", lr.losses.mse(m["h"].stop(), lr.prepend(start, m["h"].t[1:].stop())))
    report = lr.check(m["s"])
    assert not report.of("vacuous-loss")
    assert report.verdicts["start"]["z"] == set()


def test_the_own_time_of_a_latent_is_that_of_its_latest_frame():
    m = Model()
    m["s"].latent("late", m["encoder"](m["x"].t[1:]), role=lr.PLACE)
    pair = lr.concat(m["x"].t[1:], m["x"].t[:-1])
    tall = m["s"].module("tall", lr.nn.Sequential((lr.nn.Flatten(3), lr.nn.linear(384, DIM))))
    m["s"].latent("stack", tall(pair), role=lr.PLACE)
    (found,) = lr.check(m["s"]).of("history-admitting")
    assert found.message == "`stack` (PLACE) is computed from x[t-1]"


# What keeps a latent from collapsing --------------------------------------------------------------


def collapses(write) -> bool:
    m = Model()
    m["s"].loss("loss", write(m, m["z"]))
    return bool(lr.check(m["s"]).of("requirement-unmet"))


def test_a_classifier_that_is_fooled_is_content_with_a_constant():
    def fooled(factor):
        def write(m, z):
            read = m["predict"](z.scale_gradient(factor))
            return lr.losses.cross_entropy(read, m["s"].label("room", classes=DIM))

        return write

    assert collapses(fooled(-1.0))
    assert not collapses(fooled(1.0))


def test_what_is_pushed_from_itself_does_not_collapse():
    spread = lambda z: lr.square(z - z.mean(over="batch"))  # noqa: E731
    assert collapses(lambda m, z: mean(spread(z)))
    assert not collapses(lambda m, z: mean(lr.relu(1.0 - spread(z).mean(over="batch"))))


def test_a_latent_that_is_the_frame_itself_is_data():
    m = simple()
    m["s"].latent("frame", m["x"], role=lr.EQUIVARIANT)
    report = lr.check(m["s"])
    assert not report.of("requirement-unmet")
    assert not report.of("ungated-edge")


def test_losses_that_only_look_alike_are_no_duplicates():
    m = Model()
    s, z = m["s"], m["z"]
    error = lr.square(m["decoder"](z) - m["x"])
    s.loss("plain", mean(error))
    s.loss("margin", mean(lr.relu(error - 1.0)))
    s.loss("weighted", mean(error * lr.exp(-error).stop()))
    s.loss("forwards", lr.losses.mse(z.t[1:].stop(), z.t[:-1]))
    s.loss("backwards", lr.losses.mse(z.t[1:], z.t[:-1].stop()))
    drawn = m["decoder"](m["predict"](z))
    s.loss("whole", lr.losses.mse(drawn, m["x"]))
    s.loss("masked", lr.losses.mse(drawn, m["x"]), updates=[m["decoder"]])
    s.loss("frozen", lr.losses.mse(m["encoder"].frozen(m["decoder"](z)), z.stop()))
    s.loss("thawed", lr.losses.mse(m["encoder"](m["decoder"](z)), z.stop()))
    assert not lr.check(s).of("duplicate-loss")


# Allowances, reports ------------------------------------------------------------------------------


def test_an_allowance_is_printed_with_its_reason():
    m = simple()
    assert not lr.check(m["s"]).clean
    m["s"].allow("LR209", loss="recon", latent="z", because="the report shows frames")
    report = lr.check(m["s"])
    assert report.clean
    assert report.allowed[0].because == "the report shows frames"
    assert "because the report shows frames" in str(report)


def test_an_allowance_covers_one_place_only():
    m = simple()
    m["s"].loss("again", lr.losses.mse(m["decoder"](m["z"].t[1:]), m["x"].t[1:] * 2.0))
    m["s"].allow("observation-sufficiency", loss="recon", because="why not")
    assert [f.loss for f in lr.check(m["s"]).of("observation-sufficiency")] == ["again"]


def test_an_allowance_for_another_position_of_a_gate_is_no_finding():
    m = Model()
    gate = m["s"].gate("to_decoder", open=False)
    m["s"].loss("recon", lr.losses.mse(m["decoder"](m["z"].through(gate)), m["x"]))
    m["s"].allow("observation-sufficiency", loss="recon", because="frames are needed")
    assert not lr.check(m["s"]).of("unused-allowance")


def test_an_allowance_for_a_loss_that_nobody_declares_is_noted():
    m = simple()
    m["s"].loss("later", lr.losses.mse(m["z"], m["z"].stop()), weight=0.0)
    m["s"].allow("observation-sufficiency", loss="reccon", because="a slip of the pen")
    m["s"].allow("observation-sufficiency", loss="later", because="its weight is 0 for now")
    (found,) = lr.check(m["s"]).of("unused-allowance")
    assert 'loss="reccon"' in found.message
    assert "Did you mean 'recon'?" in found.message


def test_a_loss_in_no_phase_is_dead():
    m = simple()
    m["s"].loss("again", lr.losses.mse(m["decoder"](m["z"].t[1:]), m["x"].t[1:] * 2.0))
    m["s"].phase("only", losses=["recon"])
    (found,) = lr.check(m["s"]).of("dead-route")
    assert found.message == "loss `again` stands in no phase: only"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "action-identiti"}, "no rule 'action-identiti'. Did you mean 'action-identity'?"),
        ({"rule": "LR209", "module": "encodr"}, "no module 'encodr'. Did you mean 'encoder'?"),
        ({"rule": "LR209", "latent": "y"}, "no latent 'y'"),
    ],
)
def test_an_allowance_that_names_nothing_is_refused(arguments, message):
    with pytest.raises(lr.SpecError, match=message.replace("?", r"\?").replace(".", r"\.")):
        simple()["s"].allow(**arguments, because="of this")


def test_a_role_of_ones_own_decides():
    quiet = lr.Role("QUIET", "may be reconstructed", cautions=frozenset({"action-identity"}))
    m = Model()
    m["z"] = m["s"].latent("z", m["encoder"](m["x"]), role=quiet)
    m["s"].loss("recon", lr.losses.mse(m["decoder"](m["z"]), m["x"]))
    pair = lr.concat(m["z"].t[:-1], m["z"].t[1:])
    m["s"].loss("inverse", lr.losses.cross_entropy(m["head"](pair), m["a"]))
    report = lr.check(m["s"])
    assert report.ok
    assert [f.rule for f in report.warnings] == ["action-identity"]


@pytest.mark.parametrize("field", ["forbids", "cautions", "requires"])
def test_a_role_that_names_no_rule_is_refused(field):
    with pytest.raises(lr.SpecError, match="open-loop-rolout"):
        lr.Role("MINE", "is mine", **{field: frozenset({"open-loop-rolout"})})


def test_a_report_reads_as_text_json_and_annotations():
    report = lr.check(example("action-identity"))
    text = str(report)
    assert "test_check.py" not in text.split("\n")[0] or ": error LR201" in text
    assert "inverse_dynamics_z <- head <- z[t], z[t+1] <- encoder        target: a[t]" in text
    assert "making a[t] readable from z[t], z[t+1]" in text
    assert "measure: latentroles evaluate RUN --only leakage" in text
    assert text.endswith(report.summary())
    data = json.loads(json.dumps(report.to_json()))
    assert data["findings"][0]["code"] == "LR201"
    assert data["verdicts"]["inverse_dynamics_z"]["z"] == ["action-identity"]
    assert data["ok"] is False
    line = report.github().splitlines()[0]
    assert line.startswith("::error ")
    assert "title=LR201 action-identity::loss `inverse_dynamics_z`" in line
    assert "%0A" in line


def test_a_finding_stands_on_the_line_of_its_loss():
    names = Model()
    spec = names["s"]
    spec.loss("recon", lr.losses.mse(names["decoder"](names["z"]), names["x"]))
    (found,) = lr.check(spec).of("observation-sufficiency")
    assert found.place is not None
    assert found.place[0].endswith("test_check.py")
    assert f"{found.place[1]}: warning LR209" in str(lr.check(spec))


def test_annotations_escape_what_workflow_commands_read():
    finding = find("dead-route", loss="a", place=("x,y:z.py", 3), detail="100%\nmore")
    text = lr.Report("r", [finding], lr.routes(simple()["s"])).github()
    assert "file=x%2Cy%3Az.py,line=3" in text
    assert "100%25%0Amore" in text


def test_the_reason_of_a_rule_is_said_once():
    m = simple()
    m["s"].loss("again", lr.losses.mse(m["decoder"](m["z"].t[1:]), m["x"].t[1:] * 2.0))
    assert str(lr.check(m["s"])).count("is rewarded like the place itself") == 1


def test_check_takes_a_spec():
    with pytest.raises(lr.SpecError, match="check takes a Spec"):
        lr.check(lambda: None)
    with pytest.raises(lr.SpecError, match="no rule 'nothing'"):
        lr.check(simple()["s"]).of("nothing")


def test_a_spec_with_nothing_in_it_has_nothing_to_say():
    report = lr.check(lr.Spec("empty"))
    assert report.clean
    assert str(report) == "empty: no findings"


def test_enforce_stops_a_latent_where_a_loop_runs_over_it():
    m = Model()
    h = lr.scan(lambda c, u: 0.5 * c + u, init=lr.zeros(DIM), xs=m["z"])
    m["s"].loss("ahead", lr.losses.mse(m["decoder"](h.t[1:-1]), m["x"].t[1:]))
    assert [f.rule for f in lr.check(m["s"]).errors] == ["rendered-prediction"]
    mended = lr.enforce(m["s"])
    assert mended.report.ok
    assert mended.stops == ("loss ahead: z is stopped where a loop reads it",)


# Diff ---------------------------------------------------------------------------------------------


def test_diff_says_what_a_gate_changes():
    m = Model()
    gate = m["s"].gate("to_decoder", open=True)
    m["s"].loss("recon", lr.losses.mse(m["decoder"](m["z"].through(gate)), m["x"]))
    closed = m["s"].with_gates(to_decoder=False)
    changes = lr.diff(m["s"], closed)
    assert "recon -> encoder: live -> stopped (gate to_decoder)" in changes.routes
    assert changes.verdicts == ("recon on z: observation-sufficiency -> isolated",)
    assert [f.rule for f in changes.new] == ["starved-module"]
    assert [f.rule for f in changes.gone] == ["observation-sufficiency"]
    assert "recon on z" in str(changes)


def test_diff_of_specs_with_other_latents_compares_those_they_share():
    renamed = Model()
    spec = renamed["s"]
    place = spec.latent("place", renamed["encoder"](renamed["x"]), role=lr.PLACE)
    spec.loss("recon", lr.losses.mse(renamed["decoder"](place), renamed["x"]))
    changes = lr.diff(simple()["s"], spec)
    assert set(changes.routes) == {"latent z is gone", "latent place is new"}
    assert changes.verdicts == ()


def test_a_verdict_is_a_mapping_of_latents():
    verdict = lr.check(simple()["s"]).verdicts["recon"]
    assert "z" in verdict
    assert "y" not in verdict
    assert verdict.get("y") is None
    with pytest.raises(KeyError, match="no latent 'y'"):
        verdict["y"]


def test_diff_of_a_spec_with_itself_is_empty():
    spec = simple()["s"]
    assert not lr.diff(spec, spec)
    assert str(lr.diff(spec, spec)) == "routes and verdicts are the same"
