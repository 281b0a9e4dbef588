"""Tests of asciid._listener."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from asciid._listener import BACKLOG, Listener, endpoint_from


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


class ListenerTests(SynchronousTestCase):
    """A place to listen on."""

    def test_not_bound(self) -> None:
        """It has no address before it is bound."""
        endpoint = endpoint_from("tcp:4444", MemoryReactor())
        listener = Listener("tcp:4444", endpoint, ServerFactory())
        self.assertRaises(RuntimeError, lambda: listener.address)
