"""Whether windows are long enough for what a run computes: before it begins, not in its midst."""

from latentroles.errors import DataError
from latentroles.plan import Plan, plan_phase, plan_values
from latentroles.spec import Spec
from latentroles.train.batches import columns_of
from latentroles.train.loop import Batch


def refuse_short(spec: Spec, frames: int | None) -> None:
    """Raises DataError where a window has fewer frames than a phase, a measure or a picture needs.

    Args:
        frames: T of a window; None where the spec reads no column.
    """
    why = None if frames is None else too_short(spec, frames)
    if why is not None:
        raise DataError(why)


def too_short(spec: Spec, frames: int) -> str | None:
    """Says which needs more frames than a window has, and what to do; None where none does."""
    plans = {
        f"phase {phase.name}": plan_phase(spec, phase, targets_flow=False)
        for phase in spec.all_phases()
    }
    for what in ("measures", "pictures"):
        shown = {name: declared.expr for name, declared in getattr(spec, what).items()}
        if shown:
            plans[f"one of the {what}"] = plan_values(spec, what, shown)
    short = {what: plan for what, plan in plans.items() if plan.frames > frames}
    if not short:
        return None
    reads = " and ".join(f"{what} reads {plan.frames}" for what, plan in short.items())
    least = max(plan.frames for plan in short.values())
    horizon = min(_admissible(plan, frames) for plan in short.values())
    shorter = f", or a horizon of at most {horizon}" if horizon > 1 else ""
    return (
        f"Windows of {frames} frames are too short for {spec.name}, of which {reads}. Take "
        f"longer ones: --frames {least} (frames={least}), or as many frames from a batch(step) of "
        f"your own{shorter}."
    )


def _admissible(plan: Plan, frames: int) -> int:
    """The longest horizon that windows of so many frames have room for; 0 where none is.

    A horizon is the length of a step axis. What is declared with it asks for a frame more for each
    step more; where something else asks for as much, a shorter horizon would not do.
    """
    steps = [
        node.type.step
        for node in plan.nodes()
        if node.type.step is not None and 1 + (node.type.time or 0) == plan.frames
    ]
    return max(0, max(steps, default=0) - (plan.frames - frames))


def frames_of(spec: Spec, batch: Batch) -> int | None:
    """T of a batch whose columns agree; T frames have T - 1 actions. None without any column."""
    for name, expr in columns_of(spec).items():
        return batch[name].shape[1] + (expr.type.time or 0)
    return None
