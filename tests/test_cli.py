"""The command line: what it says to wrong input, and that train, resume and routes do their work.

The backend, the environment and the registered specs are the tests' own.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from latentroles import plugins
from latentroles.cli import main
from latentroles.data import Trajectories
from latentroles.errors import SpecError
from latentroles.rulebook import RULES
from latentroles.train import checkpoint, phases
from latentroles.train.run import read_run
from quadratic import WIDTH, hearing_ctrl_c, install

REAL_BACKEND = plugins.backend  # `install` puts the tests' own in its place

SPEC_FILE = """
import latentroles as lr
from latentroles.spec import Discrete, Spec, losses, nn
from quadratic import quadratic as declare

@lr.recipe(
    environment="walk", episodes=3, episode_steps=9, frames=4, batch=2, steps=6,
    optimisers={"default": lr.sgd(0.05)}, columns={"x": "frames", "a": "actions"},
)
def quadratic(weight: float = 1.0, label: str = "quadratic"):
    return declare(label, weight)

def bare(weight: float = 1.0):
    return declare("bare", weight)

def third():
    return declare("third")

def wants(dim: int, shape: tuple = (1, 2), deep: bool = False):
    return declare()

def not_a_spec():
    return 3

def broken():
    return {}["missing"]

def misdeclared():
    s = Spec("misdeclared")
    s.loss("a", losses.mse(s.observation("x", (3,)), s.label("y", (2,))))
    return s
"""


class Walk:
    """An environment with frames (3,): a random walk."""

    name = "walk"
    parameters: ClassVar[dict[str, Any]] = {}
    actions = ("left", "right", "forward", "stay")

    def reset(self, seed: int) -> int:
        self.at = seed % 7
        return self.at

    def step(self, action: int) -> int:
        self.at += action
        return self.at

    def frame(self) -> np.ndarray:
        return np.full(WIDTH, np.sin(self.at), np.float32)

    def pose(self) -> tuple[float, float, float]:
        return float(self.at), 0.0, 0.0

    def place(self, state: int) -> tuple[int, ...]:
        return (state,)


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    with hearing_ctrl_c():
        yield


@pytest.fixture
def spec_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A file of specs in the current folder, an empty one; the tests' backend and environment."""
    install(monkeypatch)
    monkeypatch.setattr(plugins, "environment", lambda name: Walk)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "specs.py").write_text(SPEC_FILE)
    yield "specs.py"
    sys.modules.pop("latentroles_spec_specs", None)


