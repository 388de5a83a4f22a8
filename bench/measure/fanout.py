"""Measures how one publisher of verdicts serves many subscribers over loopback, and what one that hangs loses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import zmq

from bench.load.messages import plant_message
from bench.measure.remote import Remote
from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from pipeline.protocol.sockets import HIGH_WATER_MARK
from pipeline.protocol.verdict import unpack
from pipeline.publish.publisher import PublisherSocket

_ADDRESS, _TIMEOUT_S, _QUIET_MS = "tcp://127.0.0.1:0", 60.0, 1_000
# A subscriber that hangs is sent what two queues hold and so many more; the network holds some as well.
_BEYOND = 2


@dataclass(frozen=True)
class Fanned:
    """How one publisher served a number of subscribers; medians over the runs.

    Attributes:
        subscribers: how many.
        messages_per_s: published, from the first until all subscribers had the last, in a second of the clock.
        cpu_us: the publisher's processor time for a message, in microseconds, with that of ZeroMQ's thread.
        cpu_us_each: the part of it that each further subscriber adds: the slope over the numbers of subscribers; nan
            with one number only.
        bytes: length of a message.
    """

    subscribers: int
    messages_per_s: float
    cpu_us: float
    cpu_us_each: float
    bytes: int


class Listeners(Closing):
    """Subscribers in a process of their own, on one ZeroMQ thread."""

    def __init__(self, address: str, count: int, queue: int = HIGH_WATER_MARK) -> None:
        self._context, self._poller = zmq.Context(), zmq.Poller()
        self._sockets = [self._context.socket(zmq.SUB) for _ in range(count)]
        for socket in self._sockets:
            socket.setsockopt(zmq.RCVHWM, queue)
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(address)
            socket.subscribe(b"")
            self._poller.register(socket, zmq.POLLIN)

    def receive(self, count: int) -> int:
        """Waits until each subscriber has so many messages; returns the moment, in monotonic nanoseconds.

        Raises:
            TaktlineError: they do not come.
        """
        left = dict.fromkeys(self._sockets, count)
        until = time.monotonic() + _TIMEOUT_S
        while any(left.values()):
            for socket, _ in self._poller.poll(100):
                while left[socket]:
                    try:
                        socket.recv_multipart(zmq.NOBLOCK)
                    except zmq.Again:
                        break
                    left[socket] -= 1
            if time.monotonic() > until:
                raise TaktlineError(f"{max(left.values())} of {count} messages did not arrive; give a lower --count")
        return time.monotonic_ns()

    def first_missing(self) -> int:
        """Reads what has come to the first subscriber; returns how many messages came before the first that did not."""
        expected = 0
        socket = self._sockets[0]
        while socket.poll(_QUIET_MS):
            verdict, _ = unpack(socket.recv_multipart())
            if verdict.sequence != expected:
                break
            expected += 1
        return expected

    def close(self) -> None:
        """Closes the sockets."""
        for socket in self._sockets:
            socket.close()
        self._context.term()


def measure_fanout(
    numbers: Sequence[int], count: int, runs: int, report: Callable[[str, int, int], None]
) -> list[Fanned]:
    """Publishes verdicts as fast as it goes to numbers of subscribers that take turns.

    The subscribers only count; they share the machine's cores with the publisher.

    Args:
        numbers: of subscribers.
        count: messages in a run.
        runs: number of runs for the medians.
        report: told how many runs are done.

    Raises:
        ConfigError: so many messages could be lost on the way.
        TaktlineError: not every message arrived.
    """
    if count > HIGH_WATER_MARK:
        raise ConfigError(f"--count is {count}; of more than {HIGH_WATER_MARK} at once, subscribers may lose some")
    found: dict[int, list[tuple[float, float]]] = {number: [] for number in numbers}
    messages = [plant_message(number, 1) for number in range(count)]
    for run in range(runs):
        for index, number in enumerate(numbers):
            report("fan-out", run * len(numbers) + index, runs * len(numbers))
            found[number].append(_publish(messages, number))
    report("fan-out", runs * len(numbers), runs * len(numbers))
    medians = {number: np.median(figures, axis=0) for number, figures in found.items()}
    cpu = [medians[number][1] for number in numbers]
    each = float(np.polyfit(list(numbers), cpu, 1)[0]) if len(set(numbers)) > 1 else float("nan")
    length = sum(map(len, messages[1]))
    return [Fanned(number, float(medians[number][0]), float(medians[number][1]), each, length) for number in numbers]


def measure_first_loss(report: Callable[[str, int, int], None], queue: int = HIGH_WATER_MARK) -> int:
    """Returns how many messages a subscriber that hangs has after all before the first that is lost.

    Args:
        report: told how many are published.
        queue: the most that wait at the publisher for this subscriber, and in its own process.

    Raises:
        TaktlineError: none was lost.
    """
    count = (_BEYOND + 2) * queue
    with (
        PublisherSocket(_ADDRESS, queue) as socket,
        Remote("the subscriber", Listeners, socket.address, 1, queue) as listeners,
    ):
        socket.await_subscribers(1, _TIMEOUT_S, threading.Event())
        for number in range(count):
            socket.send(plant_message(number, 1))
            if number % 10_000 == 0:
                report("first loss", number, count)
        first = int(listeners.ask("first_missing"))
        report("first loss", count, count)
    if first == count:
        raise TaktlineError(f"none of {count} messages was lost; report this defect of the measurement")
    return first


def _publish(messages: Sequence[list[bytes]], subscribers: int) -> tuple[float, float]:
    """Returns messages a second, and the publisher's microseconds of processor time for one."""
    with (
        PublisherSocket(_ADDRESS) as socket,
        Remote("the subscribers", Listeners, socket.address, subscribers) as listeners,
    ):
        socket.await_subscribers(subscribers, _TIMEOUT_S, threading.Event())
        listeners.start("receive", len(messages))
        began, used = time.monotonic_ns(), time.process_time_ns()
        for message in messages:
            socket.send(message)
        ended = int(listeners.answer())
        spent = time.process_time_ns() - used
    return len(messages) / (ended - began) * 1e9, spent / 1e3 / len(messages)
