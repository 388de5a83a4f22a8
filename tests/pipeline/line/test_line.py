"""The whole line over a real socket: one verdict for every frame, a clean end, and a loud one where it must be."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import psutil
import pytest

from engines.bundle import Bundle
from engines.engine import Engine, Frames, Scores
from engines.errors import ConfigError, EngineError, LineDown, TaktlineError
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.line_file import LineConfig, check_config
from pipeline.flow.frame import Frame
from pipeline.line.build import build_line
from pipeline.line.line import Line
from pipeline.protocol.verdict import Heatmap, Verdict
from pipeline.sources.source import Source
from tests.conftest import ROOT, RunTaktline

Received = list[tuple[Verdict, Heatmap | None]]


def config(bundle: Path, source: str, endpoint: str, **sections: dict[str, object]) -> LineConfig:
    values: dict[str, object] = {
        "model": {"bundle": str(bundle), "precision": "f32", "max_batch": 4},
        "camera": [{"name": "top", "source": source}],
        "publish": {"verdicts": endpoint, "await_subscribers": 1},
    }
    return check_config(values | sections, "test")


def run_line(line: Line, endpoint: str, count: int) -> Received:
    """Runs a line to its end and returns what a subscriber received."""
    with VerdictSubscriber(endpoint) as subscriber:
        line.start()
        received = [subscriber.receive(timeout=60) for _ in range(count)]
        assert line.wait(30)
        with pytest.raises(TimeoutError):
            subscriber.receive(timeout=0.3)
    return received


@pytest.mark.usefixtures("no_thread_left")
def test_every_frame_gets_one_verdict_in_order(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    settings = config(bundle_path, f"replay:{drawn}", endpoint, decision={"heatmaps": "all"})
    with build_line(settings) as line:
        received = run_line(line, endpoint, 18)
        short_id = line.model.bundle.short_id
    assert [verdict.sequence for verdict, _ in received] == list(range(18))
    for verdict, heatmap in received:
        assert verdict.score is not None
        assert (verdict.score > verdict.threshold) == (verdict.verdict == "ng")
        assert (verdict.line, verdict.camera, verdict.bundle) == ("line", "top", short_id)
        assert verdict.exact
        assert abs(time.time_ns() - verdict.captured_at) < 120e9
        parts = verdict.latency
        assert min(parts.queue, parts.infer, parts.decide, parts.publish) > 0
        assert heatmap is not None
        assert heatmap.grid.shape == (8, 8)


@pytest.mark.usefixtures("no_thread_left")
def test_broken_pictures_are_answered_and_the_line_goes_on(
    drawn: Path, bundle_path: Path, endpoint: str, tmp_path: Path
) -> None:
    """Also a batch in which nothing can be inspected."""
    pictures = sorted((drawn / "test" / "good").iterdir())
    for index, path in enumerate(pictures):
        data = path.read_bytes()
        broken = index in (1, 4, 5, 6, 7)
        (tmp_path / path.name).write_bytes(data[: len(data) // 2] if broken else data)
    with build_line(config(bundle_path, f"folder:{tmp_path}", endpoint)) as line:
        received = run_line(line, endpoint, 8)
    assert [verdict.sequence for verdict, _ in received] == list(range(8))
    reasons = [verdict.reason for verdict, _ in received]
    assert reasons == [None, "corrupt", None, None, "corrupt", "corrupt", "corrupt", "corrupt"]
    assert all(verdict.score is None for verdict, _ in received if verdict.verdict == "uninspected")


def test_two_cameras_each_count_their_own(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    names = (("cam1", 0), ("cam10", 1))
    cameras = [{"name": name, "source": f"replay:{drawn}", "seed": seed} for name, seed in names]
    settings = config(
        bundle_path, "", endpoint,
        camera=cameras,  # type: ignore[arg-type]
    )  # fmt: skip
    with build_line(settings) as line, VerdictSubscriber(endpoint, ("cam1",)) as only:
        line.start()
        received = [only.receive(60)[0] for _ in range(18)]
        assert line.wait(30)
        with pytest.raises(TimeoutError):
            only.receive(0.3)
    assert {verdict.camera for verdict in received} == {"cam1"}
    assert [verdict.sequence for verdict in received] == list(range(18))


class FailingEngine(Engine):
    """An engine whose third batch fails, and all after it where it `stays` so; scores are the frames' brightness."""

    name = "failing"

    def __init__(self, bundle: Bundle, error: type[Exception], stays: bool) -> None:
        super().__init__(bundle.size, "f32", 1, "cpu")
        self._error, self._stays, self._count = error, stays, 0

    def _submit(self, frames: Frames, _until: int | None) -> Future[Scores]:
        self._count += 1
        future: Future[Scores] = Future()
        if self._count == 3 or (self._stays and self._count > 3):
            future.set_exception(self._error("the card fell off the bus"))
        else:
            future.set_result(
                self._scores(frames.mean((1, 2, 3)).astype(np.float32), np.zeros((1, 28, 28), np.float32))
            )
        return future

    def _close(self) -> None:
        pass


