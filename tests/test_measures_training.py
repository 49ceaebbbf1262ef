"""Measures and pictures while a run goes on: when they are taken, where they go, what they leave
alone."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import latentroles as lr
from latentroles.errors import DataError
from latentroles.evaluate import curves, pictures
from latentroles.train import metrics
from latentroles.train.checkpoint import load
from latentroles.train.display import print_summary
from quadratic import Draws as QuadraticDraws
from quadratic import install, quadratic

FRAME = (1, 8, 8)


def spec(shown: bool = True, phases: bool = False) -> lr.Spec:
    s = lr.Spec("watched")
    x = s.observation("x", FRAME)
    place = s.label("place", (2,))
    encoder = s.module("encoder", lr.nn.conv_encoder(FRAME, 3, channels=(2,)))
    decoder = s.module("decoder", lr.nn.conv_decoder(3, FRAME, channels=(2,)))
    regress = s.module("regress", lr.nn.linear(3, 2))
    z = s.latent("z", encoder(x), role=lr.PLACE)
    eps = s.noise("eps", (3,), axes=("batch", "time"))
    count = s.state("count")
    s.update(count, count + 1.0)
    s.loss("recon", lr.losses.mse(decoder(z + 0.1 * eps), x))
    s.loss("place", lr.losses.mse(regress(z.stop()), place))
    if shown:
        s.measure("again", lr.losses.mse(decoder(z + 0.1 * eps), x))
        s.measure("r2", lr.measures.r2(regress(z), place))
        s.measure("counted", count)
        s.picture("made", decoder(z))
    if phases:
        s.phase("first", losses=["recon"], steps=4)
        s.phase("second", losses=["place"], steps=3)
    return s


class Draws:
    def __init__(self, seed: int = 0, windows: int = 2):
        self.seed, self.windows = seed, windows

    def batch(self, step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, step])
        x = rng.integers(0, 256, (self.windows, 5, *FRAME), dtype=np.uint8)
        return {"x": x, "place": x.reshape(self.windows, 5, -1)[..., :2].astype(np.float32) / 255}


def trained(out: Path, of: lr.Spec | None = None, backend: str = "torch", **options):
    options = {"steps": 7, "collapse_every": 3, "dtype": "float64", "display": False, **options}
    optimisers = lr.adamw(0.01)
    return lr.train(
        of or spec(), Draws(), backend=backend, out=out, optimisers=optimisers, **options
    )


def rows_of(folder: Path) -> list[dict]:
    return metrics.read(folder / "metrics.jsonl")


def taken(folder: Path) -> dict[int, dict[str, float]]:
    """Steps done -> the measures then."""
    return {row["step"] + 1: row["measures"] for row in rows_of(folder) if "measures" in row}


def test_without_validation_they_are_taken_when_collapse_is_watched_and_at_the_end(tmp_path):
    result = trained(tmp_path / "run")
    found = taken(tmp_path / "run")
    assert list(found) == [1, 3, 6, 7]
    assert [measures["counted"] for measures in found.values()] == [1.0, 3.0, 6.0, 7.0]
    assert result.measures == found[7]
    model = lr.load(tmp_path / "run")
    batch = Draws().batch(6)
    noise = model.noise(-1, batch, seed=0)
    wanted = model.measure(batch, noise, {"count": model.full((), 7.0)})
    assert result.measures == pytest.approx({n: float(v) for n, v in wanted.items()})


def test_with_validation_they_are_means_over_what_is_held_out(tmp_path):
    held_out = Draws(seed=1)
    result = trained(tmp_path / "run", validation=held_out, validate_every=2, validation_batches=3)
    rows = rows_of(tmp_path / "run")
    assert list(taken(tmp_path / "run")) == [1, 2, 4, 6]
    assert all(("measures" in row) == ("validation" in row) for row in rows)
    # Of the same batches with the same noise as the losses: an equal expression is equal.
    for row in rows:
        if "validation" in row:
            wanted = row["validation"]["losses"]["recon"]
            assert row["measures"]["again"] == pytest.approx(wanted, rel=1e-12)
    assert result.measures == taken(tmp_path / "run")[6]


def test_both_backends_measure_the_same(tmp_path):
    ours, theirs = (trained(tmp_path / b, backend=b).measures for b in ("torch", "jax"))
    assert list(ours) == list(theirs)
    assert ours == pytest.approx(theirs, rel=1e-7)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_training_does_not_know_of_them(tmp_path, backend):
    for name, of in (("plain", spec(shown=False)), ("shown", spec())):
        trained(tmp_path / name, of, backend, validation=Draws(1), validate_every=2)
    plain, shown = (load(tmp_path / name) for name in ("plain", "shown"))
    assert plain.arrays.keys() == shown.arrays.keys()
    for name, array in plain.arrays.items():
        np.testing.assert_array_equal(shown.arrays[name], array, err_msg=name)
    without, beside = (rows_of(tmp_path / name) for name in ("plain", "shown"))
    for one, other in zip(without, beside, strict=True):
        assert other["losses"] == one["losses"]
        assert other.get("validation") == one.get("validation")


@pytest.mark.parametrize("validation", [None, Draws(1)])
def test_a_resumed_run_measures_what_an_uninterrupted_one_does(tmp_path, validation):
    class Interrupting(Draws):
        def batch(self, step: int) -> dict[str, np.ndarray]:
            if step == 5:
                raise DataError("cut off")
            return super().batch(step)

    options = {
        "optimisers": lr.adamw(0.01), "dtype": "float64", "display": False, "steps": 7,
        "collapse_every": 3, "checkpoint_every": 2, "validation": validation,
    }  # fmt: skip
    Interrupting.__qualname__, Interrupting.__module__ = Draws.__qualname__, Draws.__module__
    with pytest.raises(DataError):
        lr.train(spec(), Interrupting(), out=tmp_path / "cut", **options)
    result = lr.train(spec(), Draws(), resume=tmp_path / "cut", **options)
    whole = lr.train(spec(), Draws(), out=tmp_path / "whole", **options)
    assert result.measures == whole.measures
    assert taken(tmp_path / "cut") == taken(tmp_path / "whole")
    for name, array in load(tmp_path / "whole").arrays.items():
        np.testing.assert_array_equal(load(tmp_path / "cut").arrays[name], array)
    assert (tmp_path / "cut/pictures.png").read_bytes() == (
        tmp_path / "whole/pictures.png"
    ).read_bytes()


def test_a_measure_that_is_not_finite_stops_nothing(tmp_path):
    s = spec()
    size = s.latents["z"].expr.mean().mean(over="time").mean(over="batch")
    s.measure("bad", size / (size - size))
    result = trained(tmp_path / "run", s)
    assert math.isnan(result.measures["bad"])
    assert all(measures["bad"] is None for measures in taken(tmp_path / "run").values())
    for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert "bad" not in curves.measures(rows_of(tmp_path / "run"))
    assert (tmp_path / "run/curves.png").exists()


def test_the_table_and_the_curves_show_them(tmp_path, capsys, monkeypatch):
    drawn: dict[str, list[float]] = {}
    from matplotlib.axes import Axes

    plot = Axes.plot
    monkeypatch.setattr(
        Axes,
        "plot",
        lambda self, *a, **k: (drawn.setdefault(str(a[1]), []), plot(self, *a, **k))[1],
    )
    result = trained(tmp_path / "run")
    values = [measures["r2"] for measures in taken(tmp_path / "run").values()]
    assert str(np.array(values)) in drawn
    print_summary(result, "")
    text = capsys.readouterr().out
    assert "on training data" in text
    assert "r2" in text
    assert "counted" in text
    result = trained(tmp_path / "held", validation=Draws(1))
    print_summary(result, "")
    assert "on data held out" in capsys.readouterr().out


def test_a_damaged_measure_in_the_log_is_named(tmp_path):
    trained(tmp_path / "run")
    path = tmp_path / "run/metrics.jsonl"
    path.write_text(path.read_text().replace('"counted": 1.0', '"counted": "one"'))
    with pytest.raises(DataError, match="line 1"):
        rows_of(tmp_path / "run")


def test_a_backend_that_knows_no_measures_trains_and_says_so(tmp_path, monkeypatch):
    install(monkeypatch)
    s = quadratic()
    s.measure("one", 1.0)
    s.picture("frames", lr.reshape(s.inputs["x"], 3, 1, 1))
    result = lr.train(
        s, QuadraticDraws(), backend="quadratic", out=tmp_path, steps=2, display=False
    )
    assert result.steps == 2
    assert result.measures == {}
    assert result.notes == (
        "The backend quadratic gives no measures: those of quadratic are left out.",
        "The backend quadratic gives no pictures: those of quadratic are left out.",
    )


# Pictures -----------------------------------------------------------------------------------


def test_each_phase_ends_with_its_pictures(tmp_path):
    result = trained(tmp_path / "run", spec(phases=True))
    assert result.notes == ()
    names = {path.name for path in (tmp_path / "run").glob("pictures*")}
    assert names == {"pictures_first.png", "pictures_second.png"}
    trained(tmp_path / "plain", spec(shown=False))
    assert not list((tmp_path / "plain").glob("pictures*"))


@pytest.mark.parametrize("order", [("place", "recon"), ("recon", "place"), ("place", "never")])
def test_a_picture_by_what_is_not_trained_yet_is_left_out(tmp_path, monkeypatch, order):
    """`made` goes through the decoder, which recon trains; `seen` through no module."""
    drawn = {}

    def draw(made, *arguments, title):
        drawn[arguments[1].name] = list(made)

    monkeypatch.setattr(pictures, "draw", draw)
    for seen in (False, True):
        drawn.clear()
        s = spec()
        for loss in {"recon", "place"} - set(order):
            del s.losses[loss]
        phases = [loss for loss in order if loss in s.losses]
        for loss in phases:
            s.phase(f"by_{loss}", losses=[loss], steps=2)
        if seen:
            s.picture("seen", s.inputs["x"].t[1:])
        result = trained(tmp_path / f"{seen}", s)
        wanted, done, left_out = {}, set(), []
        for loss in phases:
            done.add(loss)
            name = "pictures.png" if len(phases) == 1 else f"pictures_by_{loss}.png"
            shown = ["made"] * ("recon" in done) + ["seen"] * seen
            if shown:
                wanted[name] = shown
            if "recon" not in done:
                left_out.append(f"{name} leaves out made: after phase by_{loss} it would be noise")
        assert drawn == wanted
        assert len(result.notes) == len(left_out)
        for note, said in zip(result.notes, left_out, strict=True):
            assert note.startswith(said)
            assert "because decoder is not trained" in note


def test_what_is_not_trained_is_named_up_to_the_latents():
    s = lr.Spec("named")
    x = s.observation("x", FRAME)
    encoder = s.module("encoder", lr.nn.conv_encoder(FRAME, 3, channels=(2,)))
    shift = s.module("shift", lr.nn.linear(3, 3))
    decoder = s.module("decoder", lr.nn.conv_decoder(3, FRAME, channels=(2,)))
    plain = s.module("plain", lr.nn.Relu())
    z = s.latent("z", encoder(x), role=lr.PLACE)
    s.loss("decoder", lr.losses.mse(decoder(z.stop()), x))
    s.loss("shift", lr.losses.mse(shift(z.stop()), z.stop()))
    s.phase("one", losses=["decoder"], steps=1)
    s.phase("two", losses=["shift"], steps=1)
    s.picture("direct", decoder(plain(z)))
    s.picture("shifted", decoder(shift(z).stop()))
    s.picture("followed", decoder(s.target(shift, decay=0.9)(z)))
    s.picture("unnamed", decoder(shift(encoder.frozen(x))))
    assert {p: [pictures.untrained(s, p, n) for n in ("one", "two")] for p in s.pictures} == {
        "direct": [[], []],
        "shifted": [["shift"], []],
        "followed": [["shift"], []],
        "unnamed": [["encoder", "shift"], ["encoder"]],
    }


def test_pictures_are_of_the_last_batch_or_of_what_is_held_out(tmp_path, monkeypatch):
    seen: list[tuple] = []
    monkeypatch.setattr(pictures, "draw", lambda *a, title: seen.append((*a, title)))
    for validation in (None, Draws(1)):
        out = tmp_path / f"{validation is None}"
        trained(out, validation=validation)
        made, observed, path, title = seen.pop()
        batch = Draws().batch(6) if validation is None else Draws(1).batch(0)
        assert list(observed) == ["x"]
        np.testing.assert_array_equal(observed["x"], batch["x"])
        model = lr.load(out)
        np.testing.assert_allclose(made["made"], model.pictures(batch)["made"], atol=1e-12)
        assert path == out / "pictures.png"
        assert ("held out" in title) == (validation is not None)


def test_without_matplotlib_a_note_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = trained(tmp_path / "run")
    assert result.notes[0].startswith("No pictures.png: ")
    assert "pip install 'latentroles[plots]'" in result.notes[0]
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "complete"


def test_an_observation_stands_above_the_pictures_of_its_shape():
    x, other = np.zeros((2, 5, 3, 8, 8)), np.zeros((2, 5, 1, 4, 4))
    made = {"a": x + 1, "short": x[:, 1:], "b": x + 2}
    lines = [name for name, _ in pictures.arranged(made, {"other": other, "x": x})]
    assert lines == ["x", "a", "b", "short"]


def test_a_strip_is_the_first_frames_side_by_side():
    frames = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1) / 10 * np.ones((1, 1, 6, 5))
    found = pictures.strip(frames, 8)
    assert found.shape == (6, 8 * 6 - 1, 3)
    for i in range(8):
        np.testing.assert_allclose(found[:, 6 * i : 6 * i + 5], i / 10, atol=1e-6)
    np.testing.assert_array_equal(found[:, 5::6], 1.0)  # between them
    few = pictures.strip(frames[:2], 8)
    assert few.shape == found.shape
    np.testing.assert_array_equal(few[:, 12:], 1.0)
    wild = np.stack([np.full((3, 4, 4), v) for v in (-2.0, 9.0, np.nan)])
    shown = pictures.strip(wild, 8)
    assert [shown[0, i * 5, 0] for i in range(3)] == [0.0, 1.0, 0.0]
    octets = pictures.strip(np.full((1, 3, 4, 4), 51, np.uint8), 8)
    np.testing.assert_allclose(octets[:, :4], 0.2, atol=1e-6)


@pytest.mark.parametrize("windows", [1, 6])
def test_what_is_drawn_is_what_was_made(tmp_path, windows):
    """Read back from the PNG: as many blocks as windows, at most four, in the picture's colours."""
    colours = np.linspace(0.1, 0.9, windows)[:, None, None, None, None]
    frames = np.ones((windows, 3, 3, 8, 8)) * np.array([1.0, 0.0, 0.0])[:, None, None] * colours
    pictures.draw({"made": frames}, {}, tmp_path / "p.png", title="t")
    with Image.open(tmp_path / "p.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    column = pixels[:, 300]  # within the first frame
    reds = {int(r) for r, g, b in column if r > 20 and g < 5 and b < 5}
    wanted = {round(255 * float(c)) for c in colours.flat[:4]}
    assert len(reds) == len(wanted)
    assert all(min(abs(r - w) for w in wanted) <= 1 for r in reds)


def test_where_the_picture_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(lr.TrainingError, match="could not be written"):
        pictures.draw({"p": np.zeros((1, 1, 1, 2, 2))}, {}, tmp_path / "file/p.png", title="t")
