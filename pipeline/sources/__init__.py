"""Sources of frames, opened by their addresses."""

from __future__ import annotations

from pathlib import Path

from engines.errors import ConfigError, DataError
from pipeline.config.camera import CameraConfig, redact
from pipeline.flow.arrangement import Arrangement
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.sources.camera import CameraSource
from pipeline.sources.device import CameraError
from pipeline.sources.feed import FeedSource
from pipeline.sources.folder import FolderSource
from pipeline.sources.gige import import_aravis
from pipeline.sources.replay import ReplaySource
from pipeline.sources.source import Source
from pipeline.sources.stream import StreamDevice, import_av


def open_source(camera: CameraConfig, clock: Clock = SYSTEM_CLOCK) -> Source:
    """Opens the source that a camera's address names; close it, or let its `frames` run.

    Raises:
        ConfigError: no kind of source has such an address.
        DataError: its folder or video cannot be used.
        TaktlineError: a package that it needs is not installed.
    """
    source = _open_kind(camera, clock)
    if camera.roi is not None or camera.rotate:
        source.arrangement = Arrangement(camera.roi, camera.rotate)
    return source


def _open_kind(camera: CameraConfig, clock: Clock) -> Source:
    kind, _, rest = camera.source.partition(":")
    if kind == "replay":
        return ReplaySource(camera.name, Path(rest), camera.fps, camera.seed, clock)
    if kind == "folder":
        return FolderSource(camera.name, Path(rest), camera.fps, camera.follow, clock)
    if kind == "feed":
        return FeedSource(camera.name, rest, clock)
    if kind in {"usb", "gige", "rtsp", "rtsps", "http", "https", "file"}:
        if kind == "gige":
            import_aravis()
        elif kind != "usb":
            import_av()
        if kind == "file":
            _check_video(camera, Path(rest))
        return CameraSource(camera, clock)
    raise ConfigError(
        f"camera '{camera.name}': the source '{redact(camera.source)}' is of an unknown kind; give replay:DIR, "
        "folder:DIR, usb:NUMBER, gige:ID, rtsp://..., http://..., file:VIDEO or feed:ipc://PATH"
    )


def _check_video(camera: CameraConfig, path: Path) -> None:
    if not path.is_file():
        raise DataError(f"camera '{camera.name}': there is no video file {path}; correct its path")
    try:
        StreamDevice(camera).close()
    except CameraError as error:
        raise DataError(f"camera '{camera.name}': {path} cannot be played ({error}); give a video file") from error
