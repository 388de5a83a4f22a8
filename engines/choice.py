"""What `auto` chose on this machine, and the measurements it chose by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from engines.errors import EngineUnavailable
from engines.hint import Hint

# How much slower than measured a choice may run before it is reported.
TOLERATED = 1.3


class Candidate(BaseModel):
    """An engine that `auto` may choose.

    Attributes:
        engine: its name.
        device: what it runs on; `-` if the engine cannot run here at all.
        precision: as `open_engine` takes it, such as `f32` or `bf16+f32`; `-` if the engine cannot run here.
        share: expected share of good parts that get a second look.
        images_per_s: the rate on this machine, second looks included; None if it was not measured.
        left_out: why it was not measured, or None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    engine: str
    device: str
    precision: str
    share: float = Field(default=0.0, ge=0, le=1)
    images_per_s: float | None = Field(default=None, gt=0)
    left_out: str | None = None

    @property
    def name(self) -> str:
        """Engine, device and precision in words."""
        return " ".join(word for word in (self.engine, self.device, self.precision) if word != "-")


class Choice(BaseModel):
    """The fastest of several candidates.

    Attributes:
        chosen: the fastest.
        candidates: all of them in the order they were tried, `chosen` included.
        why: the reason, in a sentence.
        hint: what they were measured for.
        batch: frames in a batch while they were measured.
        measured_at: when, ISO 8601.
        seconds: how long measuring took, opening the engines included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    why: str
    hint: Hint
    batch: int = Field(ge=1)
    measured_at: str
    seconds: float = Field(ge=0)

    @classmethod
    def of(cls, candidates: Sequence[Candidate], hint: Hint, batch: int, seconds: float) -> Choice:
        """Takes the fastest candidate.

        Raises:
            EngineUnavailable: none could be measured; the text gives the reason for each.
        """
        measured = sorted(
            (one for one in candidates if one.images_per_s is not None), key=lambda one: -(one.images_per_s or 0)
        )
        if not measured:
            reasons = "; ".join(f"{one.name}: {one.left_out}" for one in candidates)
            raise EngineUnavailable(f"no engine can run here ({reasons})")
        why = _why(measured, batch)
        return cls(
            chosen=measured[0], candidates=tuple(candidates), why=why, hint=hint, batch=batch, measured_at=_now(),
            seconds=round(seconds, 1),
        )  # fmt: skip

    @classmethod
    def only(cls, candidate: Candidate, hint: Hint, batch: int) -> Choice:
        """Takes the only candidate, without measuring it."""
        why = f"{candidate.name} is the only engine that can run here, so nothing was measured"
        return cls(
            chosen=candidate, candidates=(candidate,), why=why, hint=hint, batch=batch, measured_at=_now(), seconds=0.0
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the choice as plain values."""
        return self.model_dump(mode="json")

    def trouble(self, batch_ns: float | None) -> str | None:
        """Returns a sentence if the chosen engine runs much slower than when it was measured, otherwise None.

        Args:
            batch_ns: nanoseconds that a batch of `batch` frames takes now; None if that is not known yet.
        """
        expected = self.chosen.images_per_s
        if not batch_ns or expected is None:
            return None
        found = self.batch * 1e9 / batch_ns
        if found * TOLERATED >= expected:
            return None
        return (
            f"{self.chosen.name} runs at {found:.3g} images/s, and ran at {expected:.3g} when it was chosen; stop "
            "other programs on this machine, or delete the folder 'choices' in Taktline's cache to measure again"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _why(measured: Sequence[Candidate], batch: int) -> str:
    best = measured[0]
    rate = best.images_per_s or 0.0
    why = f"{best.name} is the fastest at batch {batch} with {rate:.3g} images/s"
    if len(measured) == 1:
        return f"{why}; nothing else could be measured"
    second = measured[1]
    return f"{why}; next is {second.name} with {second.images_per_s:.3g}"
