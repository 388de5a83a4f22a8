"""Rounds a convolution's weights to 8 bits so that what it gives on real parts changes as little as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHT_STEPS = 127
_LEAST = 1e-12
# Of the mean square of what a layer takes in: how much of that it takes in everywhere, for the sake of unseen parts.
_DAMPING = 0.01
_COLUMNS = 128


def weight_steps(weight: Tensor) -> Tensor:
    """Returns the step of each channel that a layer gives, `[O, 1, 1, 1]`: its largest weight makes 127 of them."""
    return weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(_LEAST) / WEIGHT_STEPS


@torch.no_grad()
def round_in_turn(layers: Iterable[nn.Conv2d], run: Callable[[], object]) -> None:
    """Rounds the weights of convolutions, each on what those before give once they are rounded.

    Args:
        layers: in the order in which they compute; changed in place.
        run: computes all of them on pictures of good parts.
    """
    for layer in layers:
        size = layer.weight[0].numel()
        moments = torch.zeros(size, size)

        def add(module: nn.Module, inputs: tuple[Tensor], moments: Tensor = moments) -> None:
            assert isinstance(module, nn.Conv2d)
            rows = _patches(module, inputs[0])
            moments.addmm_(rows.T, rows)

        handle = layer.register_forward_pre_hook(add)
        run()
        handle.remove()
        round_weights(layer, moments)


@torch.no_grad()
def round_weights(layer: nn.Conv2d, moments: Tensor) -> None:
    """Rounds a convolution's weights to multiples of their channel's step (GPTQ, Frantar et al. 2023, 2210.17323).

    One input after the other is rounded, and the inputs that are still to come make up for the error, as far as they
    vary together. The largest weight of each channel stays what it is, since the step follows from it.

    Args:
        layer: changed in place.
        moments: sums of products of what its weights are multiplied with, `[C * h * w, C * h * w]`.
    """
    weight = layer.weight.flatten(1)
    steps = weight_steps(layer.weight).flatten(1)
    highest, largest = weight.abs().max(1)
    signed = highest * weight.gather(1, largest[:, None])[:, 0].sign()
    # What varies most comes first, as most can still make up for it then.
    order = moments.diagonal().argsort(descending=True)
    place = order.argsort()
    spread = _spread(moments[order][:, order])
    left, rounded = weight[:, order], torch.empty_like(weight)
    for start in range(0, len(order), _COLUMNS):
        end = min(start + _COLUMNS, len(order))
        block, errors = left[:, start:end], torch.empty(len(weight), end - start)
        for column in range(end - start):
            at = start + column
            wanted = block[:, column]
            steps_there = (wanted / steps[:, 0]).round().clamp(-WEIGHT_STEPS, WEIGHT_STEPS)
            given = torch.where(place[largest] == at, signed, steps_there * steps[:, 0])
            rounded[:, at] = given
            errors[:, column] = (wanted - given) / spread[at, at]
            block[:, column + 1 :] -= errors[:, column, None] * spread[at, at + 1 : end]
        left[:, end:] -= errors @ spread[start:end, end:]
    layer.weight.copy_(rounded[:, place].reshape(layer.weight.shape))


def _spread(moments: Tensor) -> Tensor:
    """Returns the upper Cholesky factor of the inverse: its rows say how later inputs make up for an earlier one."""
    own = moments.double()
    diagonal = own.diagonal()
    # A channel that is silent on good parts has nothing that could make up for it, and is rounded by itself.
    diagonal[diagonal <= 0] = 1
    diagonal += _DAMPING * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(own))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()


def _patches(layer: nn.Conv2d, taken: Tensor) -> Tensor:
    """Returns what a layer's weights are multiplied with at each place, `[places, C * h * w]`."""
    assert not isinstance(layer.padding, str)
    columns = functional.unfold(taken, layer.kernel_size, padding=layer.padding, stride=layer.stride)
    return columns.transpose(1, 2).reshape(-1, columns.shape[1])
