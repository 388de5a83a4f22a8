"""Says in words how pictures differ from those of good parts, and what to do about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engines.looks import Quantity

_ADAPT = "put the light right, or adapt the bundle to good parts of today"
_CLEAN = "clean lens and light, or adapt the bundle to good parts of today"
_FOCUS = (
    "focus and clean the lens; adapting brings no detail back, so recalibrate if the pictures have to stay as they are"
)
_FIXTURE = (
    "put the fixture or the camera right; what the network knows depends on the place, so adapting does not help, and "
    "if the place has to stay, recalibrate"
)
_GRAIN = (
    "clean lens and window, and look whether the camera's gain has risen; if parts themselves show more detail, adapt "
    "the bundle to good parts of today"
)
_LOOK = "look at the newest parts; if they are good, adapt the bundle to them, and recalibrate if that warns you"

_REMEDIES: dict[Quantity, str] = {
    "brightness": _ADAPT, "contrast": _CLEAN, "sharpness": _FOCUS, "red": _ADAPT, "blue": _ADAPT, "x": _FIXTURE,
    "y": _FIXTURE, "rotation": _FIXTURE,
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """How far a quantity lies from that of good parts.

    Attributes:
        amount: a share for light, contrast, sharpness and colour; pixels of the camera's frame for `x` and `y`; degrees
            clockwise for `rotation`.
        unit: `%` (then `amount` is in percent), `px` or `degrees`.
        words: such as `darker by 18 %`.
        remedy: what to do about it.
    """

    amount: float
    unit: str
    words: str
    remedy: str


def describe(quantity: Quantity, difference: float, frame: tuple[int, int]) -> Difference:
    """Says how far a quantity lies from that of good parts.

    Args:
        quantity: its name.
        difference: in the units of `engines.looks.Looks`.
        frame: height and width of the camera's frame.
    """
    remedy = _REMEDIES[quantity]
    if quantity in {"x", "y"}:
        pixels = difference * frame[1 if quantity == "x" else 0]
        where = {"x": ("left", "right"), "y": ("top", "bottom")}[quantity][pixels > 0]
        shown = f"{abs(pixels):.0f}" if abs(pixels) >= 9.5 else f"{abs(pixels):.1f}"
        return Difference(pixels, "px", f"shifted by {shown} px to the {where}", remedy)
    if quantity == "rotation":
        turn = "clockwise" if difference > 0 else "counterclockwise"
        return Difference(difference, "degrees", f"rotated by {abs(difference):.1f} degrees {turn}", remedy)
    if quantity == "sharpness" and difference > 0:
        remedy = _GRAIN
    # The variance of the Laplacian is told as what becomes of fine detail itself.
    share = math.expm1(difference / 2 if quantity == "sharpness" else difference)
    less, more = {
        "brightness": ("darker", "brighter"),
        "contrast": ("lower in contrast", "higher in contrast"),
        "sharpness": ("blurred: fine detail weaker", "grainier: fine detail stronger"),
        "red": ("less red", "redder"),
        "blue": ("less blue", "bluer"),
    }[quantity]
    percent = 100 * share
    shown = f"{abs(percent):.0f}" if abs(percent) >= 9.5 else f"{abs(percent):.1f}"
    return Difference(percent, "%", f"{more if share > 0 else less} by {shown} %", remedy)


def describe_score(level: float) -> Difference:
    """Says how much higher or lower good parts score than at calibration, in sigma."""
    words = f"good parts score {abs(level):.1f} sigma {'higher' if level > 0 else 'lower'}"
    return Difference(level, "sigma", words, _LOOK)


def describe_rejection(share: float) -> Difference:
    """Says what share of the parts is rejected."""
    return Difference(100 * share, "%", f"{share:.0%} of the parts are rejected".replace("%", " %"), _LOOK)
