"""The line file is checked before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import ConfigError
from pipeline.config.line_file import read_line_file
from pipeline.protocol.sockets import check_address

GOOD = """
[line]
name = "press4"
[model]
bundle = "bundle"
[[camera]]
name = "top"
source = "folder:pictures"
fps = 5
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "line.toml"
    path.write_text(text)
    return path


def test_paths_count_from_the_files_folder(tmp_path: Path) -> None:
    config = read_line_file(write(tmp_path, GOOD))
    assert config.model.bundle == tmp_path / "bundle"
    assert config.camera[0].source == f"folder:{tmp_path / 'pictures'}"
    assert config.publish.verdicts == "tcp://127.0.0.1:5556"
    assert config.journal is None
    config = read_line_file(write(tmp_path, GOOD + '[journal]\npath = "runs/line.journal"\n'))
    assert config.journal is not None
    assert config.journal.path == tmp_path / "runs" / "line.journal"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fps = 5", "fsp = 5", "did you mean 'fps'"),
        ("[model]", "[modle]", "did you mean 'model'"),
        ("fps = 5", "fps = 0", "above 0"),
        ("fps = 5", "fps = -1", "above 0"),
        ("fps = 5", 'fps = "fast"', "valid number"),
        ("fps = 5", "weather = 1", "the settings here are name, source, fps"),
        ('bundle = "bundle"', "", "'model.bundle' is missing"),
        ('name = "top"', 'name = "top left"', "camera.1.name"),
        ("fps = 5", "fps = 5\n[[camera]]\nname = 'top'\nsource = 'folder:x'", "two cameras are called 'top'"),
        ("[line]", "[line", "not TOML"),
        ("fps = 5", "fps = 5\n[publish]\nverdicts = 'localhost:5556'", "tcp:// or ipc://"),
        ("fps = 5", "fps = 5\n[publish]\nreplay = 'localhost:5557'", "tcp:// or ipc://"),
        ("fps = 5", "fps = 5\n[publish]\nreplay = 'tcp://127.0.0.1:5557'", "add a .journal. with its path"),
        ("fps = 5", "fps = 5\n[journal]\nkeep_days = 3", "'journal.path' is missing"),
        ("fps = 5", "fps = 5\n[journal]\npath = 'j'\nkeep_dais = 3", "did you mean 'keep_days'"),
        ("fps = 5", "fps = 5\n[journal]\npath = 'j'\nmax_gib = 0", "'journal.max_gib' should be greater than 0"),
        ("fps = 5", "fps = 5\n[journal]\npath = 'j'\ndurability = 'full'", "'process' or 'power'"),
        ("fps = 5", "fps = 5\n[decision]\nrule = 'region'", "'score' or 'score-or-region'"),
        ("fps = 5", "fps = 5\n[decision]\nregion_sigma = 4.0", "region_sigma needs rule"),
        ("[[camera]]", "[camera]", r"write \[\[camera\]\], with two brackets"),
        ('name = "press4"', "takt_ms = 1e300", "less than or equal to 3600000"),
        ('bundle = "bundle"', 'bundle = "b"\nfallback = "nope"', "'model.fallback' must be one of auto, tensorrt"),
        ('bundle = "bundle"', 'bundle = "b"\nengine = "nope"', "'model.engine' must be one of auto, tensorrt"),
        ("fps = 5", "fps = 5\n[publish]\nverdicts = 'tcp://127.0.0.1:99999'", "a port from 0 to 65535"),
        ("fps = 5", "fps = 5\n[control]\nbind = 'tcp://127.0.0.1:99999'", "a port from 0 to 65535"),
        ("fps = 5", "fps = 5\n[health]\nbind = '127.0.0.1:99999'", "a port from 0 to 65535"),
        ("folder:pictures", "usb:abc", "must be usb:NUMBER"),
        ("folder:pictures", "feed:tcp://127.0.0.1:99999", "a port from 0 to 65535"),
        (
            "fps = 5",
            "fps = 5\n[[camera]]\nname = 'side'\nsource = 'usb:0'\n[[camera]]\nname = 'rear'\nsource = 'usb:0'",
            "'side' and 'rear' share one source",
        ),
        (
            "fps = 5",
            "fps = 5\n[[camera]]\nname = 'a'\nsource = 'feed:ipc:///x'\n[[camera]]\nname = 'b'\nsource = 'feed:ipc:///x'",
            "'a' and 'b' share one source",
        ),
    ],
)
def test_a_mistake_is_told_in_a_sentence(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_line_file(write(tmp_path, GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)
    assert "line.toml" in str(caught.value)


def test_the_old_name_of_the_health_table_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = read_line_file(write(tmp_path, GOOD + '[metrics]\nbind = "127.0.0.1:9108"\n'))
    assert config.health.bind == "127.0.0.1:9108"
    assert "[metrics] is now called [health]" in caplog.text
    with pytest.raises(ConfigError, match="give \\[health\\] only"):
        read_line_file(write(tmp_path, GOOD + '[metrics]\nbind = "127.0.0.1:1"\n[health]\nbind = "127.0.0.1:2"\n'))


def test_no_password_is_shown_with_a_mistake(tmp_path: Path) -> None:
    camera = "\n[[camera]]\nname = 'top'\nsource = 'rtsp://operator:secret@cam/1'"
    for text in (GOOD + camera, GOOD + camera.replace("'top'", "'side'").replace("source", "sorce")):
        with pytest.raises(ConfigError, match="camera") as caught:
            read_line_file(write(tmp_path, text))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5556", "tcp://*:0", "tcp://127.0.0.1:*", "tcp://[::1]:5556", "ipc://run/verdicts"]
)
def test_addresses_that_can_be_bound_are_taken(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:5556", "udp://127.0.0.1:5556", "tcp://127.0.0.1", "tcp://:5556", "tcp://127.0.0.1:65536",
     "tcp://127.0.0.1:-1", "tcp://127.0.0.1:http", "ipc://", "ipc://" + "x" * 108],
)  # fmt: skip
def test_addresses_that_cannot_be_bound_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_address(address)
