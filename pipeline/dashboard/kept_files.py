"""What a browser may fetch of a history: a kept picture, small or whole, and an export of what it filtered."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import cv2
import numpy as np
from fastapi import FastAPI, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, PlainTextResponse, Response

from engines.errors import TaktlineError
from pipeline.dashboard.background import carry_out, read
from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.filters import Filters
from pipeline.dashboard.store_history import HistoryPlace, StoreHistory, StorePlace, open_history
from pipeline.journal.export import export
from pipeline.journal.labels import VerdictKey
from pipeline.journal.reader import JournalReader

_SMALL = 240
_KINDS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "zip": "application/zip"}


class KeptFiles:
    """The routes of pictures and exports. A browser names lines and verdicts; it never names a file.

    Args:
        feeds: the lines by name.
    """

    def __init__(self, feeds: dict[str, LineFeed]) -> None:
        self._feeds = feeds
        # An export reads the whole journal; two at once would only be slower.
        self._exporting = asyncio.Semaphore(1)

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        app.add_api_route("/history/{line}/{camera}/{epoch}/{sequence}.jpg", self._picture, methods=["GET"])
        app.add_api_route("/export.{ending}", self._export, methods=["GET"])

    async def _picture(self, line: str, camera: str, epoch: str, sequence: int, small: bool = False) -> Response:
        place = self._place(line)
        if place is None or not 0 <= sequence < 2**63:
            return PlainTextResponse("There is no such picture.", 404)
        try:
            data = await read(_read, place, VerdictKey(camera, epoch, sequence), small=small)
        except TaktlineError as error:
            return PlainTextResponse(f"{error}.", 503)
        if data is None:
            return PlainTextResponse("There is no such picture.", 404)
        headers = {"cache-control": "private, max-age=3600"}
        return Response(data, media_type="image/jpeg", headers=headers)

    async def _export(self, request: Request, ending: str) -> Response:
        filters = Filters.read(request.query_params)
        line = filters.texts.get("line", "")
        place = self._place(line)
        if ending not in _KINDS or place is None or filters.wrong is not None:
            return PlainTextResponse(filters.wrong or "There is nothing to export.", 404)
        folder = tempfile.TemporaryDirectory(prefix="taktline-export-")
        file = Path(folder.name) / f"{line}.{ending}"
        try:
            async with self._exporting:
                await carry_out(_write, place, filters, file)
        except TaktlineError as error:
            folder.cleanup()
            return PlainTextResponse(f"{error}.", 503)
        except BaseException:
            folder.cleanup()
            raise
        return FileResponse(
            file, media_type=_KINDS[ending], filename=file.name, background=BackgroundTask(folder.cleanup)
        )

    def _place(self, line: str) -> HistoryPlace | None:
        feed = self._feeds.get(line)
        return None if feed is None else feed.history


def _read(place: HistoryPlace, key: VerdictKey, *, small: bool) -> bytes | None:
    with open_history(place) as history:
        data = history.picture(key)
    return _shrink(data) if small and data is not None else data


def _write(place: HistoryPlace, filters: Filters, file: Path) -> None:
    if isinstance(place, StorePlace):
        with StoreHistory(place) as history:
            export(history.all(filters.selection), file)
        return
    with JournalReader(place) as reader:
        export(reader.find(filters.selection), file)


def _shrink(data: bytes) -> bytes:
    """Returns a small picture for the gallery; the data itself if it cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)
    if image is None:
        return data
    scale = _SMALL / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])
