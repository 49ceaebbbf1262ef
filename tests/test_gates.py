"""A gate is static: what is not True or False is refused on the user's line, with the way out."""

import json

import pytest

import latentroles as lr


def a_spec() -> tuple[lr.Spec, lr.Expr]:
    s = lr.Spec("gated")
    x = s.observation("x", (3,))
    return s, s.latent("z", s.module("encoder", lr.nn.linear(3, 2))(x), role=lr.PLACE)


CONDITIONS = {
    "Expr": lambda z: z.mean(),
    "callable": lambda z: lambda step: step > 100,
    "schedule": lambda z: lr.warmup(1.0, 100),
    "threshold": lambda z: 0.1,
    "number": lambda z: 1,
    "text": lambda z: "False",
    "nothing": lambda z: None,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_is_refused_with_the_reason_and_the_way_out(condition):
    s, z = a_spec()
    with pytest.raises(lr.SpecError) as caught:
        s.gate("to_h", open=CONDITIONS[condition](z))
    said = str(caught.value)
    assert said.startswith("test_gates.py:")
    assert "gate 'to_h': open must be True or False; received" in said
    for words in ("static", "route table", "cannot be checked", "weight=lr.warmup", "two phases"):
        assert words in said
    assert not s.gates


def test_the_way_out_by_phases_opens_the_route_in_one_of_them():
    s, z = a_spec()
    head, y = s.module("head", lr.nn.linear(2, 1)), s.label("y", (1,))
    s.loss("apart", lr.losses.mse(head(z.stop()), y))
    s.loss("together", lr.losses.mse(head(z), y), weight=lr.warmup(1.0, 10))
    s.phase("first", losses=["apart"])
    s.phase("second", losses=["together"])
    routes = lr.routes(s)
    assert routes["apart"].modules == {"head"}
    assert routes["together"].modules == {"head", "encoder"}


def test_the_same_holds_for_copies_and_files():
    s, _ = a_spec()
    s.gate("to_h", open=True)
    assert s.with_gates(to_h=False).gates["to_h"].open is False
    with pytest.raises(lr.SpecError, match="open must be True or False; received 'no'"):
        s.with_gates(to_h="no")
    data = json.loads(json.dumps(s.to_json()))
    data["gates"][0]["open"] = 1
    with pytest.raises(lr.SpecError, match="open must be True or False; received 1"):
        lr.Spec.from_json(data)
