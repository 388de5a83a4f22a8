"""Weights are found, checked and folded without changing what they compute."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import resnet50

from calibration.backbone import ImagenetWeightsMissing, fold, load_backbone
from engines.errors import DataError
from engines.resnet import smooth_features

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_folding_keeps_what_torchvision_computes(stride_in_1x1: bool) -> None:
    torch.manual_seed(0)
    model = resnet50(weights=None).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_buffer("running_mean", torch.empty_like(module.bias).uniform_(-0.1, 0.1))
            module.register_buffer("running_var", torch.empty_like(module.bias).uniform_(0.5, 1.5))
    if stride_in_1x1:
        for layer in (model.layer2, model.layer3):
            layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    rgb = torch.from_numpy(FRAMES[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    x = (rgb - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.inference_mode():
        layer1 = model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(x)))))
        layer2 = model.layer2(layer1)
        layer3 = model.layer3(layer2)
        found = fold(model, stride_in_1x1)(torch.from_numpy(FRAMES))
    torch.testing.assert_close(found[0], smooth_features(layer2), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1], smooth_features(layer3), rtol=1e-3, atol=1e-3)


def test_pth_and_safetensors_give_the_same_backbone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = resnet50(weights=None).state_dict()
    torch.save(state, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")
    from_pth = load_backbone(str(tmp_path / "w.pth"))
    from_safetensors = load_backbone(str(tmp_path / "w.safetensors"))
    assert from_pth.sha256 == from_safetensors.sha256
    assert from_pth.pretrained


def test_the_stride_in_the_metadata_is_honoured(weights: Path, tmp_path: Path) -> None:
    network = load_backbone(str(weights)).network
    assert network.layer3[0].conv1.stride == (2, 2)
    save_file(load_file(weights), tmp_path / "plain.safetensors")
    plain = load_backbone(str(tmp_path / "plain.safetensors")).network
    assert plain.layer3[0].conv1.stride == (1, 1)
    assert plain.layer3[0].conv2.stride == (2, 2)


def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    state = resnet50(weights=None).state_dict()
    del state["layer3.5.bn2.running_var"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"layer3\.5\.bn2\.running_var"):
        load_backbone(str(tmp_path / "w.safetensors"))


def test_weights_beyond_layer3_are_not_needed(tmp_path: Path) -> None:
    state = {
        name: value
        for name, value in resnet50(weights=None).state_dict().items()
        if name[:6] not in ("layer4", "fc.wei")
    }
    save_file(state, tmp_path / "w.safetensors")
    assert load_backbone(str(tmp_path / "w.safetensors")).pretrained


def test_another_shape_and_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    state = resnet50(weights=None).state_dict()
    save_file(state | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "gray.safetensors")
    with pytest.raises(DataError, match=r"conv1\.weight"):
        load_backbone(str(tmp_path / "gray.safetensors"))
    save_file(state | {"bn1.bias": torch.full((64,), float("nan"))}, tmp_path / "nan.safetensors")
    with pytest.raises(DataError, match=r"bn1\.bias"):
        load_backbone(str(tmp_path / "nan.safetensors"))


class Bomb:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"conv1.weight": Bomb(tmp_path / "ran")}, file)
    with pytest.raises(DataError, match="evil"):
        load_backbone(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["none.pth", "cut.safetensors", "cut.pth", "weights.zip"])
def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path, name: str) -> None:
    if not name.startswith("none"):
        (tmp_path / name).write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(DataError, match=name):
        load_backbone(str(tmp_path / name))


def test_missing_imagenet_weights_are_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # A proxy that refuses stands for every network that does not reach the weights.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ImagenetWeightsMissing, match="--backbone"):
        load_backbone("imagenet")


def test_untrained_weights_follow_their_seed() -> None:
    frames = [FRAMES[0]] * 4
    first, again, other = (load_backbone("untrained", seed, frames) for seed in (3, 3, 4))
    assert first.sha256 == again.sha256 != other.sha256
    assert not first.pretrained
