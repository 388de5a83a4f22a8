"""A bundle whose model really fails on some pictures, made by hand so that it costs no calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from engines.bundle import MODEL_F16, MODEL_F32, NETWORK, Bundle, open_bundle, write_manifest
from engines.engine import Frames
from engines.network import InspectionNetwork, NetworkConfig

SIDE = 64
CELLS = SIDE // 8
POISON = 255


def picture(value: int, count: int = 1) -> Frames:
    """Frames of one gray value; `POISON` makes the model fail."""
    return np.full((count, SIDE, SIDE, 3), value, np.uint8)


def write_faulty_bundle(path: Path) -> Bundle:
    """Writes a bundle whose score is the mean gray value, and whose model fails where the first pixel is `POISON`."""
    path.mkdir()
    model = _model()
    for name in (MODEL_F32, MODEL_F16):
        onnx.save(model, path / name)
    torch.manual_seed(0)
    config = NetworkConfig(size=(SIDE, SIDE), hidden=16, code=16)
    network = InspectionNetwork(config)
    save_file({name: value.contiguous().clone() for name, value in network.state_dict().items()}, path / NETWORK)
    write_manifest(path, _manifest(config))
    return open_bundle(path)


def _model() -> Any:
    def constant(name: str, values: Any, kind: Any = np.int64) -> Any:
        return numpy_helper.from_array(np.asarray(values, kind), name)

    node = helper.make_node
    nodes = [
        node("Cast", ["frames"], ["pixels"], to=TensorProto.FLOAT),
        node("ReduceMean", ["pixels", "all"], ["score"], keepdims=0),
        # The mean over each cell, flat: [N, cells].
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        node("ReduceMean", ["pooled", "channels"], ["cells"], keepdims=0),
        # One more column than fits, where the first pixel of a picture is POISON.
        node("Slice", ["frames", "starts", "ends", "axes"], ["first"]),
        node("Cast", ["first"], ["first_int"], to=TensorProto.INT64),
        node("ReduceMax", ["first_int", "everything"], ["highest"], keepdims=0),
        node("Equal", ["highest", "poison"], ["is_poisoned"]),
        node("Cast", ["is_poisoned"], ["poisoned"], to=TensorProto.INT64),
        node("Mul", ["poisoned", "surplus"], ["extra"]),
        node("Add", ["extra", "columns"], ["width"]),
        node("Concat", ["rows", "width"], ["shape"], axis=0),
        node("Reshape", ["cells", "shape"], ["flat"]),
        node("Reshape", ["flat", "grid"], ["heatmap"]),
    ]
    constants = [
        constant("all", [1, 2, 3]), constant("channels", [1]), constant("starts", [0, 0, 0]),
        constant("ends", [1, 1, 1]), constant("axes", [1, 2, 3]), constant("everything", [0, 1, 2, 3]),
        constant("poison", [POISON]), constant("surplus", [7]), constant("columns", [CELLS * CELLS]),
        constant("rows", [-1]), constant("grid", [-1, CELLS, CELLS]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "faulty",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["n", CELLS, CELLS]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _manifest(config: NetworkConfig) -> dict[str, Any]:
    return {
        "category": "faulty",
        "created_at": "2025-01-01T00:00:00+00:00",
        "network": config.to_json(),
        "backbone": {"source": "none", "sha256": "0" * 64, "pretrained": False},
        "threshold": {
            "value": 2.0, "rule": "sigma", "parameter": 2.0, "samples": 2, "tuned_on_defects": False,
            "false_alarms_per_1000": 1.0, "interval_per_1000": (0.0, 2.0), "warning": None,
        },
        "heatmap": {"grid": config.grid, "full_scale": 9.0, "threshold": 3.0},
        "statistics": {"samples": 2, "mean": 0.0, "std": 1.0, "scores": (0.0, 1.0)},
        "training": {
            "normals": 2, "seed": 0, "epochs": 1, "train_loss": (1.0,), "validation_loss": (1.0,), "seconds": 1.0,
        },
        "int8": None,
        "bands": {},
        "versions": {},
    }  # fmt: skip
