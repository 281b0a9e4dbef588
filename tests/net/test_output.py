"""Sending on real sockets, with a reactor that is turned by hand."""

# ruff: noqa: ARG001 - Klein gives handlers the request, wanted or not

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from asciid.http import KleinFactory
from asciid.net.output import DirectOutput, QueuedOutput, output_for
from tests.http._support import get, parse_answers

if TYPE_CHECKING:
    from asciid.http._request import Request


class HandReactor(Clock):
    """A reactor whose readers and writers the test runs."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader = self.readers.add
        self.addWriter = self.writers.add
        self.removeReader = self.readers.discard
        self.removeWriter = self.writers.discard

    def turn(self) -> None:
        """Run all readers and writers once."""
        for transport in list(self.writers):
            self._lost(transport, transport.doWrite())
        for transport in list(self.readers):
            self._lost(transport, transport.doRead())
        self.advance(0)

    def _lost(self, transport: Any, why: Any) -> None:  # noqa: ANN401  # as in Twisted
        if why is CONNECTION_DONE and transport in self.readers:
            self.removeReader(transport)
            transport.readConnectionLost(why)
        elif why in (CONNECTION_DONE, CONNECTION_LOST):
            from twisted.python.failure import Failure  # noqa: PLC0415  # only here

            self.removeReader(transport)
            self.removeWriter(transport)
            transport.connectionLost(Failure(why))


class SocketTests(SynchronousTestCase):
    """Plain TCP."""

    def setUp(self) -> None:
        """Connect a client to a server that answers with a large body."""
        self.size = 500_000
        app = Klein()
        self.waiting: list[Deferred[bytes]] = []

        @app.route("/large")
        def large(request: Request) -> bytes:
            return b"x" * self.size + b"z"

        @app.route("/small")
        def small(request: Request) -> bytes:
            return b"y"

        @app.route("/wait")
        def wait(request: Request) -> Deferred[bytes]:
            self.waiting.append(Deferred())
            return self.waiting[-1]

        self.reactor = HandReactor()
        self.factory = KleinFactory(app, reactor=self.reactor)
        self.client, server, address = self.connect()
        self.protocol = self.factory.buildProtocol(None)
        # Only the parts of a reactor and a port that Server uses.
        reactor: Any = self.reactor
        port: Any = None
        self.transport = tcp.Server(
            server,
            self.protocol,
            address,
            port,
            1,
            reactor,
        )
        self.protocol.makeConnection(self.transport)

    def connect(self) -> tuple[socket.socket, socket.socket, tuple[str, int]]:
        """Return both ends of a TCP connection, with small buffers."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
            client = socket.create_connection(listener.getsockname())
            server, address = listener.accept()
        client.settimeout(10)
        self.addCleanup(client.close)
        self.addCleanup(server.close)
        return client, server, address

    def read(self, end: bytes) -> bytes:
        """Read as a client up to an end."""
        data = bytearray()
        self.client.settimeout(0.01)
        for _ in range(5000):
            self.reactor.turn()
            with contextlib.suppress(TimeoutError):
                data += self.client.recv(65536)
            if data.endswith(end):
                return bytes(data)
        message = f"no end after {len(data)} bytes"
        raise AssertionError(message)

    def test_at_once(self) -> None:
        """A small answer is on its way before the reactor turns again."""
        self.client.sendall(get(b"/small"))
        self.reactor.turn()
        self.assertEqual(self.reactor.writers, set())
        [answer] = parse_answers(self.client.recv(65536))
        self.assertEqual(answer.body, b"y")

    def test_stuck_reader(self) -> None:
        """Bytes that a client does not read do not accumulate in the kernel."""
        if not hasattr(socket, "TCP_NOTSENT_LOWAT"):
            message = "the option cannot be set"
            raise SkipTest(message)
        self.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self.size = 1 << 23
        self.client.sendall(get(b"/large"))
        self.reactor.turn()
        option = self.transport.socket.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT
        )
        self.assertEqual(option, 256 * 1024)
        self.assertTrue(self.protocol._output.blocked)
        self.size += 1
        self.assertEqual(len(parse_answers(self.read(b"z"))[0].body), self.size)

    def test_partial(self) -> None:
        """Bytes that the kernel does not accept follow in order, in pieces."""
        self.client.sendall(get(b"/large") + get(b"/small"))
        self.reactor.turn()
        self.assertEqual(self.reactor.writers, {self.transport})
        pending = len(self.transport.dataBuffer) + self.transport._tempDataLen
        self.assertLessEqual(pending, 64 * 1024)
        first, second = parse_answers(self.read(b"\r\n\r\ny"))
        self.assertEqual(first.body, b"x" * self.size + b"z")
        self.assertEqual(second.body, b"y")
        self.assertEqual(self.reactor.writers, set())
        self.client.sendall(get(b"/small"))
        self.reactor.turn()
        self.assertEqual(self.reactor.writers, set())

    def test_pieces(self) -> None:
        """Pieces arrive in order, whatever part of them the kernel accepts at once."""
        pieces = [bytes([number]) * (number * 7_919) for number in range(1, 60)]
        output = self.protocol._output
        output.send(b"<")
        output.send_all(pieces[:30])
        self.assertTrue(output.blocked)
        output.send_all(pieces[30:])
        output.send(b">")
        self.assertEqual(self.read(b">"), b"<" + b"".join(pieces) + b">")
        self.assertEqual(self.reactor.writers, set())
        output.send_all([b"y", b"z"])
        self.assertEqual(self.client.recv(65536), b"yz")

    def test_pieces_are_bounded(self) -> None:
        """No more is sent at once than takes the kernel a moment."""
        sent: list[int] = []

        def sendmsg(pieces: list[memoryview]) -> int:
            sent.append(sum(map(len, pieces)))
            return sent[-1]

        output: Any = self.protocol._output
        output._socket_sendmsg = sendmsg
        output.send_all([b"x" * 400_000] * 4 + [b"y"] * 100)
        self.assertTrue(output.blocked)
        while output._queue:
            output.resumeProducing()
        self.assertLessEqual(max(sent), 512 * 1024)

    def test_close_after_partial(self) -> None:
        """A connection that is to be closed is closed after the last piece."""
        self.client.sendall(get(b"/large", b"Connection: close"))
        data = self.read(b"xz")
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual(self.client.recv(1), b"")
        self.assertEqual(parse_answers(data)[0].body, b"x" * self.size + b"z")
        self.client.close()
        self.reactor.turn()
        self.assertEqual(self.factory._connections, set())

    def test_refusal_reaches_a_client_that_is_still_sending(self) -> None:
        """The client gets the refusal though it sends on."""
        self.client.sendall(b"NONSENSE\r\n\r\n" + b"x" * 1000)
        self.reactor.turn()
        self.client.sendall(b"x" * 1000)
        self.reactor.turn()
        self.client.sendall(b"x" * 1000)
        self.reactor.turn()
        [answer] = parse_answers(self.client.recv(65536))
        self.assertEqual(answer.status, 400)
        self.assertEqual(self.client.recv(1), b"")

    def test_half_close(self) -> None:
        """A client that has closed its side gets its answer, and the end."""
        self.client.sendall(get(b"/wait"))
        self.reactor.turn()
        self.client.shutdown(socket.SHUT_WR)
        self.reactor.turn()
        self.waiting[0].callback(b"late")
        self.reactor.turn()
        self.assertEqual(parse_answers(self.client.recv(65536))[0].body, b"late")
        self.assertEqual(self.client.recv(1), b"")
        self.assertEqual(self.factory._connections, set())

    def test_reset(self) -> None:
        """A connection that was reset is closed without an error."""
        self.client.sendall(get(b"/wait"))
        self.reactor.turn()
        linger = b"\1\0\0\0\0\0\0\0"
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.client.close()
        self.waiting[0].callback(b"unheard")
        self.reactor.turn()
        self.assertEqual(self.factory._connections, set())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_loss_while_blocked(self) -> None:
        """The queue of a disconnected client is discarded."""
        self.client.sendall(get(b"/large"))
        self.reactor.turn()
        self.client.close()
        for _ in range(5):
            self.reactor.turn()
        self.assertEqual(self.factory._connections, set())
        self.assertEqual(len(self.protocol._output._queue), 0)


