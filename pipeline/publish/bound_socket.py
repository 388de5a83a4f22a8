"""A socket that a line binds, with its own ZeroMQ context and behind a gate."""

from __future__ import annotations

from collections.abc import Mapping

import zmq

from engines.closing import Closing
from pipeline.protocol.sockets import notice_dead_peers
from pipeline.security.curve import Access, Socket
from pipeline.security.gate import Gate


class BoundSocket(Closing):
    """Creates a socket, sets its options, and binds it through a gate. If that fails, nothing stays open.

    Args:
        kind: ZeroMQ's kind of socket.
        options: ZeroMQ socket options, set before the socket is bound. They must include LINGER.
        address: where to bind it.
        access: who may reach it.
        what: what to call the socket in errors.
        setting: the section of the line file that names the allowed clients.

    Attributes:
        socket: the bound socket.
        gate: admits clients to it; call `gate.mind` as its documentation says.

    Raises:
        ConfigError: the address cannot be bound, or would be open to everyone.
    """

    def __init__(
        self,
        kind: int,
        options: Mapping[zmq.SocketOption, int],
        address: str,
        access: Access,
        what: str,
        setting: str = "[publish]",
    ) -> None:
        self._context = zmq.Context()
        self.socket: Socket = self._context.socket(kind)
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        notice_dead_peers(self.socket)
        try:
            self.gate = Gate(self.socket, address, access, what, setting)
        except BaseException:
            self.socket.close()
            self._context.term()
            raise

    @property
    def address(self) -> str:
        """The bound address, with the actual port if 0 was given."""
        return self.gate.address

    def close(self) -> None:
        """Closes the gate and the socket; waits up to LINGER for unsent messages."""
        self.gate.close()
        self.socket.close()
        self._context.term()
