"""The library on a reactor: addresses, connections and stalls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hyperlink import EncodedURL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from twisted.web.client import (
    BrowserLikePolicyForHTTPS,
    RequestGenerationFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from asciid.client import (
    ChangedError,
    Client,
    LostError,
    NoTLSError,
    RefusedError,
    UntrustedError,
    Uploaded,
)
from asciid.client.agent import make_agent, make_pool, parse_base_url
from asciid.client.exchange import STALL_TIMEOUT
from asciid.client.wire import Wire
from asciid.testing import ManualThreadPool
from tests.client.fakes import FailingAgent, StuckAgent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HASH = "0" * 64


@implementer(IAgent)
class HalfAgent:
    """An agent, response and transport whose body never ends."""

    length = 10

    def __init__(
        self, code: int, headers: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.code = code
        self.headers = Headers(headers or {})
        self.lost = 0

    def request(self, *_: object) -> Deferred[Any]:
        """Answer at once."""
        answered: Deferred[Any] = Deferred()
        answered.callback(self)
        return answered

    def deliverBody(self, protocol: Any) -> None:  # noqa: ANN401 - a protocol
        """Deliver half of it."""
        protocol.makeConnection(self)
        protocol.dataReceived(b"half")

    def loseConnection(self) -> None:
        """Record the call."""
        self.lost += 1


class AddressTests(SynchronousTestCase):
    """`parse_base_url`."""

    def test_urls(self) -> None:
        """Hosts, addresses and paths are taken, and paths go on from there."""
        for text, expected in (
            ("http://localhost:4444", "http://localhost:4444/image"),
            ("https://art.example/a/", "https://art.example/a/image"),
            ("http://[::1]:4444/", "http://[::1]:4444/image"),
            ("http://[::1]/a\n\u00e9", "http://[::1]/a%0A%C3%A9/image"),
            ("http://bücher.example", "http://xn--bcher-kva.example/image"),
        ):
            agent = StuckAgent()
            wire = Wire(agent, parse_base_url(text))
            wire.request(MemoryReactorClock(), "GET", ("image",), None, None)
            self.assertEqual(agent.uris, [expected.encode()])
            self.assertEqual(wire.url_of("image"), expected)

    def test_not_urls(self) -> None:
        """Invalid server URLs are refused."""
        for text in (
            "localhost",
            "localhost:4444",
            "ftp://localhost",
            "http://",
            "http://localhost/?a",
            "http://localhost/#a",
            "http://user@localhost",
            "http://localhost:0",
            "http://localhost:65536",
        ):
            with self.assertRaises(ValueError):
                Client(text, agent=StuckAgent(), reactor=MemoryReactorClock())


class ReactorTests(SynchronousTestCase):
    """A client with connections of its own."""

    def setUp(self) -> None:
        """Make a reactor that connects to nothing."""
        self.reactor = MemoryReactorClock()

    def client(self, **options: Any) -> Client:  # noqa: ANN401 - Client's
        """Make a client."""
        return Client(
            "http://127.0.0.1:4444",
            reactor=self.reactor,
            threads=ManualThreadPool(),
            retries=0,
            **options,
        )

    def test_connects(self) -> None:
        """It connects to the given address; cancelled, it leaves nothing."""

        async def scenario() -> None:
            async with self.client() as client:
                await client.status(HASH)

        running = Deferred.fromCoroutine(scenario())
        self.reactor.advance(0)
        ((host, port, *_),) = self.reactor.tcpClients
        self.assertEqual((host, port), ("127.0.0.1", 4444))
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual(
            [call for call in self.reactor.getDelayedCalls() if call.active()], []
        )

    def test_tls(self) -> None:
        """For https there is an agent, too, on port 443."""
        try:
            import OpenSSL  # noqa: F401, PLC0415 - an extra
        except ImportError:
            message = "needs asciid[tls]"
            raise SkipTest(message) from None
        url = parse_base_url("https://127.0.0.1")
        self.assertIsInstance(url, EncodedURL)
        agent = make_agent(self.reactor, url, make_pool(self.reactor, 1))
        request = agent.request(b"GET", b"https://127.0.0.1/")
        self.reactor.advance(0)
        ((host, port, *_),) = self.reactor.tcpClients
        self.assertEqual((host, port), ("127.0.0.1", 443))
        request.cancel()
        self.failureResultOf(request)

    def test_no_tls(self) -> None:
        """Without the packages for https the error says what to install."""

        def refuse(*_: object) -> None:
            raise NotImplementedError

        self.patch(BrowserLikePolicyForHTTPS, "creatorForNetloc", refuse)
        with self.assertRaises(NoTLSError) as raised:
            Client("https://art.example", reactor=self.reactor)
        self.assertIn("pip install 'asciid[client]'", str(raised.exception))

    def test_given_agent(self) -> None:
        """An agent that is given is its owner's to close."""
        client = self.client(agent=StuckAgent())
        self.assertIsNone(self.successResultOf(client.close()))
        self.assertEqual(client.url(HASH), f"http://127.0.0.1:4444/image/{HASH}")

    def test_default_reactor(self) -> None:
        """Without a reactor it is the global one, and so are the threads."""
        from twisted.internet import reactor  # noqa: PLC0415 - tested here

        client = Client("http://localhost", agent=StuckAgent())
        self.assertIs(client._reactor, reactor)

    def test_stalls(self) -> None:
        """A request in which nothing moves is given up after a minute."""
        agent = StuckAgent()
        asking = self.client(agent=agent).status(HASH)
        self.reactor.advance(STALL_TIMEOUT - 1)
        self.assertNoResult(asking)
        self.reactor.advance(1)
        self.failureResultOf(asking, LostError)
        self.assertEqual(agent.cancelled, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """A cancelled request is cancelled for the agent as well."""
        agent = StuckAgent()
        asking = self.client(agent=agent).status(HASH)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.assertEqual(agent.cancelled, 1)

    def test_failures(self) -> None:
        """Errors of an agent have a plain type, and name the server."""
        for error, expected in (
            (ConnectError("no"), LostError),
            (DNSLookupError("no"), LostError),
            (RequestGenerationFailed([]), ChangedError),
        ):
            asking = self.client(agent=FailingAgent(error)).status(HASH)
            self.failureResultOf(asking, expected)

    def test_untrusted(self) -> None:
        """An untrusted certificate is not retried."""

        class VerificationError(Exception):
            __module__ = "service_identity.exceptions"

        for error, reason in (
            (Exception("certificate verify failed"), "verification failed"),
            (VerificationError(), "for another host"),
        ):
            failing = FailingAgent(ResponseNeverReceived([Failure(error)]))
            client = Client(
                "https://art.example",
                agent=failing,
                reactor=self.reactor,
                threads=ManualThreadPool(),
            )
            failure = self.failureResultOf(client.status(HASH), UntrustedError)
            self.assertRegex(str(failure.value), f"cannot verify .*{reason}\\Z")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_silent_body(self) -> None:
        """An answer whose body never ends is given up, and its connection closed."""
        agent = HalfAgent(200)
        asking = self.client(agent=agent).status(HASH)
        self.reactor.advance(STALL_TIMEOUT)
        self.failureResultOf(asking, LostError)
        self.assertEqual(agent.lost, 1)

    def test_unwanted_body(self) -> None:
        """A body that is of no use is not read, and its connection closed."""
        agent = HalfAgent(206, {"Content-Range": ["bytes 5-9/20"]})
        asking = self.client(agent=agent).download(HASH)
        self.failureResultOf(asking, LostError)
        self.assertEqual(agent.lost, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def put(self, size: int) -> tuple[Deferred[Uploaded], Any, StringTransport]:
        """Begin to upload so many bytes whole; return also the connection."""
        threads = ManualThreadPool()
        with patch.object(self.reactor, "callFromThread", create=True) as call:
            call.side_effect = lambda function, *args: function(*args)
            client = Client(
                "http://127.0.0.1:4444", reactor=self.reactor, threads=threads
            )
            putting = client.put(b"/" * size)
            while threads.step():
                pass
        ((_, _, factory, *_),) = self.reactor.tcpClients
        protocol: Any = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        return putting, protocol, transport

    def test_early_answer(self) -> None:
        """The connection of an unneeded body is closed."""
        putting, protocol, transport = self.put(1_000_000)
        protocol.dataReceived(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        self.failureResultOf(putting, RefusedError)
        self.assertLess(len(transport.value()), 1_000_000)
        self.assertTrue(transport.disconnected)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_answer_in_time(self) -> None:
        """A connection on which all of the body was sent is used again."""
        putting, protocol, transport = self.put(100_000)
        self.reactor.pump([0] * 100)
        protocol.dataReceived(b"HTTP/1.1 201 Yes\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(self.successResultOf(putting).new)
        self.assertGreater(len(transport.value()), 100_000)
        self.assertFalse(transport.disconnecting)
        self.assertFalse(transport.disconnected)
