"""Tests of asciid.workers._spreading."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ServerFactory
from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from asciid.workers._spreading import descriptors_of, spread_endpoint
from tests.integration._certificate import write_certificate

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort

COUNT = 3
TURNS = 100
"""Of a reactor, until what does not happen has failed the test."""


class SpreadingTests(SynchronousTestCase):
    """Ports that are several sockets."""

    def setUp(self) -> None:
        """Make a reactor, which nobody else runs."""
        self.reactor: Any = SelectReactor()
        self.addCleanup(self.reactor.removeAll)

    def listen(self, description: str) -> IListeningPort:
        """Listen, on sockets that do not outlive the test."""
        factory = ServerFactory()
        factory.noisy = False
        endpoint = spread_endpoint(self.reactor, description, COUNT)
        port: IListeningPort = self.successResultOf(endpoint.listen(factory))
        self.addCleanup(self.stop, port)
        return port

    def stop(self, port: IListeningPort) -> None:
        """Listen no more."""
        stopped = maybeDeferred(port.stopListening)
        for _ in range(TURNS):
            if stopped.called:
                break
            self.reactor.iterate(0.01)
        self.successResultOf(stopped)

    def handed_down(self, descriptor: int) -> socket.socket:
        """Return the socket, as another process has it."""
        inherited = socket.socket(fileno=os.dup(descriptor))
        self.addCleanup(inherited.close)
        inherited.settimeout(5)
        return inherited

    def test_one_for_each(self) -> None:
        """Each has a socket of its own, all on one port; nothing is accepted here."""
        port: Any = self.listen("tcp:0:interface=127.0.0.1")
        descriptors = descriptors_of(port)
        self.assertEqual(len(set(descriptors)), COUNT)
        address = ("127.0.0.1", port.getHost().port)
        names = {self.handed_down(one).getsockname() for one in descriptors}
        self.assertEqual(names, {address})
        self.assertEqual([one for one in port.ports if one in self.reactor._reads], [])

    def test_goes_on(self) -> None:
        """Who was handed a socket accepts on it after the port here has stopped."""
        endpoint = spread_endpoint(self.reactor, "tcp:0:interface=127.0.0.1", 1)
        factory = ServerFactory()
        factory.noisy = False
        port: Any = self.successResultOf(endpoint.listen(factory))
        inherited = self.handed_down(descriptors_of(port)[0])
        self.stop(port)
        with socket.create_connection(inherited.getsockname(), timeout=5):
            accepted, _ = inherited.accept()
            accepted.close()

    def test_number(self) -> None:
        """A port number is IPv6 and IPv4, on each of the sockets."""
        port: Any = self.listen("0")
        descriptors = descriptors_of(port)
        self.assertEqual(len(descriptors), COUNT)
        names = set()
        for descriptor in descriptors:
            inherited = self.handed_down(descriptor)
            self.assertEqual(
                inherited.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 0
            )
            names.add(inherited.getsockname())
        self.assertEqual(len(names), 1)

    def test_no_ipv6(self) -> None:
        """Where there is no IPv6, IPv4 is left."""

        def none(family: int, *arguments: Any) -> socket.socket:  # noqa: ANN401 - the original's
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported")
            return made(family, *arguments)

        made = socket.socket
        self.patch(socket, "socket", none)
        port: Any = self.listen("0")
        self.assertEqual(port.getHost().host, "0.0.0.0")

    def test_unix(self) -> None:
        """A Unix socket is one, for all."""
        name = Path(self.mktemp()).name
        port: Any = self.listen(f"unix:{name}")
        descriptors = descriptors_of(port)
        self.assertEqual(len(descriptors), 1)
        self.assertTrue(Path(name).is_socket())

    def test_tls(self) -> None:
        """With TLS it is the same: the handshake is for who accepts."""
        directory = Path(self.mktemp())
        directory.mkdir()
        write_certificate(directory)
        port = self.listen(
            "ssl:0:interface=127.0.0.1:"
            f"privateKey={directory}/key.pem:certKey={directory}/cert.pem"
        )
        self.assertEqual(len(descriptors_of(port)), COUNT)

    def test_taken(self) -> None:
        """A port on which others listen is not shared with them."""
        with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
            number = other.getsockname()[1]
            endpoint = spread_endpoint(
                self.reactor, f"tcp:{number}:interface=127.0.0.1", COUNT
            )
            self.failureResultOf(endpoint.listen(ServerFactory()), CannotListenError)
