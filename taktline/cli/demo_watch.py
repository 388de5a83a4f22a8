"""`taktline demo --watch`: the parts pass a running line again and again, and the dashboard shows it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from engines.errors import TaktlineError
from engines.files import save
from taktline.cli.signals import on_signals

_NAME = "demo"
_CAMERAS = ("top", "side")
# Most parts of a real line are good.
_DEFECTIVE = 0.08
_START_S, _END_S = 300.0, 12.0
_LINE_FILE = """# The line of `taktline demo --watch`.
[line]
name = "{name}"
takt_ms = 1000

[model]
bundle = "bundle"

{cameras}
[decision]
heatmaps = "all"

[publish]
verdicts = "ipc://{folder}/watch.verdicts"
replay = "ipc://{folder}/watch.replay"
previews = 5

[journal]
path = "watch.journal"
keep_images = "all"
max_gib = 1.0
"""
_CAMERA = """[[camera]]
name = "{name}"
source = "feed:ipc://{folder}/{name}.feed"
"""


def watch_demo(out: Path, root: Path, fps: float, seed: int, bind: str | None, console: Console) -> None:
    """Runs the demonstration's line and its dashboard until Ctrl-C.

    Args:
        out: the demonstration's folder, with its bundle.
        root: the data set whose test parts pass.
        fps: parts a second, of each camera.
        seed: order of the parts.
        bind: `HOST:PORT` of the page; None for the usual one.
        console: where to say what happens.
    """
    from pipeline.dashboard.server import Dashboard
    from pipeline.dashboard.settings import check_dashboard

    folder = out.resolve()
    line_file = out / "watch.toml"
    cameras = "\n".join(_CAMERA.format(name=name, folder=folder) for name in _CAMERAS)
    save(line_file, _LINE_FILE.format(name=_NAME, folder=folder, cameras=cameras))
    door = {} if bind is None else {"bind": bind}
    config = check_dashboard({"dashboard": door, "line": [{"name": _NAME}]}, "the demonstration")
    with ExitStack() as stack:
        page = stack.enter_context(Dashboard(config))
        console.print("the line starts: it measures which engine is the fastest here")
        line = stack.enter_context(_running(line_file))
        over = threading.Event()
        stack.callback(over.set)

        def end() -> None:
            over.set()
            page.stop()

        stack.enter_context(on_signals(end))
        for number, name in enumerate(_CAMERAS):
            arguments = (f"ipc://{folder}/{name}.feed", root, name, fps, random.Random(seed + number), over)
            threading.Thread(target=_feed, args=arguments, name=f"feed {name}", daemon=True).start()
        threading.Thread(target=_mind, args=(line, page.stop), name="line", daemon=True).start()
        page.run(lambda: _open(page.entry, console))
        if not over.is_set():
            raise TaktlineError(f"the demonstration's line ended with exit code {line.poll()}; its message is above")


@contextmanager
def _running(line_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    # In a group of its own: Ctrl-C ends the page first, and the page then ends the line.
    command = [sys.executable, "-m", "taktline", "run", str(line_file)]
    line = subprocess.Popen(command, start_new_session=True)
    try:
        yield line
    finally:
        line.terminate()
        try:
            line.wait(_END_S)
        except subprocess.TimeoutExpired:
            line.kill()
            line.wait()


def _mind(line: subprocess.Popen[bytes], stop: Callable[[], None]) -> None:
    line.wait()
    stop()


def _feed(address: str, root: Path, camera: str, fps: float, chance: random.Random, over: threading.Event) -> None:
    """Sends parts to a camera of the line until it is over."""
    from calibration.dataset import open_dataset
    from pipeline.client.feed_sender import FeedSender

    samples = open_dataset(root).test
    good = [sample.path for sample in samples if not sample.defective]
    bad = [sample.path for sample in samples if sample.defective]
    while not _is_ready() and not over.wait(0.5):
        continue
    number, due = 0, time.monotonic()
    with FeedSender(address) as sender:
        while not over.is_set():
            number += 1
            chosen = bad if bad and (not good or chance.random() < _DEFECTIVE) else good
            data = chance.choice(chosen).read_bytes()
            # A line that takes no part for long is shown as such.
            with suppress(TaktlineError):
                sender.send(data, f"{camera[0].upper()}{number:06d}", timeout=0.5)
            due = max(due + 1 / fps, time.monotonic())
            over.wait(due - time.monotonic())


def _is_ready() -> bool:
    """Returns whether the line inspects: what came before would wait, and be late."""
    from pipeline.client.orders import tell_line
    from pipeline.protocol.orders import Order, control_address

    try:
        return bool(tell_line(control_address(_NAME), Order(do="status"), 2000)["status"]["ready"])
    except TaktlineError:
        return False


def _open(entry: str, console: Console) -> None:
    console.print(f"Ctrl-C ends the demonstration; its dashboard is at [bold]{escape(entry)}[/]")
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(entry)
