"""Addresses for a line, which it can bind again after a restart."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def publish(tmp_path: Path) -> dict[str, Any]:
    addresses = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            addresses.append(f"tcp://127.0.0.1:{probe.getsockname()[1]}")
    return {"verdicts": addresses[0], "replay": addresses[1]}
