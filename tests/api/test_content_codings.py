"""Tests of asciid.api._content_codings: images are compressed in a thread, once."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import zstandard
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from asciid.api import _content_codings
from asciid.runtime.client_scheduler import ClientScheduler
from asciid.runtime.offload import Offload
from asciid.testing import ManualReactor, ManualThreadPool, MemoryStore
from tests.api._raw import RawAnswer, parse_response
from tests.api._support import make_api, make_server

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol

ART = b"/\\_/\\ ( o.o )  >^<\n" * 100
NOISE = random.Random(1).randbytes(1_500).hex().encode()
GZIP = "Accept-Encoding: gzip"
NO_BARE = "Accept-Encoding: gzip, identity;q=0"


class Connection:
    """A request under way on a connection of its own."""

    def __init__(self, protocol: IProtocol, request: str) -> None:
        self.transport: Any = StringTransportWithDisconnection()
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        self.transport.protocol.dataReceived(request.encode())

    @property
    def received(self) -> bytes:
        """The received bytes."""
        return bytes(self.transport.value())

    @property
    def answer(self) -> RawAnswer:
        """The response, which must be here."""
        return parse_response(self.received)

    def leave(self) -> None:
        """Close the connection."""
        self.transport.loseConnection()


class EncodingTests(SynchronousTestCase):
    """Downloads while the thread that compresses is stepped by hand."""

    def setUp(self) -> None:
        """Serve an image, and count how often it is compressed."""
        self.reactor = ManualReactor()
        self.pool = ManualThreadPool()
        self.store = MemoryStore()
        api = make_api(
            self.store,
            max_image_size=1_000_000,
            max_chunk_size=10_000,
            offload=Offload(
                self.reactor, self.pool, scheduler=ClientScheduler(self.reactor)
            ),
        )
        self.server = make_server(api, self.reactor)
        self.made: Counter[bytes] = Counter()
        encoders = dict(_content_codings._ENCODERS)

        def counted(coding: bytes, content: bytes) -> bytes:
            self.made[coding] += 1
            return encoders[coding](content)

        self.patch(
            _content_codings,
            "_ENCODERS",
            {
                coding: lambda content, coding=coding: counted(coding, content)
                for coding in encoders
            },
        )
        self.name = self.upload(ART)

    def upload(self, data: bytes) -> str:
        """Store an image; return its hash."""
        name = sha256(data).hexdigest()
        writer = self.successResultOf(self.store.create(name))
        self.successResultOf(writer.write(data))
        self.successResultOf(writer.finish())
        return name

    def begin(self, *lines: str, method: str = "GET", name: str = "") -> Connection:
        """Request an image with these header lines."""
        address = IPv4Address("TCP", "192.0.2.1", 5555)
        head = [f"{method} /image/{name or self.name} HTTP/1.1", "Host: a", *lines]
        protocol = self.server.buildProtocol(address)
        return Connection(protocol, "\r\n".join([*head, "", ""]))

    def turn(self) -> None:
        """Run the thread, and deliver its results in the reactor."""
        while self.pool.step():
            self.reactor.advance(0)

    def test_nothing_for_head(self) -> None:
        """HEAD has the fields of GET that are known, without compression."""
        answer = self.begin(GZIP, method="HEAD").answer
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertNotIn("content-length", answer.fields)
        self.assertNotIn("transfer-encoding", answer.fields)
        self.assertFalse(self.pool.work)
        connection = self.begin(GZIP)
        self.turn()
        fields = connection.answer.fields
        for name in ("content-length", "repr-digest", "date", "x-request-id"):
            fields.pop(name)
            answer.fields.pop(name, None)
        self.assertEqual(answer.fields, fields)
        # The cached result is known.
        answer = self.begin(GZIP, method="HEAD").answer
        self.assertIn("content-length", answer.fields)
        self.assertIn("repr-digest", answer.fields)
        self.assertEqual(self.made, {b"gzip": 1})

    def test_nothing_for_conditions(self) -> None:
        """304 and 412 have the fields of GET, without compression."""
        etag = f'"{self.name}-gzip"'
        for method in ("GET", "HEAD"):
            answer = self.begin(GZIP, f"If-None-Match: {etag}", method=method).answer
            self.assertEqual(answer.status, 304)
            self.assertEqual(answer.fields["etag"], etag)
            self.assertEqual(answer.fields["vary"], "Accept-Encoding")
            wrong = f'If-Match: "{64 * "0"}"'
            answer = self.begin(GZIP, wrong, method=method).answer
            self.assertEqual(answer.status, 412)
        self.assertFalse(self.pool.work)
        self.assertEqual(self.made, {})

    def test_in_thread(self) -> None:
        """The reactor never compresses; cache hits need no thread."""
        for coding, decode in (
            ("gzip", gzip.decompress),
            ("zstd", zstandard.ZstdDecompressor().decompress),
        ):
            field = f"Accept-Encoding: {coding}"
            connection = self.begin(field)
            self.assertEqual(connection.received, b"")
            self.assertEqual(self.made[coding.encode()], 0)
            self.turn()
            self.assertEqual(decode(connection.answer.body), ART)
            answer = self.begin(field).answer
            self.assertEqual(answer.body, connection.answer.body)
            self.assertEqual(self.made[coding.encode()], 1)
        self.assertFalse(self.pool.work)

    def test_shared(self) -> None:
        """Requests for the same coding of an image wait for one compression."""
        connections = [self.begin(GZIP) for _ in range(5)]
        other = self.begin("Accept-Encoding: zstd")
        self.assertEqual(len(self.pool.work), 2)
        self.turn()
        self.assertEqual(len({c.answer.body for c in connections}), 1)
        self.assertEqual(gzip.decompress(connections[0].answer.body), ART)
        self.assertEqual(other.answer.fields["content-encoding"], "zstd")
        self.assertEqual(self.made, {b"gzip": 1, b"zstd": 1})

    def test_clients_leave(self) -> None:
        """Clients that leave do not end the wait of others, nor the compression."""
        first, second, third = (self.begin(GZIP) for _ in range(3))
        first.leave()
        third.leave()
        self.turn()
        self.assertEqual(gzip.decompress(second.answer.body), ART)
        self.begin("Accept-Encoding: zstd").leave()
        self.turn()
        answer = self.begin("Accept-Encoding: zstd").answer
        self.assertEqual(answer.fields["content-encoding"], "zstd")
        self.assertEqual(self.made, {b"gzip": 1, b"zstd": 1})
        self.assertEqual(self.server.connections, 2)

    def test_leaves_at_an_answer(self) -> None:
        """A response to one client may cancel another's."""
        first, second = self.begin(GZIP), self.begin(GZIP)
        write = first.transport.write

        def write_and_leave(data: bytes) -> None:
            write(data)
            second.leave()

        first.transport.write = write_and_leave
        self.turn()
        self.assertEqual(gzip.decompress(first.answer.body), ART)
        self.assertEqual(second.received, b"")
        self.assertEqual(self.begin(GZIP).answer.status, 200)

    def test_deleted_meanwhile(self) -> None:
        """Requests before a deletion get the image, later ones 404."""
        connection = self.begin(GZIP)
        self.successResultOf(self.store.delete(self.name))
        self.turn()
        self.assertEqual(gzip.decompress(connection.answer.body), ART)
        self.assertEqual(self.begin(GZIP).answer.status, 404)

    def test_failure(self) -> None:
        """If compression fails, all waiting requests get 500; the next may work."""

        def fail(_: bytes) -> bytes:
            raise MemoryError

        encoders = _content_codings._ENCODERS
        self.patch(_content_codings, "_ENCODERS", {b"gzip": fail})
        connections = [self.begin(GZIP) for _ in range(2)]
        self.turn()
        self.assertEqual([c.answer.status for c in connections], [500, 500])
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 2)
        self.patch(_content_codings, "_ENCODERS", encoders)
        connection = self.begin(GZIP)
        self.turn()
        self.assertEqual(gzip.decompress(connection.answer.body), ART)

    def test_busy(self) -> None:
        """While many images wait for the thread, others are sent bare at once."""
        names = [self.upload(ART + b"%d" % number) for number in range(64)]
        waiting = [self.begin(GZIP, name=name) for name in names]
        answer = self.begin(GZIP).answer
        self.assertEqual(answer.body, ART)
        self.assertEqual(answer.fields["vary"], "Accept-Encoding")
        self.assertEqual(answer.fields["etag"], f'"{self.name}"')
        insisting = self.begin(NO_BARE)
        self.assertEqual(insisting.received, b"")
        self.turn()
        for connection in (*waiting, insisting):
            self.assertEqual(connection.answer.fields["content-encoding"], "gzip")

    def test_larger_than_bare(self) -> None:
        """A requested coding is sent even if it is larger."""
        name = self.upload(NOISE)
        self.patch(
            _content_codings, "_ENCODERS", {b"gzip": lambda content: content + b"!"}
        )
        connection = self.begin(GZIP, name=name)
        self.turn()
        self.assertEqual(connection.answer.body, NOISE + b"!")

    def test_nothing_left(self) -> None:
        """Of a compression that has ended only the result is kept."""
        encodings = _content_codings.Encodings(
            Offload(self.reactor, self.pool, scheduler=ClientScheduler(self.reactor))
        )
        waiting = encodings.encode(self.name, ART, b"gzip")
        self.turn()
        self.assertIs(self.successResultOf(waiting), encodings.kept(self.name, b"gzip"))
        self.assertFalse(encodings._under_way)
