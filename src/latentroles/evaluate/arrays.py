"""Arrays of any library, as numpy has them."""

from typing import Any

import numpy as np

_NO_NUMBERS = "cmMUS"  # complex, spans, dates, text: numpy would make numbers of them


def as_numpy(array: Any) -> np.ndarray:
    """An array of any library, as float64; NaN where it is masked.

    Raises:
        TypeError, ValueError, RuntimeError: it is none, or not of real numbers.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        if array.is_floating_point():  # numpy has no bfloat16
            array = array.double()
    found = np.asanyarray(array)
    if found.dtype.kind in _NO_NUMBERS:
        raise TypeError(f"{found.dtype} is no type of real numbers")
    return np.asarray(np.ma.filled(found.astype(np.float64), np.nan))
