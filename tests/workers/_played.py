"""Processes and ports that a test plays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IListeningPort
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from asciid.testing import ManualThreadPool
from asciid.workers._inheritance import READY, STATUS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["PlayedPort", "PlayedProcess", "PlayedReactor"]


@implementer(IListeningPort)
@define(eq=False)
class PlayedPort:
    """A fake listening port; `descriptor` is its number."""

    port: int
    descriptor: int
    accepts: bool = True
    bound: bool = True
    _shouldShutdown: bool = True

    def startListening(self) -> None:
        """Unused: it does."""

    def stopListening(self) -> None:
        """Release the port."""
        self.bound = False

    def stopReading(self) -> None:
        """Accept nothing more."""
        self.accepts = False

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.descriptor

    def getHost(self) -> IPv4Address:
        """Return the address."""
        return IPv4Address("TCP", "127.0.0.1", self.port)


@define(eq=False)
class PlayedProcess:
    """A process that the test controls."""

    protocol: Any
    arguments: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Mapping[int, Any]
    signals: list[str | int] = field(factory=list)
    runs: bool = True

    @property
    def name(self) -> str:
        """Its name in the parent."""
        return str(self.protocol.name)

    def signalProcess(self, name: str | int) -> None:
        """Record a signal."""
        if not self.runs:
            raise ProcessExitedAlready
        self.signals.append(name)

    def write(self, descriptor: int, data: bytes) -> None:
        """Have the process write."""
        self.protocol.childDataReceived(descriptor, data)

    def be_ready(self) -> None:
        """Have the process report that it is ready."""
        self.write(STATUS, READY)

    def end(self, reason: Exception | None = None) -> None:
        """Have the process end."""
        self.runs = False
        self.protocol.processEnded(Failure(reason or ProcessDone(0)))


class ImmediateThreadPool(ManualThreadPool):
    """A pool that does each piece of work at once."""

    def callInThreadWithCallback(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - those of a pool
        """Do it."""
        super().callInThreadWithCallback(*arguments, **named)
        self.step()


class PlayedReactor(MemoryReactorClock):
    """A reactor whose processes are played."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[PlayedProcess] = []
        """All that were started, the last one last."""
        self.spawn_error: OSError | None = None
        """Why the next process cannot be started."""

    def spawnProcess(
        self,
        processProtocol: Any,  # noqa: ANN401 - as the interface has it
        executable: str,
        args: Sequence[str],
        env: Mapping[str, str],
        *,
        childFDs: Mapping[int, Any],
    ) -> PlayedProcess:
        """Start a process."""
        del executable
        error, self.spawn_error = self.spawn_error, None
        if error is not None:
            raise error
        process = PlayedProcess(processProtocol, args, env, childFDs)
        self.processes.append(process)
        processProtocol.makeConnection(process)
        return process

    def getThreadPool(self) -> ImmediateThreadPool:
        """Return a pool without threads."""
        return ImmediateThreadPool()

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        """Call at once."""
        call(*arguments)

    @property
    def alive(self) -> dict[str, PlayedProcess]:
        """The processes that run, by name."""
        return {process.name: process for process in self.processes if process.runs}
