"""One connection: order, persistence, refusals, limits."""

from __future__ import annotations

import gc
import json
from io import BytesIO
from typing import TYPE_CHECKING, Any
from weakref import ref

from klein import Klein
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from werkzeug.routing import BaseConverter

from asciid.http import Limits, body_of, streams_body
from asciid.http._response_head import status_line
from tests.http._app import App
from tests.http._support import HOST, Answer, MemoryTransport, Site, Wire, get, post

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.http._request import Request

CLOSE = b"Connection: close"
CHUNKED = b"Transfer-Encoding: chunked"


class ChannelTestCase(SynchronousTestCase):
    """Talks to the small app."""

    limits = Limits(body=2000, endpoint_bodies={"stream": 5000, "content": 10})

    def setUp(self) -> None:
        """Serve the app."""
        self.app = App()
        self.site = Site(self.app.app, self.limits)

    def connect(self) -> Wire:
        """Open a connection."""
        return self.site.connect()

    def statuses(self, answers: list[Answer]) -> list[int]:
        """Return the statuses of responses."""
        return [answer.status for answer in answers]

    def assert_problem(self, answer: Answer, status: int) -> None:
        """See to it that a response is a problem document that ends a connection."""
        self.assertEqual(answer.status, status)
        self.assertEqual(answer.fields["content-type"], "application/problem+json")
        self.assertEqual(answer.fields["connection"], "close")
        self.assertEqual(answer.fields["date"], "Sun, 06 Nov 1994 08:49:37 GMT")
        document = json.loads(answer.body)
        self.assertEqual(document["type"], "about:blank")
        self.assertEqual(document["status"], status)
        self.assertEqual(document["title"], answer.phrase)
        self.assertEqual(document["code"], f"{status} {answer.phrase}")
        self.assertEqual(document["detail"], document["message"])


class PersistenceTests(ChannelTestCase):
    """How long a connection lives (RFC 9112 9)."""

    def test_bytes(self) -> None:
        """A response is one write, with Date and the length of its body."""
        wire = self.connect().send(get(b"/a"))
        self.assertEqual(
            wire.take(),
            b"HTTP/1.1 200 OK\r\n"
            b"Content-Type: text/html\r\n"
            b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            b"Content-Length: 1\r\n"
            b"\r\n"
            b"A",
        )
        self.assertTrue(wire.transport.no_delay)
        self.assertFalse(wire.over)

    def test_many_requests(self) -> None:
        """A connection serves one request after the other."""
        wire = self.connect()
        for _ in range(3):
            self.assertEqual(wire.send(get(b"/a")).answers()[0].body, b"A")

    def test_close(self) -> None:
        """After Connection: close nothing is answered, and our side is closed."""
        wire = self.connect().send(get(b"/a", CLOSE) + get(b"/echo") + b"junk")
        [answer] = wire.answers()
        self.assertEqual(answer.fields["connection"], "close")
        self.assertTrue(wire.transport.half_closed)
        wire.send(get(b"/a"))
        self.assertEqual(wire.take(), b"")
        wire.half_close()
        self.assertTrue(wire.transport.closed)
        self.assertFalse(wire.transport.aborted)

    def test_http_1_0(self) -> None:
        """HTTP/1.0 closes, unless keep-alive was requested, and then says so."""
        wire = self.connect().send(b"GET /a HTTP/1.0\r\n\r\n")
        self.assertEqual(wire.answers()[0].fields["connection"], "close")
        self.assertTrue(wire.over)
        keep = b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        wire = self.connect().send(keep % b"/a")
        self.assertEqual(wire.answers()[0].fields["connection"], "keep-alive")
        self.assertFalse(wire.over)
        [answer] = wire.send(keep % b"/chunks").answers()
        self.assertEqual(answer.body, b"one two")
        self.assertNotIn("transfer-encoding", answer.fields)
        self.assertTrue(wire.over)

    def test_upgrade(self) -> None:
        """Upgrade is ignored, and the body is read (RFC 9110 7.8)."""
        request = post(b"/echo", b"hello", b"Connection: Upgrade", b"Upgrade: h2c")
        wire = self.connect().send(request + get(b"/a"))
        self.assertEqual([a.body for a in wire.answers()], [b"hello", b"A"])

    def test_handler_closes(self) -> None:
        """A handler may have the connection closed."""
        app = Klein()

        @app.route("/")
        def close(request: Request) -> bytes:
            request.setHeader("Connection", "close")
            request.setHeader("Date", "today")
            request.setHeader("Transfer-Encoding", "gzip")
            return b"bye"

        wire = Site(app).connect().send(get(b"/") + get(b"/"))
        [answer] = wire.answers()
        self.assertEqual(answer.fields["connection"], "close")
        self.assertEqual(answer.fields["date"], "today")
        self.assertNotIn("transfer-encoding", answer.fields)
        self.assertTrue(wire.over)

    def test_empty_lines(self) -> None:
        """Empty lines before a request are skipped (RFC 9112 2.2)."""
        wire = self.connect().send(b"\r\n\r\n" + get(b"/a") + b"\r\n", b"\r", b"\n")
        wire.send(get(b"/a"))
        self.assertEqual(len(wire.answers()), 2)

    def test_options_of_the_server(self) -> None:
        """OPTIONS * names all methods, and says nothing else."""
        [answer] = self.site.ask(get(b"*", method=b"OPTIONS"))
        self.assertEqual(answer.status, 204)
        self.assertEqual(
            answer.fields["allow"], "DELETE, GET, HEAD, OPTIONS, POST, PUT"
        )
        self.assertNotIn("content-length", answer.fields)

    def test_unix_socket(self) -> None:
        """A connection without ports is served as well."""
        wire = Wire.__new__(Wire)
        wire.site = self.site
        wire.transport = transport = MemoryTransport()
        transport.hostAddr = transport.peerAddr = UNIXAddress("/run/x")
        wire.channel = self.site.factory.buildProtocol(None)
        transport.protocol = wire.channel
        wire.channel.makeConnection(transport)
        [answer] = wire.send(b"GET /dir HTTP/1.0\r\n\r\n").answers()
        self.assertEqual(answer.status, 308)
        self.assertTrue(transport.half_closed)
        self.assertFalse(transport.no_delay)


