"""Tests of asciid.workers._inherited."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from asciid.workers._inherited import inherited_endpoint
from tests.integration._certificate import write_certificate

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort

TURNS = 100
"""Of a reactor, until what does not happen has failed the test."""


class InheritedTests(SynchronousTestCase):
    """Endpoints on sockets that listen already."""

    def setUp(self) -> None:
        """Make a reactor, which nobody else runs."""
        self.reactor: Any = SelectReactor()
        self.addCleanup(self.reactor.removeAll)
        self.met: list[Protocol] = []

    def listen(self, description: str, listening: socket.socket) -> IListeningPort:
        """Listen on an endpoint that has the socket; return the port."""
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        factory.buildProtocol = self.build_protocol  # type: ignore[assignment, method-assign] # takes note
        endpoint = inherited_endpoint(
            self.reactor, description, os.dup(listening.fileno())
        )
        port: IListeningPort = self.successResultOf(endpoint.listen(factory))
        return port

    def build_protocol(self, _: object) -> Protocol:
        """Take note of a connection."""
        self.met.append(Protocol())
        return self.met[-1]

    def listening_socket(self, family: int, address: Any) -> socket.socket:  # noqa: ANN401 - of its family
        """Return a socket that listens there."""
        listening = socket.socket(family)
        self.addCleanup(listening.close)
        listening.bind(address)
        listening.listen()
        listening.setblocking(False)  # noqa: FBT003 - as the method is
        return listening

    def assert_accepts(self, listening: socket.socket) -> None:
        """Check that who connects is met."""
        before = len(self.met)
        with socket.socket(listening.family) as client:
            client.connect(listening.getsockname())
            for _ in range(TURNS):
                self.reactor.iterate(0.01)
                if len(self.met) > before:
                    break
        self.assertEqual(len(self.met), before + 1)

    def stop(self, port: IListeningPort) -> None:
        """Listen no more."""
        stopped = maybeDeferred(port.stopListening)
        for _ in range(TURNS):
            if stopped.called:
                break
            self.reactor.iterate(0.01)
        self.successResultOf(stopped)

    def test_tcp(self) -> None:
        """Connections to the socket are met, wherever the description would listen."""
        listening = self.listening_socket(socket.AF_INET, ("127.0.0.1", 0))
        port = self.listen("tcp:1:interface=192.0.2.1", listening)
        self.assertEqual(port.getHost().port, listening.getsockname()[1])  # type: ignore[attr-defined] # an IPv4Address
        self.assert_accepts(listening)
        self.stop(port)

    def test_systemd(self) -> None:
        """A socket of another family than the description has is met, too."""
        listening = self.listening_socket(socket.AF_UNIX, self.mktemp())
        port = self.listen("tcp:0", listening)
        self.assert_accepts(listening)
        self.stop(port)

    def test_two_on_a_unix_socket(self) -> None:
        """One that stops leaves the socket to the others, as open as it was."""
        name = str(Path(self.mktemp()).resolve())
        # There is no room for the name of a socket in a long path.
        directory = os.open(Path(name).parent, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        name = f"/proc/self/fd/{directory}/{Path(name).name}"
        listening = self.listening_socket(socket.AF_UNIX, name)
        Path(name).chmod(0o600)
        first = self.listen("unix:elsewhere", listening)
        self.assert_accepts(listening)
        self.stop(first)
        second = self.listen("unix:elsewhere", listening)
        self.assert_accepts(listening)
        self.stop(second)
        self.assertEqual(stat.S_IMODE(os.lstat(name).st_mode), 0o600)

    def test_tls(self) -> None:
        """Of a TLS endpoint the connections are TLS."""
        directory = Path(self.mktemp())
        directory.mkdir()
        write_certificate(directory)
        listening = self.listening_socket(socket.AF_INET, ("127.0.0.1", 0))
        adopted: list[Any] = []
        adopt = self.reactor.adoptStreamPort

        def take_note(*arguments: Any) -> Any:  # noqa: ANN401 - as the reactor
            adopted.append(arguments)
            return adopt(*arguments)

        self.patch(self.reactor, "adoptStreamPort", take_note)
        description = (
            f"ssl:0:privateKey={directory}/key.pem:certKey={directory}/cert.pem"
        )
        port = self.listen(description, listening)
        ((_, family, factory),) = adopted
        self.assertEqual(family, socket.AF_INET)
        self.assertIsInstance(factory, TLSMemoryBIOFactory)
        self.assert_accepts(listening)
        self.stop(port)
