"""ImageNet weights for the backbone: found, read without unpickling code, checked and folded."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import socket
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from engines.architecture import ARCHITECTURES, Arch
from engines.errors import DataError
from engines.image import Image
from engines.resnet import PIXEL_MEAN_BGR, PIXEL_STD_BGR, Backbone

log = logging.getLogger(__name__)

_UNTRAINED_BRANCH = 0.1
_DOWNLOAD_TIMEOUT_S = 20.0
PREFIXES = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.")


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone ready to run.

    Attributes:
        network: the folded backbone.
        source: `imagenet`, `untrained` or the file's name.
        sha256: of the weights, which shows whether two bundles share them.
        pretrained: whether the features were trained.
    """

    network: Backbone
    source: str
    sha256: str
    pretrained: bool


class ImagenetWeightsMissing(DataError):
    """torchvision's ImageNet weights are neither cached nor downloadable."""


def load_backbone(
    source: str, seed: int = 0, adapt_on: Iterable[Image] | None = None, arch: Arch = "resnet50"
) -> LoadedBackbone:
    """Loads the backbone's weights.

    Args:
        source: `imagenet` (torchvision's cache or download), `untrained` (random from `seed`), or a
            `.pth` / `.safetensors` file with torchvision's parameter names, conv1 to layer3.
        seed: for `untrained`.
        adapt_on: for `untrained`: frames of normal parts, uint8 `[H, W, 3]`, to measure the batch-norm statistics.
        arch: its architecture.

    Raises:
        DataError: the weights are not available, or a parameter is missing or has another shape.
    """
    stride_in_1x1 = False
    if source == "untrained":
        network = _untrained(arch, seed, list(adapt_on or ()))
        state = network.state_dict()
    elif source == "imagenet":
        state = _imagenet_state(arch)
    else:
        path = Path(source)
        state, stride_in_1x1 = _read_weights(path)
        if stride_in_1x1 and not ARCHITECTURES[arch].bottleneck:
            raise DataError(
                f"{source} has its strides in 1 x 1 convolutions, as no {ARCHITECTURES[arch].title} has; give its own "
                "weights, or another --backbone-arch"
            )
    model = _torchvision_model(arch, state, stride_in_1x1, source)
    return LoadedBackbone(
        network=fold(model, stride_in_1x1, arch),
        source=source if source in ("imagenet", "untrained") else Path(source).name,
        sha256=_state_sha256(model.state_dict()),
        pretrained=source != "untrained",
    )


def fold(model: nn.Module, stride_in_1x1: bool, arch: Arch = "resnet50") -> Backbone:
    """Folds batch norms, pixel scaling and the BGR swap of a torchvision ResNet into plain convolutions."""
    backbone = Backbone(arch, stride_in_1x1).eval()
    _fold_into(backbone.conv1, _sub(model, "conv1"), _sub(model, "bn1"))
    with torch.no_grad():
        # torchvision's RGB filters see (pixel / 255 - mean) / std; ours see BGR pixels minus their mean.
        std = torch.tensor(PIXEL_STD_BGR).reshape(1, 3, 1, 1)
        backbone.conv1.weight.copy_(backbone.conv1.weight.flip(1) / std)
    for name, targets in zip(("layer1", "layer2", "layer3"), backbone.blocks(), strict=True):
        for target, block in zip(targets, getattr(model, name), strict=True):
            for index, conv in enumerate(target.path(), 1):
                _fold_into(conv, getattr(block, f"conv{index}"), getattr(block, f"bn{index}"))
            if target.downsample is not None:
                _fold_into(target.downsample, block.downsample[0], block.downsample[1])
    return backbone


def _sub(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name)


@torch.no_grad()
def _fold_into(target: nn.Conv2d, conv: nn.Module, norm: nn.Module) -> None:
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None and norm.running_mean is not None and target.bias is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    target.weight.copy_(conv.weight.double() * scale.reshape(-1, 1, 1, 1))
    target.bias.copy_(norm.bias.double() - norm.running_mean.double() * scale)


def _torchvision_model(arch: Arch, state: dict[str, Tensor], stride_in_1x1: bool, source: str) -> nn.Module:
    model: Any = get_model(arch, weights=None)
    title = ARCHITECTURES[arch].title
    if stride_in_1x1:
        for layer in (model.layer2, model.layer3):
            layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    wanted = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(PREFIXES) and not name.endswith("num_batches_tracked")
    }
    missing = [name for name in wanted if name not in state]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{source} lacks the parameter '{missing[0]}'{more}; give {title} weights with conv1 to layer3, or "
            "another --backbone-arch"
        )
    for name, value in wanted.items():
        if state[name].shape != value.shape:
            raise DataError(
                f"{source}: the parameter '{name}' has the shape {tuple(state[name].shape)} instead of "
                f"{tuple(value.shape)}; give the weights of a {title}, or another --backbone-arch"
            )
        if not bool(torch.isfinite(state[name].float()).all()):
            raise DataError(f"{source}: the parameter '{name}' has values that are not finite; get the file again")
    model.load_state_dict({name: state[name].float() for name in wanted}, strict=False)
    ready: nn.Module = model.eval()
    return ready


def _imagenet_state(arch: Arch) -> dict[str, Tensor]:
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        # V1 and not V2, because the anomaly-detection papers compare on its features.
        weights = get_model_weights(arch)["IMAGENET1K_V1"]
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        raise ImagenetWeightsMissing(
            f"the ImageNet weights of torchvision's {ARCHITECTURES[arch].title} are not in its cache and cannot be "
            "downloaded here; "
            "give a file with --backbone FILE (or TAKTLINE_BACKBONE), or --backbone untrained to try things out"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    return dict(state)


def _read_weights(path: Path) -> tuple[dict[str, Tensor], bool]:
    if not path.is_file():
        raise DataError(f"there is no weights file {path}; give --backbone imagenet, untrained, or a file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix not in (".pth", ".pt"):
        raise DataError(
            f"{path} is neither .pth nor .safetensors; give torchvision's ResNet weights in one of these formats"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise DataError(f"{path} is not a plain weights file; give one that holds only tensors") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise DataError(f"{path} does not hold a dictionary of parameters; give torchvision's ResNet weights")
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}, False


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], bool]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping, though it has keys()
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, struct.error, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a safetensors file, or is cut short; get it again") from error
    return state, metadata.get("stride_in_1x1", "false").lower() == "true"


def _untrained(arch: Arch, seed: int, frames: list[Image]) -> nn.Module:
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model: Any = get_model(arch, weights=None)
    torch.random.set_rng_state(generator_state)
    # Small residual branches keep random features local: they change only near a defect.
    last = "bn3" if ARCHITECTURES[arch].bottleneck else "bn2"
    for name, module in model.named_modules():
        if name.endswith(last) and isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, _UNTRAINED_BRANCH)
    ready: nn.Module = model.eval()
    if not frames:
        return ready
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    mean, std = (torch.tensor(values[::-1]).reshape(1, 3, 1, 1) for values in (PIXEL_MEAN_BGR, PIXEL_STD_BGR))
    with torch.no_grad():
        for start in range(0, len(frames), 16):
            pixels = torch.from_numpy(np.stack(frames[start : start + 16])[..., ::-1].copy())
            x = (pixels.float().permute(0, 3, 1, 2) - mean) / std
            x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
            model.layer3(model.layer2(model.layer1(x)))
    model.eval()
    return ready


def _state_sha256(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.startswith(PREFIXES) and not name.endswith("num_batches_tracked"):
            digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
