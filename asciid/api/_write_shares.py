"""Keeps one client from filling the queue of writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail

from asciid.errors import StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

__all__ = ["SharedWriter", "WriteShares"]

ResultT = TypeVar("ResultT")

_MOST_WRITES = 16_384
"""How many writes of a size that is not counted have to wait to fill the queue."""


class SharedWriter(Protocol):
    """`WriteShares.run` for one client."""

    def __call__(
        self, size: int, write: Callable[[], Deferred[ResultT]], /
    ) -> Deferred[ResultT]:
        """Call `write`, which queues `size` bytes."""


class WriteShares:
    """
    Has each client leave as much of the queue free as it uses.

    What waits to be written was accepted, so that it cannot make room for others
    later, as what `asciid.net.fair_limit.FairLimit` shares can.  So n clients that
    write as fast as they can have a part of 1 / (n + 1) each, and the same is free for
    the next one; one client alone has half.

    `capacity` is that of the queue, in bytes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.smallest = capacity // _MOST_WRITES
        """Bytes of a write from which on it is worth counting."""
        self._used = 0
        self._clients: dict[str, int] = {}

    def run(
        self, client: str, size: int, write: Callable[[], Deferred[ResultT]]
    ) -> Deferred[ResultT]:
        """
        Call `write`, which queues `size` bytes until its Deferred fires.

        Cancelling the Deferred does not end the write.

        Errors: those of `write`; `StoreBusyError` past the client's part.
        """
        held = self._clients.get(client, 0)
        if held and held + size > self._capacity - self._used:
            return fail(StoreBusyError())
        self._clients[client] = held + size
        self._used += size
        answer: Deferred[ResultT] = Deferred()

        def written(outcome: ResultT | Failure) -> None:
            self._used -= size
            left = self._clients.pop(client) - size
            if left:
                self._clients[client] = left
            answer.callback(outcome)

        write().addBoth(written)
        return answer
