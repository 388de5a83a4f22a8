"""`taktline rollback` and `taktline tell`: orders to a running line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engines.errors import ConfigError
from taktline.cli.console import show, show_json
from taktline.cli.options import KeyOption, LineArgument, ServerKeyOption, read_keys

if TYPE_CHECKING:
    from pipeline.protocol.orders import Answer, Order

_ORDERS = ("pause", "resume", "threshold", "trigger", "cancel-shadow", "status")
StatusFlag = Annotated[bool, typer.Option("--json", help="Print the line's status as JSON.")]


def rollback(
    line: LineArgument,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    as_json: StatusFlag = False,
) -> None:
    """Bring back the bundle that ran on a line before the current one, without losing a frame.

    Example: taktline rollback press4
    """
    show_status(reach_line(line, key, server_key)(make_order({"do": "rollback"}, line)), as_json)


def tell(
    line: LineArgument,
    order: Annotated[str, typer.Argument(help="pause, resume, threshold, trigger, cancel-shadow or status.")],
    value: Annotated[str | None, typer.Argument(help="For threshold: the sigma. For trigger: the camera.")] = None,
    part: Annotated[str | None, typer.Option(help="For trigger: the part's id, which its verdict will carry.")] = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    as_json: StatusFlag = False,
) -> None:
    """Give a running line an order.

    Example: taktline tell press4 threshold 2.5
    """
    if order not in _ORDERS:
        raise ConfigError(f"there is no order '{order}'; give {', '.join(_ORDERS[:-1])} or {_ORDERS[-1]}")
    # Unknown options arrive here as values, because a negative threshold must.
    if value is not None and value.startswith("--"):
        raise ConfigError(f"there is no option {value}; see taktline tell --help")
    if (order in {"threshold", "trigger"}) != (value is not None):
        raise ConfigError("threshold needs a sigma such as 2.5, trigger needs a camera, and other orders take no value")
    values = {"do": order, "part": part, "camera" if order == "trigger" else "threshold": value}
    show_status(reach_line(line, key, server_key)(make_order(values, value or order)), as_json)


def make_order(values: dict[str, Any], given: str) -> Order:
    """Returns an order.

    Args:
        values: its fields.
        given: what the user gave, for the error.

    Raises:
        ConfigError: it is none.
    """
    from pydantic import ValidationError

    from engines.validation import explain
    from pipeline.protocol.orders import Order

    try:
        return Order.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"'{given}' does not fit the order {values['do']}: {explain(error)}") from error


def reach_line(line: str, key: Path | None, server_key: str | None) -> Callable[[Order], Answer]:
    """Returns what gives a line an order and returns its answer.

    Args:
        line: its name or control address.
        key: the user's secret key file.
        server_key: the line's public key.

    Raises:
        ConfigError: the keys cannot be used.
    """
    from pipeline.client.orders import tell_line
    from pipeline.protocol.orders import control_address

    return partial(tell_line, line if "://" in line else control_address(line), curve=read_keys(key, server_key))


def show_status(answer: Answer, as_json: bool) -> None:
    """Shows the line's status, where an answer has one."""
    from taktline.cli.status import status_tables

    found = answer.get("status")
    if found is None:
        return
    if as_json:
        show_json(found)
    else:
        show(*status_tables(found))