def line_with(engine_error: type[Exception], settings: LineConfig, stays: bool = False) -> Line:
    return build_line(settings, opener=lambda bundle: FailingEngine(bundle, engine_error, stays))


@pytest.mark.usefixtures("no_thread_left")
def test_a_batch_that_the_engine_fails_on_is_answered(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    with line_with(EngineError, config(bundle_path, f"replay:{drawn}", endpoint)) as line:
        received = run_line(line, endpoint, 18)
    assert [verdict.sequence for verdict, _ in received] == list(range(18))
    assert [verdict.sequence for verdict, _ in received if verdict.reason == "engine_error"] == [2]


@pytest.mark.usefixtures("no_thread_left")
def test_a_stage_that_dies_takes_the_line_down_loudly(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    with (
        line_with(ZeroDivisionError, config(bundle_path, f"replay:{drawn}", endpoint), stays=True) as line,
        VerdictSubscriber(endpoint) as subscriber,
    ):
        line.start()
        with pytest.raises(LineDown, match="'decision' failed") as caught:
            line.wait(30)
        received = [subscriber.receive(5)[0] for _ in range(6)]
    # Two were inspected; then the stage failed, was started again three times, and answered for what it held.
    assert [verdict.sequence for verdict in received] == list(range(6))
    assert [verdict.reason for verdict in received] == [None, None, *["engine_error"] * 4]
    assert caught.value.exit_code == 70
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.usefixtures("no_thread_left")
def test_a_thread_that_a_library_ends_takes_the_line_down_too(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    class Quitting(Source):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            yield Frame(self.camera, 0, np.zeros((64, 64, 3), np.uint8), time.time_ns(), time.monotonic_ns())
            sys.exit("the driver knows better")

    settings = config(bundle_path, f"replay:{drawn}", endpoint, publish={"verdicts": endpoint})
    with build_line(
        settings, sources=[Quitting("top")], opener=lambda bundle: FailingEngine(bundle, EngineError, False)
    ) as line:
        line.start()
        with pytest.raises(LineDown, match=r"'capture top' failed .*the driver knows better"):
            line.wait(30)
        assert not line.status()["live"]


@pytest.mark.usefixtures("no_thread_left")
def test_a_stage_that_stumbles_once_is_started_again(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    with line_with(ZeroDivisionError, config(bundle_path, f"replay:{drawn}", endpoint)) as line:
        received = run_line(line, endpoint, 18)
    assert [verdict.sequence for verdict, _ in received] == list(range(18))
    assert [verdict.sequence for verdict, _ in received if verdict.reason == "engine_error"] == [2]


@pytest.mark.usefixtures("no_thread_left")
def test_stopping_answers_for_what_is_in_the_line(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    with (
        build_line(config(bundle_path, f"replay:{drawn}", endpoint), watched=True) as line,
        VerdictSubscriber(endpoint) as subscriber,
    ):
        line.start()
        first = next(line.decided())
        line.drain()
        rest = list(line.decided())
        count = 1 + len(rest)
        received = [subscriber.receive(10)[0].sequence for _ in range(count)]
    assert first.verdict.sequence == 0
    assert received == list(range(count))


def test_no_handle_is_left_behind(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    process = psutil.Process()
    counts = []
    for _ in range(3):
        with build_line(config(bundle_path, f"replay:{drawn}", endpoint)) as line:
            run_line(line, endpoint, 18)
        counts.append((process.num_fds(), threading.active_count()))
    assert counts[1] == counts[2]


def test_a_port_in_use_is_told(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    settings = config(bundle_path, f"replay:{drawn}", endpoint)
    with build_line(settings), pytest.raises(ConfigError, match="in use"):
        build_line(settings)


def test_missing_subscribers_are_told(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    publish = {"verdicts": endpoint, "await_subscribers": 2, "await_s": 0.3}
    with (
        build_line(config(bundle_path, f"replay:{drawn}", endpoint, publish=publish)) as line,
        VerdictSubscriber(endpoint),
        pytest.raises(TaktlineError, match="1 of 2 subscribers"),
    ):
        line.start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_followed_folder_with_everything_answered(
    number: signal.Signals, drawn: Path, bundle_path: Path, endpoint: str, tmp_path: Path
) -> None:
    inbox = Path(shutil.copytree(drawn / "test" / "good", tmp_path / "inbox"))
    line_file = tmp_path / "line.toml"
    line_file.write_text(
        f'[model]\nbundle = "{bundle_path}"\n[[camera]]\nname = "top"\nsource = "folder:inbox"\nfollow = true\n'
        f'[publish]\nverdicts = "{endpoint}"\nawait_subscribers = 1\n'
    )
    command = [sys.executable, "-m", "taktline", "run", str(line_file), "--json"]
    with (
        VerdictSubscriber(endpoint) as subscriber,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process,
    ):
        received = [subscriber.receive(60)[0] for _ in range(8)]
        shutil.copy(inbox / "000.png", inbox / "new.png")
        received.append(subscriber.receive(60)[0])
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert received[-1].part == "new.png"
    assert json.loads(out)["frames"] == 9


def test_replay_beside_watch(
    drawn: Path, bundle_path: Path, endpoint: str, tmp_path: Path, taktline: RunTaktline
) -> None:
    command = [sys.executable, "-m", "taktline", "watch", endpoint, "--json", "--count", "18", "--timeout", "120"]
    overlays = tmp_path / "overlays"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as watch:
        replay = taktline(
            "replay", bundle_path, drawn, "--fps", 60, "--bind", endpoint, "--await-subscribers", 1, "--json",
            "--save-heatmaps", overlays,
        )  # fmt: skip
        assert replay.returncode == 0, replay.stderr
        out, _ = watch.communicate(timeout=60)
    verdicts = [json.loads(line) for line in out.splitlines()]
    assert [verdict["sequence"] for verdict in verdicts] == list(range(18))
    summary = json.loads(replay.stdout)
    assert summary["frames"] == 18
    assert sum(summary["against_labels"]["confusion"].values()) == 18
    assert len(list(overlays.glob("*.png"))) == 18


def test_the_summary_is_readable(drawn: Path, bundle_path: Path, endpoint: str, taktline: RunTaktline) -> None:
    done = taktline("replay", bundle_path, drawn, "--fps", 200, "--bind", endpoint)
    assert done.returncode == 0, done.stderr
    for word in ("confusion matrix", "AUROC", "latency p50", "uninspected"):
        assert word in done.stdout


def test_the_defaults_give_every_real_part_its_verdict(
    screw: Path, screw_bundle: Path, endpoint: str, taktline: RunTaktline
) -> None:
    command = [sys.executable, "-m", "taktline", "watch", endpoint, "--json", "--count", "160", "--timeout", "120"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as watch:
        replay = taktline(
            "replay", screw_bundle, screw, "--fps", 30, "--bind", endpoint, "--await-subscribers", 1, "--json"
        )
        assert replay.returncode == 0, replay.stderr
        out, _ = watch.communicate(timeout=60)
    verdicts = [json.loads(line) for line in out.splitlines()]
    assert sorted(verdict["sequence"] for verdict in verdicts) == list(range(160))
    assert {verdict["verdict"] for verdict in verdicts} == {"ok", "ng"}
    assert json.loads(replay.stdout)["against_labels"]["auroc"] >= 0.90


def test_a_line_runs_on_the_base_install_without_torch(
    drawn: Path, bundle_path: Path, endpoint: str, tmp_path: Path
) -> None:
    """In a virtual environment of its own, with nothing but what the package asks for."""
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    source = tmp_path / "source"
    skip = shutil.ignore_patterns(".venv", ".git", "runs", "build", "*.egg-info", ".mypy_cache", ".ruff_cache", "tests")
    shutil.copytree(ROOT, source, ignore=skip)
    install = subprocess.run(
        [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert install.returncode == 0, install.stderr
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, arguments)),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=300,
            check=False,
        )

    assert run(home / "bin" / "python", "-c", "import torch").returncode == 1
    taktline = home / "bin" / "taktline"
    replay = run(taktline, "replay", bundle_path, drawn, "--fps", 60, "--bind", endpoint, "--json")
    assert replay.returncode == 0, replay.stderr
    assert json.loads(replay.stdout)["frames"] == 18
    (tmp_path / "line.toml").write_text(
        f'[model]\nbundle = "{bundle_path}"\n[[camera]]\nname = "top"\nsource = "folder:{drawn}/test/good"\n'
        f'[publish]\nverdicts = "{endpoint}"\n'
    )
    line = run(taktline, "run", "line.toml", "--json")
    assert line.returncode == 0, line.stderr
    assert json.loads(line.stdout)["frames"] == 8
    for command in (["calibrate", drawn, "--out", "b"], ["demo", "--data", drawn]):
        refused = run(taktline, *command)
        assert refused.returncode == 2
        assert re.search(r"install it with: pip install 'taktline\[calibrate\]'", refused.stderr.replace("\n", " "))
    refused = run(taktline, "replay", bundle_path, drawn, "--engine", "torch", "--bind", endpoint)
    assert refused.returncode == 2
    assert "'torch' is not installed" in refused.stderr
