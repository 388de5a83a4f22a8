"""Tiles: how a map is cut, and what the score makes of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from engines.network import InspectionNetwork, NetworkConfig
from engines.tiles import Tile, covered, cut_tiles, tiles_over


@pytest.mark.parametrize(
    ("grid", "tiles", "overlap"),
    [
        # Exactly as long as the tiles are together.
        ((28, 52), (1, 2), 32),
        # Longer and shorter than tiles of 28 would be.
        ((88, 36), (4, 2), 32),
        ((154, 62), (7, 3), 0),
        ((20, 20), (3, 3), 64),
    ],
)
def test_tiles_cover_the_map_and_overlap(grid: tuple[int, int], tiles: tuple[int, int], overlap: int) -> None:
    cut = cut_tiles(grid, tiles, overlap, ring=0)
    assert len(cut) == tiles[0] * tiles[1]
    seen = np.zeros(grid, int)
    for tile in cut:
        seen[tile.top : tile.bottom, tile.left : tile.right] += 1
        assert tile.counted == (tile.bottom - tile.top) * (tile.right - tile.left)
    assert seen.min() == 1
    assert len({(tile.bottom - tile.top, tile.right - tile.left) for tile in cut}) == 1
    below, beside = cut[:: tiles[1]], cut[: tiles[1]]
    assert all(one.bottom - other.top >= overlap // 8 for one, other in itertools.pairwise(below))
    assert all(one.right - other.left >= overlap // 8 for one, other in itertools.pairwise(beside))


def test_no_tile_has_the_ring_nor_is_one_that_sees_nothing() -> None:
    assert cut_tiles((28, 28), (1, 1), 32, ring=1) == [Tile(1, 27, 1, 27, 26 * 26)]
    assert cut_tiles((28, 52), (1, 2), 32, ring=1, inspected=(0, 9)) == [Tile(1, 27, 24, 51, 9)]
    assert cut_tiles((28, 28), (1, 1), 32, ring=1, inspected=12)[0].counted == 12


def test_how_many_tiles_cover_a_frame() -> None:
    for count in (1, 2, 3, 7):
        side = covered(224, count, 32)
        assert tiles_over(side, 224, 32) == count
        assert tiles_over(side + 16, 224, 32) == count + 1


def test_the_score_is_that_of_the_highest_tile_in_units_of_its_place() -> None:
    network = InspectionNetwork(NetworkConfig(size=(64, 112), tiles=(1, 2), overlap=16, ring=1, top_share=0.1))
    assert network.tile_stats is not None
    # On the left good parts reach 5, on the right 1.
    network.tile_stats.copy_(torch.tensor([[5.0, 1.0], [2.0, 0.5]]))
    cells = torch.zeros(1, 8, 14)
    assert [tile.counted for tile in network.config.cut()] == [42, 42]
    cells[0, 2, 1:5] = 7.0
    cells[0, 4, 9:13] = 3.0
    torch.testing.assert_close(network.tile_scores(cells), torch.tensor([[7.0, 3.0]]))
    torch.testing.assert_close(network.raw_score(cells), torch.tensor([(3.0 - 1.0) / 0.5]))


def test_a_small_defect_on_a_large_part_counts_as_on_a_small_one() -> None:
    cells = torch.zeros(1, 88, 88)
    cells[0, 40:46, 40:46] = 10.0
    scores = {}
    for tiles in ((1, 1), (4, 4)):
        network = InspectionNetwork(NetworkConfig(size=(704, 704), tiles=tiles))
        scores[tiles] = float(network.raw_score(cells))
    assert scores[4, 4] > 10 * scores[1, 1]


def test_networks_of_one_tile_are_as_they_were() -> None:
    """Bundles from before there were tiles fit them."""
    known = NetworkConfig().to_json()
    older = {key: value for key, value in known.items() if key not in ("tiles", "overlap")}
    network = InspectionNetwork(NetworkConfig.from_json(older))
    assert network.config == NetworkConfig()
    assert "tile_stats" not in network.state_dict()
