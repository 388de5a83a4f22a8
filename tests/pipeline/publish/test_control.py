"""Orders to a running line: another bundle, another threshold, a pause; and a bad one changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import msgpack
import pytest
import zmq

from engines.bundle import open_bundle, update_manifest
from engines.errors import ConfigError, TaktlineError
from pipeline.client.orders import tell_line
from pipeline.config.line_file import LineConfig, check_config
from pipeline.line.build import build_line
from pipeline.line.line import Line
from pipeline.protocol.orders import Order, control_address
from pipeline.protocol.verdict import Verdict
from pipeline.publish.control import ControlServer
from tests.conftest import RunTaktline
from tests.pipeline.line.test_takt import Camera


def settings(bundle: Path, drawn: Path, bind: str | None = "tcp://127.0.0.1:*") -> LineConfig:
    values = {
        "line": {"name": "press4", "takt_ms": 60_000},
        "model": {"bundle": str(bundle), "precision": "f32", "max_batch": 2},
        "camera": [{"name": "a", "source": f"replay:{drawn}", "on_overload": "drop_oldest"}],
        "publish": {"verdicts": "tcp://127.0.0.1:*"},
        "control": {"bind": bind},
    }
    return check_config(values, "test")


def played(config: LineConfig) -> Line:
    """Builds a watched line whose camera is played, without end."""
    return build_line(config, sources=[Camera("a", 20, 1_000_000)], watched=True)


class Running:
    """A watched line that runs until it is closed, and what it answered."""

    def __init__(self, line: Line) -> None:
        self.line, self.verdicts = line, list[Verdict]()
        line.start()
        assert line.control is not None
        self.address = line.control.address
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for decided in self.line.decided():
            self.verdicts.append(decided.verdict)

    def more(self, count: int = 8) -> list[Verdict]:
        """Waits for more inspected parts and returns them, but for those that were under way."""
        start, deadline = len(self.verdicts), time.monotonic() + 60
        while len(inspected := [verdict for verdict in self.verdicts[start:] if verdict.reason is None]) < count + 4:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return inspected[4:]

    def dropped(self, count: int = 12) -> None:
        """Waits for as many dropped frames in a row."""
        deadline = time.monotonic() + 60
        while {verdict.reason for verdict in self.verdicts[-count:]} != {"dropped"}:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def close(self) -> None:
        self.line.drain()
        assert self.line.wait(30)
        self._reader.join()
        assert [verdict.sequence for verdict in self.verdicts] == list(range(len(self.verdicts)))
        assert len(self.verdicts) == self.line.metrics.status()["a"]["frames"]


def test_a_bundle_is_swapped_between_two_batches_and_a_bad_one_changes_nothing(
    bundle_path: Path, drawn: Path, tmp_path: Path, taktline: RunTaktline
) -> None:
    other = Path(shutil.copytree(bundle_path, tmp_path / "other"))
    changed = update_manifest(open_bundle(other), {"category": "another flange"})
    broken = Path(shutil.copytree(bundle_path, tmp_path / "broken"))
    with (broken / "model.onnx").open("ab") as file:
        file.write(b"!")
    with played(settings(bundle_path, drawn)) as line:
        first = line.model.bundle.short_id
        running = Running(line)
        assert {verdict.bundle for verdict in running.more()} == {first}
        refused = taktline("deploy", broken, "--line", running.address)
        assert refused.returncode == 2
        assert "was altered" in refused.stderr.replace("\n", " ")
        assert "continues as before" in refused.stderr.replace("\n", " ")
        assert {verdict.bundle for verdict in running.more()} == {first}
        refused = taktline("deploy", other, "--line", running.address)
        assert refused.returncode == 2
        assert "add --other-part" in refused.stderr.replace("\n", " ")
        assert {verdict.bundle for verdict in running.more()} == {first}
        done = taktline("deploy", other, "--line", running.address, "--other-part")
        assert done.returncode == 0, done.stderr
        assert {verdict.bundle for verdict in running.more()} == {changed.short_id}
        running.close()
    bundles = [verdict.bundle for verdict in running.verdicts]
    assert bundles == sorted(bundles, key=[first, changed.short_id].index)
    assert {verdict.reason for verdict in running.verdicts} <= {None, "dropped", "late"}


def test_a_rollback_brings_the_last_bundle_back_and_the_line_remembers_five(
    small_bundle_path: Path, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    other = Path(shutil.copytree(small_bundle_path, tmp_path / "other"))
    changed = update_manifest(open_bundle(other), {"created_at": "1970-01-01T00:00:00+00:00"})
    config = settings(small_bundle_path, drawn)
    # Not auto, which would measure engines for each bundle.
    model = config.model.model_copy(update={"engine": "openvino"})
    with played(config.model_copy(update={"model": model})) as line:
        first = line.model.bundle.short_id
        running = Running(line)

        def deploy(path: Path) -> list[str]:
            status = tell_line(running.address, Order(do="deploy", bundle=str(path)))["status"]
            return [status["bundle"], *status["earlier_bundles"]]

        with pytest.raises(TaktlineError, match="knows no earlier bundle"):
            tell_line(running.address, Order(do="rollback"))
        assert deploy(other) == [changed.short_id, first]
        running.more()
        done = taktline_in_process("rollback", running.address, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["bundle"] == first
        assert {verdict.bundle for verdict in running.more()} == {first}
        # The one that was left is not come back to.
        with pytest.raises(TaktlineError, match="knows no earlier bundle"):
            tell_line(running.address, Order(do="rollback"))
        for path in (other, small_bundle_path) * 3:
            bundles = deploy(path)
        assert bundles == [first, changed.short_id, first, changed.short_id, first, changed.short_id]
        update_manifest(changed, {"created_at": "1971-01-01T00:00:00+00:00"})
        with pytest.raises(TaktlineError, match="holds another bundle than the one that ran before"):
            tell_line(running.address, Order(do="rollback"))
        assert {verdict.bundle for verdict in running.more()} == {first}
        running.close()


def test_threshold_and_pause(
    bundle_path: Path, drawn: Path, taktline: RunTaktline, taktline_in_process: RunTaktline
) -> None:
    with played(settings(bundle_path, drawn)) as line:
        running = Running(line)
        running.more(1)
        assert taktline("tell", running.address, "threshold", "--", -100).returncode == 0
        assert {verdict.verdict for verdict in running.more()} == {"ng"}
        assert tell_line(running.address, Order(do="threshold", threshold=1000))["status"]["threshold"] == 1000
        assert {verdict.verdict for verdict in running.more()} == {"ok"}
        assert tell_line(running.address, Order(do="pause"))["status"]["why_not"] == ["the line is paused"]
        running.dropped()
        assert tell_line(running.address, Order(do="resume"))["status"]["ready"]
        assert {verdict.verdict for verdict in running.more()} == {"ok"}
        running.close()
    gone = taktline_in_process("tell", running.address, "pause")
    assert gone.returncode == 2
    assert "no line takes orders" in gone.stderr.replace("\n", " ")
    assert taktline_in_process("tell", "press4", "dance").returncode == 2
    assert taktline_in_process("tell", "press4", "threshold").returncode == 2


def test_nonsense_from_outside_is_refused_and_the_line_goes_on(bundle_path: Path, drawn: Path) -> None:
    context = zmq.Context()
    with played(settings(bundle_path, drawn)) as line:
        line.start()
        assert line.control is not None
        for message in (b"", b"\xc1", b"\xff" * 1000, msgpack.packb({"do": "deploy"}), msgpack.packb({"do": "explode"}),
                        msgpack.packb({"do": "status", "extra": 1}), msgpack.packb([1])):  # fmt: skip
            socket = context.socket(zmq.REQ)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVTIMEO, 5000)
            socket.connect(line.control.address)
            socket.send(message)
            answer = msgpack.unpackb(socket.recv())
            assert answer["ok"] is False
            socket.close()
        assert tell_line(line.control.address, Order(do="status"))["status"]["line"] == "press4"
    context.term()


def test_a_line_is_found_by_its_name_and_only_one_has_it(
    bundle_path: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for _ in range(2):
        with build_line(settings(bundle_path, drawn, "auto")) as line:
            line.start()
            assert tell_line(control_address("press4"), Order(do="status"))["status"]["line"] == "press4"
            assert (tmp_path / "taktline").stat().st_mode & 0o077 == 0
            with pytest.raises(ConfigError, match="a line of this name is already running"):
                build_line(settings(bundle_path, drawn, "auto"))
    with pytest.raises(TaktlineError, match="no line takes orders"):
        tell_line(control_address("press4"), Order(do="status"))


def test_orders_are_not_taken_from_outside(bundle_path: Path, drawn: Path) -> None:
    with pytest.raises(ConfigError, match="open to everyone"):
        build_line(settings(bundle_path, drawn, "tcp://0.0.0.0:5558"))


def test_a_deploy_under_way_holds_no_other_order_up() -> None:
    """The deploy ends only after another order was answered; where that waited for it, neither would be."""
    go, done, failures = threading.Event(), list[str](), list[BaseException]()

    def obey(order: Order) -> dict[str, str]:
        if order.do == "deploy":
            assert go.wait(30)
        done.append(order.do)
        return {"did": order.do}

    with ControlServer("tcp://127.0.0.1:*") as server:
        server.start(obey, lambda name, error: failures.append(error))
        deploying = threading.Thread(target=tell_line, args=(server.address, Order(do="deploy", bundle="x")))
        deploying.start()
        assert tell_line(server.address, Order(do="trigger", camera="a"), 20_000) == {"did": "trigger"}
        go.set()
        deploying.join(30)
        assert not deploying.is_alive()
    assert done == ["trigger", "deploy"]
    assert not failures


def test_a_socket_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "taktline"
    folder.mkdir(mode=0o700)

    def refused() -> str:
        with pytest.raises(ConfigError) as caught:
            ControlServer(control_address("press4"))
        return str(caught.value)

    folder.chmod(0o777)
    assert "may be written by other users; call: chmod go-w" in refused()
    folder.chmod(0o700)
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to another user; run this test as root")
    os.chown(folder, 4711, 4711)
    assert "belongs to another user (id 4711)" in refused()
    assert not list(folder.iterdir())
