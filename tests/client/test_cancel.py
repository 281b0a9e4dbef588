"""
What cancelled work leaves: nothing, over real sockets.

Trial itself fails a test that leaves a timer or a socket of this process open.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from asciid.client import Client, ClientError, LostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import ITransport
    from twisted.python.failure import Failure

reactor: Any = _reactor
SHA256 = "0" * 64
SIZE = 4 * 1024 * 1024  # bytes; more than sockets hold
PART = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + 10 * b"."


class StuckServer(Factory[Protocol]):
    """Does `answer` with the connection of the first bytes it gets, and no more."""

    noisy = False

    def __init__(self) -> None:
        self.answer: Callable[[Any], object]
        self.heard: Deferred[None]
        self.lost: Deferred[None]

    def begin(self, answer: Callable[[Any], object]) -> None:
        """Expect a connection."""
        self.answer = answer
        self.heard, self.lost = Deferred(), Deferred()

    def buildProtocol(self, _address: object) -> Protocol:
        """Return one that is stuck."""
        return Stuck(self)


class Stuck(Protocol):
    """One connection to a `StuckServer`."""

    transport: ITransport

    def __init__(self, server: StuckServer) -> None:
        self._server = server

    def dataReceived(self, _data: bytes) -> None:
        """Answer the first bytes."""
        if not self._server.heard.called:
            self._server.answer(self.transport)
            self._server.heard.callback(None)

    def connectionLost(self, _reason: Failure) -> None:  # type: ignore[override] # always given
        """Record the call."""
        if not self._server.lost.called:
            self._server.lost.callback(None)


class CancelTests(TestCase):
    """`Client`, cancelled at several moments."""

    timeout = 60

    def setUp(self) -> None:
        """Serve, and make a file."""
        self.server = StuckServer()
        port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.client = Client(f"http://127.0.0.1:{port.getHost().port}", reactor=reactor)
        self.addCleanup(self.client.close)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.art = self.directory / "art.txt"
        self.art.write_bytes(b"." * SIZE)
        self.copy = self.directory / "copy.txt"

    async def cancel(
        self,
        work: Callable[[], Deferred[Any]],
        answer: Callable[[Any], object] = lambda _: None,
    ) -> None:
        """Cancel work that the server is stuck with; wait for the connection's end."""
        self.server.begin(answer)
        working = work()
        await self.server.heard
        working.cancel()
        with self.assertRaises(CancelledError):
            await working
        await self.server.lost

    async def test_requests(self) -> None:
        """A request without an answer ends, and the connection with it."""
        await self.cancel(lambda: self.client.status(SHA256))
        await self.cancel(lambda: self.client.delete(SHA256))
        await self.cancel(lambda: self.client.upload(b"cat"))

    async def test_uploads(self) -> None:
        """So does an upload in the middle of a body, and the reading of its file."""

        def full(transport: Any) -> None:  # noqa: ANN401 - of several interfaces
            # With this paused, only the resumption would show that it is lost.
            transport.pauseProducing()
            reactor.callLater(0.1, transport.resumeProducing)

        await self.cancel(lambda: self.client.put(self.art), full)
        await self.cancel(lambda: self.client.upload(self.art, 65_536), full)

    async def test_downloads(self) -> None:
        """So does a download; received bytes are kept if useful."""
        download = self.client.download

        def part(transport: ITransport) -> None:
            transport.write(PART)

        await self.cancel(lambda: download(SHA256), part)
        await self.cancel(lambda: download(SHA256, self.copy, resume=False), part)
        self.assertEqual(list(self.directory.iterdir()), [self.art])
        receiving: Deferred[None] = Deferred()
        self.server.begin(part)
        working = download(
            SHA256, self.copy, on_progress=lambda _: receiving.callback(None)
        )
        await receiving
        working.cancel()
        with self.assertRaises(CancelledError):
            await working
        await self.server.lost
        (left,) = set(self.directory.iterdir()) - {self.art}
        self.assertEqual((left.suffix, left.read_bytes()), (".part", 10 * b"."))

    async def test_pauses(self) -> None:
        """So does the pause after a failure."""
        failed: Deferred[ClientError] = Deferred()
        client = Client(
            self.client.url(SHA256).partition("/image")[0],
            reactor=reactor,
            on_retry=lambda error: reactor.callLater(0, failed.callback, error),
        )
        self.server.begin(lambda transport: transport.abortConnection())
        working = client.status(SHA256)
        self.assertIsInstance(await failed, LostError)
        working.cancel()
        with self.assertRaises(CancelledError):
            await working
        await client.close()

    async def test_beginnings(self) -> None:
        """So does one that has just started, with files that threads open meanwhile."""
        self.server.begin(lambda _: None)
        for work in (
            lambda: self.client.upload(self.art),
            lambda: self.client.download(SHA256, self.copy),
            lambda: self.client.status(SHA256),
        ):
            working: Deferred[Any] = work()
            working.cancel()
            with self.assertRaises(CancelledError):
                await working
        self.assertFalse(self.server.heard.called)
