"""The current model: a bundle, the engine that runs it, and the judge of its scores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engines.bundle import Bundle
from engines.closing import Closing
from engines.engine import Engine
from engines.errors import LineDown
from pipeline.line.judge import Judge

MOST_EARLIER = 5

EngineOpener = Callable[[Bundle], Engine]


@dataclass(frozen=True)
class Model:
    """A running bundle; a deploy replaces all three parts together.

    Attributes:
        bundle: the opened bundle.
        engine: runs it.
        judge: turns its scores into verdicts.
    """

    bundle: Bundle
    engine: Engine
    judge: Judge


class ModelSlot(Closing):
    """Holds the model that will inspect the next batch. Closing it closes that model's engine.

    Attributes:
        max_batch: the largest batch that the line makes; later models must take such batches too.
        earlier: the bundles that ran before, oldest first; the last five.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.max_batch = model.engine.max_batch
        self._using, self._swapping = threading.Lock(), threading.Lock()
        self._closed = False
        self.earlier: tuple[Bundle, ...] = ()

    @property
    def current(self) -> Model:
        """The model that will inspect the next batch."""
        return self._model

    @contextmanager
    def using(self) -> Iterator[Model]:
        """Lends the model, which is not replaced during the block."""
        with self._using:
            yield self._model

    def swap(self, model: Model, *, back: bool = False) -> Model:
        """Replaces the model and returns the old one, which gets no more batches.

        Args:
            model: takes its place.
            back: whether the model is the last of the earlier ones. It is then no longer among them, and the one that
                it replaces does not join them: going back again leads further back.

        Raises:
            LineDown: the line has been closed.
        """
        with self._using, self._swapping:
            if self._closed:
                raise LineDown("the line was closed while the bundle was being opened")
            retired, self._model = self._model, model
            self.earlier = self.earlier[:-1] if back else (*self.earlier, retired.bundle)[-MOST_EARLIER:]
        return retired

    def close(self) -> None:
        """Closes the engine."""
        # Not `_using`: a hanging submit holds it.
        with self._swapping:
            self._closed = True
        self._model.engine.close()
