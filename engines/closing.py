"""Objects that must be closed: at the end of a `with` block, or when their construction fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self


class Closing(ABC):
    """A context manager that closes itself at the end of its block."""

    @abstractmethod
    def close(self) -> None:
        """Frees everything it holds; closing twice is safe."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClosing(ABC):
    """An asynchronous context manager that closes itself at the end of its block."""

    @abstractmethod
    def close(self) -> None:
        """Frees everything it holds, at once; closing twice is safe."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Closable(Protocol):
    """Anything with a `close`."""

    def close(self) -> None: ...


@contextmanager
def closed_on_error(thing: Closable) -> Iterator[None]:
    """Closes an object if the block raises; the block may be the rest of its constructor."""
    try:
        yield
    except BaseException:
        thing.close()
        raise
