"""The page of a run: its drawing, what it says of routes, and that it needs nothing else."""

import io
import json
import re
import shutil
import sys
from html import unescape
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latentroles as lr
from latentroles import plugins
from latentroles.cli import main
from latentroles.data import collect
from latentroles.evaluate import controls, sources
from latentroles.evaluate.encoders import latent_encoder
from latentroles.evaluate.report import embedding
from latentroles.evaluate.report import page as pages
from latentroles.evaluate.report.layout import columns
from latentroles.evaluate.report.page import write_report
from latentroles.evaluate.report.routemap import route_map
from latentroles_specs.hzp import hzp
from latentroles_specs.jepa import jepa
from latentroles_specs.place import place
from latentroles_specs.rssm import rssm
from latentroles_specs.seqjepa import seqjepa
from test_report_browser import Walks, model


@st.composite
def graphs(draw):
    """Parts, some of them losses, and links between any two, in circles too."""
    inner = [f"m{i}" for i in range(draw(st.integers(1, 9)))]
    losses = [f"loss l{i}" for i in range(draw(st.integers(0, 4)))]
    pairs = st.tuples(st.sampled_from(inner), st.sampled_from(inner + losses))
    parts = dict.fromkeys(inner, "module") | dict.fromkeys(losses, "loss")
    return parts, draw(st.lists(pairs, max_size=25))


@given(graphs())
def test_every_part_stands_once_and_losses_last(graph):
    parts, links = graph
    found = columns(parts, links)
    assert sorted(name for column in found for name in column if isinstance(name, str)) == sorted(
        parts
    )
    losses = [name for name, kind in parts.items() if kind == "loss"]
    if losses:
        assert found[-1] == losses


@given(graphs(), st.randoms(use_true_random=False))
def test_without_circles_every_arrow_leads_to_the_right(graph, random):
    parts, links = graph
    order = list(parts)
    forward = [(a, b) for a, b in links if order.index(a) < order.index(b)]
    random.shuffle(forward)
    at = {name: i for i, column in enumerate(columns(parts, forward)) for name in column}
    assert all(at[read] < at[reader] for read, reader in forward)


@pytest.mark.parametrize("system", [hzp, jepa, place, rssm, seqjepa])
def test_no_arrow_passes_a_part_that_it_does_not_join(system):
    drawn = route_map(system())
    boxes = {p.id: (p.x, p.y, p.x + p.width, p.y + 24) for p in drawn.parts}
    for link in drawn.links:
        others = [box for name, box in boxes.items() if name not in (link.read, link.reader)]
        assert link.points[0][0] == boxes[link.read][2]
        assert link.points[-1][0] == boxes[link.reader][0]
        for (x1, y1), (x2, y2) in pairwise(link.points):
            assert 0 <= min(x1, x2) <= max(x1, x2) <= drawn.width
            assert 0 <= min(y1, y2) <= max(y1, y2) <= drawn.height
            for part in np.linspace(0, 1, 40):
                x, y = x1 + part * (x2 - x1), y1 + part * (y2 - y1)
                assert not any(a < x < c and b < y < d for a, b, c, d in others), link


def test_parts_do_not_overlap():
    boxes = [(p.x, p.y, p.x + p.width, p.y + 24) for p in route_map(hzp()).parts]
    for i, (left, top, right, bottom) in enumerate(boxes):
        for x1, y1, x2, y2 in boxes[:i]:
            assert x2 <= left or right <= x1 or y2 <= top or bottom <= y1


@pytest.mark.parametrize("open_gate", [False, True])
def test_the_map_has_the_routes_of_the_table(open_gate):
    spec = hzp(detach_z_from_h_and_p=not open_gate)
    drawn, table = route_map(spec), lr.routes(spec)
    updated = {name: {f"part-{m}" for m in table[name].modules} for name in table}
    assert {n.removeprefix("part-loss-"): set(m) for n, m in drawn.updates.items()} == updated
    for link in drawn.links:
        assert set(link.routes) <= set(link.losses)
        assert not (link.cut and link.routes)
    said = {part.label: part.text for part in drawn.parts if part.kind == "module"}
    assert ("jepa" in said["encoder"].partition(".")[0]) == open_gate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    settings = {"steps": 12, "optimisers": lr.sgd(0.1), "display": False}
    lr.train(model(), Walks(), backend="torch", out=folder, **settings)
    return folder


