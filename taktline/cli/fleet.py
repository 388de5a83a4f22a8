"""`taktline fleet`: status of many lines, and orders to all of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engines.errors import ConfigError
from taktline.cli.console import show, show_json, stderr
from taktline.cli.fleet_tables import FillingTable, RollTable, reply_values
from taktline.cli.open_files import allow_many_files
from taktline.cli.options import flatten
from taktline.cli.orders import make_order
from taktline.cli.signals import on_signals

if TYPE_CHECKING:
    from pipeline.fleet.fleet import Fleet
    from pipeline.protocol.orders import Order

_NOT_ALL = 1
BundleToDeploy = Annotated[Path, typer.Argument(help="The new bundle, at the same path on each line's machine.")]


@dataclass(frozen=True)
class FleetOptions:
    """Options that all commands share: which lines, and how long they may take."""

    fleet: Annotated[Path, typer.Option(help="File (TOML) that names the lines, with addresses and keys.")] = Path(
        "fleet.toml"
    )
    line: Annotated[list[str] | None, typer.Option(help="Only this line. Repeat for more.")] = None
    limit: Annotated[
        float | None,
        typer.Option(min=0.1, max=7200, help="Seconds that each line may take. Default: 10, and 600 for a bundle."),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False

    def open(self) -> Fleet:
        """Returns the lines.

        Raises:
            ConfigError: the file cannot be used, or has no such line.
        """
        from pipeline.config.lines_file import read_lines_file
        from pipeline.fleet.fleet import Fleet

        allow_many_files()
        lines = read_lines_file(self.fleet, "fleet file")
        known = [line.name for line in lines]
        for name in self.line or ():
            if name not in known:
                raise ConfigError(f"{self.fleet} has no line '{name}'; it has {', '.join(known)}")
        return Fleet([line for line in lines if not self.line or line.name in self.line])


def build_fleet() -> typer.Typer:
    """Returns the commands under `taktline fleet`."""
    app = typer.Typer(name="fleet", no_args_is_help=True, help="Watch many lines and give them orders, side by side.")
    for command in (status, deploy, rollback):
        app.command()(flatten(command))
    # A negative threshold is a value, not an option.
    app.command(context_settings={"ignore_unknown_options": True})(flatten(threshold))
    return app


def status(options: FleetOptions) -> None:
    """Ask all lines for their status. Exits with 1 if not all of them answer and are ready.

    Example: taktline fleet status --fleet fleet.toml
    """
    _give_all(options, {"do": "status"}, "", 10.0, must_be_ready=True)


def threshold(
    sigma: Annotated[str, typer.Argument(help="The new threshold in sigma.")], options: FleetOptions
) -> None:
    """Change the threshold of all lines, until another bundle is deployed. Exits with 1 if not all carry it out.

    Example: taktline fleet threshold 2.5 --fleet fleet.toml
    """
    # Unknown options arrive here as values, because a negative threshold must.
    _give_all(options, {"do": "threshold", "threshold": sigma}, sigma, 10.0)


def rollback(options: FleetOptions) -> None:
    """Bring back the bundle that ran on each line before the current one. Exits with 1 if not all carry it out.

    Example: taktline fleet rollback --fleet fleet.toml --line press4
    """
    _give_all(options, {"do": "rollback"}, "rollback", 600.0)


def deploy(
    bundle: BundleToDeploy,
    options: FleetOptions,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="One line first, then more; back on all if one leaves its bounds.")
    ] = False,
    parts: Annotated[
        int, typer.Option(min=1, max=10_000, help="With --rolling: parts that must pass on each line.")
    ] = 200,
    max_ng: Annotated[
        float, typer.Option(min=0, max=1, help="With --rolling: how much the share of ng may rise, 0.02 for 2 %.")
    ] = 0.02,
    wait: Annotated[
        float, typer.Option(min=1, help="With --rolling: seconds in which the parts must have passed.")
    ] = 3600.0,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="With --rolling: most lines at once. Default: 1, 2, 4 and so on.")
    ] = None,
    ignore_drift: Annotated[
        bool, typer.Option("--ignore-drift", help="With --rolling: drift of good parts stops nothing.")
    ] = False,
    other_part: Annotated[bool, typer.Option("--other-part", help="Accept a bundle made for another part.")] = False,
) -> None:
    """Switch all lines to another bundle without losing a frame. Exits with 1 if not all of them have it.

    Example: taktline fleet deploy runs/bottle-2 --fleet fleet.toml --rolling --parts 500
    """
    from engines.bundle import open_bundle
    from pipeline.fleet.bounds import Bounds
    from pipeline.fleet.rolling import Limits, RollOut

    new = open_bundle(bundle)
    limits = Limits() if options.limit is None else Limits(switch_s=options.limit)
    with options.open() as fleet:
        if not rolling:
            table = FillingTable(f"deploying {new.short_id}", fleet.lines, options.as_json)
            _show(options, fleet, fleet.deploys(new, other_part), limits.switch_s, table)
            return
        bounds = Bounds(parts, max_ng, wait, not ignore_drift)
        rolled = RollTable(f"rolling out {new.short_id}", parts, options.as_json)
        roll = RollOut(
            fleet, new, bounds, other_part=other_part, most_at_once=at_once, limits=limits,
            told=lambda _: rolled.draw(),
        )  # fmt: skip
        stop, console = threading.Event(), stderr()

        def interrupt() -> None:
            stop.set()
            console.print("interrupted; lines that have the new bundle are brought back, please wait")

        with rolled.over(roll.states), on_signals(interrupt):
            why = roll.run(stop)
    if options.as_json:
        lines = {name: vars(state) for name, state in roll.states.items()}
        show_json({"bundle": new.short_id, "deployed": why is None, "why": why, "lines": lines})
    else:
        show(rolled.table())
    if why is not None:
        console.print(f"the roll-out of {new.short_id} was stopped: {why}")
        raise typer.Exit(_NOT_ALL)


def _give_all(
    options: FleetOptions, values: dict[str, Any], given: str, usual_s: float, *, must_be_ready: bool = False
) -> None:
    """Gives all lines the same order."""
    order = make_order(values, given)
    with options.open() as fleet:
        table = FillingTable(order.do, fleet.lines, options.as_json)
        orders = dict.fromkeys(fleet.lines, order)
        _show(options, fleet, orders, options.limit or usual_s, table, must_be_ready)


def _show(
    options: FleetOptions,
    fleet: Fleet,
    orders: Mapping[str, Order],
    limit_s: float,
    table: FillingTable,
    must_be_ready: bool = False,
) -> None:
    """Gives orders, shows answers as they come, and exits with 1 if one is missing."""
    with table:
        replies = fleet.give(orders, limit_s, table.came)
    if options.as_json:
        show_json({name: reply_values(reply) for name, reply in replies.items()})
    else:
        show(table.table())
    if any(reply.came != "done" or (must_be_ready and not reply.status["ready"]) for reply in replies.values()):
        raise typer.Exit(_NOT_ALL)
