"""Trains the small network that says what error is usual in a context, and how far it usually lies from that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from calibration.features import FeatureCache
from calibration.progress import Reporter
from engines.maps import gather
from engines.network import ERRORS_PER_CELL, LOG_FLOOR, SPREAD_LIMIT, Context, InspectionNetwork

CELLS_PER_STEP = 2048
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-3
DROPOUT = 0.2
# More cells than these tell a context nothing new, and take memory.
MOST_CELLS = 200_000
LEAST_FLOOR = 0.05
MOST_FLOOR = 4.0
_TOLD_EVERY = 10

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ContextCells:
    """Layer3 cells of normal parts, as the context sees them, image by image and row by row.

    Attributes:
        hidden: the last hidden layer, float16 `[n, hidden]`.
        errors: logarithms of the errors of the four layer2 cells under it and of the layer3 cell, float32 `[n, 5]`.
        places: which cell of its image each is, `[n]`.
    """

    hidden: Tensor
    errors: Tensor
    places: Tensor


class TrainedContext(nn.Module):
    """The context as it is trained: on standardised inputs, with dropout.

    Args:
        hidden: width of the autoencoder's last hidden layer.
        width: of its own hidden layer.
        grid: rows and columns of layer3's map.
    """

    def __init__(self, hidden: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.enter = nn.Linear(hidden + sum(grid), width)
        self.dropout = nn.Dropout(DROPOUT)
        self.exit = nn.Linear(width, 2 * ERRORS_PER_CELL)
        # The training starts from the same usual error everywhere.
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def forward(self, hidden: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and logarithm of the variance of standardised errors, `[n, 5]` each."""
        inputs = torch.cat([hidden, one_hot(self.grid)[place]], 1)
        usual = self.exit(torch.relu(self.enter(self.dropout(inputs))))
        return usual[:, :ERRORS_PER_CELL], usual[:, ERRORS_PER_CELL:].clamp(-SPREAD_LIMIT, SPREAD_LIMIT)


def one_hot(grid: tuple[int, int]) -> Tensor:
    """Returns row and column of every cell of a map, each one-hot: `[h * w, h + w]`."""
    rows, columns = grid
    return torch.cat([torch.eye(rows).repeat_interleave(columns, 0), torch.eye(columns).repeat(rows, 1)], 1)


def collect_cells(network: InspectionNetwork, cache: FeatureCache, images: npt.NDArray[np.int64]) -> ContextCells:
    """Computes what the context sees of some images; where they have more cells than it needs, of some drawn at random
    in each."""
    hidden, errors, places = [], [], []
    kept = torch.from_numpy(cache.kept)
    most = max(1, MOST_CELLS // len(images))
    generator = torch.Generator().manual_seed(0)
    for layer2, layer3 in cache.maps(images):
        last, guess2, guess3 = network.autoencoder(layer2, layer3)
        both = torch.cat([gather(network.error2(guess2 - layer2)), network.error3(guess3 - layer3)[:, None]], 1)
        drawn = kept.expand(len(layer3), -1)
        if len(kept) > most:
            drawn = kept[torch.rand(drawn.shape, generator=generator).argsort(1)[:, :most]]
        hidden.append(_cells_at(last, drawn).half())
        errors.append(torch.log(_cells_at(both, drawn) + LOG_FLOOR))
        places.append(drawn.flatten())
    return ContextCells(torch.cat(hidden), torch.cat(errors), torch.cat(places))


def _cells_at(maps: Tensor, places: Tensor) -> Tensor:
    """Returns the cells `[n * k, C]` of maps `[n, C, h, w]` that lie at the places `[n, k]`."""
    return maps.flatten(2).transpose(1, 2).gather(1, places[:, :, None].expand(-1, -1, maps.shape[1])).flatten(0, 1)


def overall_errors(cells: ContextCells) -> Tensor:
    """Measures mean and standard deviation of each error's logarithm over all contexts, `[2, 5]`."""
    return torch.stack(_mean_std(cells.errors))


@torch.enable_grad()
def train_context(
    context: Context,
    cells: ContextCells,
    held_out: ContextCells,
    grid: tuple[int, int],
    seed: int,
    steps: int,
    report: Reporter,
) -> None:
    """Trains a context on cells of normal parts and writes it into a network.

    Gaussian negative log-likelihood (Nix and Weigend 1994) of the errors' logarithms, AdamW, one cycle of the learning
    rate. On few parts the network learns their spread by heart; the floor under it is the one that makes held-out parts
    most likely.

    Args:
        context: changed in place.
        cells: of the images to learn from.
        held_out: of held-out images.
        grid: rows and columns of layer3's map.
        seed: of the weights and of the order of cells.
        steps: optimiser steps.
        report: told how far it is.
    """
    width, hidden = context.enter.weight.shape[:2]
    centre, scale = _mean_std(cells.hidden.float())
    overall = overall_errors(cells)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TrainedContext(hidden, width, grid)
        optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
        for step in range(1, steps + 1):
            picks = torch.randint(len(cells.errors), (CELLS_PER_STEP,), generator=generator)
            mean, log_variance = model((cells.hidden[picks].float() - centre) / scale, cells.places[picks])
            away = (cells.errors[picks] - overall[0]) / overall[1] - mean
            loss = (away.square() * torch.exp(-log_variance) + log_variance).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % _TOLD_EVERY == 0:
                report("context", step, steps, f"loss {float(loss.detach()) / 2:.3f}")
    _fold(context, model, centre, scale, overall)
    with torch.no_grad():
        inputs = (held_out.hidden.float() - centre) / scale
        mean, log_variance = model.eval()(inputs, held_out.places)
        away = (held_out.errors - overall[0]) / overall[1] - mean
    context.floor.fill_(_likeliest_floor(away.square().numpy(), torch.exp(log_variance).numpy()))


def _likeliest_floor(squares: Values, variances: Values) -> float:
    """Returns what added to all variances makes the errors most likely."""

    def unlikely(floor: float) -> float:
        whole = variances + floor
        return float(np.mean(squares / whole + np.log(whole)))

    found = minimize_scalar(unlikely, bounds=(LEAST_FLOOR, MOST_FLOOR), method="bounded", options={"xatol": 1e-3})
    return float(found.x)


@torch.no_grad()
def _fold(context: Context, model: TrainedContext, centre: Tensor, scale: Tensor, overall: Tensor) -> None:
    """Writes what was trained on standardised inputs as convolutions on the hidden layer as it is."""
    hidden = len(centre)
    weight = model.enter.weight.double()
    direct = weight[:, :hidden] / scale.double()
    bias = model.enter.bias.double() - direct @ centre.double()
    assert context.enter.bias is not None and context.exit.bias is not None
    context.enter.weight.copy_(direct[:, :, None, None])
    context.enter.bias.copy_(bias)
    context.position.copy_((weight[:, hidden:] @ one_hot(model.grid).double().T).reshape(context.position.shape))
    context.exit.weight.copy_(model.exit.weight[:, :, None, None])
    context.exit.bias.copy_(model.exit.bias)
    context.overall.copy_(overall)


def _mean_std(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.mean(0), values.std(0) + 1e-3
