"""Checks of constructor arguments: one wording for every refusal.

Each function returns the value in its plain Python type, so that two descriptors that mean the
same are equal, hash alike and serialise alike (`numpy.int64(3)` becomes `3`, `1` becomes `1.0`).
"""

import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, NamedTuple

from .errors import SpecError, closest, user_line


class Range(NamedTuple):
    """An interval of real numbers, and the words for it."""

    words: str
    holds: Callable[[float], bool]


POSITIVE = Range("a number greater than 0", lambda v: v > 0)
NON_NEGATIVE = Range("a number of at least 0", lambda v: v >= 0)
UNIT = Range("a number from 0 to 1", lambda v: 0 <= v <= 1)
DECAY = Range("a number of at least 0 and less than 1", lambda v: 0 <= v < 1)
FINITE = Range("a finite number", lambda v: True)


def integer(owner: str, name: str, value: object, meaning: str, *, minimum: int = 1) -> int:
    """Returns `value` as an int of at least `minimum`; `meaning` says what the argument counts."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < minimum:
        raise SpecError(
            f"{user_line()}{owner}: {name} ({meaning}) must be an integer of at least {minimum}; "
            f"received {value!r}. Fix: pass {name}={minimum} or more."
        )
    return number


def integers(
    owner: str, name: str, value: object, meaning: str, *, minimum: int = 1
) -> tuple[int, ...]:
    """Returns a tuple of ints of at least `minimum`; `meaning` says what each one is."""
    if not isinstance(value, (tuple, list)):
        raise SpecError(
            f"{user_line()}{owner}: {name} ({meaning}) must be a tuple of integers; received "
            f"{value!r}. Fix: pass, say, {name}=(16, 32)."
        )
    return tuple(integer(owner, name, n, meaning, minimum=minimum) for n in value)


def pair(owner: str, name: str, value: object, meaning: str, *, minimum: int) -> tuple[int, int]:
    """Returns (height, width) from one integer or from two."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise SpecError(
                f"{user_line()}{owner}: {name} ({meaning}) must be one integer or a pair "
                f"(height, width); received {value!r}. Fix: pass {name}=n or {name}=(n, m)."
            )
        height, width = value
    else:
        height = width = value
    return (
        integer(owner, name, height, meaning, minimum=minimum),
        integer(owner, name, width, meaning, minimum=minimum),
    )


def real(owner: str, name: str, value: object, range: Range = FINITE) -> float:
    """Returns `value` as a finite float in `range`."""
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and range.holds(number):
            return number
    raise SpecError(
        f"{user_line()}{owner}: {name} must be {range.words}; received {value!r}. "
        f"Fix: pass {name} as {range.words}."
    )


def boolean(owner: str, name: str, value: object) -> bool:
    """Returns `value` when it is True or False."""
    if not isinstance(value, bool):
        raise SpecError(
            f"{user_line()}{owner}: {name} must be True or False; received {value!r}. "
            f"Fix: pass {name}=True or {name}=False."
        )
    return value


def choice(owner: str, name: str, value: object, known: Iterable[str]) -> str:
    """Returns `value` when it is one of the strings `known`."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise SpecError(
            f"{user_line()}{owner}: {name} must be one of {', '.join(map(repr, known))}; "
            f"received {value!r}.{closest(value, known) or f' Fix: pass {name}={known[0]!r}, say.'}"
        )
    return value


def weighs(weight: object) -> bool:
    """Returns whether a loss of this weight is declared, as one of any but the number 0 is.

    What is no weight is left to `Spec.loss` to refuse: by its truth, None would be absence.
    """
    number = isinstance(weight, Real) and not isinstance(weight, bool)
    return not (number and weight == 0)


def only_with(read: bool, needed: str, function: Callable[..., Any], **given: object) -> None:
    """Refuses arguments of `function` that are not their defaults where nothing reads them.

    Args:
        read: whether something reads them.
        needed: what makes that so, as a call writes it, such as "encoder='vit'".
        given: arguments of `function`, checked.
    """
    parameters = inspect.signature(function).parameters
    for name, value in given.items():
        if not read and value != parameters[name].default:
            raise SpecError(
                f"{user_line()}{function.__name__}: {name} has an effect only with {needed}; "
                f"received {name}={value!r} without. Fix: leave {name} away, or pass {needed}."
            )


def text(owner: str, name: str, value: object, meaning: str) -> str:
    """Returns `value` when it is a string with something in it; `meaning` says what it names."""
    if not isinstance(value, str) or not value:
        raise SpecError(
            f"{user_line()}{owner}: {name} ({meaning}) must be a string; received {value!r}. "
            f"Fix: pass {name}='...'."
        )
    return value


def names(owner: str, name: str, value: object, meaning: str) -> dict[str, str]:
    """Returns `value` as a dictionary of strings by string; `meaning` says of what, as "a -> b"."""
    held = dict(value) if isinstance(value, Mapping) else None
    if held is None or not all(isinstance(n, str) for pair in held.items() for n in pair):
        raise SpecError(
            f"{user_line()}{owner}: {name} ({meaning}) must be a dictionary of strings; received "
            f"{value!r}. Fix: pass {name}={{'...': '...'}}."
        )
    return held
