"""Bodies that handlers read themselves, and responses that producers write."""

# ruff: noqa: ARG002 - Klein gives handlers the request, wanted or not

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest
from werkzeug.exceptions import Forbidden
from zope.interface import implementer

from asciid.http import Limits, body_of, read_body, streams_body
from asciid.net.body_limits import STREAMED
from tests.http._app import App
from tests.http._support import Site, Wire, get, parse_answers, post

if TYPE_CHECKING:
    from asciid.http._request import Request

CHUNKED = b"Transfer-Encoding: chunked"
LONG = b"Content-Length: 10000000"


class Upload:
    """An app that takes a body at the pace of the test."""

    app = Klein()

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ready: Deferred[None] | None = None
        self.start: Deferred[None] = Deferred()
        self.outcome: object = None

    @streams_body
    @app.route("/", methods=["PUT"])
    async def put(self, request: Request) -> bytes:
        """Read when the test says so."""
        await self.start
        reading = read_body(request, self.receive)
        reading.addBoth(self.note)
        await reading
        return b"".join(self.pieces)

    def note(self, outcome: object) -> object:
        """Remember how it ended."""
        self.outcome = outcome
        return outcome

    def receive(self, piece: bytes) -> Deferred[None] | None:
        """Take a piece; say later that it is taken, if the test wants that."""
        self.pieces.append(piece)
        return self.ready

    @app.route("/hasty", methods=["PUT"])
    @streams_body
    def hasty(self, request: Request) -> bytes:
        """Answer without reading."""
        return b"no, thank you"

    @app.route("/angry", methods=["PUT"])
    @streams_body
    async def angry(self, request: Request) -> bytes:
        """Fail at the first piece."""

        def receive(piece: bytes) -> None:
            raise ValueError(piece)

        try:
            await read_body(request, receive)
        except ValueError:
            return b"failed"
        return b""

    @app.route("/twice", methods=["PUT"])
    @streams_body
    async def twice(self, request: Request) -> bytes:
        """Read it two times."""
        await read_body(request, self.receive)
        await read_body(request, self.receive)
        return b"".join(self.pieces)

    @app.route("/content", methods=["PUT"])
    @streams_body
    def content(self, request: Request) -> bytes:
        """Use a body that is incomplete."""
        return body_of(request)

    @app.route("/plain", methods=["PUT"])
    async def plain(self, request: Request) -> bytes:
        """Read a body that is complete."""
        await read_body(request, self.receive)
        return b"".join(self.pieces)


