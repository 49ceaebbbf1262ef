"""What `evaluate` and `measure` are asked, checked before anything is walked or encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from types import MethodType
from typing import Any

from ..arguments import NON_NEGATIVE, POSITIVE, integer, real
from ..errors import EncoderError, SpecError, user_line


def lags(owner: str, value: Any) -> tuple[int, ...]:
    """How many steps back, each an integer of at least 1, sorted; or SpecError."""
    found = listed(value)
    if found is None:
        raise SpecError(
            f"{user_line()}{owner}: lags lists how many steps back the actions lie, such as "
            f"lags=[1, 2]; received {value!r}. Fix: pass a list, lags=[] for none."
        )
    return tuple(sorted({integer(owner, "lags", k, "steps back, each of a list") for k in found}))


def nuisance(owner: str, value: Any) -> tuple[str, ...] | None:
    """Names of labels, or None; or SpecError."""
    if value is None:
        return None
    found = listed(value)
    if found is None or not all(isinstance(name, str) for name in found):
        raise SpecError(
            f"{user_line()}{owner}: nuisance lists names of labels, such as nuisance=['heading']; "
            f"received {value!r}. Fix: pass a list, nuisance=[] for none."
        )
    # A set has another order in every process, and tables are in this one.
    return tuple(sorted(found) if isinstance(value, Set) else found)


def periods(owner: str, value: Any) -> dict[str, float] | None:
    """Name of a nuisance -> a number greater than 0, or None; or SpecError."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise SpecError(
            f"{user_line()}{owner}: periods maps names of nuisances to after how much they are the "
            f"same again; received {value!r}. Fix: pass periods={{'heading': 6.283}}, say."
        )
    return {name: real(owner, f"periods[{name!r}]", p, POSITIVE) for name, p in value.items()}


def tolerance(owner: str, value: Any, distance: Any) -> float:
    """A number of at least 0, and 0 without a distance that it is of; or SpecError."""
    number = real(owner, "tolerance", value, NON_NEGATIVE)
    if number and distance is None:
        raise SpecError(
            f"{user_line()}{owner}: tolerance is how far apart different places may lie and not be "
            f"compared, and without a distance none lies anywhere; received tolerance={value!r} "
            "and distance=None. Fix: give the distance, too, or leave the tolerance away."
        )
    return number


def encoders(encode: Any) -> list[Any]:
    """The encoder of each seed.

    Raises:
        SpecError: there is none, or one twice.
        EncoderError: one is not callable.
    """
    found = list(encode) if isinstance(encode, list | tuple) else [encode]
    if not found:
        raise SpecError(f"{user_line()}evaluate takes an encoder, or one for each seed; got none.")
    for number, one in enumerate(found):
        called(one)
        for before, other in enumerate(found[:number]):
            if _same(one, other):
                raise SpecError(
                    f"{user_line()}evaluate counts each encoder as a seed of training, and numbers "
                    f"{before + 1} and {number + 1} of these {len(found)} are one. Fix: give each "
                    "seed once."
                )
    return found


def controls(value: Any, taken: Sequence[str]) -> dict[str, Any]:
    """Further encoders by name.

    Args:
        taken: the names of those that are measured anyway.

    Raises:
        SpecError: it is no mapping of names, or of one that is taken.
        EncoderError: one is not callable.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(label, str) for label in value):
        raise SpecError(
            f"{user_line()}evaluate(): controls maps names to encoders; received "
            f"{type(value).__name__}. Fix: pass controls={{'untrained': encode}}."
        )
    for label, control in value.items():
        if label in taken:
            raise SpecError(
                f"{user_line()}controls= holds a control {label!r}, which is measured anyway. Fix: "
                "give it another name."
            )
        called(control, f"the control {label!r}")
    return dict(value)


def called(encode: Any, what: str = "an encoder") -> None:
    """Raises EncoderError where an encoder is not callable."""
    if not callable(encode):
        raise EncoderError(
            f"{user_line()}{what} is a callable from frames to vectors, got "
            f"{type(encode).__name__}. Fix: pass a function, such as "
            "`lambda frames: model.encode(frames[:, None], 'z')[:, 0]`; for an array of vectors, "
            "`lr.measure(visits, z)`."
        )


def listed(value: Any) -> list[Any] | None:
    """What it lists; None of text, and of what lists nothing."""
    if isinstance(value, str | bytes):
        return None
    try:
        return list(value)
    except TypeError:
        return None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, MethodType) and isinstance(other, MethodType):
        return one == other  # each is a new object whenever it is asked for
    return one is other
