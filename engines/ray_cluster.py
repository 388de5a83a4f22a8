"""A connection to a Ray cluster: its address, its nodes, and whether its head still answers."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from engines.extras import require

LOOK_S = 1.0
_ANSWER_S, _NOBODY_S = 5.0, 120.0


class RayCluster(Closing):
    """A Ray cluster that this process is connected to.

    Args:
        address: of the cluster's head, or `auto` for the one that runs on this machine.

    Attributes:
        ray: the package.

    Raises:
        TaktlineError: Ray is not installed, or there is no such cluster.
        ConfigError: this is no address.
    """

    def __init__(self, address: str) -> None:
        self.ray: Any = require("ray", "ray")
        missing = f"there is no Ray cluster at {address}; start one with `ray start --head`, and give its address"
        known = _known_head() if address == "auto" else address
        # Ray itself would try for minutes, and then end this process.
        if known is None or not _answers(known):
            raise TaktlineError(missing)
        try:
            self.ray.init(known, log_to_driver=False, logging_level="ERROR", namespace="taktline")
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise TaktlineError(missing) from error
        self._head = self.ray.get_runtime_context().gcs_address

    def nodes(self) -> dict[str, dict[str, float]]:
        """Waits for a node with a processor, and returns the resources of each such node.

        Raises:
            TaktlineError: none comes, or the head is lost.
        """
        until = time.monotonic() + _NOBODY_S
        while True:
            self.check_head()
            alive = {one["NodeID"]: one["Resources"] for one in self.ray.nodes() if one["Alive"]}
            found = {name: resources for name, resources in alive.items() if resources.get("CPU", 0) >= 1}
            if found:
                return found
            if time.monotonic() > until:
                raise TaktlineError(f"the Ray cluster has had no node with a CPU for {_NOBODY_S:g} s; add nodes")
            time.sleep(LOOK_S)

    def check_head(self) -> None:
        """Looks whether the cluster's head still answers: a minute after it is lost, Ray would end this process.

        Raises:
            TaktlineError: it does not.
        """
        if not _answers(self._head):
            raise TaktlineError(f"the head of the Ray cluster at {self._head} is lost")

    def close(self) -> None:
        """Leaves the cluster, which frees what runs there for this process."""
        self.ray.shutdown()


def _known_head() -> str | None:
    """Returns the address of the cluster that `auto` means, as Ray finds it; None if there is none."""
    said = os.environ.get("RAY_ADDRESS")
    if said:
        return said
    try:
        return (Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster").read_text("utf-8").strip()
    except OSError:
        return None


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"'{address}' is no address of a Ray cluster; give HOST:PORT or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except OSError:
        return False
    return True
