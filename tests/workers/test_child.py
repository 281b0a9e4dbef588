"""Tests of asciid.workers._child."""

from __future__ import annotations

import fcntl
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import twisted.internet
from twisted.internet.defer import Deferred
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import Settings
from asciid.errors import StoreClosedError
from asciid.testing import ManualReactor
from asciid.workers import _child
from asciid.workers._child import run
from asciid.workers._inheritance import (
    BLOCKED_AT_START,
    HAS_SUCCESSOR,
    HEARTBEAT,
    READY,
    REREAD,
)
from asciid.workers._watchdog import HEARTBEAT_INTERVAL
from asciid.workers._worker import Worker
from asciid.workers._writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNALS = (signal.SIGTERM, *BLOCKED_AT_START)


class PlayedRole:
    """A process's work, which the test controls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.started: Deferred[None] = Deferred()
        self.retired: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()

    def start(self) -> Deferred[None]:
        """Record the call."""
        self.calls.append("start")
        return self.started

    def retire(self) -> Deferred[None]:
        """Record the call."""
        self.calls.append("retire")
        return self.retired

    def stop(self) -> Deferred[None]:
        """Record the call."""
        self.calls.append("stop")
        return self.stopped

    def reread(self) -> None:
        """Record the call."""
        self.calls.append("reread")


class LifeReactor(ManualReactor):
    """A reactor whose run the test controls."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.stops = 0
        self.when_running: Callable[[], object]
        self.before_shutdown: Callable[[], Any]
        self.ran: Callable[[], object] = lambda: None

    def addReader(self, reader: Any) -> None:  # noqa: ANN401 - as the interface has it
        """Record a reader."""
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:  # noqa: ANN401 - likewise
        """Remove a reader."""
        self.readers.remove(reader)

    def removeWriter(self, _: object) -> None:
        """There are no writers."""

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        """Keep the call."""
        self.when_running = call

    def addSystemEventTrigger(
        self, phase: str, event: str, call: Callable[[], Any]
    ) -> None:
        """Keep the call."""
        assert (phase, event) == ("before", "shutdown")
        self.before_shutdown = call

    def run(self) -> None:
        """Run the test's function."""
        self.ran()

    def stop(self) -> None:
        """Begin the shutdown, of which there must be one."""
        self.stops += 1
        self.before_shutdown()


