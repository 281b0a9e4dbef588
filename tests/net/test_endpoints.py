"""Tests of asciid.net.endpoints."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from asciid.net import endpoints
from asciid.net.endpoints import endpoint_from
from asciid.net.tls import Certificate
from tests.integration._certificate import write_certificate

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint

TURNS = 100
"""Iterations of the reactor until a test fails."""

LOOPBACK = "tcp:0:interface=127.0.0.1"


class Recorder(Protocol):
    """Collects the received bytes."""

    received = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data


class EndpointTestCase(SynchronousTestCase):
    """Provides a real reactor that the test iterates."""

    def setUp(self) -> None:
        """Make it."""
        self.reactor: Any = SelectReactor()
        self.addCleanup(self.reactor.removeAll)
        self.accepted: list[Recorder] = []

    def listen(self, endpoint: IStreamServerEndpoint) -> IListeningPort:
        """Listen on an endpoint; return the port."""
        factory = Factory.forProtocol(Recorder)
        factory.noisy = False
        factory.buildProtocol = self.build_protocol  # type: ignore[assignment, method-assign] # records calls
        port: IListeningPort = self.successResultOf(endpoint.listen(factory))
        self.addCleanup(self.stop, port)
        return port

    def build_protocol(self, _: object) -> Recorder:
        """Record a connection."""
        self.accepted.append(Recorder())
        return self.accepted[-1]

    def assert_accepts(self, family: int, address: Any, data: bytes = b"") -> None:  # noqa: ANN401 - of its family
        """Check that a connection is accepted and bytes are received."""
        before = len(self.accepted)
        with socket.socket(family) as client:
            client.connect(address)
            client.sendall(data)
            for _ in range(TURNS):
                self.reactor.iterate(0.01)
                if len(self.accepted) > before and (
                    not data or self.accepted[-1].received
                ):
                    break
        self.assertEqual(len(self.accepted), before + 1)

    def stop(self, port: IListeningPort) -> None:
        """Listen no more."""
        stopped = maybeDeferred(port.stopListening)
        for _ in range(TURNS):
            if stopped.called:
                break
            self.reactor.iterate(0.01)
        self.successResultOf(stopped)

    def short_name(self) -> str:
        """Return a name for a Unix socket that is short enough in any directory."""
        path = Path(self.mktemp()).resolve()
        directory = os.open(path.parent, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        return f"/proc/self/fd/{directory}/{path.name}"

    def certificate(self) -> Certificate:
        """Return a new certificate."""
        directory = Path(self.mktemp())
        directory.mkdir()
        write_certificate(directory)
        files = f"privateKey={directory}/key.pem:certKey={directory}/cert.pem"
        return Certificate(f"ssl:0:{files}")


class OwnTests(EndpointTestCase):
    """Endpoints on sockets that are opened when they begin to listen."""

    def test_tcp(self) -> None:
        """Connections are accepted until the port stops."""
        port = self.listen(endpoint_from(LOOPBACK, self.reactor))
        address = ("127.0.0.1", port.getHost().port)  # type: ignore[attr-defined] # an IPv4Address
        self.assert_accepts(socket.AF_INET, address)
        self.stop(port)
        with socket.socket() as client:
            self.assertRaises(ConnectionRefusedError, client.connect, address)

    def test_unix(self) -> None:
        """A Unix socket has its mode while it listens, and its name is removed."""
        name = self.short_name()
        port = self.listen(endpoint_from(f"unix:{name}:mode=640", self.reactor))
        self.assertEqual(stat.S_IMODE(os.lstat(name).st_mode), 0o640)
        self.assert_accepts(socket.AF_UNIX, name)
        self.stop(port)
        self.assertFalse(os.path.lexists(name))

    def test_proxied(self) -> None:
        """The header of the PROXY protocol is not for the application."""
        port = self.listen(endpoint_from(f"haproxy:{LOOPBACK}", self.reactor))
        address = ("127.0.0.1", port.getHost().port)  # type: ignore[attr-defined] # an IPv4Address
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
        self.assert_accepts(socket.AF_INET, address, header + b"GET")
        (protocol,) = self.accepted
        self.assertEqual(protocol.received, b"GET")
        assert protocol.transport is not None
        self.assertEqual(protocol.transport.getPeer().host, "192.0.2.1")  # type: ignore[attr-defined] # an IPv4Address

    def test_plugin(self) -> None:
        """Twisted opens those of plugins."""
        self.patch(endpoints, "serverFromString", lambda *arguments: arguments)
        endpoint: Any = endpoint_from("onion:80", self.reactor)
        self.assertEqual(endpoint, (self.reactor, "onion:80"))

    def test_cannot_listen(self) -> None:
        """The failure has the reason."""
        endpoint = endpoint_from("tcp:0:interface=192.0.2.1", self.reactor)
        self.failureResultOf(endpoint.listen(Factory()), CannotListenError)


class InheritedTests(EndpointTestCase):
    """Endpoints on sockets that listen already."""

    def inherit(
        self,
        description: str,
        listening: socket.socket,
        certificate: Certificate | None = None,
    ) -> IListeningPort:
        """Listen on a socket."""
        descriptor = os.dup(listening.fileno())
        return self.listen(
            endpoint_from(description, self.reactor, certificate, descriptor)
        )

    def listening_socket(self, family: int, address: Any) -> socket.socket:  # noqa: ANN401 - of its family
        """Return a socket that listens there."""
        listening = socket.socket(family)
        self.addCleanup(listening.close)
        listening.bind(address)
        listening.listen()
        listening.setblocking(False)  # noqa: FBT003 - as the method is
        return listening

    def test_tcp(self) -> None:
        """The inherited socket is used, whatever its description."""
        listening = self.listening_socket(socket.AF_INET, ("127.0.0.1", 0))
        port = self.inherit("tcp:1:interface=192.0.2.1", listening)
        self.assertEqual(port.getHost().port, listening.getsockname()[1])  # type: ignore[attr-defined] # an IPv4Address
        self.assert_accepts(socket.AF_INET, listening.getsockname())

    def test_outlives(self) -> None:
        """The socket still listens in other processes after the port has stopped."""
        for family, address in (
            (socket.AF_UNIX, self.short_name()),
            (socket.AF_INET, ("127.0.0.1", 0)),
        ):
            listening = self.listening_socket(family, address)
            self.stop(self.inherit("tcp:0", listening))
            with socket.socket(family) as client:
                client.connect(listening.getsockname())

    def test_two_on_a_unix_socket(self) -> None:
        """A process that stops leaves the socket open, with name and mode."""
        name = self.short_name()
        listening = self.listening_socket(socket.AF_UNIX, name)
        Path(name).chmod(0o600)
        for _ in range(2):
            port = self.inherit("unix:elsewhere", listening)
            self.assert_accepts(socket.AF_UNIX, name)
            self.stop(port)
        self.assertEqual(stat.S_IMODE(os.lstat(name).st_mode), 0o600)

    def test_tls(self) -> None:
        """With a certificate the connections are TLS, by its context of that time."""
        certificate = self.certificate()
        listening = self.listening_socket(socket.AF_INET, ("127.0.0.1", 0))
        adopted: list[Any] = []
        adopt = self.reactor.adoptStreamPort

        def take_note(*arguments: Any) -> Any:  # noqa: ANN401 - as the reactor
            adopted.append(arguments)
            return adopt(*arguments)

        self.patch(self.reactor, "adoptStreamPort", take_note)
        self.inherit(certificate.description, listening, certificate)
        ((_, family, factory),) = adopted
        self.assertEqual(family, socket.AF_INET)
        self.assertIsInstance(factory, TLSMemoryBIOFactory)
        self.assert_accepts(socket.AF_INET, listening.getsockname())
