"""Who gets in, and what a browser cannot reach: over real sockets, without a browser."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import FastAPI

from engines.errors import ConfigError
from pipeline.dashboard.login import LogIn
from pipeline.dashboard.sessions import Sessions
from pipeline.dashboard.settings import check_dashboard, read_dashboard_file
from pipeline.dashboard.users import PasswordFile, Role, add_user
from tests.conftest import RunTaktline
from tests.paths import ROOT
from tests.pipeline.dashboard.site import PASSWORDS, Site, environment, free_port
from tests.pipeline.parts import until


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def known(site: Site) -> Iterator[httpx.Client]:
    """Of an engineer who has logged in."""
    with httpx.Client(base_url=site.url, timeout=10) as client:
        assert log_in(client, "emil").status_code == 303
        yield client


def log_in(client: httpx.Client, name: str, **changes: str) -> httpx.Response:
    return client.post("/login", data=form_of(client.get("/login").text, name) | changes)


def form_of(page: str, name: str) -> dict[str, str]:
    token = page.split('name="csrf" value="')[1].split('"', maxsplit=1)[0]
    return {"name": name, "password": PASSWORDS[name], "csrf": token, "to": "/history"}


@pytest.mark.parametrize(
    "path",
    ["/", "/history", "/part", "/trends", "/line", "/export.csv?line=red", "/history/red/top/aa/0.jpg",
     "/live/red/top/aa/0.jpg", "/static/taktline.js", "/_nicegui_ws/socket.io/?EIO=4&transport=polling",
     "/_nicegui/auto/static/nicegui.js", "/docs", "/openapi.json"],
)  # fmt: skip
def test_nothing_is_reachable_before_the_log_in(path: str, client: httpx.Client) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer.text == "Log in first."
    html = client.get(path, headers={"accept": "text/html"})
    assert html.status_code == 303
    assert html.headers["location"].startswith("/login?to=")


def test_the_cookie_and_the_headers(client: httpx.Client) -> None:
    answer = log_in(client, "vera")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/history"
    cookie = next(text for text in answer.headers.get_list("set-cookie") if "-form" not in text.split("=")[0])
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    page = client.get("/")
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_the_log_in_leads_to_no_other_site(to: str, client: httpx.Client) -> None:
    assert log_in(client, "vera", to=to).headers["location"] == "/"


def test_a_form_of_another_site_is_refused(client: httpx.Client) -> None:
    assert log_in(client, "vera", csrf="guessed").status_code == 403
    log_in(client, "vera")
    evil = {"origin": "http://evil.example"}
    assert client.post("/logout", headers=evil).status_code == 403
    assert client.get("/_nicegui_ws/socket.io/?EIO=4&transport=polling", headers=evil).status_code == 403
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.post("/logout", data={"csrf": "guessed"}).status_code == 303
    assert client.get("/").status_code == 200, "a log-out needs the token of the session"


def test_a_socket_without_a_session_is_refused(site: Site) -> None:
    upgrade = (
        f"GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", site.port), 5) as connection:
        connection.sendall(upgrade.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "path",
    ["/history/red/..%2f..%2f..%2f/aa/0.jpg", "/history/red/top/..%2f..%2fetc/0.jpg", "/history/red/top/aa/-1.jpg",
     "/history/%2e%2e/top/aa/1.jpg", "/history/red/top/aa/99999999999999999999.jpg", "/live/red/top/aa/9.jpg",
     "/live/none/top/aa/9.jpg", "/export.csv?line=../red", "/export.db?line=red", "/static/../users.py",
     "/static/%2e%2e/users.py", "/static/..%2fserver.py"],
)  # fmt: skip
def test_no_path_leads_outside_the_journal(path: str, known: httpx.Client) -> None:
    answer = known.get(path, headers={"accept": "*/*"})
    assert answer.status_code in {404, 422} or "<html" in answer.text
    assert b"root:" not in answer.content and b"from __future__" not in answer.content


@pytest.mark.parametrize(
    "query",
    [{"from": "yesterday"}, {"low": "nan"}, {"high": "1e999"}, {"verdict": "fine"}, {"label": "'; DROP TABLE facts"},
     {"part": "\x00" * 500}, {"after": "1~2~3"}, {"after": "~~~"}, {"key": "9" * 30 + "~aa~0~top"}, {"line": "none"}],
)  # fmt: skip
def test_nonsense_in_an_address_is_answered_by_a_page(query: dict[str, str], known: httpx.Client) -> None:
    for page in ("/history", "/part", "/trends"):
        answer = known.get(f"{page}?{urlencode(query)}")
        assert answer.status_code == 200
        assert "Taktline" in answer.text


def test_with_tls_the_page_may_be_reached_from_elsewhere(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    subprocess.run(make, check=True, capture_output=True)
    add_user(tmp_path / "users", "vera", Role.viewer, PASSWORDS["vera"])
    port = free_port()
    command = [sys.executable, "-m", "taktline", "dashboard", "--line", "away", "--bind", f"0.0.0.0:{port}", "--users",
               str(tmp_path / "users"), "--certificate", str(certificate), "--certificate-key", str(key)]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "is running; open https://" in process.stderr.readline()
            with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=False, timeout=10) as client:
                until(lambda: client.get("/login").status_code == httpx.codes.OK)
                answer = log_in(client, "vera")
                assert answer.status_code == 303
                cookies = [text for text in answer.headers.get_list("set-cookie") if "Max-Age=0" not in text]
                assert cookies and all("Secure" in text for text in cookies)
                assert client.get("/").status_code == 200
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def test_guessing_is_slowed_down(tmp_path: Path) -> None:
    """Without the rest of the dashboard, because an address that guesses has to wait."""
    add_user(tmp_path / "users", "vera", Role.viewer, PASSWORDS["vera"])
    app = FastAPI()
    LogIn(Sessions(PasswordFile(tmp_path / "users")), "test", secure=False).add_to(app)

    async def attempts() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            codes = []
            for password in ("a guess", "a guess", "a guess", "a guess", PASSWORDS["vera"]):
                form = form_of((await client.get("/login")).text, "vera") | {"password": password}
                codes.append((await client.post("/login", data=form)).status_code)
            return codes

    assert asyncio.run(attempts()) == [401, 401, 401, 429, 429], "not even the right one"


@pytest.mark.parametrize(
    ("door", "reason"),
    [
        ({"bind": "0.0.0.0:0"}, "would be open to everyone"),
        ({"bind": "0.0.0.0:0", "users": "users"}, "without TLS would send passwords in the clear"),
        ({"bind": "[::]:0", "users": "users"}, "without TLS would send passwords in the clear"),
        ({"bind": "plant.example:0"}, "would be open to everyone"),
        ({"certificate": "cert.pem"}, "certificate and key belong together"),
        ({"certificate": "none.pem", "key": "none.pem"}, "there is no file none.pem"),
    ],
)
def test_a_page_that_would_be_open_is_refused(door: dict[str, str], reason: str) -> None:
    config = check_dashboard({"dashboard": door, "line": [{"name": "press4"}]}, "test")
    with pytest.raises(ConfigError, match=reason):
        config.dashboard.check()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line"),
        ("[[line]]\nname = 'a'\n[[line]]\nname = 'a'", "two lines are called 'a'"),
        ("[[line]]\nname = 'a'\ncontrol = 'none'", "its verdicts need an address"),
        ("[[line]]\nname = 'a'\nkey = 'x'", "key and server_key together"),
        ("[[line]]\nname = 'a'\njurnal = 'x'", "did you mean 'journal'"),
        ("[dashbord]\nbind = 'x'\n[[line]]\nname = 'a'", "did you mean 'dashboard'"),
        ("[dashboard]\nbind = '127.0.0.1:99999'\n[[line]]\nname = 'a'", "port from 0 to 65535"),
        ("[[line]\n", "is not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "dash.toml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_dashboard_file(tmp_path / "dash.toml")


def test_the_file_in_the_documentation_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "dashboard.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "wall.toml").write_text(block)
    config = read_dashboard_file(tmp_path / "wall.toml")
    assert config.dashboard.users == tmp_path / "users.passwd"
    for section in (config.dashboard, *config.line):
        for name in type(section).model_fields:
            assert f"`{name}`" in text, name


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "press4.key").write_text("a key")
    line = '[[line]]\nname = "a"\nkey = "own"\nserver_key = "{}"\njournal = "a.journal"\n'
    (tmp_path / "dash.toml").write_text(line.format("press4.key"))
    (found,) = read_dashboard_file(tmp_path / "dash.toml").line
    assert (found.key, found.journal) == (tmp_path / "own", tmp_path / "a.journal")
    assert found.server_key == str(tmp_path / "press4.key")
    printed = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
    (tmp_path / "dash.toml").write_text(line.format(printed))
    assert read_dashboard_file(tmp_path / "dash.toml").line[0].server_key == printed


def test_the_commands_say_what_is_wrong(taktline_in_process: RunTaktline, tmp_path: Path) -> None:
    for arguments, reason in (
        ((), "either a dashboard file or --line"),
        (("--line", "a b"), "line"),
        (("--line", "a", "--bind", "0.0.0.0:0"), "would be open to everyone"),
        (("--line", "a", "--users", str(tmp_path / "none")), "cannot be read"),
        ((str(tmp_path / "none.toml"),), "cannot be read"),
    ):
        done = taktline_in_process("dashboard", *arguments)
        assert done.returncode == 2
        assert reason in " ".join(done.stderr.split())


def test_a_user_is_added_from_a_pipe_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "users"
    command = [sys.executable, "-m", "taktline", "dashboard-user", str(file), "anna"]
    done = subprocess.run([*command, "--role", "engineer"], input="a long password\n", text=True, capture_output=True,
                          cwd=ROOT, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert file.read_text().splitlines()[-1].startswith("anna:engineer:$argon2id$")
    done = subprocess.run([*command, "--remove"], text=True, capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "anna" not in file.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("nicegui", ("dashboard", "--line", "a")),
        ("argon2", ("dashboard", "--line", "a")),
        ("argon2", ("dashboard-user", "users", "anna")),
        ("nicegui", ("demo", "--watch")),
    ],
)
def test_without_its_packages_the_extra_is_named(
    package: str, arguments: tuple[str, ...], taktline_in_process: RunTaktline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = taktline_in_process(*arguments)
    assert done.returncode == 2
    assert "pip install 'taktline[dashboard]'" in done.stderr
