"""Users, roles, sessions and the wait after wrong passwords; no browser."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from engines.errors import ConfigError
from pipeline.dashboard.sessions import Forbidden, Sessions, Throttle
from pipeline.dashboard.users import PasswordFile, Role, add_user, read_users, remove_user


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.passwd"
    add_user(path, "anna", Role.operator, "a long password")
    return path


def test_a_password_file_is_private_and_holds_no_password(users: Path) -> None:
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    assert "a long password" not in users.read_text()
    file = PasswordFile(users)
    assert file.check("anna", "a long password") == read_users(users)[0]
    assert file.check("anna", "a long passwors") is None
    assert file.check("nobody", "a long password") is None
    users.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read the secret"):
        PasswordFile(users)


def test_a_removed_user_is_out_at_once_and_another_role_counts_at_once(users: Path) -> None:
    sessions = Sessions(PasswordFile(users))
    session = sessions.find(sessions.begin("anna"))
    assert session is not None
    sessions.require(session, Role.operator)
    with pytest.raises(Forbidden, match="needs the role engineer, and anna is operator"):
        sessions.require(session, Role.engineer)
    add_user(users, "anna", Role.engineer, "another password")
    sessions.require(session, Role.engineer)
    remove_user(users, "anna")
    with pytest.raises(Forbidden, match="logged out"):
        sessions.require(session, Role.viewer)


def test_nobody_is_let_in_by_a_file_that_cannot_be_read(users: Path) -> None:
    sessions = Sessions(PasswordFile(users))
    session = sessions.find(sessions.begin("anna"))
    assert session is not None
    users.write_text("anna:everything:$argon2\n")
    assert sessions.role(session) is None


@pytest.mark.parametrize(
    ("line", "password", "reason"),
    [
        ("an na", "a long password", "cannot be a user"),
        ("anna:x", "a long password", "cannot be a user"),
        ("anna", "short", "8 to 256 characters"),
        ("anna", "x" * 257, "8 to 256 characters"),
    ],
)
def test_a_user_that_cannot_be(line: str, password: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        add_user(tmp_path / "users", line, Role.viewer, password)


def test_sessions_end(users: Path) -> None:
    clock = Clock()
    sessions = Sessions(PasswordFile(users), clock)
    token = sessions.begin("anna")
    session = sessions.find(token)
    assert session is not None
    for _ in range(5):
        clock.now += 11 * 3600
        sessions.touch(session)
    assert sessions.find(token) is session, "an open page keeps it"
    clock.now += 13 * 3600
    assert sessions.find(token) is None, "nobody looked for twelve hours"
    token = sessions.begin("anna")
    session = sessions.find(token)
    assert session is not None
    sessions.end(session)
    assert sessions.find(token) is None
    assert sessions.role(session) is None
    assert sessions.find("guessed") is None


def test_sessions_are_bounded(users: Path) -> None:
    sessions = Sessions(PasswordFile(users))
    first = sessions.begin("anna")
    for _ in range(1000):
        last = sessions.begin("anna")
    assert sessions.find(first) is None
    assert sessions.find(last) is not None


def test_without_a_password_file_everyone_watches_and_a_key_lets_in() -> None:
    sessions = Sessions(None)
    assert sessions.everyone is not None
    sessions.require(sessions.everyone, Role.viewer)
    with pytest.raises(Forbidden):
        sessions.require(sessions.everyone, Role.operator)
    assert sessions.is_entry_key(sessions.entry_key)
    assert not sessions.is_entry_key("")
    assert not sessions.is_entry_key(sessions.entry_key[:-1] + "é")


def test_guessing_becomes_slow_and_nobody_can_keep_a_user_out_for_long() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    waits = []
    for _ in range(12):
        throttle.failed("10.0.0.9", "anna")
        waits.append(throttle.wait_s("10.0.0.9", "anna"))
        clock.now += waits[-1]
    assert waits[:6] == [0, 0, 1, 2, 4, 8]
    assert waits[-1] == 60
    throttle.failed("10.0.0.9", "anna")
    assert 0 < throttle.wait_s("10.0.0.1", "anna") <= 5, "anna waits for five seconds elsewhere"
    assert throttle.wait_s("10.0.0.1", "otto") == 0
    throttle.succeeded("10.0.0.9", "anna")
    assert throttle.wait_s("10.0.0.9", "anna") == 0
    for number in range(5000):
        throttle.failed(f"10.1.{number // 256}.{number % 256}", f"user{number}")
    assert len(throttle._failures) <= 1000
