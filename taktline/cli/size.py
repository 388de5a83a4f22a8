"""How large the network's input is and how it is cut: the options that `calibrate` and `evaluate` share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from engines.candidates import AUTO
from engines.errors import ConfigError
from engines.tiles import OVERLAP_PX, covered
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from calibration.calibrate import CalibrationSettings
    from engines.manifest import OfferedSize

# Of larger tiles the score would take more cells than TensorRT sorts.
_LEAST, _MOST, _MOST_FRAME, _STEP = 64, 1024, 4096, 16


@dataclass(frozen=True)
class SizeOptions:
    """How large the network's input is and how it is cut."""

    size: Annotated[
        str,
        typer.Option(help="The network's input: a multiple of 16 such as 224, width first such as 224x560, or auto. "
                          "With --tiles, the size of a tile."),
    ] = "224"  # fmt: skip
    tiles: Annotated[
        str | None,
        typer.Option(help="Rows x columns of overlapping tiles such as 3x2, or auto: small defects on large parts."),
    ] = None
    overlap: Annotated[int | None, typer.Option(help=f"Pixels that tiles share (default {OVERLAP_PX}).")] = None
    takt_ms: Annotated[
        float | None,
        typer.Option(help="With auto: the most milliseconds a frame may take here, with PyTorch in float32."),
    ] = None

    def apply(self, settings: CalibrationSettings) -> CalibrationSettings:
        """Returns a calibration's settings with size and tiles as they are given here.

        Raises:
            ConfigError: a value is none or out of range, or two contradict each other.
        """
        from engines.network import NetworkConfig

        measured = AUTO in (self.size, self.tiles)
        self._check(measured)
        whole = NetworkConfig().size if self.size == AUTO else parse_size(self.size)
        overlap, half = OVERLAP_PX if self.overlap is None else self.overlap, min(whole) // 2
        if self.overlap is not None and not (0 <= overlap <= half and overlap % _STEP == 0):
            raise ConfigError(f"the overlap is {overlap}; give a multiple of {_STEP} up to half a tile, {half}")
        if measured:
            own = replace(settings.network, overlap=overlap)
            return replace(settings, network=own, tile=whole, takt_ms=self.takt_ms)
        down, across = (1, 1) if self.tiles is None else parse_tiles(self.tiles)
        size = covered(whole[0], down, overlap), covered(whole[1], across, overlap)
        if max(size) > _MOST_FRAME:
            raise ConfigError(
                f"{self.tiles} tiles of {self.size} make frames of {size[1]} x {size[0]} pixels, and a side can have "
                f"{_MOST_FRAME}; give fewer or smaller tiles"
            )
        own = replace(settings.network, size=size, tiles=(down, across), overlap=overlap)
        return replace(settings, network=own)

    def _check(self, measured: bool) -> None:
        if self.size == AUTO and self.tiles not in (None, AUTO):
            raise ConfigError(f"--size auto measures how many tiles there are; give --tiles auto, not {self.tiles}")
        if self.takt_ms is not None and not (measured and self.takt_ms > 0):
            raise ConfigError("--takt-ms is above 0 and limits --size auto and --tiles auto; give it with one of them")
        if self.overlap is not None and not (measured or self.tiles):
            raise ConfigError("--overlap is what tiles share; give it with --tiles, such as --tiles auto")


def parse_size(text: str) -> tuple[int, int]:
    """Reads the network's input size, such as `224` or, width first, `224x560`, and returns height and width.

    Raises:
        ConfigError: it is no size, or one that the network cannot take.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise ConfigError(f"the size is '{text}'; give one number or WIDTHxHEIGHT, such as 224 or 224x560, or auto")
    width, height = int(sides[0]), int(sides[-1])
    if not all(side % _STEP == 0 and _LEAST <= side <= _MOST for side in (width, height)):
        raise ConfigError(
            f"the size is {text}; give multiples of {_STEP} between {_LEAST} and {_MOST}, such as 224 or 224x560"
        )
    return height, width


def parse_tiles(text: str) -> tuple[int, int]:
    """Reads how many tiles lie below and beside each other, such as `3x2`.

    Raises:
        ConfigError: it says no such thing.
    """
    counts = text.lower().split("x")
    if len(counts) != 2 or not all(count.isascii() and count.isdigit() and int(count) for count in counts):
        raise ConfigError(f"the tiles are '{text}'; give ROWSxCOLUMNS, such as 3x2, or auto")
    return int(counts[0]), int(counts[1])


def size_table(offers: tuple[OfferedSize, ...]) -> ResultTable:
    """Shows what sizes keep and cost, and which was chosen."""
    table = ResultTable(
        "size", "detail kept", "line of 3 px", "ms a frame", "chosen", caption="PyTorch in float32; engines are faster"
    )
    for offer in offers:
        height, width = offer.size
        table.add_row(
            f"{width}x{height}",
            f"{offer.kept:.1%}",
            "seen" if offer.hairline else "lost",
            f"{offer.work_ms:.0f}",
            "chosen" if offer.chosen else "",
        )
    return table
