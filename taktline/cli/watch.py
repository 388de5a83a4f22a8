"""`taktline watch`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from engines.errors import TaktlineError
from taktline.cli.console import show, show_json, stderr
from taktline.cli.options import (
    PUBLISHED_AT,
    CamerasOption,
    JsonLinesFlag,
    KeyOption,
    ReplayOption,
    ServerKeyOption,
    read_keys,
)
from taktline.cli.signals import on_signals

if TYPE_CHECKING:
    from pipeline.protocol.gap import Gap

_TICK_S = 0.2


def watch(
    endpoint: Annotated[str, typer.Argument(help="Address that the line publishes on.")] = PUBLISHED_AT,
    camera: CamerasOption = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many verdicts.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Give up after this many seconds of silence.")] = None,
    replay: ReplayOption = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    as_json: JsonLinesFlag = False,
) -> None:
    """Subscribe to a line's verdicts and print them.

    Example: taktline watch tcp://127.0.0.1:5556 --count 10
    """
    from pipeline.client.subscriber import VerdictSubscriber
    from taktline.cli.verdict_text import verdict_text

    stop = threading.Event()
    curve = read_keys(key, server_key)
    with (
        VerdictSubscriber(endpoint, tuple(camera or ()), replay, curve=curve, on_gap=_show_gap) as subscriber,
        on_signals(stop.set),
    ):
        seen = 0
        waited = 0.0
        while not stop.is_set() and (count is None or seen < count):
            try:
                verdict, _ = subscriber.receive(_TICK_S)
            except TimeoutError:
                waited += _TICK_S
                if timeout is not None and waited >= timeout:
                    raise TaktlineError(
                        f"no verdict came from {endpoint} for {timeout:g} s; check that its line is running and, if "
                        "it uses CURVE, that it allows your key"
                    ) from None
                continue
            waited, seen = 0.0, seen + 1
            if as_json:
                show_json(verdict.to_json())
            else:
                show(verdict_text(verdict))


def _show_gap(gap: Gap) -> None:
    text = f"{gap.camera}: {gap.count} verdicts from {gap.first} to {gap.last} are lost ({gap.why})"
    stderr().print(Text(text, "yellow"))