class UploadTests(SynchronousTestCase):
    """``streams_body`` and ``read_body``."""

    def setUp(self) -> None:
        """Serve the app."""
        self.upload = Upload()
        self.site = Site(self.upload.app, Limits(body=10_000_000))
        self.addCleanup(self.site.factory.doStop)

    def begin(self, *lines: bytes, path: bytes = b"/") -> Wire:
        """Send a head."""
        return self.site.connect().send(get(path, *lines or [LONG], method=b"PUT"))

    def test_pieces(self) -> None:
        """The handler gets the body as it arrives, before its end."""
        self.upload.start.callback(None)
        wire = self.begin(b"Content-Length: 6")
        wire.send(b"one", b"two" + get(b"/", method=b"PUT"))
        self.assertEqual(self.upload.pieces, [b"one", b"two"])
        self.assertEqual(wire.answers()[0].body, b"onetwo")

    def test_chunks(self) -> None:
        """Chunked bodies are decoded on the way; what follows is a request."""
        self.upload.start.callback(None)
        wire = self.begin(CHUNKED)
        wire.send(b"3\r\none\r\n", b"3", b"\r\ntwo\r\n0\r\n\r\n" + get(b"/nope"))
        self.assertEqual([a.status for a in wire.answers()], [200, 404])
        self.assertEqual(self.upload.pieces, [b"one", b"two"])

    def test_tiny_chunks(self) -> None:
        """A body of tiny chunks is handed out in turns, at the handler's pace."""
        self.upload.start.callback(None)
        body = b"1\r\nx\r\n" * 5000
        for ready in (None, Deferred[None]()):
            self.upload.pieces.clear()
            self.upload.ready = ready
            turns = self.site.count_turns()
            wire = self.begin(CHUNKED).send(body, body[:1])
            self.assertEqual(len(self.upload.pieces), 1)
            wire.send(body[1:], b"0\r\n\r\n" + get(b"/nope"))
            wire.half_close()
            self.site.reactor.advance(0)
            if ready is not None:
                self.assertEqual(len(self.upload.pieces), 1)
                self.upload.ready = None
                ready.callback(None)
                self.site.reactor.advance(0)
            self.assertEqual([a.status for a in wire.answers()], [200, 404])
            self.assertEqual(b"".join(self.upload.pieces), b"x" * 10_000)
            self.assertGreater(len(turns), 10)

    def test_many_trailers(self) -> None:
        """Trailers without any content are read on in later turns."""
        self.upload.start.callback(None)
        turns = self.site.count_turns()
        wire = self.begin(CHUNKED).send(b"0\r\n" + b"A:\r\n" * 1_000)
        self.site.reactor.advance(0)
        self.assertEqual((wire.take(), self.upload.pieces), (b"", []))
        self.assertGreaterEqual(len(turns), 2)
        wire.send(b"\r\n")
        self.assertEqual([a.status for a in wire.answers()], [200])

    def test_large_pieces(self) -> None:
        """A handler gets at most 64 KiB at a time, also of what has piled up."""
        self.upload.start.callback(None)
        wire = self.site.connect().send(
            get(b"/", b"Content-Length: 200000", method=b"PUT") + b"x" * 200_000
        )
        self.site.reactor.advance(0)
        self.assertEqual(list(map(len, self.upload.pieces)), [65536] * 3 + [3392])
        self.assertEqual([a.status for a in wire.answers()], [200])

    def test_one_read(self) -> None:
        """A body that was received with its head is streamed as well."""
        self.upload.start.callback(None)
        wire = self.site.connect().send(post(b"/", b"all", method=b"PUT") + get(b"/x"))
        self.site.advance(0.1)
        self.assertEqual([a.status for a in wire.answers()], [200, 404])
        self.assertEqual(self.upload.pieces, [b"all"])

    def test_empty(self) -> None:
        """An empty body is complete at once."""
        self.upload.start.callback(None)
        self.assertEqual(self.begin(b"Content-Length: 0").answers()[0].body, b"")
        self.assertEqual(self.begin(CHUNKED).send(b"0\r\n\r\n").answers()[0].body, b"")

    def test_back_pressure(self) -> None:
        """While the handler is not ready no more than 256 KiB are held."""
        self.upload.start.callback(None)
        self.upload.ready = Deferred()
        wire = self.begin()
        sent = 0
        while not wire.paused and sent < 10_000_000:
            wire.send(b"x" * 65536)
            sent += 65536
        self.assertLessEqual(sent, 256 * 1024)
        self.assertEqual(len(self.upload.pieces), 1)
        ready, self.upload.ready = self.upload.ready, None
        ready.callback(None)
        self.site.reactor.advance(0)
        self.assertFalse(wire.paused)
        self.assertEqual(sum(map(len, self.upload.pieces)), sent)

    def test_counted(self) -> None:
        """What the handler may hold counts as a body being received, until its end."""
        factory = self.site.factory
        self.upload.start.callback(None)
        wire = self.begin().send(b"x" * 65536)
        self.assertEqual(factory.bodies.used, 65536)
        wire.send(*[b"x" * 65536] * 10)
        self.assertEqual(factory.bodies.used, STREAMED)
        wire.leave()
        self.assertEqual(factory.bodies.used, 0)

    def test_too_many(self) -> None:
        """Above the limit on all bodies the handler gets a 503."""
        limits = Limits(body=10_000_000, bodies=100_000)
        self.site = Site(self.upload.app, limits)
        self.addCleanup(self.site.factory.doStop)
        self.upload.start.callback(None)
        self.begin().send(b"x" * 65536)
        late = self.begin().send(b"x" * 65536)
        self.assertEqual([a.status for a in late.answers()], [503])
        self.assertEqual(self.site.factory.bodies.used, 65536)

    def test_back_pressure_before_reading(self) -> None:
        """A body that is not read yet is not buffered either."""
        wire = self.begin()
        sent = 0
        while not wire.paused and sent < 10_000_000:
            wire.send(b"x" * 65536)
            sent += 65536
        self.assertLessEqual(sent, 256 * 1024)
        self.upload.start.callback(None)
        self.site.reactor.advance(0)
        self.assertEqual(sum(map(len, self.upload.pieces)), sent)

    def test_no_timeout_while_waiting_for_the_handler(self) -> None:
        """Time that the handler takes is not the client's."""
        wire = self.begin(b"Content-Length: 6").send(b"one")
        self.site.advance(500)
        self.upload.ready = Deferred()
        self.upload.start.callback(None)
        self.site.advance(500)
        ready, self.upload.ready = self.upload.ready, None
        ready.callback(None)
        self.site.advance(15)
        self.assertEqual(wire.send(b"two").answers()[0].body, b"onetwo")

    def test_continue(self) -> None:
        """100 Continue is sent when the handler begins to read."""
        wire = self.begin(b"Content-Length: 3", b"Expect: 100-continue")
        self.assertEqual(wire.take(), b"")
        self.upload.start.callback(None)
        self.assertEqual(wire.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(wire.send(b"one").answers()[0].status, 200)

    def test_no_continue(self) -> None:
        """Nor is it sent when the body has begun, or is not wanted."""
        wire = self.begin(b"Content-Length: 3", b"Expect: 100-continue").send(b"o")
        self.upload.start.callback(None)
        self.assertEqual(wire.send(b"ne").answers()[0].status, 200)
        [answer] = self.begin(LONG, b"Expect: 100-continue", path=b"/hasty").answers()
        self.assertEqual(answer.status, 200)

    def test_hasty_answer(self) -> None:
        """An answer before the end of the body ends the connection."""
        wire = self.begin(path=b"/hasty").send(b"x" * 1000)
        [answer] = wire.answers()
        self.assertEqual(answer.body, b"no, thank you")
        self.assertEqual(answer.fields["connection"], "close")
        self.assertTrue(wire.over)

    def test_failing_reader(self) -> None:
        """What the receiver raises ends the reading."""
        wire = self.begin(path=b"/angry").send(b"piece")
        [answer] = wire.answers()
        self.assertEqual(answer.body, b"failed")
        self.assertTrue(wire.over)

    def test_failing_piece(self) -> None:
        """So does a Deferred of the receiver that fails."""
        self.upload.start.callback(None)
        self.upload.ready = Deferred()
        wire = self.begin().send(b"piece")
        self.upload.ready.errback(ValueError())
        self.assertEqual(wire.answers()[0].status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_timeout(self) -> None:
        """A body that stalls fails with 408, which Klein makes the answer."""
        self.upload.start.callback(None)
        wire = self.begin().send(b"one")
        self.site.advance(22)
        [answer] = wire.answers()
        self.assertEqual(answer.status, 408)
        self.assertEqual(answer.fields["connection"], "close")

    def test_early_end(self) -> None:
        """A body that ends early fails with 400, whenever that is detected."""
        wire = self.begin().send(b"one").half_close()
        self.upload.start.callback(None)
        self.assertEqual(wire.answers()[0].status, 400)
        self.assertTrue(wire.transport.closed)
        wire = self.begin().send(b"one").half_close()
        self.assertEqual(wire.answers()[0].status, 400)

    def test_half_close_after_the_end(self) -> None:
        """A client that is done and has closed its side gets its answer."""
        self.upload.start.callback(None)
        self.upload.ready = Deferred()
        wire = self.begin(b"Content-Length: 3").send(b"one").half_close()
        self.upload.ready.callback(None)
        self.assertEqual(wire.answers()[0].body, b"one")

    def test_broken_framing(self) -> None:
        """Broken framing fails with 400, and the connection ends."""
        self.upload.start.callback(None)
        wire = self.begin(CHUNKED).send(b"3\r\none\r\n", b"x\r\n" + get(b"/nope"))
        self.assertEqual([a.status for a in wire.answers()], [400])
        self.assertTrue(wire.over)

    def test_too_large(self) -> None:
        """A body without a length is cut off at the limit."""
        self.upload.start.callback(None)
        wire = self.begin(CHUNKED).send(b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\n")
        wire.send(b"ffffff\r\n")
        self.site.reactor.advance(0)
        self.assertEqual(wire.answers()[0].status, 413)
        self.assertTrue(wire.over)

    def test_client_leaves(self) -> None:
        """When the client leaves, the handler is cancelled and the reading ends."""
        self.upload.start.callback(None)
        wire = self.begin().send(b"one")
        wire.leave()
        self.assertIsNotNone(self.upload.outcome)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_twice(self) -> None:
        """A streamed body can be read once."""
        wire = self.begin(b"Content-Length: 3", path=b"/twice").send(b"one")
        self.assertEqual(wire.answers()[0].status, 500)
        wire = self.begin(b"Content-Length: 3", path=b"/twice")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_at_the_same_time(self) -> None:
        """Nor can it be read by two at a time."""
        app = Klein()

        @app.route("/", methods=["PUT"])
        @streams_body
        def handler(request: Request) -> Deferred[None]:
            first = read_body(request, lambda _: None)
            self.assertRaises(RuntimeError, read_body, request, lambda _: None)
            return first

        whole = post(b"/", b"one", method=b"PUT")
        wire = Site(app).connect().send(whole[:-3]).send(whole[-3:])
        self.assertEqual(wire.answers()[0].status, 200)

    def test_with_its_head(self) -> None:
        """A short body that is here with its head takes no part of any limit."""
        app = Klein()
        pieces: list[bytes] = []

        @app.route("/", methods=["PUT"])
        @streams_body
        def handler(request: Request) -> Deferred[None]:
            return read_body(request, pieces.append)

        site = Site(app, Limits(bodies=1))
        wire = site.connect().send(post(b"/", b"one", method=b"PUT"))
        wire.send(post(b"/", b"two", method=b"PUT") + get(b"/"))
        self.assertEqual([each.status for each in wire.answers()], [200, 200, 405])
        self.assertEqual(pieces, [b"one", b"two"])

    def test_body_of(self) -> None:
        """A body that is streamed cannot be had as a whole."""
        wire = self.begin(b"Content-Length: 3", path=b"/content").send(b"one")
        self.assertEqual(wire.answers()[0].status, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_gathered_body(self) -> None:
        """read_body also works where the body is complete."""
        body = b"x" * 100_000
        wire = self.site.connect().send(post(b"/plain", body, method=b"PUT"))
        self.assertEqual(wire.answers()[0].body, body)
        self.assertEqual(len(self.upload.pieces), 2)

    def test_stock_request(self) -> None:
        """And with a request of twisted.web, waiting for the receiver."""
        request: Any = DummyRequest([b""])
        request.content = BytesIO(b"x" * 100_000)
        self.upload.ready = Deferred()
        reading = read_body(request, self.upload.receive)
        self.assertEqual(len(self.upload.pieces), 1)
        self.assertNoResult(reading)
        ready, self.upload.ready = self.upload.ready, None
        ready.callback(None)
        self.successResultOf(reading)
        self.assertEqual(len(b"".join(self.upload.pieces)), 100_000)
        request.content.seek(0)
        self.assertEqual(len(body_of(request)), 100_000)


class Gate:
    """An app that refuses a request, whatever its body is."""

    app = Klein()

    @app.route("/", methods=["POST"])
    def post(self, request: Request) -> bytes:
        """Refuse."""
        raise Forbidden


class RefusedUnreadTests(SynchronousTestCase):
    """Requests that are refused before their body is complete."""

    def setUp(self) -> None:
        """Serve."""
        self.refuse = True
        self.refused: list[bytes] = []

        def refuses(request: Request) -> bool:
            self.refused.append(request.path)
            return self.refuse

        self.site = Site(Gate().app, refuses_unread=refuses)

    def begin(self, *lines: bytes, refuse: bool = True, path: bytes = b"/") -> Wire:
        """Send a head."""
        self.refuse = refuse
        return self.site.connect().send(get(path, *lines, method=b"POST"))

    def test_at_once(self) -> None:
        """The response is sent at once; the body is not taken for requests."""
        for framing in (b"Content-Length: 99", LONG, CHUNKED):
            for lines in ([framing], [framing, b"Expect: 100-continue"]):
                wire = self.begin(*lines)
                (answer,) = wire.answers()
                self.assertEqual(answer.status, 403)
                self.assertEqual(answer.fields["connection"], "close")
                wire.send(b"x" * 50 + get(b"/"))
                self.assertEqual(wire.answers(), [])
                self.assertTrue(wire.over)

    def test_not_refused(self) -> None:
        """Other requests are served once their body is complete."""
        wire = self.begin(b"Content-Length: 3", refuse=False)
        self.assertEqual(wire.answers(), [])
        self.assertEqual(wire.send(b"cat").answers()[0].status, 403)
        self.assertFalse(wire.over)
        self.assertEqual(self.begin(LONG, refuse=False).answers()[0].status, 413)

    def test_nobody_is_asked(self) -> None:
        """With the body at hand, or without a route, there is nothing to spare."""
        wire = self.begin(b"Content-Length: 0").send(post(b"/", b"cat"))
        self.assertEqual([answer.status for answer in wire.answers()], [403, 403])
        wire = self.begin(b"Content-Length: 3", path=b"/nowhere").send(b"cat")
        self.assertEqual(wire.answers()[0].status, 404)
        self.assertEqual(self.refused, [])


@implementer(IPushProducer)
class Hose:
    """Writes as long as it may."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.written = 0
        self.open = True
        self.stopped = False

    def run(self) -> None:
        """Write until paused."""
        while self.open and not self.stopped:
            self.request.write(b"x" * 32768)
            self.written += 32768

    def pauseProducing(self) -> None:
        """See ``IPushProducer``."""
        self.open = False

    def resumeProducing(self) -> None:
        """See ``IPushProducer``."""
        self.open = True
        self.run()

    def stopProducing(self) -> None:
        """See ``IProducer``."""
        self.stopped = True


@implementer(IPullProducer)
class Once:
    """Writes once, and fails when it is resumed."""

    def __init__(self, request: Request) -> None:
        self.requests = [request]

    def resumeProducing(self) -> None:
        """See ``IPullProducer``."""
        self.requests.pop().write(b"once")

    def stopProducing(self) -> None:
        """See ``IProducer``."""


class DownloadTests(SynchronousTestCase):
    """Producers, and clients that read slowly."""

    def setUp(self) -> None:
        """Serve a hose."""
        self.hoses: list[Hose] = []
        app = Klein()

        @app.route("/")
        def handler(request: Request) -> Deferred[None]:
            hose = Hose(request)
            self.hoses.append(hose)
            request.registerProducer(hose, streaming=True)
            self.assertRaises(
                RuntimeError,
                request.registerProducer,
                hose,
                streaming=True,
            )
            hose.run()
            return Deferred()

        self.site = Site(app)

    def test_push(self) -> None:
        """A slow reader pauses the producer, and costs at most 256 KiB."""
        wire = self.site.connect()
        wire.transport.stuck = True
        wire.send(get(b"/"))
        [hose] = self.hoses
        self.assertFalse(hose.open)
        for _ in range(5):
            before = hose.written
            wire.transport.catch_up()
            self.assertGreater(hose.written, before)
            self.assertFalse(hose.open)
        self.assertLessEqual(wire.transport.most_unread, 256 * 1024)

    def test_leave(self) -> None:
        """The producer is stopped when the client leaves."""
        wire = self.site.connect()
        wire.transport.stuck = True
        wire.send(get(b"/"))
        wire.leave()
        self.assertTrue(self.hoses[0].stopped)
        late = Hose(self.hoses[0].request)
        late.request.registerProducer(late, streaming=True)
        self.assertTrue(late.stopped)

    def test_failing_producer(self) -> None:
        """A producer that fails when it is resumed ends the connection at once."""
        for push in (True, False):
            wire = self.site.connect()
            wire.transport.stuck = True
            wire.send(get(b"/"))
            hose = self.hoses[-1]
            if not push:
                hose.request.unregisterProducer()
                hose.request.registerProducer(Once(hose.request), streaming=False)
            hose.request = None  # type: ignore[assignment]  # so that it fails
            wire.transport.catch_up()
            wire.transport.catch_up()
            self.site.advance(1)
            self.assertTrue(wire.transport.aborted)
            self.assertEqual(len(self.flushLoggedErrors(AttributeError, IndexError)), 1)

    def test_producer_that_does_not_stop(self) -> None:
        """A producer that fails when the client leaves does not keep the connection."""
        wire = self.site.connect()
        wire.transport.stuck = True
        wire.send(get(b"/"))
        [hose] = self.hoses
        notices: list[object] = []
        hose.request.notifyFinish().addErrback(notices.append)
        self.patch(hose, "stopProducing", None)
        wire.leave()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(len(notices), 1)
        self.assertEqual(self.site.factory._connections, set())

    def test_late_producer(self) -> None:
        """A producer registered while the reader is behind is paused at once."""
        hoses: list[Hose] = []
        app = Klein()

        @app.route("/")
        def handler(request: Request) -> Deferred[None]:
            request.write(b"x" * 200_000)
            hoses.append(Hose(request))
            request.registerProducer(hoses[0], streaming=True)
            return Deferred()

        wire = Site(app).connect()
        wire.transport.stuck = True
        wire.send(get(b"/"))
        self.assertFalse(hoses[0].open)
        wire.transport.catch_up()
        self.assertEqual(hoses[0].written, 0)
        wire.transport.stuck = False
        hoses[0].stopped = True
        for _ in range(3):
            wire.transport.catch_up()
        self.assertTrue(hoses[0].open)

    def test_both_ways(self) -> None:
        """A client that sends and does not read is cut off in its time, not before."""
        app = Klein()

        @app.route("/", methods=["PUT"])
        @streams_body
        async def echo(request: Request) -> None:
            await read_body(request, request.write)

        site = Site(app, Limits(body=10**8))
        self.addCleanup(site.factory.doStop)
        wire = site.connect()
        wire.transport.stuck = True
        wire.send(get(b"/", LONG, method=b"PUT"))
        for _ in range(50):
            wire.send(b"x" * 4096)
            site.advance(1)
        self.assertFalse(wire.transport.aborted)
        for _ in range(40):
            wire.send(b"x" * 4096)
            site.advance(1)
        self.assertTrue(wire.transport.aborted)

    def test_pull(self) -> None:
        """A pull producer is resumed once a turn, and when the reader caught up."""
        site = Site(App().app)
        wire = site.connect().send(get(b"/pull") + get(b"/a"))
        first = wire.take()
        self.assertTrue(first.endswith(b"\r\n2\r\n0,\r\n"))
        site.advance(1)
        answers = parse_answers(first + wire.take())
        self.assertEqual([a.body for a in answers], [b"0,1,2,3,4,", b"A"])

    def test_pull_by_a_slow_reader(self) -> None:
        """A pull producer waits for the reader."""
        site = Site(App().app)
        wire = site.connect()
        wire.transport.stuck = True
        wire.transport.unread = 65536
        wire.send(get(b"/pull"))
        site.advance(1)
        self.assertNotIn(b"1,", wire.take())
        for _ in range(6):
            wire.transport.unread = 0
            wire.transport.catch_up()
            site.advance(1)
        self.assertTrue(wire.take().endswith(b"0\r\n\r\n"))

    def test_pull_and_loss(self) -> None:
        """A producer is not resumed once the client has disconnected."""
        site = Site(App().app)
        wire = site.connect().send(get(b"/pull"))
        wire.leave()
        site.advance(1)
        self.assertEqual(site.factory._connections, set())
        # This handler's Deferred is the notice of the loss itself.
        self.assertEqual(len(self.flushLoggedErrors(ConnectionLost)), 1)
