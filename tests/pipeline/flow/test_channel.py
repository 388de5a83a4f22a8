"""The channel between two stages."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.flow.channel import Channel, ChannelClosed


def test_it_keeps_the_order_and_its_bound() -> None:
    channel: Channel[int] = Channel(3)
    seen_waiting = threading.Event()

    def write() -> None:
        for number in range(100):
            if number == 4:
                seen_waiting.set()
            channel.put(number)
        channel.close()

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.05)
    assert not seen_waiting.is_set(), "the fourth item must wait for a place"
    found: list[int] = []
    with pytest.raises(ChannelClosed):
        while True:
            found += channel.get_many(2)
    writer.join()
    assert found == list(range(100))


def test_closing_hands_out_what_lies_there() -> None:
    channel: Channel[int] = Channel(3, writers=2)
    channel.put(1)
    channel.close()
    channel.put(2)
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.put(3)
    assert [channel.get(), channel.get()] == [1, 2]
    with pytest.raises(ChannelClosed):
        channel.get()


def test_aborting_wakes_both_ends() -> None:
    full: Channel[int] = Channel(1)
    full.put(1)
    empty: Channel[int] = Channel(1)
    ended: list[str] = []

    def wait(name: str, action: object) -> None:
        assert callable(action)
        try:
            action()
        except ChannelClosed:
            ended.append(name)

    threads = [
        threading.Thread(target=wait, args=("writer", lambda: full.put(2))),
        threading.Thread(target=wait, args=("reader", empty.get)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    assert ended == []
    full.abort()
    empty.abort()
    for thread in threads:
        thread.join(5)
    assert sorted(ended) == ["reader", "writer"]


def test_waiting_can_end() -> None:
    with pytest.raises(TimeoutError):
        Channel[int](1).get(timeout=0.01)
