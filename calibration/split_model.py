"""Cuts an OpenVINO model into backbone and head, and joins them again."""

from __future__ import annotations

from typing import Any

_FEATURES = ("layer2", "layer3")


def cut(openvino: Any, model: Any) -> tuple[Any, Any]:
    """Cuts a network's model where features leave the backbone.

    Args:
        openvino: the library.
        model: takes frames and gives score and heatmap; it is used up.

    Returns:
        The backbone, which takes frames and gives layer2 and layer3, and the head, which takes those.
    """
    frames = model.input(0)
    pools = [op.output(0) for op in model.get_ordered_ops() if op.get_type_name() == "AvgPool"]
    # Of the two, layer2 has more cells.
    pools.sort(key=lambda output: -output.get_partial_shape()[2].get_length())
    given = []
    for name, output in zip(_FEATURES, pools, strict=True):
        features = openvino.opset13.parameter(output.get_partial_shape(), name=name)
        features.output(0).get_tensor().set_names({name})
        for consumer in list(output.get_target_inputs()):
            consumer.replace_source_output(features.output(0))
        given.append(features)
    # The head asks for the number of frames only, which is that of features.
    for consumer in list(frames.get_target_inputs()):
        if consumer.get_node().get_type_name() == "ShapeOf":
            consumer.replace_source_output(given[0].output(0))
    head = openvino.Model(list(model.outputs), given, "head")
    backbone = openvino.Model(pools, model.get_parameters(), "backbone")
    for name, output in zip(_FEATURES, backbone.outputs, strict=True):
        output.get_tensor().set_names({name})
    return backbone, head


def join(openvino: Any, backbone: Any, head: Any, with_features: bool) -> Any:
    """Puts a head behind a copy of a backbone.

    Args:
        openvino: the library.
        backbone: see `cut`.
        head: see `cut`; it is used up.
        with_features: also give what leaves the backbone.

    Returns:
        A model that takes frames and gives score and heatmap and, where they are wanted, layer2 and layer3.
    """
    own = backbone.clone()
    outputs = [result.input_value(0) for result in head.get_results()]
    for name in _FEATURES:
        source = own.output(name).get_node().input_value(0)
        source.get_tensor().set_names(set())
        for consumer in list(head.input(name).get_target_inputs()):
            consumer.replace_source_output(source)
        if with_features:
            outputs.append(source)
    return openvino.Model(outputs, own.get_parameters(), "taktline")
