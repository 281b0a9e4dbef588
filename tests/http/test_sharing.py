"""Limits that clients share: on the bytes of bodies, and on connections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import KleinFactory, Limits
from tests.http._app import App
from tests.http._support import MemoryTransport, Site, get, post

if TYPE_CHECKING:
    from tests.http._support import Wire

OTHER = "192.0.2.2"


class SharingTestCase(SynchronousTestCase):
    """A site with a limit."""

    limits = Limits()

    def setUp(self) -> None:
        """Serve the app."""
        self.app = App()
        self.site = Site(self.app.app, self.limits)
        self.addCleanup(self.site.factory.doStop)

    def assert_problem(self, wire: Wire, status: int, text: str) -> None:
        """Check that the only answer is a problem, and that the connection ends."""
        (answer,) = wire.answers()
        self.assertEqual(answer.status, status)
        self.assertIn(text, json.loads(answer.body)["detail"])
        self.assertEqual(answer.fields["connection"], "close")
        if status == 503:
            self.assertEqual(answer.fields["retry-after"], "1")
        self.assertTrue(wire.over)


class BodiesTests(SharingTestCase):
    """The limit on the bytes of bodies."""

    limits = Limits(body=2000, bodies=3000)

    def begin(self, sent: int, host: str = "192.0.2.1", path: bytes = b"/echo") -> Wire:
        """Send the head of a request, and a part of its body of 1,000 bytes."""
        method = b"PUT" if path == b"/stream" else b"POST"
        head, end, body = post(path, bytes(1000), method=method).partition(b"\r\n\r\n")
        return self.site.connect(host).send(head + end, body[:sent])

    def test_one_client_holds_all(self) -> None:
        """Another client uploads though one holds all there is: that is evicted."""
        holding = [self.begin(999) for _ in range(3)]
        self.assertEqual(self.site.factory.body_bytes, 2997)
        for _ in range(3):
            polite = self.begin(1000, OTHER)
            self.assertEqual([one.status for one in polite.answers()], [200])
        self.assertEqual(sum(wire.over for wire in holding), 1)
        evicted = next(wire for wire in holding if wire.over)
        self.assert_problem(evicted, 503, "request bodies")
        self.assertEqual(self.site.factory.bodies.evictions, 1)

    def test_slowest_largest_is_evicted(self) -> None:
        """Of the largest client, the body that has held the most for longest ends."""
        small = self.begin(10)
        self.site.advance(5)
        large = self.begin(990)
        self.site.advance(5)
        for _ in range(2):
            self.begin(990)
        self.assertEqual(
            [one.status for one in self.begin(1000, OTHER).answers()], [200]
        )
        self.assertEqual((small.over, large.over), (False, True))

    def test_largest_client_is_refused(self) -> None:
        """The client that holds the most gets no more at the cost of another."""
        other = self.begin(999, OTHER)
        for _ in range(2):
            self.begin(999)
        self.assert_problem(self.begin(100), 503, "request bodies")
        self.assertFalse(other.over)

    def test_streamed_body(self) -> None:
        """A body that its handler reads is evicted, too, and so answered."""
        streamed = self.begin(999, path=b"/stream")
        for _ in range(2):
            self.begin(999)
        self.begin(999, OTHER)
        (answer,) = streamed.answers()
        self.assertEqual((answer.status, answer.fields["connection"]), (503, "close"))

    def test_at_work(self) -> None:
        """A whole body is counted until its answer, and never evicted."""
        head, end, body = post(b"/wait", bytes(1000)).partition(b"\r\n\r\n")
        waiting = [self.site.connect().send(head + end, body) for _ in range(3)]
        self.assertEqual(len(self.app.waiting), 3)
        self.assertEqual(self.site.factory.body_bytes, 3000)
        self.assert_problem(self.begin(100, OTHER), 503, "request bodies")
        for deferred in self.app.waiting:
            deferred.callback(b"")
        self.assertEqual(self.site.factory.body_bytes, 0)
        for wire in waiting:
            self.assertEqual([one.status for one in wire.answers()], [200])

    def test_left_at_work(self) -> None:
        """What a client that has left had sent is counted no more."""
        head, end, body = post(b"/wait", bytes(1000)).partition(b"\r\n\r\n")
        self.site.connect().send(head + end, body).leave()
        self.assertEqual(self.site.factory.body_bytes, 0)

    def test_rate_grows_with_the_bytes(self) -> None:
        """A byte now and then keeps a large body alive no longer than silence does."""
        site = Site(self.app.app, Limits(body=1_200_000))
        self.addCleanup(site.factory.doStop)
        head, end, _ = post(b"/echo", bytes(1_200_000)).partition(b"\r\n\r\n")
        wire = site.connect().send(head + end, bytes(1_024_000))
        fair = site.connect().send(head + end, bytes(1_024_000))
        for _ in range(30):
            site.advance(1)
            wire.send(b"x")
            fair.send(b"x" * 2100)
        self.assert_problem(wire, 408, "slowly")
        self.assertFalse(fair.over)
        self.assertEqual(site.factory.slow_bodies, 1)

    def test_kinds_of_clients(self) -> None:
        """IPv6 counts by /64, and what has no address is a client of its own."""
        for peer, key in (
            (IPv6Address("TCP", "2001:db8::1", 1), "2001:db8::/64"),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
            (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1"),
            (UNIXAddress(None), "local"),
        ):
            self.assertEqual(self.site.connect_from(peer).channel.client, key)


class ProxyTests(SynchronousTestCase):
    """Connections of proxies, which are of many clients."""

    def test_connections(self) -> None:
        """Each counts for itself, so that those of no proxy make room for it."""
        factory = KleinFactory(
            App().app,
            reactor=Clock(),
            limits=Limits(connections=4),
            is_proxy=lambda host: host == OTHER,
        )
        factory.doStart()
        self.addCleanup(factory.doStop)

        def connect(host: str, port: int) -> MemoryTransport:
            transport = MemoryTransport(IPv4Address("TCP", host, port))
            channel = factory.buildProtocol(transport.getPeer())
            transport.protocol = channel
            channel.makeConnection(transport)
            return transport

        proxied = [connect(OTHER, port) for port in (1, 2)]
        direct = [connect("192.0.2.1", port) for port in (1, 2)]
        proxied.append(connect(OTHER, 3))
        self.assertEqual([one.half_closed for one in direct], [True, False])
        refused = connect("192.0.2.1", 3)
        self.assertIn(b"HTTP/1.1 503 ", refused.value())
        self.assertFalse(any(one.half_closed for one in proxied))


class ConnectionsTests(SharingTestCase):
    """The limit on connections."""

    limits = Limits(connections=3, lingering=2)

    def idle(self, host: str = "192.0.2.1") -> Wire:
        """Open a connection that has had an answer."""
        wire = self.site.connect(host).send(get(b"/a"))
        self.assertEqual([one.status for one in wire.answers()], [200])
        return wire

    def assert_served(self, host: str = OTHER) -> Wire:
        """Check that a client is served."""
        return self.idle(host)

    def test_idlest_is_closed(self) -> None:
        """A client with fewer takes the place of the most idle connection."""
        idle = []
        for _ in range(3):
            idle.append(self.idle())
            self.site.advance(1)
        idle[0].send(get(b"/a"))
        idle[0].take()
        self.site.advance(1)
        self.assert_served()
        self.assertEqual([wire.over for wire in idle], [False, True, False])
        self.assertEqual(idle[1].take(), b"")

    def test_largest_client_is_refused(self) -> None:
        """A client with the most connections opens no more, nor do equals."""
        self.idle(OTHER)
        for _ in range(2):
            self.idle()
        self.assert_problem(self.site.connect(), 503, "connections")
        self.assert_problem(self.site.connect(OTHER), 503, "connections")

    def test_partial_head(self) -> None:
        """A client that has begun a request is answered."""
        slow = self.site.connect().send(b"GET /a HT")
        self.site.advance(1)
        for _ in range(2):
            self.idle()
        self.assert_served()
        self.assert_problem(slow, 503, "connections")

    def test_partial_body(self) -> None:
        """So is one that has sent a part of a body, whoever reads that."""
        gathered = self.site.connect().send(post(b"/echo", b"hello")[:-1])
        streamed = self.site.connect().send(
            post(b"/stream", b"hello", method=b"PUT")[:-1]
        )
        self.site.connect().send(get(b"/wait"))
        self.site.advance(1)
        self.assert_served()
        self.assert_problem(gathered, 503, "connections")
        self.assert_served("192.0.2.3")
        (answer,) = streamed.answers()
        self.assertEqual((answer.status, answer.fields["connection"]), (503, "close"))

    def test_at_work(self) -> None:
        """A connection whose request is at work is not closed."""
        waiting = [self.site.connect().send(get(b"/wait")) for _ in range(3)]
        self.assert_problem(self.site.connect(OTHER), 503, "connections")
        for deferred in self.app.waiting:
            deferred.callback(b"")
        for wire in waiting:
            self.assertEqual([one.status for one in wire.answers()], [200])

    def test_slow_reader(self) -> None:
        """A client that does not read its answer is broken off."""
        stuck = self.site.connect()
        stuck.transport.stuck = True
        stuck.send(post(b"/echo", b"x" * 500_000))
        for _ in range(2):
            self.site.advance(1)
            self.site.connect().send(get(b"/wait"))
        self.assert_served()
        self.assertTrue(stuck.transport.aborted)

    def test_lingering(self) -> None:
        """Connections that are only read after their answer are limited as well."""
        for _ in range(3):
            self.site.connect().send(get(b"/wait"))
        refused = [self.site.connect() for _ in range(4)]
        self.assertEqual(
            [wire.transport.closed for wire in refused], [False] * 2 + [True] * 2
        )
        other = self.site.connect(OTHER)
        self.assertFalse(other.transport.closed)
        self.assertEqual(sum(wire.transport.closed for wire in refused), 3)
        for wire in [*refused, other]:
            (answer,) = wire.answers()
            self.assertEqual(answer.status, 503)
