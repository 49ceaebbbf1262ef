"""The laws, one test for each, on each backend that is tested."""

import pytest

from latentroles.testing.laws import LAWS, Inapplicable


@pytest.mark.parametrize("law", [name for name, law in LAWS.items() if "backend" in law.reads])
def test_keeps(law: str, latentroles_backend: str) -> None:
    try:
        LAWS[law].run(latentroles_backend)
    except Inapplicable as error:
        pytest.skip(str(error))
