"""The server of a Klein app, as an endpoint listens with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import ServerFactory
from zope.interface import implementer

from asciid.http._channel import Channel
from asciid.http._http_server import Server

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

__all__ = ["KleinFactory"]


@implementer(IProtocolNegotiationFactory)
class KleinFactory(Server, ServerFactory):
    """Serves a Klein app over HTTP/1.1 on any stream endpoint, TLS included."""

    noisy = False  # the service logs where it listens

    def startFactory(self) -> None:
        """See ``Factory``."""
        self.start_sweep()

    def stopFactory(self) -> None:
        """See ``Factory``."""
        self.stop_sweep()

    def acceptableProtocols(self) -> list[bytes]:
        """
        Return the protocols to choose from in a TLS handshake (RFC 7301).

        The handshake with a client that offers only others fails.
        """
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        """Construct the protocol of a connection from an address."""
        if self.clock() >= self.sweep_due:
            self.sweep_overdue()
        return Channel(self, self.client_at(addr))