class StubbornSocket:
    """Fails to send in a chosen way."""

    def __init__(self, number: int) -> None:
        self.number = number

    def send(self, data: bytes) -> int:
        """Fail."""
        raise OSError(self.number, data)

    def sendmsg(self, pieces: list[memoryview]) -> int:
        """Fail."""
        raise OSError(self.number, pieces)


class PullTransport(StringTransport):
    """The part of a transport that DirectOutput uses."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def getHandle(self) -> StubbornSocket:
        """Return the socket."""
        return StubbornSocket(self.number)

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: ANN401, FBT001  # IConsumer
        """Call a pull producer at once, as Twisted does."""
        super().registerProducer(producer, streaming)
        producer.resumeProducing()


class OutputTests(SynchronousTestCase):
    """Errors of the socket."""

    def setUp(self) -> None:
        """Count the calls of the output."""
        self.moves = 0

    def moved(self) -> None:
        """Count."""
        self.moves += 1

    def test_no_buffers(self) -> None:
        """A kernel short of memory is like a slow reader."""
        for number in (errno.ENOBUFS, errno.ENOMEM):
            self.moves = 0
            transport: Any = PullTransport(number)
            output = DirectOutput(transport, self.moved)
            verifyObject(IPullProducer, output)
            output.send(b"data")
            output.send(b"more")
            self.assertTrue(output.blocked)
            self.assertEqual(transport.value(), b"data")
            output.resumeProducing()
            self.assertEqual(transport.value(), b"datamore")
            output.resumeProducing()
            self.assertFalse(output.blocked)
            self.assertIsNone(transport.producer)
            self.assertEqual(self.moves, 3)

    def test_broken_pipe(self) -> None:
        """The transport reports a lost connection."""
        transport: Any = PullTransport(errno.EPIPE)
        output = DirectOutput(transport, self.moved)
        output.send(b"data")
        self.assertFalse(output.blocked)
        self.assertEqual(transport.value(), b"data")
        output.send_all([b"more", b"pieces"])
        output.resumeProducing()
        self.assertEqual(transport.value(), b"datamorepieces")

    def test_closed(self) -> None:
        """After the end nothing is sent."""
        transport: Any = PullTransport(errno.ENOBUFS)
        queued = StringTransport()
        for output in (
            DirectOutput(transport, self.moved),
            output_for(queued, self.moved),
        ):
            output.stopProducing()  # type: ignore[attr-defined]
            output.send(b"data")
            output.send_all([b"data", b"more"])
        self.assertEqual((transport.value(), queued.value()), (b"", b""))

    def test_queued(self) -> None:
        """Other transports are written to until they pause."""
        transport = StringTransport()
        output = output_for(transport, self.moved)
        self.assertIsInstance(output, QueuedOutput)
        verifyObject(IPushProducer, output)
        output.send(b"one")
        output.pauseProducing()  # type: ignore[attr-defined]
        output.send(b"two")
        output.send(b"x" * 100_000)
        self.assertEqual(transport.value(), b"one")
        output.resumeProducing()  # type: ignore[attr-defined]
        self.assertEqual(transport.value(), b"onetwo" + b"x" * 100_000)
        output.send_all([b"three", b"four"])
        self.assertTrue(transport.value().endswith(b"xthreefour"))
        output.release()
        self.assertIsNone(transport.producer)
