"""What engines have in common that run each batch in a slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from engines.engine import Frames, NetworkEngine, Scores
from engines.jobs import Jobs, Slot


class SlotEngine(NetworkEngine):
    """An engine with a slot for each batch in flight. The last call of its constructor is `_open_slots`."""

    def _open_slots(self, slots: Sequence[Slot]) -> None:
        """Accepts batches from now on, and warms up."""
        self._jobs = Jobs(self.name, slots)
        self.warm_up()

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        del until
        return self._jobs.submit(frames)

    def _close(self) -> None:
        """Waits for the batches in flight and frees the slots; subclasses then free everything else."""
        self._jobs.close()
        del self._jobs


class BlockingSlot:
    """A slot that scores its batch with a blocking call, on the thread that collects the results.

    Args:
        run: scores a batch.
    """

    def __init__(self, run: Callable[[Frames], Scores]) -> None:
        self._run = run

    def start(self, frames: Frames) -> None:
        self._frames = frames

    def finish(self) -> Scores:
        return self._run(self._frames)
