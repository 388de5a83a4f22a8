"""A picture within a store: what is damaged is the picture's fault, and what the system says is not."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from engines.errors import DataError
from pipeline.archive.picture import InZip, OpenStores

PACKINGS = {"deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_damaged_member_is_a_fault_of_that_picture(packing: str, tmp_path: Path) -> None:
    path = tmp_path / "parts.zip"
    with zipfile.ZipFile(path, "w", PACKINGS[packing]) as archive:
        archive.writestr("bad.png", bytes(range(256)) * 40)
        archive.writestr("good.png", b"a good one")
    damaged = bytearray(path.read_bytes())
    begin = len(b"PK\x03\x04") + 26 + len("bad.png")
    damaged[begin + 14 : begin + 60] = b"\xff" * 46
    path.write_bytes(damaged)
    with OpenStores() as stores:
        with pytest.raises(DataError, match=re.escape("cannot be unpacked (")):
            InZip(str(path), "bad.png").read(stores)
        assert InZip(str(path), "good.png").read(stores) == b"a good one"
