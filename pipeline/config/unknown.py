"""Names a setting that does not exist, and the nearest one that does."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import ValidationError

from pipeline.config.section import Section


def unknown_setting(error: ValidationError, whole: type[Section], tables: Mapping[str, type[Section]]) -> str | None:
    """Returns a sentence about the first setting of a file that is not known; None if all are.

    An unknown name is usually the reason why another is missing.

    Args:
        error: what is wrong with the file.
        whole: the whole file.
        tables: its tables by name.
    """
    found = next((item["loc"] for item in error.errors() if item["type"] == "extra_forbidden"), None)
    if found is None:
        return None
    section = tables.get(str(found[0]), whole) if len(found) > 1 else whole
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(found[-1]), known, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else f"the settings here are {', '.join(known)}"
    return f"'{location(found)}' is not a setting; {hint}"


def location(parts: tuple[int | str, ...]) -> str:
    """Returns where a setting is, as people count: `camera.1.name` for the first camera's name."""
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in parts)
