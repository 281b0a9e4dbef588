"""Starts processes as twisted.runner.procmon asks, and hears what they log."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, globalLogPublisher
from zope.interface import implementer

from asciid.logs import event_from
from asciid.runtime.signals import SURVIVED
from asciid.workers._watching import SILENT_FOR, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.interfaces import IDelayedCall, IProcessTransport
    from twisted.python.failure import Failure
    from twisted.runner.procmon import LoggingProtocol

__all__ = [
    "ALIVE",
    "FIRST_INHERITED",
    "GENERATIONS",
    "HELD",
    "LIFELINE",
    "LOCK",
    "LOG",
    "PRINTED",
    "READY",
    "REREAD",
    "SIGNS",
    "Spawner",
]

LIFELINE = 0
"""The descriptor at whose end a process knows that its parent has ended."""

LOG = 1
"""The descriptor to which a process writes events, each a line of JSON."""

PRINTED = 2
"""The descriptor to which a process prints."""

SIGNS = 3
"""The descriptor to which a process writes signs, a byte each."""

ALIVE = b"."
"""The sign that its reactor turns."""

READY = b"\n"
"""The sign that it does its work from now on."""

LOCK = 4
"""The descriptor that has the lock on the storage: see `StorageLock`."""

GENERATIONS = 5
"""The descriptor of the `Generations`."""

FIRST_INHERITED = 6
"""The first of the descriptors that are handed down."""

REREAD = signal.SIGUSR1
"""The signal at which a worker reads its files again."""

HELD = (*SURVIVED, signal.SIGINT)
"""Signals that are blocked in a process until it has handlers for them."""

_LONGEST_LINE = 256 * 1024
_PAUSE = 0.1
"""Seconds that what a process prints is gathered."""

_log = Logger()


class _SpawnError(ProcessTerminated, OSError):
    """
    A process could not be started, which was logged.

    A ProcessMonitor starts it again later, as it does what has ended; it would log
    any other `OSError` with a traceback each time.
    """


@implementer(IReactorProcess, IReactorTime)
class Spawner:
    """
    The reactor, as a ProcessMonitor sees it.

    It hands descriptors down, which the monitor itself cannot: set `shared` and, for
    the name of a process, `inherited` before the monitor starts it.  `on_ready`
    receives the name of a process that does its work, `on_late` that of one that should
    and does not, `on_end` that of one that ended, and how.  One that hangs is killed.
    """

    shared: Mapping[int, int]
    """The descriptors that become `LOCK` and `GENERATIONS` in each process."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - several interfaces
        on_ready: Callable[[str], None],
        on_late: Callable[[str], None],
        on_end: Callable[[str, str], None],
    ) -> None:
        self._reactor = reactor
        self._on_ready = on_ready
        self._on_late = on_late
        self._on_end = on_end
        self.inherited: dict[str, Sequence[int]] = {}
        self._children: dict[str, _Child] = {}
        self._awaited: dict[str, list[Deferred[None]]] = {}

    def spawnProcess(  # type: ignore[override] # what the monitor calls
        self,
        processProtocol: LoggingProtocol,
        *arguments: Any,  # noqa: ANN401 - those of the reactor
        **options: Any,  # noqa: ANN401 - likewise
    ) -> IProcessTransport:
        """Start a process; see `IReactorProcess`."""
        name = processProtocol.name
        child = _Child(name, processProtocol, self)
        handed_down = dict(enumerate(self.inherited[name], FIRST_INHERITED))
        pipes = {LIFELINE: "w", LOG: "r", PRINTED: "r", SIGNS: "r", **self.shared}
        # The process inherits the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        try:
            started: IProcessTransport = self._reactor.spawnProcess(
                child, *arguments, **options, childFDs={**pipes, **handed_down}
            )
        except OSError as error:
            _log.error(
                "{process} cannot be started: {reason}",
                process=name,
                reason=error.strerror or str(error),
            )
            raise _SpawnError from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # Of one that could not be started the monitor makes another.
        self._children[name] = child
        return started

    def seconds(self) -> float:
        """See `IReactorTime`."""
        now: float = self._reactor.seconds()
        return now

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002 - as the interface has it
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        """See `IReactorTime`."""
        later: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kwargs)
        return later

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """See `IReactorTime`."""
        calls: Sequence[IDelayedCall] = self._reactor.getDelayedCalls()
        return calls

    def ready(self, name: str) -> Deferred[None]:
        """Answer once the process of that name does its work."""
        child = self._children.get(name)
        if child is not None and child.is_ready:
            return succeed(None)
        ready: Deferred[None] = Deferred()
        self._awaited.setdefault(name, []).append(ready)
        return ready

    def ended(self, name: str) -> Deferred[None]:
        """Answer once the process of that name that runs now, if any, has ended."""
        child = self._children.get(name)
        if child is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        child.awaited.append(ended)
        return ended

    async def all_ended(self) -> None:
        """Wait until no process runs."""
        await DeferredList([self.ended(name) for name in list(self._children)])

    def announce_successor(self, name: str) -> None:
        """Tell the process of that name, if one runs, that it will be replaced."""
        self._signal(self._children.get(name), "HUP")

    def reread(self) -> None:
        """Have all processes read their files again, but those that yet will."""
        for child in self._children.values():
            if child.is_ready:
                self._signal(child, REREAD)

    def _signal(self, child: _Child | None, number: str | int) -> None:
        if child is not None and child.transport is not None:
            with suppress(ProcessExitedAlready):
                child.transport.signalProcess(number)

    def child_is_ready(self, name: str) -> None:
        """Tell who waits for it."""
        self._on_ready(name)
        for ready in self._awaited.pop(name, ()):
            if not ready.called:
                ready.callback(None)

    def child_is_late(self, name: str) -> None:
        """Tell the owner."""
        self._on_late(name)

    def child_hangs(self, child: _Child) -> None:
        """Kill it: the clients that it has wait for nothing, and so do new ones."""
        _log.error(
            "{process} is killed: it gave no sign of life for {seconds:.0f} seconds",
            process=child.name,
            seconds=SILENT_FOR,
        )
        self._signal(child, "KILL")

    def child_ended(self, child: _Child, reason: str) -> None:
        """Tell who waits for it."""
        if self._children.get(child.name) is child:
            del self._children[child.name]
        self._on_end(child.name, reason)
        for ended in child.awaited:
            if not ended.called:
                ended.callback(None)


