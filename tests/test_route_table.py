"""The route table as data: paths, golden files, differences, drawings."""

import json

import pytest

import latentroles as lr
from latentroles.routes import draw
from latentroles.routes.table import Cell, KnownRow
from verdicts import model


def table() -> lr.RouteTable:
    return lr.routes(model("jepa", z_to_h=True))


def test_a_path_names_what_a_route_passes():
    row = table()["jepa"]
    assert row.path("encoder") == ("jepa", "h_to_z", "h", "predictor", "z", "encoder")
    assert row.path("z") == ("jepa", "h_to_z", "h", "predictor", "z")
    assert row.path("decoder") == ()


def test_a_table_saved_and_loaded_is_the_same(tmp_path):
    file = tmp_path / "routes.json"
    table().save(file)
    read = lr.RouteTable.load(file)
    assert read == table()
    assert read.differences(table()) == ()
    assert str(read) == str(table())
    assert read.markdown() == table().markdown()


def test_a_changed_route_changes_lines_of_the_golden_file(tmp_path):
    before, after = (json.dumps(t.to_json(), indent=2).splitlines() for t in _two())
    assert 0 < len(set(after) ^ set(before)) < 10


def _two() -> tuple[lr.RouteTable, lr.RouteTable]:
    return lr.routes(model("recon")), lr.routes(model("recon", z_to_head=True))


def test_differences_are_listed():
    before, after = _two()
    assert before.differences(after) == (
        "recon -> encoder: stopped (gate z_to_head) -> live",
        "recon -> z: stopped (gate z_to_head) -> live",
    )
    other = lr.routes(model("scale_dp"))
    assert set(before.differences(other)) == {"loss recon is gone", "loss scale_dp is new"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "has the format 'latentroles-routes/1', got 'list'"),
        ('{"format": "latentroles-routes/1"}', "damaged"),
        (
            '{"format": "latentroles-routes/1", "modules": [], "targets": [], "latents": [],'
            ' "routes": {"a": {"b": {"status": "alive"}}}}',
            "'alive' is none of live",
        ),
    ],
)
def test_a_damaged_golden_file_is_refused(tmp_path, text, message):
    file = tmp_path / "routes.json"
    file.write_text(text)
    with pytest.raises(lr.SpecError, match=message):
        lr.RouteTable.load(file)


def test_a_missing_golden_file_is_refused(tmp_path):
    with pytest.raises(lr.SpecError, match=r"cannot be read: No such file.*table\.save"):
        lr.RouteTable.load(tmp_path / "none.json")


def test_a_table_can_be_made_by_hand():
    row = KnownRow("actor", {"pi": Cell("live"), "v": Cell("frozen")}, modules=["pi", "v"])
    made = lr.RouteTable([row], modules=["pi", "v"])
    assert made["actor"].modules == {"pi"}
    assert str(made["actor"]["v"]) == "frozen"
    assert "gradient flows into" not in str(made)
    for row in (made["actor"], table()["jepa"]):
        for ask in (row.path, row.__getitem__):
            with pytest.raises(lr.SpecError, match="no module or latent 'encodr' in"):
                ask("encodr")


def test_a_stop_on_what_carries_no_gradient_is_not_named():
    cell = lr.routes(model("recon_multi_box"))["recon_multi_box"]["encoder"]
    assert str(cell) == "stopped (gate z_to_head)"


# Drawings -----------------------------------------------------------------------------------------


def links(loss: str | None = None, **gates: bool) -> tuple[set, set]:
    drawing = draw(model("jepa", **gates), loss)
    return set(drawing.links), set(drawing.route)


def test_a_drawing_has_every_part_and_every_stop():
    drawing = draw(model("jepa"))
    assert drawing.parts["x"] == "input"
    assert drawing.parts["z"] == "latent"
    assert drawing.parts["encoder"] == "module"
    assert drawing.parts["loss jepa"] == "loss"
    found = set(drawing.links)
    assert {("x", "encoder", None), ("encoder", "z", None), ("z", "loss jepa", "stop")} <= found
    assert ("z", "predictor", "gate z_to_h") in found
    assert ("h", "h_to_z", None) in found
    assert not drawing.route


def test_a_route_stands_out():
    _, route = links("jepa")
    assert ("h_to_z", "loss jepa", None) in route
    assert ("predictor", "h", None) in route
    assert not any("encoder" in link for link in route)
    _, route = links("jepa", z_to_h=True)
    assert {("z", "predictor", None), ("encoder", "z", None)} <= route


def test_a_route_is_drawn_where_gradient_flows_alone():
    everything, route = links("h2z", z_to_h=True)
    assert route <= everything
    assert all(cut is None for _, _, cut in route)
    assert not any(read == "x" for read, _, _ in route)


def test_a_drawing_of_a_target_and_a_frozen_module():
    s = lr.Spec("teacher")
    x = s.observation("x", (2,))
    encoder = s.module("encoder", lr.nn.linear(2, 2))
    teacher = s.target(encoder, decay=0.9)
    s.loss("follow", lr.losses.mse(encoder(x), teacher(x)))
    drawing = draw(s, "follow")
    assert drawing.parts["encoder_target"] == "target"
    assert ("encoder_target", "loss follow", "stop") in drawing.links
    assert drawing.route == {("encoder", "loss follow", None)}
    assert '[["encoder_target"]]' in drawing.mermaid()
    assert "style=dashed" in drawing.dot()