def fails(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    """Runs a command that must fail with one line on stderr; returns it."""
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert out == ""
    return err


# SPEC and -p -----------------------------------------------------------------------------------


def test_an_unknown_spec_offers_the_nearest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("hzp", "latentroles_specs.hzp:hzp", "latentroles.specs")
    monkeypatch.setattr(plugins, "registered", lambda group: {"hzp": point})
    for command in ("train", "routes", "emit"):
        assert "Did you mean 'hzp'?" in fails(capsys, command, "hzpp")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("none.py:quadratic", "There is no file 'none.py'"),
        ("specs.py:quadratics", "specs.py has no function 'quadratics'. Did you mean 'quadratic'?"),
        ("specs.py", "specs.py:function. It has quadratic, bare, third"),
        ("specs.py:", "specs.py:function. It has quadratic, bare, third"),
        ("specs.py:not_a_spec", "must return a latentroles Spec; it returned an int"),
        (
            "specs.py:broken",
            "broken could not declare its spec: KeyError: 'missing' (specs.py, line",
        ),
        ("specs.py:misdeclared", "specs.py:"),
        ("specs.py:wants", "wants needs dim. Give -p dim=..."),
        (".:quadratic", "There is no file '.'"),
    ],
)
@pytest.mark.parametrize("command", ["routes", "train"])
def test_a_spec_that_cannot_be_had_is_explained(
    spec_file: str, capsys: pytest.CaptureFixture[str], command: str, argument: str, said: str
) -> None:
    assert said in fails(capsys, command, argument)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "bad.py could not be imported: SyntaxError"),
        ("\nimport not_there_at_all\n", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("\n\n1 / 0\n", "ZeroDivisionError: division by zero (bad.py, line 3)"),
        ("", "bad.py has no function 'f'. It defines no function."),
    ],
)
def test_a_file_that_fails_is_explained(
    spec_file: str, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    Path("bad.py").write_text(text)
    assert said in fails(capsys, "routes", "bad.py:f")


def test_traceback_shows_where(spec_file: str) -> None:
    with pytest.raises(SpecError) as raised:
        main(["routes", "specs.py:broken", "--traceback"])
    assert isinstance(raised.value.__cause__, KeyError)


# routes, emit, plugins ---------------------------------------------------------------------------


def test_routes_are_printed_in_three_forms(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["routes", "specs.py:quadratic"]) == 0
    assert "push  near, far" in capsys.readouterr().out
    assert main(["routes", "specs.py:quadratic", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["routes"]
    assert table["pull"]["near"]["status"] == "live"
    assert main(["routes", "specs.py:quadratic", "--markdown", "-p", "weight=0"]) == 0
    text = capsys.readouterr().out
    assert "| push | live |" in text
    assert "pull" not in text


def test_the_routes_of_one_loss_are_printed(spec_file: str, capsys) -> None:
    assert main(["routes", "specs.py:quadratic", "--json", "--loss", "pull"]) == 0
    assert list(json.loads(capsys.readouterr().out)["routes"]) == ["pull"]


def test_routes_are_drawn(spec_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "specs.py:quadratic", "--mermaid", "--loss", "pull"]) == 0
    drawn = capsys.readouterr().out
    assert drawn.startswith("flowchart LR")
    assert '{{"pull"}}' in drawn
    assert "stroke-width" in drawn
    assert main(["routes", "specs.py:quadratic", "--dot"]) == 0
    drawn = capsys.readouterr().out
    assert drawn.startswith("digraph")
    assert "penwidth" not in drawn


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loss", "pul"], "no loss 'pul' in 'quadratic'. Did you mean 'pull'?"),
        (["--dot", "--loss", "pul"], "no loss 'pul' in 'quadratic'. Did you mean 'pull'?"),
    ],
)
def test_a_drawing_of_nothing_is_refused(spec_file, options, message, capsys) -> None:
    assert main(["routes", "specs.py:quadratic", *options]) == 2
    assert message in capsys.readouterr().err


LEAKY = """
import latentroles as lr


def leaky(detach: bool = False, allow: bool = False) -> lr.Spec:
    s = lr.Spec("leaky")
    x = s.observation("x", (4,))
    a = s.action("a", lr.Discrete(2))
    encoder = s.module("encoder", lr.nn.linear(4, 3))
    head = s.module("head", lr.nn.linear(6, 2))
    decoder = s.module("decoder", lr.nn.linear(3, 4))
    z = s.latent("z", encoder(x), role=lr.PLACE)
    pair = lr.concat(z.t[:-1], z.t[1:])
    s.loss("inverse", lr.losses.cross_entropy(head(pair.stop() if detach else pair), a))
    s.loss("recon", lr.losses.mse(decoder(z), x))
    if allow:
        s.allow("observation-sufficiency", loss="recon", because="frames are shown")
    return s
"""


@pytest.fixture
def leaky(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaky.py").write_text(LEAKY)
    return "leaky.py:leaky"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 1),
        (["-p", "detach=true"], 0),
        (["-p", "detach=true", "--strict"], 1),
        (["-p", "detach=true", "-p", "allow=true", "--strict"], 0),
    ],
)
def test_check_exits_with_1_where_a_contract_is_broken(leaky, options, code) -> None:
    assert main(["check", leaky, *options]) == code


