"""Delays the writer's next batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from asciid.engines.remote._framing import MessageProtocol

__all__ = ["PAUSE", "BatchDelay"]

PAUSE = 0.01
"""Maximum seconds for which a batch waits for workers that were just answered."""


class BatchDelay:
    """
    Delays a batch until the workers that were just answered have sent more operations.

    Their clients send the next request at once: the operations of all of them share
    one batch, instead of one batch for each worker.  A worker without operations sends
    `Idle`.  One that hangs delays a batch once, by `PAUSE` seconds.  `clock` provides
    IReactorTime.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._answered: set[MessageProtocol] = set()
        self._then: Callable[[], None]
        self._end: IDelayedCall | None = None

    def answered(self, connection: MessageProtocol) -> None:
        """Record that a worker was sent outcomes."""
        self._answered.add(connection)

    def received(self, connection: MessageProtocol) -> None:
        """Record that a worker has sent a message, or has disconnected."""
        self._answered.discard(connection)
        if not self._answered and self._end is not None:
            self._end.cancel()
            self._over()

    def begin(self, then: Callable[[], None]) -> None:
        """Call `then` once the pause is over; one at a time."""
        if self._answered:
            self._then = then
            self._end = self._clock.callLater(PAUSE, self._over)
        else:
            then()

    def _over(self) -> None:
        self._end = None
        self._answered.clear()
        self._then()
