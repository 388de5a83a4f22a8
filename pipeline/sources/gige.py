"""GigE Vision and USB3 Vision cameras, through Aravis."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import TaktlineError
from engines.image import Image
from pipeline.config.camera import CameraConfig
from pipeline.sources.device import CameraError, Device, Picture
from pipeline.sources.wall_age import WallAge

log = logging.getLogger(__name__)

_DEBIAN = Path("/usr/lib/python3/dist-packages/gi")
_BUFFERS = 8
_POLL_US = 100_000
# GigE Vision 1 counts frames in 16 bits and skips 0.
_LEGACY_IDS = 65_535
_MOST_LOST = 1_000

# GenICam names a Bayer pattern by its first row. Formats above 8 bits use the lower bits of 16.
_COLOURS = {
    "Mono": None,
    "RGB": cv2.COLOR_RGB2BGR,
    "BGR": None,
    "BayerRG": cv2.COLOR_BayerRGGB2BGR,
    "BayerGR": cv2.COLOR_BayerGRBG2BGR,
    "BayerGB": cv2.COLOR_BayerGBRG2BGR,
    "BayerBG": cv2.COLOR_BayerBGGR2BGR,
}
_BITS = {"8": 8, "10": 10, "12": 12, "14": 14, "16": 16}


class GigeDevice(Device):
    """A camera that Aravis finds by its id, serial number or IP address.

    It runs free, or takes a picture at each trigger: a signal on one of its lines (hardware) or `trigger` (software). A
    frame that arrived incomplete, or that the camera's own count shows as lost, becomes a picture without an image, so
    that its part still gets an answer.

    Raises:
        CameraError: it cannot be opened now.
        TaktlineError: Aravis is not installed.
    """

    def __init__(self, config: CameraConfig) -> None:
        self._aravis, self._glib = import_aravis()
        self._config = config
        self._chunk = (config.part_from or "").partition("chunk:")[2] or None
        self._ready: deque[Picture] = deque()
        self._last_id: int | None = None
        self._age = WallAge()
        self._newest = 0
        # A handler that knew this object would keep the camera from being released.
        self._lost = lost = threading.Event()
        self._camera: Any = None
        self._stream: Any = None
        name = config.source.removeprefix("gige:")
        try:
            self._camera = self._aravis.Camera.new(name or None)
            self._camera.get_device().connect("control-lost", lambda _: lost.set())
            self._set_up()
            self._stream = self._camera.create_stream(None, None)
            if self._stream is None:
                raise CameraError("it gives no stream; check that no other program uses it")
            payload = self._camera.get_payload()
            for _ in range(_BUFFERS):
                self._stream.push_buffer(self._aravis.Buffer.new_allocate(payload))
            self._camera.start_acquisition()
        except (self._glib.Error, CameraError) as error:
            # The error outlives this object; what it keeps of the camera would control it, and nobody could open it.
            traceback.clear_frames(error.__traceback__)
            self._camera = self._stream = None
            if isinstance(error, CameraError):
                raise
            raise CameraError(f"it cannot be opened ({error.message})") from error

    def read(self) -> Picture | None:
        """Waits for the next picture, up to a tenth of a second.

        Raises:
            CameraError: the camera is gone; one that waits for a trigger would otherwise be missed by nobody.
        """
        if self._ready:
            return self._ready.popleft()
        if self._lost.is_set():
            raise CameraError("it no longer answers, or another program controls it")
        buffer = self._stream.timeout_pop_buffer(_POLL_US)
        if buffer is None:
            return None
        try:
            moment = self._moment(int(buffer.get_system_timestamp()))
            self._note_lost(buffer.get_frame_id(), moment)
            self._ready.append(self._picture(buffer, moment))
        finally:
            self._stream.push_buffer(buffer)
        return self._ready.popleft()

    def trigger(self) -> None:
        """Makes the camera take a picture, if it waits for software triggers."""
        if self._config.trigger == "software":
            try:
                self._camera.software_trigger()
            except self._glib.Error as error:
                raise CameraError(f"it took no trigger ({error.message})") from error

    def close(self) -> None:
        """Releases the camera."""
        try:
            self._camera.stop_acquisition()
        except self._glib.Error as error:
            log.debug("a camera that is closed did not answer: %s", error.message)
        # Aravis gives up control of the camera when the last reference is dropped.
        self._camera = self._stream = None

    def _set_up(self) -> None:
        camera, config = self._camera, self._config
        if config.width is not None or config.height is not None:
            _, _, width, height = camera.get_region()
            camera.set_region(0, 0, config.width or width, config.height or height)
        self._format = self._choose_format()
        if config.exposure_us is not None:
            if camera.is_exposure_auto_available():
                camera.set_exposure_time_auto(self._aravis.Auto.OFF)
            camera.set_exposure_time(config.exposure_us)
        if config.gain is not None:
            if camera.is_gain_auto_available():
                camera.set_gain_auto(self._aravis.Auto.OFF)
            camera.set_gain(config.gain)
        # A camera's settings outlive the program that made them.
        camera.set_acquisition_mode(self._aravis.AcquisitionMode.CONTINUOUS)
        camera.clear_triggers()
        if config.trigger is not None:
            camera.set_trigger("Software" if config.trigger == "software" else config.trigger)
        elif config.fps is not None:
            camera.set_frame_rate(config.fps)
        if self._chunk is not None:
            camera.set_chunks(self._chunk)
            self._parser = camera.create_chunk_parser()

    def _choose_format(self) -> str:
        now: str = self._camera.get_pixel_format_as_string()
        if self._config.pixel_format is None and _split(now) is not None:
            return now
        offered = list(self._camera.dup_available_pixel_formats_as_strings())
        usable = [name for name in offered if _split(name) is not None]
        wanted = [self._config.pixel_format] if self._config.pixel_format is not None else usable[:1]
        if not wanted or wanted[0] not in usable:
            raise CameraError(
                f"its pixel format {wanted[0] if wanted else now} cannot be read; give one that can: "
                f"{', '.join(usable) or 'it has none'}"
            )
        self._camera.set_pixel_format_from_string(wanted[0])
        return str(wanted[0])

    def _note_lost(self, number: int, moment: tuple[int, int]) -> None:
        last, self._last_id = self._last_id, number
        lost = 0 if last is None else frames_lost(last, number)
        if lost:
            log.warning("camera %s lost %d frames on the way; its network may be too slow", self._config.name, lost)
        for _ in range(lost):
            self._ready.append(Picture(None, *moment, fault="the frame was lost between camera and PC", lost=True))

    def _picture(self, buffer: Any, moment: tuple[int, int]) -> Picture:
        status = buffer.get_status()
        if status != self._aravis.BufferStatus.SUCCESS:
            why = str(status.value_nick).replace("-", " ")
            return Picture(None, *moment, self._part(buffer, whole=False), f"the frame arrived incomplete ({why})")
        shape = buffer.get_image_height(), buffer.get_image_width()
        try:
            image = to_picture(np.frombuffer(buffer.get_data(), np.uint8), shape, self._format)
        except ValueError as error:
            return Picture(None, *moment, self._part(buffer, whole=False), f"the frame cannot be read ({error})")
        return Picture(image, *moment, self._part(buffer, whole=True))

    def _moment(self, stamped_at: int) -> tuple[int, int]:
        """Returns when a frame was captured: wall clock and monotonic time. No frame is older than the one before.

        Args:
            stamped_at: Aravis' time stamp of the frame's first packet, by the wall clock.
        """
        age = self._age.of(stamped_at)
        now_at, now = time.time_ns(), time.monotonic_ns()
        self._newest = max(self._newest, now - age)
        return now_at - (now - self._newest), self._newest

    def _part(self, buffer: Any, whole: bool) -> str | None:
        if self._config.part_from == "frame-id":
            return str(buffer.get_frame_id())
        if self._chunk is None or not whole:
            return None
        name = f"Chunk{self._chunk}"
        try:
            return str(self._parser.get_integer_value(buffer, name))
        except self._glib.Error:
            try:
                return str(self._parser.get_string_value(buffer, name))
            except self._glib.Error as error:
                log.warning("camera %s: %s cannot be read (%s)", self._config.name, name, error.message)
                return None


def frames_lost(last: int, number: int) -> int:
    """Returns how many frames are missing between two of a camera's frame ids.

    If the count restarts, or the gap is too long to be real, no frame counts as missing.
    """
    if number <= last <= _LEGACY_IDS:
        number += _LEGACY_IDS
    lost = number - last - 1
    return lost if 0 < lost <= _MOST_LOST else 0


def to_picture(data: npt.NDArray[np.uint8], shape: tuple[int, int], pixel_format: str) -> Image:
    """Turns a camera's bytes into a picture.

    Args:
        data: uint8 `[n]`.
        shape: height and width.
        pixel_format: GenICam's name, such as `Mono8` or `BayerRG12`; packed ones are not supported.

    Returns:
        uint8, BGR `[height, width, 3]`, or gray `[height, width]` from a monochrome camera.

    Raises:
        ValueError: there are too few bytes, or the format is unknown.
    """
    split = _split(pixel_format)
    if split is None:
        raise ValueError(f"the pixel format {pixel_format} is unknown")
    colour, bits = split
    channels = 3 if colour in {"RGB", "BGR"} else 1
    wide = bits > 8
    size = shape[0] * shape[1] * channels * (2 if wide else 1)
    if len(data) < size:
        raise ValueError(f"only {len(data)} of {size} bytes arrived")
    pixels = data[:size].view("<u2") >> (bits - 8) if wide else data[:size]
    image = pixels.astype(np.uint8, copy=False).reshape(*shape, *([3] if channels == 3 else []))
    code = _COLOURS[colour]
    return np.array(image) if code is None else np.asarray(cv2.cvtColor(image, code), np.uint8)


def import_aravis() -> tuple[Any, Any]:
    """Imports Aravis and GLib, from Debian's packages if this Python has no bindings of its own.

    Raises:
        TaktlineError: they are not installed; the text says what to install.
    """
    try:
        if "gi" not in sys.modules and importlib.util.find_spec("gi") is None and _DEBIAN.is_dir():
            _load_debian()
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis, GLib
    except (ImportError, ValueError) as error:
        raise TaktlineError(
            "GigE and USB3 Vision cameras need Aravis; install it with: apt-get install gir1.2-aravis-0.8 python3-gi, "
            f"and run Taktline with the system's own Python version ({error})"
        ) from error
    return Aravis, GLib


def _load_debian() -> None:
    # Only this package: nothing else in Debian's folder belongs in a virtual environment.
    spec = importlib.util.spec_from_file_location(
        "gi", _DEBIAN / "__init__.py", submodule_search_locations=[str(_DEBIAN)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gi"] = module
    try:
        spec.loader.exec_module(module)
    except ImportError:
        del sys.modules["gi"]
        raise


def _split(pixel_format: str) -> tuple[str, int] | None:
    colour = pixel_format.rstrip("0123456789")
    bits = _BITS.get(pixel_format[len(colour) :])
    return None if colour not in _COLOURS or bits is None or (bits > 8 and colour in {"RGB", "BGR"}) else (colour, bits)