def seen() -> lr.Spec:
    """An encoder of the corridor's pictures."""
    s = lr.Spec("seen")
    x = s.observation("x", (3, 8, 36))
    s.action("a", lr.Discrete(2))
    z = s.latent("z", s.module("encoder", lr.nn.conv_encoder((3, 8, 36), 4))(x), role=lr.PLACE)
    s.loss("spread", lr.losses.vicreg(z))
    return s


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A run on a corridor, and the file of its walks."""
    home = tmp_path_factory.mktemp("walked")
    corridor = plugins.environment("corridor")(pixels=True, last_action=True)
    walks = collect(corridor, home / "walks.h5", episodes=6, steps=16)
    settings = {"steps": 6, "frames": 4, "batch": 4, "optimisers": lr.sgd(0.01)}
    lr.train(seen(), walks, backend="torch", out=home / "run", display=False, **settings)
    return home


def test_loops_are_measured_and_shown(walked):
    page = write_report(walked / "run", data=walked / "walks.h5").read_text()
    loops = page[page.index('<section id="loops">') : page.index('<section id="collapse">')]
    assert "This encoder: fail (revisits lie at" in loops
    for name in ("R@1, hard", "oracle place", "untrained", "shuffled places"):
        assert name in loops
    assert loops.count("data:image/png") >= 2 * loops.count("<figcaption class=") > 0
    assert loops.count("<svg") >= 2
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))


def test_a_report_judges_as_evaluate_does(walked, tmp_path, capsys):
    """Whatever an option is set to, both commands have it and both measure the same."""
    options = [
        *("--margin", "5", "--separation", "0.25", "--lags", "1,9", "--tau", "3", "--seed", "2"),
        *("--distance", "grid", "--tolerance", "1", "--nuisance", "heading"),
    ]
    run, data = str(walked / "run"), ["--data", str(walked / "walks.h5")]
    page = tmp_path / "page.html"
    there = ["--env", "corridor", "-p", "pixels=true", "-p", "last_action=true"]
    walks = [*there, "--episodes", "5", "--steps", "20"]
    for asked in ([], options, walks):
        where = walks if asked is walks else [*data, *asked]
        assert main(["evaluate", run, *where, "--json", str(tmp_path / "found.json")]) == 0
        assert main(["report", run, *where, "--out", str(page)]) == 0
        capsys.readouterr()
        found = json.loads((tmp_path / "found.json").read_text())
        text = unescape(page.read_text())
        assert f"This encoder: {found['verdict']} ({found['because']})." in text
        assert f"{found['visits']} visits to {found['places']} places" in text
        for name, metric in found["metrics"].items():
            if metric["mean"] is not None and not name.endswith(("_permuted", "_entropy")):
                assert f">{metric['mean']:.3g}</td>" in text, name
        assert ("Measured with" in text) == bool(asked)
    write_report(walked / "run", page, data=walked / "walks.h5", margin=5, lags=[9, 1])
    assert "Measured with lags 1 9 (default 1 2), margin 5 (default 0.1)." in page.read_text()


def test_a_setting_that_means_nothing_is_refused_though_no_data_is_asked_for(walked, capsys):
    run = str(walked / "run")
    for arguments, message in (
        (["--margin", "0"], "margin must be a number greater than 0"),
        (["--tolerance", "1"], "tolerance=1.0 and distance=None"),
        (["--margin", "0.2"], "Give --data FILE"),  # or nothing would be judged by it
    ):
        assert main(["report", run, *arguments]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(lr.SpecError, match="display must be True or False"):
        write_report(walked / "run", display="no")


def test_a_page_is_written_without_a_word_where_none_is_wanted(walked, tmp_path, monkeypatch):
    for name, value in {"CI": "", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    for display in (True, False):
        stream = io.StringIO()
        stream.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", stream)
        write_report(walked / "run", tmp_path / "p", data=walked / "walks.h5", display=display)
        assert ("encoding z, 1 of" in stream.getvalue()) == display


def test_a_latent_is_walked_and_encoded_once(walked, tmp_path, monkeypatch):
    opened, encoded = [], []
    read = sources.read

    def noting(*given):
        encode, reads = latent_encoder(*given)
        return lambda frames: encoded.append(len(frames)) or encode(frames), reads

    monkeypatch.setattr(pages, "latent_encoder", noting)
    monkeypatch.setattr(sources, "read", lambda *a, **k: opened.append(a) or read(*a, **k))
    write_report(walked / "run", tmp_path / "page.html", data=walked / "walks.h5")
    frames = 6 * 17
    assert len(opened) == 1
    assert sorted(encoded) == [frames // 2, frames, frames]  # again for G0, and the untrained one


def test_a_run_that_was_not_trained_to_its_end_says_so(walked, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(walked / "run", copy)
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    assert "was interrupted" in write_report(copy, data=walked / "walks.h5").read_text()


def test_a_run_that_does_not_know_its_data_says_so(walked, capsys):
    page = write_report(walked / "run", walked / "page.html").read_text()
    assert "Not measured:" in page
    assert "Give --data FILE" in page
    for arguments, message in (
        (["--latent", "y", "--env", "corridor"], "'y'"),
        (["--data", "no.h5"], "no.h5"),
        (["--env", "coridor"], "Did you mean 'corridor'?"),
    ):
        assert main(["report", str(walked / "run"), *arguments]) == 2
        assert message in capsys.readouterr().err


def test_a_right_match_is_of_the_same_place():
    walks = sources.read(plugins.environment("corridor")(), episodes=6, steps=16)
    place = controls.oracle(walks.visits)
    frames = np.zeros((len(place), 3, 8, 8), np.uint8)
    assert all(match.right for match in embedding.matches(place, walks.visits, frames))
    wrong = embedding.matches(controls.constant(walks.visits), walks.visits, frames)
    assert not all(match.right for match in wrong)


def test_the_page_stands_alone(folder):
    page = write_report(folder).read_text()
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert all("w3.org" in address for address in addresses)  # names of XML, never fetched
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(names)
    spec = model()
    assert spec.hash in page
    for name in (*spec.modules, *spec.losses, *spec.latents):
        assert name in page


def styles(page):
    """The rules of a page's stylesheet, (media, selector, property, value), in their order."""
    css = re.sub(r"/\*.*?\*/", "", re.search(r"<style>(.*?)</style>", page, re.S)[1], flags=re.S)
    found = []
    for media, inside, plain in re.findall(
        r"@media ([^{]*)\{((?:[^{}]*\{[^{}]*\})*)[^{}]*\}|([^{}@]*\{[^{}]*\})", css
    ):
        for selectors, body in re.findall(r"([^{}]*)\{([^{}]*)\}", inside or plain):
            for selector in selectors.split(","):
                for line in filter(None, map(str.strip, body.split(";"))):
                    name, _, value = line.partition(":")
                    found.append((media.strip(), selector.strip(), name.strip(), value.strip()))
    return found


