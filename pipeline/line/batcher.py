"""Collects frames from all cameras into batches: as soon as the engine is idle, and never too late."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition

import numpy as np
import numpy.typing as npt

from engines.errors import DataError
from engines.image import resize_frame
from pipeline.flow.channel import Channel, ChannelClosed
from pipeline.flow.frame import Frame
from pipeline.flow.stage import Stage
from pipeline.line.fair_queue import FairQueue
from pipeline.line.ledger import Ledger
from pipeline.line.service_time import ServiceTime

log = logging.getLogger(__name__)

_DECODERS = 4


@dataclass(slots=True)
class Batch:
    """Frames that go through the engine together.

    Attributes:
        frames: in the order of `images`.
        images: uint8 `[N, H, W, 3]`: a view of the slot's memory, a row for each frame.
        slot: which of the preallocated buffers it lies in; the buffer must be given back.
    """

    frames: list[Frame]
    images: npt.NDArray[np.uint8]
    slot: int


@dataclass
class BatchBuffers:
    """Preallocated memory for one batch that is being filled and those in the engine.

    Args:
        count: how many.
        max_batch: the most frames in one.
        size: height and width of a frame.
        changed: notified when one is given back.
    """

    count: int
    max_batch: int
    size: tuple[int, int]
    changed: Condition
    memory: list[npt.NDArray[np.uint8]] = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.max_batch, *self.size, 3)
        self.memory = [np.empty(shape, np.uint8) for _ in range(self.count)]
        self._free: Channel[int] = Channel(self.count)
        self._out = 0
        for slot in range(self.count):
            self._free.put(slot)

    def take(self) -> int:
        """Waits for a free buffer and returns its slot; raises `ChannelClosed` after `abort`."""
        slot = self._free.get()
        with self.changed:
            self._out += 1
        return slot

    def give_back(self, slot: int) -> None:
        """Frees a slot."""
        with suppress(ChannelClosed):
            self._free.put(slot)
        with self.changed:
            self._out -= 1
            self.changed.notify_all()

    @property
    def taken(self) -> int:
        """How many are not free."""
        return self._out

    def abort(self) -> None:
        """Wakes whoever waits for a buffer."""
        self._free.abort()


class Batcher(Stage):
    """Decodes frames into a batch's memory while the engine works on the one before, and hands it on in time.

    A batch is closed when it is full, when the engine is idle, or when its oldest frame can wait no longer. A frame
    that cannot make it is answered at once instead of being inspected.
    """

    restarts = 3

    def __init__(
        self, intake: FairQueue, outbox: Channel[Batch], buffers: BatchBuffers, ledger: Ledger, pace: ServiceTime
    ) -> None:
        super().__init__("batcher")
        self._intake, self._outbox, self._buffers = intake, outbox, buffers
        self._ledger, self._pace = ledger, pace
        self._held: list[Frame] = []
        # Decoding and resizing do not hold the interpreter's lock.
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decoder")

    def work(self) -> None:
        """Makes batches until the cameras end."""
        while True:
            slot = self._buffers.take()
            try:
                frames = self._fill(self._buffers.memory[slot])
            except BaseException:
                for frame in self._held:
                    self._ledger.give_up(frame, "engine_error")
                self._buffers.give_back(slot)
                raise
            if not frames:
                self._buffers.give_back(slot)
                raise ChannelClosed
            closed = time.monotonic_ns()
            for frame in frames:
                frame.batched = closed
            self._outbox.put(Batch(frames, self._buffers.memory[slot][: len(frames)], slot))

    def finish(self) -> None:
        """Ends the batches."""
        self._decoders.shutdown(wait=True)
        self._outbox.close()

    def _fill(self, memory: npt.NDArray[np.uint8]) -> list[Frame]:
        """Fills a batch until it is to be closed; it is empty only where nothing more comes."""
        frames: list[Frame] = []
        limit = self._buffers.max_batch
        while True:
            self._await(frames)
            came = self._intake.take(limit - len(frames))
            self._held = frames + came
            taken = [frame for frame in came if self._can_make_it(frame, frames)]
            rows = range(len(frames), len(frames) + len(taken))
            decoded = self._decoders.map(self._decode, taken, [memory[row] for row in rows])
            frames = self._compact(memory, frames, taken, list(decoded))
            if frames and (len(frames) == limit or self._is_idle() or self._out_of_slack(frames)):
                frames = self._compact(memory, [], frames, [not frame.answered for frame in frames])
            elif not self._intake.ended:
                continue
            if frames or self._intake.ended:
                return frames

    def _await(self, frames: list[Frame]) -> None:
        """Waits until there is something to do for a batch that holds these frames."""

        def must_act() -> bool:
            return self._intake.waiting or self._intake.ended or bool(frames and self._is_idle())

        with self._intake.changed:
            self._intake.changed.wait_for(must_act, self._patience(frames))

    def _is_idle(self) -> bool:
        # The one buffer that is taken is the one being filled.
        return self._buffers.taken <= 1

    def _patience(self, frames: list[Frame]) -> float | None:
        slack = self._slack(frames)
        return None if slack is None else max(0.0, slack / 1e9)

    def _slack(self, frames: list[Frame]) -> int | None:
        """Nanoseconds that the frame with the nearest deadline can still wait."""
        deadlines = [frame.deadline for frame in frames if frame.deadline is not None]
        if not deadlines:
            return None
        return min(deadlines) - self._pace.expect(len(frames)) - time.monotonic_ns()

    def _out_of_slack(self, frames: list[Frame]) -> bool:
        slack = self._slack(frames)
        return slack is not None and slack <= 0

    def _can_make_it(self, frame: Frame, before: list[Frame]) -> bool:
        """Tells whether a frame is worth inspecting; one that is not is answered.

        While the engine is idle every frame is tried: nothing is lost by it, and the pace is learnt anew.
        """
        if frame.answered:
            return False
        if frame.deadline is None or self._is_idle():
            return True
        if time.monotonic_ns() + self._pace.expect(len(before) + 1) <= frame.deadline:
            return True
        self._ledger.give_up(frame, "late")
        return False

    def _decode(self, frame: Frame, row: npt.NDArray[np.uint8]) -> bool:
        """Decodes and resizes a frame into a row and tells whether it could be; one that cannot is answered."""
        try:
            frame.decode()
        except DataError as error:
            frame.fault = str(error)
        # The ledger takes the picture away from a frame that it answers meanwhile.
        image = frame.image
        if image is None:
            if frame.fault is not None:
                log.warning("%s frame %d: %s", frame.camera, frame.sequence, frame.fault)
            self._ledger.give_up(frame, "corrupt")
            return False
        resize_frame(image, self._buffers.size, out=row)
        return True

    @staticmethod
    def _compact(
        memory: npt.NDArray[np.uint8], before: list[Frame], added: list[Frame], keep: list[bool]
    ) -> list[Frame]:
        """Appends the frames that are kept, and moves their rows up to where those left out had been."""
        frames = list(before)
        for index, (frame, kept) in enumerate(zip(added, keep, strict=True), len(before)):
            if kept:
                if index != len(frames):
                    memory[len(frames)] = memory[index]
                frames.append(frame)
        return frames
