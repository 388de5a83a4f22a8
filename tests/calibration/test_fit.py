"""Training and fitting: what is folded equals what was trained, and sigma units are what they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration import features
from calibration.autoencoder import (
    CellAutoencoder,
    Standard,
    TrainingDiverged,
    TrainingSettings,
    fold_autoencoder,
    standardise,
    train_autoencoder,
)
from calibration.backbone import LoadedBackbone, load_backbone
from calibration.dataset import open_dataset, read_frames
from calibration.features import FeatureCache, extract_features, from_cells, to_cells
from calibration.fit import fit_network, split_normals
from calibration.progress import silent
from engines.network import NetworkConfig

SIZE = (112, 112)


@pytest.fixture(scope="module")
def backbone(drawn: Path) -> LoadedBackbone:
    return load_backbone("untrained", 0, list(read_frames(open_dataset(drawn).train[:16], SIZE)))


def test_cells_and_maps_are_the_same_numbers() -> None:
    layer2, layer3 = torch.rand(2, 512, 8, 12), torch.rand(2, 1024, 4, 6)
    cells = to_cells(layer2, layer3)
    torch.testing.assert_close(cells[1, 7, 512:1024], layer2[1, :, 2, 3])
    found = from_cells(cells, (4, 6))
    torch.testing.assert_close(found[0], layer2)
    torch.testing.assert_close(found[1], layer3)


def test_the_folded_autoencoder_equals_the_trained_one() -> None:
    torch.manual_seed(0)
    model = CellAutoencoder(3072, 32, 16)
    standard = Standard(
        torch.cat([torch.rand(512).repeat(4), torch.rand(1024)]),
        torch.cat([torch.rand(512).repeat(4), torch.rand(1024)]) + 0.5,
    )
    cells = torch.rand(2, 6, 3072)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(5):
        flat = standard.apply(cells).reshape(-1, 3072)
        optimiser.zero_grad()
        torch.square(model(flat) - flat).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    model.eval()
    with torch.inference_mode():
        expected = model(standard.apply(cells).reshape(-1, 3072)) * standard.std + standard.mean
        _, guess2, guess3 = fold_autoencoder(model, standard)(*from_cells(cells, (2, 3)))
    torch.testing.assert_close(to_cells(guess2, guess3).reshape(-1, 3072), expected, rtol=1e-4, atol=1e-4)


def test_losses_fall_and_the_best_epoch_is_kept() -> None:
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((8, 3072))
    cells = (rng.standard_normal((40, 49, 8)) @ basis).astype(np.float16)
    cache = FeatureCache(cells, (7, 7))
    train, held_out = split_normals(40, 0)
    standard = standardise(cache, train)
    settings = TrainingSettings(steps=150, batch_size=256)
    model, losses = train_autoencoder(cache, train, held_out, standard, (64, 16), settings, silent)
    assert losses.validation[-1] < 0.3 * losses.validation[0]
    assert len(losses.train) == len(losses.validation) == -(-150 // -(-32 * 49 // 256))
    held = standard.apply(torch.from_numpy(cells[held_out])).reshape(-1, 3072)
    with torch.inference_mode():
        assert torch.square(model(held) - held).mean() < 1.2 * min(losses.validation)


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 11])
def test_few_steps_are_enough_to_train(steps: int) -> None:
    cells = np.random.default_rng(0).standard_normal((10, 49, 3072)).astype(np.float16)
    cache = FeatureCache(cells, (7, 7))
    train, held_out = split_normals(10, 0)
    settings = TrainingSettings(steps=steps, batch_size=16)
    _, losses = train_autoencoder(cache, train, held_out, standardise(cache, train), (8, 4), settings, silent)
    assert np.isfinite(losses.validation).all()


def test_a_loss_that_is_no_number_stops_the_training_and_names_the_epoch() -> None:
    cells = np.full((20, 49, 3072), np.nan, np.float16)
    cache = FeatureCache(cells, (7, 7))
    train, held_out = split_normals(20, 0)
    standard = Standard(torch.zeros(3072), torch.ones(3072))
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        train_autoencoder(cache, train, held_out, standard, (16, 8), TrainingSettings(steps=4), silent)


@pytest.mark.parametrize(("count", "held"), [(10, 5), (30, 6), (320, 64)])
def test_a_fifth_is_held_out_but_at_least_five(count: int, held: int) -> None:
    train, held_out = split_normals(count, 0)
    assert len(held_out) == held
    assert sorted([*train, *held_out]) == list(range(count))


@pytest.mark.parametrize("few", [0, features.FEW_PIXELS])
def test_features_equal_the_backbones_own(
    few: int, drawn: Path, backbone: LoadedBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed by OpenVINO, and by torch where they are few."""
    monkeypatch.setattr(features, "FEW_PIXELS", few)
    frames = list(read_frames(open_dataset(drawn).train[:10], SIZE))
    with torch.inference_mode():
        expected = backbone.network(torch.from_numpy(np.stack(frames)))
    with extract_features(backbone.network, frames, 10, SIZE, silent) as cache:
        found = next(cache.maps(np.arange(10)))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("context", [1.0, 0.5, 0.0])
def test_scores_have_mean_0_and_deviation_1(drawn: Path, backbone: LoadedBackbone, context: float) -> None:
    """Whatever the score is made of; and the same data and seed give the same network."""
    samples = open_dataset(drawn).train
    pretended = replace(backbone, pretrained=True)
    config = replace(NetworkConfig(size=SIZE), context=context, hidden=64, code=32)
    settings = TrainingSettings(steps=30, context_steps=40)
    fitted = [
        fit_network(pretended, read_frames(samples, SIZE), len(samples), config, settings, silent)
        for _ in range(2)
    ]
    assert fitted[0].scores.mean() == pytest.approx(0, abs=1e-3)
    assert fitted[0].scores.std(ddof=1) == pytest.approx(1, abs=1e-3)
    assert fitted[0].heat.mean() == pytest.approx(0, abs=1e-3)
    np.testing.assert_array_equal(fitted[0].scored, fitted[0].held_out, "of few parts, those that are held out")
    np.testing.assert_array_equal(fitted[0].scores, fitted[1].scores)


def test_context_takes_away_the_error_that_is_usual_there(drawn: Path, backbone: LoadedBackbone) -> None:
    """Over normal parts, what is left after the context correlates little with the error's usual map."""
    samples = open_dataset(drawn).train
    config = replace(NetworkConfig(size=SIZE), hidden=64, code=32)
    fitted = fit_network(
        replace(backbone, pretrained=True),
        read_frames(samples, SIZE),
        len(samples),
        config,
        TrainingSettings(steps=60, context_steps=300),
        silent,
    )
    with (
        extract_features(backbone.network, read_frames(samples, SIZE), len(samples), SIZE, silent) as cache,
        torch.no_grad(),
    ):
        surprise, _, heat = fitted.network.layer_maps(*next(cache.maps(np.arange(16))))
    assert surprise is not None
    for after, before in zip(surprise, heat, strict=True):
        usual = torch.log(before)
        assert after.mean(0).std() < 0.6 * usual.mean(0).std() / usual.std()
