"""Lines without engines: real control sockets, and counts of parts that go on with every question.

    python -m tests.peers.fleet --lines 200 --bundle runs/a --out fleet.toml

serves so many of them until Ctrl-C, for `taktline fleet` to be tried on.
"""

from __future__ import annotations

import argparse
import resource
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

from engines.bundle import MANIFEST, Bundle, open_bundle
from engines.closing import Closing
from engines.errors import ConfigError
from pipeline.protocol.orders import Answer, Order
from pipeline.publish.control import ControlServer


class SimulatedLine(Closing):
    """A line that inspects some parts between any two questions.

    Args:
        name: its name.
        folder: where its socket file lies.
        bundle: what it runs at first.
        rejects: the share of ng with each bundle, by the first digits of its sha256; 0.02 with all others.
        passed: how many parts have passed before.
        step: how many pass between two questions.

    Attributes:
        orders: what it was told, in order.
        hangs: cleared where it must not carry out any deploy yet.
        drifts: with this bundle, good parts look different.
        late: with this bundle, every second part is late.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        bundle: Bundle,
        rejects: Mapping[str, float] | None = None,
        passed: int = 2000,
        step: int = 60,
    ) -> None:
        self.name, self._rejects, self._step = name, rejects or {}, step
        self.bundles, self.threshold = [bundle], bundle.manifest.threshold.value
        self.orders: list[str] = []
        self.hangs = threading.Event()
        self.hangs.set()
        self.drifts = self.late = ""
        self._counts = {"ok": 0, "ng": 0, "late": 0}
        self._owed = 0.0
        self._pass(passed)
        self._server = ControlServer(f"ipc://{folder / name}.control")
        self.address = self._server.address
        self._server.start(self._obey, lambda _name, error: print(error))

    @property
    def entry(self) -> str:
        """Its table in a fleet file."""
        return f'[[line]]\nname = "{self.name}"\ncontrol = "{self.address}"\n'

    def drain(self) -> None:
        """Takes no more orders; many lines then end at once."""
        self._server.drain()

    def close(self) -> None:
        """Ends it."""
        self.hangs.set()
        self._server.close(10)

    def _obey(self, order: Order) -> Answer:
        if order.do != "status":
            self.orders.append(order.do)
        if order.do == "deploy" and order.bundle is not None:
            assert self.hangs.wait(60)
            manifest = Path(order.bundle) / MANIFEST
            bundle = _opened(manifest.parent, manifest.stat().st_mtime_ns)
            if order.sha256 not in {None, bundle.sha256}:
                raise ConfigError(f"{order.bundle} holds another bundle by now")
            self._run(bundle, [*self.bundles, bundle])
        elif order.do == "rollback":
            if len(self.bundles) < 2:
                raise ConfigError("the line knows no earlier bundle")
            self._run(self.bundles[-2], self.bundles[:-1])
        elif order.do == "threshold" and order.threshold is not None:
            self.threshold = order.threshold
        else:
            self._pass(self._step)
        return {"status": self._status()}

    def _run(self, bundle: Bundle, bundles: list[Bundle]) -> None:
        self.bundles, self.threshold = bundles, bundle.manifest.threshold.value

    def _pass(self, parts: int) -> None:
        runs = self.bundles[-1].short_id
        if runs == self.late:
            self._counts["late"] += parts // 2
            parts -= parts // 2
        self._owed += parts * self._rejects.get(runs, 0.02)
        bad = int(self._owed)
        self._owed -= bad
        self._counts["ng"] += bad
        self._counts["ok"] += parts - bad

    def _status(self) -> dict[str, Any]:
        runs = self.bundles[-1]
        moved = [{"quantity": "brightness", "words": "darker by 18 %", "remedy": "put the light right",
                  "since_sequence": 1, "since_at": 0}]  # fmt: skip
        return {
            "line": self.name, "live": True, "ready": True, "why_not": [], "bundle": runs.short_id,
            "engine": {"name": "none", "precision": "f32", "choice": None}, "threshold": self.threshold,
            "places": {"bundle": str(runs.path.resolve())}, "cameras": {"top": {"verdicts": dict(self._counts)}},
            "drift": {"cameras": {"top": {"moved": moved if runs.short_id == self.drifts else []}}},
        }  # fmt: skip


@lru_cache
def _opened(path: Path, changed_at: int) -> Bundle:
    """Opens a bundle once for all lines."""
    del changed_at
    return open_bundle(path)


def write_fleet(path: Path, lines: Sequence[SimulatedLine]) -> Path:
    """Writes a fleet file and returns its path."""
    path.write_text("".join(line.entry for line in lines))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--worse", type=Path, help="a bundle with which three in ten parts are ng")
    parser.add_argument("--out", type=Path, default=Path("fleet.toml"))
    asked = parser.parse_args()
    many = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (many, many))
    bundle = open_bundle(asked.bundle)
    rejects = {} if asked.worse is None else {open_bundle(asked.worse).short_id: 0.3}
    with ExitStack() as stack:
        folder = asked.out.resolve().parent
        lines = [
            stack.enter_context(SimulatedLine(f"line{number:03d}", folder, bundle, rejects))
            for number in range(asked.lines)
        ]
        write_fleet(asked.out, lines)
        print(f"{asked.lines} lines run", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
