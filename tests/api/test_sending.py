"""Tests of asciid.api._sending: how much is read, and clients that leave."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from zope.interface import implementer

from asciid.api._ranges import Part
from asciid.api._sending import MOST_AT_ONCE, PIECE, QUICK, ReadAhead, send_parts
from asciid.errors import DatabaseUnavailableError, ImageNotFoundError
from asciid.model import ImageSpec
from asciid.store import IImageReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from twisted.internet.interfaces import IAddress, IPushProducer

DATA = bytes(range(256)) * (4 * PIECE // 256) + b"end"


@implementer(IImageReader)
class Reader:
    """An image whose reads the test completes."""

    data = DATA
    spec = ImageSpec("0" * 64, len(DATA), 1_000)
    completed = 0.0
    content = kept = None

    def __init__(self) -> None:
        self.waiting: list[tuple[list[bytes], Deferred[Sequence[bytes]]]] = []
        self.sizes: list[int] = []

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """Not be called: parts are read as ranges."""
        raise AssertionError(start, end)

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """Wait for `give`."""
        reading: Deferred[Sequence[bytes]] = Deferred()
        found = [self.data[start:end] for start, end in ranges]
        self.sizes.append(sum(map(len, found)))
        self.waiting.append((found, reading))
        return reading

    def give(self) -> None:
        """Answer the one read under way."""
        ((found, reading),) = self.waiting
        self.waiting.clear()
        reading.callback(found)


class Request:
    """A request that records writes."""

    method = b"GET"
    path = b"/"
    content: IO[bytes]
    args: ClassVar[dict[bytes, list[bytes]]] = {}

    def __init__(self) -> None:
        self.requestHeaders = Headers()
        self.written: list[bytes] = []
        self.producer: IPushProducer | None = None
        self.lost = False

    def getHeader(self, key: bytes) -> bytes | None:
        """Have no header fields."""
        return None if key else key

    def getClientIP(self) -> str | None:
        """Have no address."""
        return None

    def getHost(self) -> IAddress:
        """Not be called."""
        raise AssertionError

    def isSecure(self) -> bool:
        """Not be called."""
        raise AssertionError

    def setResponseCode(self, code: int) -> None:
        """Not be called."""
        raise AssertionError(code)

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Not be called."""
        raise AssertionError(name, value)

    def write(self, data: bytes) -> None:
        """Record the call."""
        self.written.append(data)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:  # noqa: FBT001 - Twisted's signature
        """Record a push producer."""
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Record the call."""
        self.producer = None

    def loseConnection(self) -> None:
        """Record the call."""
        self.lost = True


class SendPartsTests(SynchronousTestCase):
    """Sending a large image."""

    def setUp(self) -> None:
        """Begin to send."""
        self.request = Request()
        self.began: list[int] = []
        self.reader = Reader()
        self.sending = Deferred.fromCoroutine(
            send_parts(
                self.request,
                self.reader,
                [Part(5, 50, b"<"), Part(60, len(DATA), b">")],
                lambda: self.began.append(len(self.request.written)),
                b"end",
            )
        )

    @property
    def producer(self) -> IPushProducer:
        """The producer that was registered."""
        assert self.request.producer is not None
        return self.request.producer

    def test_one_piece_at_a_time(self) -> None:
        """A piece is read once the one before is written."""
        while self.reader.waiting:
            self.assertEqual(len(self.reader.waiting), 1)
            self.reader.give()
        self.successResultOf(self.sending)
        expected = b"<" + DATA[5:50] + b">" + DATA[60:] + b"end"
        self.assertEqual(b"".join(self.request.written), expected)
        self.assertFalse(self.request.lost)
        self.assertLessEqual(max(map(len, self.request.written)), PIECE)
        self.assertLessEqual(max(self.reader.sizes), PIECE)
        self.assertIsNone(self.request.producer)

    def test_begin(self) -> None:
        """The head is made after the first read, and before the first write."""
        self.assertEqual(self.began, [])
        self.reader.give()
        self.assertEqual(self.began, [0])
        self.test_one_piece_at_a_time()
        self.assertEqual(self.began, [0])

    def test_paused(self) -> None:
        """While the transport has no room nothing is read, so nothing piles up."""
        self.reader.give()
        self.producer.pauseProducing()
        self.producer.pauseProducing()
        self.reader.give()
        self.assertEqual(self.reader.waiting, [])
        self.producer.resumeProducing()
        self.assertEqual(len(self.reader.waiting), 1)
        self.producer.resumeProducing()
        self.test_one_piece_at_a_time()

    def test_client_leaves_while_reading(self) -> None:
        """The result of a cancelled read is dropped."""
        self.reader.give()
        written = len(self.request.written)
        self.producer.stopProducing()
        self.sending.cancel()
        self.failureResultOf(self.sending, CancelledError)
        self.assertEqual(len(self.request.written), written)

    def test_client_leaves_while_paused(self) -> None:
        """After a slow client disconnects nothing more is read."""
        self.reader.give()
        self.producer.pauseProducing()
        self.reader.give()
        self.sending.cancel()
        self.failureResultOf(self.sending, CancelledError)
        self.assertEqual(self.reader.waiting, [])

    def test_failover(self) -> None:
        """The connection is closed if the database is lost; that is no defect."""
        self.reader.give()
        ((_, reading),) = self.reader.waiting
        reading.errback(DatabaseUnavailableError())
        self.successResultOf(self.sending)
        self.assertTrue(self.request.lost)
        self.assertIsNone(self.request.producer)
        self.assertEqual(self.flushLoggedErrors(), [])


class FastClientTests(SynchronousTestCase):
    """Clients that receive faster than pieces are read."""

    def setUp(self) -> None:
        """Begin to send a large image, with memory for one such download."""
        self.clock = Clock()
        self.memory = ReadAhead(3 * MOST_AT_ONCE, clock=self.clock.seconds)
        self.request, self.reader, self.sending = self.download()

    def download(self) -> tuple[Request, Reader, Deferred[None]]:
        """Begin to send an image of 64 pieces."""
        request, reader = Request(), Reader()
        reader.data = bytes(range(256)) * (64 * PIECE // 256)
        sending = Deferred.fromCoroutine(
            send_parts(
                request,
                reader,
                [Part(0, len(reader.data))],
                lambda: None,
                read_ahead=self.memory,
            )
        )
        return request, reader, sending

    def send_quickly(self, reads: int) -> None:
        """Answer reads, and let the client receive them at once."""
        for _ in range(reads):
            self.reader.give()

    @property
    def producer(self) -> IPushProducer:
        """The producer that was registered."""
        assert self.request.producer is not None
        return self.request.producer

    def test_more_at_once(self) -> None:
        """Each read is twice as large as the one before, up to 512 KiB."""
        while self.reader.waiting:
            self.reader.give()
        self.successResultOf(self.sending)
        sizes = [size // PIECE for size in self.reader.sizes]
        # The next read is made before this one's client is known to be fast.
        self.assertEqual(sizes, [1, 2, 2, 4, 8, 8, 8, 8, 8, 8, 7])
        self.assertEqual(b"".join(self.request.written), self.reader.data)
        self.assertLessEqual(max(map(len, self.request.written)), PIECE)
        self.assertEqual(self.memory.used, 0)

    def test_read_ahead(self) -> None:
        """The next read is made while what was read is being sent, and no other."""
        self.send_quickly(2)
        self.producer.pauseProducing()
        self.reader.give()
        self.assertEqual(len(self.reader.waiting), 1)
        self.reader.give()
        self.assertEqual(self.reader.waiting, [])
        written = len(self.request.written)
        self.producer.resumeProducing()
        self.assertGreater(len(self.request.written), written)

    def test_slow_client(self) -> None:
        """A client that has become slow gets single pieces again, not read ahead."""
        self.send_quickly(5)
        self.producer.pauseProducing()
        for _ in range(8):
            if self.reader.waiting:
                self.reader.give()
            self.clock.advance(QUICK + 0.01)
            self.producer.resumeProducing()
            self.producer.pauseProducing()
        self.assertEqual(self.reader.sizes[-1], PIECE)
        self.reader.give()
        self.assertEqual(self.reader.waiting, [])
        self.assertEqual(self.memory.used, 0)

    def test_memory_is_shared(self) -> None:
        """While others hold the memory, a fast client gets single pieces."""
        self.memory.used = self.memory.capacity
        while self.reader.waiting:
            self.assertLessEqual(self.memory.used, self.memory.capacity)
            self.reader.give()
        self.successResultOf(self.sending)
        self.assertEqual(set(self.reader.sizes), {PIECE})

    def test_equal_shares(self) -> None:
        """Fast downloads get equally much at a time: in all as much as one alone."""
        self.memory.capacity = 16 * PIECE
        _, other, sending = self.download()
        for _ in range(5):
            self.reader.give()
        self.assertEqual(self.reader.sizes[-1], 8 * PIECE)
        for _ in range(5):
            other.give()
            self.reader.give()
        self.assertEqual(self.reader.sizes[-1], 4 * PIECE)
        self.assertEqual(other.sizes[-1], 4 * PIECE)
        self.sending.cancel()
        self.failureResultOf(self.sending, CancelledError)
        while other.waiting:
            other.give()
        self.successResultOf(sending)
        self.assertIn(8 * PIECE, other.sizes)
        self.assertEqual((self.memory.used, self.memory.downloads), (0, 0))

    def test_stuck_clients(self) -> None:
        """Clients that stop to receive hold no more in all than there is for them."""
        stuck = []
        for _ in range(10):
            self.send_quickly(4)
            self.producer.pauseProducing()
            while self.reader.waiting:
                self.reader.give()
            self.assertLessEqual(self.memory.used, self.memory.capacity)
            # As its connection does: what nothing refers to is collected, and ends.
            stuck.append((self.request, self.sending))
            self.request, self.reader, self.sending = self.download()
        gc.collect()
        self.assertGreater(self.memory.used, 0)

    def test_end_is_not_received(self) -> None:
        """What was read counts until the client has received it, at the end too."""
        while self.reader.sizes.count(7 * PIECE) == 0:
            self.reader.give()
        self.producer.pauseProducing()
        self.reader.give()
        self.assertNoResult(self.sending)
        self.assertGreater(self.memory.used, 0)
        self.producer.resumeProducing()
        self.successResultOf(self.sending)
        self.assertEqual(self.memory.used, 0)

    def test_client_leaves(self) -> None:
        """The memory of a client that disconnects is free, and its read dropped."""
        self.send_quickly(3)
        self.producer.pauseProducing()
        self.reader.give()
        self.assertEqual(len(self.reader.waiting), 1)
        self.producer.stopProducing()
        self.sending.cancel()
        self.failureResultOf(self.sending, CancelledError)
        self.assertEqual(self.memory.used, 0)

    def test_image_is_deleted(self) -> None:
        """The connection is closed after what was read before, as the body ends."""
        self.send_quickly(3)
        self.producer.pauseProducing()
        self.reader.give()
        ((_, reading),) = self.reader.waiting
        reading.errback(ImageNotFoundError("0" * 64))
        self.assertFalse(self.request.lost)
        self.producer.resumeProducing()
        self.successResultOf(self.sending)
        self.assertTrue(self.request.lost)
        self.assertEqual(self.memory.used, 0)
