"""A bridge to an MQTT broker: verdicts with QoS 1, and the line's retained status."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engines.errors import ConfigError
from engines.extras import require
from pipeline.bridges.bridge import Destination, Unreachable, verdict_json
from pipeline.protocol.verdict import Verdict
from pipeline.security.curve import is_local
from pipeline.security.keys import read_secret

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger(__name__)

_KEEP_ALIVE_S = 20
_RECONNECT_S = (1, 10)
_HELLO_S = 15.0
_GOODBYE_S = 2.0
_ACK_S = 60.0
_STATUS_EVERY_S = 5.0
_MOST_TOPIC_BYTES = 65_535
_NAMES = ("{line}", "{camera}")
# paho's MQTT_ERR_NO_CONN
_NO_CONNECTION = 4


@dataclass(frozen=True)
class MqttSettings:
    """How to reach a broker and what to publish there.

    Attributes:
        broker: `HOST` or `HOST:PORT`; the port is 1883 by default, 8883 with TLS.
        topic: a verdict's topic; `{line}` and `{camera}` are replaced by their names.
        status_topic: topic of the retained status; None for no status.
        user: user name to log in with; None for no login.
        password_file: file whose first line is the password.
        tls: whether to encrypt the connection and verify the broker's certificate.
        ca: file with the trusted authorities; None for the system's.
        certificate: the client's certificate file, if the broker asks for one.
        certificate_key: its key file.
        client_id: the client's id at the broker; None for a random one.
        protocol: MQTT version.
        silent_after_s: seconds without a verdict after which the status says that the line is silent.
    """

    broker: str
    topic: str = "taktline/{line}/{camera}"
    status_topic: str | None = None
    user: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    client_id: str | None = None
    protocol: Literal["5", "3.1.1"] = "5"
    silent_after_s: float = 30.0


class MqttBroker(Destination):
    """Publishes each verdict as JSON and waits for the broker's acknowledgement.

    paho's own thread reconnects for as long as it takes, and resends what was not acknowledged.

    Raises:
        ConfigError: a setting is wrong, the broker refuses the user or has the wrong certificate, or paho-mqtt is not
            installed.
    """

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        check_topic(settings.topic, _NAMES)
        if settings.status_topic is not None:
            check_topic(settings.status_topic)
        self._acknowledged: dict[int, str | None] = {}
        self._news = threading.Condition()
        self._connected: bool | None = None
        self._refusal: str | None = None
        self._line: str | None = None
        self._delivered, self._captured_at = 0, 0
        self._state, self._told_at, self._told = "online", 0.0, (-1, "")
        self._client = self._make_client()
        try:
            self._connect()
        except BaseException:
            self._client.loop_stop()
            raise

    def deliver(self, verdicts: Sequence[Verdict], stop: threading.Event) -> None:
        """Publishes verdicts and returns once all are acknowledged."""
        with self._news:
            self._acknowledged.clear()
        waiting = set()
        for verdict in verdicts:
            topic = fill_topic(self._settings.topic, verdict)
            info = self._client.publish(topic, verdict_json(verdict), qos=1)
            # Without a connection, paho keeps the message and sends it after reconnecting.
            if info.rc not in (0, _NO_CONNECTION):
                raise Unreachable(f"the broker {self._settings.broker} takes no more messages now ({info.rc.name})")
            waiting.add(info.mid)
        quiet = time.monotonic() + _ACK_S
        with self._news:
            while not waiting <= self._acknowledged.keys():
                if stop.is_set():
                    raise Unreachable("the bridge was stopped")
                if not self._connected:
                    quiet = time.monotonic() + _ACK_S
                elif time.monotonic() > quiet:
                    raise Unreachable(f"the broker {self._settings.broker} acknowledges nothing")
                self._news.wait(0.2)
            refusals = {why for mid, why in self._acknowledged.items() if mid in waiting and why is not None}
        if refusals:
            raise Unreachable(f"the broker {self._settings.broker} refuses verdicts: {', '.join(sorted(refusals))}")
        self._delivered += len(verdicts)
        self._line, self._captured_at = verdicts[-1].line, verdicts[-1].captured_at

    def tick(self, silent_s: float) -> None:
        """Keeps the retained status up to date."""
        state = "silent" if silent_s > self._settings.silent_after_s else "online"
        news = (self._delivered, state)
        due = state != self._state or time.monotonic() - self._told_at > _STATUS_EVERY_S
        self._state = state
        if self._connected and due and news != self._told:
            self._tell(state)
            self._told, self._told_at = news, time.monotonic()

    def close(self) -> None:
        """Publishes that the bridge is offline, and closes the connection."""
        if self._settings.status_topic is not None and self._connected:
            info = self._client.publish(self._settings.status_topic, self._status("offline"), qos=1, retain=True)
            deadline = time.monotonic() + _GOODBYE_S
            with self._news:
                while info.mid not in self._acknowledged and time.monotonic() < deadline:
                    self._news.wait(0.1)
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self) -> Client:
        paho = require("paho.mqtt.client", "mqtt", ConfigError)
        settings = self._settings
        newest = settings.protocol == "5"
        client: Client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=settings.client_id or f"taktline-{uuid.uuid4().hex[:12]}",
            clean_session=None if newest else True,
            protocol=paho.MQTTv5 if newest else paho.MQTTv311,
        )
        client.on_connect, client.on_disconnect, client.on_publish = self._came, self._went, self._took
        client.reconnect_delay_set(*_RECONNECT_S)
        if settings.user is not None:
            password = None if settings.password_file is None else read_secret(settings.password_file)
            client.username_pw_set(settings.user, password)
        elif settings.password_file is not None:
            raise ConfigError("a password needs a user name; give one with --user")
        if settings.certificate_key is not None and settings.certificate is None:
            raise ConfigError("the key of a client certificate needs the certificate; give it with --cert")
        if settings.tls:
            self._encrypt(client)
        elif settings.user is not None and not is_local(f"tcp://{self._address()[0]}:0"):
            log.warning("the password is sent to %s unencrypted; encrypt the connection with --tls", settings.broker)
        if settings.status_topic is not None:
            client.will_set(settings.status_topic, self._status("offline"), qos=1, retain=True)
        return client

    def _encrypt(self, client: Client) -> None:
        settings = self._settings
        given = (settings.ca, settings.certificate, settings.certificate_key)
        for path in given:
            if path is not None and not path.is_file():
                raise ConfigError(f"there is no file {path}; give a certificate or key in PEM format")
        ca, certificate, key = (None if path is None else str(path) for path in given)
        try:
            client.tls_set(ca, certificate, key)
        except (OSError, ValueError) as error:
            raise ConfigError(f"the certificates for the broker cannot be used ({error})") from error

    def _connect(self) -> None:
        """Connects. If the broker is not there yet, paho keeps trying; if it refuses us, that is an error."""
        host, port = self._address()
        try:
            self._client.connect(host, port, _KEEP_ALIVE_S)
        except ssl.SSLError as error:
            raise ConfigError(
                f"no encrypted connection to the broker {self._settings.broker} ({error}); check --ca"
            ) from error
        except OSError as error:
            log.warning("the broker %s does not answer (%s); still trying", self._settings.broker, error)
            self._client.loop_start()
            return
        self._client.loop_start()
        deadline = time.monotonic() + _HELLO_S
        with self._news:
            while self._connected is None and self._refusal is None and time.monotonic() < deadline:
                self._news.wait(0.1)
        if self._refusal is not None:
            raise ConfigError(
                f"the broker {self._settings.broker} refuses the login ({self._refusal}); check --user and "
                "--password-file"
            )

    def _address(self) -> tuple[str, int]:
        host, separator, port = self._settings.broker.rpartition(":")
        if not separator:
            host, port = self._settings.broker, "8883" if self._settings.tls else "1883"
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ConfigError(f"'{self._settings.broker}' is not a broker's address; give HOST or HOST:PORT")
        return host, int(port)

    def _tell(self, state: str) -> None:
        if self._settings.status_topic is not None:
            self._client.publish(self._settings.status_topic, self._status(state), qos=1, retain=True)

    def _status(self, state: str) -> bytes:
        values = {
            "state": state,
            "line": self._line,
            "delivered": self._delivered,
            "last_captured_at": self._captured_at or None,
        }
        return json.dumps(values).encode()

    # paho's thread calls the following methods.

    def _came(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        del client, data, flags, properties
        with self._news:
            if reason.is_failure:
                self._refusal = str(reason)
                log.error("the broker %s refuses the login: %s", self._settings.broker, reason)
            else:
                self._connected, self._refusal = True, None
                self._tell(self._state)
            self._news.notify_all()

    def _went(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        del client, data, flags, properties
        with self._news:
            if self._connected and reason.is_failure:
                log.warning("lost the broker %s (%s); reconnecting", self._settings.broker, reason)
            self._connected = False
            self._news.notify_all()

    def _took(self, client: Client, data: Any, mid: int, reason: ReasonCode, properties: Properties | None) -> None:
        del client, data, properties
        with self._news:
            self._acknowledged[mid] = str(reason) if reason.is_failure else None
            self._news.notify_all()


def check_topic(topic: str, names: Sequence[str] = ()) -> None:
    """Refuses a topic that cannot be published to.

    Args:
        topic: the topic.
        names: the names in braces that will be filled in.

    Raises:
        ConfigError: it is empty or too long, or has a wildcard or another name in braces.
    """
    if not topic or len(topic.encode()) > _MOST_TOPIC_BYTES // 2 or any(sign in topic for sign in "+#\0"):
        raise ConfigError(f"'{topic[:80]}' is not a topic to publish to; give one without + and #")
    rest = topic
    for name in names:
        rest = rest.replace(name, "")
    if "{" in rest or "}" in rest:
        filled = f"only {' and '.join(names)} are filled in" if names else "nothing is filled in here"
        raise ConfigError(f"'{topic[:80]}' is not a topic to publish to: {filled}")


def fill_topic(topic: str, verdict: Verdict) -> str:
    """Puts a verdict's names into a topic; characters with a special meaning become '_'."""
    for name, value in zip(_NAMES, (verdict.line, verdict.camera), strict=True):
        topic = topic.replace(name, "".join("_" if sign in "/+#\0" else sign for sign in value))
    return topic
