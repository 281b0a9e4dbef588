"""Tests of asciid.net.listener."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from asciid.net.endpoints import endpoint_from
from asciid.net.listener import Listener


class ListenerTests(SynchronousTestCase):
    """A place to listen on."""

    def test_pause(self) -> None:
        """Connections wait while it pauses; it resumes only if it still listens."""
        reactor = SelectReactor()
        self.addCleanup(reactor.removeAll)
        endpoint = endpoint_from("tcp:0:interface=127.0.0.1", reactor)
        listener = Listener("tcp:0", endpoint)
        binding = listener.bind(ServerFactory())
        self.successResultOf(Deferred.fromCoroutine(binding))
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
        listener = Listener("tcp:4444", endpoint)
        self.assertRaises(RuntimeError, lambda: listener.address)
