"""The context learns what error is usual where, and how far errors lie from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from calibration.autoencoder import TrainingSettings
from calibration.context import LEAST_FLOOR, ContextCells, overall_errors, train_context
from calibration.progress import silent
from engines.maps import spread
from engines.network import ERRORS_PER_CELL, LOG_FLOOR, Context

GRID = (4, 6)
HIDDEN = 16
STEPS = TrainingSettings().context_steps


def draw(images: int, seed: int) -> tuple[ContextCells, Tensor, Tensor]:
    """Cells whose errors' logarithms have a known mean and deviation, by hidden layer and row."""
    generator = torch.Generator().manual_seed(seed)
    count = images * GRID[0] * GRID[1]
    hidden = torch.rand(count, HIDDEN, generator=generator)
    row = (torch.arange(count) % (GRID[0] * GRID[1])) // GRID[1]
    mean = (2 * hidden[:, 0] - 3 + 0.5 * row)[:, None].expand(-1, ERRORS_PER_CELL)
    deviation = (0.3 + 0.9 * hidden[:, 1])[:, None].expand(-1, ERRORS_PER_CELL)
    errors = mean + deviation * torch.randn(count, ERRORS_PER_CELL, generator=generator)
    return ContextCells(hidden.half(), errors, torch.arange(GRID[0] * GRID[1]).repeat(images)), mean, deviation


def beyond(context: Context, cells: ContextCells) -> Tensor:
    """What the network's own module makes of cells, `[n, 5]`."""
    images = len(cells.errors) // (GRID[0] * GRID[1])
    hidden = cells.hidden.float().reshape(images, *GRID, HIDDEN).permute(0, 3, 1, 2)
    errors = torch.exp(cells.errors).reshape(images, *GRID, ERRORS_PER_CELL).permute(0, 3, 1, 2)
    with torch.no_grad():
        fine, coarse = context(hidden, spread(errors[:, :4])[:, 0] - LOG_FLOOR, errors[:, 4] - LOG_FLOOR)
    fine = fine.reshape(images, GRID[0], 2, GRID[1], 2).permute(0, 1, 3, 2, 4)
    return torch.cat([fine.reshape(-1, 4), coarse.reshape(-1, 1)], 1)


def correlation(first: Tensor, second: Tensor) -> float:
    return float(np.corrcoef(first.flatten(), second.flatten())[0, 1])


def test_new_errors_are_brought_to_their_true_mean_and_deviation() -> None:
    context = Context(HIDDEN, 32, GRID)
    train_context(context, draw(400, 0)[0], draw(50, 1)[0], GRID, 0, STEPS, silent)
    cells, mean, deviation = draw(50, 2)
    truth = (cells.errors - mean) / deviation
    found = beyond(context, cells)
    assert float(found.mean()) == pytest.approx(0, abs=0.1)
    assert correlation(cells.errors, truth) < 0.8
    assert correlation(found, truth) > 0.94
    narrow, wide = deviation[:, 0] < 0.5, deviation[:, 0] > 1.0
    assert float(deviation[narrow].mean() / deviation[wide].mean()) < 0.4
    assert 0.65 < float(found[narrow].std() / found[wide].std()) < 1.3


def test_few_parts_get_a_higher_floor_than_many() -> None:
    floors = []
    for images in (3, 400):
        context = Context(HIDDEN, 128, GRID)
        train_context(context, draw(images, 0)[0], draw(50, 1)[0], GRID, 0, STEPS, silent)
        floors.append(float(context.floor))
        found = beyond(context, draw(50, 2)[0])
        assert float(found.std()) < 1.5
    assert LEAST_FLOOR <= floors[1] < floors[0]


def test_the_same_seed_gives_the_same_context() -> None:
    contexts = [Context(HIDDEN, 8, GRID) for _ in range(2)]
    for context in contexts:
        train_context(context, draw(10, 0)[0], draw(5, 1)[0], GRID, 3, STEPS, silent)
    for name, value in contexts[0].state_dict().items():
        torch.testing.assert_close(value, contexts[1].state_dict()[name], rtol=0, atol=0)


def test_the_overall_error_is_mean_and_deviation_of_the_logarithms() -> None:
    errors = torch.tensor([[1.0], [2.0], [3.0]]).repeat(1, 5) * math.log(2)
    cells = ContextCells(torch.zeros(3, 1), errors, torch.arange(1))
    mean, deviation = overall_errors(cells)
    torch.testing.assert_close(mean, torch.full((5,), 2 * math.log(2)))
    torch.testing.assert_close(deviation, torch.full((5,), math.log(2)), rtol=2e-3, atol=2e-3)
