"""`taktline bridge mqtt`, `webhook` and `jsonl`: verdicts to a broker, a web server or files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engines.errors import ConfigError
from engines.files import check_writable
from taktline.cli.console import stderr
from taktline.cli.options import (
    PUBLISHED_AT,
    CamerasOption,
    KeyOption,
    ReplayOption,
    ServerKeyOption,
    flatten,
    read_keys,
)
from taktline.cli.signals import on_signals

if TYPE_CHECKING:
    from pipeline.bridges.bridge import Destination

_QUEUE = 10_000


@dataclass(frozen=True)
class Subscription:
    """Options that all bridges share: how to reach the line, and where to store the position."""

    source: Annotated[str, typer.Option("--from", help="Address that the line publishes on.")] = PUBLISHED_AT
    replay: ReplayOption = None
    camera: CamerasOption = None
    oldest: Annotated[bool, typer.Option("--oldest", help="Start with the oldest verdict in the line's journal.")] = (
        False
    )
    position: Annotated[Path | None, typer.Option(help="File that stores how far the bridge has got.")] = None
    key: KeyOption = None
    server_key: ServerKeyOption = None

    def __post_init__(self) -> None:
        if self.oldest and self.replay is None:
            raise ConfigError("--oldest reads from the line's journal; give the line's replay address with --replay")


def build_bridge() -> typer.Typer:
    """Returns the commands under `taktline bridge`."""
    app = typer.Typer(name="bridge", no_args_is_help=True, help="Deliver verdicts elsewhere, each at least once.")
    for command in (mqtt, webhook, jsonl):
        app.command()(flatten(command))
    return app


def mqtt(
    subscription: Subscription,
    broker: Annotated[str, typer.Option(help="HOST or HOST:PORT.")],
    topic: Annotated[str, typer.Option(help="{line} and {camera} are filled in.")] = "taktline/{line}/{camera}",
    status_topic: Annotated[str | None, typer.Option(help="Topic of the line's retained status.")] = None,
    user: Annotated[str | None, typer.Option(help="User name for the broker.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File whose first line is the password.")] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Use TLS and verify the broker's certificate.")] = False,
    ca: Annotated[Path | None, typer.Option(help="Trusted authorities. Default: the system's. Implies --tls.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Client certificate, if the broker asks for one.")] = None,
    cert_key: Annotated[Path | None, typer.Option(help="The client certificate's key.")] = None,
    client_id: Annotated[str | None, typer.Option(help="MQTT client id.")] = None,
    protocol: Annotated[Literal["5", "3.1.1"], typer.Option(help="MQTT version.")] = "5",
    silent_after: Annotated[
        float, typer.Option(min=1, help="Seconds without verdicts until the line is silent.")
    ] = 30.0,
) -> None:
    """Publish verdicts as JSON to an MQTT broker, with QoS 1, until Ctrl-C or SIGTERM.

    Example: taktline bridge mqtt --broker 10.0.0.5 --topic plant/{line}/{camera} --replay tcp://127.0.0.1:5557
    """
    from pipeline.bridges.mqtt import MqttBroker, MqttSettings

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
    _run(partial(MqttBroker, settings), Path("bridge-mqtt.position.json"), subscription)


def webhook(
    subscription: Subscription,
    url: Annotated[str, typer.Argument(help="URL to POST to.")],
    token_file: Annotated[Path | None, typer.Option(help="File whose first line is sent as a Bearer token.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for an answer.")] = 10.0,
) -> None:
    """POST each verdict as JSON to a web server, until Ctrl-C or SIGTERM.

    Example: taktline bridge webhook https://mes.example/verdicts --replay tcp://127.0.0.1:5557
    """
    from pipeline.bridges.webhook import Webhook

    _run(partial(Webhook, url, token_file, timeout), Path("bridge-webhook.position.json"), subscription)


def jsonl(
    subscription: Subscription,
    file: Annotated[Path, typer.Argument(help="File to append to. Older verdicts move to FILE.1 and so on.")],
    max_mib: Annotated[float, typer.Option(min=0.001, max=1 << 20, help="Start a new file at this size.")] = 100.0,
    keep: Annotated[int, typer.Option(min=1, max=10_000, help="Number of older files to keep.")] = 10,
) -> None:
    """Append verdicts to a file, one JSON object per line, until Ctrl-C or SIGTERM.

    Example: taktline bridge jsonl verdicts.jsonl --replay tcp://127.0.0.1:5557
    """
    from pipeline.bridges.jsonl import JsonLines

    lines = partial(JsonLines, file, round(max_mib * (1 << 20)), keep)
    _run(lines, file.with_name(f"{file.name}.position.json"), subscription)


def _run(open_destination: Callable[[], Destination], position: Path, asked: Subscription) -> None:
    """Delivers verdicts until a signal comes, starting from the stored position."""
    from pipeline.bridges.bridge import Bridge, PositionFile
    from pipeline.client.subscriber import VerdictSubscriber

    position = asked.position or position
    store, curve = PositionFile(position), read_keys(asked.key, asked.server_key)
    stored = store.read()
    check_writable(position)
    console = stderr()
    since = stored.position if stored is not None else {} if asked.oldest else None
    stop = threading.Event()
    with (
        VerdictSubscriber(
            asked.source, tuple(asked.camera or ()), replay=asked.replay, since=since, queue=_QUEUE, curve=curve
        ) as subscriber,
        open_destination() as destination,
    ):
        if asked.replay is None:
            console.print("without --replay, verdicts published while the bridge is down are lost")
        destination.resume(None if stored is None else stored.mark)
        bridge = Bridge(subscriber, destination, store)
        with on_signals(stop.set):
            console.print(f"the bridge from {asked.source} is running")
            bridge.run(stop)
    console.print(f"{bridge.delivered} verdicts were delivered")
