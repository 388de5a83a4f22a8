"""`taktline bridge mqtt`, `webhook`, `jsonl` and `sql`: verdicts to a broker, a web server, files or a database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engines.errors import ConfigError
from engines.files import check_writable
from taktline.cli.console import stderr
from taktline.cli.open_files import allow_many_files
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
    from rich.console import Console

    from pipeline.bridges.bridge import Destination
    from pipeline.bridges.sql import FollowedLine

_QUEUE = 10_000


@dataclass(frozen=True)
class Subscription:
    """Options that all bridges share: how to reach the line."""

    source: Annotated[str, typer.Option("--from", help="Address that the line publishes on.")] = PUBLISHED_AT
    replay: ReplayOption = None
    camera: CamerasOption = None
    oldest: Annotated[bool, typer.Option("--oldest", help="Start with the oldest verdict in the line's journal.")] = (
        False
    )
    key: KeyOption = None
    server_key: ServerKeyOption = None

    def check(self) -> None:
        """Refuses `--oldest` without a replay to ask.

        Raises:
            ConfigError: that was asked for.
        """
        if self.oldest and self.replay is None:
            raise ConfigError("--oldest reads from the line's journal; give the line's replay address with --replay")


PositionOption = Annotated[Path | None, typer.Option(help="File that stores how far the bridge has got.")]


def build_bridge() -> typer.Typer:
    """Returns the commands under `taktline bridge`."""
    app = typer.Typer(name="bridge", no_args_is_help=True, help="Deliver verdicts elsewhere.")
    for command in (mqtt, webhook, jsonl, sql):
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
    position: PositionOption = None,
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
    _run(partial(MqttBroker, settings), position or Path("bridge-mqtt.position.json"), subscription)


def webhook(
    subscription: Subscription,
    url: Annotated[str, typer.Argument(help="URL to POST to.")],
    token_file: Annotated[Path | None, typer.Option(help="File whose first line is sent as a Bearer token.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for an answer.")] = 10.0,
    position: PositionOption = None,
) -> None:
    """POST each verdict as JSON to a web server, until Ctrl-C or SIGTERM.

    Example: taktline bridge webhook https://mes.example/verdicts --replay tcp://127.0.0.1:5557
    """
    from pipeline.bridges.webhook import Webhook

    _run(partial(Webhook, url, token_file, timeout), position or Path("bridge-webhook.position.json"), subscription)


def jsonl(
    subscription: Subscription,
    file: Annotated[Path, typer.Argument(help="File to append to. Older verdicts move to FILE.1 and so on.")],
    max_mib: Annotated[float, typer.Option(min=0.001, max=1 << 20, help="Start a new file at this size.")] = 100.0,
    keep: Annotated[int, typer.Option(min=1, max=10_000, help="Number of older files to keep.")] = 10,
    position: PositionOption = None,
) -> None:
    """Append verdicts to a file, one JSON object per line, until Ctrl-C or SIGTERM.

    Example: taktline bridge jsonl verdicts.jsonl --replay tcp://127.0.0.1:5557
    """
    from pipeline.bridges.jsonl import JsonLines

    lines = partial(JsonLines, file, round(max_mib * (1 << 20)), keep)
    _run(lines, position or file.with_name(f"{file.name}.position.json"), subscription)


def sql(
    subscription: Subscription,
    url: Annotated[str, typer.Option(help="postgresql://USER@HOST/DATABASE, or sqlite:PATH.")],
    line: Annotated[str, typer.Option(help="The line's name.")] = "line",
    lines: Annotated[
        Path | None, typer.Option(help="File (TOML) that names many lines with their addresses and keys.")
    ] = None,
    keep_days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Remove verdicts after so many days. Default: keep all.")
    ] = None,
) -> None:
    """Store verdicts of one or many lines in a database, each once, until Ctrl-C or SIGTERM.

    Example: taktline bridge sql --url postgresql://taktline@db/plant --lines plant.toml --oldest --keep-days 365
    """
    from pipeline.bridges.sql import StoreBridge
    from pipeline.store.open_store import open_store

    followed = [_one_line(line, subscription)] if lines is None else _many_lines(lines, subscription)
    allow_many_files()
    console, stop = stderr(), threading.Event()
    for one in followed:
        _warn(console, one.replay, "" if lines is None else f"line {one.name}: ")
    with open_store(url, keep_days) as store, StoreBridge(followed, store, oldest=subscription.oldest) as bridge:
        with on_signals(stop.set):
            bridge.run(stop, lambda: console.print(f"the bridge from {_counted(followed)} to {store.where} is running"))
        found = bridge.written
    more = [f"{count} {what}" for count, what in (
        (found.known, "were there already"), (found.expired, "were too old to keep"), (found.refused, "were refused"),
    ) if count]  # fmt: skip
    console.print(", ".join([f"{found.stored} verdicts were stored", *more]))


def _one_line(name: str, asked: Subscription) -> FollowedLine:
    from pipeline.bridges.sql import FollowedLine

    asked.check()
    curve = read_keys(asked.key, asked.server_key)
    return FollowedLine(name, asked.source, asked.replay, tuple(asked.camera or ()), curve)


def _many_lines(path: Path, asked: Subscription) -> list[FollowedLine]:
    from pipeline.bridges.sql import FollowedLine
    from pipeline.config.lines_file import read_lines_file

    if asked != Subscription(oldest=asked.oldest):
        raise ConfigError("addresses and keys stand in the file of lines; leave them out here, or leave out --lines")
    found = []
    for line in read_lines_file(path, "file of lines"):
        if line.verdicts is None or (asked.oldest and line.replay is None):
            missing = "verdicts" if line.verdicts is None else "replay"
            raise ConfigError(f"{path}: the line '{line.name}' has no address of its {missing}; add it")
        found.append(FollowedLine(line.name, line.verdicts, line.replay, curve=line.read_keys()))
    return found


def _counted(lines: Sequence[FollowedLine]) -> str:
    return lines[0].verdicts if len(lines) == 1 else f"{len(lines)} lines"


def _warn(console: Console, replay: str | None, whose: str = "") -> None:
    if replay is None:
        console.print(f"{whose}without a replay address, verdicts published while the bridge is down are lost")


def _run(open_destination: Callable[[], Destination], position: Path, asked: Subscription) -> None:
    """Delivers verdicts until a signal comes, starting from the stored position."""
    from pipeline.bridges.bridge import Bridge, PositionFile
    from pipeline.client.subscriber import VerdictSubscriber

    asked.check()
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
        _warn(console, asked.replay)
        destination.resume(None if stored is None else stored.mark)
        bridge = Bridge(subscriber, destination, store)
        with on_signals(stop.set):
            console.print(f"the bridge from {asked.source} is running")
            bridge.run(stop)
    console.print(f"{bridge.delivered} verdicts were delivered")
