"""Tests of asciid.net._event_group, on sockets and with reactors that tests iterate."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from asciid.net._event_group import EventGroup, group_connections
from asciid.net.endpoints import endpoint_from
from asciid.net.output import DirectOutput, output_for

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 200
"""Iterations of the reactor until a test fails."""

FLOOD = b"x" * (1 << 22)
"""More than the kernel takes for a client that reads nothing."""


@implementer(IHalfCloseableProtocol)
class Recorder(Protocol):
    """Records what it is called with; `on_data` is called after that."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.ends: list[object] = []
        self.on_data: Callable[[], object] = lambda: None

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        self.on_data()

    def readConnectionLost(self) -> None:
        """Record it."""
        self.ends.append("read")

    def writeConnectionLost(self) -> None:
        """Record it."""
        self.ends.append("write")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record the reason."""
        self.ends.append(reason.type)


class GroupedCase(SynchronousTestCase):
    """Connections to a port on a reactor whose connections are a group."""

    def make_reactor(self) -> Any:  # noqa: ANN401 - a reactor
        """Return a new reactor."""
        return EPollReactor()

    def setUp(self) -> None:
        """Listen."""
        self.reactor = self.make_reactor()
        self.accepted: list[Recorder] = []
        self.addCleanup(self.reactor.removeAll)
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self.build_protocol  # type: ignore[assignment, method-assign] # records calls
        endpoint = endpoint_from("tcp:0:interface=127.0.0.1", self.reactor)
        self.port: Any = self.successResultOf(endpoint.listen(factory))
        self.addCleanup(self.stop)

    def build_protocol(self, _: object) -> Recorder:
        """Record a connection."""
        self.accepted.append(Recorder())
        return self.accepted[-1]

    def stop(self) -> None:
        """Listen no more."""
        stopped = maybeDeferred(self.port.stopListening)
        self.turn_until(lambda: stopped.called)

    def turn_until(self, condition: Callable[[], object]) -> None:
        """Iterate the reactor."""
        for _ in range(TURNS):
            if condition():
                return
            self.reactor.iterate(0.01)
        self.fail("it does not come about")

    def connect(self) -> tuple[socket.socket, Recorder]:
        """Return both ends of a connection."""
        before = len(self.accepted)
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        client.settimeout(10)
        self.addCleanup(client.close)
        self.turn_until(lambda: len(self.accepted) > before)
        return client, self.accepted[-1]

    def groups(self) -> list[EventGroup]:
        """Return the groups that the reactor reads."""
        readers = self.reactor.getReaders()
        return [each for each in readers if isinstance(each, EventGroup)]

    def reset(self, client: socket.socket) -> None:
        """Close a connection so that its other end gets an error."""
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def flood(self, server: Recorder) -> None:
        """Write more than the client reads."""
        transport = server.transport
        transport.write(FLOOD)
        sent = -1
        while sent != transport.offset:
            sent = transport.offset
            self.reactor.iterate(0)
        self.assertLess(sent, len(FLOOD))


class ConnectionTests(GroupedCase):
    """What a connection does as in Twisted."""

    def test_one_reader(self) -> None:
        """The reactor reads the group in place of the connections."""
        for _ in range(3):
            self.connect()
        self.assertEqual(len(self.groups()), 1)
        for each in self.reactor.getReaders():
            self.assertNotIsInstance(each, tcp.Server)
        verifyObject(IReadDescriptor, self.groups()[0])

    def test_output(self) -> None:
        """A response is sent by way of the socket, and not of the transport."""
        _, server = self.connect()
        self.assertIsInstance(output_for(server.transport, lambda: None), DirectOutput)

    def test_exchange(self) -> None:
        """Each connection gets its bytes, and answers them."""
        ends = [self.connect() for _ in range(3)]
        for number, (client, _) in enumerate(ends):
            client.sendall(b"%d" % number)
        self.turn_until(lambda: all(server.received for _, server in ends))
        for number, (_, server) in enumerate(ends):
            self.assertEqual(server.received, b"%d" % number)
            server.transport.write(b"answer %d" % number)
        self.reactor.iterate(0)
        for number, (client, _) in enumerate(ends):
            self.assertEqual(client.recv(100), b"answer %d" % number)

    def test_end(self) -> None:
        """A client's half-close is reported, and its connection can be written to."""
        client, server = self.connect()
        client.shutdown(socket.SHUT_WR)
        self.turn_until(lambda: server.ends)
        self.assertEqual(server.ends, ["read"])
        server.transport.write(b"late")
        server.transport.loseConnection()
        self.turn_until(lambda: len(server.ends) > 1)
        self.assertEqual(client.recv(100), b"late")
        self.assertEqual(client.recv(100), b"")
        self.assertEqual(server.ends, ["read", ConnectionDone])

    def test_half_close(self) -> None:
        """After the server's half-close it still reads, until the client closes."""
        client, server = self.connect()
        server.transport.write(b"last")
        server.transport.loseWriteConnection()
        self.turn_until(lambda: server.ends)
        self.assertEqual(client.recv(100), b"last")
        self.assertEqual(client.recv(100), b"")
        client.sendall(b"more")
        self.turn_until(lambda: server.received)
        client.close()
        self.turn_until(lambda: len(server.ends) > 1)
        server.transport.loseConnection()
        self.turn_until(lambda: len(server.ends) > 2)
        self.assertEqual(server.ends, ["write", "read", ConnectionDone])

    def test_slow_reader(self) -> None:
        """What the kernel does not accept follows, and then the end."""
        client, server = self.connect()
        self.flood(server)
        server.transport.loseConnection()
        received = 0
        while not server.ends:
            received += len(client.recv(1 << 20))
            self.reactor.iterate(0)
        while piece := client.recv(1 << 20):
            received += len(piece)
        self.assertEqual(received, len(FLOOD))
        self.assertEqual(server.ends, [ConnectionDone])

    def test_reset_while_blocked(self) -> None:
        """A reset ends a connection that has bytes queued: once, with its reason."""
        client, server = self.connect()
        self.flood(server)
        self.reset(client)
        self.turn_until(lambda: server.ends)
        for _ in range(3):
            self.reactor.iterate(0)
        self.assertEqual(server.ends, [ConnectionLost])

    def test_reset_while_paused(self) -> None:
        """The same, if the server does not read."""
        client, server = self.connect()
        server.transport.pauseProducing()
        self.flood(server)
        self.reset(client)
        self.turn_until(lambda: server.ends)
        self.assertEqual(server.ends, [ConnectionLost])

    def test_reset(self) -> None:
        """A reset of an idle connection is noticed."""
        client, server = self.connect()
        self.reset(client)
        self.turn_until(lambda: server.ends)
        self.assertEqual(server.ends, [ConnectionLost])

    def test_pause(self) -> None:
        """A connection that is paused gets nothing until it is resumed."""
        client, server = self.connect()
        server.on_data = server.transport.pauseProducing
        client.settimeout(0)
        sent = client.send(FLOOD)
        self.turn_until(lambda: server.received)
        first = len(server.received)
        for _ in range(3):
            self.reactor.iterate(0)
        self.assertEqual(len(server.received), first)
        server.on_data = lambda: None
        server.transport.resumeProducing()
        self.turn_until(lambda: len(server.received) == sent)

    def test_end_while_paused(self) -> None:
        """The end of a paused connection is noticed once it is resumed."""
        client, server = self.connect()
        server.transport.pauseProducing()
        client.sendall(b"last")
        client.close()
        for _ in range(3):
            self.reactor.iterate(0.01)
        self.assertEqual((server.received, server.ends), (b"", []))
        server.transport.resumeProducing()
        self.turn_until(lambda: server.ends)
        self.assertEqual((server.received, server.ends), (b"last", ["read"]))

    def test_abort(self) -> None:
        """An abort in the middle of a call resets the connection, later and once."""
        client, server = self.connect()
        server.on_data = server.transport.abortConnection
        client.sendall(b"x")
        self.turn_until(lambda: server.ends)
        self.assertEqual(server.ends, [ConnectionAborted])
        self.assertRaises(ConnectionResetError, client.recv, 1)

    def test_error(self) -> None:
        """An error in a protocol is logged, and ends its connection only."""
        ends = [self.connect() for _ in range(3)]
        _, failing = ends[1]

        def fail() -> None:
            message = "not foreseen"
            raise RuntimeError(message)

        failing.on_data = fail
        for client, _ in ends:
            client.sendall(b"x")
        self.turn_until(lambda: all(server.received for _, server in ends))
        self.assertEqual(failing.ends, [RuntimeError])
        self.assertEqual([server.ends for _, server in ends], [[], [RuntimeError], []])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(len(self.groups()), 1)

    def test_error_at_the_end(self) -> None:
        """So is one in the call that reports the end."""
        (client, failing), (other, server) = self.connect(), self.connect()

        def fail(_: Failure) -> None:
            message = "not foreseen"
            raise RuntimeError(message)

        failing.connectionLost = fail  # type: ignore[assignment, method-assign] # fails
        self.reset(client)
        other.sendall(b"x")
        self.turn_until(lambda: self.flushLoggedErrors(RuntimeError))
        self.turn_until(lambda: server.received)
        self.assertEqual(len(self.groups()), 1)

    def test_after_the_end(self) -> None:
        """A transport that is closed can be called, without effect."""
        client, server = self.connect()
        self.reset(client)
        transport = server.transport
        self.turn_until(lambda: server.ends)
        transport.pauseProducing()
        transport.resumeProducing()
        transport.write(b"x")
        transport.loseConnection()
        transport.abortConnection()
        self.assertEqual(self.groups(), [])


