"""Previews as another process receives them: the newest, and none that was missed."""

from __future__ import annotations

from pipeline.client.topic import AsyncTopicSubscriber, TopicCore, TopicSubscriber
from pipeline.protocol.preview import PREVIEW_TOPIC, Preview, unpack_preview


class _PreviewCore(TopicCore[Preview]):
    topic, kind, by_camera = PREVIEW_TOPIC, "preview", True

    def _read(self, parts: list[bytes]) -> Preview:
        return unpack_preview(parts)


class PreviewSubscriber(_PreviewCore, TopicSubscriber[Preview]):
    """Receives the small pictures that a line with `[publish] previews` makes. A context manager and an iterator.

    A line makes them only while somebody subscribes. They are not repeated: what comes while you are away or too slow
    is lost. `camera`, `epoch` and `sequence` name the verdict that a picture belongs to.

    Args:
        address: where the line publishes, such as `tcp://127.0.0.1:5556`.
        cameras: only these cameras; all if empty.
        curve: keys, for a line that uses CURVE.

    Raises:
        ConfigError: the address cannot be used.
    """


class AsyncPreviewSubscriber(_PreviewCore, AsyncTopicSubscriber[Preview]):
    """Receives previews as `PreviewSubscriber` does, for asyncio. An asynchronous context manager and iterator."""
