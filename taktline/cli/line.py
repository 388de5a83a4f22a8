"""The command line's way into the running line."""

from __future__ import annotations

import json
import signal
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer
from pydantic import ValidationError
from rich.console import Console

from engines.errors import ConfigError, TaktlineError
from engines.image import to_bgr
from engines.overlay import draw_overlay
from engines.validation import explain
from pipeline.client.orders import tell_line
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.line_file import LineConfig, check_config, read_line_file
from pipeline.config.sections import ControlSection
from pipeline.flow.decided import Decided
from pipeline.line.build import build_line
from pipeline.line.line import Line
from pipeline.protocol.orders import Order, control_address
from pipeline.publish.health import fetch_status
from pipeline.security.curve import ClientKeys
from taktline.cli.summary import RunSummary
from taktline.cli.views import LiveView, status_tables, summary_tables, verdict_text

Endpoint = "tcp://127.0.0.1:5556"

KeyOption = Annotated[Path | None, typer.Option("--key", help="Your secret key file, where the line has CURVE.")]
ServerKeyOption = Annotated[str | None, typer.Option("--server-key", help="The line's public key, or a file with it.")]


def replay(
    bundle: Annotated[Path, typer.Argument(help="Model bundle, as calibrate writes it.")],
    data: Annotated[Path, typer.Argument(help="Data set in MVTec AD layout; its test split is replayed.")],
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of the order of the parts.")] = 0,
    engine: Annotated[str, typer.Option(help="auto, tensorrt, openvino, onnxruntime or torch.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (fast, with a second look in float32), f32, bf16, f16, int8, int8+f32.")
    ] = "auto",
    device: Annotated[str | None, typer.Option(help="cpu, gpu, npu or cuda; the engine's preferred one.")] = None,
    max_batch: Annotated[int, typer.Option(min=1, max=256, help="The most frames in one batch.")] = 8,
    sigma: Annotated[float | None, typer.Option(help="Threshold in sigma; the bundle's by default.")] = None,
    bind: Annotated[str, typer.Option(help="ZeroMQ address to publish on.")] = Endpoint,
    await_subscribers: Annotated[int, typer.Option(min=0, help="Wait for so many subscribers first.")] = 0,
    save_heatmaps: Annotated[Path | None, typer.Option(help="Write overlays as PNG into this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Replay a data set's test split as a stream and show the verdicts.

    Example: taktline replay runs/bottle data/bottle --fps 30
    """
    values = {
        "line": {"name": "replay"},
        "model": {
            "bundle": str(bundle),
            "engine": engine,
            "precision": precision,
            "max_batch": max_batch,
            "device": device,
        },
        "camera": [{"name": "replay", "source": f"replay:{data}", "fps": fps, "seed": seed}],
        "decision": {"sigma": sigma},
        "publish": {"verdicts": bind, "await_subscribers": await_subscribers},
    }
    config = check_config(values, "the command line")
    if save_heatmaps is not None:
        _make_folder(save_heatmaps)
    summary = RunSummary()
    console = Console(stderr=as_json)
    with build_line(config, watched=True) as line, stopped_by_signals(line), LiveView(console, line) as view:
        line.start()
        for decided in line.decided():
            summary.add(decided.verdict, decided.frame.label)
            view.show(decided, summary)
            if save_heatmaps is not None:
                _save_overlay(save_heatmaps, decided, line)
    if as_json:
        typer.echo(json.dumps(summary.to_json()))
    else:
        console.print(*summary_tables(summary), sep="\n")


def run(
    line_file: Annotated[Path, typer.Argument(help="Line file (TOML).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON at the end.")] = False,
) -> None:
    """Run a line from its file until its sources end, or until Ctrl-C or SIGTERM.

    Example: taktline run line.toml
    """
    config: LineConfig = read_line_file(line_file)
    if config.control.bind is None:
        config = config.model_copy(update={"control": ControlSection(bind="auto")})
    console = Console(stderr=True)
    summary = RunSummary()
    with build_line(config, watched=True) as line, stopped_by_signals(line):
        line.start()
        console.print(
            f"line [bold]{config.line.name}[/] runs: {len(config.camera)} camera(s), {line.model.engine.name} "
            f"{line.model.engine.precision}, verdicts on {line.publisher.address}",
            highlight=False,
        )
        for decided in line.decided():
            summary.add(decided.verdict, decided.frame.label)
    if as_json:
        typer.echo(json.dumps(summary.to_json()))
    else:
        console.print(*summary_tables(summary), sep="\n")


def status(
    url: Annotated[str, typer.Argument(help="Where the line's [health] is bound.")] = "http://127.0.0.1:9108",
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask a running line how it is; exits with 1 where it is not ready.

    Example: taktline status http://127.0.0.1:9108
    """
    found = fetch_status(url)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        Console().print(*status_tables(found), sep="\n")
    if not found["ready"]:
        raise typer.Exit(1)


def deploy(
    bundle: Annotated[Path, typer.Argument(help="The new model bundle.")],
    line: Annotated[str, typer.Option(help="The line's name, or the address that its [control] is bound to.")] = "line",
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the line's status as JSON.")] = False,
) -> None:
    """Let a running line go on with another bundle, without losing a frame.

    Example: taktline deploy runs/bottle-2 --line press4
    """
    _tell(line, Order(do="deploy", bundle=str(bundle.resolve())), as_json, read_keys(key, server_key))


def tell(
    line: Annotated[str, typer.Argument(help="The line's name, or the address that its [control] is bound to.")],
    order: Annotated[str, typer.Argument(help="pause, resume, threshold, trigger or status.")],
    value: Annotated[str | None, typer.Argument(help="For threshold: in sigma. For trigger: the camera.")] = None,
    part: Annotated[str | None, typer.Option(help="For trigger: id of the part, which its verdict will carry.")] = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the line's status as JSON.")] = False,
) -> None:
    """Give a running line an order.

    Example: taktline tell press4 threshold 2.5
    """
    if order not in {"pause", "resume", "threshold", "trigger", "status"}:
        raise ConfigError(f"'{order}' is no order; give pause, resume, threshold, trigger or status")
    if (order in {"threshold", "trigger"}) != (value is not None):
        raise ConfigError("threshold needs a value in sigma, such as 2.5, and trigger a camera; other orders need none")
    values = {"do": order, "part": part, "camera" if order == "trigger" else "threshold": value}
    try:
        checked = Order.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"'{value}' is no {order} ({explain(error)})") from error
    _tell(line, checked, as_json, read_keys(key, server_key))


def watch(
    endpoint: Annotated[str, typer.Argument(help="Where a line publishes.")] = Endpoint,
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be given again.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many verdicts.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Give up when none comes for so many seconds.")] = None,
    replay: Annotated[
        str | None, typer.Option(help="Where the line answers for what was missed; nothing is lost then.")
    ] = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Subscribe to a line's verdicts and print them.

    Example: taktline watch tcp://127.0.0.1:5556 --count 10
    """
    console = Console(soft_wrap=True, highlight=False)
    stop = threading.Event()
    curve = read_keys(key, server_key)
    with VerdictSubscriber(endpoint, tuple(camera or ()), replay, curve=curve) as subscriber, on_signals(stop.set):
        seen = 0
        waited = 0.0
        while not stop.is_set() and (count is None or seen < count):
            try:
                verdict, _ = subscriber.receive(_TICK_S)
            except TimeoutError:
                waited += _TICK_S
                if timeout is not None and waited >= timeout:
                    raise TaktlineError(
                        f"no verdict came from {endpoint} for {timeout:g} s; is its line running, and does it "
                        "let you in?"
                    ) from None
                continue
            waited, seen = 0.0, seen + 1
            if as_json:
                typer.echo(json.dumps(verdict.to_json()))
            else:
                console.print(verdict_text(verdict))


_TICK_S = 0.2


@contextmanager
def on_signals(action: Callable[[], None]) -> Iterator[None]:
    """Calls an action on the first SIGINT or SIGTERM; the next one works as it did before."""
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: types.FrameType | None) -> None:
        del number, frame
        restore()
        action()

    def restore() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    for kind in (signal.SIGINT, signal.SIGTERM):
        before[kind] = signal.signal(kind, handle)
    try:
        yield
    finally:
        restore()


def read_keys(key: Path | None, server_key: str | None) -> ClientKeys | None:
    """Reads the keys of a client's options; None where there are none.

    Raises:
        ConfigError: only one was given, or one cannot be used.
    """
    if key is None and server_key is None:
        return None
    if key is None or server_key is None:
        raise ConfigError("--key and --server-key belong together: your secret key file, and the line's public key")
    return ClientKeys.read(key, server_key)


def _tell(line: str, order: Order, as_json: bool, curve: ClientKeys | None) -> None:
    found = tell_line(line if "://" in line else control_address(line), order, curve=curve).get("status")
    if found is None:
        return
    if as_json:
        typer.echo(json.dumps(found))
    else:
        Console().print(*status_tables(found), sep="\n")


@contextmanager
def stopped_by_signals(line: Line) -> Iterator[None]:
    """Drains a line on SIGINT or SIGTERM."""
    with on_signals(line.drain):
        yield


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaktlineError(
            f"the folder {folder} cannot be made: {error.strerror or error}; give another one"
        ) from error


def _save_overlay(folder: Path, decided: Decided, line: Line) -> None:
    if decided.sigma is None or decided.frame.image is None:
        return
    verdict, scale = decided.verdict, line.model.judge.scale
    overlay = draw_overlay(to_bgr(decided.frame.image), decided.sigma, scale.threshold, scale.full_scale)
    part = (verdict.part or "part").replace("/", "_").rsplit(".", 1)[0]
    path = folder / f"{verdict.sequence:05d}_{verdict.verdict}_{part}.png"
    try:
        path.write_bytes(cv2.imencode(".png", overlay)[1].tobytes())
    except OSError as error:
        raise TaktlineError(f"{path} cannot be written: {error.strerror or error}") from error
