"""Runs a process that the parent has started, until it is to stop."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger

from asciid.logs import LineWriter, pass_on, write_lines
from asciid.runtime.malloc import set_allocator_thresholds
from asciid.runtime.reactor import Reactor, installed_reactor
from asciid.runtime.tuning import tune_garbage_collector, use_monotonic_clock
from asciid.workers._inheritance import (
    BLOCKED_AT_START,
    HAS_SUCCESSOR,
    HEARTBEAT,
    LOG,
    OUTPUT,
    PARENT_PIPE,
    READY,
    REREAD,
    STATUS,
)
from asciid.workers._watchdog import HEARTBEAT_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from asciid.config.settings import Settings

__all__ = ["IRole", "run"]

_log = Logger()


class IRole(Protocol):
    """The work of a process."""

    def start(self) -> Deferred[None]:
        """Start; fires once it is ready."""

    def retire(self) -> Deferred[None]:
        """Leave the work to a successor; fires once that is done."""

    def stop(self) -> Deferred[None]:
        """Finish the work in progress and stop."""

    def reread(self) -> None:
        """Reread files that may have changed."""


def run(make: Callable[[Settings, Any], IRole], settings: Settings) -> None:
    """Run the role that `make` returns until the process is to stop, then exit."""
    # The parent puts this into its own log.
    log = LineWriter("the parent's log", "log", partial(write_lines, os.dup(LOG)))
    pass_on(log)
    reactor = installed_reactor()
    use_monotonic_clock(reactor)
    tune_garbage_collector()
    set_allocator_thresholds()
    log.attach(reactor)
    child = _Child(make(settings, reactor), reactor)
    reactor.callWhenRunning(child.start)
    reactor.addSystemEventTrigger("before", "shutdown", child.stop)
    reactor.run()
    sys.exit(child.exit_code)


class _Child:
    """A process from its start to its exit, and the signals in between."""

    def __init__(self, role: IRole, reactor: Reactor) -> None:
        self._role = role
        self._reactor = reactor
        self._stopping = False
        self._has_successor = False
        self.exit_code = 0

    def start(self) -> None:
        """Start the role, once the reactor has installed its signal handlers."""
        # Ctrl-C is for the parent, which stops the others in order.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(HAS_SUCCESSOR, lambda *_: self._note_successor())
        signal.signal(
            REREAD, lambda *_: self._reactor.callFromThread(self._role.reread)
        )
        # One to the whole process group asks the parent alone to replace processes.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_AT_START)
        _ParentPipe(self._orphaned, self._reactor).startReading()
        # A parent that is stopped reads nothing, and must not block this process.
        for descriptor in (STATUS, OUTPUT):
            os.set_blocking(descriptor, False)
        self._beat()
        self._role.start().addCallbacks(
            lambda _: self._send_status(READY), self._start_failed
        )

    def stop(self) -> Deferred[None]:
        """Stop the role; the reactor stops when that is done."""
        self._stopping = True
        # A signal to the whole process group arrives twice: the parent passes it on.
        # At a second one the parent exits at once, and so does this process.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return Deferred.fromCoroutine(self._stop_role())

    def _beat(self) -> None:
        """Send heartbeats as long as the reactor runs."""
        self._send_status(HEARTBEAT)
        self._reactor.callLater(HEARTBEAT_INTERVAL, self._beat)

    def _send_status(self, status: bytes) -> None:
        # If the parent has exited, its pipe shows it.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(STATUS, status)

    def _start_failed(self, failure: Failure) -> None:
        if self._stopping:
            # The stop has aborted the start.
            return
        _log.critical("{reason}", reason=failure.getErrorMessage())
        self.exit_code = 1
        self._stop_reactor()

    def _note_successor(self) -> None:
        self._has_successor = True

    async def _stop_role(self) -> None:
        if self._has_successor:
            await self._role.retire()
        await self._role.stop()

    def _orphaned(self) -> None:
        if self._stopping:
            # The parent did not wait, and neither does this process.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        self._stop_reactor()

    def _stop_reactor(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()


class _ParentPipe(FileDescriptor):
    """A pipe that reaches end of file when the parent exits, for whatever reason."""

    connected = 1

    def __init__(self, on_eof: Callable[[], None], reactor: Reactor) -> None:
        super().__init__(reactor)
        self._on_eof = on_eof
        os.set_blocking(PARENT_PIPE, False)

    def fileno(self) -> int:
        """Return the descriptor."""
        return PARENT_PIPE

    def doRead(self) -> Exception | None:
        """Check for the end of file: nothing is ever written."""
        if os.read(PARENT_PIPE, 1):
            return None
        return CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """Report the end of file; some reactors find it without a read."""
        super().connectionLost(reason)
        # A reactor that stops calls this, too, with another reason.
        if reason.check(ConnectionDone):
            self._on_eof()
