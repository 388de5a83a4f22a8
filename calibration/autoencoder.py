"""Trains the autoencoder on the cells of normal parts and folds it into the network's convolutions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from calibration.features import FeatureCache, layer2_channels
from calibration.progress import Reporter
from engines.errors import TaktlineError
from engines.network import Autoencoder

CELLS_PER_STEP = 1024
VALIDATION_CELLS = 8192
_READ = 32


class TrainingDiverged(TaktlineError):
    """The loss became infinite or no number."""


@dataclass(frozen=True)
class TrainingSettings:
    """How autoencoder and context are trained.

    Attributes:
        epochs: the most passes over the training cells.
        steps: the most optimiser steps; whichever comes first ends the training.
        context_steps: optimiser steps of the context.
        learning_rate: Adam's peak learning rate.
        batch_size: cells in one step.
        seed: of the weights and of the order of cells.
        patience: epochs without a lower validation loss after which the training stops early.
    """

    epochs: int = 100
    steps: int = 2000
    context_steps: int = 600
    learning_rate: float = 1e-3
    batch_size: int = CELLS_PER_STEP
    seed: int = 0
    patience: int = 20


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of each channel over training cells, `[C]`; equal for the four layer2 vectors."""

    mean: Tensor
    std: Tensor

    def apply(self, cells: Tensor) -> Tensor:
        """Standardises cells `[..., C]`."""
        return (cells.float() - self.mean) / self.std


@dataclass(frozen=True)
class Losses:
    """Mean squared error of standardised features, an entry an epoch."""

    train: tuple[float, ...]
    validation: tuple[float, ...]


class CellAutoencoder(nn.Module):
    """The autoencoder as it is trained: on standardised cells `[N, C]`, with batch norm."""

    def __init__(self, cell: int, hidden: int, code: int) -> None:
        super().__init__()
        self.layer2 = layer2_channels(cell)
        self.enter = nn.Linear(cell, hidden)
        self.enter_norm = nn.BatchNorm1d(hidden)
        self.encode = nn.Linear(hidden, code)
        self.decode = nn.Linear(code, hidden)
        self.decode_norm = nn.BatchNorm1d(hidden)
        self.exit = nn.Linear(hidden, cell, bias=False)
        # One bias for all four layer2 places, as a transposed convolution has it.
        self.exit_bias = nn.Parameter(torch.zeros(cell - 3 * self.layer2))

    def forward(self, cells: Tensor) -> Tensor:
        """Reconstructs cells."""
        hidden = torch.relu(self.enter_norm(self.enter(cells)))
        hidden = torch.relu(self.decode_norm(self.decode(self.encode(hidden))))
        bias = torch.cat([self.exit_bias[: self.layer2].repeat(4), self.exit_bias[self.layer2 :]])
        out: Tensor = self.exit(hidden) + bias
        return out


def standardise(cache: FeatureCache, images: npt.NDArray[np.int64]) -> Standard:
    """Measures each channel over some images."""
    cell = cache.cells.shape[2]
    own = layer2_channels(cell)
    split = 4 * own
    sums = torch.zeros(2, cell, dtype=torch.float64)
    batch = cache.at_once(_READ)
    for start in range(0, len(images), batch):
        cells = torch.from_numpy(cache.cells_of(images[start : start + batch])).reshape(-1, cell).double()
        sums[0] += cells.sum(0)
        sums[1] += (cells * cells).sum(0)
    cache.release()
    # The four layer2 vectors of a cell are the same channels at four places.
    layer2 = sums[:, :split].reshape(2, 4, own).mean(1).repeat(1, 4)
    mean, square = torch.cat([layer2, sums[:, split:]], 1) / (len(images) * len(cache.kept))
    std = torch.sqrt((square - mean * mean).clamp_min(0.0))
    return Standard(mean.float(), std.clamp_min(1e-3 * float(std.mean())).float())


def _rise(total: int) -> float:
    """Returns the share of the steps in which the learning rate rises; of few steps more, as one alone divides by 0."""
    return max(0.1, min(0.3, 1.5 / total))


