"""A proxy before a database that loses connections around COMMIT."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from enum import Enum
from threading import Event, Thread
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CommitProxy", "Fault"]

_READY = b"Z\0\0\0\5"
"""How ReadyForQuery begins."""

_PATIENCE = 10.0


class Fault(Enum):
    """What happens to a connection whose client sends COMMIT."""

    BEFORE = "it is cut, and the server does not receive it"
    AFTER = "it is cut when the server has answered, and the client has no answer"
    SENT = "it is cut as soon as it is sent to the server"
    LATE = "it is cut, and the server receives it some time later"


@define(eq=False)
class CommitProxy:
    """
    Forwards connections from `port` of 127.0.0.1 to `upstream`, another port there.

    `choose` returns what happens at each COMMIT, None for nothing, and `delay` for how
    many seconds one that is late is held back.  The protocol is that of PostgreSQL,
    version 3, without encryption.
    """

    upstream: int
    choose: Callable[[], Fault | None]
    delay: Callable[[], float]
    port: int = field(init=False, default=0)
    _listener: socket.socket = field(init=False)

    @_listener.default
    def _(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    def start(self) -> CommitProxy:
        """Accept connections."""
        self.port = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()
        return self

    def end(self) -> None:
        """Accept nothing more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.upstream), _PATIENCE)
            server.settimeout(None)
            _Connection(self, client, server).start()


@define(eq=False)
class _Connection:
    """A connection of a client, and the one to the server."""

    proxy: CommitProxy
    client: socket.socket
    server: socket.socket
    _hidden: Event = field(init=False, factory=Event)
    """Whether the client receives nothing more."""
    _answered: Event = field(init=False, factory=Event)
    """Whether the server has answered after that."""

    def start(self) -> None:
        """Forward in both directions."""
        Thread(target=self._forward_requests, daemon=True).start()
        Thread(target=self._forward_answers, daemon=True).start()

    def _close(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _forward_answers(self) -> None:
        with suppress(OSError):
            while data := self.server.recv(2**16):
                if self._hidden.is_set():
                    if _READY in data:
                        self._answered.set()
                else:
                    self.client.sendall(data)
        self._answered.set()
        self._close(self.client, self.server)

    def _forward_requests(self) -> None:
        held = b""
        commits = False
        with suppress(OSError, EOFError, struct.error):
            for message in self._messages():
                commits = commits or _is_commit(message)
                held += message
                # What belongs to a COMMIT ends with Sync, unless it is a simple query.
                if commits and message[:1] in b"SQ":
                    self._commit(held)
                elif commits:
                    continue
                else:
                    self.server.sendall(held)
                held, commits = b"", False
        self._close(self.client, self.server)

    def _commit(self, held: bytes) -> None:
        fault = self.proxy.choose()
        if fault is None:
            self.server.sendall(held)
            return
        if fault is not Fault.BEFORE:
            self._hidden.set()
            if fault is Fault.LATE:
                self._close(self.client)
                time.sleep(self.proxy.delay())
            self.server.sendall(held)
            if fault is not Fault.SENT:
                self._answered.wait(_PATIENCE)
        self._close(self.client, self.server)
        raise EOFError

    def _messages(self) -> Iterator[bytes]:
        """Yield the messages of the client, the first of which has no type."""
        size = self._receive(4)
        yield size + self._receive(struct.unpack("!I", size)[0] - 4)
        while True:
            head = self._receive(5)
            yield head + self._receive(struct.unpack("!I", head[1:])[0] - 4)

    def _receive(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = self.client.recv(size - len(parts))
            if not part:
                raise EOFError
            parts += part
        return parts


def _is_commit(message: bytes) -> bool:
    """Return whether a message is Parse or Query with COMMIT."""
    return (message[:1] == b"P" and b"\0COMMIT\0" in message) or (
        message[:1] == b"Q" and message[5:] == b"COMMIT\0"
    )
