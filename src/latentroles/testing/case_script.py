"""A failing case as a script that repeats it, which the pytest plugin prints under the failure."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..spec.spec import Spec


@dataclass(frozen=True)
class CaseScript:
    """A call that failed.

    Args:
        call: Python text that repeats it, in which the spec is `spec`: "laws.S3(spec, seed=2)".
        spec: the spec; None where the call reads none.
        imports: the lines that `call` needs.
        text: the declaration of the spec as Python text that binds it to `s`, where there is one.
    """

    call: str
    spec: Spec | None
    imports: tuple[str, ...] = ()
    text: str = ""

    def script(self) -> str:
        """A program that ends in the same error. It needs no other file."""
        heads, declared = ["import latentroles as lr"], []
        if self.text:
            declared = [self.text.strip(), "spec = s", ""]
        elif self.spec is not None:
            heads = ["import json", "", *heads]
            # A raw string: JSON has no three quotation marks in a row.
            declared = [f'spec = lr.Spec.from_json(json.loads(r"""\n{self.json()}\n"""))', ""]
        return "\n".join([*heads, *self.imports, "", *declared, self.call, ""])

    def json(self) -> str:
        """The spec's JSON, one line for each of its parts; "" without a spec."""
        if self.spec is None:
            return ""
        parts = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in self.spec.to_json().items()]
        return "{" + ",\n ".join(parts) + "}"


@contextmanager
def reproducible(call: str, subject: Any, *imports: str) -> Iterator[None]:
    """Gives an error that leaves the block a `latentroles_case`, unless it has one already.

    Args:
        call: as in CaseScript.
        subject: a Spec, a Program of `latentroles.testing.strategies`, or None.
    """
    try:
        yield
    except Exception as error:
        spec, text = getattr(subject, "spec", subject), getattr(subject, "text", "")
        # What is no spec is what the error is about.
        if not hasattr(error, "latentroles_case") and isinstance(spec, Spec | None):
            error.latentroles_case = CaseScript(call, spec, imports, text)  # type: ignore[attr-defined]
        raise
