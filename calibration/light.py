"""How bright good parts are, and what brings pictures in another light back to the light of calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from calibration.drift import estimate
from engines.adaptation import Appearance
from engines.image import Image

Gains = tuple[float, float, float]

# Pictures of one part under one lamp hardly differ: less than this is no measure of how much they do.
_LEAST_SPREAD = 0.002
_DARKEST = 1.0
_USUAL = 4.0
_FACTORS = (0.94, 0.96, 0.98, 1.02, 1.04, 1.06)


def measure_appearance(frames: Sequence[Image]) -> Appearance:
    """Measures how bright good parts are.

    Args:
        frames: at the network's input, uint8 `[H, W, 3]`.
    """
    logs = _brightness(frames)
    blue, green, red = np.exp(logs.mean(0)).tolist()
    spread = np.maximum(logs.std(0, ddof=min(1, len(logs) - 1)), _LEAST_SPREAD).tolist()
    return Appearance(brightness=(blue, green, red), spread=tuple(spread), samples=len(logs))


def find_gains(appearance: Appearance, frames: Sequence[Image]) -> tuple[Gains, Gains]:
    """Returns what may bring frames of good parts back to the light of calibration: its colour, and colour and level.

    A lamp that ages multiplies what the camera sees, and a picture with a gamma curve is still multiplied. As with
    scores, a change as small as chance makes it counts for nothing; see `calibration.drift.estimate`. Parts may differ
    much in brightness while hardly any in colour, so few of them tell the colour well and the level badly.

    Args:
        appearance: of good parts at calibration.
        frames: of today, uint8 `[H, W, 3]`.

    Returns:
        Gains that change the colour alone, and gains that change brightness as well.
    """
    known, logs = np.log(appearance.brightness), _brightness(frames)
    level = logs.mean(1)
    colour = logs - level[:, None] - (known - known.mean())
    colour_spread = np.maximum(colour.std(0, ddof=min(1, len(colour) - 1)), _LEAST_SPREAD)
    level_spread = float(np.mean(appearance.spread))

    def moved(values: npt.NDArray[np.float64], spread: float) -> float:
        return estimate(values / spread, appearance.samples).kept.mean * spread

    by_colour = [moved(channel, spread) for channel, spread in zip(colour.T, colour_spread.tolist(), strict=True)]
    by_level = moved(level - known.mean(), level_spread)
    return _gains(by_colour, 0.0), _gains(by_colour, by_level)


def better_gains(offers: tuple[Gains, Gains], score: Callable[[Gains], npt.NDArray[np.float64]]) -> Gains:
    """Chooses between what `find_gains` returns, and refines it.

    Args:
        offers: gains for the colour, and for colour and level.
        score: returns the scores of some good parts with some gains, `[n]`.
    """
    colour, whole = offers
    best = whole if whole != colour and brings_closer(score(colour), score(whole)) else colour
    factor = better_factor(lambda factor: score(_times(best, factor)))
    return _times(best, factor)


def better_factor(scaled: Callable[[float], npt.NDArray[np.float64]]) -> float:
    """Looks whether a little more or less light than the mean brightness asks for brings good parts closer still.

    Parts differ in brightness, so that few of them tell the light only roughly; their scores tell it better. Another
    factor counts only where the same parts' scores fall by more than twice the standard error of that.

    Args:
        scaled: returns the scores of some good parts with the gains times a factor, `[n]`.

    Returns:
        The factor; 1 if none is better.
    """
    base = scaled(1.0)
    best, least = 1.0, 0.0
    for factor in _FACTORS:
        change = scaled(factor) - base
        error = float(change.std(ddof=1)) / math.sqrt(len(change))
        if change.mean() < min(least, -2 * error):
            best, least = factor, float(change.mean())
    return best


def brings_closer(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> bool:
    """Tells whether good parts look less odd in another light, by more than twice the standard error of that.

    Where parts differ much in brightness, few of them tell the light badly, and a wrong one makes some look odd: so
    their scores' squares count, and not only the middle one. A score below the mean of good parts is not odd.

    Args:
        before: scores of some good parts, `[n]`.
        after: scores of the same parts in the other light.
    """
    most = max(_USUAL, 1.5 * float(np.median(before)))
    change = np.clip(after, 0, most) ** 2 - np.clip(before, 0, most) ** 2
    return bool(change.mean() < -2 * change.std(ddof=1) / math.sqrt(len(change)))


def _gains(by_colour: Sequence[float], by_level: float) -> Gains:
    blue, green, red = np.exp([-(colour + by_level) for colour in by_colour]).tolist()
    return blue, green, red


def _times(gains: Gains, factor: float) -> Gains:
    blue, green, red = gains
    return blue * factor, green * factor, red * factor


def _brightness(frames: Sequence[Image]) -> npt.NDArray[np.float64]:
    """Returns the logarithm of each channel's mean, `[n, 3]`."""
    return np.log(np.maximum([frame.mean((0, 1)) for frame in frames], _DARKEST))
