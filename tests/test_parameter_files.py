"""`--config FILE`: what a file of arguments may hold, and that -p overrides it."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentroles.commands.parameter_files import ParameterFile
from latentroles.commands.specs import add_parameters, read_parameters
from latentroles.errors import SpecError


def declared(
    dim: int = 64, rate: float = 0.5, name: str = "a", deep: bool = False, frame: tuple = (3, 4),
    free: Any = None,
) -> None:  # fmt: skip
    """Arguments of every type."""


def parse(*argv: str) -> list[str]:
    parser = argparse.ArgumentParser()
    add_parameters(parser)
    return parser.parse_args(argv).parameter


def read(folder: Path, text: str, name: str = "c.yaml", *argv: str) -> dict[str, Any]:
    (folder / name).write_text(text, encoding="utf-8")
    return read_parameters(declared, parse("--config", str(folder / name), *argv))


@given(
    held=st.fixed_dictionaries(
        {},
        optional={
            "dim": st.integers(-5, 500),
            "rate": st.floats(1e-9, 1e9) | st.integers(0, 9),
            "name": st.text("ab:'\" #é", max_size=6),
            "deep": st.booleans(),
            "frame": st.lists(st.integers(0, 9), max_size=3),
            "free": st.none() | st.lists(st.lists(st.booleans(), max_size=2), max_size=2),
        },
    )
)
def test_json_and_yaml_say_the_same_as_python(
    tmp_path_factory: pytest.TempPathFactory, held: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("config")

    def tuples(value: Any) -> Any:
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    expected = {key: tuples(value) for key, value in held.items()}
    for name in ("c.json", "c.yaml"):  # JSON is YAML, too
        found = read(folder, json.dumps(held, ensure_ascii=False), name)
        assert found == expected
        assert {key: type(v) for key, v in found.items() if key == "rate"} in ({}, {"rate": float})


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("", "c.yaml", {}),
        (
            "dim: 3\nrate: 1e-3\nframe: [1, 2]\n",
            "c.yaml",
            {"dim": 3, "rate": 1e-3, "frame": (1, 2)},
        ),
        ("rate: 2\ndeep: yes\n", "c.yml", {"rate": 2.0, "deep": True}),
        ("free: &b {x: 1}\n", "c.yaml", {"free": {"x": 1}}),
        ("free: {a: &b {x: 1, y: 2}, c: {<<: *b, x: 3}}\n", "c.yaml", None),
        ("dim = 3\nrate = 1e-3\nframe = [1, 2]\n", "c.toml", None),
    ],
)
def test_each_format_is_read(
    tmp_path: Path, text: str, name: str, expected: dict[str, Any] | None
) -> None:
    expected = (
        {
            "c.toml": {"dim": 3, "rate": 1e-3, "frame": (1, 2)},
            "c.yaml": {"free": {"a": {"x": 1, "y": 2}, "c": {"x": 3, "y": 2}}},
        }[name]
        if expected is None
        else expected
    )
    assert read(tmp_path, text, name) == expected


def test_p_overrides_the_file_wherever_it_stands(tmp_path: Path) -> None:
    assert read(tmp_path, "dim: 3\nname: b", "c.yaml", "-p", "dim=5") == {"dim": 5, "name": "b"}
    file = ParameterFile(tmp_path / "c.yaml")
    assert read_parameters(declared, ["dim=5", file]) == {"dim": 5, "name": "b"}
    assert parse() == []


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("dims: 3", "c.yaml", "c.yaml: declared has no argument 'dims'. Did you mean 'dim'?"),
        ("dim: wide", "c.yaml", "c.yaml: dim takes an int such as 64, got 'wide'"),
        ("dim: 1.5", "c.yaml", "dim takes an int such as 64, got 1.5"),
        ("dim: true", "c.yaml", "dim takes an int such as 64, got True"),
        ("rate: fast", "c.yaml", "rate takes a float such as 0.5, got 'fast'"),
        ("rate: true", "c.yaml", "rate takes a float"),
        ("name: 3", "c.yaml", "name takes a str such as 'a', got 3"),
        ("deep: 1", "c.yaml", "deep takes a bool such as False, got 1"),
        ("frame: 3", "c.yaml", "frame takes a tuple such as (3, 4), got 3"),
        ("rate: .nan", "c.yaml", "c.yaml: rate holds nan"),
        ("free: 2026-11-20", "c.yaml", "free holds datetime.date"),
        ("dim: 1\ndim: 2", "c.yaml", "'dim' is set twice"),
        ("free: {a: 1, a: 2}", "c.yaml", "'a' is set twice"),
        ('{"dim": 1, "dim": 2}', "c.json", "'dim' is set twice"),
        ("dim = 1\ndim = 2", "c.toml", "cannot be read"),
        ("dim: [1", "c.yaml", "c.yaml cannot be read"),
        ("? [1, 2]\n: 3", "c.yaml", "cannot be read"),
        ("free: !!python/object/apply:os.getcwd []", "c.yaml", "could not determine a constructor"),
        ("{", "c.json", "c.json cannot be read"),
        ("[1]", "c.json", "holds the arguments of a spec by name"),
        ("3: 4", "c.yaml", "holds the arguments of a spec by name"),
        ("dim: 3", "c.txt", "ends in .yaml, .yml, .json, .toml"),
    ],
)
def test_what_a_file_gets_wrong_is_said(tmp_path: Path, text: str, name: str, said: str) -> None:
    with pytest.raises(SpecError) as raised:
        read(tmp_path, text, name)
    assert said in str(raised.value)


def test_a_file_that_is_not_there_or_sets_the_same_again(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gone.yaml cannot be read: No such file"):
        read_parameters(declared, parse("--config", str(tmp_path / "gone.yaml")))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(SpecError, match=r"bytes.json cannot be read"):
        read_parameters(declared, [ParameterFile(tmp_path / "bytes.json")])
    (tmp_path / "b.json").write_text('{"dim": 3}')
    with pytest.raises(SpecError, match="--config sets 'dim' twice"):
        read(tmp_path, "dim: 3", "c.yaml", "--config", str(tmp_path / "b.json"))
