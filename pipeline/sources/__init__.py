"""Where frames come from, and how a source is opened by its address."""

from __future__ import annotations

from pathlib import Path

from engines.errors import ConfigError, DataError
from pipeline.config.camera import CameraConfig
from pipeline.sources.camera import CameraSource
from pipeline.sources.device import redact
from pipeline.sources.feed import FeedSource
from pipeline.sources.folder import FolderSource
from pipeline.sources.gige import import_aravis
from pipeline.sources.replay import ReplaySource
from pipeline.sources.source import Source
from pipeline.sources.stream import import_av


def open_source(camera: CameraConfig) -> Source:
    """Opens the source that a camera's address names.

    Raises:
        ConfigError: no kind of source has this address.
        DataError: its folder cannot be used.
        TaktlineError: what it needs is not installed.
    """
    kind, _, rest = camera.source.partition(":")
    if kind == "replay":
        return ReplaySource(camera.name, Path(rest), camera.fps, camera.seed)
    if kind == "folder":
        return FolderSource(camera.name, Path(rest), camera.fps, camera.follow)
    if kind == "feed":
        return FeedSource(camera.name, rest)
    if kind in {"usb", "gige", "rtsp", "rtsps", "http", "https", "file"}:
        if kind == "gige":
            import_aravis()
        elif kind != "usb":
            import_av()
        if kind == "file" and not Path(rest).is_file():
            raise DataError(f"camera '{camera.name}': there is no video file {rest}")
        return CameraSource(camera)
    raise ConfigError(
        f"camera '{camera.name}': the source '{redact(camera.source)}' is of no known kind; give replay:DIR, "
        "folder:DIR, usb:NUMBER, gige:ID, rtsp://..., http://..., file:VIDEO or feed:ipc://PATH"
    )
