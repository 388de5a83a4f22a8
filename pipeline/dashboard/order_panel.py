"""The orders of the line's page: each asks first, and the server checks the role when it is given."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from nicegui import ui
from pydantic import ValidationError

from engines.errors import TaktlineError
from engines.manifest import Manifest
from engines.validation import explain
from pipeline.dashboard.background import carry_out
from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.frame import button
from pipeline.dashboard.history_page import moment
from pipeline.dashboard.orders import NEEDS, Orders
from pipeline.dashboard.sessions import Session
from pipeline.dashboard.tables import panel, table
from pipeline.dashboard.users import Role
from pipeline.journal.audit import OrderRecord
from pipeline.protocol.orders import Order


def order_panel(
    feed: LineFeed, session: Session, role: Role, orders: Orders, bundles: dict[str, Path], manifest: Manifest | None
) -> None:
    """Builds the panel of orders; what a role may not do is shown, says who may, and does nothing."""
    status = feed.model.status or {}
    said = _Said()

    async def give(order: Order) -> None:
        said.show(f"{order.do}: under way")
        try:
            await carry_out(orders.give, session, feed, order)
        except TaktlineError as error:
            said.show(f"{order.do}: {error}.")
            return
        said.show(f"{order.do}: done")
        ui.navigate.reload()

    with panel("Orders"):
        paused = bool(status.get("paused"))
        _Order("resume" if paused else "pause", role, give).build(
            "Resume inspection" if paused else "Pause inspection",
            lambda: {},
            f"Inspect the parts of {feed.name} again?" if paused else
            f"Pause {feed.name}? Its parts will be answered as uninspected until it is resumed.",
        )  # fmt: skip
        current = float(status.get("threshold", 0.0))
        value = ui.number("threshold in sigma", value=round(current, 3), step=0.1).props("outlined dense")
        value.props["aria-label"] = "threshold in sigma"
        hint = ui.label("").classes("soft")
        if manifest is not None:
            value.on_value_change(lambda: hint.set_text(expected(manifest, value.value)))
            hint.set_text(expected(manifest, current))
        _Order("threshold", role, give).build(
            "Change threshold", lambda: {"threshold": value.value}, f"Change the threshold of {feed.name}?"
        )
        chosen = ui.select(sorted(bundles), label="bundle", value=next(iter(sorted(bundles)), None))
        chosen.props("outlined dense").classes("bundle-choice")
        other = ui.checkbox("it is made for another part")
        _Order("deploy", role, give).build(
            "Deploy bundle",
            # The browser sends a name of the list; the path stays here.
            lambda: {"bundle": str(bundles[chosen.value].resolve()), "other_part": bool(other.value)},
            f"Deploy this bundle on {feed.name}? It is checked and warmed up first; no part is lost.",
        )
        if not bundles:
            ui.label("No bundle was found; give a folder of bundles.").classes("soft")
        said.build()


def audit_table(records: list[OrderRecord]) -> None:
    """Builds the table of the newest orders."""
    with panel("Who ordered what").classes("audit"):
        if not records:
            ui.label("Nobody has ordered anything here yet.").classes("soft")
            return
        rows = [(moment(one.at), f"{one.by} ({one.role})", one.order, _arguments(one), one.outcome) for one in records]
        table(("when", "who", "order", "with", "outcome"), rows)


def expected(manifest: Manifest, threshold: float | None) -> str:
    """Returns in words how many false alarms a threshold lets expect."""
    if threshold is None:
        return ""
    promised = manifest.threshold
    if threshold == promised.value:
        low, high = promised.interval_per_1000
        rate = f"{promised.false_alarms_per_1000:.3g} false alarms in 1000 good parts"
        return f"{rate} ({low:.3g} to {high:.3g} among the next 100, with 99 % certainty)"
    scores = manifest.statistics.scores
    return f"{sum(score > threshold for score in scores)} of {len(scores)} held-out good parts are above it"


class _Said:
    """A line that says what came of an order."""

    def __init__(self) -> None:
        self._label: ui.label | None = None

    def build(self) -> None:
        self._label = ui.label("").classes("said").props('role="status"')

    def show(self, text: str) -> None:
        if self._label is not None:
            self._label.set_text(text)


class _Order:
    """A button that asks before it gives an order.

    Args:
        do: the order.
        role: what the page's user may do.
        give: gives it.
    """

    def __init__(self, do: str, role: Role, give: Callable[[Order], Awaitable[None]]) -> None:
        self._do, self._give = do, give
        self._needs = NEEDS[do]
        self._allowed = role >= self._needs

    def build(self, text: str, values: Callable[[], dict[str, object]], question: str) -> None:
        """Builds the button and its question."""
        with ui.dialog() as dialog, ui.element("div").classes("question"):
            ui.label(question)
            with ui.element("div").classes("label-buttons"):
                button("Cancel").on("click", dialog.close)
                sure = button(text).classes("main-button")
                sure.props["data-confirm"] = self._do

        async def confirmed() -> None:
            dialog.close()
            try:
                order = Order.model_validate({"do": self._do, **values()})
            except (ValidationError, KeyError) as error:
                ui.notify(explain(error) if isinstance(error, ValidationError) else "choose a bundle first")
                return
            await self._give(order)

        # Bound also where the role does not suffice: the server refuses, whatever the page shows.
        sure.on("click", confirmed)
        opener = button(text).on("click", dialog.open)
        opener.props["data-order"] = self._do
        if not self._allowed:
            opener.props["disabled"] = True
            ui.label(f"needs the role {self._needs.name}").classes("soft")


def _arguments(record: OrderRecord) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in record.arguments.items() if name != "v")
