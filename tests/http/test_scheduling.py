"""A client with many connections does not delay the others."""

from __future__ import annotations

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from asciid.http import Limits, Request, read_body, streams_body
from asciid.runtime.client_scheduler import AT_WORK
from tests.http._support import Site, Wire, get, post

BUSY, OTHER = "192.0.2.1", "192.0.2.2"


@implementer(IPushProducer)
class Producer:
    """Does nothing of its own."""

    def pauseProducing(self) -> None:
        """See `IPushProducer.pauseProducing`."""

    def resumeProducing(self) -> None:
        """See `IPushProducer.resumeProducing`."""

    def stopProducing(self) -> None:
        """See `IProducer.stopProducing`."""


class App:
    """Routes whose work takes time."""

    app = Klein()

    def __init__(self) -> None:
        self.site = Site(self.app, Limits(idle_timeout=60))
        self.requests: list[Request] = []
        self.waiting: list[Deferred[bytes]] = []

    @app.route("/work")
    def work(self, request: Request) -> bytes:  # noqa: ARG002 - Klein passes it
        """Take a millisecond."""
        self.site.time.now += 0.001
        return b"done"

    @app.route("/wait")
    def wait(self, request: Request) -> Deferred[bytes]:
        """Answer later."""
        self.requests.append(request)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    @app.route("/echo", methods=["POST"])
    def echo(self, request: Request) -> bytes:
        """Send the body back."""
        return request.content.read()

    @app.route("/stream", methods=["PUT"])
    @streams_body
    async def stream(self, request: Request) -> bytes:
        """Send the body back, received in pieces."""
        pieces: list[bytes] = []
        await read_body(request, pieces.append)
        return b"".join(pieces)

    @app.route("/keep", methods=["PUT"])
    @streams_body
    async def keep(self, request: Request) -> bytes:
        """Take a body, and answer later."""
        await read_body(request, lambda _: None)
        self.waiting.append(Deferred())
        return await self.waiting[-1]