def weight(selector):
    """(names, classes, elements) of a selector: of two rules the greater one holds."""
    counted = [re.findall(kind, selector) for kind in (r"#\w", r"[.\[]\w|:\w", r"(?:^|\s)[a-z*]")]
    return tuple(map(len, counted))


def test_what_paper_cannot_do_is_not_printed_and_what_it_shows_is_not_cut_off(folder):
    page = write_report(folder).read_text()
    rules = styles(page)
    paper = {(selector, name): value for m, selector, name, value in rules if m == "print"}
    for selector, there in (("nav", "<nav "), ("#said", 'id="said"'), (".hint", 'class="hint"')):
        assert paper[selector, "display"] == "none"
        assert there in page
    assert paper[".wide", "overflow"] == "visible"
    assert paper[".map", "min-width"] == "0"
    assert paper["td.number", "white-space"] == "normal"
    for selector in (".finding", "figure", "tr"):
        assert paper[selector, "break-inside"] == "avoid"


def test_the_styles_of_paper_weigh_as_much_as_those_of_the_screen(folder):
    rules = styles(write_report(folder).read_text())
    overridden = 0
    for at, (media, selector, name, _) in enumerate(rules):
        if media != "print":
            continue
        for other, (where, screen, what, _) in enumerate(rules):
            kin = what.partition("-")[0] == name.partition("-")[0]
            if where == "print" or not kin or screen.split()[-1] != selector.split()[-1]:
                continue
            overridden += 1
            assert weight(selector) >= weight(screen), (selector, screen, name)
            assert at > other, (selector, screen, name)
    assert overridden >= 4  # the body's width and font, what is wide, the map, numbers


