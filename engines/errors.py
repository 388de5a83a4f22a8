"""The errors that Taktline raises on purpose, each with the exit code of a command that ends with it."""

from __future__ import annotations


class TaktlineError(Exception):
    """Something the user can fix: the text says in one sentence what is wrong and what to do."""

    exit_code = 2


class DataError(TaktlineError):
    """A data set or picture file cannot be used as it is."""


class BundleError(TaktlineError):
    """A model bundle is missing, incomplete or altered, or has another schema version."""


class ConfigError(TaktlineError):
    """A setting, line file, address or option cannot be used as it is."""


class EngineUnavailable(TaktlineError):
    """An engine cannot run here; the text says why in one sentence."""


class EngineError(TaktlineError):
    """An engine failed while it was running."""

    exit_code = 70


class LineDown(TaktlineError):
    """A stage of a running line failed for good and took the line down."""

    exit_code = 70


class LineHung(LineDown):
    """A line was closed, but something in it hangs; the process must exit without waiting for it."""
