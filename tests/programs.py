"""Programs of another environment, run as a user of it runs them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path


def run_program(
    *words: object, cwd: Path, environment: Mapping[str, str], timeout: float = 500
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and returns what it printed."""
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd, env=environment
    )
