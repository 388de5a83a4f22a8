"""A frame on its way through the line."""

from __future__ import annotations

from dataclasses import dataclass

from engines.errors import DataError
from engines.image import Image, decode_image
from pipeline.flow.arrangement import Arrangement


@dataclass(slots=True)
class Frame:
    """One picture of one part, with the times at which it passed the stages.

    Attributes:
        camera: name of the camera.
        sequence: number of the frame, per camera from 0, without gaps.
        image: uint8, BGR `[H, W, 3]` or gray `[H, W]`; None if there is none to inspect, or none yet.
        encoded: the bytes of a picture file, which is decoded only when its turn comes.
        arrangement: cuts out and turns the picture when it is decoded; None for nothing to do.
        captured_at: wall clock, nanoseconds since 1970 (UTC).
        captured: monotonic clock, nanoseconds.
        part: id of the part, if the source knows it.
        label: ground truth of a replayed part, for display only.
        fault: why there is no image.
        batched: when its batch was closed, monotonic nanoseconds; 0 if it was never in one.
        inferred: when its batch came back from the engine, monotonic nanoseconds; 0 if it never did.
        deadline: when it must be answered at the latest, monotonic nanoseconds; None for no deadline.
        answered: whether it has its verdict; only the ledger sets this.
    """

    camera: str
    sequence: int
    image: Image | None
    captured_at: int
    captured: int
    encoded: bytes | None = None
    part: str | None = None
    label: str | None = None
    fault: str | None = None
    batched: int = 0
    inferred: int = 0
    deadline: int | None = None
    answered: bool = False
    arrangement: Arrangement | None = None

    def decode(self) -> None:
        """Decodes and arranges the picture. This waits until the frame's turn comes, so a dropped frame costs nothing.

        Raises:
            DataError: it is not a picture, or only part of one, or the camera's region of interest lies outside of it.
                The frame then has no image.
        """
        encoded, self.encoded = self.encoded, None
        image, arrangement = self.image, self.arrangement
        if encoded is None and (image is None or arrangement is None):
            return
        self.image = self.arrangement = None
        if encoded is not None:
            try:
                image = decode_image(encoded)
            except DataError as error:
                raise DataError(f"{self.part or 'the picture'} {error}") from error
        assert image is not None
        self.image = image if arrangement is None else arrangement.apply(image)
