"""The arithmetic limit: how many operations the machine can do, and how many a picture needs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import EngineUnavailable
from engines.extras import require

_PICTURES, _CHANNELS, _SIDE = 4, 1024, 32
_LEAST_RUNS, _LEAST_S = 10, 3.0


def operations_per_picture(model: Path) -> float:
    """Counts the multiplications and additions in a model's convolutions and matrix products, for one picture."""
    ov = _import()
    graph = ov.Core().read_model(str(model))
    graph.reshape({name: [1, *list(port.get_partial_shape())[1:]] for port in graph.inputs for name in [port.any_name]})
    total = 0.0
    for node in graph.get_ops():
        counted = _COUNTS.get(node.get_type_name())
        if counted is not None:
            total += 2.0 * counted(node)
    return total


def operations_per_second(precision: str, device: str = "CPU") -> float:
    """Measures a large matrix product through OpenVINO, in operations per second; the best of several runs.

    The product is a 1 x 1 convolution, so that it runs on the same kernels as the network, and not on kernels for
    matrices in an unsuitable layout.

    Args:
        precision: `int8`, `bf16`, `f16` or `f32`.
        device: the device's name in OpenVINO.
    """
    ov = _import()
    ops = ov.opset13
    shape = [_PICTURES, _CHANNELS, _SIDE, _SIDE]
    frames = ops.parameter(shape, np.float32)
    weights = np.random.default_rng(0).standard_normal((_CHANNELS, _CHANNELS, 1, 1), np.float32)
    given, kernel = (_in_8_bits if precision == "int8" else _as_they_are)(ops, frames, weights)
    product = ops.convolution(given, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    # Sum the result, so that little is copied out.
    graph = ov.Model([ops.reduce_sum(product, ops.constant(np.array([2, 3])), False)], [frames], "product")
    # What 8 bits leave is the sum.
    hint = "f32" if precision == "int8" else precision
    config = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": "YES"}
    request = ov.Core().compile_model(graph, device, config).create_infer_request()
    ones = np.ones(shape, np.float32)
    best, runs, end = float("inf"), 0, time.monotonic() + _LEAST_S
    while time.monotonic() < end or runs < _LEAST_RUNS:
        request.infer([ones], share_inputs=True)
        nodes = [node for node in request.profiling_info if node.node_type == "Convolution"]
        best = min(best, sum(node.real_time.total_seconds() for node in nodes))
        runs += 1
    return float(2 * math.prod(shape) * _CHANNELS / best)


def _as_they_are(ops: Any, frames: Any, weights: Any) -> tuple[Any, Any]:
    return frames, ops.constant(weights)


def _in_8_bits(ops: Any, frames: Any, weights: Any) -> tuple[Any, Any]:
    """Describes 8-bit operands as NNCF does, so that OpenVINO computes the product in 8 bits."""
    low, high = ops.constant(np.float32(0)), ops.constant(np.float32(2.55))
    rounded = ops.fake_quantize(frames, low, high, low, high, 256)
    scale = np.abs(weights).max() / 127
    kernel = ops.constant(np.round(weights / scale).astype(np.int8))
    return rounded, ops.multiply(ops.convert(kernel, "f32"), ops.constant(np.float32(scale)))


def _product(shape: Any) -> float:
    return float(np.prod([int(side) for side in shape]))


def _convolution(node: Any) -> float:
    kernel = list(node.input(1).get_shape())
    return _product(node.output(0).get_shape()) * _product(kernel[1:])


def _deconvolution(node: Any) -> float:
    kernel = list(node.input(1).get_shape())
    return _product(node.input(0).get_shape()) * _product(kernel[1:])


def _matmul(node: Any) -> float:
    *_, rows, columns = node.input(0).get_shape()
    return _product(node.output(0).get_shape()) * float(rows if node.get_attributes()["transpose_a"] else columns)


_COUNTS: dict[str, Callable[[Any], float]] = {
    "Convolution": _convolution,
    "ConvolutionBackpropData": _deconvolution,
    "MatMul": _matmul,
}


def _import() -> Any:
    return require("openvino", "", EngineUnavailable)
