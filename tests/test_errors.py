"""What a wrong declaration is told: the user's line, the rule, what was received, the fix."""

import contextlib
import dataclasses
import functools
import math
import re
import runpy

import numpy as np
import pytest

import latentroles as lr
from latentroles import plugins
from latentroles.arguments import choice
from latentroles.errors import nearest, user_place


def parts() -> tuple[lr.Spec, lr.Expr, lr.Expr]:
    s = lr.Spec("wrong")
    x = s.observation("x", (3,))
    encoder = s.module("encoder", lr.nn.linear(3, 4))
    return s, x, s.latent("z", encoder(x), role=lr.PLACE)


def line_of(error: lr.LatentrolesError) -> str:
    """The source line that the message starts with."""
    found = re.match(r"test_errors\.py:(\d+): ", str(error))
    assert found, f"the message does not start with the user's line: {error}"
    with open(__file__) as file:
        return file.read().splitlines()[int(found[1]) - 1]


def test_a_shape_mismatch_points_at_the_line_and_names_both_sides():
    _, x, z = parts()
    with pytest.raises(lr.ShapeError) as caught:
        lr.losses.mse(z, x)  # here
    assert line_of(caught.value).endswith("# here")
    assert "(batch, T, 4) float and (batch, T, 3) float" in str(caught.value)


def test_unequal_time_says_how_to_cut():
    _, _, z = parts()
    with pytest.raises(lr.ShapeError, match=r"T - 1.*and.*T, 4.*\.t\[1:\]") as caught:
        z.t[1:] - z  # here
    assert line_of(caught.value).endswith("# here")


def test_a_module_on_the_wrong_shape_names_both():
    s, _, z = parts()
    head = s.module("head", lr.nn.mlp(5, 2))
    with pytest.raises(lr.ShapeError, match=r"\(5,\).*\(4,\).*module 'head'") as caught:
        head(z)  # here
    assert line_of(caught.value).endswith("# here")


def test_updates_lists_what_the_loss_can_reach():
    s, x, z = parts()
    other = s.module("other", lr.nn.linear(4, 4))
    decoder = s.module("decoder", lr.nn.linear(4, 3))
    with pytest.raises(lr.RouteError, match=r"'other'.*can reach: decoder, encoder"):
        s.loss("recon", lr.losses.mse(decoder(z), x), updates=[other])
    assert not s.losses


