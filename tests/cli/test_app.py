"""The command line as a whole: help, completion, exit codes, and how little it loads."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from taktline.cli.app import build_app, main
from tests.conftest import RunTaktline
from tests.paths import ROOT

HEAVY = ("torch", "openvino", "cv2", "sqlite3", "sklearn", "scipy", "matplotlib", "onnxruntime")


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands with the words that call them."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(build_app())))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_explains_itself_with_an_example_that_it_understands(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    _, found, example = command.help.partition("Example: taktline ")
    assert found
    words = shlex.split(example)
    assert tuple(words[: len(path)]) == path
    command.make_context(path[-1], words[len(path) :])
    for parameter in command.params:
        assert parameter.help or parameter.name == "help", parameter.name
        # In square brackets it would be taken for markup, and not be shown.
        assert "[" not in (parameter.help or ""), parameter.name


def test_it_lists_its_commands(taktline: RunTaktline) -> None:
    done = taktline("--help")
    assert done.returncode == 0
    for path in COMMANDS:
        assert path[0] in done.stdout
    assert "--install-completion" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("taktline ", {path[0] for path in COMMANDS}),
        ("taktline journal ", {"query", "events", "export", "verify", "label", "index"}),
    ],
)
def test_a_shell_completes_commands(
    words: str, expected: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_TAKTLINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    assert main([]) == 0
    assert set(capsys.readouterr().out.split()) == expected


def test_completion_is_installed(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "taktline", "--install-completion", "bash"],
        capture_output=True, text=True, env=environment, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "_TAKTLINE_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "taktline.sh").read_text()
    assert "taktline.sh" in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["watch", "tcp://127.0.0.1:9", "--timeout", "0.1"], 2)]
)
def test_help_and_a_subscriber_load_nothing_heavy(arguments: list[str], code: int) -> None:
    program = (
        "import sys, json; from taktline.cli.app import main; code = main(json.loads(sys.argv[1])); "
        f"sys.exit('loaded: ' + ' '.join(loaded)) if (loaded := set({HEAVY}) & set(sys.modules)) else sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(arguments)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "No such command 'dance'"),
        (["run"], "Missing argument"),
        (["run", "line.toml", "--fast"], "No such option"),
        (["build", "b", "--engine", "openvino"], "nothing to build in advance"),
        (["build", "nowhere"], "nowhere is not a model bundle"),
        (["threshold", "nowhere"], "nowhere is not a model bundle"),
        (["dataset", "nowhere"], "no folder nowhere"),
        (["evaluate"], "give a bundle and a data set"),
        (["engines", "data"], "--check BUNDLE"),
        (["status", "nonsense"], "nonsense"),
        (["status", "http://127.0.0.1:1"], "no line answers at http://127.0.0.1:1 (Connection refused)"),
        (["calibrate", "data", "--out", "b", "--seed", "-1"], "Invalid value for '--seed'"),
        (["calibrate", "data", "--out", "b", "--seed", "4294967296"], "Invalid value for '--seed'"),
        (["threshold", "b", "--rule", "sigma", "--value", "1e9"], "Invalid value for '--value'"),
        (["dataset", "data", "--split", "nan"], "the split is nan"),
        (["deploy", "b", "--line", "ipc:///nowhere/there.control"], "no line takes orders"),
        (["tell", "press4", "dance"], "there is no order 'dance'"),
        (["tell", "press4", "threshold"], "threshold needs a sigma"),
        (["tell", "press4", "threshold", "high"], "'high' does not fit the order threshold"),
        (["tell", "press4", "pause", "--prat"], "there is no option --prat"),
        (["watch", "tcp://127.0.0.1:9", "--key", "k"], "--key and --server-key belong together"),
        (["watch", "tcp://127.0.0.1:9", "--timeout", "0"], "no verdict came from"),
        (["keys", "revoke", "nobody", "--allowed", "/nowhere"], "no client named 'nobody' is on the list"),
        (["keys", "allow", "nothing.key"], "is not a key file"),
        (["keys", "show", "--folder", "/nowhere", "--allowed", "/nowhere"], "there are no keys"),
        (["bridge", "jsonl", "/tmp/never.jsonl", "--oldest"], "--oldest reads from the line's journal"),
        (["bridge", "webhook", "nonsense"], "nonsense"),
        (["bridge", "webhook", "http://127.0.0.1:99999"], "is not a URL to post to"),
        (["bridge", "webhook", "http://x", "--position", "/nowhere/p"], "there is no writable folder /nowhere"),
        (["bench", "soak", "--bundle", "nowhere", "--minutes", "1"], "nowhere is not a model bundle"),
        (["bench", "peers", "--bundle", "nowhere"], "nowhere is not a model bundle"),
    ],
)
def test_a_mistake_ends_in_a_sentence(arguments: list[str], message: str, taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process(*arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_bridge_from_a_wrong_address_leaves_no_file(tmp_path: Path, taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process("bridge", "jsonl", tmp_path / "verdicts.jsonl", "--from", "tcp://127.0.0.1:0")
    assert done.returncode == 2
    assert "not an address to connect to" in done.stderr
    assert list(tmp_path.iterdir()) == []
