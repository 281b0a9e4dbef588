"""Child processes that a test plays."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.protocol import ProcessProtocol

__all__ = ["PlayedProcess"]


@define(eq=False)
class PlayedProcess:
    """A process, as far as the protocol that started it sees it."""

    protocol: ProcessProtocol
    arguments: list[str]
    environment: Mapping[str, str]
    descriptors: Mapping[int, int | str]
    received: defaultdict[int, bytes] = field(factory=lambda: defaultdict(bytes))
    """What was written to it, by descriptor."""
    closed: set[int] = field(factory=set)
    """The descriptors that were closed for it."""
    lost: set[int] = field(factory=set)
    """The descriptors that it has closed itself, as when it exits."""
    killed: bool = False

    def signalProcess(self, name: str) -> None:
        """See `IProcessTransport`."""
        if self.killed:
            raise ProcessExitedAlready
        assert name == "KILL"
        self.killed = True

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        """See `IProcessTransport`."""
        assert self.descriptors[descriptor] == "w"
        if descriptor in self.lost:
            raise KeyError(descriptor)
        self.received[descriptor] += data

    def closeChildFD(self, descriptor: int) -> None:
        """See `IProcessTransport`."""
        assert self.descriptors[descriptor] == "w"
        self.closed.add(descriptor)

    def write(self, descriptor: int, data: bytes) -> None:
        """Have it write."""
        assert self.descriptors[descriptor] == "r"
        self.protocol.childDataReceived(descriptor, data)

    def close(self, descriptor: int) -> None:
        """Have it close a descriptor."""
        self.lost.add(descriptor)
        self.protocol.childConnectionLost(descriptor)

    def end(self, reason: Exception | None = None) -> None:
        """Have it exit."""
        self.protocol.processEnded(Failure(reason or ProcessDone(0)))
