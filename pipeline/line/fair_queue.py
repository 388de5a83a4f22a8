"""Where frames wait for a batch: a short queue for each camera, emptied in turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from pipeline.config.camera import Overload
from pipeline.flow.channel import ChannelClosed
from pipeline.flow.frame import Frame


class Intake:
    """The queues of all cameras.

    A camera that sends faster than the line inspects fills its own queue only: frames are taken from each camera in
    turn. What happens then is the camera's choice: the oldest frame gives way, or the source waits.

    Args:
        cameras: by name: what to do where the queue is full.
        capacity: the most frames that wait of one camera.

    Attributes:
        changed: notified whenever anything here changes; whoever else makes the batcher look again may use it too.
    """

    def __init__(self, cameras: Mapping[str, Overload], capacity: int) -> None:
        self._overload = dict(cameras)
        self._capacity = capacity
        self._queues: dict[str, deque[Frame]] = {name: deque() for name in cameras}
        self._turn: deque[str] = deque(cameras)
        self._open = set(cameras)
        self._aborted = False
        self.changed = threading.Condition()

    def put(self, frame: Frame) -> Frame | None:
        """Puts a frame into its camera's queue.

        Returns:
            The frame that had to give way, if one had to.

        Raises:
            ChannelClosed: the line was broken off.
        """
        queue = self._queues[frame.camera]
        with self.changed:
            dropped = None
            if self._overload[frame.camera] == "block":
                self.changed.wait_for(lambda: self._aborted or len(queue) < self._capacity)
            elif len(queue) >= self._capacity:
                dropped = queue.popleft()
            if self._aborted:
                raise ChannelClosed
            queue.append(frame)
            self.changed.notify_all()
            return dropped

    def take(self, limit: int) -> list[Frame]:
        """Takes up to `limit` frames, one of each camera in turn; does not wait.

        Raises:
            ChannelClosed: the line was broken off.
        """
        with self.changed:
            if self._aborted:
                raise ChannelClosed
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
            self.changed.notify_all()
            return taken

    @property
    def waiting(self) -> bool:
        """Whether any frame waits."""
        return any(self._queues.values())

    @property
    def depth(self) -> int:
        """How many frames wait."""
        return sum(map(len, self._queues.values()))

    @property
    def ended(self) -> bool:
        """Whether nothing more will come out."""
        return self._aborted or (not self._open and not self.waiting)

    def close(self, camera: str) -> None:
        """Says that a camera sends no more."""
        with self.changed:
            self._open.discard(camera)
            self.changed.notify_all()

    def abort(self) -> None:
        """Breaks off: whoever waits is woken with `ChannelClosed`."""
        with self.changed:
            self._aborted = True
            self.changed.notify_all()
