"""`taktline deploy`, `taktline rollback` and `taktline tell`: orders to a running line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engines.errors import ConfigError
from taktline.cli.console import show, show_json
from taktline.cli.options import KeyOption, LineArgument, ServerKeyOption, read_keys

if TYPE_CHECKING:
    from pipeline.protocol.orders import Order

_ORDERS = ("pause", "resume", "threshold", "trigger", "status")
StatusFlag = Annotated[bool, typer.Option("--json", help="Print the line's status as JSON.")]


def deploy(
    bundle: Annotated[Path, typer.Argument(help="The new model bundle.")],
    line: Annotated[str, typer.Option(help="The line's name, or its control address.")] = "line",
    other_part: Annotated[bool, typer.Option("--other-part", help="Accept a bundle made for another part.")] = False,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    as_json: StatusFlag = False,
) -> None:
    """Switch a running line to another bundle without losing a frame.

    Example: taktline deploy runs/bottle-2 --line press4
    """
    values = {"do": "deploy", "bundle": str(bundle.resolve()), "other_part": other_part}
    _tell(line, _order(values, str(bundle)), as_json, key, server_key)


def rollback(
    line: LineArgument,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    as_json: StatusFlag = False,
) -> None:
    """Bring back the bundle that ran on a line before the current one, without losing a frame.

    Example: taktline rollback press4
    """
    _tell(line, _order({"do": "rollback"}, line), as_json, key, server_key)


def tell(
    line: LineArgument,
    order: Annotated[str, typer.Argument(help="pause, resume, threshold, trigger or status.")],
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
    _tell(line, _order(values, value or order), as_json, key, server_key)


def _order(values: dict[str, Any], given: str) -> Order:
    from pydantic import ValidationError

    from engines.validation import explain
    from pipeline.protocol.orders import Order

    try:
        return Order.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"'{given}' does not fit the order {values['do']}: {explain(error)}") from error


def _tell(line: str, order: Order, as_json: bool, key: Path | None, server_key: str | None) -> None:
    from pipeline.client.orders import tell_line
    from pipeline.protocol.orders import control_address
    from taktline.cli.status import status_tables

    curve = read_keys(key, server_key)
    address = line if "://" in line else control_address(line)
    found = tell_line(address, order, curve=curve).get("status")
    if found is None:
        return
    if as_json:
        show_json(found)
    else:
        show(*status_tables(found))