class _Child(ProcessProtocol):
    """One process; `monitored` is the monitor's own protocol for it."""

    transport: IProcessTransport | None = None
    _watch: Watch

    def __init__(self, name: str, monitored: LoggingProtocol, spawner: Spawner) -> None:
        self.name = name
        self.is_ready = False
        self.awaited: list[Deferred[None]] = []
        self._monitored = monitored
        self._spawner = spawner
        self._lines = _Lines(self._logged)
        # What it printed, until it pauses: a traceback is one event of the log.
        self._printed = b""
        self._pause: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Have the monitor know whom to end; begin to watch."""
        self._watch = Watch(
            self._spawner,
            on_silent=lambda: self._spawner.child_hangs(self),
            on_late=lambda: self._spawner.child_is_late(self.name),
        )
        self._monitored.makeConnection(self.transport)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Take what the process wrote."""
        if childFD == SIGNS:
            self._take_signs(data)
        elif childFD == LOG:
            self._lines.received(data)
        else:
            self._take_printed(data)

    def processEnded(self, reason: Failure) -> None:
        """Tell the monitor, which starts another one."""
        self._watch.end()
        self._lines.ended()
        self._tell_printed()
        self._spawner.child_ended(self, reason.getErrorMessage())
        self._monitored.processEnded(reason)

    def _take_signs(self, signs: bytes) -> None:
        self._watch.heard()
        if READY in signs:
            self._watch.ready()
            self.is_ready = True
            self._spawner.child_is_ready(self.name)

    def _logged(self, line: str) -> None:
        try:
            event = event_from(line)
        except ValueError:  # whatever it is, it is told
            self._tell(line)
            return
        event.setdefault("process", self.name)
        globalLogPublisher(event)

    def _take_printed(self, data: bytes) -> None:
        self._printed += data
        if len(self._printed) > _LONGEST_LINE:
            self._tell_printed()
        elif self._pause is None:
            self._pause = self._spawner.callLater(_PAUSE, self._tell_printed)

    def _tell_printed(self) -> None:
        if self._pause is not None and self._pause.active():
            self._pause.cancel()
        self._pause = None
        printed, self._printed = self._printed, b""
        if text := printed.decode("utf-8", "replace").strip("\n"):
            self._tell(text)

    def _tell(self, text: str) -> None:
        _log.error("{process}: {text}", process=self.name, text=text)


class _Lines:
    """Cuts what a process writes into lines."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""

    def received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode("utf-8", "replace"))
        if len(self._rest) > _LONGEST_LINE:
            self.ended()

    def ended(self) -> None:
        """Take what has no end."""
        rest, self._rest = self._rest, b""
        if rest:
            self._take(rest.decode("utf-8", "replace"))
