"""Pictures: read whole, converted to 8 bits, and resized in exactly one way."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import DataError

_OPENCV_NO_MEMORY = -4
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

Image = npt.NDArray[np.uint8]


def is_picture_name(name: str) -> bool:
    """Returns whether a file name is that of a picture; hidden files do not count."""
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def read_image(path: Path) -> Image:
    """Reads a picture file as uint8 BGR `[H, W, 3]`.

    Gray, gray with alpha, RGBA and 16-bit pictures are converted; an alpha channel is dropped.

    Raises:
        DataError: the file cannot be read, is not a picture, or is cut short.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return to_bgr(decode_image(data))
    except DataError as error:
        raise DataError(f"{path} {error}; replace or remove it") from error


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error says that the process got no memory: OpenCV has an error of its own for that."""
    return isinstance(error, MemoryError) or (isinstance(error, cv2.error) and error.code == _OPENCV_NO_MEMORY)


def decode_image(data: bytes) -> Image:
    """Decodes the bytes of a picture file to uint8, BGR `[H, W, 3]` or gray `[H, W]`.

    Raises:
        DataError: the bytes are not a picture, or only part of one. The text lacks its subject.
        MemoryError: none is left for it, which is not the fault of the picture.
    """
    if not data:
        raise DataError("is an empty file")
    if is_cut_short(data):
        raise DataError("is cut short")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise DataError("is not a picture that can be decoded") from error
    if image is None or image.size == 0:
        raise DataError("is not a picture that can be decoded")
    return to_8_bits(image)


def is_cut_short(data: bytes) -> bool:
    """Returns whether a picture file lacks its end, which decoders silently fill with gray or black.

    PNG (ISO/IEC 15948) ends with IEND, JPEG (ITU-T T.81) with EOI; BMP and WebP state their length.
    """
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-4096:]
    if data.startswith(b"BM") and len(data) >= 6:
        return len(data) < int(struct.unpack_from("<I", data, 2)[0])
    if data.startswith(b"RIFF") and len(data) >= 8:
        return len(data) < int(struct.unpack_from("<I", data, 4)[0]) + 8
    return False


def to_8_bits(image: npt.NDArray[np.generic]) -> Image:
    """Converts a picture of 8 or 16 bits (or floats in 0..1) to uint8 without alpha: BGR, or gray `[H, W]`.

    16-bit values are divided by 257: full scale stays full scale, whatever the picture contains.

    Raises:
        DataError: the channel count or the type is not supported. The text lacks its subject.
    """
    if image.dtype == np.uint16:
        pixels = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif image.dtype == np.uint8:
        pixels = image.astype(np.uint8, copy=False)
    elif image.dtype in (np.float32, np.float64):
        pixels = np.rint(np.clip(image.astype(np.float64), 0.0, 1.0) * 255.0).astype(np.uint8)
    else:
        raise DataError(f"has pixels of type {image.dtype}, which is not supported; save it as 8 or 16 bits")
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels in (1, 2):
        return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0])
    if channels in (3, 4):
        return np.ascontiguousarray(pixels[..., :3])
    raise DataError(f"has {channels} channels; save it as gray or colour")


def to_bgr(image: Image) -> Image:
    """Returns a picture with three channels; a gray one `[H, W]` is repeated, any other is returned unchanged."""
    return image if image.ndim == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)


def resize_frame(image: Image, size: tuple[int, int], out: Image | None = None) -> Image:
    """Resizes a picture to the network's input by area averaging: the only step outside the graph.

    Args:
        image: uint8, BGR `[H, W, 3]` or gray `[H, W]`. A gray picture is resized before it gets three channels, which
            costs a third.
        size: height and width of the network's input.
        out: where to write the result, uint8 `[height, width, 3]`, contiguous.
    """
    height, width = size
    same, gray = image.shape[:2] == (height, width), image.ndim == 2
    small = (
        image if same else cv2.resize(image, (width, height), dst=None if gray else out, interpolation=cv2.INTER_AREA)
    )
    if gray:
        small = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR, dst=out)
    elif same and out is not None:
        np.copyto(out, small)
        return out
    return np.asarray(small, np.uint8)


def shrink(image: Image, most: int) -> Image:
    """Returns a picture whose longer side has so many pixels, for people to look at."""
    factor = most / max(image.shape[:2])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def multiply(frames: Image, gains: tuple[float, float, float]) -> Image:
    """Multiplies the channels of pictures, uint8 `[..., 3]`; what would be brighter than white is white."""
    steps = np.arange(256)[:, None] * np.array(gains)
    table = np.clip(np.rint(steps), 0, 255).astype(np.uint8)[None]
    flat = frames.reshape(-1, frames.shape[-2], 3)
    return np.asarray(cv2.LUT(flat, table), np.uint8).reshape(frames.shape)
