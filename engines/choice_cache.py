"""Stores what `auto` chose, keyed by everything that the choice depends on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from engines.cache import cache_folder, prune, store
from engines.choice import Choice
from engines.errors import ConfigError

log = logging.getLogger(__name__)

_MOST_CACHED = 1 << 20

Key = Mapping[str, str | int | None]


def recall(key: Key) -> Choice | None:
    """Returns the choice stored under this key, or None if there is none or its file is damaged."""
    try:
        values = json.loads(_path(key).read_bytes())
        # Two keys could share a file name, however unlikely.
        if values["key"] != key:
            return None
        return Choice.model_validate_json(json.dumps(values["choice"]))
    except FileNotFoundError:
        return None
    except (OSError, ConfigError, ValueError, TypeError, KeyError, ValidationError) as error:
        log.warning("what auto chose earlier cannot be read (%s); measuring again", type(error).__name__)
        return None


def keep(key: Key, choice: Choice) -> None:
    """Stores a choice. If the disk cannot be written, the next start measures again; nothing else is lost."""
    content = json.dumps({"key": dict(key), "choice": choice.to_json()}, indent=2)
    try:
        path = _path(key)
        store(path, content.encode())
        prune(path.parent, _MOST_CACHED)
    except ConfigError as error:
        log.warning("what auto chose is not kept, so the next start measures again: %s", error)


def _path(key: Key) -> Path:
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
    return cache_folder("choices") / f"{digest[:24]}.json"
