"""The HTTP server behind TLS, with a handshake in memory."""

from __future__ import annotations

import contextlib
import ssl
from functools import cache
from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, KeyPair, PrivateCertificate
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import KleinFactory, Limits, body_of
from asciid.net.output import QueuedOutput
from tests.http._support import MemoryTransport, Time, get, parse_answers, post

if TYPE_CHECKING:
    from asciid.http._request import Request


@cache
def certificate() -> PrivateCertificate:
    """Return a certificate; made once, as that takes a while."""
    key = KeyPair.generate(size=2048)
    made: PrivateCertificate = key.selfSignedCert(1, CN=b"localhost")
    return made


class Client(Protocol):
    """Remembers what it gets."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        """Remember."""
        self.data += data

    def connectionLost(self, reason: object = None) -> None:  # noqa: ARG002  # Protocol's
        """Note that it is over."""
        self.lost = True


class LateTransport(MemoryTransport):
    """Closes in a later turn, as real ones do."""

    closing: Exception | None = None

    def loseConnection(self) -> None:
        """Close soon."""
        self.closing = ConnectionDone()

    def abortConnection(self) -> None:
        """Break off soon."""
        self.aborted = True
        self.closing = ConnectionLost()

    def settle(self) -> None:
        """Close, if that was requested."""
        if self.closing is not None:
            self.disappear(self.closing)


class TLSTests(SynchronousTestCase):
    """Requests over TLS."""

    def setUp(self) -> None:
        """Connect."""
        app = Klein()

        @app.route("/secure")
        def secure(request: Request) -> str:
            return f"{request.isSecure()}"

        @app.route("/echo", methods=["POST"])
        def echo(request: Request) -> bytes:
            return body_of(request)

        self.clock = Clock()
        self.time = Time()
        self.factory = KleinFactory(
            app, reactor=self.clock, limits=Limits(body=3_000_000), clock=self.time
        )
        self.factory.doStart()
        self.addCleanup(self.factory.doStop)
        self.connect(CertificateOptions())

    def connect(self, client_options: CertificateOptions) -> None:
        """Make both ends of a connection."""
        client_factory: Any = Factory.forProtocol(Client)
        self.ends = []
        for options, wrapped, is_client in (
            (certificate().options(), self.factory, False),
            (client_options, client_factory, True),
        ):
            tls: Any = TLSMemoryBIOFactory(options, is_client, wrapped, self.clock)
            tls.noisy = wrapped.noisy = False
            protocol = tls.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
            transport = LateTransport()
            transport.protocol = protocol
            protocol.makeConnection(transport)
            self.ends.append((protocol, transport))
        (self.server, self.server_wire), (self.tls_client, self.client_wire) = self.ends
        self.client: Client = self.tls_client.wrappedProtocol

    def pump(self) -> None:
        """Carry bytes both ways until there are none, and then a close."""
        moved = True
        while moved:
            moved = False
            self.clock.advance(0)
            for here, there in (self.ends, self.ends[::-1]):
                data = here[1].value()
                here[1].clear()
                if data and not there[1].closed:
                    moved = True
                    there[0].dataReceived(data)
        for _, transport in self.ends:
            transport.settle()
        if self.server_wire.closed:
            self.client_wire.disappear(ConnectionDone())

    def ask(self, request: bytes) -> None:
        """Send a request."""
        self.tls_client.write(request)
        self.pump()

    def test_requests(self) -> None:
        """Handlers see that the connection is secure; a request is like any other."""
        self.ask(get(b"/secure") + get(b"https://localhost/secure"))
        answers = parse_answers(self.client.data)
        self.assertEqual([a.body for a in answers], [b"True", b"True"])
        self.assertIsInstance(self.server.wrappedProtocol._output, QueuedOutput)

    def test_negotiation(self) -> None:
        """Of the protocols that a client offers, as most do, HTTP/1.1 is chosen."""
        self.connect(CertificateOptions(acceptableProtocols=[b"h2", b"http/1.1"]))
        self.ask(get(b"/secure"))
        self.assertEqual(self.tls_client.negotiatedProtocol, b"http/1.1")
        self.assertEqual(parse_answers(self.client.data)[0].body, b"True")

    def test_large(self) -> None:
        """Large bodies go in and come out."""
        body = b"0123456789" * 200_000
        self.ask(post(b"/echo", body))
        self.assertEqual(parse_answers(self.client.data)[0].body, body)

    def test_slow_reader(self) -> None:
        """A slow reader makes answers wait, and gets them in the end."""
        self.ask(get(b"/secure"))
        self.client.data = b""
        self.server_wire.stuck = True
        self.ask(post(b"/echo", b"x" * 1_000_000))
        self.assertTrue(self.server.wrappedProtocol.blocked)
        self.assertLess(self.server_wire.most_unread, 256 * 1024)
        for _ in range(40):
            self.server_wire.catch_up()
            self.pump()
        self.assertEqual(parse_answers(self.client.data)[0].body, b"x" * 1_000_000)

    def test_close(self) -> None:
        """A connection that is to be closed is closed in the way of TLS."""
        self.ask(get(b"/secure", b"Connection: close"))
        self.assertEqual(len(parse_answers(self.client.data)), 1)
        self.assertTrue(self.server_wire.closed)
        self.assertTrue(self.client.lost)
        self.assertFalse(self.server_wire.aborted)
        self.assertEqual(self.factory._connections, set())

    def test_refusal(self) -> None:
        """A refusal arrives before the close."""
        self.ask(b"NONSENSE\r\n\r\n")
        self.assertEqual(parse_answers(self.client.data)[0].status, 400)
        self.assertTrue(self.server_wire.closed)

    def test_refused_body(self) -> None:
        """A client that is still sending when it is refused gets the answer."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = context.wrap_bio(incoming, outgoing)

        def move() -> None:
            sent = outgoing.read()
            if sent and not self.server_wire.closed:
                self.server.dataReceived(sent)
            incoming.write(self.server_wire.value())
            self.server_wire.clear()
            self.server_wire.settle()

        self.connect(CertificateOptions())
        for _ in range(3):
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
            move()
        client.write(post(b"/echo", b"x" * 4_000_000)[:200])
        for _ in range(60):
            client.write(b"x" * 65536)
            move()
        self.assertFalse(self.server_wire.closed)
        [answer] = parse_answers(client.read(65536))
        self.assertEqual(answer.status, 413)
        self.time.now += 6
        self.clock.advance(1)
        move()
        self.time.now += 6
        self.clock.advance(1)
        move()
        self.assertTrue(self.server_wire.closed)

    def test_idle(self) -> None:
        """Timeouts hold here as well."""
        self.ask(get(b"/secure"))
        self.time.now += 61
        self.clock.advance(1)
        self.pump()
        self.assertTrue(self.client.lost)

    def test_no_handshake(self) -> None:
        """A client that never speaks is cut off."""
        silent = TLSMemoryBIOFactory(
            certificate().options(),
            isClient=False,
            wrappedFactory=self.factory,
            clock=self.clock,
        )
        silent.noisy = False
        protocol: Any = silent.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport = LateTransport()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        self.time.now += 11
        self.clock.advance(1)
        transport.settle()
        self.assertTrue(transport.closed)
        self.pump()
