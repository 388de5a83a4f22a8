"""A network camera that is gone for seconds: how much later the other camera's verdicts come meanwhile.

By hand: `python -m tests.pipeline.line.lost_camera BUNDLE PARTS`. It takes a bundle for 64 x 64 pixels and a folder of
pictures, needs the Debian packages that `.ci/run` installs, and prints the other camera's latencies before the RTSP
server is killed, while it is gone, and after it has come back.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from engines.image import read_image
from pipeline.client.feed_sender import FeedSender
from pipeline.config.line_file import check_config
from pipeline.line.build import build_line
from tests.pipeline.sources.live import PEERS, Answers, line_config, start, stop
from tests.pipeline.sources.test_cameras import SYSTEM_PYTHON


def write_video(path: Path, seconds: float) -> None:
    """Writes a video of 25 pictures a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 480))
    for number in range(round(25 * seconds)):
        writer.write(np.full((480, 640, 3), number % 256, np.uint8))
    writer.release()


def send(address: str, parts: Path, rate: float, stopped: threading.Event) -> None:
    """Sends pictures at a constant rate until it is told to stop."""
    frames = [read_image(path) for path in sorted(parts.iterdir())]
    begin = time.monotonic()
    with FeedSender(address) as sender:
        for number in range(10**9):
            if stopped.wait(max(0.0, begin + number / rate - time.monotonic())):
                return
            sender.send(frames[number % len(frames)])


def main() -> None:
    """Prints p50 and p99 of the other camera before, while and after the RTSP camera is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=lambda word: Path(word).resolve())
    parser.add_argument("parts", type=lambda word: Path(word).resolve())
    parser.add_argument("--seconds", type=float, default=10, help="how long each of the three phases lasts")
    parser.add_argument("--rate", type=float, default=25, help="pictures a second of the other camera")
    parser.add_argument("--rounds", type=int, default=3, help="how often the camera is lost")
    arguments = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        video, feed = Path(folder) / "part.avi", f"ipc://{folder}/feed"
        write_video(video, 6 * arguments.seconds * arguments.rounds)
        values = line_config(arguments.bundle, f"rtsp://127.0.0.1:{port}/part")
        values["camera"] = [*values["camera"], {"name": "other", "source": f"feed:{feed}"}]  # type: ignore[misc]
        server = start(SYSTEM_PYTHON, PEERS / "rtsp_server.py", video, port)
        stopped = threading.Event()
        sender = threading.Thread(target=send, args=(feed, arguments.parts, arguments.rate, stopped))
        try:
            with build_line(check_config(values, "by hand"), watched=True) as line:
                line.start()
                answers = Answers(line)
                sender.start()
                answers.await_in_all(50)
                phases: dict[str, list[float]] = {"before": [], "gone": [], "after": []}
                reasons: Counter[str | None] = Counter()
                for _ in range(arguments.rounds):
                    for phase, latencies in phases.items():
                        if phase == "gone":
                            stop(server)
                        first = len(answers.verdicts)
                        time.sleep(arguments.seconds)
                        if phase == "gone":
                            server = start(SYSTEM_PYTHON, PEERS / "rtsp_server.py", video, port)
                        found = [item for item in answers.verdicts[first:] if item.camera == "other"]
                        latencies += [item.latency.total / 1e6 for item in found]
                        reasons.update(item.reason for item in found)
                line.drain()
                answers.finish()
        finally:
            stopped.set()
            sender.join()
            stop(server)
    print(f"reasons of its verdicts: {dict(reasons)}")
    for phase, latencies in phases.items():
        p50, p99 = np.percentile(latencies, (50, 99))
        print(f"{phase:>6}: {len(latencies)} verdicts, p50 {p50:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
