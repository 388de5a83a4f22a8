"""The line file is checked before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import ConfigError
from pipeline.config.line_file import read_line_file

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
        ("fps = 5", "weather = 1", "known are name, source, fps"),
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
    assert "[metrics] is called [health] now" in caplog.text
    with pytest.raises(ConfigError, match="give \\[health\\] only"):
        read_line_file(write(tmp_path, GOOD + '[metrics]\nbind = "127.0.0.1:1"\n[health]\nbind = "127.0.0.1:2"\n'))
