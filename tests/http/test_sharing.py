"""Limits that clients share: on the bytes of bodies, and on connections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from klein import Klein
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import KleinFactory, Limits, read_body, streams_body
from tests._thoroughness import examples
from tests.http._app import App
from tests.http._support import MemoryTransport, Site, get, post

if TYPE_CHECKING:
    from asciid.http._request import Request
    from asciid.net.fair_limit import FairLimit
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
        self.assertEqual(self.site.factory.bodies.used, 2997)
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
        self.assertEqual(self.site.factory.bodies.used, 3000)
        self.assert_problem(self.begin(100, OTHER), 503, "request bodies")
        for deferred in self.app.waiting:
            deferred.callback(b"")
        self.assertEqual(self.site.factory.bodies.used, 0)
        for wire in waiting:
            self.assertEqual([one.status for one in wire.answers()], [200])

    def test_left_at_work(self) -> None:
        """What a client that has left had sent is counted no more."""
        head, end, body = post(b"/wait", bytes(1000)).partition(b"\r\n\r\n")
        self.site.connect().send(head + end, body).leave()
        self.assertEqual(self.site.factory.bodies.used, 0)

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
        """So is one that has sent a part of a body, gathered or streamed."""
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
        """A connection whose request is in progress is not closed."""
        waiting = [self.site.connect().send(get(b"/wait")) for _ in range(3)]
        self.assert_problem(self.site.connect(OTHER), 503, "connections")
        for deferred in self.app.waiting:
            deferred.callback(b"")
        for wire in waiting:
            self.assertEqual([one.status for one in wire.answers()], [200])

    def test_storing(self) -> None:
        """Nor is one whose handler is storing what has come of a body, or all of it."""
        app = Klein()
        storing: list[Deferred[None]] = []

        @app.route("/", methods=["PUT"])
        @streams_body
        async def store(request: Request) -> bytes:
            def receive(_: bytes) -> Deferred[None]:
                storing.append(Deferred())
                return storing[-1]

            await read_body(request, receive)
            return b""

        self.site = Site(app, self.limits)
        body = post(b"/", b"hello", method=b"PUT")
        wires = [
            self.site.connect().send(body),
            self.site.connect().send(body[:-5], body[-5:]),
            self.site.connect().send(body[:-1]),
        ]
        self.assertEqual(len(storing), 3)
        self.site.advance(1)
        self.assert_problem(self.site.connect(OTHER), 503, "connections")
        wires[2].send(body[-1:])
        while storing:
            storing.pop().callback(None)
        for wire in wires:
            self.assertEqual([one.status for one in wire.answers()], [200])

    def test_slow_reader(self) -> None:
        """The connection of a client that does not read is reset."""
        stuck = self.site.connect()
        stuck.transport.stuck = True
        stuck.send(post(b"/echo", b"x" * 500_000))
        for _ in range(2):
            self.site.advance(1)
            self.site.connect().send(get(b"/wait"))
        self.assert_served()
        self.assertTrue(stuck.transport.aborted)

    def test_slow_reader_at_work(self) -> None:
        """Not while a request behind the answer that it does not read is at work."""
        stuck = self.site.connect()
        stuck.transport.stuck = True
        stuck.send(post(b"/echo", bytes(60_000)))
        stuck.send(post(b"/echo", bytes(10_000)) + get(b"/wait"))
        self.assertTrue(stuck.channel.blocked)
        for _ in range(2):
            self.site.connect().send(get(b"/wait"))
        self.site.advance(1)
        self.assert_problem(self.site.connect(OTHER), 503, "connections")
        self.assertFalse(stuck.transport.aborted)
        self.app.waiting[0].callback(b"")
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


CHUNKED = b"Transfer-Encoding: chunked"
PIECES = [
    get(b"/a"),
    get(b"/wait"),
    get(b"/pull"),
    *(
        post(path, body, *lines, method=method)[:end]
        for path, method in (
            (b"/echo", b"POST"),
            (b"/wait", b"POST"),
            (b"/stream", b"PUT"),
            (b"/nowhere", b"PUT"),
        )
        for body, end in ((bytes(10), None), (bytes(2900), -1), (bytes(4000), 500))
        for lines in ((), (b"Expect: 100-continue",))
    ),
    get(b"/echo", CHUNKED, method=b"POST") + b"3e8\r\n" + bytes(900),
    get(b"/stream", CHUNKED, method=b"PUT") + b"3e8\r\n" + bytes(900),
    b"GET /a HT",
    b"0\r\n\r\n",
    bytes(1),
    bytes(1000),
]
HOSTS = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
STEPS = st.one_of(
    st.tuples(st.just("connect"), st.sampled_from(HOSTS)),
    st.tuples(st.just("send"), st.sampled_from(PIECES)),
    st.tuples(st.just("send"), st.sampled_from(PIECES)),
    st.tuples(st.just("advance"), st.sampled_from([0, 1, 11, 25])),
    st.tuples(
        st.sampled_from(["leave", "half_close", "stick", "catch_up", "answer"]),
        st.just(None),
    ),
)


class LedgerTests(SynchronousTestCase):
    """What the limits count as held, however connections end."""

    @examples(150)
    @given(
        st.lists(st.tuples(st.integers(0, 9), STEPS), max_size=40),
        st.sampled_from([1e-9, 1e-3]),
        st.booleans(),
    )
    def test_all_is_given_back(
        self,
        steps: list[tuple[int, tuple[str, Any]]],
        time_slice: float,
        drains: bool,  # noqa: FBT001 - hypothesis has no names here
    ) -> None:
        """A limit never counts more than there is, and nothing in the end."""
        app = App()
        limits = Limits(
            body=3000, bodies=6000, connections=4, lingering=2, linger_bytes=3000,
            idle_timeout=15, linger_time=12, write_timeout=9, time_slice=time_slice,
        )  # fmt: skip
        site = Site(app.app, limits)
        factory = site.factory
        wires = [site.connect()]
        for index, (step, value) in steps:
            if step == "connect":
                wires.append(site.connect(value))
            elif step == "answer":
                self.answer(app)
            else:
                self.take(wires[index % len(wires)], step, value)
            self.check(factory)
        if drains:
            factory.drain()
            while app.waiting:
                self.answer(app)
        for wire in wires:
            wire.leave()
        self.check(factory)
        used = [limit.used for limit in self.limits_of(factory)]
        self.assertEqual((used, factory.connections), ([0, 0, 0], 0))
        factory.doStop()
        site.reactor.advance(1)
        self.assertEqual(site.reactor.getDelayedCalls(), [])
        self.flushLoggedErrors(ConnectionLost)

    def take(self, wire: Wire, step: str, value: Any) -> None:  # noqa: ANN401 - any
        """Do something with one connection."""
        if step == "send":
            wire.send(value)
        elif step == "advance":
            wire.site.advance(value)
            wire.site.reactor.advance(0)
        elif step == "stick":
            wire.transport.stuck = True
        elif step == "catch_up":
            wire.transport.stuck = False
            wire.transport.catch_up()
        else:
            getattr(wire, step)()

    def answer(self, app: App) -> None:
        """End the oldest request that waits; what it answers is too long to be kept."""
        if app.waiting:
            waiting = app.waiting.pop(0)
            if not waiting.called:
                waiting.callback(bytes(100_000))

    def limits_of(self, factory: KleinFactory) -> list[FairLimit]:
        """Return all limits that clients share."""
        return [*factory.shared_limits.values(), factory._lingering]

    def check(self, factory: KleinFactory) -> None:
        """Compare what each limit counts with what its holders hold."""
        for limit in self.limits_of(factory):
            held = {
                client: sum(holders.values())
                for client, holders in limit._holders.items()
            }
            self.assertEqual(limit._totals, held)
            if limit._ranking is not None:
                ranking = sorted((total, client) for client, total in held.items())
                self.assertEqual(limit._ranking, ranking)
            self.assertEqual(limit.used, sum(held.values()))
            self.assertLessEqual(limit.used, limit.capacity)
