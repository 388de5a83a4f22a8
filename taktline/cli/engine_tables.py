"""What the bench's results look like in a terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from bench.measure.agreement import Agreement, EngineState
from bench.measure.capture import Captured
from bench.measure.delivery import Delivered


def engines_table(states: list[EngineState]) -> RenderableType:
    """Shows every engine, and whether it can run here."""
    table = Table(title="engines")
    for name in ("engine", "device", "precisions", "here"):
        table.add_column(name, overflow="fold")
    for state in states:
        here = "[green]can run[/]" if state.reason is None else f"[yellow]{state.reason.replace('[', chr(92) + '[')}[/]"
        table.add_row(state.name, state.device or "-", ", ".join(state.precisions) or "-", here)
    return table


def agreement_table(results: list[Agreement], pictures: int) -> RenderableType:
    """Shows how far each engine lies from the reference."""
    table = Table(
        title=f"{pictures} pictures, against PyTorch in float32",
        caption="differences in sigma; images a second from arrays in batches of 8",
    )
    table.add_column("engine")
    for name in ("mean", "p99", "largest", "heatmap r", "AUROC", "flips (furthest)", "twice", "images/s", "good/s"):
        table.add_column(name, justify="right")
    for result in results:
        flips = f"{result.flips} ({result.furthest_flip:.2f})" if result.flips else "0"
        table.add_row(
            f"{result.engine} {result.device} {result.precision}",
            f"{result.mean:+.4f}",
            f"{result.p99:.4f}",
            f"{result.largest:.4f}",
            f"{result.heatmap:.5f}",
            "-" if result.auroc is None else f"{result.auroc:.4f}",
            flips,
            f"{result.twice:.1%}",
            f"{result.images_per_s:.1f}",
            "-" if result.good_images_per_s is None else f"{result.good_images_per_s:.1f}",
        )
    return table


def delivery_table(results: list[Delivered], rate: float) -> RenderableType:
    """Shows what journaling and publishing cost; the first result is without a journal."""
    table = Table(
        title="journaling and publishing, on one core",
        caption=f"latency from decision to another process, at {rate:g} verdicts a second",
    )
    table.add_column("journal")
    for name in ("verdicts/s", "p50", "p99", "p99 added"):
        table.add_column(name, justify="right")
    for result in results:
        added = result.p99_ms - results[0].p99_ms
        table.add_row(
            result.journal,
            f"{result.verdicts_per_s:,.0f}",
            f"{result.p50_ms:.2f} ms",
            f"{result.p99_ms:.2f} ms",
            "" if result is results[0] else f"{added:+.2f} ms",
        )
    return table


def capture_table(results: list[Captured]) -> RenderableType:
    """Shows what cameras gave, in threads and in processes."""
    table = Table(title="capture and decoding alone")
    for name in ("way", "cameras", "pictures/s", "slowest camera/s", "CPU ms a picture"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for item in results:
        table.add_row(
            item.way, str(item.cameras), f"{item.pictures_per_s:.1f}", f"{item.slowest_per_s:.1f}", f"{item.cpu_ms:.2f}"
        )
    return table
