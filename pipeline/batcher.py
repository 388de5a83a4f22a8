"""Collects frames from all sources into batches: as large as they come, as soon as the engine has a place."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engines.image import resize_frame
from pipeline.channel import Channel, ChannelClosed
from pipeline.frames import Frame
from pipeline.stage import Stage


@dataclass(slots=True)
class Batch:
    """Frames that go through the engine together.

    Attributes:
        frames: every frame, also those without an image, in the order of their arrival.
        images: uint8 `[N, H, W, 3]`: a view of the slot's memory, a row for each frame that has an image.
        slot: which of the preallocated buffers it lies in; the buffer must be given back.
    """

    frames: list[Frame]
    images: npt.NDArray[np.uint8]
    slot: int

    @property
    def inspected(self) -> list[Frame]:
        """The frames that have an image, in the order of `images`."""
        return [frame for frame in self.frames if frame.image is not None]


@dataclass
class BatchBuffers:
    """Preallocated memory for the batches in flight; taking one waits for a free one.

    That wait is what makes batches grow under load: while every buffer is in the engine, frames gather in the
    inbox, and the next batch takes all of them. When the engine is idle a frame goes at once, alone.
    """

    count: int
    max_batch: int
    size: tuple[int, int]
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

    def give_back(self, slot: int) -> None:
        """Frees a slot."""
        with suppress(ChannelClosed):
            self._free.put(slot)

    def abort(self) -> None:
        """Wakes whoever waits for a buffer."""
        self._free.abort()


class Batcher(Stage):
    """Takes frames, resizes them into a batch's memory and hands the batch on."""

    def __init__(self, inbox: Channel[Frame], outbox: Channel[Batch], buffers: BatchBuffers) -> None:
        super().__init__("batcher")
        self._inbox, self._outbox, self._buffers = inbox, outbox, buffers

    def work(self) -> None:
        """Makes batches until the inbox ends."""
        while True:
            slot = self._buffers.take()
            frames = self._inbox.get_many(self._buffers.max_batch)
            memory = self._buffers.memory[slot]
            filled = 0
            for frame in frames:
                if frame.image is not None:
                    resize_frame(frame.image, self._buffers.size, out=memory[filled])
                    filled += 1
            closed = time.monotonic_ns()
            for frame in frames:
                frame.batched = closed
            self._outbox.put(Batch(frames, memory[:filled], slot))

    def finish(self) -> None:
        """Ends the batches."""
        self._outbox.close()
