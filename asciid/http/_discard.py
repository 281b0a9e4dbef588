"""Bounds on reading a connection after its last response."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from asciid.http._limits import Limits

__all__ = ["Discard", "DiscardPace"]

_READ = 64 * 1024
"""Bytes that a transport reads at a time."""

_INTERVAL = 0.005
"""Seconds for which a quota lasts."""


class DiscardPace:
    """
    Bounds the rate at which all connections are read after their last response.

    Reading takes time from other connections, and clients may be very fast.
    """

    def __init__(self, rate: float, reactor: IReactorTime) -> None:
        """:param rate: bytes a second."""
        self._reactor = reactor
        self._quota = rate * _INTERVAL
        self._left = self._quota
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, size: int, resume: Callable[[], None]) -> bool:
        """
        Count bytes that were read; return whether the connection must wait.

        :param resume: called once it may be read again, if it must wait.
        """
        self._left -= size
        if self._left > 0:
            return False
        if not self._waiting:
            self._reactor.callLater(_INTERVAL, self._refill)
        self._waiting.append(resume)
        return True

    def _refill(self) -> None:
        waiting = self._waiting
        self._left = self._quota
        resumed = [waiting.popleft() for _ in range(min(len(waiting), self._reads))]
        if waiting:
            self._reactor.callLater(_INTERVAL, self._refill)
        for resume in resumed:
            resume()

    @property
    def _reads(self) -> int:
        return max(1, int(self._quota // _READ))


class Discard:
    """
    Bounds what is read and discarded of a client that may still be sending.

    A close while bytes are unread resets the connection, and the client may lose
    the response (RFC 9112 9.6).

    :ivar due: the monotonic time from which :meth:`is_over` is to be called.
    """

    __slots__ = ("_checked", "_ends", "_left", "_limits", "due")

    def __init__(self, limits: Limits, now: float, *, brief: bool) -> None:
        """:param brief: end after the first ``linger_pause``, whatever is sent."""
        self._limits = limits
        self._left = limits.linger_bytes
        self._checked = self._left
        self._ends = now + (limits.linger_pause if brief else limits.linger_time)
        self.due = min(now + limits.linger_pause, self._ends)

    def take(self, size: int) -> bool:
        """Count bytes that were read; return whether more may be."""
        self._left -= size
        return self._left >= 0

    def is_over(self, now: float) -> bool:
        """Return whether the time is up or the client sends too slowly."""
        limits = self._limits
        received, self._checked = self._checked - self._left, self._left
        self.due = min(now + limits.linger_pause, self._ends)
        return now >= self._ends or received < limits.body_rate * limits.linger_pause
