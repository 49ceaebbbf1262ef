"""Which gradients arrive at which parameters during a step, and which of them an optimiser applies.

Parameters are known by their `id`, backward passes by the number that autograd gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor


class _Applied(NamedTuple):
    """An optimiser's step on one parameter, with the backward passes its gradient is the sum of."""

    optimiser: str
    parameter: int
    passes: frozenset[int]


class Gradients:
    """What hooks on parameters and optimisers see, one step after the other."""

    def __init__(self, optimizers: Mapping[str, torch.optim.Optimizer]):
        self._optimizers = optimizers
        # Of all steps: a gradient that is not cleared stays from one to the next.
        self._summed: dict[int, set[int]] = {}  # {parameter: the passes its `.grad` is the sum of}
        self._passes: dict[int, frozenset[str]] = {}  # {pass: the losses that were in it}
        # Of the last step.
        self._hooked: frozenset[int] = frozenset()  # the parameters that are watched
        self._arrived: dict[int, bool] = {}  # {parameter: whether other than 0}
        self._touched: dict[int, set[int]] = {}  # {pass: the parameters where it arrived}
        self._applied: list[_Applied] = []

    @contextmanager
    def watching(self, parameters: Iterable[Tensor]) -> Iterator[None]:
        """Sees one step of these parameters."""
        self._arrived, self._touched, self._applied = {}, {}, []
        hooked = [p for p in parameters if p.requires_grad]
        self._hooked = frozenset(map(id, hooked))
        handles: list[Any] = [p.register_hook(self._arrival(p)) for p in hooked]
        handles += [
            optimizer.register_step_pre_hook(self._application(name))
            for name, optimizer in self._optimizers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def zero_in(self, reached: Mapping[str, frozenset[int]]) -> frozenset[str]:
        """The losses whose gradient was exactly 0 in the last step, wherever it arrived.

        Args:
            reached: {loss: the parameters that it reaches}.
        """
        zero = set()
        for loss, there in reached.items():
            seen = [self._arrived[p] for p in there if p in self._arrived]
            if seen and not any(seen):
                zero.add(loss)
        return frozenset(zero)

    def applied_of(self, reached: Mapping[str, frozenset[int]]) -> set[tuple[str, str, int]]:
        """(loss, optimiser, parameter): whose gradient each optimiser applied in the last step.

        A loss whose gradient arrived wherever it reaches was in some of the passes that it may have
        been in: an optimiser that applied all of these applied its gradient.
        """
        able = self._able(reached)
        self._passes |= self._losses_in(reached, able)
        may = {
            loss: {n for n, losses in able.items() if loss in losses}
            for loss, there in reached.items()
            if there & self._hooked <= self._arrived.keys()
        }
        return {
            (loss, applied.optimiser, applied.parameter)
            for applied in self._applied
            for loss, there in reached.items()
            if applied.parameter in there
            and (
                any(loss in self._passes.get(number, ()) for number in applied.passes)
                or (may.get(loss) and may[loss] <= applied.passes)
            )
        }

    def _able(self, reached: Mapping[str, frozenset[int]]) -> dict[int, list[str]]:
        """{backward pass of the last step: the losses that may have been in it}."""
        seen = frozenset(self._arrived)
        return {
            number: [loss for loss, there in reached.items() if there & seen <= touched]
            for number, touched in self._touched.items()
        }

    def _losses_in(
        self, reached: Mapping[str, frozenset[int]], able: Mapping[int, list[str]]
    ) -> dict[int, frozenset[str]]:
        """{backward pass: the losses that must have been in it}.

        A loss was in a pass for certain where a gradient arrived that no other loss explains.
        """
        found: dict[int, frozenset[str]] = {}
        for number, touched in self._touched.items():
            alone = [[loss for loss in able[number] if p in reached[loss]] for p in touched]
            found[number] = frozenset(losses[0] for losses in alone if len(losses) == 1)
        return found

    def _arrival(self, parameter: Tensor) -> Callable[[Tensor], None]:
        key = id(parameter)

        def hook(gradient: Tensor) -> None:
            number = _backward_pass()
            self._touched.setdefault(number, set()).add(key)
            self._arrived[key] = self._arrived.get(key, False) or _any(gradient)
            if parameter.grad is None or not _any(parameter.grad):
                self._summed[key] = set()
            self._summed.setdefault(key, set()).add(number)

        return hook

    def _application(self, name: str) -> Callable[..., None]:
        def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is not None and id(p) in self._summed and _any(p.grad):
                        passes = frozenset(self._summed[id(p)])
                        self._applied.append(_Applied(name, id(p), passes))

        return hook


def _any(gradient: Tensor) -> bool:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return bool(values.any())


def _backward_pass() -> int:
    """The number of the backward pass that runs the present hook; PyTorch has no public name."""
    return torch._C._current_graph_task_id()
