"""Inspects pictures on a Ray cluster: an engine on every node, pictures sent to it a few at a time.

Ray Data would do the same with `map_batches`. It is not used: it wants the whole list of pictures before it starts, and
pandas, while a listing here may take hours and is read as fast as the engines go.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from engines.bundle import Bundle, open_bundle
from engines.closing import Closing
from engines.errors import DataError, TaktlineError
from engines.extras import require
from engines.ray_cluster import LOOK_S, RayCluster
from engines.registry import open_engine
from pipeline.archive.inspector import Inspector, Wishes
from pipeline.archive.picture import InHand, InStore, OpenStores, Picture, Unreadable
from pipeline.archive.row import Row
from pipeline.config.sections import DecisionSection

# An engine has the next pictures before it is done with these.
_IN_FLIGHT = 3
_TRIES = 3
_NODES_S = 5.0
_BATCHES = 8


@dataclass(frozen=True)
class EngineWish:
    """Which engine a node opens; see `open_engine`."""

    engine: str
    precision: str
    max_batch: int
    device: str | None
    threshold: float


class Station:
    """An engine in a process of its own on a node."""

    def __init__(
        self, files: Mapping[str, bytes], wish: EngineWish, decision: DecisionSection, wishes: Wishes, readers: int
    ) -> None:
        self._trouble: str | None = None
        try:
            with tempfile.TemporaryDirectory() as folder:
                for name, data in files.items():
                    (Path(folder) / name).write_bytes(data)
                bundle = open_bundle(Path(folder))
                engine = open_engine(
                    bundle, wish.engine, wish.precision, wish.max_batch, wish.device, "throughput", wish.threshold
                )
            self._inspector = Inspector(bundle, engine, decision, wishes, readers)
        except TaktlineError as error:
            # It is told with the first answer: Ray would wrap it in a page of its own.
            self._trouble = str(error)

    def inspect(self, pictures: list[Picture]) -> tuple[list[Row], str | None]:
        """Returns the rows, and why they end early, if they do."""
        rows: list[Row] = []
        if self._trouble is None:
            try:
                rows.extend(self._inspector.inspect(pictures))
            except TaktlineError as error:
                return rows, str(error)
        return rows, self._trouble


@dataclass
class _Node:
    actor: Any
    chunks: dict[Any, list[Picture]] = field(default_factory=dict)


class Cluster(Closing):
    """A Ray cluster that inspects pictures.

    Nodes that come are used, and what a lost node had is given to others, so each picture has one row.

    Args:
        address: of the cluster's head, or `auto` for the one that runs on this machine.
        bundle: sent to each node.
        wish: the engine that each node opens.
        decision: what makes a part defective.
        wishes: what else is wanted.

    Raises:
        TaktlineError: Ray is not installed, or there is no such cluster.
        ConfigError: this is no address.
    """

    def __init__(
        self, address: str, bundle: Bundle, wish: EngineWish, decision: DecisionSection, wishes: Wishes
    ) -> None:
        self._cluster = RayCluster(address)
        self._ray = self._cluster.ray
        self._files = self._ray.put(bundle.contents())
        self._arguments = (wish, decision, wishes)
        self._chunk = _BATCHES * wish.max_batch
        self._nodes: dict[str, _Node] = {}
        self._again: deque[list[Picture]] = deque()
        self._tries: dict[str, int] = {}

    def inspect(self, pictures: Iterable[Picture]) -> Iterator[Row]:
        """Yields a row for each picture, in any order.

        Raises:
            TaktlineError: a store is gone, an engine failed, the head is lost, or no node is left.
        """
        coming, more = iter(pictures), True
        looked = 0.0
        trouble: TaktlineError | None = None
        with OpenStores() as stores:
            while more or self._again or self._busy:
                if time.monotonic() - looked > _NODES_S:
                    self._find_nodes()
                    looked = time.monotonic()
                while (more or self._again) and (node := self._idlest()) is not None:
                    chunk = self._again.popleft() if self._again else []
                    try:
                        while more and len(chunk) < self._chunk:
                            few = list(islice(coming, self._chunk - len(chunk)))
                            more = bool(few)
                            chunk += [_sendable(one, stores) for one in few]
                    except TaktlineError as error:
                        trouble, more = error, False
                    if chunk:
                        node.chunks[node.actor.inspect.remote(chunk)] = chunk
                yield from self._collect()
        if trouble is not None:
            raise trouble

    def close(self) -> None:
        """Frees the cluster's engines."""
        self._cluster.close()

    @property
    def _busy(self) -> list[Any]:
        return [task for node in self._nodes.values() for task in node.chunks]

    def _idlest(self) -> _Node | None:
        free = [node for node in self._nodes.values() if len(node.chunks) < _IN_FLIGHT]
        return min(free, key=lambda node: len(node.chunks), default=None)

    def _collect(self) -> Iterator[Row]:
        """Waits a moment for answers; what a lost node had waits for another one."""
        busy = self._busy
        if not busy:
            time.sleep(LOOK_S / 10)
            return
        done, _ = self._ray.wait(busy, timeout=LOOK_S, fetch_local=True)
        if not done:
            self._cluster.check_head()
        for task in done:
            name, node = next((name, node) for name, node in self._nodes.items() if task in node.chunks)
            chunk = node.chunks.pop(task)
            try:
                rows, trouble = self._ray.get(task)
            except self._ray.exceptions.RayError as error:
                self._give_up(name, [chunk, *node.chunks.values()], error)
                return
            yield from rows
            if trouble is not None:
                raise TaktlineError(trouble)

    def _give_up(self, name: str, chunks: list[list[Picture]], error: Exception) -> None:
        """Leaves a node whose engine is gone.

        Raises:
            TaktlineError: the same pictures have ended several engines.
        """
        del self._nodes[name]
        for chunk in chunks:
            first = chunk[0].key
            self._tries[first] = self._tries.get(first, 0) + 1
            if self._tries[first] == _TRIES:
                why = " ".join(str(error).split())[:200]
                raise TaktlineError(
                    f"{_TRIES} nodes were lost with the pictures from {first} on; look at their logs ({why})"
                ) from error
            self._again.append(chunk)

    def _find_nodes(self) -> None:
        """Opens an engine on each node that has none."""
        alive = self._cluster.nodes()
        for name in [name for name in self._nodes if name not in alive]:
            chunks = list(self._nodes[name].chunks.values())
            self._give_up(name, chunks, RuntimeError("the node is gone"))
        for name, resources in alive.items():
            if name not in self._nodes:
                cores, gpus = int(resources["CPU"]), min(1, resources.get("GPU", 0))
                self._nodes[name] = _Node(self._open(name, cores, gpus))

    def _open(self, node: str, cores: int, gpus: float) -> Any:
        here = require("ray.util.scheduling_strategies", "ray").NodeAffinitySchedulingStrategy(node, soft=False)
        # Two calls at a time, so that the engine has the pictures of one while those of the other are being read.
        options = {"num_cpus": cores, "num_gpus": gpus, "max_concurrency": 2, "scheduling_strategy": here}
        return self._ray.remote(Station).options(**options).remote(self._files, *self._arguments, cores)


def _sendable(picture: Picture, stores: OpenStores) -> Picture:
    """Returns a picture as any node can read it: a node need not see this machine's files, but object stores.

    Raises:
        StoreLost: its store is gone.
    """
    if isinstance(picture.place, InHand | InStore):
        return picture
    try:
        return replace(picture, place=InHand(picture.read(stores)))
    except DataError as error:
        return replace(picture, place=Unreadable(str(error).removeprefix(f"{picture.part} ")))
