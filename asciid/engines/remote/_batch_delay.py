"""When the process that writes begins its next batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from asciid.engines.remote._framing import MessageProtocol

__all__ = ["PAUSE", "BatchDelay"]

PAUSE = 0.01
"""Seconds at the most for which a batch waits for workers that were just answered."""


class BatchDelay:
    """
    Puts a batch off until the workers that were just answered have asked for more.

    The clients of each ask for the next thing at once, and so does the worker: what
    comes from all of them shares one batch, where one would begin after the other.
    A worker that has nothing to ask for says so.  One that hangs is waited for `PAUSE`
    seconds, once.  `clock` provides IReactorTime.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._answered: set[MessageProtocol] = set()
        self._then: Callable[[], None]
        self._end: IDelayedCall | None = None

    def answered(self, connection: MessageProtocol) -> None:
        """Note that a worker was sent outcomes."""
        self._answered.add(connection)

    def asked(self, connection: MessageProtocol) -> None:
        """Note that a worker has sent something, or has disconnected."""
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