class ChildTests(SynchronousTestCase):
    """A process from its start to its end."""

    def setUp(self) -> None:
        """Make pipes to a parent, and a reactor."""
        for number in SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.own: dict[str, int] = {}
        self.parent_pipe = self.pipe("PARENT_PIPE", 0)
        self.status = self.pipe("STATUS", 1)
        self.log = self.pipe("LOG", 1)
        self.printed = self.pipe("OUTPUT", 1)
        self.patch(_child, "tune_garbage_collector", lambda: None)
        self.patch(_child, "use_monotonic_clock", lambda _: None)
        self.patch(_child, "pass_on", lambda _: None)
        self.role = PlayedRole()
        self.reactor = LifeReactor()
        self.patch(twisted.internet, "reactor", self.reactor)
        self.settings = Settings("tcp:80", Path("images"), 1, 1, sync=True)

    def pipe(self, name: str, own: int) -> int:
        """Put one end of a pipe in the place of a descriptor; return the other."""
        ends = os.pipe()
        self.patch(_child, name, ends[own])
        self.own[name] = ends[own]
        for end in ends:
            self.addCleanup(_close, end)
        return ends[1 - own]

    def run_process(self, life: Callable[[], object]) -> int:
        """Run a process in which `life` happens; return its exit code."""

        def ran() -> None:
            self.reactor.when_running()
            life()

        self.reactor.ran = ran
        made: list[Any] = []

        def make(*arguments: Any) -> PlayedRole:  # noqa: ANN401 - as run has it
            made.append(arguments)
            return self.role

        ended = self.assertRaises(SystemExit, run, make, self.settings)
        self.assertEqual(made, [(self.settings, self.reactor)])
        return int(str(ended.code))

    def status_sent(self) -> bytes:
        """Return the data sent to the parent since the last call."""
        os.set_blocking(self.status, False)
        try:
            return os.read(self.status, 100)
        except BlockingIOError:
            return b""

    def test_ready(self) -> None:
        """The parent is notified once the process is ready, and not before."""

        def life() -> None:
            self.assertEqual(self.status_sent(), HEARTBEAT)
            self.role.started.callback(None)
            self.assertEqual(self.status_sent(), READY)

        self.assertEqual(self.run_process(life), 0)
        self.assertEqual(self.role.calls, ["start"])

    def test_cannot_start(self) -> None:
        """The reason is logged once, and the process ends with code 1."""
        with capturedLogs() as events:
            code = self.run_process(
                lambda: self.role.started.errback(OSError("no such cat"))
            )
        self.assertEqual(code, 1)
        self.assertEqual([formatEvent(event) for event in events], ["no such cat"])
        self.assertEqual(self.role.calls, ["start", "stop"])
        self.assertEqual(self.status_sent(), HEARTBEAT)

    def test_alive(self) -> None:
        """It gives signs of life while it starts, works and ends."""

        def life() -> None:
            for act in (
                lambda: None,
                lambda: self.role.started.callback(None),
                self.reactor.before_shutdown,
            ):
                act()
                self.status_sent()
                self.reactor.pump([HEARTBEAT_INTERVAL] * 3)
                self.assertEqual(self.status_sent(), HEARTBEAT * 3)

        self.run_process(life)

    def test_parent_that_does_not_read(self) -> None:
        """A parent that reads nothing has it wait for nothing."""

        def life() -> None:
            full = fcntl.fcntl(self.own["STATUS"], fcntl.F_GETPIPE_SZ)
            os.write(self.own["STATUS"], b"." * full)
            self.reactor.advance(HEARTBEAT_INTERVAL)
            os.close(self.status)
            self.reactor.advance(HEARTBEAT_INTERVAL)

        self.assertEqual(self.run_process(life), 0)

    def test_told_to_end(self) -> None:
        """The end waits for the work, through a second SIGTERM, too."""

        def life() -> None:
            self.role.started.callback(None)
            ending = self.reactor.before_shutdown()
            self.assertEqual(self.role.calls, ["start", "stop"])
            self.assertIs(signal.getsignal(signal.SIGTERM), signal.SIG_IGN)
            self.assertNoResult(ending)
            # Too late to retire.
            signal.raise_signal(HAS_SUCCESSOR)
            self.role.stopped.callback(None)
            self.successResultOf(ending)

        self.assertEqual(self.run_process(life), 0)
        self.assertEqual(self.role.calls, ["start", "stop"])
        self.assertEqual(self.reactor.stops, 0)

    def test_stopped_while_it_starts(self) -> None:
        """A start that a stop has aborted is no failure."""

        def life() -> None:
            ending = self.reactor.before_shutdown()
            self.role.started.errback(StoreClosedError())
            self.role.stopped.callback(None)
            self.successResultOf(ending)

        with capturedLogs() as events:
            self.assertEqual(self.run_process(life), 0)
        self.assertEqual(events, [])

    def test_interrupt(self) -> None:
        """Ctrl-C means the parent."""
        self.run_process(
            lambda: self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        )

    def test_rereads(self) -> None:
        """It rereads its files on request, in the reactor."""

        def life() -> None:
            signal.raise_signal(REREAD)
            self.assertEqual(self.role.calls, ["start"])
            self.reactor.advance(0)

        self.run_process(life)
        self.assertEqual(self.role.calls, ["start", "reread"])

    def test_signals_during_startup(self) -> None:
        """A signal that arrives before there are handlers is handled by those."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_AT_START)
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGINT, REREAD):
            signal.raise_signal(number)

        def life() -> None:
            self.reactor.advance(0)
            self.assertEqual(self.role.calls, ["start", "reread"])
            self.reactor.stop()

        self.assertEqual(self.run_process(life), 0)
        self.assertEqual(self.role.calls, ["start", "reread", "retire"])

    def test_retires(self) -> None:
        """With a successor it first leaves its work to that, and then ends."""

        def life() -> None:
            signal.raise_signal(HAS_SUCCESSOR)
            self.assertEqual(self.role.calls, ["start"])
            self.reactor.stop()
            self.assertEqual(self.role.calls, ["start", "retire"])
            self.role.retired.callback(None)

        self.assertEqual(self.run_process(life), 0)
        self.assertEqual(self.role.calls, ["start", "retire", "stop"])

    def test_hangup(self) -> None:
        """A SIGHUP to the whole process group does not mean a successor."""

        def life() -> None:
            signal.raise_signal(signal.SIGHUP)
            self.reactor.stop()

        self.assertEqual(self.run_process(life), 0)
        self.assertEqual(self.role.calls, ["start", "stop"])

    def end_parent(self) -> None:
        """Close the other end of the parent's pipe, and notify the reactor."""
        (reader,) = self.reactor.readers
        os.write(self.parent_pipe, b"?")
        self.assertIsNone(reader.doRead())
        os.close(self.parent_pipe)
        self.assertEqual(reader.fileno(), self.own["PARENT_PIPE"])
        self.assertIs(reader.doRead(), CONNECTION_DONE)
        reader.connectionLost(Failure(CONNECTION_DONE))

    def test_orphaned(self) -> None:
        """When the parent has ended, so does this process, in order."""
        self.assertEqual(self.run_process(self.end_parent), 0)
        self.assertEqual(self.role.calls, ["start", "stop"])

    def test_stopped_reactor(self) -> None:
        """A reactor that stops releases the parent's pipe, which does not end it."""
        raised: list[int] = []
        self.patch(signal, "raise_signal", raised.append)

        def life() -> None:
            self.reactor.stop()
            (reader,) = self.reactor.readers
            reader.connectionLost(Failure(CONNECTION_LOST))

        self.run_process(life)
        self.assertEqual(raised, [])

    def test_orphaned_at_the_end(self) -> None:
        """A parent that does not wait for the end has this process end at once."""
        raised: list[int] = []
        self.patch(signal, "raise_signal", raised.append)

        def life() -> None:
            self.reactor.stop()
            self.end_parent()

        self.run_process(life)
        self.assertEqual(raised, [signal.SIGTERM])
        self.assertIs(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)
        self.assertEqual(self.reactor.stops, 1)


class MainTests(SynchronousTestCase):
    """``python -P -m asciid.workers``."""

    def test_roles(self) -> None:
        """The process has the role in its argument, and the parent's settings."""
        ran: list[Any] = []
        self.patch(_child, "run", lambda *arguments: ran.append(arguments))
        self.patch(os, "environ", {"ASCIID_STORAGE": "here", "ASCIID_WORKERS": "3"})
        for role in ("writer", "worker"):
            self.patch(sys, "argv", ["asciid.workers", role])
            runpy.run_module("asciid.workers", run_name="__main__")
        self.assertEqual([make for make, _ in ran], [Writer, Worker])
        for _, settings in ran:
            self.assertEqual((settings.storage, settings.workers), (Path("here"), 3))


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return
