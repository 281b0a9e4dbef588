"""Shares the write queue among clients."""

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
"""Number of uncounted writes that fill the queue."""


class SharedWriter(Protocol):
    """`WriteShares.run` for one client."""

    def __call__(
        self, size: int, write: Callable[[], Deferred[ResultT]], /
    ) -> Deferred[ResultT]:
        """See `WriteShares.run`."""


class WriteShares:
    """
    Makes each client leave as much of the queue free as it uses.

    Queued writes have been accepted and cannot be evicted, unlike those of
    `asciid.net.fair_limit.FairLimit`.  So n clients at full speed have a share of 1 /
    (n + 1) each, and the same is free for the next one; a single client has half.

    `capacity` is that of the queue in bytes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.smallest = capacity // _MOST_WRITES
        """Minimum bytes of a write that is counted."""
        self._used = 0
        self._clients: dict[str, int] = {}

    def run(
        self, client: str, size: int, write: Callable[[], Deferred[ResultT]]
    ) -> Deferred[ResultT]:
        """
        Call `write`, which queues `size` bytes until its Deferred fires.

        Cancelling the Deferred does not cancel the write.

        Errors: those of `write`; `StoreBusyError` beyond the client's share.
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
