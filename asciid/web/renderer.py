"""
Renders pages and art in a process of its own: the client of that process.

Rendering is Python code that takes milliseconds and reads what strangers wrote.  In a
process of its own it neither holds the reactor nor can it take the service down.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from asciid import __version__
from asciid.errors import AsciidError
from asciid.runtime.histogram import Histogram
from asciid.web.jobs import (
    ANSWERS,
    BLOCKED_AT_START,
    JOBS,
    PRINTED,
    TIME_LIMIT,
    Failed,
    MessageReader,
    Missing,
    Ready,
    Refused,
    Rendered,
    decode_answer,
    framed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.interfaces import IDelayedCall, IProcessTransport
    from twisted.python.failure import Failure

    from asciid.runtime.reactor import Reactor
    from asciid.web.jobs import AnyAnswer, AnyJob

__all__ = [
    "NO_RENDERER",
    "IRenderer",
    "NotRenderableError",
    "Renderer",
    "RendererBusyError",
    "RendererStats",
    "RenderingFailedError",
]

MAX_WAITING = 64
"""Maximum jobs that wait."""

MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Maximum bytes of the jobs that wait."""

START_LIMIT = 30.0
"""Seconds in which the process must be ready."""

IDLE_TIME = 60.0
"""Seconds without a job after which the process is ended."""

MIN_RESTART_DELAY = 1.0
"""Seconds until a process is started again that was not ready before it exited."""

MAX_RESTART_DELAY = 30.0
"""Seconds at most; the delay doubles each time."""

TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Bounds of the seconds of a job, from its request to its answer."""

_LONGEST_PRINTED = 16 * 1024

_log = Logger()

ArgumentT = TypeVar("ArgumentT")


class RendererBusyError(AsciidError):
    """Too many renderings wait, or none can be done now; can be retried."""

    def __init__(self) -> None:
        super().__init__("Too many pages are being rendered; retry later.")


class RenderingFailedError(AsciidError):
    """The renderer failed at this job; the reason was logged."""

    def __init__(self) -> None:
        super().__init__("This page could not be rendered.")


class NotRenderableError(AsciidError):
    """The image has no such rendering, and never will have."""


@define
class RendererStats:
    """Counts of a renderer since its start."""

    seconds: Histogram = field(factory=lambda: Histogram(TIMES))
    """Seconds of jobs, from the request to the answer."""
    failures: int = 0
    """Jobs that failed, the process with them or not."""
    refused: int = 0
    """Jobs that were not accepted because too many waited."""
    starts: int = 0
    """Processes that were started."""
    waiting: int = 0
    """Jobs that wait or are being done."""
    max_waiting: int = MAX_WAITING


class IRenderer(Protocol):
    """Renders."""

    @property
    def stats(self) -> RendererStats:
        """What was done so far."""

    def render(self, job: AnyJob, client: str = "") -> Deferred[Rendered | Missing]:
        """
        Do a job for a client, which is known by a key.

        Clients whose jobs wait take turns.  Each leaves as many places free as it has:
        a single one has half of them, and the same is free for the next one.

        Cancelling the Deferred drops a job that was not begun; the result of another
        one is ignored.

        Errors: `NotRenderableError`, `RendererBusyError`, `RenderingFailedError`.
        """

    def stop(self) -> Deferred[None]:
        """
        Fail all jobs and end the process; fires once it has exited.

        To be called when no request needs a rendering any more.
        """


class _NoRenderer:
    """Renders nothing."""

    stats = RendererStats()

    def render(self, job: AnyJob, client: str = "") -> Deferred[Rendered | Missing]:
        """See `IRenderer.render`."""
        del job, client
        return fail(RendererBusyError())

    def stop(self) -> Deferred[None]:
        """See `IRenderer.stop`."""
        return succeed(None)


NO_RENDERER: IRenderer = _NoRenderer()
"""For a service without pages."""


@define(eq=False)
class _Waiting:
    """A job that waits or is being done."""

    data: bytes
    since: float
    done: Deferred[Rendered | Missing]

    def finish(self, result: Rendered | Missing | AsciidError) -> None:
        """Fire `done`, unless it was cancelled."""
        if self.done.called:
            return
        if isinstance(result, AsciidError):
            self.done.errback(result)
        else:
            self.done.callback(result)


class Renderer:
    """
    Gives jobs to one process, one at a time, of one client after the other.

    The process is started for the first job, replaced after it fails, and ended when it
    was idle for `idle_time` seconds.  A job that takes longer than `time_limit` seconds
    has its process killed.  `reactor` provides IReactorTime and IReactorProcess;
    `module` is what the process runs.
    """

    def __init__(
        self,
        reactor: Reactor,
        *,
        time_limit: float = TIME_LIMIT,
        idle_time: float = IDLE_TIME,
        max_waiting: int = MAX_WAITING,
        module: str = "asciid.web._renderer_process",
    ) -> None:
        self._reactor = reactor
        self._time_limit = time_limit
        self._idle_time = idle_time
        self._module = module
        self._stats = RendererStats(max_waiting=max_waiting)
        # In the order of their turns; no queue is empty.
        self._queues: dict[str, deque[_Waiting]] = {}
        self._waiting = 0
        self._bytes = 0
        self._process: _Process | None = None
        self._current: _Waiting | None = None
        self._timer: IDelayedCall | None = None
        """Kills a process that takes too long, or ends one that is idle."""
        self._restart_delay = MIN_RESTART_DELAY
        self._not_before = float("-inf")
        self._stopped: Deferred[None] | None = None

    @property
    def stats(self) -> RendererStats:
        """See `IRenderer.stats`."""
        self._stats.waiting = self._waiting + (self._current is not None)
        return self._stats

    def render(self, job: AnyJob, client: str = "") -> Deferred[Rendered | Missing]:
        """See `IRenderer.render`."""
        data = framed(job)
        if (
            self._stopped is not None
            or self._reactor.seconds() < self._not_before
            or not self._has_room(client, len(data))
        ):
            self._stats.refused += 1
            return fail(RendererBusyError())
        waiting = _Waiting(
            data,
            self._reactor.seconds(),
            Deferred(lambda _: self._drop(client, waiting)),
        )
        self._queues.setdefault(client, deque()).append(waiting)
        self._waiting += 1
        self._bytes += len(data)
        self._next()
        return waiting.done

    def stop(self) -> Deferred[None]:
        """See `IRenderer.stop`."""
        if self._stopped is None:
            self._stopped = Deferred()
            self._fail_all()
            if self._process is None:
                self._stopped.callback(None)
            else:
                self._process.kill("the service stops")
        stopped: Deferred[None] = Deferred()
        self._stopped.chainDeferred(stopped)
        return stopped

    def process_ready(self) -> None:
        """Give the process its first job."""
        self._restart_delay = MIN_RESTART_DELAY
        self._next()

    def answered(self, answer: AnyAnswer) -> bool:
        """Handle the answer to a job; return whether there was one."""
        current, self._current = self._current, None
        if current is None:
            return False
        self._stats.seconds.add(self._reactor.seconds() - current.since)
        if isinstance(answer, Rendered | Missing):
            current.finish(answer)
        elif isinstance(answer, Refused):
            current.finish(NotRenderableError(answer.reason))
        else:
            self._failed(current)
            if isinstance(answer, Failed):
                _log.error("rendering failed: {report}", report=answer.report)
        self._next()
        return True

    def process_exited(self, process: _Process, reason: str) -> None:
        """Fail the job in progress, if any, and start another process if needed."""
        self._process = None
        self._cancel_timer()
        current, self._current = self._current, None
        if not process.ending and self._stopped is None:
            _log.warn("renderer exited: {reason}", reason=reason)
        if current is not None:
            self._stats.seconds.add(self._reactor.seconds() - current.since)
            self._failed(current)
        if self._stopped is not None:
            self._stopped.callback(None)
            return
        if not (process.ready or process.ending):
            self._back_off()
        self._next()

    def _failed(self, waiting: _Waiting) -> None:
        self._stats.failures += 1
        waiting.finish(RenderingFailedError())

    def _next(self) -> None:
        """Begin the next job, if none is in progress."""
        process = self._process
        if process is None:
            if self._queues and self._stopped is None:
                self._start()
            return
        if self._current is not None or not process.accepts_jobs:
            return
        if not self._queues:
            self._set_timer(self._idle_time, self._end, process)
            return
        self._current = self._take_next()
        limit = self._time_limit
        self._set_timer(limit, process.kill, f"a job took more than {limit:g} s")
        process.send(self._current.data)

    def _start(self) -> None:
        process = _Process(self)
        # The process inherits the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_AT_START)
        try:
            self._reactor.spawnProcess(
                process,
                sys.executable,
                [sys.executable, "-P", "-m", self._module],
                env=_environment(os.environ),
                childFDs={JOBS: "w", ANSWERS: "r", PRINTED: "r"},
            )
        except OSError as error:
            _log.error(
                "cannot start the renderer: {reason}",
                reason=error.strerror or str(error),
            )
            self._back_off()
        else:
            self._process = process
            self._stats.starts += 1
            self._set_timer(
                START_LIMIT, process.kill, f"not ready after {START_LIMIT:g} s"
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _end(self, process: _Process) -> None:
        process.end()
        self._set_timer(self._time_limit, process.kill, "it did not exit")

    def _back_off(self) -> None:
        """Accept no job for a while: the process cannot be started."""
        self._not_before = self._reactor.seconds() + self._restart_delay
        self._restart_delay = min(2 * self._restart_delay, MAX_RESTART_DELAY)
        self._fail_all()

    def _has_room(self, client: str, size: int) -> bool:
        """Return whether another job of a client, of `size` bytes, may wait."""
        places = self._stats.max_waiting - self._waiting
        room = MAX_WAITING_BYTES - self._bytes
        held = self._queues.get(client, ())
        held_bytes = sum(len(waiting.data) for waiting in held)
        if not held:
            return places > 0 and size <= room
        return len(held) + 1 <= places and held_bytes + size <= room

    def _take_next(self) -> _Waiting:
        """Remove the job that is next, and give the turn to the next client."""
        client = next(iter(self._queues))
        queue = self._queues.pop(client)
        waiting = queue.popleft()
        if queue:
            self._queues[client] = queue
        self._waiting -= 1
        self._bytes -= len(waiting.data)
        return waiting

    def _drop(self, client: str, waiting: _Waiting) -> None:
        """Remove a job that was cancelled, unless it was begun."""
        queue = self._queues.get(client)
        if queue is not None and waiting in queue:
            queue.remove(waiting)
            self._waiting -= 1
            self._bytes -= len(waiting.data)
            if not queue:
                del self._queues[client]

    def _fail_all(self) -> None:
        while self._queues:
            self._take_next().finish(RendererBusyError())

    def _set_timer(
        self,
        seconds: float,
        call: Callable[[ArgumentT], object],
        argument: ArgumentT,
    ) -> None:
        self._cancel_timer()
        self._timer = self._reactor.callLater(seconds, call, argument)

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


class _Process(ProcessProtocol):
    """The process, from its start to its exit."""

    transport: IProcessTransport

    def __init__(self, renderer: Renderer) -> None:
        self.ready = False
        self.ending = False
        """Whether it was asked to exit."""
        self._reads = True
        self._renderer = renderer
        self._reader = MessageReader()
        self._printed = b""
        self._killed = ""

    @property
    def accepts_jobs(self) -> bool:
        """Whether jobs can be sent to it."""
        return self.ready and self._reads and not self.ending

    def send(self, data: bytes) -> None:
        """Send a job; it must accept them."""
        self.transport.writeToChild(JOBS, data)

    def end(self) -> None:
        """Have it exit once it has done its job."""
        self.ending = True
        self.transport.closeChildFD(JOBS)

    def kill(self, reason: str) -> None:
        """End it at once; `reason` is for the log."""
        self._killed = reason
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Handle output of the process."""
        if childFD != ANSWERS:
            self._printed = (self._printed + data)[-_LONGEST_PRINTED:]
            return
        if self._killed:
            return
        try:
            for body in self._reader.feed(data):
                self._received(decode_answer(body))
        except (ValueError, msgspec.MsgspecError) as error:
            self.kill(f"invalid output: {error}")

    def childConnectionLost(self, childFD: int) -> None:
        """Send nothing to a process that has exited, or has closed its input."""
        if childFD == JOBS:
            self._reads = False
            # Mostly it has exited, and its exit was not reported yet.
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    def processEnded(self, reason: Failure) -> None:
        """Report the exit."""
        if self._printed:
            _log.error(
                "renderer: {text}",
                text=self._printed.decode("utf-8", "replace").strip(),
            )
        why = self._killed or reason.getErrorMessage()
        self._renderer.process_exited(self, why)

    def _received(self, answer: AnyAnswer) -> None:
        if isinstance(answer, Ready) and not self.ready:
            if answer.version != __version__:
                self.kill(f"another release is installed: {answer.version}")
                return
            self.ready = True
            self._renderer.process_ready()
        elif not self.ready or not self._renderer.answered(answer):
            message = "an answer without a job"
            raise ValueError(message)


def _environment(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return what the process needs to find Python and its modules: no secrets."""
    names: Sequence[str] = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH")
    return {
        name: value
        for name, value in environment.items()
        if name in names or (name.startswith("PYTHON") and name != "PYTHONINSPECT")
    }
