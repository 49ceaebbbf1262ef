"""Vectors of many dimensions in fewer, with the distances that they have."""

import numpy as np

_MANY = 256  # dimensions; of fewer, nothing is gained
_ROUND_OFF = 1e-12  # of the longest axis


def narrowed(z: np.ndarray, exact: int | None = None) -> np.ndarray:
    """Vectors (N, D) of numbers as (N, d) float64 that measure alike.

    Where fewer than D > 256 of the vectors differ, they are turned into the space that they span:
    every length, distance and angle stays as it was.

    Args:
        exact: of more different vectors than this, a Gaussian projection to 256 is given instead,
            which keeps squared distances within about 10 % (Johnson and Lindenstrauss, 1984).
    """
    if z.shape[1] <= _MANY:
        return z.astype(np.float64, copy=False)
    number, first = numbered(z)
    if exact is not None and len(first) > exact:
        axes = np.random.default_rng(0).standard_normal((z.shape[1], _MANY)) / np.sqrt(_MANY)
        return np.concatenate(
            [block.astype(np.float64) @ axes for block in np.split(z, range(1024, len(z), 1024))]
        )
    if len(first) >= z.shape[1]:
        return z.astype(np.float64, copy=False)
    _, triangle = np.linalg.qr(z[first].astype(np.float64).T)
    left, sizes, _ = np.linalg.svd(triangle.T)
    kept = sizes > _ROUND_OFF * sizes[0]
    kept[0] = True
    return (left[:, kept] * sizes[kept])[number]


def numbered(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row among the different ones, (N,), and the first row of each number."""
    rows = np.ascontiguousarray(rows)
    seen: dict[bytes, int] = {}
    first, numbers = [], np.empty(len(rows), np.int64)
    for index, row in enumerate(rows):
        number = seen.setdefault(row.tobytes(), len(seen))
        if number == len(first):
            first.append(index)
        numbers[index] = number
    return numbers, np.array(first)
