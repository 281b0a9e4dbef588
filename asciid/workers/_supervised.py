"""
Keeps a process running: starts it, restarts it when it exits or hangs, and stops it.

This is not `twisted.runner.procmon`: that passes no descriptors on, restarts by how
long a process has lived instead of whether it was ready, and reports neither.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from asciid.workers._inheritance import (
    BLOCKED_AT_START,
    HAS_SUCCESSOR,
    LOG,
    OUTPUT,
    PARENT_PIPE,
    READY,
    REREAD,
    STATUS,
)
from asciid.workers._log_relay import LogRelay
from asciid.workers._watchdog import HEARTBEAT_TIMEOUT, READY_TIMEOUT, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.interfaces import IDelayedCall, IProcessTransport
    from twisted.python.failure import Failure

    from asciid.runtime.reactor import Reactor

__all__ = ["MAX_RESTART_DELAY", "MIN_RESTART_DELAY", "Program", "SupervisedProcess"]

MIN_RESTART_DELAY = 0.1
"""Seconds before a process that was not ready is restarted for the first time."""

MAX_RESTART_DELAY = 30.0
"""Seconds at most; the delay doubles each time."""

_PIPES: Mapping[int, str] = {PARENT_PIPE: "w", LOG: "r", OUTPUT: "r", STATUS: "r"}

_log = Logger()


@frozen
class Program:
    """
    A program to run.

    `descriptors` returns the inherited descriptors, by their numbers in the process; it
    is called for each start.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Callable[[], Mapping[int, int]]


class SupervisedProcess:
    """
    Keeps `program` running from `start` to `stop`.

    A process that exits is restarted: at once if it was ready, else after a delay that
    doubles from `MIN_RESTART_DELAY` to `MAX_RESTART_DELAY` seconds.  One that hangs is
    killed, and so is one that has not exited `stop_timeout` seconds after SIGTERM;
    one that leaves its work to a successor has `retire_timeout` seconds more.
    `on_exit` is called for each exit before `stop`.
    """

    def __init__(
        self,
        program: Program,
        *,
        reactor: Reactor,
        stop_timeout: float,
        retire_timeout: float,
        on_exit: Callable[[], object],
    ) -> None:
        self.program = program
        self._reactor = reactor
        self._stop_timeout = stop_timeout
        self._retire_timeout = retire_timeout
        self._on_exit = on_exit
        self._running: _Process | None = None
        self._delay = MIN_RESTART_DELAY
        self._timer: IDelayedCall | None = None
        """Restarts the process, or kills it once it is to stop."""
        self._stopping = False
        self._ready: Deferred[bool] = Deferred()
        self._stopped: list[Deferred[None]] = []

    def start(self) -> Deferred[bool]:
        """Start the process; fires with True once ready, False if stopped before."""
        self._spawn()
        return self._ready

    def stop(self, *, replaced: bool = False) -> Deferred[None]:
        """
        Stop the process; answer once it has exited.

        One that is `replaced` first leaves its work to its successor.
        """
        if not self._stopping:
            self._stopping = True
            self._cancel_timer()
            self._report_ready(ready=False)
            if self._running is not None:
                if replaced:
                    self._running.signal(HAS_SUCCESSOR)
                self._running.signal("TERM")
                timeout = self._stop_timeout
                if replaced:
                    timeout += self._retire_timeout
                self._timer = self._reactor.callLater(
                    timeout, self._running.signal, "KILL"
                )
        if self._running is None:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        return stopped

    def reread(self) -> None:
        """Have the process reread its files, unless it has not read them yet."""
        if self._running is not None and self._running.is_ready:
            self._running.signal(REREAD)

    def process_ready(self) -> None:
        """Record that the process is ready."""
        self._report_ready(ready=True)

    def process_late(self) -> None:
        """Log that the process is not ready in time."""
        if not self._stopping:
            _log.error(
                "{process} is not ready after {seconds:.0f} s",
                process=self.program.name,
                seconds=READY_TIMEOUT,
            )

    def process_exited(self, *, was_ready: bool, reason: str) -> None:
        """Restart the process, unless it was to stop."""
        self._running = None
        self._cancel_timer()
        if self._stopping:
            stopped, self._stopped = self._stopped, []
            for each in stopped:
                each.callback(None)
            return
        _log.warn(
            "{process} exited: {reason}", process=self.program.name, reason=reason
        )
        self._on_exit()
        if was_ready:
            self._delay = MIN_RESTART_DELAY
        self._restart_after(0.0 if was_ready else self._back_off())

    def _spawn(self) -> None:
        process = _Process(self, self._reactor)
        # The process inherits the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_AT_START)
        try:
            self._reactor.spawnProcess(
                process,
                self.program.arguments[0],
                self.program.arguments,
                self.program.environment,
                childFDs={**_PIPES, **self.program.descriptors()},
            )
        except OSError as error:
            _log.error(
                "cannot start {process}: {reason}",
                process=self.program.name,
                reason=error.strerror or str(error),
            )
            self._restart_after(self._back_off())
        else:
            self._running = process
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _back_off(self) -> float:
        delay, self._delay = self._delay, min(2 * self._delay, MAX_RESTART_DELAY)
        return delay

    def _restart_after(self, delay: float) -> None:
        self._timer = self._reactor.callLater(delay, self._spawn)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _report_ready(self, *, ready: bool) -> None:
        if not self._ready.called:
            self._ready.callback(ready)


class _Process(ProcessProtocol):
    """One run of a supervised process."""

    transport: IProcessTransport
    _watchdog: Watchdog

    def __init__(self, supervisor: SupervisedProcess, reactor: Reactor) -> None:
        self.name = supervisor.program.name
        self.is_ready = False
        self._supervisor = supervisor
        self._reactor = reactor
        self._relay = LogRelay(self.name, reactor)

    def connectionMade(self) -> None:
        """Begin to watch."""
        self._watchdog = Watchdog(
            self._reactor,
            on_hang=self._kill_hung,
            on_late=self._supervisor.process_late,
        )

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Handle output of the process."""
        if childFD == STATUS:
            self._watchdog.beat()
            if READY in data:
                self._watchdog.ready()
                self.is_ready = True
                self._supervisor.process_ready()
        elif childFD == LOG:
            self._relay.log_received(data)
        else:
            self._relay.print_received(data)

    def processEnded(self, reason: Failure) -> None:
        """Report the exit."""
        self._watchdog.stop()
        self._relay.finish()
        self._supervisor.process_exited(
            was_ready=self.is_ready, reason=reason.getErrorMessage()
        )

    def signal(self, number: str | int) -> None:
        """Send a signal, unless the process has exited."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(number)

    def _kill_hung(self) -> None:
        _log.error(
            "killing {process}: no heartbeat for {seconds:.0f} s",
            process=self.name,
            seconds=HEARTBEAT_TIMEOUT,
        )
        self.signal("KILL")
