"""Where frames wait for a batch: a short queue per camera, emptied in turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from pipeline.config.camera import Overload
from pipeline.flow.channel import ChannelClosed
from pipeline.flow.frame import Frame

# The deadline of frames that have none.
NEVER = 2**63 - 1


class FairQueue:
    """The queues of all cameras.

    A camera that sends faster than the line inspects fills only its own queue, because frames are taken from each
    camera in turn. Each camera's setting says what happens when its queue is full: the oldest frame is dropped, or the
    source waits.

    Args:
        cameras: for each camera by name, what to do when its queue is full.
        capacity: the most frames of one camera that wait.
    """

    def __init__(self, cameras: Mapping[str, Overload], capacity: int) -> None:
        self._overload = dict(cameras)
        self._capacity = capacity
        self._queues: dict[str, deque[Frame]] = {name: deque() for name in cameras}
        self._turn: deque[str] = deque(cameras)
        self._open = set(cameras)
        self._aborted = False
        self._version = 0
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> Frame | None:
        """Puts a frame into its camera's queue.

        Returns:
            The frame that was dropped, if any.

        Raises:
            ChannelClosed: the queue was aborted.
        """
        queue = self._queues[frame.camera]
        with self._changed:
            dropped = None
            if self._overload[frame.camera] == "block":
                self._changed.wait_for(lambda: self._aborted or len(queue) < self._capacity)
            elif len(queue) >= self._capacity:
                dropped = queue.popleft()
            self._check()
            queue.append(frame)
            self._touch()
            return dropped

    def look(self) -> tuple[int, list[Frame]]:
        """Returns the queue's version, for `wait`, and the waiting frames, nearest deadline first.

        Frames that have been answered leave the queue.

        Raises:
            ChannelClosed: the queue was aborted.
        """
        with self._changed:
            self._check()
            waiting: list[Frame] = []
            left = False
            for queue in self._queues.values():
                while queue and queue[0].answered:
                    queue.popleft()
                    left = True
                waiting += queue
            if left:
                self._changed.notify_all()
            waiting.sort(key=nearest)
            return self._version, waiting

    def wait(self, version: int, timeout: float | None) -> None:
        """Waits until the queue has changed since this version or `touch` was called."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout)

    def touch(self) -> None:
        """Wakes the waiting thread, because something has changed that matters for the next batch."""
        with self._changed:
            self._touch()

    def take(self, limit: int) -> list[Frame]:
        """Takes up to `limit` frames, one from each camera in turn; does not wait.

        Raises:
            ChannelClosed: the queue was aborted.
        """
        with self._changed:
            self._check()
            taken: list[Frame] = []
            idle = 0
            while len(taken) < limit and idle < len(self._turn):
                queue = self._queues[self._turn[0]]
                self._turn.rotate(-1)
                if queue:
                    taken.append(queue.popleft())
                    idle = 0
                else:
                    idle += 1
            self._changed.notify_all()
            return taken

    def trim(self, deadline: int, surplus: int) -> list[Frame]:
        """Takes out frames to give up.

        Args:
            deadline: all frames with an earlier deadline, monotonic nanoseconds.
            surplus: how many more: each time the oldest of the camera with the longest queue.
        """
        with self._changed:
            trimmed: list[Frame] = []
            for queue in self._queues.values():
                while queue and nearest(queue[0]) < deadline:
                    trimmed.append(queue.popleft())
            for _ in range(surplus):
                longest = max(self._queues.values(), key=len)
                if not longest:
                    break
                trimmed.append(longest.popleft())
            if trimmed:
                self._changed.notify_all()
            return trimmed

    @property
    def depth(self) -> int:
        """Number of waiting frames."""
        return sum(map(len, self._queues.values()))

    @property
    def ended(self) -> bool:
        """Whether nothing more will come out."""
        return self._aborted or (not self._open and not any(self._queues.values()))

    def close(self, camera: str) -> None:
        """Notes that a camera sends no more."""
        with self._changed:
            self._open.discard(camera)
            self._touch()

    def abort(self) -> None:
        """Ends the queue at once: waiting threads get `ChannelClosed`."""
        with self._changed:
            self._aborted = True
            self._touch()

    def _check(self) -> None:
        if self._aborted:
            raise ChannelClosed

    def _touch(self) -> None:
        self._version += 1
        self._changed.notify_all()


def nearest(frame: Frame) -> int:
    """Returns a frame's deadline, or `NEVER` if it has none."""
    return NEVER if frame.deadline is None else frame.deadline
