"""An object in its own process, where it has its own memory and its threads disturb no others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from operator import methodcaller
from typing import Any

from engines.closing import Closing, closed_on_error
from engines.errors import TaktlineError

_END_S = 10.0


class Remote(Closing):
    """Makes an object in another process and calls its methods there. A context manager.

    Args:
        what: what to call it in errors, such as `the engine openvino`.
        make: makes the object, which may have a `close`; must be importable by name.
        arguments: for `make`; they are pickled.

    Raises:
        TaktlineError: it could not be made; the text repeats the other process's message.
    """

    def __init__(self, what: str, make: Callable[..., Any], *arguments: Any) -> None:
        self._what = what
        # Not forked: threads and locks of this process would come along in an arbitrary state.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), name=what, daemon=True)
        self._process.start()
        theirs.close()
        with closed_on_error(self):
            self.answer()

    @property
    def pid(self) -> int:
        """The other process's id."""
        return self._process.pid or 0

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the object and waits for what it returns; raises what it raised."""
        self.start(method, *arguments)
        return self.answer()

    def start(self, method: str, *arguments: Any) -> None:
        """Calls a method; fetch its result with `answer`."""
        try:
            self._pipe.send((method, arguments))
        except OSError as error:
            raise self._gone() from error

    def answer(self) -> Any:
        """Waits for what the last call returns.

        Raises:
            TaktlineError: the call failed, or the process is gone.
        """
        try:
            good, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        if not good:
            raise value
        return value

    def close(self) -> None:
        """Closes the object and ends its process."""
        self._pipe.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _gone(self) -> TaktlineError:
        self._process.join(_END_S)
        return TaktlineError(
            f"the process of {self._what} ended with exit code {self._process.exitcode}; it may have been killed, or "
            "run out of memory"
        )


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    made: Any = None

    def begin() -> None:
        nonlocal made
        made = make(*arguments)

    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        try:
            _answer(pipe, begin)
            while made is not None:
                method, given = pipe.recv()
                _answer(pipe, methodcaller(method, *given), made)
        finally:
            if made is not None and hasattr(made, "close"):
                made.close()


def _answer(pipe: Connection, call: Callable[..., Any], *given: Any) -> None:
    try:
        good, value = True, call(*given)
    except TaktlineError as error:
        good, value = False, error
    except Exception as error:  # noqa: BLE001 - raised again in the calling process
        good, value = False, TaktlineError(f"{type(error).__name__}: {error}")
    pipe.send((good, value))