class PipelineTests(ChannelTestCase):
    """Requests sent ahead (RFC 9112 9.3.2)."""

    def test_order(self) -> None:
        """Requests of every framing in one read are answered in order."""
        wire = self.connect().send(
            post(b"/echo", b"one")
            + get(b"/echo", CHUNKED, method=b"PUT")
            + b"3\r\ntwo\r\n0\r\nX: y\r\n\r\n"
            + get(b"/a", method=b"HEAD")
            + post(b"/stream", b"three", method=b"PUT")
            + get(b"/a")
        )
        self.site.advance(0.1)
        answers = wire.answers(b"POST", b"PUT", b"HEAD", b"PUT")
        self.assertEqual([a.body for a in answers], [b"one", b"two", b"", b"5", b"A"])

    def test_slow_handler(self) -> None:
        """The next request waits until the handler of the one before is done."""
        wire = self.connect().send(get(b"/wait") + get(b"/a") + get(b"/wait"))
        self.assertEqual(wire.take(), b"")
        self.assertEqual(len(self.app.waiting), 1)
        self.app.waiting[0].callback(b"first")
        self.assertEqual([a.body for a in wire.answers()], [b"first", b"A"])
        self.app.waiting[1].callback(b"last")
        self.assertEqual(wire.answers()[0].body, b"last")

    def test_error_does_not_overtake(self) -> None:
        """A bad request after a slow one is refused after its answer."""
        wire = self.connect().send(get(b"/wait"), b"NONSENSE\r\n\r\n", get(b"/a"))
        self.assertEqual(wire.take(), b"")
        self.app.waiting[0].callback(b"first")
        first, second = wire.answers()
        self.assertEqual(first.body, b"first")
        self.assert_problem(second, 400)
        self.assertTrue(wire.over)

    def test_time_slice(self) -> None:
        """After 0.2 ms the other connections have their turn."""
        turns = self.site.count_turns()
        wire = self.connect().send(get(b"/a") * 100)
        first = len(wire.answers())
        self.assertIn(first, range(1, 4))
        self.assertEqual(turns, [0])
        wire.send(get(b"/a"))
        self.assertEqual(wire.take(), b"")
        self.site.reactor.advance(0)
        self.assertEqual(len(wire.answers()), 101 - first)
        self.assertGreaterEqual(len(turns), 100 // 4)

    def test_body_in_turns(self) -> None:
        """A body of tiny chunks is decoded in turns, and what follows it waits."""
        body = b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n"
        chunked = get(b"/echo", b"Transfer-Encoding: chunked", method=b"POST")
        for more in ([get(b"/a")], [get(b"/a")[:9], get(b"/a")[9:]]):
            turns = self.site.count_turns()
            wire = self.connect().send(chunked, body[:100], body[100:], *more)
            self.assertEqual(wire.take(), b"")
            wire.half_close()
            self.site.reactor.advance(0)
            answers = wire.answers()
            self.assertEqual([a.body for a in answers], [b"x" * 1000, b"A"])
            self.assertGreaterEqual(len(turns), 2)
        wire = self.connect().send(chunked, body[:-1]).half_close()
        self.assertEqual(wire.take(), b"")
        self.site.reactor.advance(0)
        [answer] = wire.answers()
        self.assert_problem(answer, 400)
        wire = self.connect().send(chunked, body)
        wire.leave()
        self.site.reactor.advance(0)
        self.assertEqual(self.site.factory.bodies.used, 0)

    def test_streamed_turns(self) -> None:
        """Many small streamed bodies in one read do not pile up on the stack."""
        request = post(b"/stream", b"x", method=b"PUT")
        wire = self.connect().send(request * 600)
        for _ in range(600):
            self.site.reactor.advance(0)
        self.assertEqual(len(wire.answers()), 600)

    def test_turn_of_a_lost_connection(self) -> None:
        """Nothing happens when the connection is closed before its turn."""
        wire = self.connect().send(get(b"/a") * 100)
        wire.leave()
        wire.take()
        self.assertEqual(
            [c for c in self.site.reactor.getDelayedCalls() if c.getTime() == 0], []
        )
        self.site.advance(1)
        self.assertEqual(wire.take(), b"")

    def test_read_ahead(self) -> None:
        """Reading pauses when much was pipelined, and continues later."""
        wire = self.connect().send(get(b"/wait"))
        request = get(b"/a", b"X: " + b"x" * 8000)
        wire.send(*[request] * 8)
        self.assertFalse(wire.paused)
        wire.send(request)
        self.assertTrue(wire.paused)
        self.app.waiting[0].callback(b"")
        self.assertFalse(wire.paused)
        self.assertEqual(len(wire.answers()), 10)

    def test_large_answers(self) -> None:
        """Answers of one read are sent together, but not without bound."""
        wire = self.connect()
        wire.send(post(b"/echo", b"x" * 1500) * 30)
        answers = wire.answers()
        self.assertEqual({len(a.body) for a in answers}, {1500})
        self.assertEqual(len(answers), 30)


class RefusalTests(ChannelTestCase):
    """Errors that the HTTP server answers itself."""

    def refused(self, status: int, *pieces: bytes) -> Wire:
        """See to it that a connection is refused and closed."""
        wire = self.connect().send(*pieces)
        [answer] = wire.answers()
        self.assert_problem(answer, status)
        self.assertTrue(wire.transport.half_closed)
        return wire

    def test_bad_request(self) -> None:
        """A malformed request is 400, with a problem document."""
        self.refused(400, b"GET / HTTP/1.1\r\n\r\n")
        self.refused(400, b"GET / HTTP/1.1\nHost: x\n\n")
        self.refused(505, b"GET / HTTP/2.0\r\n\r\n")
        self.refused(501, b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", get(b"/a"))
        self.refused(417, get(b"/a", b"Expect: wonders"))
        self.refused(400, get(b"/%ff"))

    def test_head(self) -> None:
        """A refused HEAD has no body."""
        wire = self.connect().send(b"HEAD / HTTP/1.1\r\n\r\n")
        [answer] = wire.answers(b"HEAD")
        self.assertEqual(answer.status, 400)
        request = b"Content-Length: 5000"
        wire = self.connect().send(get(b"/echo", request, method=b"HEAD"))
        self.assertEqual(wire.answers(b"HEAD")[0].status, 413)

    def test_body_like_a_head(self) -> None:
        """A refused body that begins as a HEAD request is answered with a body."""
        chunked = get(b"/echo", b"Transfer-Encoding: chunked", method=b"POST")
        for pieces in ((chunked + b"HEAD /",), (chunked, b"HEAD /")):
            [answer] = self.connect().send(*pieces).answers()
            self.assert_problem(answer, 400)

    def test_problem(self) -> None:
        """The body of refusals can be made elsewhere."""
        site = Site(self.app.app, problem=lambda status, *_: b"%d" % status)
        [answer] = site.ask(b"x\r\n\r\n")
        self.assertEqual(answer.body, b"400")

    def test_long_heads(self) -> None:
        """Heads that are too long are refused before their end."""
        line = b"GET /" + b"a" * 9000
        self.refused(414, line)
        self.refused(414, *[line[i : i + 1000] for i in range(0, 9000, 1000)])
        block = b"GET / HTTP/1.1\r\n" + b"X: %b\r\n" % (b"x" * 1000) * 17
        self.refused(431, block)
        self.refused(431, *[block[i : i + 1000] for i in range(0, len(block), 1000)])
        self.refused(431, b"GET / HTTP/1.1\r\n%bX: %b\r\n\r\n" % (HOST, b"x" * 20000))

    def test_flood(self) -> None:
        """Of 20 MB of header nothing is kept, and soon nothing is read."""
        wire = Site(self.app.app, Limits(linger_bytes=1_000_000)).connect()
        wire.send(b"GET / HTTP/1.1\r\n" + HOST + b"X: ")
        pieces = 0
        while not wire.transport.closed and pieces < 300:
            wire.send(b"x" * 65536)
            pieces += 1
        self.assertLess(pieces, 20)
        self.assertEqual(wire.answers()[0].status, 431)

    def test_long_bodies(self) -> None:
        """A body beyond its route's limit is refused without being read."""
        self.refused(413, get(b"/echo", b"Content-Length: 2001", method=b"POST"))
        self.refused(413, get(b"/content", b"Content-Length: 11", method=b"POST"))
        self.refused(413, get(b"/stream", b"Content-Length: 5001", method=b"PUT"))
        chunked = get(b"/content", CHUNKED, method=b"POST")
        self.refused(413, chunked + b"5\r\nhello\r\n6\r\n")
        self.assertEqual(self.site.ask(post(b"/content", b"x" * 10))[0].status, 200)

    def test_body_for_no_route(self) -> None:
        """Without a route the app answers, after a body that is not too long."""
        wire = self.connect().send(post(b"/nope", b"hello") + get(b"/a"))
        self.assertEqual(self.statuses(wire.answers()), [404, 200])
        wire.send(get(b"/a", b"Content-Length: 3000000", method=b"POST"), b"body")
        [answer] = wire.answers()
        self.assertEqual(answer.status, 405)
        self.assertEqual(answer.fields["connection"], "close")
        self.assertTrue(wire.over)

    def test_broken_chunks(self) -> None:
        """A body whose framing breaks is 400, and its rest is no request."""
        chunked = get(b"/echo", CHUNKED, method=b"POST")
        self.refused(400, chunked, b"5\r\nhello0\r\n\r\n" + get(b"/a"))
        self.refused(400, chunked, b"5\r\nhello\r\n", b"x\r\n")

    def test_smuggling(self) -> None:
        """What can be read in two ways is not read at all."""
        for lines in (
            (b"Content-Length: 4", CHUNKED),
            (CHUNKED, b"Content-Length: 4"),
            (b"Transfer-Encoding: xchunked",),
            (b"Transfer-Encoding : chunked",),
            (b"Content-Length: 6", b"Content-Length: 5"),
            (b"X: y\rTransfer-Encoding: chunked",),
        ):
            request = get(b"/echo", *lines, method=b"POST") + b"0\r\n\r\n" + get(b"/a")
            wire = self.connect().send(request)
            [answer] = wire.answers()
            self.assertIn(answer.status, (400, 501))
            self.assertTrue(wire.over)

    def test_too_many_connections(self) -> None:
        """One connection too many is answered 503."""
        site = Site(self.app.app, Limits(connections=2))
        first, _, third = site.connect(), site.connect(), site.connect()
        [answer] = third.answers()
        self.assert_problem(answer, 503)
        self.assertEqual(answer.fields["retry-after"], "1")
        third.leave()
        first.leave()
        self.assertEqual(site.ask(get(b"/a"))[0].status, 200)


class LingerTests(ChannelTestCase):
    """Reading after the last response, so that it arrives (RFC 9112 9.6)."""

    limits = Limits(
        body=2000,
        linger_bytes=1_000_000,
        linger_time=30,
        linger_pause=5,
        body_rate=100,
        connections=2,
    )

    def refuse(self) -> Wire:
        """Send the head of a body that is too large; return after the answer."""
        wire = self.connect().send(post(b"/echo", b"x" * 2_000_000)[:200])
        [answer] = wire.answers()
        self.assert_problem(answer, 413)
        self.assertTrue(wire.transport.half_closed)
        self.assertFalse(wire.transport.closed)
        return wire

    def test_bytes(self) -> None:
        """As many bytes as the limit are read and dropped; after that it is closed."""
        wire = self.refuse()
        for _ in range(20):
            wire.send(b"x" * 50_000)
            self.site.reactor.advance(0.005)
        self.assertFalse(wire.transport.closed)
        self.assertFalse(wire.paused)
        wire.send(b"x" * 2000)
        self.assertTrue(wire.transport.closed)
        self.assertEqual(wire.take(), b"")

    def test_pace(self) -> None:
        """All clients together are read at a bounded rate, in turns."""
        limits = Limits(body=1, linger_rate=200 * 64 * 1024)
        self.site = Site(self.app.app, limits)
        wires = [self.connect() for _ in range(3)]
        for wire in wires:
            wire.send(post(b"/echo", b"x" * 1_000_000)[:100])
            self.assertFalse(wire.paused)
            wire.send(b"x" * 65536)
        # One read in each 5 ms.
        self.assertEqual([wire.paused for wire in wires], [True, True, True])
        read = []
        for _ in range(6):
            self.site.reactor.advance(0.005)
            [ready] = [wire for wire in wires if not wire.paused]
            read.append(wires.index(ready))
            ready.send(b"x" * 65536)
        self.assertEqual(read, [0, 1, 2, 0, 1, 2])
        for wire in wires:
            wire.leave()
        self.site.reactor.advance(0.005)
        self.site.reactor.advance(0.005)
        self.site.reactor.advance(0.005)
        # Nothing is left to wait for but the next look at the timeouts.
        self.assertEqual(len(self.site.reactor.getDelayedCalls()), 1)

    def test_whole_body(self) -> None:
        """A client that closes after its body gets no reset."""
        wire = self.refuse().send(b"x" * 500_000).half_close()
        self.assertTrue(wire.transport.closed)
        self.assertFalse(wire.transport.aborted)

    def test_time(self) -> None:
        """While bytes flow it is read for the time of the limit, and no longer."""
        wire = self.refuse()
        for _ in range(28):
            wire.send(b"x" * 200)
            self.site.advance(1)
        self.assertFalse(wire.transport.closed)
        for _ in range(4):
            wire.send(b"x" * 200)
            self.site.advance(1)
        self.assertTrue(wire.transport.closed)

    def test_silence(self) -> None:
        """A client that sends nothing more is waited for a few seconds."""
        wire = self.refuse()
        self.site.advance(4)
        self.assertFalse(wire.transport.closed)
        self.site.advance(3)
        self.assertTrue(wire.transport.closed)

    def test_drip(self) -> None:
        """A client that sends less than the lowest rate is not waited for, either."""
        wire = self.refuse()
        for _ in range(7):
            wire.send(b"x")
            self.site.advance(1)
        self.assertTrue(wire.transport.closed)

    def test_no_time(self) -> None:
        """A time of 0 closes the connection at the next look."""
        limits = Limits(body=1, linger_time=0)
        wire = Site(self.app.app, limits).connect()
        wire.send(post(b"/echo", b"x" * 50))
        self.assertTrue(wire.transport.half_closed)
        wire.site.advance(1)
        self.assertTrue(wire.transport.closed)

    def test_drain(self) -> None:
        """It counts as a connection, and a drain waits until it is over."""
        wire = self.refuse()
        self.assertEqual(self.site.factory.connections, 1)
        drained = self.site.factory.drain()
        self.assertNoResult(drained)
        wire.send(b"x" * 5000)
        self.assertFalse(wire.transport.closed)
        self.site.advance(12)
        self.successResultOf(drained)

    def test_crowded(self) -> None:
        """Where more connections are open than may be, it is cut short."""
        self.connect(), self.connect()
        wire = self.connect()
        self.assert_problem(wire.answers()[0], 503)
        for _ in range(7):
            wire.send(b"x" * 10_000)
            self.site.advance(1)
        self.assertTrue(wire.transport.closed)

    def test_streamed(self) -> None:
        """A handler that refuses a body it has not read has its answer delivered."""
        app = Klein()

        @app.route("/", methods=["PUT"])
        @streams_body
        def refuse(request: Request) -> bytes:
            request.setResponseCode(401)
            return b"no"

        wire = Site(app, self.limits).connect()
        wire.send(post(b"/", b"x" * 1500, method=b"PUT")[:100])
        [answer] = wire.answers()
        self.assertEqual((answer.status, answer.fields["connection"]), (401, "close"))
        wire.send(b"x" * 900_000)
        self.assertFalse(wire.transport.closed)

    def test_expectation(self) -> None:
        """One that expects 100 Continue gets the final response alone."""
        request = post(b"/echo", b"x" * 5000, b"Expect: 100-continue")
        wire = self.connect().send(request[:-5000])
        [answer] = wire.answers()
        self.assert_problem(answer, 413)
        wire.send(b"x" * 5000)
        self.assertFalse(wire.transport.closed)
        self.assertEqual(wire.take(), b"")


class BodyTests(ChannelTestCase):
    """Request bodies that come in pieces."""

    def test_pieces(self) -> None:
        """A body is gathered from any pieces, and what follows is a request."""
        wire = self.connect()
        wire.send(*[bytes([b]) for b in post(b"/echo", b"hello") + get(b"/a")])
        self.assertEqual([a.body for a in wire.answers()], [b"hello", b"A"])

    def test_body_of_a_get(self) -> None:
        """The body of a GET is read."""
        wire = self.connect().send(post(b"/a", b"hello", method=b"GET") + get(b"/a"))
        self.assertEqual([a.body for a in wire.answers()], [b"A", b"A"])

    def test_continue(self) -> None:
        """100 Continue is sent when the body is wanted (RFC 9110 10.1.1)."""
        request = post(b"/echo", b"hello", b"Expect: 100-continue")
        wire = self.connect().send(request[:-5])
        self.assertEqual(wire.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.send(b"he")
        self.assertEqual(wire.take(), b"")
        wire.send(b"llo")
        self.assertEqual(wire.answers()[0].body, b"hello")

    def test_no_continue(self) -> None:
        """Nor is it sent once the body has begun, on refusal, or in HTTP/1.0."""
        request = post(b"/echo", b"hello", b"Expect: 100-continue")
        self.assertEqual(self.statuses(self.site.ask(request)), [200])
        wire = self.connect().send(request[:-4], request[-4:])
        self.assertEqual(self.statuses(wire.answers()), [200])
        old = request.replace(b"HTTP/1.1", b"HTTP/1.0")
        wire = self.connect().send(old[:-5], old[-5:])
        self.assertEqual(self.statuses(wire.answers()), [200])
        large = get(b"/echo", b"Content-Length: 9999", b"Expect: 100-continue")
        self.assertEqual(self.statuses(self.site.ask(large)), [413])
        nowhere = post(b"/a", b"", b"Expect: 100-continue", method=b"PUT")
        self.assertEqual(self.statuses(self.site.ask(nowhere)), [405])

    def test_no_route(self) -> None:
        """A client that expects 100 Continue gets a 404 at once, and need not send."""
        for path, status in ((b"/nowhere", 404), (b"/a", 405)):
            lines = (b"Content-Length: 5", b"Expect: 100-continue")
            wire = self.connect().send(get(path, *lines, method=b"PUT"))
            [answer] = wire.answers()
            self.assertEqual(answer.status, status)
            self.assertEqual(answer.fields["connection"], "close")
            self.assertTrue(wire.over)
            # One that sends without waiting keeps its connection.
            wire = self.connect().send(get(path, *lines, method=b"PUT") + b"he", b"llo")
            [answer] = wire.answers()
            self.assertEqual(answer.status, status)
            self.assertFalse(wire.over)

    def test_half_close(self) -> None:
        """A body that ends early is 400, never an answer of the app."""
        for request in (
            post(b"/echo", b"hello")[:-1],
            get(b"/echo", CHUNKED, method=b"POST") + b"5\r\nhello\r\n0\r\n",
            get(b"/a")[:-1],
            b"G",
        ):
            wire = self.connect().send(request).half_close()
            [answer] = wire.answers()
            self.assert_problem(answer, 400)
            self.assertTrue(wire.transport.closed)


class BudgetTests(ChannelTestCase):
    """What all bodies that are being gathered may hold together."""

    limits = Limits(body=2000, bodies=1000)

    def begin(self, sent: int, *lines: bytes) -> Wire:
        """Send the beginning of a body of 1,000 bytes, in two reads."""
        head, end, body = post(b"/echo", bytes(1000), *lines).partition(b"\r\n\r\n")
        return self.connect().send(head + end, body[:sent])

    def test_bounded(self) -> None:
        """Above the limit bodies are refused with 503 and Retry-After."""
        first = self.begin(600)
        self.assertEqual(self.site.factory.bodies.used, 600)
        (answer,) = self.begin(500).answers()
        self.assert_problem(answer, 503)
        self.assertEqual(answer.fields["retry-after"], "1")
        self.assertEqual(self.site.factory.bodies.used, 600)
        first.send(bytes(400))
        self.assertEqual(self.statuses(first.answers()), [200])
        self.assertEqual(self.site.factory.bodies.used, 0)
        self.assertEqual(self.statuses(self.begin(1000).answers()), [200])

    def test_given_back(self) -> None:
        """A client that leaves, or is too slow, holds nothing any more."""
        left = self.begin(600)
        left.leave()
        self.assertEqual(self.site.factory.bodies.used, 0)
        self.begin(600)
        self.site.advance(self.limits.body_timeout + 2)
        self.assertEqual(self.site.factory.bodies.used, 0)

    def test_in_one_read(self) -> None:
        """A body that is received with its head is not counted."""
        self.begin(900)
        answers = self.site.ask(post(b"/echo", bytes(1000)))
        self.assertEqual(self.statuses(answers), [200])


class HalfCloseTests(ChannelTestCase):
    """Clients that have said all they will say (RFC 9112 9.6)."""

    def test_idle(self) -> None:
        """An idle connection is closed."""
        self.assertTrue(self.connect().half_close().transport.closed)
        wire = self.connect().send(get(b"/a")).half_close()
        self.assertEqual(len(wire.answers()), 1)
        self.assertTrue(wire.transport.closed)

    def test_slow_handler(self) -> None:
        """The response is still sent, and those to pipelined requests."""
        wire = self.connect().send(get(b"/wait") + get(b"/a")).half_close()
        self.assertFalse(wire.transport.closed)
        self.app.waiting[0].callback(b"late")
        self.assertEqual([a.body for a in wire.answers()], [b"late", b"A"])
        self.assertTrue(wire.transport.closed)

    def test_turn(self) -> None:
        """Requests that wait for their turn are answered as well."""
        wire = self.connect().send(get(b"/a") * 40).half_close()
        self.site.advance(1)
        self.assertEqual(len(wire.answers()), 40)
        self.assertTrue(wire.transport.closed)

    def test_half_a_request_behind(self) -> None:
        """Half a request behind a slow one is refused in its turn."""
        wire = self.connect().send(get(b"/wait") + b"GET").half_close()
        self.app.waiting[0].callback(b"late")
        self.assertEqual(self.statuses(wire.answers()), [200, 400])
        self.assertTrue(wire.transport.closed)

    def test_slow_reader(self) -> None:
        """Requests that wait for the client to read are answered all the same."""
        wire = self.blocked().send(get(b"/a")).half_close()
        self.assertFalse(wire.transport.closed)
        self.assertEqual(self.read_on(wire), [b"A"])
        self.assertTrue(wire.transport.closed)

    def test_slow_reader_and_body(self) -> None:
        """So is one whose body arrived meanwhile, and half a body is refused."""
        for end, last in ((b"lo", b"hello"), (b"l", None)):
            wire = self.blocked(post(b"/echo", b"hello")[:-2]).send(end).half_close()
            self.assertFalse(wire.transport.closed)
            [body] = self.read_on(wire)
            if last is None:
                self.assertEqual(json.loads(body)["status"], 400)
            else:
                self.assertEqual(body, last)
            self.assertTrue(wire.transport.closed)

    def test_body_for_slow_reader(self) -> None:
        """A body that arrived while the client did not read is not waited for again."""
        wire = self.blocked(post(b"/echo", b"hello")[:-2]).send(b"lo")
        self.assertEqual(self.read_on(wire), [b"hello"])
        self.assertFalse(wire.over)

    def blocked(self, behind: bytes = b"") -> Wire:
        """Return a connection that has not read one answer to the end."""
        wire = self.connect()
        wire.transport.stuck = True
        wire.transport.unread = 65536
        return wire.send(get(b"/a") + behind)

    def read_on(self, wire: Wire) -> list[bytes]:
        """Let the client read; return the bodies of the later answers."""
        self.assertEqual(wire.take().count(b"HTTP/1.1"), 1)
        wire.transport.stuck = False
        wire.transport.catch_up()
        return [answer.body for answer in wire.answers()]

    def test_our_side(self) -> None:
        """That our own side is closed changes nothing."""
        wire = self.connect().send(get(b"/a", CLOSE))
        wire.channel.writeConnectionLost()
        self.assertFalse(wire.transport.closed)


class LossTests(ChannelTestCase):
    """Clients that leave."""

    def test_cancel(self) -> None:
        """The handler's Deferred is cancelled, and no response is sent."""
        wire = self.connect().send(get(b"/wait") + get(b"/a"))
        wire.leave()
        self.assertEqual(self.app.cancelled, 1)
        self.assertEqual(len(self.app.notices), 1)
        self.assertEqual(wire.take(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stubborn_handler(self) -> None:
        """A handler that cannot be cancelled may end as it likes."""
        app = Klein()
        never: Deferred[bytes] = Deferred(lambda d: d.callback(b"late"))
        app.route("/")(lambda _: never)
        wire = Site(app).connect().send(get(b"/"))
        wire.leave()
        self.assertEqual(wire.take(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_failing_handler(self) -> None:
        """A handler that fails when it is cancelled is logged."""
        app = Klein()
        never: Deferred[bytes] = Deferred(lambda d: d.errback(ValueError()))
        app.route("/")(lambda _: never)
        Site(app).connect().send(get(b"/")).leave()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_broken_canceller(self) -> None:
        """A handler that cannot even be cancelled does not keep the connection."""
        app = Klein()

        def cancel(_: object) -> None:
            raise ValueError

        never: Deferred[bytes] = Deferred(cancel)
        app.route("/")(lambda _: never)
        site = Site(app)
        wire = site.connect().send(get(b"/"))
        drained = site.factory.drain()
        wire.leave()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIsNone(self.successResultOf(drained))

    def test_no_cycles(self) -> None:
        """A closed connection is freed at once, without a garbage collector."""
        gc.disable()
        self.addCleanup(gc.enable)
        for request in (
            *(b"", get(b"/a"), get(b"/nowhere"), get(b"/raise/gone")),
            *(get(b"/%ff"), b"BAD\r\n\r\n", b"GET"),
        ):
            wire = self.connect().send(request)
            gone = ref(wire.channel)
            wire.leave()
            del wire
            self.assertIsNone(gone(), request)

    def test_mid_body(self) -> None:
        """Half a body is forgotten."""
        wire = self.connect().send(post(b"/echo", b"hello")[:-1])
        wire.leave()
        self.assertEqual(self.site.factory._connections, set())

    def test_notice_of_the_end(self) -> None:
        """The Deferred of notifyFinish fires at the end of a response."""
        self.connect().send(get(b"/wait"))
        self.app.waiting[0].callback(b"")
        self.assertEqual(self.app.notices, [None])


class HandlerTests(ChannelTestCase):
    """What handlers do with the request."""

    def site_of(self, handler: Callable[..., Any]) -> Site:
        """Serve one handler."""
        app = Klein()
        app.route("/")(handler)
        return Site(app)

    def test_body_api(self) -> None:
        """The body is there as bytes and as a file, which can be replaced."""

        def handler(request: Request) -> bytes:
            first = body_of(request)
            content = request.content
            request.content = BytesIO(b"c")
            return first + content.read() + request.content.read()

        [answer] = self.site_of(handler).ask(post(b"/", b"ab"))
        self.assertEqual(answer.body, b"ababc")

    def test_response_api(self) -> None:
        """Fields may be set before and after responseHeaders was used."""

        def handler(request: Request) -> bytes:
            request.setHeader("X-One", "1")
            headers = request.responseHeaders
            request.setHeader(b"x-two", b"2\r\nX-Evil: 3")
            headers.removeHeader(b"x-one")
            started = request.startedWriting
            self.assertRaises(ValueError, request.setHeader, "a b", "c")
            return b"%d" % started

        [answer] = self.site_of(handler).ask(get(b"/"))
        self.assertEqual(answer.body, b"0")
        self.assertNotIn("x-one", answer.fields)
        self.assertNotIn("x-evil", answer.fields)

    def test_repeated_fields(self) -> None:
        """A field may have several lines, and all of Connection's are observed."""

        def handler(request: Request) -> bytes:
            request.setHeader(b"content-length", b"2")
            for value in ("a=1", "b=2"):
                request.responseHeaders.addRawHeader("Set-Cookie", value)
            request.responseHeaders.setRawHeaders("Connection", ["close", "x"])
            return b"ab"

        wire = self.site_of(handler).connect().send(get(b"/"))
        head, _, body = wire.take().partition(b"\r\n\r\n")
        self.assertEqual(body, b"ab")
        lines = head.split(b"\r\n")
        for line in (b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"Content-Length: 2"):
            self.assertEqual(lines.count(line), 1)
        self.assertIn(b"Connection: close", lines)
        self.assertTrue(wire.over)

    def test_injection(self) -> None:
        """A client's text in a field cannot end the field, nor the phrase."""

        def handler(request: Request) -> bytes:
            request.setHeader(b"x-two", b"2\r\nX-Evil: 3\x00")
            request.setResponseCode(200, b"OK\r\nX-Evil: 4")
            return b""

        wire = self.site_of(handler).connect().send(get(b"/"))
        self.assertNotIn(b"\nX-Evil", wire.take())

    def test_many_heads(self) -> None:
        """The number of cached status lines is bounded."""

        def handler(request: Request) -> bytes:
            request.setResponseCode(200, request.uri)
            return b""

        site = self.site_of(handler)
        for number in range(600):
            [answer] = site.ask(get(b"/?%d" % number))
            self.assertEqual(answer.phrase, f"/?{number}")
        self.assertLessEqual(status_line.cache_info().currsize, 512)

    def test_write_after_the_end(self) -> None:
        """Writing after the end is an error in the log; ending twice is none."""

        def handler(request: Request) -> bytes:
            request.finish()
            request.finish()
            return b"more"

        wire = self.site_of(handler).connect().send(get(b"/"))
        self.assertEqual(wire.answers()[0].body, b"")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_too_long(self) -> None:
        """No more is sent than Content-Length says, and the connection ends."""

        def handler(request: Request) -> bytes:
            request.setHeader(b"content-length", b"2")
            return b"four"

        wire = self.site_of(handler).connect().send(get(b"/") + get(b"/"))
        self.assertEqual([a.body for a in wire.answers()], [b"fo"])
        self.assertTrue(wire.over)

    def test_too_short(self) -> None:
        """A body shorter than its Content-Length ends the connection."""

        def handler(request: Request) -> None:
            request.setHeader(b"content-length", b"9")
            request.write(b"four")

        wire = self.site_of(handler).connect().send(get(b"/") + get(b"/"))
        self.assertTrue(wire.take().endswith(b"\r\n\r\nfour"))
        self.assertTrue(wire.over)

    def test_head_of_pieces(self) -> None:
        """To HEAD nothing of a body is sent whose length is not known, either."""

        def handler(request: Request) -> None:
            request.write(b"one")
            request.finish()

        for version in (b"1.1", b"1.0"):
            request = get(b"/", method=b"HEAD").replace(b"1.1", version)
            wire = self.site_of(handler).connect().send(request)
            self.assertEqual(wire.take().partition(b"\r\n\r\n")[2], b"")

    def test_head_with_a_length(self) -> None:
        """HEAD may say how long the body would be."""

        def handler(request: Request) -> bytes:
            request.setHeader(b"content-length", b"9")
            return b""

        wire = self.site_of(handler).connect().send(get(b"/", method=b"HEAD"))
        self.assertEqual(wire.answers(b"HEAD")[0].fields["content-length"], "9")
        self.assertFalse(wire.over)

    def test_failure_after_the_length(self) -> None:
        """A handler that fails after it has set a length has a complete 500."""

        def handler(request: Request) -> bytes:
            request.setHeader(b"content-length", b"9999")
            raise ValueError

        [answer] = self.site_of(handler).ask(get(b"/"))
        self.assertEqual(answer.status, 500)
        self.assertEqual(int(answer.fields["content-length"]), len(answer.body))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_failure_after_the_start(self) -> None:
        """A response that fails halfway resets the connection."""

        def handler(request: Request) -> bytes:
            request.write(b"half")
            raise ValueError

        wire = self.site_of(handler).connect().send(get(b"/"))
        self.assertTrue(wire.transport.aborted)
        self.assertNotIn(b"0\r\n\r\n", wire.take())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_unsendable(self) -> None:
        """A response that cannot be sent is logged, and the connection reset."""

        def handler(request: Request) -> bytes:
            request.setHeader("x", 1)  # type: ignore[arg-type]
            return b"x"

        for wrap in (handler, self._late(handler)):
            wire = self.site_of(wrap).connect().send(get(b"/"))
            self.assertTrue(wire.transport.aborted)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    @staticmethod
    def _late(handler: Callable[[Request], bytes]) -> Callable[..., Any]:
        async def late(request: Request) -> bytes:
            return handler(request)

        return late

    def test_resource(self) -> None:
        """Resources of twisted.web are not served below a route."""
        [answer] = self.site_of(lambda _: Resource()).ask(get(b"/"))
        self.assertEqual(answer.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_failing_converter(self) -> None:
        """The error handlers get what a URL converter raises, as in Klein."""

        class Broken(BaseConverter):
            def to_python(self, value: str) -> str:
                raise KeyError(value)

        app = Klein()
        app.url_map.converters["broken"] = Broken
        app.route("/<broken:name>")(lambda _, name: name)
        app.route("/<broken:name>/<path:rest>")(lambda _, name, rest: name + rest)
        for path in (b"/a", b"/a/b/c"):
            [answer] = Site(app).ask(get(path))
            self.assertEqual(answer.status, 500)
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_failure_in_time_of_drain(self) -> None:
        """To end the response to a client that has disconnected is an error."""
        requests = []

        def handler(request: Request) -> Deferred[bytes]:
            requests.append(request)
            return Deferred()

        self.site_of(handler).connect().send(get(b"/")).leave()
        request = requests[0]
        request.write(b"unheard")
        self.assertRaises(RuntimeError, request.finish)
