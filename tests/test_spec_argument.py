"""`-p key=value`: how a value is read, and what is refused."""

from typing import Any

import pytest

from latentroles.commands.specs import read_parameters
from latentroles.errors import SpecError


def declared(
    dim: int = 64, rate: float = 0.5, name: str = "a", deep: bool = False, frame: tuple = (3, 4),
    free: Any = None,
) -> None:  # fmt: skip
    """Arguments of every type."""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dim=128", {"dim": 128}),
        (" dim = 128", {"dim": 128}),
        ("rate=1e-3", {"rate": 1e-3}),
        ("rate=2", {"rate": 2.0}),
        ("name=b=c", {"name": "b=c"}),
        ("name=12", {"name": "12"}),
        ("deep=true", {"deep": True}),
        ("deep=False", {"deep": False}),
        ("deep=off", {"deep": False}),
        ("frame=(3, 56, 56)", {"frame": (3, 56, 56)}),
        ("frame=3,56,56", {"frame": (3, 56, 56)}),
        ("frame=[3,56]", {"frame": (3, 56)}),
        ("free={'a': 1}", {"free": {"a": 1}}),
        ("free=word", {"free": "word"}),
        ("free={1, 2}", {"free": "{1, 2}"}),  # no JSON, and run.json keeps it
    ],
)
def test_parameters_are_read_as_their_defaults_are(text: str, value: dict[str, Any]) -> None:
    read = read_parameters(declared, [text])
    assert read == value
    assert [type(v) for v in read.values()] == [type(v) for v in value.values()]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["dims=3"], "declared has no argument 'dims'. Did you mean 'dim'?"),
        (["dim"], "-p takes KEY=VALUE, such as -p dim=128; got 'dim'"),
        (["=3"], "-p takes KEY=VALUE"),
        (["dim=1", "dim=2"], "-p sets 'dim' twice"),
        (["dim=abc"], "-p dim takes an int such as 64, got 'abc'"),
        (["dim=1.5"], "-p dim takes an int such as 64, got '1.5'"),
        (["dim=True"], "-p dim takes an int"),
        (["rate=fast"], "-p rate takes a float such as 0.5, got 'fast'"),
        (["deep=maybe"], "-p deep takes a bool such as False, got 'maybe'"),
        (["deep=1"], "-p deep takes a bool"),
        (["frame=3"], "-p frame takes a tuple such as (3, 4), got '3'"),
    ],
)
def test_wrong_parameters_are_explained(texts: list[str], said: str) -> None:
    with pytest.raises(SpecError) as raised:
        read_parameters(declared, texts)
    assert said in str(raised.value)


def test_any_parameter_fits_a_function_that_takes_any() -> None:
    assert read_parameters(lambda **options: None, ["dim=3"]) == {"dim": 3}
