"""A TCP relay that can stop to forward, or cut its connections."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread

from attrs import define, field

__all__ = ["Relay"]

_PATIENCE = 10


@define(eq=False)
class Relay:
    """
    Forwards connections from `port` of 127.0.0.1 to `upstream`, another port there.

    While it is stalled, connections stay open and no byte passes, as when a network
    drops all packets; held bytes pass when it resumes.
    """

    upstream: int
    port: int = field(init=False, default=0)
    accepted: int = field(init=False, default=0)
    """Connections so far."""
    _listener: socket.socket = field(init=False)
    _flowing: Event = field(init=False, factory=Event)
    _ended: bool = field(init=False, default=False)
    _refusing: bool = field(init=False, default=False)
    _sockets: set[socket.socket] = field(init=False, factory=set)

    @_listener.default
    def _listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    @property
    def client_ports(self) -> list[int]:
        """The ports from which it is connected to `upstream`."""
        ports = []
        for one in list(self._sockets):
            with suppress(OSError):
                if one.getpeername()[1] == self.upstream:
                    ports.append(one.getsockname()[1])
        return ports

    def start(self) -> Relay:
        """Accept connections."""
        self.port = self._listener.getsockname()[1]
        self._flowing.set()
        Thread(target=self._accept, daemon=True).start()
        return self

    def stall(self) -> None:
        """Forward nothing from now on, not even that a connection has ended."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, what was held first, and accept connections."""
        self._refusing = False
        self._flowing.set()

    def cut(self) -> None:
        """Close all connections, and each new one at once."""
        self._refusing = True
        self._close_all()

    def end(self) -> None:
        """Close everything."""
        self._ended = True
        # close() alone does not end accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._close_all()
        self._flowing.set()

    def _close_all(self) -> None:
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            if self._refusing:
                client.close()
                continue
            Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        self._flowing.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self.upstream), _PATIENCE)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        pair = {client, server}
        self._sockets |= pair
        back = Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        self._sockets -= pair
        for one in pair:
            one.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                self._flowing.wait()
                target.sendall(data)
        self._flowing.wait()
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
