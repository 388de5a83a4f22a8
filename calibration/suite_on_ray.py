"""Runs the jobs of a suite on a Ray cluster: a task for each, which calibrates and evaluates on a node.

Pictures go to the nodes and bundles come back through Ray's object store, so the machines share no folder.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from calibration.dataset import find_dataset, open_dataset
from calibration.evaluate import Evaluation
from calibration.packed import Packed, pack
from calibration.suite import Job, Made, SuitePlan, Watch, concerns_all, make
from engines.bundle import new_bundle, open_bundle
from engines.closing import Closing
from engines.errors import DataError, TaktlineError
from engines.ray_cluster import LOOK_S, RayCluster

log = logging.getLogger(__name__)

_CORES = 4
# After the first try. Ray counts only lost nodes and processes, and not what the task itself raises.
_RETRIES = 3
_NODES_S = 5.0


@dataclass
class Answer:
    """What a node sends back.

    Attributes:
        files: the bundle's, by name.
        evaluation: without its samples, whose paths are the node's.
        why: why it failed; empty if it did not.
        concerns_all: whether every other job would fail in the same way.
        warnings: what calibration had to say.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    why: str = ""
    concerns_all: bool = False
    warnings: list[str] = field(default_factory=list)


def work(packed: Packed, seed: int, plan: SuitePlan) -> Answer:
    """Does one job on a node."""
    answer = Answer()
    with tempfile.TemporaryDirectory(prefix="taktline-") as name, _heard(answer.warnings):
        folder = Path(name)
        try:
            root, settings = packed.unpack(folder)
            settings = replace(settings, training=replace(settings.training, seed=seed))
            made = make(root, folder / "bundle" / packed.category, settings, plan)
            answer.files = made.bundle.contents()
            answer.evaluation = made.evaluation and replace(made.evaluation, samples=())
        except TaktlineError as error:
            # It is told as an answer: Ray would wrap it in a page of its own, and may not be able to carry it.
            answer.why, answer.concerns_all = packed.as_here(str(error), folder), concerns_all(error)
        except OSError as error:
            answer.why = f"a node cannot read or write its temporary files: {error.strerror or error}"
        answer.warnings = [packed.as_here(warning, folder) for warning in answer.warnings]
    return answer


@dataclass(frozen=True)
class Need:
    """What each task asks for, and how many tasks the cluster has room for.

    Where nodes have GPUs, each task asks for one, and the others are not used: their figures would differ a little.
    """

    cores: int
    gpus: int
    room: int

    @classmethod
    def on(cls, nodes: Mapping[str, Mapping[str, float]]) -> Self:
        """Returns what fits these nodes, given as their resources."""
        gpus = min(1, int(max(node.get("GPU", 0) for node in nodes.values())))
        usable = [node for node in nodes.values() if node.get("GPU", 0) >= gpus]
        cores = min(_CORES, *(int(node["CPU"]) for node in usable))
        rooms = (min(int(node["CPU"]) // cores, int(node["GPU"]) if gpus else int(node["CPU"])) for node in usable)
        return cls(cores, gpus, sum(rooms))

    def options(self) -> dict[str, Any]:
        """Returns it as options of a Ray task."""
        return {
            "num_cpus": self.cores, "num_gpus": self.gpus, "max_retries": _RETRIES, "retry_exceptions": False
        }  # fmt: skip


class SuiteOnRay(Closing):
    """Runs jobs on a Ray cluster.

    Args:
        address: of the cluster's head, or `auto` for the one that runs on this machine.

    Raises:
        TaktlineError: Ray is not installed, or there is no such cluster.
        ConfigError: this is no address.
    """

    def __init__(self, address: str) -> None:
        self._cluster = RayCluster(address)
        self._ray = self._cluster.ray
        self._sent: tuple[Path, Any] | None = None

    def run(self, jobs: Sequence[Job], plan: SuitePlan, watch: Watch) -> Iterator[tuple[Job, Made | str]]:
        """Runs as many jobs at a time as the cluster has room for; see `calibration.suite.Runner`.

        Raises:
            TaktlineError: the head is lost, no node is left, what would end all jobs, or a bundle cannot be written.
        """
        task = self._ray.remote(work)
        waiting, running = deque(jobs), dict[Any, Job]()
        looked = float("-inf")
        need = Need(1, 0, 0)
        while waiting or running:
            if time.monotonic() - looked > _NODES_S:
                need, looked = Need.on(self._cluster.nodes()), time.monotonic()
            while waiting and len(running) < need.room:
                job = waiting.popleft()
                try:
                    packed = self._send(job, plan)
                except DataError as error:
                    yield job, str(error)
                    continue
                running[task.options(**need.options()).remote(packed, job.seed, plan)] = job
                watch.doing(job, "on the cluster")
            if not running:
                continue
            done, _ = self._ray.wait(list(running), timeout=LOOK_S)
            if not done:
                self._cluster.check_head()
            for one in done:
                job = running.pop(one)
                yield job, self._receive(one, job, plan)

    def close(self) -> None:
        """Ends what still runs for this process, and leaves the cluster."""
        self._cluster.close()

    def _send(self, job: Job, plan: SuitePlan) -> Any:
        """Puts a category's pictures into the object store, once for the seeds that follow each other.

        Raises:
            DataError: they cannot be read, or are too few.
            TaktlineError: the object store has no room for them.
        """
        if self._sent is None or self._sent[0] != job.folder:
            # What is sent before is freed as soon as its last task is done.
            self._sent = None
            dataset = open_dataset(job.folder, plan.settings.split, job.seed)
            packed = pack(dataset, plan.settings)
            try:
                self._sent = job.folder, self._ray.put(packed)
            except self._ray.exceptions.RayError as error:
                self._cluster.check_head()
                raise TaktlineError(
                    f"Ray's object store has no room for the pictures of {job.category}; start Ray here with "
                    "more --object-store-memory, or make room on its disk"
                ) from error
        return self._sent[1]

    def _receive(self, task: Any, job: Job, plan: SuitePlan) -> Made | str:
        try:
            answer: Answer = self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            return f"it failed unexpectedly: {' '.join(str(error.cause).split())[:200]}"
        except self._ray.exceptions.RayError as error:
            self._cluster.check_head()
            return f"{_RETRIES + 1} nodes or processes were lost with it: {' '.join(str(error).split())[:200]}"
        for warning in answer.warnings:
            log.warning("%s, seed %d: %s", job.category, job.seed, warning)
        if answer.concerns_all:
            raise TaktlineError(answer.why)
        if answer.why:
            return answer.why
        try:
            with new_bundle(job.out) as folder:
                for name, data in answer.files.items():
                    (folder / name).write_bytes(data)
        except OSError as error:
            raise DataError(f"{job.out} cannot be written: {error.strerror or error}; make room") from error
        evaluation = answer.evaluation
        if evaluation is not None:
            samples = find_dataset(job.folder, plan.settings.split, job.seed).test
            evaluation = replace(evaluation, samples=samples)
        return Made(open_bundle(job.out), evaluation)


@contextmanager
def _heard(warnings: list[str]) -> Iterator[None]:
    """Collects warnings of all packages."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warnings.append(record.getMessage())

    collector, root = Collector(logging.WARNING), logging.getLogger()
    root.addHandler(collector)
    try:
        yield
    finally:
        root.removeHandler(collector)
