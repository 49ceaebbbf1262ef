"""Runs side by side: what differs is shown, and what is missing is said."""

import json
import math
import shutil

import numpy as np
import pytest

import latentroles as lr
from latentroles.cli import main
from latentroles.evaluate.comparison import compare


def spec(live: bool = True) -> lr.Spec:
    s = lr.Spec("pair")
    x = s.observation("x", (4,))
    encoder, decoder = (s.module(n, lr.nn.linear(4, 4)) for n in ("encoder", "decoder"))
    z = s.latent("z", encoder(x), role=lr.DYNAMICS)
    s.loss("recon", lr.losses.mse(decoder(z if live else z.stop()), x))
    if live:
        s.loss("small", lr.losses.mse(z, lr.zeros(4)))
        s.measure("size", lr.square(z).mean().mean(over="time").mean(over="batch"))
    return s


class Data:
    def batch(self, step: int) -> dict[str, np.ndarray]:
        return {"x": np.random.default_rng(step).normal(size=(4, 3, 4))}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    for name, live in (("first", True), ("second", False)):
        lr.train(
            spec(live),
            Data(),
            backend="torch",
            steps=4,
            seed=3,
            out=home / name / "run",
            optimisers=lr.sgd(0.1),
            validation=Data() if live else None,
            display=False,
        )
    return home / "first" / "run", home / "second" / "run"


def test_what_differs_stands_side_by_side(runs):
    found = compare(runs)
    assert found.names == ("first/run", "second/run")
    assert "seed" not in found.settings  # the same in both
    hashes = [spec(True).hash, spec(False).hash]
    assert list(found.settings["spec_hash"]) == hashes
    assert found.groups["losses"]["small"][1] is None
    rows = [json.loads(line) for line in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    assert math.isclose(found.groups["losses"]["recon"][0], rows[-1]["losses"]["recon"])
    assert found.groups["held out"]["recon"][1] is None
    assert found.groups["measures"]["size"][1] is None
    assert "encoder" in found.specs[0]  # whose route is gone


def test_a_run_like_another_differs_in_nothing_but_time(runs, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in runs[0].iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    found = compare([runs[0], copy])
    assert found.settings == {}
    assert found.specs == ("",)
    assert all(a == b for values in found.groups.values() for a, b in values.values())


def test_another_optimiser_is_a_difference(runs, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy)
    record = json.loads((copy / "run.json").read_text())
    (name, value), *_ = [(k, v) for k, v in record["optimisers"]["default"].items() if v == 0.1]
    record["optimisers"]["default"][name] = 2 * value
    (copy / "run.json").write_text(json.dumps(record))
    settings = compare([runs[0], copy]).settings
    assert settings == {f"optimisers.default.{name}": ("0.1", "0.2")}


def test_the_command_and_its_json(runs, capsys):
    assert main(["compare", *map(str, runs), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == ["first/run", "second/run"]
    assert told["losses"]["small"][1] is None
    assert main(["compare", *map(str, runs)]) == 0
    assert "from the spec of first/run to that of second/run:" in capsys.readouterr().out


def test_what_cannot_be_compared_is_said(runs, tmp_path, capsys):
    for folders, message in (
        ([runs[0]], "two or more different runs"),
        ([runs[0], runs[0]], "two or more different runs"),
        ([runs[0], tmp_path], "holds no run"),
    ):
        assert main(["compare", *map(str, folders)]) == 2
        assert message in capsys.readouterr().err
