"""A bridge to a web server: one POST per verdict."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from engines.errors import ConfigError
from engines.extras import require
from pipeline.bridges.bridge import Destination, Unreachable, idempotency_key, verdict_json
from pipeline.protocol.sockets import MOST_PORT
from pipeline.protocol.verdict import Verdict
from pipeline.security.keys import read_secret

_MOST_ANSWER_BYTES = 64 << 10
_CONFLICT = 409


class Webhook(Destination):
    """POSTs each verdict as JSON, with the header `Idempotency-Key: LINE/CAMERA/EPOCH/SEQUENCE`.

    2xx means that the server has the verdict, and so does 409, for a repeated one. After any other answer, the bridge
    tries again for as long as it takes: a verdict that the server refuses delays those after it, and is not lost.

    Args:
        url: where to post.
        token_file: file whose first line is a token to send as `Authorization: Bearer`.
        timeout_s: how long an answer may take.

    Raises:
        ConfigError: the URL cannot be used, the token cannot be read, or httpx is not installed.
    """

    together = 1

    def __init__(self, url: str, token_file: Path | None = None, timeout_s: float = 10.0) -> None:
        httpx = self._httpx = require("httpx", "webhook", ConfigError)
        try:
            self._url = httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigError(f"'{url}' is not a URL to post to ({error}); give one like https://HOST/PATH") from error
        if self._url.scheme not in ("http", "https") or not self._url.host or (self._url.port or 0) > MOST_PORT:
            raise ConfigError(f"'{url}' is not a URL to post to; give one like https://HOST/PATH")
        headers = {"Content-Type": "application/json"}
        if token_file is not None:
            headers["Authorization"] = f"Bearer {read_secret(token_file)}"
        self._client = httpx.Client(headers=headers, timeout=timeout_s)

    def deliver(self, verdicts: Sequence[Verdict], stop: threading.Event) -> None:
        """Posts verdicts, one after the other."""
        for verdict in verdicts:
            if stop.is_set():
                raise Unreachable("the bridge was stopped")
            self._post(verdict)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _post(self, verdict: Verdict) -> None:
        headers = {"Idempotency-Key": idempotency_key(verdict)}
        # The log must not show a password in the URL.
        where = f"{self._url.scheme}://{self._url.host}{self._url.path}"
        try:
            with self._client.stream("POST", self._url, content=verdict_json(verdict), headers=headers) as answer:
                # Reading the answer frees the connection for the next one, but no server can make us read forever.
                read = 0
                for block in answer.iter_raw():
                    read += len(block)
                    if read > _MOST_ANSWER_BYTES:
                        break
        except self._httpx.HTTPError as error:
            raise Unreachable(f"{where} does not answer ({type(error).__name__}: {error})") from error
        if not answer.is_success and answer.status_code != _CONFLICT:
            asked = answer.headers.get("Retry-After", "")
            raise Unreachable(
                f"{where} answered {answer.status_code} to {headers['Idempotency-Key']}",
                float(asked) if asked.isdecimal() else None,
            )
