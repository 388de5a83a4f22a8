"""A batch holds what its frames show, whatever is wrong with the frames beside them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engines.bundle import open_bundle
from engines.engine import Engine, Frames, Scores
from engines.image import resize_frame
from pipeline.config.sections import DecisionSection
from pipeline.flow.channel import Channel
from pipeline.flow.decided import Decided
from pipeline.flow.frame import Frame
from pipeline.line.batcher import Batch, BatchBuffers, Batcher
from pipeline.line.fair_queue import FairQueue
from pipeline.line.judge import Judge
from pipeline.line.ledger import Ledger
from pipeline.line.model import Model, ModelSlot
from pipeline.line.service_time import ServiceTime

SIZE = (32, 32)


class NoEngine(Engine):
    """An engine that is only named."""

    name = "none"

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        raise AssertionError("nothing is inspected here")

    def _close(self) -> None:
        """Nothing is open."""


class Bench:
    """A batcher with its queue, memory and ledger, and nothing behind it."""

    def __init__(self, bundle: Path, takt_ns: int | None = None) -> None:
        opened, engine = open_bundle(bundle), NoEngine(SIZE, "f32", 8, "cpu")
        slot = ModelSlot(Model(opened, engine, Judge(opened, engine, DecisionSection(), "bench")))
        self.queue = FairQueue({"a": "drop_oldest"}, 64)
        self.answers: Channel[Decided] = Channel(1000)
        self.ledger = Ledger(slot, ["a"], self.answers, takt_ns)
        self.buffers = BatchBuffers(2, 8, SIZE, lambda _slot, _failed: None)
        self.batches: Channel[Batch] = Channel(100)
        self.batcher = Batcher(self.queue, self.batches, self.buffers, self.ledger, ServiceTime(8))
        self.count = 0

    def frame(self, image: npt.NDArray[np.uint8] | None = None, encoded: bytes | None = None) -> Frame:
        """A frame that waits in the queue."""
        frame = Frame("a", self.count, image, time.time_ns(), time.monotonic_ns(), encoded)
        self.count += 1
        self.ledger.open(frame)
        self.queue.put(frame)
        return frame

    def fill(self, frames: Sequence[Frame]) -> Batch | None:
        taken, _, _ = self.batcher.choose(time.monotonic_ns())
        assert taken == list(frames)
        slot = self.buffers.take()
        batch = self.batcher.fill(taken, slot)
        self.buffers.give_back(slot)
        return batch


@pytest.fixture
def bench(bundle_path: Path) -> Iterator[Bench]:
    bench = Bench(bundle_path)
    yield bench
    assert bench.batcher._decoders is not None
    bench.batcher._decoders.close()


def png(image: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_frames_that_cannot_be_decoded_are_answered_and_leave_the_others_pixels_alone(bench: Bench) -> None:
    rng = np.random.default_rng(0)
    # Large enough to be decoded long after its broken neighbours have failed.
    good = [rng.integers(0, 255, (1500, 1500, 3), np.uint8) for _ in range(3)]
    frames = [
        bench.frame(encoded=b"no picture"),
        bench.frame(encoded=png(good[0])),
        # OpenCV refuses to resize it, with an error of its own.
        bench.frame(image=np.zeros((8, 8, 3, 2), np.uint8)),
        bench.frame(encoded=png(good[1])),
        bench.frame(image=None),
        bench.frame(encoded=png(good[2])[:2000]),
        bench.frame(encoded=png(good[2])),
    ]
    batch = bench.fill(frames)
    assert batch is not None
    assert [frame.sequence for frame in batch.frames] == [1, 3, 6]
    for row, picture in zip(batch.images, good, strict=True):
        expected = np.empty((*SIZE, 3), np.uint8)
        resize_frame(picture, SIZE, out=expected)
        assert (row == expected).all()
    reasons = {frame.sequence: bench.ledger._answers["a", frame.sequence].verdict.reason
               for frame in frames if frame.answered}  # fmt: skip
    assert reasons == {0: "corrupt", 2: "corrupt", 4: "corrupt", 5: "corrupt"}


def test_no_decoder_writes_any_more_once_the_batch_has_failed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has no thread left for the third decoder: the slot goes back, and the next batch may lie in it."""
    assert bench.batcher._decoders is not None
    large = np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), np.uint8)
    frames = [bench.frame(encoded=png(large)) for _ in range(3)]
    jobs: list[Future[bool]] = []
    submit = bench.batcher._decoders.submit

    def submit_two(*arguments: Any) -> Future[bool]:
        if len(jobs) == 2:
            raise RuntimeError("can't start new thread")
        jobs.append(submit(*arguments))
        return jobs[-1]

    monkeypatch.setattr(bench.batcher._decoders, "submit", submit_two)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        bench.fill(frames)
    assert [job.done() for job in jobs] == [True, True]


def test_a_batch_of_corrupt_frames_only_is_none(bench: Bench) -> None:
    assert bench.fill([bench.frame(encoded=b"x"), bench.frame(encoded=b"y")]) is None


def test_a_flood_of_corrupt_frames_is_a_few_warnings_and_a_count(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            assert bench.fill([bench.frame(encoded=b"no picture")]) is None
        bench.batcher.ended()
    assert len(caplog.records) == 4
    assert "a frame 0:" in caplog.text
    assert "97 more warnings of this kind" in caplog.text
