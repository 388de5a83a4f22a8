"""Key files, made, allowed and revoked from the command line; a bad one is refused in one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.errors import ConfigError
from pipeline.publish.publisher import PublisherSocket
from pipeline.security.curve import ClientKeys
from pipeline.security.keys import allow, new_pair, revoke
from tests.conftest import RunTaktline
from tests.pipeline.security.conftest import House


def test_keys_from_the_command_line(taktline_in_process: RunTaktline, tmp_path: Path) -> None:
    folder, allowed = tmp_path / "keys", tmp_path / "keys" / "allowed"
    made = taktline_in_process("keys", "new", "office", "--folder", folder, "--json")
    assert made.returncode == 0, made.stderr
    public = json.loads(made.stdout)["public"]
    secret = folder / "office.key_secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert taktline_in_process("keys", "new", "office", "--folder", folder).returncode == 2
    assert "secret-key" not in (folder / "office.key").read_text()
    # A secret file may be given by mistake: only its public half is kept.
    assert taktline_in_process("keys", "allow", secret, "--allowed", allowed).returncode == 0
    assert "secret-key" not in (allowed / "office.key").read_text()
    assert taktline_in_process("keys", "allow", "--name", "again", "--allowed", allowed, "--", public).returncode == 0
    shown = json.loads(taktline_in_process("keys", "show", "--folder", folder, "--allowed", allowed, "--json").stdout)
    assert shown == {"keys": {"office": public}, "allowed": {"again": public, "office": public}}
    assert taktline_in_process("keys", "revoke", "again", "--allowed", allowed).returncode == 0
    unknown = taktline_in_process("keys", "revoke", "again", "--allowed", allowed)
    assert unknown.returncode == 2
    assert "on the list: office" in unknown.stderr.replace("\n", " ")
    assert [path.name for path in allowed.iterdir()] == ["office.key"]
    revoke("office", allowed)
    with pytest.raises(ConfigError, match=r"no client named 'nobody' is on the list .*; the list is empty"):
        revoke("nobody", allowed)


@pytest.mark.usefixtures("no_thread_left")
def test_bad_keys_are_told_in_a_sentence(tmp_path: Path) -> None:
    house = House(tmp_path / "keys")
    secret = house.access.secret
    assert secret is not None
    with pytest.raises(ConfigError, match="has no secret key"):
        ClientKeys.read(_private(tmp_path / "keys" / "line.key"), house.server.public.decode())
    with pytest.raises(ConfigError, match="is not a key file"):
        ClientKeys.read(secret, "nothing")
    swapped = tmp_path / "swapped"
    swapped.write_text(secret.read_text().replace(house.server.public.decode(), "a" * 40))
    with pytest.raises(ConfigError, match="not a pair"):
        ClientKeys.read(_private(swapped), house.server.public.decode())
    with pytest.raises(ConfigError, match="another key is already allowed as 'office'"):
        allow("office", house.server.public, house.allowed)
    with pytest.raises(ConfigError, match="is not a valid name"):
        new_pair("../office", tmp_path)
    secret.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read the secret"):
        PublisherSocket("tcp://127.0.0.1:*", access=house.access)


def _private(path: Path) -> Path:
    path.chmod(0o600)
    return path
