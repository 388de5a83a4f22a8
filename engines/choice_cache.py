"""Keeps what `auto` chose on disk, under everything that the choice depends on."""

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
    """Returns the choice that was kept under this key, or None; a damaged file counts as none."""
    try:
        values = json.loads(_path(key).read_bytes())
        # Two keys may share a name, however unlikely that is.
        if values["key"] != key:
            return None
        return Choice.model_validate_json(json.dumps(values["choice"]))
    except FileNotFoundError:
        return None
    except (OSError, ConfigError, ValueError, TypeError, KeyError, ValidationError) as error:
        log.warning("what auto chose earlier cannot be read (%s); it is measured again", type(error).__name__)
        return None


def keep(key: Key, choice: Choice) -> None:
    """Keeps a choice; a disk that cannot be written costs a measurement at the next opening, and nothing else."""
    content = json.dumps({"key": dict(key), "choice": choice.to_json()}, indent=2)
    try:
        path = _path(key)
        store(path, content.encode())
        prune(path.parent, _MOST_CACHED)
    except ConfigError as error:
        log.warning("what auto chose is not kept, and will be measured again: %s", error)


def _path(key: Key) -> Path:
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
    return cache_folder("choices") / f"{digest[:24]}.json"
