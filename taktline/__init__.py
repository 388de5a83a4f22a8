"""Taktline: real-time visual inspection for production lines.

This is the entry point for Python users. Importing it costs next to nothing: each name is imported on first use, so a
program that only receives verdicts never loads OpenCV, SQLite or an inference library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engines.bundle import Bundle, open_bundle
    from engines.engine import Engine, Scores
    from engines.errors import (
        BundleError,
        ConfigError,
        DataError,
        EngineError,
        EngineUnavailable,
        LineDown,
        TaktlineError,
    )
    from engines.registry import open_engine
    from pipeline.client.async_subscriber import AsyncVerdictSubscriber
    from pipeline.client.events import AsyncEventSubscriber, EventSubscriber
    from pipeline.client.feed_sender import FeedSender
    from pipeline.client.previews import AsyncPreviewSubscriber, PreviewSubscriber
    from pipeline.client.subscriber import VerdictSubscriber
    from pipeline.line.build import build_line
    from pipeline.line.line import Line
    from pipeline.protocol.event import Event
    from pipeline.protocol.gap import Gap
    from pipeline.protocol.label import Label
    from pipeline.protocol.preview import Preview
    from pipeline.protocol.verdict import Heatmap, Latency, Region, Verdict, VersionError, WireError
    from pipeline.security.curve import ClientKeys

__all__ = [
    "AsyncEventSubscriber",
    "AsyncPreviewSubscriber",
    "AsyncVerdictSubscriber",
    "Bundle",
    "BundleError",
    "ClientKeys",
    "ConfigError",
    "DataError",
    "Engine",
    "EngineError",
    "EngineUnavailable",
    "Event",
    "EventSubscriber",
    "FeedSender",
    "Gap",
    "Heatmap",
    "Label",
    "Latency",
    "Line",
    "LineDown",
    "Preview",
    "PreviewSubscriber",
    "Region",
    "Scores",
    "TaktlineError",
    "Verdict",
    "VerdictSubscriber",
    "VersionError",
    "WireError",
    "build_line",
    "open_bundle",
    "open_engine",
]

_NAMES_OF = {
    "engines.bundle": "Bundle open_bundle",
    "engines.engine": "Engine Scores",
    "engines.errors": "BundleError ConfigError DataError EngineError EngineUnavailable LineDown TaktlineError",
    "engines.registry": "open_engine",
    "pipeline.client.async_subscriber": "AsyncVerdictSubscriber",
    "pipeline.client.events": "AsyncEventSubscriber EventSubscriber",
    "pipeline.client.feed_sender": "FeedSender",
    "pipeline.client.previews": "AsyncPreviewSubscriber PreviewSubscriber",
    "pipeline.client.subscriber": "VerdictSubscriber",
    "pipeline.line.build": "build_line",
    "pipeline.line.line": "Line",
    "pipeline.protocol.event": "Event",
    "pipeline.protocol.gap": "Gap",
    "pipeline.protocol.label": "Label",
    "pipeline.protocol.preview": "Preview",
    "pipeline.protocol.verdict": "Heatmap Latency Region Verdict VersionError WireError",
    "pipeline.security.curve": "ClientKeys",
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names.split()}


if not TYPE_CHECKING:
    # Type checkers would otherwise accept any name.
    def __getattr__(name: str) -> Any:
        """Imports a public name on first use (PEP 562)."""
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return getattr(import_module(module), name)


def __dir__() -> list[str]:
    """Lists the public names, including those not imported yet."""
    return __all__
