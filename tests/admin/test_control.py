"""The command socket of the daemon."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from asciid.admin._owner import NoOwnerError, Owner, OwnerError
from asciid.admin.control import (
    MAX_LINE,
    REQUEST_TIMEOUT,
    SOCKET_FILE,
    Control,
    Request,
    _ConnectionFactory,
)
from asciid.errors import StoreClosedError
from asciid.net.storage_socket import CHECK_EVERY, StorageSocket
from asciid.testing import ManualReactor, ManualThreadPool
from tests.store._support import no_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPACT = b'{"version": 1, "command": "compact"}\n'


class ConnectionTests(SynchronousTestCase):
    """One command and its answer."""

    def setUp(self) -> None:
        """Make a connection to a daemon with one command."""
        self.outcome: Deferred[Mapping[str, object]] = Deferred()
        self.asked = 0
        self.clock = Clock()
        self.protocol = _ConnectionFactory(
            {"compact": self.compact}, self.clock
        ).buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def compact(self, request: Request) -> Deferred[Mapping[str, object]]:
        """Return the result that the test set."""
        self.asked += 1
        self.request = request
        if request.descriptor is not None:
            self.descriptor = os.dup(request.descriptor)
        return self.outcome

    def answer(self) -> dict[str, Any]:
        """Return the one line that was sent before the end."""
        self.assertTrue(self.transport.disconnecting)
        (line,) = self.transport.value().splitlines()
        document: dict[str, Any] = json.loads(line)
        self.assertEqual(document.pop("version"), 1)
        return document

    def test_command(self) -> None:
        """A command is carried out, and its answer sent; then the end."""
        for byte in COMPACT:
            self.protocol.dataReceived(bytes([byte]))
        self.clock.advance(REQUEST_TIMEOUT)
        self.assertEqual(self.transport.value(), b"")
        self.outcome.callback({"images": 3})
        self.assertEqual(self.answer(), {"images": 3})

    def test_log(self) -> None:
        """The log has the begin and the end of a command."""
        with capturedLogs() as events:
            self.protocol.dataReceived(COMPACT)
            self.outcome.callback({"images": 3, "bytes_after": 7})
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "compact started by command",
                "compact finished: images 3, bytes_after 7",
            ],
        )

    def test_one_command(self) -> None:
        """Of several commands the first counts."""
        self.protocol.dataReceived(COMPACT * 3)
        self.assertEqual(self.asked, 1)

    def test_failure(self) -> None:
        """The client receives the error of a command."""
        error = "No space left on device"
        with capturedLogs() as events:
            self.protocol.dataReceived(COMPACT)
            self.outcome.errback(OSError(error))
        self.assertEqual(self.answer(), {"error": "No space left on device"})
        self.assertEqual(formatEvent(events[-1]), f"compact failed: {error}")

    def test_bug(self) -> None:
        """An unexpected error is reported to the client and logged."""
        self.protocol.dataReceived(COMPACT)
        self.outcome.errback(ZeroDivisionError())
        self.assertEqual(self.answer(), {"error": "ZeroDivisionError"})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_answer_that_is_no_json(self) -> None:
        """An answer that cannot be sent is in the log."""
        self.protocol.dataReceived(COMPACT)
        self.outcome.callback({"images": object()})
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_mistakes(self) -> None:
        """Anything but a known command is refused."""
        for line in (
            b"compact",
            b"\xff",
            b"[]",
            b'{"command": "compact"}',
            b'{"version": 2, "command": "compact"}',
            b'{"version": 1}',
            b'{"version": 1, "command": ["compact"]}',
            b'{"version": 1, "command": "format"}',
            b" " * (MAX_LINE + 1),
        ):
            self.setUp()
            self.protocol.dataReceived(line + b"\n")
            self.assertEqual(list(self.answer()), ["error"], line)
            self.assertEqual(self.asked, 0)

    def test_endless_line(self) -> None:
        """A line without an end is refused when it is too long."""
        self.protocol.dataReceived(b" " * (2 * MAX_LINE))
        self.assertIn(str(MAX_LINE), self.answer()["error"])

    def test_silence(self) -> None:
        """A client that sends nothing is disconnected."""
        self.clock.advance(REQUEST_TIMEOUT)
        self.assertTrue(self.transport.disconnecting)

    def test_progress(self) -> None:
        """Progress is sent before the result."""
        self.protocol.dataReceived(b'{"version": 1, "command": "compact", "rate": 7}\n')
        self.assertEqual(self.request.arguments["rate"], 7)
        self.request.progress({"damaged": 1})
        self.outcome.callback({"images": 3})
        lines = map(json.loads, self.transport.value().splitlines())
        self.assertEqual(
            list(lines),
            [
                {"version": 1, "progress": {"damaged": 1}},
                {"version": 1, "images": 3},
            ],
        )

    def test_descriptor(self) -> None:
        """One descriptor may be passed with a command; none is left open."""
        pipes = [os.pipe() for _ in range(3)]
        self.protocol.fileDescriptorReceived(pipes[0][1])
        self.protocol.fileDescriptorReceived(pipes[1][1])
        self.protocol.dataReceived(COMPACT)
        self.protocol.fileDescriptorReceived(pipes[2][1])
        os.write(self.descriptor, b"first")
        os.close(self.descriptor)
        # End of file: the other end is closed.
        read = [os.read(reader, 9) + os.read(reader, 9) for reader, _ in pipes]
        self.assertEqual(read, [b"first", b"", b""])
        for reader, _ in pipes:
            os.close(reader)

    def test_descriptor_without_command(self) -> None:
        """A descriptor is closed if no command follows, or an unknown one."""
        for line in (b"", b"unknown\n"):
            self.setUp()
            reader, writer = os.pipe()
            self.protocol.fileDescriptorReceived(writer)
            self.protocol.dataReceived(line)
            self.protocol.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(os.read(reader, 9), b"")
            os.close(reader)

    def test_leaving(self) -> None:
        """If a client disconnects, its command is cancelled."""
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        cancelled: list[object] = []
        for ended in (False, True):
            self.setUp()
            self.outcome = Deferred(cancelled.append)
            self.protocol.dataReceived(COMPACT)
            if ended:
                self.outcome.callback({})
            self.protocol.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(len(cancelled), 1)


class ControlTests(SynchronousTestCase):
    """The socket in the directory."""

    def setUp(self) -> None:
        """Make a directory with a long name, and a reactor."""
        self.path = Path(self.mktemp()) / ("long" * 30)
        self.path.mkdir(parents=True)
        self.reactor = SelectReactor()
        self.addCleanup(self.end_reactor)

    def end_reactor(self) -> None:
        """Close the descriptors of the reactor."""
        for selectable in self.reactor.removeAll():
            with contextlib.suppress(
                FileNotFoundError
            ):  # of a test that deleted the socket
                selectable.connectionLost(Failure(ConnectionDone()))
        for selectable in self.reactor._internalReaders:
            selectable.connectionLost(Failure(ConnectionDone()))

    def control(self, **commands: Any) -> Control:  # noqa: ANN401 - functions
        """Start listening."""
        control = Control(self.path, commands, self.reactor)
        control.start()
        self.addCleanup(self.reactor.iterate)
        self.addCleanup(control.stop)
        return control

    def asked(self) -> dict[str, Any]:
        """Send the command "compact"."""
        with Owner.of(self.path) as owner:
            owner.request("compact")
            return owner.result()

    def ask(self) -> Any:  # noqa: ANN401 - what a thread had
        """Send the command "compact" from a thread, and run the reactor."""
        outcome: list[Any] = []

        def ask() -> None:
            try:
                outcome.append(self.asked())
            except Exception as error:  # noqa: BLE001 - reported to the test
                outcome.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while thread.is_alive():
            self.reactor.iterate(0.01)
        return outcome[0]

    def test_command(self) -> None:
        """The client receives the result; only the daemon's user has access."""
        self.control(compact=lambda _: succeed({"images": 3}))
        self.assertEqual((self.path / SOCKET_FILE).stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.ask(), {"images": 3})

    def test_failure(self) -> None:
        """The client receives an error, too."""
        self.control(compact=lambda _: fail(StoreClosedError()))
        error = self.ask()
        self.assertIsInstance(error, OwnerError)
        self.assertEqual(str(error), str(StoreClosedError()))

    def test_stop(self) -> None:
        """The socket is removed at the stop; a second stop does nothing."""
        control = self.control()
        control.stop()
        control.stop()
        self.reactor.iterate()
        self.assertEqual(list(self.path.iterdir()), [])
        self.assertIsInstance(self.ask(), NoOwnerError)

    def test_left_behind(self) -> None:
        """The socket of a daemon that was killed is replaced."""
        left = socket.socket(socket.AF_UNIX)
        directory = os.open(self.path, os.O_RDONLY)
        left.bind(f"/proc/self/fd/{directory}/{SOCKET_FILE}")
        os.close(directory)
        left.close()
        self.assertIsInstance(self.ask(), NoOwnerError)
        self.control(compact=lambda _: succeed({"images": 3}))
        self.assertEqual(self.ask(), {"images": 3})

    def test_socket_that_has_gone(self) -> None:
        """The stop succeeds if the socket has been deleted."""
        control = self.control()
        (self.path / SOCKET_FILE).unlink()
        control.stop()
        self.reactor.iterate()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_impossible(self) -> None:
        """If it cannot listen, it only logs an error."""
        (self.path / SOCKET_FILE).mkdir()
        with capturedLogs() as logs:
            self.control().stop()
        self.assertEqual([event["log_level"] for event in logs], [LogLevel.warn])

    def test_daemon_of_another_kind(self) -> None:
        """An incomplete response, or one of another version, is an error."""
        for answer, what in (
            (b"", "exited before"),
            (b'{"version"', "exited before"),
            (b'{"version": 2}\n', "incompatible release"),
        ):
            with socket.socket(socket.AF_UNIX) as server:
                directory = os.open(self.path, os.O_RDONLY)
                server.bind(f"/proc/self/fd/{directory}/{SOCKET_FILE}")
                server.listen()
                os.close(directory)

                def serve(server: socket.socket = server, sent: bytes = answer) -> None:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(MAX_LINE)
                        connection.sendall(sent)

                thread = threading.Thread(target=serve)
                thread.start()
                self.addCleanup(thread.join)
                error = self.assertRaises(OwnerError, self.asked)
                self.assertIn(what, str(error))
            (self.path / SOCKET_FILE).unlink()