class SchedulingTests(SynchronousTestCase):
    """Two clients, one of which is busy."""

    def setUp(self) -> None:
        """Have the busy client use up its time."""
        self.app = App()
        self.site = self.app.site

    def connect(self) -> tuple[Wire, Wire, Wire]:
        """Return connections: two of the busy client, and one of the other."""
        busy, waiting, other = (self.site.connect(host) for host in (BUSY, BUSY, OTHER))
        other.send(get(b"/work"))
        busy.send(get(b"/work"))
        for wire in (busy, other):
            self.assertEqual(self.bodies(wire), [b"done"])
        return busy, waiting, other

    def bodies(self, wire: Wire) -> list[bytes]:
        """Return what was answered since the last time."""
        return [answer.body for answer in wire.answers()]

    def test_alone(self) -> None:
        """A client alone is served at once on all connections."""
        for _ in range(5):
            wire = self.site.connect(BUSY).send(get(b"/work"))
            self.assertEqual(self.bodies(wire), [b"done"])

    def test_two_clients(self) -> None:
        """A client that has used its time waits, on all of its connections."""
        busy, waiting, other = self.connect()
        for wire in (busy, waiting):
            wire.send(get(b"/work"))
            self.assertEqual(self.bodies(wire), [])
        self.site.time.now += 1  # what is queued keeps the order
        wire = self.site.connect(BUSY).send(get(b"/work"))
        self.assertEqual(self.bodies(wire), [])
        other.send(get(b"/work"))
        self.assertEqual(self.bodies(other), [b"done"])
        self.site.reactor.advance(0)
        for each in (busy, waiting, wire):
            self.assertEqual(self.bodies(each), [b"done"])

    def test_pieces(self) -> None:
        """What arrives while a connection waits is served with the rest."""
        _, waiting, _ = self.connect()
        request = post(b"/echo", b"hello")
        waiting.send(request[:20], request[20:])
        self.assertEqual(self.bodies(waiting), [])
        self.site.reactor.advance(0)
        self.assertEqual(self.bodies(waiting), [b"hello"])

    def test_body(self) -> None:
        """The rest of a body waits as well."""
        _, waiting, other = self.connect()
        self.site.time.now += 1
        request = post(b"/echo", b"hello")
        waiting.send(request[:-2])
        other.send(get(b"/work"))
        self.site.connect(BUSY).send(get(b"/work"))
        waiting.send(request[-2:])
        self.assertEqual(self.bodies(waiting), [])
        self.site.reactor.advance(0)
        self.assertEqual(self.bodies(waiting), [b"hello"])

    def test_streamed_body(self) -> None:
        """So does the rest of one that is streamed, and only one turn is taken."""
        _, waiting, other = self.connect()
        self.site.time.now += 1
        request = post(b"/stream", b"hello").replace(b"POST", b"PUT")
        waiting.send(request[:-4])
        other.send(get(b"/work"))
        self.site.connect(BUSY).send(get(b"/work"))
        waiting.send(request[-4:-2], request[-2:])
        self.assertEqual(self.bodies(waiting), [])
        self.site.reactor.advance(0)
        self.assertEqual(self.bodies(waiting), [b"hello"])

    def test_half_close(self) -> None:
        """A request that waits is answered though its client sends no more."""
        _, waiting, _ = self.connect()
        waiting.send(get(b"/work")).half_close()
        self.assertFalse(waiting.over)
        self.site.reactor.advance(0)
        self.assertEqual(self.bodies(waiting), [b"done"])
        self.assertTrue(waiting.over)

    def test_client_leaves(self) -> None:
        """Of a client that leaves meanwhile nothing is served."""
        _, waiting, _ = self.connect()
        waiting.send(get(b"/work"))
        waiting.leave()
        before = self.site.time.now
        self.site.reactor.advance(0)
        self.assertEqual(self.site.time.now, before)

    def test_behind_slow_request(self) -> None:
        """What was sent behind a slow request waits for a turn after its answer."""
        _, waiting, other = self.connect()
        self.site.time.now += 1
        waiting.send(get(b"/wait"))
        other.send(get(b"/work"))
        waiting.send(get(b"/work"))
        self.app.waiting[0].callback(b"late")
        self.assertEqual(self.bodies(waiting), [b"late"])
        self.site.reactor.advance(0)
        self.assertEqual(self.bodies(waiting), [b"done"])

    def test_slow_reader(self) -> None:
        """So does what waited for a client that read nothing."""
        _, waiting, other = self.connect()
        self.site.time.now += 1
        waiting.transport.stuck = True
        waiting.transport.unread = 65536
        waiting.send(get(b"/work"), get(b"/work"))
        other.send(get(b"/work"))
        waiting.transport.stuck = False
        waiting.transport.catch_up()
        self.assertEqual(self.bodies(waiting), [b"done"])
        self.site.reactor.advance(0)
        self.assertEqual(self.bodies(waiting), [b"done"])

    def test_idle_timeout(self) -> None:
        """A connection is not idle while what it sent waits for a turn."""
        busy, _, _ = self.connect()
        busy.send(get(b"/work"))
        self.site.time.now += 61
        self.site.factory.sweep_overdue()
        self.assertFalse(busy.over)
        self.site.reactor.advance(0)
        self.assertEqual(self.bodies(busy), [b"done"])

    def wait_for_many(self) -> list[Wire]:
        """Have the busy client's requests wait for the store; return them."""
        other = self.site.connect(OTHER)
        wires = [self.site.connect(BUSY) for _ in range(AT_WORK + 2)]
        for wire in (wires[0], other):
            self.assertEqual(self.bodies(wire.send(get(b"/work"))), [b"done"])
        self.site.time.now += 1
        for wire in wires:
            wire.send(get(b"/wait"))
        self.site.reactor.advance(0)
        self.assertEqual(len(self.app.waiting), AT_WORK)
        return wires

    def test_requests_at_work(self) -> None:
        """No more than some requests of a client are at work at a time."""
        wires = self.wait_for_many()
        for answered in range(len(wires)):
            self.app.waiting[answered].callback(b"done")
            self.assertEqual(self.bodies(wires[answered]), [b"done"])
            self.site.reactor.advance(0)
        self.assertEqual(len(self.app.waiting), len(wires))

    def test_client_of_work_leaves(self) -> None:
        """A request of a client that has left is not waited for."""
        wires = self.wait_for_many()
        wires[0].leave()
        self.site.reactor.advance(0)
        self.assertEqual(len(self.app.waiting), AT_WORK + 1)

    def test_download_under_way(self) -> None:
        """A response that has begun waits for its client, and counts no longer."""
        self.wait_for_many()
        self.app.requests[0].registerProducer(Producer(), streaming=True)
        self.app.requests[0].write(b"part")
        self.site.reactor.advance(0)
        self.assertEqual(len(self.app.waiting), AT_WORK + 1)

    def test_streamed_body_at_work(self) -> None:
        """A request whose body was streamed counts once that is complete."""
        _, waiting, _ = self.connect()
        self.site.time.now += 1
        request = post(b"/keep", b"hello").replace(b"POST", b"PUT")
        waiting.send(request[:-2])
        queue = self.site.factory.scheduler.queue_of(BUSY)
        self.assertEqual(queue.at_work, 0)
        waiting.send(request[-2:])
        self.assertEqual(queue.at_work, 1)
        self.app.waiting[0].callback(b"kept")
        self.assertEqual(self.bodies(waiting), [b"kept"])
        self.assertEqual(queue.at_work, 0)
