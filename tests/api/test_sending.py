"""Tests of asciid.api._sending: back-pressure and clients that leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from zope.interface import implementer

from asciid.api._ranges import Part
from asciid.api._sending import PIECE, send_parts
from asciid.errors import DatabaseUnavailableError
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

    spec = ImageSpec("0" * 64, len(DATA), 1_000)
    completed = 0.0
    content = kept = None

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, Deferred[bytes]]] = []

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """Wait for `give`."""
        reading: Deferred[bytes] = Deferred()
        self.waiting.append((start, end, reading))
        return reading

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """Not be called: no two parts are small."""
        raise AssertionError(ranges)

    def give(self) -> None:
        """Answer the one read under way."""
        ((start, end, reading),) = self.waiting
        self.waiting.clear()
        reading.callback(DATA[start:end])


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
        self.assertLessEqual(max(map(len, self.request.written)), PIECE + 1)
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
        self.assertEqual(len(self.request.written), 2)
        self.assertEqual(self.reader.waiting, [])
        self.producer.resumeProducing()
        self.assertEqual(len(self.reader.waiting), 1)
        self.producer.resumeProducing()
        self.test_one_piece_at_a_time()

    def test_client_leaves_while_reading(self) -> None:
        """The result of a cancelled read is dropped."""
        self.reader.give()
        self.producer.stopProducing()
        self.sending.cancel()
        self.failureResultOf(self.sending, CancelledError)
        self.assertEqual(len(self.request.written), 1)

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
        ((_, _, reading),) = self.reader.waiting
        reading.errback(DatabaseUnavailableError())
        self.successResultOf(self.sending)
        self.assertTrue(self.request.lost)
        self.assertIsNone(self.request.producer)
        self.assertEqual(self.flushLoggedErrors(), [])
