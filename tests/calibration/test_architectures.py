"""Every architecture of the backbone calibrates, exports, and gives the same scores on every engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model

from calibration.autoencoder import TrainingSettings
from calibration.backbone import fold, load_backbone
from calibration.calibrate import CalibrationSettings, calibrate
from calibration.dataset import open_test_split, read_frames
from calibration.equalise import equalise
from engines.architecture import ARCHITECTURES, Arch
from engines.bundle import NETWORK, Bundle, open_bundle, update_manifest
from engines.errors import DataError
from engines.network import InspectionNetwork, NetworkConfig
from engines.registry import open_engine
from engines.resnet import smooth_features
from tests.conftest import Kept, RunTaktline

# ResNet-50 has all other tests.
OTHERS: list[Arch] = ["resnet18", "wide_resnet50_2"]
FRAMES = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def other(drawn: Path, kept: Kept) -> Bundle:
    """A bundle of the architecture with other blocks; the wide one differs from ResNet-50 by its widths alone."""
    network = NetworkConfig.of("resnet18", (64, 64))
    settings = CalibrationSettings("untrained", network=network, training=TrainingSettings(steps=40))
    return open_bundle(kept("resnet18_bundle", lambda path: calibrate(drawn, path, settings)))


def test_all_engines_give_the_same_scores(other: Bundle, drawn: Path) -> None:
    frames = np.stack(list(read_frames(open_test_split(drawn)[:8], other.size)))
    found = {}
    for name in ("torch", "onnxruntime", "openvino"):
        with open_engine(other, name, "f32", max_batch=8) as engine:
            found[name] = engine.infer(frames)
    assert found["torch"].heatmap.shape == (8, 8, 8)
    for name in ("onnxruntime", "openvino"):
        np.testing.assert_allclose(found[name].score, found["torch"].score, atol=2e-3)
        np.testing.assert_allclose(found[name].heatmap, found["torch"].heatmap, atol=1e-2)
    with open_engine(other, "openvino", "bf16", max_batch=8) as engine:
        assert np.abs(engine.infer(frames).score - found["torch"].score).max() < 1


def test_the_bundle_says_which_one_it_has(other: Bundle) -> None:
    assert other.manifest.network["arch"] == "resnet18"
    assert other.manifest.network["hidden"] == ARCHITECTURES["resnet18"].hidden
    assert other.file(NETWORK).is_file()
    with pytest.raises(ValueError, match="its arch is 'vgg'"):
        update_manifest(other, {"network": other.manifest.network | {"arch": "vgg"}})


@pytest.mark.parametrize("arch", OTHERS)
def test_folding_keeps_what_torchvision_computes(arch: Arch) -> None:
    torch.manual_seed(0)
    model = get_model(arch, weights=None).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_buffer("running_mean", torch.empty_like(module.bias).uniform_(-0.1, 0.1))
            module.register_buffer("running_var", torch.empty_like(module.bias).uniform_(0.5, 1.5))
    rgb = torch.from_numpy(FRAMES[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    x = (rgb - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.inference_mode():
        layer1 = model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(x)))))
        layer2 = model.layer2(layer1)
        layer3 = model.layer3(layer2)
        found = fold(model, False, arch)(torch.from_numpy(FRAMES))
    assert (layer2.shape[1], layer3.shape[1]) == NetworkConfig(arch=arch).channels
    torch.testing.assert_close(found[0], smooth_features(layer2), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1], smooth_features(layer3), rtol=1e-3, atol=1e-3)


def test_an_equalised_resnet18_is_the_same_function(drawn: Path) -> None:
    frames = list(read_frames(open_test_split(drawn)[:4], (64, 64)))
    backbone = load_backbone("untrained", 0, frames, "resnet18").network
    batch = torch.from_numpy(np.stack(frames))
    with torch.inference_mode():
        own = equalise(backbone, frames)
        units = own.unit2[:, None, None], own.unit3[:, None, None]
        for found, unit, expected in zip(own.backbone(batch), units, backbone(batch), strict=True):
            torch.testing.assert_close(found * unit, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("arch", OTHERS)
def test_the_head_costs_at_most_a_quarter_of_the_backbone(arch: Arch) -> None:
    config = NetworkConfig.of(arch, (224, 224))
    network = InspectionNetwork(config)
    frames = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)
    features = tuple(torch.zeros(1, count, 28 >> index, 28 >> index) for index, count in enumerate(config.channels))
    costs = []
    for module, inputs in ((network.backbone, (frames,)), (network.judge, features)):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            module(*inputs)
        costs.append(counter.get_total_flops())
    assert 0 < costs[1] <= 0.25 * costs[0]


@pytest.mark.parametrize(
    ("arch", "other_arch", "metadata", "message"),
    [
        ("resnet18", "resnet50", None, "give ResNet-50 weights with conv1 to layer3, or another --backbone-arch"),
        ("wide_resnet50_2", "resnet50", None, "ResNet-50, or another --backbone-arch"),
        ("resnet50", "wide_resnet50_2", None, "Wide ResNet-50-2, or another --backbone-arch"),
        ("resnet18", "resnet18", {"stride_in_1x1": "true"}, "as no ResNet-18 has"),
    ],
)
def test_weights_of_another_architecture_are_refused(
    arch: Arch, other_arch: Arch, metadata: dict[str, str] | None, message: str, tmp_path: Path
) -> None:
    save_file(get_model(arch, weights=None).state_dict(), tmp_path / "w.safetensors", metadata)
    with pytest.raises(DataError, match=message):
        load_backbone(str(tmp_path / "w.safetensors"), arch=other_arch)


@pytest.mark.parametrize("arch", OTHERS)
def test_a_file_of_its_own_weights_is_taken(arch: Arch, tmp_path: Path) -> None:
    save_file(get_model(arch, weights=None).state_dict(), tmp_path / "w.safetensors")
    loaded = load_backbone(str(tmp_path / "w.safetensors"), arch=arch)
    assert loaded.pretrained
    assert loaded.network.arch == arch


def test_the_command_line_names_missing_weights(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taktline_in_process: RunTaktline
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # A proxy that refuses stands for every network that does not reach the weights.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    done = taktline_in_process("calibrate", drawn, "--out", tmp_path / "b", "--backbone-arch", "resnet18")
    assert done.returncode == 2
    assert "torchvision's ResNet-18 are not in its cache" in " ".join(done.stderr.split())
    done = taktline_in_process("calibrate", drawn, "--out", tmp_path / "b", "--backbone-arch", "vgg")
    assert done.returncode == 2