def train_autoencoder(
    cache: FeatureCache,
    train: npt.NDArray[np.int64],
    validation: npt.NDArray[np.int64],
    standard: Standard,
    widths: tuple[int, int],
    settings: TrainingSettings,
    report: Reporter,
) -> tuple[CellAutoencoder, Losses]:
    """Trains on cells drawn at random over all training images, which keeps the batch norm's statistics true.

    Mean squared error, Adam, one cycle of the learning rate (Smith and Topin 2018). The weights of the epoch with
    the lowest validation loss are kept.

    Raises:
        TrainingDiverged: a loss is no finite number; the text says in which epoch.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = CellAutoencoder(cache.cells.shape[2], *widths)
    per_image = len(cache.kept)
    epoch_steps = max(1, math.ceil(len(train) * per_image / settings.batch_size))
    total = max(1, min(settings.steps, settings.epochs * epoch_steps))
    optimiser = torch.optim.Adam(model.parameters(), settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=total, pct_start=_rise(total)
    )
    held = standard.apply(cache.draw(validation, min(VALIDATION_CELLS, len(validation) * per_image), generator))
    train_losses: list[float] = []
    validation_losses: list[float] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    best_epoch = 0
    running, counted = 0.0, 0
    # The lower precision is for speed only; weights, batch norm and loss stay in float32.
    half = torch.backends.cpu.get_cpu_capability() in ("AVX512", "AMX") or torch.cuda.is_available()
    for step in range(1, total + 1):
        cells = standard.apply(cache.draw(train, settings.batch_size, generator))
        optimiser.zero_grad(set_to_none=True)
        loss = _loss(model, cells, half)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        running, counted = running + float(loss.detach()), counted + 1
        if step % epoch_steps == 0 or step == total:
            cache.release()
            train_losses.append(running / counted)
            running, counted = 0.0, 0
            validation_losses.append(_validate(model, held, half))
            _check_finite(train_losses[-1], validation_losses[-1], len(train_losses))
            if best is None or validation_losses[-1] <= best[0]:
                best = validation_losses[-1], {key: value.clone() for key, value in model.state_dict().items()}
                best_epoch = len(validation_losses)
        if step % 10 == 0 or step == total:
            shown = f"loss {train_losses[-1]:.4f}, validation {validation_losses[-1]:.4f}" if train_losses else ""
            report("training", step, total, shown)
        if len(validation_losses) - best_epoch >= settings.patience:
            report("training", total, total, f"stopped after {len(validation_losses)} epochs")
            break
    assert best is not None
    model.load_state_dict(best[1])
    return model.eval(), Losses(tuple(train_losses), tuple(validation_losses))


@torch.no_grad()
def fold_autoencoder(model: CellAutoencoder, standard: Standard) -> Autoencoder:
    """Turns the trained autoencoder into convolutions on feature maps as the backbone gives them."""
    hidden, cell, own = model.enter.out_features, model.enter.in_features, model.layer2
    split = 4 * own
    folded = Autoencoder(hidden, (own, cell - split))
    weight, bias = _fold_norm(model.enter, model.enter_norm)
    weight = weight / standard.std.double()
    bias = bias - weight @ standard.mean.double()
    assert folded.enter2.bias is not None and folded.code.bias is not None
    assert folded.exit2.bias is not None and folded.exit3.bias is not None
    folded.enter2.weight.copy_(weight[:, :split].reshape(hidden, 2, 2, own).permute(0, 3, 1, 2))
    folded.enter2.bias.copy_(bias)
    folded.enter3.weight.copy_(weight[:, split:, None, None])
    weight, bias = _fold_norm(model.decode, model.decode_norm)
    folded.code.weight.copy_((weight @ model.encode.weight.double())[:, :, None, None])
    folded.code.bias.copy_(bias + weight @ model.encode.bias.double())
    weight = model.exit.weight.double() * standard.std.double()[:, None]
    folded.exit2.weight.copy_(weight[:split, :, None, None])
    folded.exit3.weight.copy_(weight[split:, :, None, None])
    channel = torch.cat([torch.arange(own), torch.arange(split, cell)])
    bias = model.exit_bias.double() * standard.std.double()[channel] + standard.mean.double()[channel]
    folded.exit2.bias.copy_(bias[:own].repeat(4))
    folded.exit3.bias.copy_(bias[own:])
    return folded


def _fold_norm(linear: nn.Linear, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = (linear.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
    return linear.weight.double() * scale[:, None], bias


def _loss(model: CellAutoencoder, cells: Tensor, half: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        guess = model(cells)
    return torch.square(guess.float() - cells).mean()


@torch.no_grad()
def _validate(model: CellAutoencoder, cells: Tensor, half: bool) -> float:
    model.eval()
    loss = float(_loss(model, cells, half))
    model.train()
    return loss


def _check_finite(train: float, validation: float, epoch: int) -> None:
    if not (math.isfinite(train) and math.isfinite(validation)):
        raise TrainingDiverged(
            f"the loss became {train} (validation {validation}) in epoch {epoch}; nothing was kept; "
            "lower --lr, or check the pictures"
        )
