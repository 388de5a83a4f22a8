"""Maps of cells: laid out, gathered, doubled in size and added up, in operations that every engine keeps in float32."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def spread(places: Tensor) -> Tensor:
    """Lays the four places under each cell out on the map: `[N, 4 * C, h, w]` to `[N, C, 2 * h, 2 * w]`.

    With a 1 x 1 convolution before it this is a transposed convolution, which OpenVINO would compute in float32.
    """
    count, channels, rows, columns = places.shape
    apart = places.reshape(count, 2, 2, channels // 4, rows, columns).permute(0, 3, 4, 1, 5, 2)
    return apart.reshape(count, channels // 4, 2 * rows, 2 * columns)


def gather(values: Tensor) -> Tensor:
    """Undoes `spread` for a map with one channel: `[N, 2 * h, 2 * w]` to `[N, 4, h, w]`."""
    count, rows, columns = values.shape
    apart = values.reshape(count, rows // 2, 2, columns // 2, 2).permute(0, 2, 4, 1, 3)
    return apart.reshape(count, 4, rows // 2, columns // 2)


def combine(maps: tuple[Tensor, Tensor], norms: Tensor, weights: tuple[float, float]) -> Tensor:
    """Adds the maps of layer2 `[N, 2 * h, 2 * w]` and layer3 `[N, h, w]` in units of good parts, weighed.

    Args:
        maps: both.
        norms: mean and standard deviation of each on good parts, `[2, 2]`.
        weights: what each counts.
    """
    fine, coarse = (
        weight * (values - norms[layer, 0]) / norms[layer, 1]
        for layer, (values, weight) in enumerate(zip(maps, weights, strict=True))
    )
    return fine + double(double(coarse, 1), 2)


def double(values: Tensor, dim: int) -> Tensor:
    """Doubles a map `[N, h, w]` along one of its sides by linear interpolation between the cells' centres.

    Written with slices: OpenVINO takes a resize for heavy work and would compute what leads to it in bfloat16.
    """
    size = values.shape[dim]
    before = torch.cat([values.narrow(dim, 0, 1), values.narrow(dim, 0, size - 1)], dim)
    after = torch.cat([values.narrow(dim, 1, size - 1), values.narrow(dim, size - 1, 1)], dim)
    pairs = torch.stack([0.25 * before + 0.75 * values, 0.75 * values + 0.25 * after], dim + 1)
    return pairs.flatten(dim, dim + 1)


def blur(values: Tensor, sigma: float) -> Tensor:
    """Smooths maps `[N, h, w]` with a Gaussian of five cells; what lies outside is as at the border."""
    taps = [math.exp(-((offset / sigma) ** 2) / 2) for offset in (0, 1, 2)]
    total = taps[0] + 2 * taps[1] + 2 * taps[2]
    for dim in (1, 2):
        size = values.shape[dim]
        first, last = values.narrow(dim, 0, 1), values.narrow(dim, size - 1, 1)
        wide = torch.cat([first, first, values, last, last], dim)
        values = sum(taps[abs(k - 2)] / total * wide.narrow(dim, k, size) for k in range(5))  # type: ignore[assignment]
    return values


def hide(values: Tensor, keep: Tensor | None) -> Tensor:
    """Sets a map `[N, h, w]` to the mean of good parts where the frame is ignored."""
    return values if keep is None else values * keep
