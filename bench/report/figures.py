"""Names and formats of a measurement's figures."""

from __future__ import annotations

FIGURES = {
    "engine_per_s": ("bare engine, full batches", "{:.1f} images/s"),
    "engine_batch_1_p50_ms": ("bare engine, batch 1, p50", "{:.1f} ms"),
    "sustained_per_s": ("line, sustained", "{:.1f} images/s"),
    "sustained_over_engine": ("line over bare engine, in the same rounds", "{:.2f}"),
    "limit_per_s": ("line's limit within the takt, nothing dropped", "{:.1f} images/s"),
    "half_per_s": ("half of the limit", "{:.1f} images/s"),
    "half_p50_ms": ("p50 there, arrival to verdict received", "{:.1f} ms"),
    "half_p50_over_engine_ms": ("p50 there, above the bare engine's batch 1", "{:+.1f} ms"),
    "half_p99_over_p50": ("p99 over p50 there", "{:.2f}"),
    "memory_mb_per_h": ("memory", "{:+.1f} MB an hour"),
    "handles_per_h": ("open files and sockets", "{:+.1f} an hour"),
    "threads_per_h": ("threads", "{:+.1f} an hour"),
    "p50_last_over_first": ("p50, last third over first", "{:.2f}"),
    "p99_last_over_first": ("p99, last third over first", "{:.2f}"),
    "operations_per_image": ("operations per picture in the network", "{:.3g}"),
}