def test_check_prints_findings_and_pressures(leaky, capsys) -> None:
    main(["check", leaky])
    text = capsys.readouterr().out
    assert "leaky.py:14: error LR201 action-identity: loss `inverse` rewards `z`" in text
    assert "inverse  action-identity" in text
    assert text.endswith("leaky: 1 error, 1 warning\n")
    main(["check", leaky, "--json"])
    data = json.loads(capsys.readouterr().out)
    assert data["findings"][0]["place"] == ["leaky.py", 14]
    main(["check", leaky, "--github"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("::error file=leaky.py,line=14,title=LR201")
    assert lines[-1] == "leaky: 1 error, 1 warning"


def test_check_reads_the_spec_of_a_run(leaky, tmp_path, capsys) -> None:
    names: dict = {}
    exec(LEAKY, names)
    (tmp_path / "spec.json").write_text(json.dumps(names["leaky"]().to_json()))
    assert main(["check", "spec.json"]) == 1
    assert main(["diff", ".", "spec.json"]) == 0  # "." is the folder of a run
    (tmp_path / "spec.json").write_text("{")
    assert main(["check", "spec.json"]) == 2
    assert main(["check", "none.json"]) == 2
    said = capsys.readouterr().err
    assert "'spec.json' is not JSON" in said
    assert "'none.json' cannot be read" in said


def test_diff_shows_what_an_argument_changes(leaky, capsys) -> None:
    assert main(["diff", leaky, leaky]) == 0
    assert main(["diff", leaky, leaky, "-p", "detach=true"]) == 1
    assert "inverse on z: action-identity -> isolated" in capsys.readouterr().out


@pytest.mark.parametrize("code", ["LR201", "lr201", "action-identity"])
def test_a_rule_is_explained(code, capsys) -> None:
    assert main(["explain", code]) == 0
    assert "making a[t] readable from z[t]" in capsys.readouterr().out


def test_several_rules_are_explained_and_all_as_a_page(capsys) -> None:
    assert main(["explain", "LR201", "LR202"]) == 0
    text = capsys.readouterr().out
    assert "LR201 action-identity" in text
    assert "LR202 action-leak" in text
    assert main(["explain", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("# Rules")
    assert main(["explain", "--markdown", "LR201"]) == 2


def test_the_shipped_spec_is_clean(capsys) -> None:
    assert main(["check", "hzp", "--strict"]) == 0
    assert "4 allowed" in capsys.readouterr().out


def test_a_ladder_of_too_large_an_environment_advises_what_the_command_has(capsys) -> None:
    said = fails(capsys, "ladder", "hzp", "--env", "rubik")
    assert "more than 4000 states" in said
    assert "limit" not in said
    assert "-e KEY=VALUE" in said


def test_rules_are_listed_and_a_wrong_one_refused(capsys) -> None:
    assert main(["explain"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(RULES)
    assert main(["explain", "LR2011"]) == 2
    assert main(["explain", "xyz"]) == 2
    said = capsys.readouterr().err
    assert "Did you mean 'LR211'?" in said
    assert "no rule 'xyz'. `latentroles explain` lists them." in said


def test_plugins_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("hzp", "latentroles_specs.hzp:hzp", "latentroles.specs")
    monkeypatch.setattr(
        plugins, "registered", lambda group: {"hzp": point} if group == "specs" else {}
    )
    assert main(["plugins"]) == 0
    assert capsys.readouterr().out.splitlines()[:4] == [
        "latentroles.backends",
        "  none",
        "latentroles.specs",
        "  hzp  latentroles_specs.hzp:hzp",
    ]


def test_the_arguments_of_a_spec_are_listed(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every argument that is listed can be set, and no other."""
    text = SPEC_FILE.replace(
        "def wants(dim: int, shape",
        '@lr.recipe(\n    environment="walk", episodes=3, '
        'episode_steps=9, frames=4, batch=2, steps=6,\n    optimisers={"default": lr.sgd(0.05)},'
        "\n)\ndef wants(dim: int, shape",
    ).replace("deep: bool = False):", 'deep: bool = False):\n    """What it is.\n\n    More."""')
    Path("specs.py").write_text(text)
    assert main(["plugins", "specs.py:wants"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("What it is.\n\nMore.\n\narguments")
    listed = said.partition("defaults:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split(maxsplit=1) for line in listed] == [
        ["dim", "must be given"],
        ["shape", "(1, 2)"],
        ["deep", "False"],
    ]
    assert "recipe: 3 episodes of 9 actions in walk; windows of 4 frames, 2 to a batch; 6" in said
    assert main(["plugins", "specs.py:not_a_spec"]) == 0
    assert capsys.readouterr().out.endswith("defaults:\n  none\n")
    assert "no function 'wnats'. Did you mean" in fails(capsys, "plugins", "specs.py:wnats")
    assert main(["train", "specs.py:quadratic", "--backend", "quadratic", "--quiet"]) == 0
    run = capsys.readouterr().out.strip()
    assert main(["plugins", run]) == 0
    assert "no arguments" in capsys.readouterr().out


# train --------------------------------------------------------------------------------------------


def test_train_collects_trains_and_reports(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "specs.py:quadratic", "--backend", "quadratic", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert "Collecting 3 episodes of 9 actions in walk" in err
    assert "main 6/6" in err
    for word in ("pull", "push", "near, far", "steps per second", "Run folder: run", "compile"):
        assert word in out
    assert Path("data/walk-3x9.h5").is_file()
    run = read_run(Path("run"))
    assert run.status == "complete"
    assert run.steps == {"main": 6}
    assert run.data["window"] == 4
    assert run.stages["data"] > 0


def test_data_is_collected_once(spec_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--steps", "2"]
    assert main(command) == 0
    data = Path("data/walk-3x9.h5")
    before = data.stat().st_mtime_ns
    assert main([*command, "--seed", "5"]) == 0
    assert "Using data/walk-3x9.h5" in capsys.readouterr().err
    assert data.stat().st_mtime_ns == before
    assert {path.name for path in Path("runs").iterdir()} == {
        "quadratic-quadratic-001",
        "quadratic-quadratic-002",
    }


def write_trajectories(path: str, actions: int = 4) -> None:
    rng = np.random.default_rng(0)
    Trajectories(
        frames=rng.normal(size=(20, WIDTH)).astype(np.float32),
        actions=rng.integers(0, actions, size=18),
        pose=np.zeros((20, 3)),
        offsets=np.array([0, 10, 20]),
        environment="own",
        action_names=tuple("abcdefgh"[:actions]),
    ).save(path)


def test_a_file_of_the_users_own_is_used_as_it_is(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trajectories("own.h5")
    options = ["--backend", "quadratic", "--data", "own.h5", "--steps", "3", "--frames", "5"]
    for function in ("quadratic", "bare"):
        assert main(["train", f"specs.py:{function}", *options, "--out", function, "--quiet"]) == 0
        assert capsys.readouterr() == (f"{function}\n", "")
        assert read_run(Path(function)).data["environment"] == "own"


@pytest.mark.parametrize("ending", [".h5", ".hdf5", ".H5", ".txt", "", ".h5.part"])
def test_data_is_collected_only_into_a_file_that_looks_like_one(
    spec_file: str, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    data = f"walks{ending}"
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--quiet", "--data", data]
    if ending.lower() in (".h5", ".hdf5"):
        assert main(command) == 0
        Path(data).rename("own")
        capsys.readouterr()
        assert main([*command[:-1], "own"]) == 0  # one that is there may have any name
        return
    said = fails(capsys, *command)
    assert f"no file {data!r}" in said
    assert "--data walks.h5" in said
    assert not Path(data).exists()
    assert main([*command[:-2], "--out", "run"]) == 0
    capsys.readouterr()
    assert f"no file {data!r}" in fails(capsys, "train", "--resume", "run", "--data", data)


def test_a_damaged_data_file_is_named_and_kept(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.h5").write_bytes(b"no trajectories")
    said = fails(capsys, "train", "specs.py:quadratic", "--data", "own.h5", "--out", "run")
    assert "own.h5" in said
    assert Path("own.h5").read_bytes() == b"no trajectories"
    assert not Path("run").exists()


def test_a_spec_without_recipe_needs_data(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "has no recipe" in fails(capsys, "train", "specs.py:bare")
    assert "nowhere.h5" in fails(capsys, "train", "specs.py:bare", "--data", "nowhere.h5")
    assert "train needs a SPEC" in fails(capsys, "train")


def test_an_occupied_folder_is_refused_before_anything_is_collected(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run").mkdir()
    Path("run/metrics.jsonl").write_text("mine")
    assert "already holds a run" in fails(capsys, "train", "specs.py:quadratic", "--out", "run")
    assert not Path("data").exists()
    assert Path("run/metrics.jsonl").read_text() == "mine"


def test_a_missing_backend_is_refused_before_anything_is_collected(
    spec_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "backend", REAL_BACKEND)
    point = EntryPoint("torch", "latentroles_torch:BACKEND", "latentroles.backends")
    monkeypatch.setattr(plugins, "registered", lambda group: {"torch": point})
    said = fails(capsys, "train", "specs.py:quadratic", "--backend", "torhc")
    assert "Did you mean 'torch'?" in said
    assert not Path("data").exists()


def test_a_missing_device_is_refused_before_anything_is_collected(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--device", "cdua"]
    assert "no device 'cdua'" in fails(capsys, *command)
    assert not Path("data").exists()


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_backends_know_their_devices(backend: str) -> None:
    device_of = REAL_BACKEND(backend).device_of
    assert str(device_of("cpu")).lower().startswith("cpu") or device_of("cpu").platform == "cpu"
    device_of(None)
    with pytest.raises(SpecError, match=rf"latentroles_{backend} has no device 'cdua'"):
        device_of("cdua")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--frames", "1"], "Windows of 1 frames are too short for quadratic"),
        (["--validation", "nan"], "validation (--validation) is a fraction"),
        (["--validation", "-0.1"], "validation (--validation) is a fraction"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_collected(
    spec_file: str, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--quiet"]
    assert said in fails(capsys, *command, *options)
    assert not Path("data").exists()


def test_check_says_that_the_windows_of_a_recipe_are_too_short(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "specs.py:quadratic"]) == 0
    assert "recipe" not in capsys.readouterr().out
    Path("specs.py").write_text(SPEC_FILE.replace("frames=4", "frames=1"))
    assert main(["check", "specs.py:quadratic"]) == 0
    said = "The recipe does not fit: windows of 1 frames are too short for quadratic"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--min-delta", "nan", "a number of at least 0"),
        ("--min-delta", "inf", "a number of at least 0"),
        ("--min-delta", "-1", "a number of at least 0"),
        ("--min-delta", "little", "a number of at least 0"),
        ("--patience", "nan", "a whole number of at least 1"),
        ("--patience", "0", "a whole number of at least 1"),
        ("--frames", "inf", "a whole number of at least 1"),
        ("--out", "", "a path"),
        ("--resume", "", "a path"),
        ("--data", "", "a path"),
        ("--validation", "", "a path"),
    ],
)
def test_an_option_that_cannot_be_is_named(
    spec_file: str, capsys: pytest.CaptureFixture[str], option: str, value: str, rule: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "specs.py:quadratic", option, value])
    assert caught.value.code == 2
    assert f"argument {option}: {rule}, not {value!r}" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["specs.py"]


def test_validation_and_patience_are_options_and_kept_for_resuming(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--steps", "6"]
    held = ["--validation", "0.4", "--validate-every", "2"]
    judged = ["--patience", "3", "--min-delta", "0.5", "--stop-on", "pull"]
    assert main([*command, *held, *judged, "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert "validation pull" in err
    assert "validation" in out
    run = read_run(Path("run"))
    assert run.early_stopping == {"patience": 3, "min_delta": 0.5, "loss": "pull"}
    assert run.validation is not None
    assert run.validation["data"]["episodes"] == 1  # of three
    assert run.validation["every"] == {"main": 2}
    assert main(["train", "--resume", "run", "--steps", "8", "--quiet"]) == 0
    assert read_run(Path("run")).steps == {"main": 8}
    capsys.readouterr()
    command.append("--quiet")
    resume = ["train", "--resume", "run", "--quiet"]
    assert "early_stopping" in fails(capsys, *resume, "--patience", "2")
    assert "give it, too" in fails(capsys, *command, *held, "--stop-on", "pull")
    said = fails(capsys, *command, *held, "--patience", "1", "--stop-on", "pul")
    assert "Did you mean 'pull'?" in said
    data = str(next(Path("data").iterdir()))
    assert main([*command, "--validation", data, "--out", "second"]) == 0
    capsys.readouterr()
    second = read_run(Path("second")).validation
    assert second is not None
    assert second["data"]["episodes"] == 3
    assert "nowhere.h5" in fails(capsys, *command, "--validation", "nowhere.h5", code=2)


def test_a_recipe_may_say_how_it_is_validated(spec_file: str) -> None:
    text = SPEC_FILE.replace(
        "episodes=3,",
        "episodes=3, validation=0.4, early_stopping=EarlyStopping(patience=2), "
        'phases={"main": PhaseSettings(optimisers={"default": lr.sgd(0.01)})},',
    )
    head = "from latentroles.train import EarlyStopping, PhaseSettings\n"
    Path("specs.py").write_text(head + text)
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--quiet"]
    assert main([*command, "--out", "run"]) == 0
    run = read_run(Path("run"))
    assert run.early_stopping == {"patience": 2, "min_delta": 0.0, "loss": "total"}
    assert run.phases["main"]["optimisers"]["default"]["learning_rate"] == 0.01
    done = checkpoint.load(Path("run")).record["step"]
    assert main([*command, "--out", "run", "--skip-if-trained"]) == 0  # its one phase is done
    assert main([*command, "--skip-if-trained"]) == 1  # which folder?
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert checkpoint.load(Path("run")).record["step"] == done


def test_a_run_without_its_spec_json_is_told_plainly(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--quiet"]
    assert main([*command, "--out", "run"]) == 0
    Path("run/spec.json").unlink()
    capsys.readouterr()
    assert "has lost its spec.json" in fails(capsys, "train", "--resume", "run", "--quiet")
    assert main(["train", "specs.py:quadratic", "--resume", "run", "--quiet"]) == 0
    assert Path("run/spec.json").exists()


def test_arguments_come_from_a_file_and_p_goes_before_it(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.yaml").write_text("weight: 5e-1\nlabel: named\n")
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--quiet"]
    assert main([*command, "--config", "c.yaml", "-p", "weight=0.25", "--out", "run"]) == 0
    run = read_run(Path("run"))
    assert run.spec == "named"
    assert run.command["parameters"] == {"weight": 0.25, "label": "named"}
    capsys.readouterr()
    assert main(["routes", "specs.py:quadratic", "--config", "c.yaml"]) == 0
    capsys.readouterr()
    Path("c.yaml").write_text("wieght: 1\n")
    assert "Did you mean 'weight'?" in fails(capsys, *command, "--config", "c.yaml")


@pytest.mark.parametrize(
    "options",
    [
        ["--steps", "0"],
        ["--steps", "many"],
        ["--seed", "-1"],
        ["--dtype", "float16"],
        ["--batch", "1.5"],
        ["--unknown"],
    ],
)
def test_wrong_options_are_usage_errors(
    capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["train", "hzp", *options])
    assert left.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_a_loss_that_is_not_finite_is_exit_code_1(
    spec_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = install(monkeypatch)
    backend.after = lambda trainer, step, losses: {**losses, "pull": float("nan")}
    command = ["train", "specs.py:quadratic", "--quiet", "--backend", "quadratic"]
    assert "pull = nan at step 0" in fails(capsys, *command, code=1)


def same_weights(a: str, b: str) -> bool:
    left, right = checkpoint.load(Path(a)).arrays, checkpoint.load(Path(b)).arrays
    return all(left[name].tobytes() == right[name].tobytes() for name in left)


@pytest.mark.parametrize("spec", [[], ["specs.py:quadratic"]], ids=["folder's spec", "SPEC"])
def test_ctrl_c_then_resume(
    spec_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, spec: Any
) -> None:
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "-p", "weight=0.5"]
    command += ["--seed", "3", "--batch", "3", "--quiet", "--steps", "7", "--out"]
    assert main([*command, "whole"]) == 0
    backend = install(monkeypatch)

    def after(trainer: Any, step: int, losses: dict[str, float]) -> dict[str, float]:
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        return losses

    backend.after = after
    capsys.readouterr()
    assert main([*command, "parts"]) == 130
    assert "Stopped after step 3 of 7, and saved" in capsys.readouterr().err
    install(monkeypatch)
    assert main(["train", *spec, "--resume", "parts", "--quiet"]) == 0
    assert same_weights("whole", "parts")
    assert read_run(Path("parts")).status == "complete"


def test_resume_refuses_what_would_be_another_run(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--quiet"]
    assert main([*command, "--out", "run", "-p", "weight=1"]) == 0
    before = Path("run/checkpoint.safetensors").read_bytes()
    capsys.readouterr()
    resume = [*command, "--resume", "run"]
    for options, said in (
        (["-p", "weight=2"], "loss pull.weight: 1.0 there, 2.0 here"),
        (["-p", "label=other"], "a run of quadratic, which is another spec than other"),
        (["--seed", "1"], "seed: 0 there, 1 here"),
        (["--batch", "5"], "data.batch: 2 there, 5 here"),
        (["--steps", "5"], "more than steps=5 (--steps)"),
        (["--dtype", "float64"], "dtype"),
        (["--out", "elsewhere"], "stays in its folder"),
    ):
        code = 1 if "--out" in options else 2
        assert said in fails(capsys, *resume, *options, code=code)
    other = ["train", "specs.py:third", "--resume", "run", "--quiet"]
    assert "is another spec than third" in fails(capsys, *other)
    said = fails(capsys, "train", "--resume", "run", "-p", "weight=2")
    assert "-p sets arguments of a SPEC" in said
    assert "holds no run" in fails(capsys, "train", "--resume", "nothing")
    assert Path("run/checkpoint.safetensors").read_bytes() == before


def test_a_truncated_checkpoint_is_not_resumed(
    spec_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "specs.py:quadratic", "--backend", "quadratic", "--quiet"]
    assert main([*command, "--out", "run"]) == 0
    capsys.readouterr()
    path = Path("run/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    cut = path.read_bytes()
    assert "run/checkpoint.safetensors is truncated or damaged" in fails(
        capsys, "train", "--resume", "run", "--quiet"
    )
    assert path.read_bytes() == cut


def test_a_second_ctrl_c_has_no_traceback(
    spec_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(phases, "compile_spec", interrupted)
    assert main(["train", "specs.py:quadratic", "--quiet", "--backend", "quadratic"]) == 130
    assert capsys.readouterr().err == "Stopped at once.\n"


# Start-up -----------------------------------------------------------------------------------------

HEAVY = ("torch", "jax", "equinox", "optax", "matplotlib", "rich", "h5py", "gymnasium", "minigrid")


def loaded_by(program: str) -> set[str]:
    report = f"import sys; print('loaded:', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split("loaded:")[1].split())


def test_help_loads_nothing_heavy() -> None:
    program = "import latentroles.cli\ntry: latentroles.cli.main(['train', '--help'])\n"
    assert loaded_by(f"{program}except SystemExit as left: assert left.code == 0") == set()


def test_something_heavy_would_be_seen() -> None:
    assert loaded_by("import rich") == {"rich"}
