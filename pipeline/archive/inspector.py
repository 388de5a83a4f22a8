"""Inspects pictures with an engine as fast as it goes, and judges them as a line does."""

from __future__ import annotations

import heapq
import itertools
import os
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np

from engines.bundle import Bundle
from engines.closing import Closing
from engines.engine import Engine, Scores
from engines.errors import DataError, TaktlineError
from engines.image import Image, resize_frame, to_bgr
from engines.overlay import draw_overlay, draw_tiles
from engines.worker import Worker
from pipeline.archive.picture import OpenStores, Picture, StoreLost
from pipeline.archive.row import OVERLAY, TILES, Row, make_row
from pipeline.config.sections import DecisionSection
from pipeline.flow.decided import Decided
from pipeline.flow.frame import Frame
from pipeline.line.judge import Judge

SHOWN = 60
# How many batches of pictures are read ahead of the engine.
_AHEAD = 2


@dataclass(frozen=True)
class Wishes:
    """What an inspection gives besides verdicts.

    Attributes:
        heatmaps: which parts come with their heatmap drawn over them: `ng`, `all` or `none`.
        tiles: whether the most conspicuous defects come with small pictures for a report.
    """

    heatmaps: Literal["ng", "all", "none"] = "none"
    tiles: bool = False


@dataclass(slots=True)
class _Loaded:
    picture: Picture
    frame: Frame
    input: Image | None
    shape: tuple[int, int] | None


class Inspector(Closing):
    """Reads and decodes pictures in threads while the engine computes, and judges them in the order given.

    Args:
        bundle: the bundle.
        engine: opened on it; it stays the caller's.
        decision: what makes a part defective.
        wishes: what else is wanted.
        readers: threads that read and decode; None for one a core.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine, decision: DecisionSection, wishes: Wishes, readers: int | None = None
    ) -> None:
        self._bundle, self._engine, self._wishes = bundle, engine, wishes
        self._judge = Judge(bundle, engine, decision, "inspect")
        self._stores = OpenStores()
        self._readers = Worker("reader", readers or len(os.sched_getaffinity(0)))
        self._numbers = itertools.count()
        self._shown: list[float] = []

    def inspect(self, pictures: Iterable[Picture]) -> Iterator[Row]:
        """Yields a row for each picture, in their order.

        Raises:
            TaktlineError: a store is gone, or the engine failed. Rows of all pictures before were yielded.
        """
        loading: deque[Future[_Loaded]] = deque()
        computing: deque[tuple[list[_Loaded], Future[Scores] | None]] = deque()
        batch: list[_Loaded] = []
        ahead = (_AHEAD + 1) * self._engine.max_batch
        coming = iter(pictures)
        trouble: TaktlineError | None = None
        while True:
            # What was read before a store was lost is inspected all the same.
            try:
                while trouble is None and len(loading) < ahead and (picture := next(coming, None)) is not None:
                    loading.append(self._readers.submit(partial(self._load, picture)))
            except TaktlineError as error:
                trouble = error
            if loading:
                try:
                    batch.append(loading.popleft().result())
                except TaktlineError as error:
                    trouble = trouble or error
            if len(batch) == self._engine.max_batch or (batch and not loading):
                frames = [one.input for one in batch if one.input is not None]
                computing.append((batch, self._engine.submit(np.stack(frames)) if frames else None))
                batch = []
            while len(computing) > (self._engine.jobs if loading else 0):
                yield from self._judged(*computing.popleft())
            if not loading:
                break
        if trouble is not None:
            raise trouble

    def close(self) -> None:
        """Ends the threads and closes archives."""
        self._readers.close()
        self._stores.close()

    def _load(self, picture: Picture) -> _Loaded:
        frame = Frame("", next(self._numbers), None, 0, 0, part=picture.part)
        try:
            frame.encoded = picture.read(self._stores)
            frame.decode()
        except DataError as error:
            frame.fault = " ".join(str(error).split())
            return _Loaded(picture, frame, None, None)
        except MemoryError as error:
            raise StoreLost(f"the machine has no memory left for {picture.part}; end what else runs on it") from error
        image = frame.image
        assert image is not None
        small, shape = resize_frame(image, self._bundle.size), (image.shape[0], image.shape[1])
        if self._wishes.heatmaps == "none" and not self._wishes.tiles:
            # The judge asks for the size only, and large pictures would fill the memory.
            frame.image = np.broadcast_to(np.zeros((), np.uint8), image.shape)
        return _Loaded(picture, frame, small, shape)

    def _judged(self, batch: list[_Loaded], scores: Future[Scores] | None) -> Iterator[Row]:
        found = None if scores is None else scores.result()
        number = 0
        for one in batch:
            if found is None or one.input is None:
                decided = self._judge.uninspected(one.frame, "corrupt")
            else:
                decided = self._judge.inspected(one.frame, found, number)
                number += 1
            row = make_row(one.picture, decided.verdict, one.shape, one.frame.fault)
            row[OVERLAY] = self._overlay(decided)
            if self._wishes.tiles and self._is_shown(decided):
                row[TILES] = self._tiles(decided)
            yield row

    def _overlay(self, decided: Decided) -> bytes | None:
        """Returns a picture with its heatmap, if it is wanted, as PNG."""
        wish, image, sigma = self._wishes.heatmaps, decided.frame.image, decided.sigma
        if image is None or sigma is None or wish == "none" or (wish == "ng" and decided.verdict.verdict != "ng"):
            return None
        scale = self._judge.scale
        overlay = draw_overlay(to_bgr(image), sigma, scale.threshold, scale.full_scale)
        return cv2.imencode(".png", overlay)[1].tobytes()

    def _is_shown(self, decided: Decided) -> bool:
        """Whether a part is among the most conspicuous ones so far."""
        verdict = decided.verdict
        if verdict.verdict != "ng" or verdict.score is None or decided.sigma is None:
            return False
        if len(self._shown) < SHOWN:
            heapq.heappush(self._shown, verdict.score)
            return True
        return heapq.heappushpop(self._shown, verdict.score) < verdict.score

    def _tiles(self, decided: Decided) -> list[str]:
        assert decided.frame.image is not None
        assert decided.sigma is not None
        both = draw_tiles(decided.frame.image, decided.sigma, self._judge.scale)
        return [b64encode(tile).decode() for tile in both]