def test_equal_runs_have_equal_pages(folder, tmp_path):
    first = write_report(folder, tmp_path / "1.html").read_bytes()
    assert write_report(folder, tmp_path / "2.html").read_bytes() == first


def test_the_command(folder, tmp_path, capsys):
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}"], "holds no run"),
        (["{run}", "--out", "{empty}/no/such/page.html"], "page.html could not be written"),
        (["{run}", "--out", "{empty}"], "it is a folder itself"),
        (["{empty}/no", "--out", "{empty}/no/such/page.html"], "page.html could not be written"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message, folder, tmp_path, capsys):
    given = [a.format(empty=tmp_path, run=folder) for a in arguments]
    assert main(["report", *given]) == 2
    assert message in capsys.readouterr().err


def damaged(folder, name):
    """Cuts a file of a run short; its path."""
    path = folder / name
    path.write_bytes(path.read_bytes()[:-40])
    return path


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "spec.json"])
def test_a_damaged_file_is_named_and_no_page_is_written(name, folder, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("report.html"))
    path = damaged(copy, name)
    assert main(["report", str(copy)]) == 2
    assert f"{path} is" in capsys.readouterr().err
    assert not (copy / "report.html").exists()


def test_a_file_that_is_no_spec_is_named(folder, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    for text in ("[]", json.dumps({**json.loads((copy / "spec.json").read_text()), "nodes": 3})):
        (copy / "spec.json").write_text(text)
        for command in ("report", "evaluate"):
            assert main([command, str(copy)]) == 2
            assert f"{copy / 'spec.json'} holds no spec" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_has_a_page(folder, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    (copy / "checkpoint.safetensors").unlink()
    assert "Not measured:" in write_report(copy).read_text()


def test_the_environment_that_is_walked_has_arguments(folder, monkeypatch, capsys):
    walked = []
    noting = lambda folder, out, *, data, **more: walked.append(data)  # noqa: E731
    monkeypatch.setattr(pages, "write_report", noting)
    command, seen = ["report", str(folder)], ["-p", "cells=4", "-p", "noop=true"]
    assert main([*command, "--env", "corridor", *seen]) == 0
    assert {"cells": 4, "noop": True}.items() <= walked.pop().parameters.items()
    for arguments, message in (
        (["--env", "corridor", "-p", "rooms=3"], "no argument 'rooms'"),
        (seen, "-p and --config set arguments of an environment"),
    ):
        assert main([*command, *arguments]) == 2
        assert message in capsys.readouterr().err
    assert not walked


def test_a_damaged_file_is_left_as_it_is(folder, tmp_path, capsys):
    for name in ("run.json", "spec.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "metrics.jsonl").write_text("no line of metrics\n")
    assert main(["report", str(tmp_path)]) == 2
    assert "metrics.jsonl, line 1" in capsys.readouterr().err
    assert (tmp_path / "metrics.jsonl").read_text() == "no line of metrics\n"
    assert not (tmp_path / "report.html").exists()
