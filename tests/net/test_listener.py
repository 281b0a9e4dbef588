"""Tests of asciid.net.listener."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ServerFactory
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.tcp import Port
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from asciid.net.listener import BACKLOG, Listener, endpoint_from


class BacklogTests(SynchronousTestCase):
    """How many connections may wait to be accepted."""

    def listen(self, description: str) -> Any:  # noqa: ANN401 - MemoryReactor is not typed
        """Listen on an endpoint; return the reactor that was asked."""
        reactor = MemoryReactor()
        endpoint = endpoint_from(description, reactor)
        self.successResultOf(endpoint.listen(ServerFactory()))
        return reactor

    def tcp_backlog(self, description: str) -> int:
        """Return what a TCP endpoint asks for."""
        (server,) = self.listen(description).tcpServers
        return int(server[2])

    def test_default(self) -> None:
        """It is ours, where the description says nothing."""
        for description in (
            "tcp:4444",
            "tcp:4444:interface=127.0.0.1",
            r"tcp6:4444:interface=\:\:1",
        ):
            self.assertEqual(self.tcp_backlog(description), BACKLOG, description)

    def test_unix(self) -> None:
        """It is ours for a UNIX socket, too."""
        ((_, _, backlog, *_),) = self.listen("unix:here.sock:mode=600").unixServers
        self.assertEqual(backlog, BACKLOG)

    def test_said(self) -> None:
        """What the description says is kept, by name or by position."""
        for description in (
            "tcp:4444:backlog=7",
            "tcp:4444:backlog=7:interface=127.0.0.1",
            "tcp:4444:interface=127.0.0.1:backlog=7",
            "tcp:4444:127.0.0.1:7",
        ):
            self.assertEqual(self.tcp_backlog(description), 7, description)


class DualStackTests(SynchronousTestCase):
    """A port number: IPv6 and IPv4, on one socket."""

    def setUp(self) -> None:
        """Have a reactor that nobody runs."""
        self.reactor = SelectReactor()
        self.addCleanup(self.reactor.removeAll)

    def listen(self, description: str) -> Any:  # noqa: ANN401 - a port of Twisted's
        """Return what listens."""
        endpoint = endpoint_from(description, self.reactor)
        port = self.successResultOf(endpoint.listen(ServerFactory()))
        self.addCleanup(port.stopListening)
        return port

    def test_both(self) -> None:
        """Clients of both families reach one port, whatever the kernel's default is."""
        port = self.listen("0")
        self.assertEqual(port.addressFamily, socket.AF_INET6)
        self.assertEqual(
            port.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 0
        )
        number = port.getHost().port
        self.assertGreater(number, 0)
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, number), timeout=5).close()

    def test_bindv6only(self) -> None:
        """The kernel may take a socket of IPv6 for one that has no IPv4."""

        def only(*arguments: Any) -> socket.socket:  # noqa: ANN401 - the original's
            created: socket.socket = made(*arguments)
            created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            return created

        made = Port.createInternetSocket
        self.patch(Port, "createInternetSocket", only)
        number = self.listen("0").getHost().port
        socket.create_connection(("127.0.0.1", number), timeout=5).close()

    def test_no_ipv6(self) -> None:
        """Where there is no IPv6, IPv4 is left."""

        def none(family: int, *arguments: Any) -> socket.socket:  # noqa: ANN401 - likewise
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported")
            return made(family, *arguments)

        made = socket.socket
        self.patch(socket, "socket", none)
        port = self.listen("0")
        self.assertEqual(port.addressFamily, socket.AF_INET)

    def test_taken(self) -> None:
        """A port in use is no lack of IPv6, whichever family has it."""
        for family, host in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
            with socket.create_server((host, 0), family=family) as taken:
                number = taken.getsockname()[1]
                endpoint = endpoint_from(str(number), self.reactor)
                failing = endpoint.listen(ServerFactory())
                self.failureResultOf(failing, CannotListenError)

    def test_endpoint(self) -> None:
        """What is longer is as Twisted has it: tcp is IPv4."""
        self.assertEqual(self.listen("tcp:0").addressFamily, socket.AF_INET)


class ListenerTests(SynchronousTestCase):
    """A place to listen on."""

    def test_pause(self) -> None:
        """Connections wait while it pauses; it resumes only if it still listens."""
        reactor = SelectReactor()
        self.addCleanup(reactor.removeAll)
        endpoint = endpoint_from("tcp:0:interface=127.0.0.1", reactor)
        listener = Listener("tcp:0", endpoint, ServerFactory())
        self.successResultOf(Deferred.fromCoroutine(listener.bind()))
        port: Any = listener.port
        self.assertIn(port, reactor.getReaders())
        listener.pause()
        self.assertNotIn(port, reactor.getReaders())
        listener.resume()
        self.assertIn(port, reactor.getReaders())
        stopping = Deferred.fromCoroutine(listener.stop())
        for _ in range(10):
            reactor.iterate(0.01)
        self.successResultOf(stopping)
        listener.resume()
        self.assertNotIn(port, reactor.getReaders())

    def test_not_bound(self) -> None:
        """It has no address before it is bound."""
        endpoint = endpoint_from("tcp:4444", MemoryReactor())
        listener = Listener("tcp:4444", endpoint, ServerFactory())
        self.assertRaises(RuntimeError, lambda: listener.address)
