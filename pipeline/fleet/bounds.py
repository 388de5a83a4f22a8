"""What a line with another bundle must keep to, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.fleet.evidence import Tally, chance_of
from pipeline.protocol.event import REJECTION

# How often a roll-out of a bundle that is as good as the one before is stopped by chance, however many lines it has.
STOPPED_BY_CHANCE = 0.01
_FIRST_LOOK = 25
_KINDS = 2


@dataclass(frozen=True)
class Bounds:
    """What a roll-out waits for on each line, and what stops it.

    Attributes:
        parts: how many parts must pass.
        max_ng: how much the share of ng among inspected parts, and that of uninspected among all, may rise.
        wait_s: how long it may take until the parts have passed.
        drift: whether good parts that begin to look different from those of the bundle's calibration stop it.
    """

    parts: int = 200
    max_ng: float = 0.02
    wait_s: float = 3600.0
    drift: bool = True

    def looks(self) -> list[int]:
        """Returns after how many parts the shares are looked at: now and then, since every look can be wrong."""
        found = [self.parts]
        number = _FIRST_LOOK
        while number < self.parts:
            found.append(number)
            number *= 2
        return sorted(found)


class Trial:
    """One line with a new bundle, against itself before.

    Args:
        before: its status just before.
        after: its status just after the switch.
        bounds: what it must keep to.
        lines: how many lines the roll-out has.

    Attributes:
        passed: how many parts have passed since.
    """

    def __init__(self, before: dict[str, Any], after: dict[str, Any], bounds: Bounds, lines: int) -> None:
        self._bundle, self._bounds = after["bundle"], bounds
        self._before, self._start = Tally.of(before), Tally.of(after)
        self._moved_before = _moved(before)
        self._looks = bounds.looks()
        self._level = STOPPED_BY_CHANCE / (lines * _KINDS * len(self._looks))
        self.passed = 0

    @property
    def is_over(self) -> bool:
        """Whether all parts have passed and were looked at."""
        return not self._looks

    def look(self, status: dict[str, Any]) -> str | None:
        """Returns a sentence if the line leaves its bounds; None if not."""
        if status["bundle"] != self._bundle:
            return f"it runs another bundle now ({status['bundle']}); somebody switched it, or it started anew"
        if not status["live"]:
            return "it has gone down"
        now = Tally.of(status).since(self._start)
        self.passed = now.total
        if self._bounds.drift:
            moved = [words for key, words in _moved(status).items() if key not in self._moved_before]
            if moved:
                return f"its good parts look different from those of the new bundle's calibration: {', '.join(moved)}"
        if not self._looks or now.total < self._looks[0]:
            return None
        self._looks = [look for look in self._looks if look > now.total]
        before = self._before
        return self._risen("ng", (before.ng, before.inspected), (now.ng, now.inspected)) or self._risen(
            "uninspected", (before.uninspected, before.total), (now.uninspected, now.total)
        )

    def _risen(self, what: str, before: tuple[int, int], found: tuple[int, int]) -> str | None:
        if not found[1] or chance_of(before, found, self._bounds.max_ng) >= self._level:
            return None
        return (
            f"{found[0]} of {found[1]} parts are {what}, and {before[0]} of {before[1]} were before: more than "
            f"{100 * self._bounds.max_ng:g} in a hundred more, and not by chance"
        )


def _moved(status: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Returns in what good parts look different from those of calibration, in words, by camera and quantity."""
    cameras = (status.get("drift") or {}).get("cameras", {})
    return {
        (name, moved["quantity"]): f"{moved['words']} at camera {name}"
        for name, camera in cameras.items()
        for moved in camera["moved"]
        # A share of ng is held against the line's own before.
        if moved["quantity"] != REJECTION
    }
