"""Augmentation of frames: another view of the same thing, for objectives of invariance."""

from .. import arguments
from ..errors import ShapeError, SpecError, user_line
from .expr import Expr, spec_of
from .ops import draw


def augment(
    operand: Expr,
    *,
    crop: int = 0,
    noise: float = 0.0,
    brightness: float = 0.0,
    label: str,
) -> Expr:
    """A randomly changed view of frames, each frame with draws of its own: (..., C, H, W) -> same.

    In this order: moved by up to `crop` pixels each way, the border repeated (the random shift of
    Kostrikov et al., 2021, without interpolation); every entry times one factor, uniform in
    [1 - brightness, 1 + brightness); plus normal noise of deviation `noise` for each entry. Nothing
    is clipped. What is 0 is left out.

    The draws are Noise, inputs of the step: equal labels share them, another label draws anew. To
    encode without augmentation, declare the latent on the frames themselves.

    Raises:
        SpecError: an amount is out of range, or there is none; inside the step of a loop.
        ShapeError: `operand` has no frames (..., H, W), or has steps.
    """
    spec = spec_of("augment", (operand,))
    crop = arguments.integer("augment", "crop", crop, "pixels", minimum=0)
    noise = arguments.real("augment", "noise", noise, arguments.NON_NEGATIVE)
    brightness = arguments.real("augment", "brightness", brightness, arguments.DECAY)
    if not (crop or noise or brightness):
        raise SpecError(
            f"{user_line()}augment changes something; received crop, noise and brightness of 0. "
            "Fix: pass one of them, or read the frames themselves."
        )
    if spec._tracing:
        raise SpecError(
            f"{user_line()}augment draws for each frame, and a step of a loop has no frames of its "
            "own. Fix: augment outside, and pass the result as xs."
        )
    if "step" in operand.axes:
        raise ShapeError(
            f"{user_line()}augment draws for each frame of (batch, time); received "
            f"{operand.type}. Fix: augment before `.windows(...)`."
        )
    side = min(operand.shape[-2:], default=0)
    if len(operand.shape) > 1 and crop >= side:
        most = f"at most {side - 1}" if side > 1 else "0: frames of one pixel cannot be moved"
        raise SpecError(
            f"{user_line()}augment moves frames by less than their shorter side, so that something "
            f"of them is left; received crop={crop} for {operand.type}. Fix: pass a crop of {most}."
        )
    if crop:
        place = draw("augment", operand, f"{label}_crop", (2,), "uniform")
        operand = spec._node("op", (operand, place), ("random_crop", crop))
    if brightness:
        factor = draw("augment", operand, f"{label}_brightness", (), "uniform")
        operand = operand * (1.0 - brightness + 2.0 * brightness * factor)
    if noise:
        operand = operand + noise * draw(
            "augment", operand, f"{label}_noise", operand.shape, "normal"
        )
    return operand