class RemovedSocketTests(SynchronousTestCase):
    """A socket in a storage directory that is removed."""

    def setUp(self) -> None:
        """Listen, on a reactor whose time the test turns."""
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.reactor = SocketReactor(self.path / "a.sock")
        self.socket = StorageSocket(self.path, "a.sock", self.reactor)
        self.socket.listen(Factory())

    def check(self) -> None:
        """Run the check of the socket."""
        self.reactor.advance(CHECK_EVERY)
        while self.reactor.pool.step():
            self.reactor.advance(0)

    def test_made_anew(self) -> None:
        """A removed socket is made again, until the stop."""
        self.check()
        self.assertEqual(self.reactor.listened, 1)
        for times in (2, 3):
            self.reactor.file.unlink()
            with capturedLogs() as events:
                self.check()
            self.assertIn("a.sock was removed", str(formatEvent(events[0])))
            self.assertEqual(self.reactor.listened, times)
            self.assertTrue(self.reactor.file.exists())
        self.socket.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(self.reactor.file.exists())

    def test_stop_meanwhile(self) -> None:
        """Stopped during a check, the socket is not made again."""
        self.reactor.file.unlink()
        self.reactor.advance(CHECK_EVERY)
        self.socket.stop()
        self.reactor.pool.step()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.listened, 1)

    def test_no_thread(self) -> None:
        """Without a thread, the check is postponed."""
        limited = self.patch(self.reactor.pool, "callInThreadWithCallback", no_thread)
        self.reactor.file.unlink()
        self.check()
        limited.restore()
        self.check()
        self.assertEqual(self.reactor.listened, 2)

    def test_cannot_be_made(self) -> None:
        """If the socket cannot be made again, an error is logged; it is tried again."""
        self.reactor.file.unlink()
        self.reactor.error = OSError(errno.EACCES, "Permission denied")
        with capturedLogs() as events:
            self.check()
        self.assertIn("cannot create", str(formatEvent(events[-1])))
        self.reactor.error = None
        self.check()
        self.assertTrue(self.reactor.file.exists())
        self.socket.stop()

    def test_stop_without_a_socket(self) -> None:
        """Stopped while there is none, nothing is left open."""
        self.reactor.file.unlink()
        self.reactor.error = OSError(errno.EACCES, "Permission denied")
        self.check()
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        self.socket.stop()
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), descriptors - 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class SocketReactor(ManualReactor):
    """A reactor that listens on one file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.pool = ManualThreadPool()
        self.listened = 0
        self.error: Exception | None = None

    def getThreadPool(self) -> ManualThreadPool:
        """Return the pool."""
        return self.pool

    def listenUNIX(self, *_: object, mode: int) -> SocketReactor:
        """Listen."""
        del mode
        if self.error is not None:
            raise self.error
        self.listened += 1
        self.file.touch()
        return self

    def stopListening(self) -> None:
        """Remove the file, as Twisted does."""
        self.file.unlink()
