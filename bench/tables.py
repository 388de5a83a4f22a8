"""What the bench's results look like in a terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from bench.agreement import Agreement, EngineState


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