WRONG = {
    "a loss that is no scalar": (lambda s, x, z: s.loss("l", z), "must be a float scalar"),
    "a negative weight": (
        lambda s, x, z: s.loss("l", lr.losses.mse(z, z), weight=-1.0),
        r"positive, finite weight, got -1.0.*scale_gradient",
    ),
    "a name taken twice": (lambda s, x, z: s.module("z", lr.nn.linear(2, 2)), "declared latent"),
    "a name that is none": (lambda s, x, z: s.module("a b", lr.nn.linear(2, 2)), "identifier"),
    "a role that is none": (lambda s, x, z: s.latent("y", z, role="PLACE"), "a role such as"),
    "an Expr as a condition": (lambda s, x, z: bool(z), "no truth value"),
    "an Expr taken apart": (lambda s, x, z: tuple(z), "lr.split"),
    "an array in a declaration": (lambda s, x, z: z + np.zeros(4), "Arrays are not part"),
    "two specs": (lambda s, x, z: z + parts()[2], "different Specs"),
    "a positive end of time": (lambda s, x, z: z.t[:3], "T is not known here"),
    "a step axis that is not there": (lambda s, x, z: z.k[0], "step axis"),
    "an EMA decay beyond 1": (
        lambda s, x, z: s.target(s.modules["encoder"], decay=1.5),
        "decay must be a number from 0 to 1; received 1.5",
    ),
    "an EMA decay that is scheduled beyond 1": (
        lambda s, x, z: s.target(s.modules["encoder"], decay=lr.cosine(0.9, 5, 3.0)),
        "at every step; received a schedule from 0.9 to 3.0",
    ),
    "an EMA decay that grows past 1 later": (
        lambda s, x, z: s.target(
            s.modules["encoder"], decay=lr.warmup(0.9, 5, then=lr.cosine(0.9, 5, 1.1))
        ),
        "at every step; received a schedule from 0.15 to 1.1",
    ),
    "an EMA decay that is text": (
        lambda s, x, z: s.target(s.modules["encoder"], decay="0.9"),
        "decay must be a number from 0 to 1; received '0.9'",
    ),
    "a weight that turns negative": (
        lambda s, x, z: s.loss("w", lr.losses.mse(z, z.stop()), weight=lr.cosine(1.0, 5, -1.0)),
        "at least 0 at every step; received a schedule from -1.0 to 1.0",
    ),
    "a weight that is a truth value": (
        lambda s, x, z: s.loss("w", lr.losses.mse(z, z.stop()), weight=True),
        "a number or a schedule",
    ),
    "more classes than logits": (
        lambda s, x, z: lr.losses.cross_entropy(z, s.label("seven", classes=7)),
        "4 logits for the 7 classes",
    ),
    "a measure of more classes than logits": (
        lambda s, x, z: lr.measures.accuracy(z, s.label("seven", classes=7)),
        "4 logits for the 7 classes",
    ),
    "a dropout rate that is none": (
        lambda s, x, z: lr.dropout(z, None, label="l"),
        "rate must be a number of at least 0 and less than 1; received None",
    ),
    "a gate of nobody": (lambda s, x, z: z.through(lr.Spec("o").gate("g", open=True)), "a gate of"),
    "an unknown phase loss": (lambda s, x, z: s.phase("p", losses=["zz"]), "no declared loss 'zz'"),
    "a carry that changes": (
        lambda s, x, z: lr.scan(lambda h, u: u, init=lr.zeros(2), xs=z),
        "must keep the type of its carry",
    ),
    "a loop in a loop": (
        lambda s, x, z: lr.scan(
            lambda h, u: lr.rollout(lambda k: k, start=h, horizon=2), init=lr.zeros(4), xs=z
        ),
        "inside the step of a loop",
    ),
    "a loss in a loop": (
        lambda s, x, z: lr.scan(lambda h, u: h + lr.losses.mse(h, u), init=lr.zeros(4), xs=z),
        "outside",
    ),
    "a constant as a loss": (lambda s, x, z: s.loss("l", 3.0), "the constant 3.0"),
    "an index on an Expr": (lambda s, x, z: z[0], r"\.t\[1:\]"),
    "an array times an Expr": (lambda s, x, z: np.ones(4) * z, "Arrays are not part"),
    "a product of matrices": (lambda s, x, z: z @ z, "apply a module"),
    "another power": (lambda s, x, z: z**3, "the only power"),
    "a box of arrays": (
        lambda s, x, z: lr.Box(np.zeros(2), np.ones(2), (2,)),
        "two finite numbers",
    ),
    "a box of no sizes": (
        lambda s, x, z: lr.Box(0, 1, None),
        "sizes of its entries, got None.*Fix",
    ),
    "a box of a share": (lambda s, x, z: lr.Box(0, 1, (2.5,)), r"got \(2.5,\).*Fix"),
    "a box of words": (lambda s, x, z: lr.Box(0, 1, "ab"), "got 'ab'.*Fix"),
    "no class": (lambda s, x, z: lr.Discrete(0), "positive number of classes, got 0.*Fix"),
    "a class or not": (lambda s, x, z: lr.Discrete(True), "got True.*Fix"),
    "half a class": (lambda s, x, z: lr.Discrete(1.5), "got 1.5.*Fix"),
    "an allowance of no rule": (
        lambda s, x, z: s.allow("vacuous", because="so"),
        "Did you mean 'vacuous-loss'",
    ),
    "an allowance without reason": (
        lambda s, x, z: s.allow("vacuous-loss", because=" "),
        "a reason",
    ),
    "a noise that is a list": (
        lambda s, x, z: s.noise(["mask"], (4,)),
        r"a noise's name is a Python identifier.*got \['mask'\]",
    ),
    "a label that is a list": (
        lambda s, x, z: lr.dropout(z, 0.5, label=["mask"]),
        r"a noise's name is a Python identifier.*got \['mask'\]",
    ),
    "noise along no axis": (lambda s, x, z: s.noise("n", (4,), axes=3), "leading axes.*got 3"),
    "noise along a word": (lambda s, x, z: s.noise("n", (4,), axes="time"), "axes.*got 'time'"),
    "a rate that is text": (lambda s, x, z: s.noise("n", (4,), rate="1"), "rate <= 1, got '1'"),
    "an allowance of a list": (
        lambda s, x, z: s.allow(["vacuous-loss"], because="so"),
        "allow names no rule",
    ),
    "a phase of a word": (lambda s, x, z: s.phase("p", losses="l"), "list of losses .*got 'l'"),
    "a phase of a number": (lambda s, x, z: s.phase("p", losses=3), "list of losses .*got 3"),
    "a phase of lists": (lambda s, x, z: s.phase("p", losses=[["l"]]), r"no declared loss \['l'\]"),
    "a phase of no step": (lambda s, x, z: s.phase("p", losses=[], steps=0), "steps .*received 0"),
    "a state that begins with text": (
        lambda s, x, z: s.state("c", (2,), init="0"),
        "init must be a finite number; received '0'",
    ),
    "a state that changes shape": (
        lambda s, x, z: s.update(s.state("c", (2,)), z.mean(over="time").mean(over="batch")),
        "must be equal",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_declaration_is_told(case):
    declare, message = WRONG[case]
    with pytest.raises(lr.LatentrolesError, match=message) as caught:
        declare(*parts())
    assert "test_errors.py:" in str(caught.value)


def test_a_latent_reads_no_label():
    s, _, _ = parts()
    y = s.label("y", (4,))
    with pytest.raises(lr.SpecError, match=r"label 'y'.*observation"):
        s.latent("w", s.modules["encoder"](s.inputs["x"]) + y, role=lr.PLACE)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_batch_without_a_column_names_it(backend):
    s, x, z = parts()
    s.loss("recon", lr.losses.mse(s.module("decoder", lr.nn.linear(4, 3))(z), x))
    model = lr.compile(s, backend=backend)
    with pytest.raises(lr.DataError, match=r"reads the column 'x'.*'xx'"):
        model(model.inputs({}) | {"xx": np.zeros((2, 3, 3))})
    with pytest.raises(lr.DataError, match=r"\(batch, T, 3\) float, got \(2, 3, 5\)"):
        model(model.inputs({"x": np.zeros((2, 3, 5), np.float32)}))


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_module_named_like_the_framework_s_own_is_refused(backend):
    s = lr.Spec("wrong")
    x = s.observation("x", (3,))
    s.loss("l", lr.losses.mse(s.module("encode", lr.nn.linear(3, 3))(x), x))
    with pytest.raises(lr.SpecError, match=r"'encode'.*Rename"):
        lr.compile(s, backend=backend)


def test_noise_is_asked_for():
    s, x, z = parts()
    noisy = lr.dropout(z, 0.5, label="mask")
    s.loss("recon", lr.losses.mse(s.module("decoder", lr.nn.linear(4, 3))(noisy), x))
    model = lr.compile(s, backend="torch")
    batch = {"x": np.zeros((2, 3, 3), np.float32)}
    with pytest.raises(lr.SpecError, match=r"model.noise"):
        model(model.inputs(batch))
    with pytest.raises(lr.DataError, match="like=batch"):
        model.noise(0)


def test_an_unknown_plugin_offers_the_nearest():
    with pytest.raises(lr.PluginError, match="Did you mean 'hzp'"):
        plugins.spec("hpz")
    with pytest.raises(lr.PluginError, match="Known: jax, torch"):
        plugins.backend("mxnet")


def test_damaged_json_is_a_spec_error():
    s, _, _ = parts()
    data = s.to_json()
    with pytest.raises(lr.SpecError, match="format 1, got 7"):
        lr.Spec.from_json({**data, "format": 7})
    with pytest.raises(lr.SpecError, match="damaged"):
        lr.Spec.from_json({k: v for k, v in data.items() if k != "nodes"})


@pytest.mark.parametrize(
    ("name", "hint"), [("detach", r"\.stop\(\)"), ("view", "lr.reshape"), ("nothing", "'nothing'")]
)
def test_an_attribute_of_the_frameworks_has_a_name_here(name, hint):
    x = lr.Spec("t").observation("x", (2,))
    with pytest.raises(AttributeError, match=hint):
        getattr(x, name)
    assert not hasattr(x, name)


@pytest.mark.parametrize("declare", [lr.Spec.loss, lr.Spec.measure])
def test_the_total_of_the_losses_has_its_name_to_itself(declare):
    s, _, z = parts()
    with pytest.raises(lr.SpecError, match="'total' would be the column") as caught:
        declare(s, "total", lr.losses.mse(z, z.stop()))  # here
    assert line_of(caught.value).endswith("# here")


def test_reshape_takes_sizes_one_by_one():
    _, _, z = parts()
    assert lr.reshape(z, 2, np.int64(2)).shape == (2, 2)
    with pytest.raises(lr.SpecError, match="the sizes, one by one") as caught:
        lr.reshape(z, (2, 2))  # here
    assert line_of(caught.value).endswith("# here")


def test_an_action_is_equal_however_its_sizes_are_written():
    """A count from an array is an integer like others, in the declaration and in its JSON."""
    assert lr.Discrete(np.int64(3)) == lr.Discrete(3)
    assert type(lr.Discrete(np.int64(3)).n) is int
    assert lr.Box(0, 1, np.int64(2)) == lr.Box(0.0, 1.0, (2,))
    assert lr.Box(0, 1, ()).shape == ()


def test_the_nearest_name_is_found_whatever_its_case():
    assert nearest("EMA", ["ema", "none"]) == " Did you mean 'ema'?"


def test_a_choice_lists_what_there_is_once():
    known = ("linear", "logistic")
    with pytest.raises(lr.SpecError) as caught:
        choice("probe", "kind", "tree", known)
    assert str(caught.value).partition(": ")[2] == (
        "probe: kind must be one of 'linear', 'logistic'; received 'tree'. Fix: pass "
        "kind='linear', say."
    )
    with pytest.raises(lr.SpecError, match=r"received 'linaer'\. Did you mean 'linear'\?$"):
        choice("probe", "kind", "linaer", known)


# Whose line it is ------------------------------------------------------------------------------


def test_a_line_of_the_standard_library_is_not_the_user_s():
    stopping = lr.EarlyStopping(patience=1)
    with pytest.raises(lr.SpecError, match="min_delta") as caught:
        dataclasses.replace(stopping, min_delta=math.nan)  # here
    assert line_of(caught.value).endswith("# here")
    stack = contextlib.ExitStack()
    stack.callback(functools.partial(lr.EarlyStopping, patience=1, min_delta=-1.0))
    with pytest.raises(lr.SpecError, match="min_delta") as caught:
        stack.close()  # here
    assert line_of(caught.value).endswith("# here")


def test_a_user_s_module_may_have_the_name_of_a_library(tmp_path):
    file = tmp_path / "statistics.py"
    file.write_text("import latentroles as lr\nlr.EarlyStopping(patience=0)\n")
    with pytest.raises(lr.SpecError, match=r"^statistics\.py:2: "):
        runpy.run_path(str(file), run_name="statistics")


def test_what_is_written_on_the_fly_has_no_line():
    """The __init__ that a dataclass is given: its call is the line."""

    @dataclasses.dataclass
    class Written:
        at: object = dataclasses.field(default_factory=user_place)

    place = Written().at  # here
    assert place[0] == __file__
    with open(__file__) as file:
        assert file.read().splitlines()[place[1] - 1].endswith("# here")
