"""Events as another process receives them."""

from __future__ import annotations

from pipeline.client.topic import AsyncTopicSubscriber, TopicCore, TopicSubscriber
from pipeline.protocol.event import EVENT_TOPIC, Event, unpack_event


class _EventCore(TopicCore[Event]):
    topic, kind = EVENT_TOPIC, "event"

    def _read(self, parts: list[bytes]) -> Event:
        return unpack_event(parts)


class EventSubscriber(_EventCore, TopicSubscriber[Event]):
    """Receives what a line's drift watch tells. A context manager and an iterator.

    Events are rare and not repeated: what comes while you are away is in the line's journal and in its status only.

    Args:
        address: where the line publishes, such as `tcp://127.0.0.1:5556`.
        cameras: only those of these cameras; all if empty.
        curve: keys, for a line that uses CURVE.

    Raises:
        ConfigError: the address cannot be used.
    """


class AsyncEventSubscriber(_EventCore, AsyncTopicSubscriber[Event]):
    """Receives events as `EventSubscriber` does, for asyncio. An asynchronous context manager and iterator."""