class SelectTests(ConnectionTests):
    """The same on a reactor that uses select."""

    def make_reactor(self) -> Any:  # noqa: ANN401 - a reactor
        """Return a new reactor."""
        return SelectReactor()


class AsyncioTests(ConnectionTests):
    """The same on a reactor that uses asyncio."""

    def make_reactor(self) -> Any:  # noqa: ANN401 - a reactor
        """Return a new reactor."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        return AsyncioSelectorReactor(loop)


class GroupTests(GroupedCase):
    """What a group does with several connections."""

    def test_registered_while_needed(self) -> None:
        """The reactor reads the group only while a connection is polled."""
        self.assertEqual(self.groups(), [])
        client, server = self.connect()
        self.assertEqual(len(self.groups()), 1)
        server.transport.pauseProducing()
        self.assertEqual(self.groups(), [])
        server.transport.resumeProducing()
        self.assertEqual(len(self.groups()), 1)
        self.reset(client)
        self.turn_until(lambda: server.ends)
        self.assertEqual(self.groups(), [])

    def test_closed_in_the_same_turn(self) -> None:
        """A connection that another one has closed gets nothing more."""
        (first, one), (second, two) = self.connect(), self.connect()

        def lose(server: Recorder) -> Callable[[], None]:
            return lambda: server.transport.connectionLost(connectionDone)

        one.on_data, two.on_data = lose(two), lose(one)
        first.sendall(b"x")
        second.sendall(b"x")
        self.turn_until(lambda: one.ends or two.ends)
        self.reactor.iterate(0)
        self.assertEqual(len(one.ends + two.ends), 1)
        self.assertEqual(one.received + two.received, b"x")

    def test_reset_in_the_same_turn(self) -> None:
        """Nor is an error of its socket an event then."""
        (first, one), (second, two) = self.connect(), self.connect()
        one.on_data = lambda: two.transport.connectionLost(connectionDone)
        first.sendall(b"x")
        self.reset(second)
        self.turn_until(lambda: one.received)
        self.reactor.iterate(0)
        self.assertEqual((one.ends, two.ends), ([], [ConnectionDone]))

    def test_paused_in_the_same_turn(self) -> None:
        """A connection that another one has paused reads nothing, though it writes."""
        (first, one), (second, two) = self.connect(), self.connect()
        self.flood(two)
        one.on_data = two.transport.pauseProducing
        first.sendall(b"x")
        second.sendall(b"x")
        self.turn_until(lambda: one.received)
        self.reactor.iterate(0)
        self.assertEqual(two.received, b"")

    def test_descriptor_used_again(self) -> None:
        """Events of a closed connection do not end one that has its descriptor."""
        (first, one), (second, two) = self.connect(), self.connect()
        group = self.groups()[0]
        fresh, other = socket.socketpair()
        self.addCleanup(other.close)
        heir = Recorder()

        def replace() -> None:
            one.on_data = two.on_data = lambda: None
            closed = two if one.received else one
            number = closed.transport.fileno()
            closed.transport.connectionLost(connectionDone)
            os.dup2(fresh.fileno(), number)
            fresh.close()
            arguments: Any = (("127.0.0.1", 1), self.port, 9, group)
            heir.makeConnection(
                tcp.Server(socket.socket(fileno=number), heir, *arguments)
            )

        one.on_data = two.on_data = replace
        for client in (first, second):
            client.sendall(b"x")
            client.shutdown(socket.SHUT_WR)
        self.turn_until(lambda: heir.connected)
        self.reactor.iterate(0)
        self.assertEqual((heir.received, heir.ends), (b"", []))
        other.sendall(b"mine")
        self.turn_until(lambda: heir.received)
        self.assertEqual((heir.received, heir.ends), (b"mine", []))

    def test_turns(self) -> None:
        """Of many connections that are ready each is served once in some turns."""
        ends = [self.connect() for _ in range(150)]
        for client, _ in ends:
            client.sendall(b"x")
        counts = []
        for _ in range(4):
            self.groups()[0].doRead()
            counts.append(sum(bool(server.received) for _, server in ends))
        self.assertEqual(counts, [64, 128, 150, 150])
        self.assertEqual({server.received for _, server in ends}, {b"x"})

    def test_reactor_stops(self) -> None:
        """All connections end with the reactor."""
        servers = [self.connect()[1] for _ in range(3)]
        (group,) = self.groups()
        self.reactor.removeAll()
        group.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([each.ends for each in servers], [[ConnectionLost]] * 3)


class Transport:
    """Records the calls of the group, and returns what a test wants."""

    def __init__(self, fileno: Callable[[], int]) -> None:
        self.fileno = fileno
        self.calls: list[str] = []
        self.read: BaseException | None = None
        self.written: BaseException | None = None

    def doRead(self) -> BaseException | None:
        """Record it."""
        self.calls.append("read")
        return self.read

    def doWrite(self) -> BaseException | None:
        """Record it."""
        self.calls.append("write")
        return self.written

    def readConnectionLost(self, reason: Failure) -> None:
        """Record it."""
        self.calls.append(f"read {type(reason.value).__name__}")

    def connectionLost(self, reason: Failure) -> None:
        """Record it."""
        self.calls.append(type(reason.value).__name__)


class CallTests(SynchronousTestCase):
    """Which methods of a transport are called, and when."""

    def setUp(self) -> None:
        """Poll one end of a pair of sockets."""
        reactor: Any = EPollReactor()
        self.addCleanup(reactor.removeAll)
        self.client, server = socket.socketpair()
        for each in (self.client, server):
            self.addCleanup(each.close)
        self.group = EventGroup(reactor)
        self.transport: Any = Transport(server.fileno)
        self.group.addReader(self.transport)  # type: ignore[arg-type] # a part of one

    def turns(self) -> list[str]:
        """Return the calls of two turns."""
        for _ in range(2):
            self.group.doRead()
        calls: list[str] = self.transport.calls
        return calls

    def test_nothing(self) -> None:
        """Nothing is called before anything happens."""
        self.assertEqual(self.turns(), [])

    def test_read(self) -> None:
        """What can be read is read in each turn, until it was."""
        self.client.send(b"x")
        self.assertEqual(self.turns(), ["read", "read"])

    def test_write(self) -> None:
        """What can only be written is not read."""
        self.group.addWriter(self.transport)
        self.group.addWriter(self.transport)
        self.assertEqual(self.turns(), ["write", "write"])

    def test_both(self) -> None:
        """What was received is handled first."""
        self.group.addWriter(self.transport)
        self.client.send(b"x")
        self.assertEqual(self.turns(), ["read", "write"] * 2)

    def test_end_of_reading(self) -> None:
        """What has ended for reading is written still."""
        self.group.addWriter(self.transport)
        self.transport.read = CONNECTION_DONE
        self.client.send(b"x")
        self.assertEqual(self.turns(), ["read", "read ConnectionDone", "write"])

    def test_end_of_writing(self) -> None:
        """What ends when it has written all does so for both, and is left alone."""
        self.group.addWriter(self.transport)
        self.transport.written = CONNECTION_DONE
        self.client.send(b"x")
        self.assertEqual(self.turns(), ["read", "write", "ConnectionDone"])

    def test_loss(self) -> None:
        """What is lost is neither read nor written again."""
        self.group.addWriter(self.transport)
        self.transport.read = CONNECTION_LOST
        self.client.close()
        self.assertEqual(self.turns(), ["read", "ConnectionLost"])


class FallbackTests(SynchronousTestCase):
    """Where there is no group."""

    def test_other_reactors(self) -> None:
        """A reactor that polls no descriptors has its own transports."""
        port = tcp.Port(0, Factory(), reactor=Clock())
        group_connections(port, Clock())
        self.assertIs(port.transport, tcp.Server)

    def test_other_ports(self) -> None:
        """A port that is none of Twisted's own stays as it is."""
        endpoint = endpoint_from("tcp:0:interface=127.0.0.1", MemoryReactor())
        self.successResultOf(endpoint.listen(Factory()))

    def test_no_epoll(self) -> None:
        """So does any on a system without epoll."""
        self.patch(select, "epoll", None)
        del select.epoll
        port = tcp.Port(0, Factory(), reactor=SelectReactor())
        group_connections(port, port.reactor)
        self.assertIs(port.transport, tcp.Server)
