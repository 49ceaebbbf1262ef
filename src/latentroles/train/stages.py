"""Where the time of a run goes."""

import contextlib
import time
from collections.abc import Iterator


class Stages:
    """Seconds by stage, in the order of their beginning: `with stages("compile"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the time inside the `with` to the stage."""
        start = time.perf_counter()
        self.add(name, 0.0)
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Adds to the stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def after(self, earlier: dict[str, float]) -> dict[str, float]:
        """Returns the sum with the stages of an earlier part of the run."""
        names = [*earlier, *(name for name in self.seconds if name not in earlier)]
        return {n: round(earlier.get(n, 0.0) + self.seconds.get(n, 0.0), 3) for n in names}
