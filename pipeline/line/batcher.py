"""Collects frames from all cameras into batches that the engine can answer within the takt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from engines.image import is_out_of_memory, resize_frame
from engines.worker import Worker
from pipeline.flow.channel import Channel, ChannelClosed
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.frame import Frame
from pipeline.flow.rate_limited_log import RateLimitedLog
from pipeline.flow.stage import Stage
from pipeline.line.batch_plan import Costs, EngineState, plan_batch
from pipeline.line.fair_queue import FairQueue, nearest
from pipeline.line.ledger import Ledger
from pipeline.line.service_time import ServiceTime
from pipeline.publish.drift_watch import DriftWatch

log = logging.getLogger(__name__)

DECODERS = 4
_STARVED_PAUSE_S, _LATELY_NS = 0.05, 2_000_000_000


@dataclass(slots=True)
class Batch:
    """Frames that go through the engine together.

    Attributes:
        frames: in the order of `images`.
        images: uint8 `[N, H, W, 3]`: a view of the slot's memory, one row per frame.
        slot: number of its preallocated buffer, which must be given back.
    """

    frames: list[Frame]
    images: npt.NDArray[np.uint8]
    slot: int


@dataclass
class BatchBuffers:
    """Preallocated memory for the batch that is being filled and those in the engine.

    Args:
        count: number of buffers.
        max_batch: the most frames in one.
        size: height and width of a frame.
        on_return: called with a slot that is given back, and with whether its batch failed.
    """

    count: int
    max_batch: int
    size: tuple[int, int]
    on_return: Callable[[int, bool], None]
    memory: list[npt.NDArray[np.uint8]] = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.max_batch, *self.size, 3)
        self.memory = [np.empty(shape, np.uint8) for _ in range(self.count)]
        self._free: Channel[int] = Channel(self.count)
        for slot in range(self.count):
            self._free.put(slot)

    def take(self) -> int:
        """Waits for a free buffer and returns its slot; raises `ChannelClosed` after `abort`."""
        return self._free.get()

    def give_back(self, slot: int, failed: bool = False) -> None:
        """Frees a slot; `failed` says that the engine did not score its batch."""
        with suppress(ChannelClosed):
            self._free.put(slot)
        self.on_return(slot, failed)

    def abort(self) -> None:
        """Wakes the thread that waits for a buffer."""
        self._free.abort()


class Batcher(Stage):
    """Takes the frames of the next batch, decodes them into its memory and passes it on.

    `plan_batch` makes the decisions; this class has the threads. A frame that cannot be answered in time or decoded is
    given up at once.
    If no memory is left, frames are answered `engine_error` and the line continues.
    """

    restarts = 3

    def __init__(
        self,
        queue: FairQueue,
        outbox: Channel[Batch],
        buffers: BatchBuffers,
        ledger: Ledger,
        service_time: ServiceTime,
        clock: Clock = SYSTEM_CLOCK,
        watch: DriftWatch | None = None,
        decoders: int = DECODERS,
    ) -> None:
        super().__init__("batcher", clock)
        self._queue, self._outbox, self._buffers = queue, outbox, buffers
        self._ledger, self._service_time, self._clock = ledger, service_time, clock
        # Shown each batch before the engine has it: its memory is used again soon after.
        self._watch = watch
        self._held: list[Frame] = []
        self._starved: tuple[str, int] | None = None
        self._warnings = RateLimitedLog(log)
        # Decoding and resizing release the interpreter's lock.
        self._decoders = Worker("decoder", decoders) if decoders > 1 else None

    def work(self) -> None:
        """Makes batches until all cameras have ended."""
        if self._decoders is not None:
            # Its threads start with the first call; a machine that runs out of memory later gives none.
            self._decoders.submit(lambda: None).result()
        while True:
            slot = self._buffers.take()
            try:
                batch = self._next(slot)
            except MemoryError:
                self._let_go(slot)
                self._starve("collecting a batch")
                # Not at once: what it lacks now it would lack again.
                time.sleep(_STARVED_PAUSE_S)
                continue
            except BaseException:
                self._let_go(slot)
                raise
            self._outbox.put(batch)

    @property
    def trouble(self) -> str | None:
        """Says that memory ran out in the last two seconds, or None."""
        starved = self._starved
        return None if starved is None or self._clock.monotonic_ns() - starved[1] > _LATELY_NS else starved[0]

    def ended(self) -> None:
        """Ends the decoders and closes the queue of batches."""
        if self._decoders is not None:
            self._decoders.close()
        self._warnings.flush()
        self._outbox.close()

    def choose(self, now: int) -> tuple[list[Frame], int, int | None]:
        """Takes the frames of the next batch from the queue, if it is time for one, and gives up hopeless frames.

        Returns:
            The frames, the queue's version for waiting, and when to look again if nothing changes before.
        """
        version, waiting = self._queue.look()
        if not waiting:
            return [], version, None
        last = waiting[-1]
        newest = None if last.deadline is None else (last.captured, last.deadline)
        plan = plan_batch(now, [nearest(frame) for frame in waiting], newest, self._engine(now), self._costs)
        if plan.surplus or nearest(waiting[0]) < plan.hopeless_before:
            for frame in self._queue.trim(plan.hopeless_before, plan.surplus):
                self._ledger.give_up(frame, "late")
        return self._queue.take(plan.size) if plan.size else [], version, plan.again

    def fill(self, frames: Sequence[Frame], slot: int) -> Batch | None:
        """Decodes frames into a slot's memory and closes the batch; None if no frame is left."""
        memory = self._buffers.memory[slot]
        began = self._clock.monotonic_ns()
        decoded = self._decode_all(frames, memory)
        now = self._clock.monotonic_ns()
        self._service_time.prepared(len(frames), now - began)
        keep = [done and not frame.answered for frame, done in zip(frames, decoded, strict=True)]
        kept = self._compact(memory, frames, keep)
        if not kept:
            return None
        for frame in kept:
            frame.batched = now
        if self._watch is not None:
            self._watch.see(kept, memory[: len(kept)])
        self._service_time.sent(slot, len(kept), now, [nearest(frame) for frame in kept])
        return Batch(kept, memory[: len(kept)], slot)

    def _next(self, slot: int) -> Batch:
        """Waits for the next batch; raises `ChannelClosed` if no more will come."""
        while True:
            now = self._clock.monotonic_ns()
            frames, version, again = self.choose(now)
            if frames:
                self._held = frames
                batch = self.fill(frames, slot)
                self._held = []
                if batch is not None:
                    return batch
            elif self._queue.ended:
                raise ChannelClosed
            else:
                self._queue.wait(version, None if again is None else max(0.0, (again - now) / 1e9))

    def _engine(self, now: int) -> EngineState:
        times = self._service_time
        return EngineState(times.idle, times.free_at(now), times.free_at(now, sure=True), times.last_done)

    @property
    def _costs(self) -> Costs:
        return self._service_time.costs()

    def _let_go(self, slot: int) -> None:
        for frame in self._held:
            self._ledger.give_up(frame, "engine_error")
        self._held = []
        self._buffers.give_back(slot)

    def _starve(self, what: str) -> None:
        why = f"the machine has no memory left for {what}; end what else runs on it"
        self._starved = why, self._clock.monotonic_ns()
        self._warnings.warning("%s", why)

    def _decode_all(self, frames: Sequence[Frame], memory: npt.NDArray[np.uint8]) -> list[bool]:
        """Decodes each frame into its row; returns only when no decoder writes to this memory any more."""
        if len(frames) == 1 or self._decoders is None:
            return [self._decode(frame, memory[row]) for row, frame in enumerate(frames)]
        jobs: list[Future[bool]] = []
        try:
            jobs += (
                self._decoders.submit(partial(self._decode, frame, memory[row])) for row, frame in enumerate(frames)
            )
        finally:
            wait(jobs)
        return [job.result() for job in jobs]

    def _decode(self, frame: Frame, row: npt.NDArray[np.uint8]) -> bool:
        """Decodes and resizes a frame into a row, and returns whether that worked; if not, the frame is answered."""
        try:
            frame.decode()
            # The ledger may answer the frame in the meantime and take its picture away.
            image = frame.image
            if image is not None:
                resize_frame(image, self._buffers.size, out=row)
                return True
        except Exception as error:  # noqa: BLE001 - whatever a picture does to its decoder concerns only this frame
            if is_out_of_memory(error):
                self._starve("pictures")
                self._ledger.give_up(frame, "engine_error")
                return False
            frame.fault = str(error) or type(error).__name__
        if not frame.answered:
            fault = frame.fault or "there is no picture"
            self._warnings.warning("%s frame %d: %s", frame.camera, frame.sequence, fault)
            self._ledger.give_up(frame, "corrupt")
        return False

    @staticmethod
    def _compact(memory: npt.NDArray[np.uint8], frames: Sequence[Frame], keep: Sequence[bool]) -> list[Frame]:
        """Returns the frames to keep, and closes the gaps between their rows."""
        kept: list[Frame] = []
        for row, frame in enumerate(frames):
            if keep[row]:
                if row != len(kept):
                    memory[len(kept)] = memory[row]
                kept.append(frame)
        return kept
