"""Packages that come with an extra: imported when needed, and named in one sentence if missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from engines.errors import TaktlineError


def require(module: str, extra: str, error: type[TaktlineError] = TaktlineError) -> ModuleType:
    """Imports a module that needs packages of an extra.

    Args:
        module: its dotted name; it may also be one of ours that imports such packages.
        extra: the extra that installs them; empty for packages that Taktline itself requires.
        error: the kind of error to raise.

    Raises:
        error: a package is not installed, or does not load; the sentence names the package and the extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        package = (missing.name or module).partition(".")[0]
        target = f"'taktline[{extra}]'" if extra else "taktline"
        raise error(f"the package '{package}' is not installed; install it with: pip install {target}") from missing
    except ImportError as broken:
        reason = str(broken).strip().splitlines()
        raise error(
            f"the package '{module.partition('.')[0]}' is installed but does not load "
            f"({reason[-1] if reason else 'it gives no reason'}); install it again"
        ) from broken
