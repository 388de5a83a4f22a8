"""Weights in 8 bits: what a layer gives on parts moves less than if each weight went to the nearest step."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calibration.progress import silent
from calibration.rounded_backbone import round_backbone
from calibration.rounded_weights import WEIGHT_STEPS, round_in_turn, round_weights, weight_steps
from engines.resnet import Backbone


def layer(kernel: int, stride: int = 1) -> nn.Conv2d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Conv2d(24, 16, kernel, stride=stride, padding=kernel // 2)


def seen(count: int = 4) -> Tensor:
    """Values whose channels vary together, as features do, and one channel that is silent."""
    generator = torch.Generator().manual_seed(4)
    few = torch.rand(count, 6, 12, 12, generator=generator)
    mixing = torch.rand(24, 6, generator=generator)
    values = torch.einsum("of,nfhw->nohw", mixing, few) + 0.05 * torch.rand(count, 24, 12, 12, generator=generator)
    values[:, 5] = 0
    return values


def nearest(plain: nn.Conv2d) -> nn.Conv2d:
    own = copy.deepcopy(plain)
    step = weight_steps(own.weight.detach())
    own.weight.data = (own.weight.data / step).round() * step
    return own


def error(plain: nn.Module, rounded: nn.Module, taken: Tensor) -> float:
    return float((rounded(taken) - plain(taken)).square().mean())


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
@torch.no_grad()
def test_what_the_layer_gives_moves_less_than_with_nearest_weights(kernel: int, stride: int) -> None:
    plain = layer(kernel, stride)
    own = copy.deepcopy(plain)
    round_in_turn([own], lambda: own(seen()))
    assert error(plain, own, seen()) < 0.2 * error(plain, nearest(plain), seen())


@torch.no_grad()
def test_weights_are_on_steps_that_follow_from_them_again() -> None:
    plain = layer(3)
    own = copy.deepcopy(plain)
    round_in_turn([own], lambda: own(seen()))
    torch.testing.assert_close(weight_steps(own.weight), weight_steps(plain.weight))
    steps = own.weight / weight_steps(own.weight)
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    assert steps.abs().max() < WEIGHT_STEPS + 0.001


@torch.no_grad()
def test_what_nothing_is_known_of_goes_to_the_nearest_step() -> None:
    plain = layer(1)
    silent_too = copy.deepcopy(plain)
    round_weights(silent_too, torch.zeros(24, 24))
    torch.testing.assert_close(silent_too.weight, nearest(plain).weight)
    own = copy.deepcopy(plain)
    round_in_turn([own], lambda: own(seen()))
    torch.testing.assert_close(own.weight[:, 5], nearest(plain).weight[:, 5])


@torch.no_grad()
def test_a_backbone_keeps_its_first_block_and_loses_less_than_with_nearest_weights() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = Backbone("resnet18").eval()
    own, rough = copy.deepcopy(plain), copy.deepcopy(plain)
    frames = list(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    round_backbone(own, frames, silent)
    for name, module in rough.named_modules():
        if isinstance(module, nn.Conv2d) and name != "conv1" and not name.startswith("layer1.0"):
            module.weight.data = nearest(module).weight.data
    torch.testing.assert_close(own.conv1.weight, plain.conv1.weight)
    torch.testing.assert_close(own.layer1[0].state_dict(), plain.layer1[0].state_dict())
    taken = torch.from_numpy(np.stack(frames))
    wanted = plain(taken)
    moved, roughly = ([float((a - b).square().mean()) for a, b in zip(net(taken), wanted, strict=True)]
                      for net in (own, rough))  # fmt: skip
    assert moved[0] < 0.5 * roughly[0]
    assert moved[1] < 0.5 * roughly[1]
