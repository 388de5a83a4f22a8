"""Where frames come from, and how a source is opened by its address."""

from __future__ import annotations

from pathlib import Path

from engines.errors import ConfigError
from pipeline.config import CameraConfig
from pipeline.sources.folder import FolderSource
from pipeline.sources.replay import ReplaySource
from pipeline.sources.source import Source


def open_source(camera: CameraConfig) -> Source:
    """Opens the source that a camera's address names.

    Raises:
        ConfigError: no kind of source has this address.
        DataError: its folder cannot be used.
    """
    kind, _, rest = camera.source.partition(":")
    if kind == "replay":
        return ReplaySource(camera.name, Path(rest), camera.fps, camera.seed)
    if kind == "folder":
        return FolderSource(camera.name, Path(rest), camera.fps, camera.follow)
    raise ConfigError(
        f"camera '{camera.name}': the source '{camera.source}' is of no known kind; give replay:DIR or folder:DIR"
    )
