"""Whether windows are long enough for what a run computes: before it begins, not in its midst."""

from collections.abc import Iterable

from latentroles.errors import DataError
from latentroles.plan import plan_phase, plan_values
from latentroles.spec import Spec
from latentroles.train.batches import columns_of
from latentroles.train.loop import Batch


def refuse_short(spec: Spec, batches: Iterable[Batch]) -> None:
    """Raises DataError where a batch has fewer frames than a phase, a measure or a picture needs.

    Args:
        batches: one of each source: those to train on, those held out.
    """
    needs = {
        f"phase {phase.name}": plan_phase(spec, phase, targets_flow=False).frames
        for phase in spec.all_phases()
    }
    for what in ("measures", "pictures"):
        shown = {name: declared.expr for name, declared in getattr(spec, what).items()}
        if shown:
            needs[f"one of the {what}"] = plan_values(spec, what, shown).frames
    least = max(needs.values())
    for batch in batches:
        held = _frames(spec, batch)
        if held is None or held >= least:
            continue
        short = " and ".join(
            f"{what} reads {count}" for what, count in needs.items() if count > held
        )
        raise DataError(
            f"Windows of {held} frames are too short for {spec.name}, of which {short}. Take "
            f"longer ones: --frames {least} (frames={least}), or as many frames from a "
            "batch(step) of your own."
        )


def _frames(spec: Spec, batch: Batch) -> int | None:
    """T of a batch whose columns agree; T frames have T - 1 actions."""
    for name, expr in columns_of(spec).items():
        return batch[name].shape[1] + (expr.type.time or 0)
    return None
