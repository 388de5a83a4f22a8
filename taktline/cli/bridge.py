"""The command line's way to bridges: verdicts to a broker, a web server, or files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from engines.errors import ConfigError
from pipeline.bridges.bridge import Bridge, Destination, PositionFile
from pipeline.bridges.jsonl import JsonLines
from pipeline.bridges.mqtt import MqttBroker, MqttSettings
from pipeline.bridges.webhook import Webhook
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.security.curve import ClientKeys
from taktline.cli.line import Endpoint, KeyOption, ServerKeyOption, on_signals, read_keys

From = Annotated[str, typer.Option("--from", help="Where the line publishes.")]
ReplayOption = Annotated[str | None, typer.Option(help="Where the line answers for what was missed.")]
Cameras = Annotated[list[str] | None, typer.Option("--camera", help="Only this camera; may be given again.")]
Oldest = Annotated[bool, typer.Option("--oldest", help="Begin with the oldest verdict of the line's journal.")]
Position = Annotated[Path | None, typer.Option(help="The file that remembers how far the bridge has come.")]
_QUEUE = 10_000


def build_bridge() -> typer.Typer:
    """Returns `taktline bridge` with its commands."""
    app = typer.Typer(name="bridge", no_args_is_help=True, help="Bring verdicts elsewhere, each at least once.")
    for command in (mqtt, webhook, jsonl):
        app.command()(command)
    return app


def mqtt(
    broker: Annotated[str, typer.Option(help="HOST or HOST:PORT.")],
    topic: Annotated[str, typer.Option(help="{line} and {camera} stand for their names.")] = "taktline/{line}/{camera}",
    status_topic: Annotated[str | None, typer.Option(help="Where a retained status is kept.")] = None,
    user: Annotated[str | None, typer.Option(help="Who logs in.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="Its first line is the password.")] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt, and check the broker's certificate.")] = False,
    ca: Annotated[Path | None, typer.Option(help="Trusted authorities, if not the system's. Implies --tls.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Your certificate, where the broker wants one.")] = None,
    cert_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    client_id: Annotated[str | None, typer.Option(help="How the broker knows the bridge.")] = None,
    protocol: Annotated[Literal["5", "3.1.1"], typer.Option(help="Version of MQTT.")] = "5",
    silent_after: Annotated[float, typer.Option(min=1, help="Seconds after which the line is called silent.")] = 30.0,
    source: From = Endpoint,
    replay: ReplayOption = None,
    camera: Cameras = None,
    oldest: Oldest = False,
    position: Position = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
) -> None:
    """Publish verdicts as JSON to an MQTT broker, with QoS 1, until Ctrl-C or SIGTERM.

    Example: taktline bridge mqtt --broker 10.0.0.5 --topic plant/{line}/{camera} --replay tcp://127.0.0.1:5557
    """
    settings = MqttSettings(
        broker,
        topic,
        status_topic,
        user,
        password_file,
        tls or ca is not None or cert is not None,
        ca,
        cert,
        cert_key,
        client_id,
        protocol,
        silent_after,
    )
    store = PositionFile(position or Path("bridge-mqtt.position.json"))
    with MqttBroker(settings) as destination:
        _run(destination, store, source, replay, camera, oldest, read_keys(key, server_key))


def webhook(
    url: Annotated[str, typer.Argument(help="Where to POST.")],
    token_file: Annotated[Path | None, typer.Option(help="Its first line goes along as a Bearer token.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that an answer may take.")] = 10.0,
    source: From = Endpoint,
    replay: ReplayOption = None,
    camera: Cameras = None,
    oldest: Oldest = False,
    position: Position = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
) -> None:
    """POST each verdict as JSON to a web server, until Ctrl-C or SIGTERM.

    Example: taktline bridge webhook https://mes.example/verdicts --replay tcp://127.0.0.1:5557
    """
    store = PositionFile(position or Path("bridge-webhook.position.json"))
    with Webhook(url, token_file, timeout) as destination:
        _run(destination, store, source, replay, camera, oldest, read_keys(key, server_key))


def jsonl(
    file: Annotated[Path, typer.Argument(help="The file; FILE.1 and so on hold what is older.")],
    max_mib: Annotated[float, typer.Option(min=0.001, help="A file that is longer is put aside.")] = 100.0,
    keep: Annotated[int, typer.Option(min=1, help="How many are kept that were put aside.")] = 10,
    source: From = Endpoint,
    replay: ReplayOption = None,
    camera: Cameras = None,
    oldest: Oldest = False,
    position: Position = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
) -> None:
    """Append verdicts to a file, one JSON object a line, until Ctrl-C or SIGTERM.

    Example: taktline bridge jsonl verdicts.jsonl --replay tcp://127.0.0.1:5557
    """
    store = PositionFile(position or file.with_name(f"{file.name}.position.json"))
    with JsonLines(file, round(max_mib * (1 << 20)), keep) as destination:
        _run(destination, store, source, replay, camera, oldest, read_keys(key, server_key))


def _run(
    destination: Destination,
    store: PositionFile,
    source: str,
    replay: str | None,
    cameras: list[str] | None,
    oldest: bool,
    curve: ClientKeys | None,
) -> None:
    stored = store.read()
    if oldest and replay is None:
        raise ConfigError("--oldest asks the line's journal; say with --replay where it answers")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if replay is None:
        console.print("without --replay, what is published while the bridge is away is lost")
    since = stored.position if stored is not None else {} if oldest else None
    destination.resume(None if stored is None else stored.mark)
    stop = threading.Event()
    with VerdictSubscriber(
        source, tuple(cameras or ()), replay=replay, since=since, queue=_QUEUE, curve=curve
    ) as subscriber:
        bridge = Bridge(subscriber, destination, store)
        with on_signals(stop.set):
            console.print(f"the bridge from {source} is up")
            bridge.run(stop)
    console.print(f"{bridge.delivered} verdicts were delivered")
