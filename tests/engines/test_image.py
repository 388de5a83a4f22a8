"""Pictures of every kind that cameras and people write, whole and broken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import DataError
from engines.image import decode_image, read_image, resize_frame, to_8_bits, to_bgr

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encode(image: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(COLOUR[..., 0], id="gray"),
        pytest.param(COLOUR, id="colour"),
        pytest.param(np.dstack([COLOUR, np.full((40, 60), 7, np.uint8)]), id="with alpha"),
        pytest.param(COLOUR[..., 0].astype(np.uint16) * 257, id="gray of 16 bits"),
        pytest.param(COLOUR.astype(np.uint16) * 257, id="colour of 16 bits"),
    ],
)
def test_every_kind_of_png_comes_as_gray_or_bgr(image: np.ndarray) -> None:
    found = decode_image(encode(image, ".png"))
    expected = COLOUR if image.ndim == 3 else COLOUR[..., 0]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_gray_with_alpha_loses_its_alpha() -> None:
    pair = np.dstack([COLOUR[..., 0], COLOUR[..., 1]])
    np.testing.assert_array_equal(to_8_bits(pair), COLOUR[..., 0])


def test_a_dark_16_bit_picture_stays_dark() -> None:
    """The scale is that of the type, not of the picture: else a dark frame would be brightened."""
    assert to_8_bits(np.full((4, 4), 255, np.uint16)).max() == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    whole = encode(COLOUR, suffix)
    path = tmp_path / f"half{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=f"half{suffix}"):
        read_image(path)
    path.write_bytes(whole)
    assert read_image(path).shape == (40, 60, 3)


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(DataError, match="not a picture"):
        read_image(path)


def test_resize_averages_areas() -> None:
    """A fine chessboard becomes even gray, where bilinear sampling would keep some of its squares."""
    board = np.indices((448, 448)).sum(0) % 2 * 255
    frame = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    out = np.empty((224, 224, 3), np.uint8)
    assert resize_frame(frame, (224, 224), out=out) is not None
    assert out.min() >= 127
    assert out.max() <= 128


@pytest.mark.parametrize("size", [(23, 31), (40, 60), (80, 90)])
def test_a_gray_picture_is_resized_as_if_it_had_three_channels(size: tuple[int, int]) -> None:
    gray = np.ascontiguousarray(COLOUR[..., 0])
    expected = resize_frame(to_bgr(gray), size)
    assert expected.shape == (*size, 3)
    np.testing.assert_array_equal(resize_frame(gray, size), expected)
    out = np.empty((*size, 3), np.uint8)
    resize_frame(gray, size, out=out)
    np.testing.assert_array_equal(out, expected)
